//! The parts of a Sigstore instance one by one, named as `policy.sigstore.dev` names them.
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// A TUF repository that keeps a trusted root.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.mirror.startsWith('https://') || self.mirror.startsWith('http://')")
        .message("`tuf.mirror` is no address: give the repository's as https://host/path")
        .field_path(".mirror")
)]
pub struct TufSpec {
    /// The repository's address, under which `timestamp.json` and the folder `targets` are found.
    #[schemars(length(min = 8, max = 2048))]
    pub mirror: String,
    /// The root metadata to begin with, from a source that is trusted already: the content of
    /// `root.json`, as it is or in base64. Newer ones are fetched.
    #[schemars(length(min = 1, max = 400_000))]
    pub root: String,
    /// The target that holds the trusted root; `trusted_root.json` where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub target: Option<String>,
}

/// Certificate authorities, logs and timestamp authorities, each with its keys.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.certificateAuthorities) || has(self.tLogs) || has(self.timestampAuthorities)")
        .message("`sigstoreKeys` names nothing that signs: give `certificateAuthorities`, `tLogs` or `timestampAuthorities`")
)]
pub struct SigstoreKeysSpec {
    /// Fulcio instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub certificate_authorities: Vec<CertificateAuthoritySpec>,
    /// Transparency logs (Rekor).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub t_logs: Vec<LogSpec>,
    /// Certificate transparency logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub ct_logs: Vec<LogSpec>,
    /// Timestamp authorities (RFC 3161).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    pub timestamp_authorities: Vec<CertificateAuthoritySpec>,
}

/// An authority that has certificates.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateAuthoritySpec {
    /// Its name, for people.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub subject: Option<AuthoritySubjectSpec>,
    /// Its address. It proves nothing.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub uri: Option<String>,
    /// Its certificates in PEM, the issuing one first and the root last; or that PEM in base64.
    #[schemars(length(min = 1, max = 65_536))]
    pub cert_chain: String,
    /// When it is to be believed; always where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<WindowSpec>,
}

/// The name of an authority.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthoritySubjectSpec {
    /// The organisation.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub organization: Option<String>,
    /// The common name.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub common_name: Option<String>,
}

/// A log that has a key.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogSpec {
    /// Its address. It proves nothing.
    #[serde(
        default,
        rename = "baseURL",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 2048))]
    pub base_url: Option<String>,
    /// Its hash algorithm: `sha-256`, which is also meant where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub hash_algorithm: Option<String>,
    /// Its public key in PEM, or that PEM in base64.
    #[schemars(length(min = 1, max = 65_536))]
    pub public_key: String,
    /// The origin line of its checkpoints, for a log of Rekor v2, for example
    /// `log2025-1.rekor.sigstore.dev`. Leave it out for Rekor v1 and for `ctLogs`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub origin: Option<String>,
    /// When it is to be believed; always where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub valid_for: Option<WindowSpec>,
}

/// A window of time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowSpec {
    /// Its first moment, RFC 3339.
    #[schemars(length(min = 1, max = 64))]
    pub start: String,
    /// Its last moment, RFC 3339; none where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub end: Option<String>,
}
