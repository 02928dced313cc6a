//! Ready-made identities: what people know of a signer, instead of issuer and subject.
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

/// A workflow of github.com. Means: issuer `https://token.actions.githubusercontent.com`, subject
/// `https://github.com/REPOSITORY/.github/workflows/FILE@REF`, and the claims
/// `sourceRepositoryURI`, `sourceRepositoryRef` and, where given, `buildTrigger`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitHubWorkflowSpec {
    /// The repository whose code was built, as `OWNER/NAME`. The name may hold `*` and `?`.
    #[schemars(length(min = 3, max = 256))]
    pub repository: String,
    /// The workflow that signs: the file's name (`release.yml`) for one of the repository's own.
    /// A reusable workflow of another repository is written with its own ref:
    /// `OWNER/NAME/.github/workflows/FILE@refs/tags/v1`. `*` and `?` stay within the file's name.
    #[schemars(length(min = 1, max = 512))]
    pub workflow: String,
    /// What was built: `refs/heads/main`, `refs/tags/v*`. `*` stays between slashes, `**` does
    /// not; `refs/**` is any branch, any tag and any pull request.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 256))]
    pub git_ref: String,
    /// The event that started the run, for example `push`; any where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub trigger: Option<String>,
}

/// A pipeline of gitlab.com. Means: issuer `https://gitlab.com`, subject
/// `https://gitlab.com/PROJECT//CONFIG@REF`, and the claims `sourceRepositoryURI` and
/// `sourceRepositoryRef`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitLabPipelineSpec {
    /// The project with its groups: `GROUP/SUBGROUP/NAME`. Below the first group `*` and `?` may
    /// stand for parts of a name, and `**` for all that follows.
    #[schemars(length(min = 3, max = 512))]
    pub project: String,
    /// What was built: `refs/heads/main`, `refs/tags/v*`; `refs/**` is anything.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 256))]
    pub git_ref: String,
    /// The pipeline's file in the project; `.gitlab-ci.yml` where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub config: Option<String>,
}

/// Someone's e-mail address, for which an issuer vouches. Means: this issuer and this subject.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmailSpec {
    /// The address, exactly; `*@example.com` is anyone of that domain.
    #[schemars(length(min = 3, max = 320))]
    pub address: String,
    /// The OIDC issuer, exactly, for example `https://accounts.google.com`.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
}

/// A SPIFFE identity, for which an issuer vouches. Means: this issuer and a subject
/// `spiffe://TRUST-DOMAIN/PATH`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.id) != has(self.trustDomain)")
        .message("a SPIFFE identity needs exactly one of `id` and `trustDomain`")
)]
pub struct SpiffeSpec {
    /// The identity, for example `spiffe://example.org/ns/ci/sa/builder`. In the path `*` stays
    /// between slashes, `**` does not.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub id: Option<String>,
    /// Anyone of this trust domain, for example `example.org`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub trust_domain: Option<String>,
    /// The OIDC issuer, exactly.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
}
