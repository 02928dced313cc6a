//! Attestations: signed statements about an image, beyond "this is ours".
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use kube::KubeSchema;
use serde::Deserialize;
use serde::Serialize;

/// An attestation that must be there, signed by the authority.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttestationSpec {
    /// A name for explanations and for rules over several attestations.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The type of the statement's predicate: its URI, or one of cosign's short names.
    #[schemars(length(min = 1, max = 1024))]
    pub predicate_type: String,
}
