//! The cluster that `tegata serve` works for.
use std::collections::BTreeSet;

use crate::cluster::credentials::PullSecretScope;

/// The cluster: used unless policies come from files
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "In a cluster, where no --policies are given")]
pub struct ClusterArgs {
    /// Tegata's own namespace: where its Lease and Secrets are, and the keys that a
    /// ClusterImagePolicy names
    #[arg(long, env = "TEGATA_NAMESPACE", value_name = "NAME", default_value = "tegata-system")]
    pub namespace: String,

    /// Name of this replica, in the Lease and in Events; the host's name where absent
    #[arg(long, env = "TEGATA_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,

    /// Name of the Lease by which one replica is elected to write
    #[arg(long, env = "TEGATA_LEASE", value_name = "NAME", default_value = "tegata")]
    pub lease: String,

    /// Secret in which Tegata keeps its own authority and serving certificate, and renews them
    #[arg(long, env = "TEGATA_TLS_SECRET", value_name = "NAME", conflicts_with = "tls_cert")]
    pub tls_secret: Option<String>,

    /// Service that the API server calls: the name that the certificate in --tls-secret is for
    #[arg(long, env = "TEGATA_SERVICE", value_name = "NAME", default_value = "tegata")]
    pub service: String,

    /// MutatingWebhookConfiguration whose `caBundle` is kept in step with --tls-secret; may be
    /// given several times
    #[arg(long, env = "TEGATA_MUTATING_WEBHOOK", value_name = "NAME", value_delimiter = ',')]
    pub mutating_webhook: Vec<String>,

    /// ValidatingWebhookConfiguration whose `caBundle` is kept in step with --tls-secret; may be
    /// given several times
    #[arg(long, env = "TEGATA_VALIDATING_WEBHOOK", value_name = "NAME", value_delimiter = ',')]
    pub validating_webhook: Vec<String>,

    /// Where pods' image pull secrets are read: `everywhere`, `none`, or names of namespaces
    #[arg(
        long,
        env = "TEGATA_PULL_SECRETS",
        value_name = "WHERE",
        default_value = "everywhere",
        value_parser = pull_secrets
    )]
    pub pull_secrets: PullSecretScope,
}

fn pull_secrets(text: &str) -> Result<PullSecretScope, String> {
    let namespaces: BTreeSet<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if let Some(bad) = namespaces.iter().find(|name| !is_name(name)) {
        return Err(format!("found `{bad}`, wanted `everywhere`, `none` or names of namespaces"));
    }
    Ok(match text.trim() {
        "everywhere" => PullSecretScope::Everywhere,
        "none" => PullSecretScope::Nowhere,
        _ => PullSecretScope::Namespaces(namespaces),
    })
}

/// RFC 1123 label, as Kubernetes names namespaces.
fn is_name(name: &str) -> bool {
    let usable = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(usable)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_pull_secrets_are_read() {
        let namespaces = |names: &[&str]| {
            PullSecretScope::Namespaces(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (text, expected) in [
            ("everywhere", PullSecretScope::Everywhere),
            ("none", PullSecretScope::Nowhere),
            ("team-a", namespaces(&["team-a"])),
            ("team-a, team-b", namespaces(&["team-a", "team-b"])),
        ] {
            assert_eq!(pull_secrets(text), Ok(expected), "{text}");
        }
        for text in ["", "team_a", "a,,b", "-a", "Team"] {
            assert!(pull_secrets(text).unwrap_err().contains("wanted"), "{text}");
        }
    }
}
