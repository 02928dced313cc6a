//! Authorities: who may sign, and what must prove it.
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Serialize;

use super::AttestationSpec;
use super::CertificateSpec;
use super::EmailSpec;
use super::GitHubWorkflowSpec;
use super::GitLabPipelineSpec;
use super::SpiffeSpec;
use super::Unsupported;

/// One way to meet a policy: exactly one of `key`, `keyless`, `certificate` and `static`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.key) ? 1 : 0) + (has(self.keyless) ? 1 : 0) + (has(self.certificate) ? 1 : 0) + (has(self.static) ? 1 : 0) == 1")
        .message("an authority needs exactly one of `key`, `keyless`, `certificate` and `static`"),
    validation = Rule::new("!has(self.certificate) || !has(self.certificate.data) || !self.certificate.data.contains('PRIVATE KEY')")
        .message("`certificate.data` holds a private key: take it out of here and replace it, and give the authority's certificate")
        .field_path(".certificate.data"),
    validation = Rule::new("!has(self.static) || (!has(self.ctlog) && !has(self.rfc3161timestamp) && !has(self.source) && !has(self.signatureFormat) && !has(self.attestations))")
        .message("a `static` authority looks at no signature: leave out `ctlog`, `rfc3161timestamp`, `source`, `signatureFormat` and `attestations`"),
    validation = Rule::new("!has(self.key) || !has(self.key.data) || !self.key.data.contains('PRIVATE KEY')")
        .message("`key.data` holds a private key: take it out of here and replace it, and give the public key that `cosign public-key` prints")
        .field_path(".key.data"),
    validation = Rule::new("!has(self.key) || !has(self.key.data) || self.key.data.contains('PRIVATE KEY') || self.key.data.contains('-----BEGIN PUBLIC KEY-----')")
        .message("`key.data` holds no public key: give PEM that begins with `-----BEGIN PUBLIC KEY-----`")
        .field_path(".key.data")
)]
pub struct AuthoritySpec {
    /// A name for explanations; `authority-0` and so on where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The holder of a key.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub key: Option<KeySpec>,
    /// The subject of a certificate that Fulcio issued.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub keyless: Option<KeylessSpec>,
    /// The subject of a certificate that an authority of one's own issued.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateSpec>,
    /// Nobody: a fixed answer.
    #[serde(
        default,
        rename = "static",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub fixed: Option<StaticSpec>,
    /// Where signatures are looked for; the image's own repository where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub source: Vec<SourceSpec>,
    /// Asks for an entry in a transparency log. A keyless authority asks for one anyway.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub ctlog: Option<CtLogSpec>,
    /// Asks for an RFC 3161 timestamp; for a keyless authority without `ctlog`, instead of the
    /// log entry.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub rfc3161timestamp: Option<TimestampSpec>,
    /// Attestations that must be there, all of them, instead of a signature.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub attestations: Option<Vec<AttestationSpec>>,
    /// Which formats of signature count; both where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub signature_format: Option<SignatureFormatSpec>,
}

/// Keys as PEM, here or in an object of the cluster. Several in one text are alternatives.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.kms)")
        .message("`kms` is not supported: no key service is asked during admission; print the public key with `cosign public-key --key URI` and give it in `data`"),
    validation = Rule::new("has(self.kms) || (has(self.data) ? 1 : 0) + (has(self.secretRef) ? 1 : 0) + (has(self.configMapRef) ? 1 : 0) == 1")
        .message("a key needs exactly one of `data`, `secretRef` and `configMapRef`")
)]
pub struct KeySpec {
    /// Public keys in PEM (`PUBLIC KEY`).
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub data: Option<String>,
    /// A Secret with public keys in PEM.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
    /// A ConfigMap with public keys in PEM.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyReference>,
    /// A key management service (`awskms://`, `gcpkms://`, `azurekms://`, `hashivault://`,
    /// `k8s://`). Refused: `cosign public-key --key URI` prints the public key for `data`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub kms: Option<String>,
    /// The hash that was signed; where absent it follows the key, as cosign chooses it.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub hash_algorithm: Option<HashAlgorithmSpec>,
}

/// An entry of a Secret or a ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyReference {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The entry in its data; where absent the usual one if it is there (`cosign.pub` for a key), else
    /// the only entry.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
    /// The object's namespace. It can only be the one that is read anyway: of an `ImagePolicy`
    /// its own, of a `ClusterImagePolicy` Tegata's.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A hash algorithm.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HashAlgorithmSpec {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// Subjects of certificates.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.url) || (!has(self.trustRootRef) && self.url in ['https://fulcio.sigstore.dev', 'https://fulcio.sigstore.dev/'])")
        .message("`url` is not supported yet: leave it out, and name a TrustRoot in `trustRootRef` where it is not the default one")
        .field_path(".url"),
    validation = Rule::new("!has(self.ca__dash__cert) && !has(self.certificate)")
        .message("`ca-cert` and `certificate` are not supported yet: name a TrustRoot in `trustRootRef`"),
    validation = Rule::new("!has(self.insecureIgnoreSCT) || !self.insecureIgnoreSCT")
        .message("`insecureIgnoreSCT` is not supported: name a TrustRoot with the instance's own CT log")
)]
pub struct KeylessSpec {
    /// Who may sign: alternatives.
    #[schemars(length(min = 1, max = 32))]
    pub identities: Vec<IdentitySpec>,
    /// The name of a `TrustRoot`; the default one where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub trust_root_ref: Option<Reference>,
    /// A Fulcio instance. Not supported yet, but for the address that the default trust root
    /// stands for anyway.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
    /// A certificate authority's certificate. Not supported yet.
    #[serde(
        default,
        rename = "ca-cert",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub ca_cert: Option<Unsupported>,
    /// A signer's certificate. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Unsupported>,
    /// Accepts certificates without a signed certificate timestamp. `true` is not supported.
    #[serde(
        default,
        rename = "insecureIgnoreSCT",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub insecure_ignore_sct: Option<bool>,
}

/// The name of another object.
pub type Reference = String;

/// One identity: issuer and subject, both needed, or a ready-made form that stands for them; and
/// claims, which narrow either.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(has(self.githubWorkflow) ? 1 : 0) + (has(self.gitlabPipeline) ? 1 : 0) + (has(self.googleServiceAccount) ? 1 : 0) + (has(self.email) ? 1 : 0) + (has(self.spiffe) ? 1 : 0) + (has(self.issuer) || has(self.issuerRegExp) || has(self.subject) || has(self.subjectRegExp) ? 1 : 0) <= 1")
        .message("an identity needs exactly one form: issuer and subject, or one of `githubWorkflow`, `gitlabPipeline`, `googleServiceAccount`, `email` and `spiffe`; write further ones as `identities` of their own"),
    validation = Rule::new("has(self.githubWorkflow) || has(self.gitlabPipeline) || has(self.googleServiceAccount) || has(self.email) || has(self.spiffe) || has(self.issuer) != has(self.issuerRegExp)")
        .message("an identity needs exactly one of `issuer` and `issuerRegExp`; `.*` says that anyone may be the issuer"),
    validation = Rule::new("has(self.githubWorkflow) || has(self.gitlabPipeline) || has(self.googleServiceAccount) || has(self.email) || has(self.spiffe) || has(self.subject) != has(self.subjectRegExp)")
        .message("an identity needs exactly one of `subject` and `subjectRegExp`; `.*` says that anyone may sign")
)]
pub struct IdentitySpec {
    /// The OIDC issuer, exactly.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: Option<String>,
    /// A regular expression that matches the whole issuer.
    #[serde(
        default,
        rename = "issuerRegExp",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer_reg_exp: Option<String>,
    /// The subject (e-mail address or URI), exactly.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub subject: Option<String>,
    /// A regular expression that matches the whole subject.
    #[serde(
        default,
        rename = "subjectRegExp",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 1024))]
    pub subject_reg_exp: Option<String>,
    /// Further claims of the certificate, by Fulcio's documented names, for example
    /// `sourceRepositoryURI`. A text must be equal; an object has one of `exact`, `glob` and
    /// `regex`. A claim that the certificate lacks does not match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub claims: BTreeMap<String, ClaimSpec>,
    /// A workflow of github.com, instead of issuer and subject.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub github_workflow: Option<GitHubWorkflowSpec>,
    /// A pipeline of gitlab.com, instead of issuer and subject.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub gitlab_pipeline: Option<GitLabPipelineSpec>,
    /// A service account of Google Cloud, instead of issuer and subject, exactly:
    /// `NAME@PROJECT.iam.gserviceaccount.com`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 320))]
    pub google_service_account: Option<String>,
    /// An e-mail address, instead of issuer and subject.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailSpec>,
    /// A SPIFFE identity, instead of issuer and subject.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<SpiffeSpec>,
}

/// What a claim must be: a text, or an object with exactly one of `exact`, `glob` and `regex`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClaimSpec {
    /// Equal to this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// `*` stays between slashes, `**` does not, `?` is one character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glob: Option<String>,
    /// A regular expression that matches the whole claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

impl<'de> Deserialize<'de> for ClaimSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ClaimVisitor)
    }
}

struct ClaimVisitor;

impl<'de> serde::de::Visitor<'de> for ClaimVisitor {
    type Value = ClaimSpec;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text, or an object with one of `exact`, `glob` and `regex`")
    }

    fn visit_str<E>(self, text: &str) -> Result<ClaimSpec, E> {
        Ok(ClaimSpec { exact: Some(text.to_owned()), ..ClaimSpec::default() })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<ClaimSpec, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            exact: Option<String>,
            glob: Option<String>,
            regex: Option<String>,
        }
        let Fields { exact, glob, regex } =
            Fields::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(ClaimSpec { exact, glob, regex })
    }
}

impl JsonSchema for ClaimSpec {
    fn schema_name() -> Cow<'static, str> {
        "ClaimSpec".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text, or an object with one of `exact`, `glob` and `regex`.",
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}

/// A fixed answer.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticSpec {
    /// The answer.
    pub action: StaticActionSpec,
    /// What to tell the user where the answer is `fail`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// A fixed answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StaticActionSpec {
    /// Always met.
    Pass,
    /// Never met.
    Fail,
}

/// A place for signatures.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.signaturePullSecrets)")
        .message("`signaturePullSecrets` is not supported yet: use the pod's image pull secrets"),
    validation = Rule::new("has(self.oci) || has(self.tagPrefix) || has(self.signaturePullSecrets)")
        .message("a source is empty: give `oci`, `tagPrefix`, or both")
)]
pub struct SourceSpec {
    /// The repository that holds the signatures; the image's own where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub oci: Option<String>,
    /// Put before the tag `sha256-<hex>.sig`, with a hyphen between, as cosign does.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 48))]
    pub tag_prefix: Option<String>,
    /// Secrets for that repository. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub signature_pull_secrets: Option<Vec<Unsupported>>,
}

/// A transparency log entry is asked for.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.url) || self.url.matches('^https?://[^/?#@]+(/[^?#@]*)?$')")
        .message("`url` is no address of a log: give one such as `https://rekor.example`, without user name, query and fragment")
        .field_path(".url")
)]
pub struct CtLogSpec {
    /// A Rekor log, by its API of version 1, that is asked for the entry of a signature to which
    /// none is attached. Entries are believed for the keys of the trust root alone. Of an
    /// `ImagePolicy` it must lie at a public address, or be one that Tegata's administrator allows.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
    /// The name of a `TrustRoot`; the default one where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub trust_root_ref: Option<Reference>,
    /// Whether the entry must carry an inclusion proof; a signed promise will do otherwise.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub inclusion_proof: Option<InclusionProofSpec>,
    /// How many distinct logs must hold an entry; one where absent. Two entries of one log are
    /// one, and the classic format has room for one entry only.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 8))]
    pub threshold: Option<u32>,
}

/// Whether an inclusion proof must be there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InclusionProofSpec {
    /// A signed entry timestamp will do where the format allows it.
    Optional,
    /// It must be there.
    Required,
}

/// An RFC 3161 timestamp is asked for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimestampSpec {
    /// The name of a `TrustRoot`; the default one where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub trust_root_ref: Option<Reference>,
    /// How many distinct timestamp authorities must vouch for the time; one where absent. Two
    /// timestamps of one authority are one, and the classic format has room for one timestamp only.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 4))]
    pub threshold: Option<u32>,
}

/// Which formats of signature count.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureFormatSpec {
    /// cosign's classic format.
    Legacy,
    /// Sigstore bundles.
    Bundle,
    /// Either.
    Both,
}
