//! Signers with certificates of an authority of one's own.
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use kube::KubeSchema;
use serde::Deserialize;
use serde::Serialize;

use super::KeyReference;

/// An authority of one's own, and whom it must have certified. The certificate needs the extended
/// key usage `codeSigning`. The signing time is that of a timestamp or of a log entry where the
/// signature has one; otherwise the certificate must be valid now.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.data) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) + (has(self.configMapRef) ? 1 : 0) == 1")
        .message("a certificate needs exactly one of `data`, `secretRef` and `configMapRef`"),
    validation = Rule::new("!has(self.intermediates) || !has(self.intermediatesRef)")
        .message("`intermediates` and `intermediatesRef` exclude each other"),
    validation = Rule::new("!has(self.revocationList) || !has(self.revocationListRef)")
        .message("`revocationList` and `revocationListRef` exclude each other")
)]
pub struct CertificateSpec {
    /// Root certificates in PEM; several are alternatives.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub data: Option<String>,
    /// A Secret with them; without `key` its entry `ca.crt`, or the only one.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
    /// A ConfigMap with them; without `key` its entry `ca.crt`, or the only one.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
    /// Intermediate certificates in PEM, beside those that signatures bring along.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub intermediates: Option<String>,
    /// An object with them; without `key` its entry `intermediates.crt`, or the only one.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub intermediates_ref: Option<ObjectReference>,
    /// Lists of revoked certificates in PEM (`X509 CRL`), one for each authority that issues
    /// signers' certificates. One that has expired refuses every signature.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262144))]
    pub revocation_list: Option<String>,
    /// An object with them, which can be replaced before they expire; without `key` its entry
    /// `ca.crl`, or the only one.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub revocation_list_ref: Option<ObjectReference>,
    /// Whom the certificate must name among its subject alternative names: alternatives.
    #[schemars(length(min = 1, max = 32))]
    pub identities: Vec<SubjectSpec>,
}

/// An entry of a Secret or of a ConfigMap: one of them.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.configMapRef)")
        .message("a reference needs exactly one of `secretRef` and `configMapRef`")
)]
pub struct ObjectReference {
    /// In a Secret.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
    /// In a ConfigMap.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
}

/// A subject alternative name: an e-mail address, a URI, a host name or an address.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.subject) ? 1 : 0) + (has(self.subjectGlob) ? 1 : 0) + (has(self.subjectRegExp) ? 1 : 0) == 1")
        .message("a subject needs exactly one of `subject`, `subjectGlob` and `subjectRegExp`; `.*` says that anyone whom the authority certified may sign")
)]
pub struct SubjectSpec {
    /// Exactly.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,
    /// `*` stays between slashes, `**` does not, `?` is one character.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_glob: Option<String>,
    /// A regular expression that matches the whole name.
    #[serde(
        default,
        rename = "subjectRegExp",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_reg_exp: Option<String>,
}
