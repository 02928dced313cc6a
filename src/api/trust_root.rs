//! `TrustRoot`: a Sigstore instance to believe.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives copy each type into a function, and repeat attributes of columns"
)]

use kube::CustomResource;
use kube::KubeSchema;
use serde::Deserialize;
use serde::Serialize;

use super::SigstoreKeysSpec;
use super::Status;
use super::TufSpec;
use super::Unsupported;

/// A Sigstore instance: its certificate authorities, logs and timestamp authorities, in exactly one
/// of `trustedRoot`, `tuf` and `sigstoreKeys`.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "tegata.dev",
    version = "v1alpha1",
    kind = "TrustRoot",
    plural = "trustroots",
    shortname = "ttr",
    category = "tegata",
    status = "Status",
    derive = "PartialEq",
    doc = "A Sigstore instance that image policies may name in `trustRootRef`.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.remote) && !has(self.repository)")
        .message("`remote` and `repository` are not supported: give the repository's `mirror` and `root` in `tuf`, or the trusted root in `trustedRoot`"),
    validation = Rule::new("!has(self.tuf) || !has(self.sigstoreKeys)")
        .message("`tuf` and `sigstoreKeys` exclude each other: give exactly one of `trustedRoot`, `tuf` and `sigstoreKeys`")
)]
pub struct TrustRootSpec {
    /// The instance's `trusted_root.json`: the JSON as a text, or as an object; or
    /// `{configMapRef: {name: NAME, key: ENTRY}}`, a ConfigMap in Tegata's namespace, where without
    /// `key` the entry is `trusted_root.json`, or the only one. In files, instead of the latter,
    /// `{file: NAME}`, a file beside the YAML file.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_value")]
    pub trusted_root: Option<serde_json::Value>,
    /// A TUF repository, from which the trusted root is fetched and kept fresh.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub tuf: Option<TufSpec>,
    /// Single keys and certificates, where there is no `trusted_root.json`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub sigstore_keys: Option<SigstoreKeysSpec>,
    /// A TUF repository as `policy.sigstore.dev` writes it. Not supported: see `tuf`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub remote: Option<Unsupported>,
    /// A TUF repository as an archive. Not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub repository: Option<Unsupported>,
}

/// A field that holds a text or an object: the API server keeps it as it is.
fn any_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}
