//! What the command line's commands do.
use std::error::Error;
use std::io;
use std::io::Write;

use crate::args::Args;
use crate::args::Command;
use crate::cluster::credentials::TenantRegistry;
use crate::server::reload::LoadOutcome;
use crate::telemetry;
use crate::verdict::Verdict;

use inputs::TrustRoots;
use serve::Origin;

pub mod crds;
mod inputs;
mod probe;
pub mod serve;
pub mod verify;

pub use inputs::InputError;

/// How a command ended; its number is the exit code of the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done or verified.
    Success = 0,
    /// An image was rejected, or a server stopped that should have gone on.
    Rejected = 1,
    /// Wrong usage, or a configuration that cannot be used.
    Usage = 2,
    /// No image was rejected, but one could not be decided.
    Indeterminate = 3,
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Verified => Self::Success,
            Verdict::Indeterminate => Self::Indeterminate,
            Verdict::Rejected => Self::Rejected,
        }
    }
}

/// The loader of files where there are none.
type NoFiles = fn() -> Result<LoadOutcome, String>;

/// Any error that ends a command, with its causes.
pub type CommandError = Box<dyn Error + Send + Sync>;

/// Runs the command.
///
/// # Errors
/// When its usage or configuration is wrong; for people in one line by [`crate::error::one_line`].
pub async fn run(args: Args) -> Result<Exit, CommandError> {
    match args.command {
        Command::Verify(args) => Ok(verify::run(&args).await?),
        Command::Serve { serve: args, registry, cluster } => {
            telemetry::init(args.log_format, &args.log_filter)?;
            let mut options = serve::Options::default();
            let (_, metrics) = options.metrics.clone();
            options.rekor = match registry.outside.offline {
                true => None,
                false => Some(inputs::rekor(&registry)?),
            };
            let TrustRoots { default: root, follower, background } =
                inputs::trust_roots(&registry, &metrics)?;
            options.background.extend(background);
            let (client, keeping) = inputs::registry(registry, metrics)?;
            options.background.push(keeping);
            if args.policies.is_empty() {
                let scope = cluster.pull_secrets.clone();
                let cluster = inputs::cluster(*cluster, root, follower).await?;
                let fetch = TenantRegistry::new(client, Some(cluster.client.clone()), scope);
                serve::run(*args, options, fetch, Origin::<NoFiles>::Cluster(cluster)).await?;
            } else {
                let load = inputs::loader(args.policies.clone(), root, follower.clone());
                options.follower = Some(follower);
                serve::run(*args, options, client, Origin::Files(load)).await?;
            }
            Ok(Exit::Success)
        }
        Command::Crds => {
            print(&crds::yaml()?)?;
            Ok(Exit::Success)
        }
        Command::Probe(args) => probe::run(&args).await,
    }
}

/// How a command ended that failed with this error.
pub fn exit_of(error: &(dyn Error + 'static)) -> Exit {
    match error.downcast_ref::<serve::ServeError>().map(serve::ServeError::exit_code) {
        Some(1) => Exit::Rejected,
        Some(_) | None => Exit::Usage,
    }
}

/// Writes to standard output. A reader that has gone, as `head` does, is no error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A usage error of clap's in one line, without its usage text.
pub fn usage_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let useful = |line: &&str| !line.is_empty() && !line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let parts: Vec<_> = lines.filter(useful).collect();
    let line = parts.join("; ").replace(":; ", ": ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn tells_what_failed_while_serving_from_wrong_configuration() {
        assert_eq!(exit_of(&serve::ServeError::Interrupted), Exit::Rejected);
        assert_eq!(exit_of(&serve::ServeError::HalfPair), Exit::Usage);
        assert_eq!(exit_of(&io::Error::other("x")), Exit::Usage);
    }

    #[test]
    fn says_usage_errors_in_one_line() {
        let line = |args: &[&str]| usage_line(&Args::try_parse_from(args).unwrap_err());
        assert_eq!(
            line(&["tegata", "verify", "oci:x", "--polcy", "p"]),
            "unexpected argument '--polcy' found; tip: a similar argument exists: '--policy'"
        );
        let missing = line(&["tegata", "verify"]);
        assert_eq!(missing, "the following required arguments were not provided: <IMAGE>...");
    }
}
