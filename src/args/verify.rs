//! Flags of `tegata verify`. Those that cosign has too are named as cosign names them.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::ValueEnum;
use clap::builder::BoolishValueParser;

use super::OutsideArgs;
use crate::evidence::LogUrl;
use crate::image::ImageRef;
use crate::image::ImageRefError;
use crate::verdict::printable;

/// Flags of `tegata verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Images: a registry reference, or `oci:DIR`, `oci:DIR:TAG`, `oci:DIR@DIGEST` for a folder in
    /// the OCI image layout
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<ImageArg>,

    /// Name of the image for matching policies, in place of the one that the OCI layout states
    #[arg(long = "as", value_name = "REF", env = "TEGATA_AS")]
    pub known_as: Option<ImageRef>,

    /// Speak plain HTTP, not HTTPS, to the registries of the images
    #[arg(long, env = "TEGATA_ALLOW_HTTP_REGISTRY", num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_name = "BOOL",
        hide_default_value = true, hide_possible_values = true,
        value_parser = BoolishValueParser::new())]
    pub allow_http_registry: bool,

    /// Docker `config.json` with the registries' credentials [default: that of Docker]
    #[arg(long, value_name = "FILE", env = "TEGATA_REGISTRY_CONFIG")]
    pub registry_config: Option<PathBuf>,

    /// YAML file with settings by registry: mirrors, certificate authorities, private addresses
    #[arg(long, value_name = "FILE", env = "TEGATA_REGISTRIES")]
    pub registries: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the help text of the group")]
    pub outside: OutsideArgs,

    /// Trust root, a `trusted_root.json`, for signers and for policies that name no other [default:
    /// that of the public Sigstore instance]
    #[arg(long, value_name = "FILE", env = "TEGATA_TRUSTED_ROOT")]
    pub trusted_root: Option<PathBuf>,

    /// Longest time for one image, for example `30s` or `1m30s`
    #[arg(long, value_name = "DURATION", env = "TEGATA_TIMEOUT", default_value = "30s")]
    pub timeout: Timeout,

    /// What to print
    #[arg(long, value_name = "FORMAT", env = "TEGATA_OUTPUT", default_value = "text")]
    pub output: Output,

    /// When to use colour; `auto` means on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_name = "WHEN", env = "TEGATA_COLOR", default_value = "auto")]
    pub color: Color,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the help text of the group")]
    pub policies: PolicyArgs,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the help text of the group")]
    pub signer: SignerArgs,
}

/// Flags that name policies.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "With policies")]
pub struct PolicyArgs {
    /// File or folder with policies in YAML; may be repeated
    #[arg(id = "policy", long = "policy", value_name = "FILE|DIR", env = "TEGATA_POLICY")]
    pub policies: Vec<PathBuf>,

    /// Namespace for which to ask; without it only policies of the whole cluster apply
    #[arg(long, value_name = "NAME", env = "TEGATA_NAMESPACE", requires = "policy",
        conflicts_with_all = ["key", "certificate_identity", "certificate_identity_regexp"])]
    pub namespace: Option<String>,

    /// Label of that namespace, `key=value`; may be repeated
    #[arg(
        id = "namespace_label",
        long = "namespace-label",
        value_name = "KEY=VALUE",
        env = "TEGATA_NAMESPACE_LABEL",
        value_delimiter = ',',
        requires = "namespace"
    )]
    pub namespace_labels: Vec<Label>,
}

/// Flags that say who must have signed, without a policy.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Without a policy")]
pub struct SignerArgs {
    /// File with the public key that must have signed, PEM
    #[arg(long, value_name = "FILE", env = "TEGATA_KEY", value_parser = key_path,
        conflicts_with_all = ["policy", "certificate_identity", "certificate_identity_regexp",
            "certificate_oidc_issuer", "certificate_oidc_issuer_regexp"])]
    pub key: Option<PathBuf>,

    /// Subject that the signing certificate must name, exactly: an e-mail address or a URI
    #[arg(long, value_name = "SUBJECT", env = "TEGATA_CERTIFICATE_IDENTITY",
        conflicts_with_all = ["policy", "certificate_identity_regexp"])]
    pub certificate_identity: Option<String>,

    /// The same as a regular expression that must match the whole subject
    #[arg(
        long,
        value_name = "REGEX",
        env = "TEGATA_CERTIFICATE_IDENTITY_REGEXP",
        conflicts_with = "policy"
    )]
    pub certificate_identity_regexp: Option<String>,

    /// OIDC issuer that must have vouched for the subject, exactly
    #[arg(long, value_name = "URL", env = "TEGATA_CERTIFICATE_OIDC_ISSUER",
        conflicts_with_all = ["policy", "certificate_oidc_issuer_regexp"])]
    pub certificate_oidc_issuer: Option<String>,

    /// The same as a regular expression that must match the whole issuer
    #[arg(
        long,
        value_name = "REGEX",
        env = "TEGATA_CERTIFICATE_OIDC_ISSUER_REGEXP",
        conflicts_with = "policy"
    )]
    pub certificate_oidc_issuer_regexp: Option<String>,

    /// Accept signatures without a log entry. A key's need none anyway, unless this is `=false`; a
    /// certificate's then need a timestamp
    #[arg(long, env = "TEGATA_INSECURE_IGNORE_TLOG", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
        value_parser = BoolishValueParser::new(), conflicts_with = "policy")]
    pub insecure_ignore_tlog: Option<bool>,

    /// Ask for an RFC 3161 timestamp of a trusted authority
    #[arg(long, env = "TEGATA_USE_SIGNED_TIMESTAMPS", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL", hide_possible_values = true,
        value_parser = BoolishValueParser::new(), conflicts_with = "policy")]
    pub use_signed_timestamps: Option<bool>,

    /// Rekor log to ask for the entry of signatures to which none is attached; asks for an entry,
    /// of a key's signatures too. It is believed for the keys of the trust root alone
    #[arg(long, env = "TEGATA_REKOR_URL", value_name = "URL",
        conflicts_with_all = ["policy", "offline"])]
    pub rekor_url: Option<LogUrl>,
}

/// An image as the command line names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ImageArg {
    /// A folder in the OCI image layout: the text after `oci:`.
    Layout(String),
    /// A reference to a registry.
    Registry(ImageRef),
}

impl fmt::Display for ImageArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(text) => write!(f, "oci:{text}"),
            Self::Registry(image) => image.fmt(f),
        }
    }
}

impl FromStr for ImageArg {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("oci:") {
            Some(layout) => Ok(Self::Layout(layout.to_owned())),
            None => text.parse().map(Self::Registry),
        }
    }
}

/// A label, `key=value`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Label {
    /// Its key; not empty.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("found `{}`, wanted key=value", printable(text))),
        }
    }
}

/// A time limit, more than zero and at most [`Timeout::MAX`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeout(pub Duration);

impl Timeout {
    /// Longest time limit: no registry that takes an hour for one image gets better by waiting.
    pub const MAX: Duration = Duration::from_secs(3600);
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "wanted a duration such as 500ms, 30s or 1m30s, above 0 and up to 1h";
        let parsed = text.parse::<jiff::SignedDuration>().ok();
        match parsed.and_then(|duration| Duration::try_from(duration).ok()) {
            Some(duration) if !duration.is_zero() && duration <= Self::MAX => Ok(Self(duration)),
            _ => Err(wanted.to_owned()),
        }
    }
}

/// What to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Output {
    /// One JSON document for programs
    Json,
    /// A tree for people
    Text,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// Always
    Always,
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Never
    Never,
}

/// A path; references to keys that are no files are refused by name rather than looked for.
fn key_path(text: &str) -> Result<PathBuf, String> {
    match text.split_once("://") {
        Some((scheme, _)) => Err(format!(
            "keys at `{}://` are not supported yet: wanted a file with a public key, PEM",
            printable(scheme)
        )),
        None => Ok(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use clap::error::ErrorKind;

    use super::*;
    use crate::args::Command;

    fn parse(flags: &[&str]) -> Result<VerifyArgs, clap::Error> {
        let line = ["tegata", "verify", "oci:dir"].iter().chain(flags);
        match crate::args::Args::try_parse_from(line)?.command {
            Command::Verify(args) => Ok(*args),
            other @ (Command::Serve { .. } | Command::Crds | Command::Probe(_)) => {
                panic!("{other:?}")
            }
        }
    }

    #[test]
    fn accepts_what_cosign_users_type() {
        let args = parse(&[
            "--certificate-identity=alice@infra.test",
            "--certificate-oidc-issuer=https://issuer.test",
            "--trusted-root=root.json",
            "--use-signed-timestamps",
            "--insecure-ignore-tlog=true",
            "--allow-http-registry",
        ])
        .unwrap();
        assert_eq!(args.images, [ImageArg::Layout("dir".to_owned())]);
        assert_eq!(args.signer.insecure_ignore_tlog, Some(true));
        assert_eq!(args.signer.use_signed_timestamps, Some(true));
        assert!(args.allow_http_registry);
        let args = parse(&["--key", "cosign.pub", "--insecure-ignore-tlog"]).unwrap();
        assert_eq!(args.signer.insecure_ignore_tlog, Some(true));
        assert!(!args.allow_http_registry);
    }

    #[test]
    fn rejects_flags_that_contradict_each_other() {
        for flags in [
            ["--key=k", "--policy=p"],
            ["--key=k", "--namespace=n"],
            ["--key=k", "--certificate-identity=a"],
            ["--key=k", "--certificate-oidc-issuer-regexp=a"],
            ["--policy=p", "--certificate-identity=a"],
            ["--policy=p", "--insecure-ignore-tlog"],
            ["--certificate-identity=a", "--certificate-identity-regexp=a"],
            ["--certificate-oidc-issuer=a", "--certificate-oidc-issuer-regexp=a"],
        ] {
            let kind = parse(&flags).map_err(|error| error.kind()).unwrap_err();
            assert_eq!(kind, ErrorKind::ArgumentConflict, "{flags:?}");
        }
        for flags in [["--namespace=n", "--timeout=1s"], ["--namespace-label=a=b", "--policy=p"]] {
            let kind = parse(&flags).map_err(|error| error.kind()).unwrap_err();
            assert_eq!(kind, ErrorKind::MissingRequiredArgument, "{flags:?}");
        }
    }

    #[test]
    fn rejects_keys_that_are_no_files_by_name() {
        let error = parse(&["--key=awskms://alias/x"]).unwrap_err().to_string();
        assert!(error.contains("keys at `awskms://` are not supported yet"), "{error}");
    }

    #[test]
    fn bounds_the_time_limit() {
        assert_eq!("1m30s".parse(), Ok(Timeout(Duration::from_secs(90))));
        assert_eq!("500ms".parse(), Ok(Timeout(Duration::from_millis(500))));
        for text in ["", "0s", "-1s", "61m", "30", "soon", "99999999999999999999s"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }

    #[test]
    fn splits_labels() {
        let args = parse(&["--policy=p", "--namespace=n", "--namespace-label=a=b,c=d=e"]).unwrap();
        let label = |key: &str, value: &str| Label { key: key.into(), value: value.into() };
        assert_eq!(args.policies.namespace_labels, [label("a", "b"), label("c", "d=e")]);
        assert!("=x".parse::<Label>().is_err());
        assert!("x".parse::<Label>().is_err());
    }
}
