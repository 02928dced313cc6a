//! Custom resources of group `tegata.dev`, exactly as on the wire: no logic.
//!
//! Field names follow `policy.sigstore.dev/v1beta1 ClusterImagePolicy`. Fields of that resource
//! which are not supported yet are part of the types, so that they are refused by name: a field
//! that the API server pruned, or that a parser skipped, would weaken a policy silently.
mod attestation;
mod authority;
mod certificate;
mod identity;
mod image_policy;
mod selector;
mod sigstore_keys;
mod status;
mod trust_root;
mod unsupported;

pub use attestation::AttestationSpec;
pub use attestation::BuildLevelSpec;
pub use attestation::BuilderLevelSpec;
pub use attestation::ConditionSpec;
pub use attestation::PolicyRulesSpec;
pub use attestation::RuleLanguageSpec;
pub use attestation::RulePolicySpec;
pub use attestation::SbomFormatSpec;
pub use attestation::SbomSpec;
pub use attestation::SeveritySpec;
pub use attestation::SlsaProvenanceSpec;
pub use attestation::VexSpec;
pub use attestation::VexStatusSpec;
pub use attestation::VulnerabilitiesSpec;
pub use authority::AuthoritySpec;
pub use authority::ClaimSpec;
pub use authority::CtLogSpec;
pub use authority::HashAlgorithmSpec;
pub use authority::IdentitySpec;
pub use authority::InclusionProofSpec;
pub use authority::KeyReference;
pub use authority::KeySpec;
pub use authority::KeylessSpec;
pub use authority::Reference;
pub use authority::SignatureFormatSpec;
pub use authority::SourceSpec;
pub use authority::StaticActionSpec;
pub use authority::StaticSpec;
pub use authority::TimestampSpec;
pub use certificate::CertificateSpec;
pub use certificate::ObjectReference;
pub use certificate::SubjectSpec;
pub use identity::EmailSpec;
pub use identity::GitHubWorkflowSpec;
pub use identity::GitLabPipelineSpec;
pub use identity::SpiffeSpec;
pub use image_policy::ClusterImagePolicy;
pub use image_policy::ClusterImagePolicySpec;
pub use image_policy::ImagePattern;
pub use image_policy::ImagePolicy;
pub use image_policy::ImagePolicySpec;
pub use image_policy::ModeSpec;
pub use image_policy::OnUnavailableSpec;
pub use image_policy::WorkloadSelector;
pub use selector::LabelExpression;
pub use selector::LabelOperator;
pub use selector::LabelSelector;
pub use sigstore_keys::AuthoritySubjectSpec;
pub use sigstore_keys::CertificateAuthoritySpec;
pub use sigstore_keys::LogSpec;
pub use sigstore_keys::SigstoreKeysSpec;
pub use sigstore_keys::TufSpec;
pub use sigstore_keys::WindowSpec;
pub use status::Status;
pub use trust_root::TrustRoot;
pub use trust_root::TrustRootSpec;
pub use unsupported::Unsupported;

/// The API group of every resource.
pub const GROUP: &str = "tegata.dev";

/// The version of every resource.
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` of every resource.
pub const API_VERSION: &str = "tegata.dev/v1alpha1";

/// Most image globs in one policy: the API server bounds the cost of the schema's rules by it.
pub const MAX_IMAGES: usize = 256;

/// Most authorities in one policy: a threshold is decided by matching authorities to signers, and
/// the API server bounds the cost of the schema's rules by it. Real policies have fewer than ten.
pub const MAX_AUTHORITIES: usize = 32;

/// Most identities in one authority. A release team has tens of workflows, not hundreds, and each
/// may hold two regular expressions.
pub const MAX_IDENTITIES: usize = 32;

/// Most `match` elements in one policy: nine kinds of workload, each with a few selectors.
pub const MAX_MATCHES: usize = 64;

/// Most claims in one identity: Fulcio documents some twenty.
pub const MAX_CLAIMS: usize = 32;

/// Most sources in one authority: each costs a look-up at a registry for every image.
pub const MAX_SOURCES: usize = 8;

/// Most attestations that one authority asks for: each is a search of its own through what is
/// attached. Builds make fewer than ten kinds.
pub const MAX_ATTESTATIONS: usize = 32;

/// A field that is there has a value: `ctlog:` with nothing after it would otherwise mean the same
/// as no `ctlog`, and ask for less than its author thinks.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
