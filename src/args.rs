//! The command line, typed; no logic.
use clap::Parser;
use clap::Subcommand;

pub mod cache;
pub mod cluster;
pub mod outside;
pub mod probe;
pub mod registry;
pub mod serve;
pub mod verify;

pub use cache::CacheArgs;
pub use cluster::ClusterArgs;
pub use outside::OutsideArgs;
pub use probe::ProbeArgs;
pub use registry::RegistryArgs;
pub use serve::ServeArgs;
pub use verify::VerifyArgs;

/// Admits container images to Kubernetes only when their Sigstore signatures satisfy policy, and
/// says why, step by step.
#[derive(Debug, Parser)]
#[command(
    name = "tegata",
    version,
    propagate_version = true,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = false
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify images against policies, a key or an identity, and explain the answer
    ///
    /// Exit code: 0 verified, 1 rejected, 2 wrong usage or configuration, 3 not decidable now (a
    /// registry or a deadline stood in the way). Of several images the worst counts, in the order
    /// 2, 1, 3, 0.
    Verify(Box<VerifyArgs>),
    /// Answer admission requests of a Kubernetes API server over HTTPS
    Serve {
        /// The server.
        #[command(flatten)]
        serve: Box<ServeArgs>,
        /// Registries and trust.
        #[command(flatten)]
        registry: RegistryArgs,
        /// The cluster.
        #[command(flatten)]
        cluster: Box<ClusterArgs>,
    },
    /// Print the custom resource definitions as YAML
    Crds,
    /// Ask a URL once: is a server up and ready?
    ///
    /// Exit code: 0 when it answers 200, 1 when it answers anything else, 3 when it does not answer.
    Probe(ProbeArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_flag_has_its_environment_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        let mut seen = 0;
        for sub in command.get_subcommands() {
            for flag in sub.get_arguments() {
                let Some(long) = flag.get_long() else {
                    continue;
                };
                if matches!(long, "help" | "version") {
                    continue;
                }
                let env = flag.get_env().and_then(|name| name.to_str()).unwrap_or("none");
                let wanted = format!("TEGATA_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(env, wanted, "tegata {} --{long}", sub.get_name());
                seen += 1;
            }
        }
        assert!(seen > 15, "{seen} flags");
    }
}
