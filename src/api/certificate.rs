//! Signers with certificates of an authority of one's own.
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use kube::KubeSchema;
use serde::Deserialize;
use serde::Serialize;

/// An authority of one's own, and whom it must have certified. The certificate needs the extended
/// key usage `codeSigning`. The signing time is that of a timestamp or of a log entry where the
/// signature has one; otherwise the certificate must be valid now.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateSpec {
    /// Root certificates in PEM; several are alternatives.
    #[schemars(length(min = 1, max = 65536))]
    pub data: String,
    /// Intermediate certificates in PEM, beside those that signatures bring along.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub intermediates: Option<String>,
    /// Lists of revoked certificates in PEM (`X509 CRL`), one for each authority that issues
    /// signers' certificates. One that has expired refuses every signature.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 262144))]
    pub revocation_list: Option<String>,
    /// Whom the certificate must name among its subject alternative names: alternatives.
    #[schemars(length(min = 1, max = 32))]
    pub identities: Vec<SubjectSpec>,
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
