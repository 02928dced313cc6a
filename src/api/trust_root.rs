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

use super::Status;
use super::Unsupported;

/// A Sigstore instance: its certificate authorities, logs and timestamp authorities.
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
#[schemars(extend("required" = ["trustedRoot"]))]
#[x_kube(
    validation = Rule::new("!has(self.remote) && !has(self.repository)")
        .message("`remote` and `repository` are not supported yet: give the trusted root in `trustedRoot`"),
    validation = Rule::new("!has(self.sigstoreKeys)")
        .message("`sigstoreKeys` is not supported yet: give the trusted root in `trustedRoot`")
)]
pub struct TrustRootSpec {
    /// The instance's `trusted_root.json`: the JSON as a text, or as an object. In files, also
    /// `{file: NAME}`, a file beside the YAML file.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_value")]
    pub trusted_root: Option<serde_json::Value>,
    /// A TUF repository. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub remote: Option<Unsupported>,
    /// A TUF repository as an archive. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub repository: Option<Unsupported>,
    /// Single keys and certificates. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub sigstore_keys: Option<Unsupported>,
}

/// A field that holds a text or an object: the API server keeps it as it is.
fn any_value(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}
