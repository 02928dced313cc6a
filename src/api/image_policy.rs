//! `ClusterImagePolicy` and `ImagePolicy`.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives copy each type into a function, and repeat attributes of columns"
)]

use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::AuthoritySpec;
use super::LabelSelector;
use super::PolicyRulesSpec;
use super::Status;

/// A policy of the cluster's administrators, for every namespace that it selects.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "tegata.dev",
    version = "v1alpha1",
    kind = "ClusterImagePolicy",
    plural = "clusterimagepolicies",
    shortname = "tcip",
    category = "tegata",
    status = "Status",
    derive = "PartialEq",
    doc = "Who must have signed the images that pods in this cluster run.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Authorities", type_ = "integer", json_path = ".status.authorities"),
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
    validation = Rule::new("!has(self.threshold) || self.threshold <= size(self.authorities)")
        .message("`threshold` is larger than the number of authorities, so it could never be met: lower it, or name more authorities")
        .field_path(".threshold"),
    validation = Rule::new("self.authorities.all(one, !has(one.name) || self.authorities.exists_one(other, has(other.name) && other.name == one.name))")
        .message("two authorities have the same `name`: give each a name of its own, or none")
        .field_path(".authorities"),
)]
pub struct ClusterImagePolicySpec {
    /// The images that it is for; one of the globs must match.
    #[schemars(length(min = 1, max = 256))]
    pub images: Vec<ImagePattern>,
    /// The kinds of workload that it is for; all where empty.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub matches: Vec<WorkloadSelector>,
    /// The namespaces that it is for, by their labels; all where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// What happens when it is not met.
    #[serde(default)]
    pub mode: ModeSpec,
    /// How many of the authorities must have signed: distinct keys or identities. 1 where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 32))]
    pub threshold: Option<u32>,
    /// What happens when it cannot be decided. It never covers a bad signature.
    #[serde(default)]
    pub on_unavailable: OnUnavailableSpec,
    /// Which digests of a multi-platform image must meet the policy: `index`, the one that the pod
    /// names; `all`, every manifest that the index lists; `any`, one of them or the index.
    #[serde(default)]
    pub platforms: PlatformsSpec,
    /// Who may sign: alternatives, unless `threshold` asks for several.
    #[schemars(length(min = 1, max = 32))]
    pub authorities: Vec<AuthoritySpec>,
    /// Rules over all that was verified, asked when the authorities are met.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRulesSpec>,
}

/// A policy of a namespace's owners, for that namespace only. It can only tighten.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "tegata.dev",
    version = "v1alpha1",
    kind = "ImagePolicy",
    plural = "imagepolicies",
    namespaced,
    shortname = "tip",
    category = "tegata",
    status = "Status",
    derive = "PartialEq",
    doc = "Who must have signed the images that pods in this namespace run.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Authorities", type_ = "integer", json_path = ".status.authorities"),
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
    validation = Rule::new("!has(self.threshold) || self.threshold <= size(self.authorities)")
        .message("`threshold` is larger than the number of authorities, so it could never be met: lower it, or name more authorities")
        .field_path(".threshold"),
    validation = Rule::new("self.authorities.all(one, !has(one.name) || self.authorities.exists_one(other, has(other.name) && other.name == one.name))")
        .message("two authorities have the same `name`: give each a name of its own, or none")
        .field_path(".authorities"),
)]
pub struct ImagePolicySpec {
    /// The images that it is for; one of the globs must match.
    #[schemars(length(min = 1, max = 256))]
    pub images: Vec<ImagePattern>,
    /// The kinds of workload that it is for; all where empty.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub matches: Vec<WorkloadSelector>,
    /// What happens when it is not met.
    #[serde(default)]
    pub mode: ModeSpec,
    /// How many of the authorities must have signed: distinct keys or identities. 1 where absent.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i32>", range(min = 1, max = 32))]
    pub threshold: Option<u32>,
    /// What happens when it cannot be decided. It never covers a bad signature.
    #[serde(default)]
    pub on_unavailable: OnUnavailableSpec,
    /// Which digests of a multi-platform image must meet the policy: `index`, the one that the pod
    /// names; `all`, every manifest that the index lists; `any`, one of them or the index.
    #[serde(default)]
    pub platforms: PlatformsSpec,
    /// Who may sign: alternatives, unless `threshold` asks for several.
    #[schemars(length(min = 1, max = 32))]
    pub authorities: Vec<AuthoritySpec>,
    /// Rules over all that was verified, asked when the authorities are met.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyRulesSpec>,
}

/// Images by a glob.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!self.glob.contains('://')")
        .message("`glob` has a scheme, which is no part of an image: leave it out, as in `ghcr.io/org/**`")
        .field_path(".glob"),
    validation = Rule::new("self.glob.matches(r'^[A-Za-z0-9._:/@*?\\[\\]-]*$')")
        .message("`glob` has a space or another character that no image has: write a reference with the wildcards `*`, `**` and `?`")
        .field_path(".glob"),
    validation = Rule::new("!self.glob.endsWith('/')")
        .message("`glob` ends with a slash, so it could never match: write `/**` for everything below")
        .field_path(".glob")
)]
pub struct ImagePattern {
    /// `*` stays within a path segment, `**` does not, `?` is one character. Compared with the
    /// normalised reference, with its tag and with its digest. Without a registry it is for
    /// Docker Hub; `*` and `**` alone are for every image.
    #[schemars(length(min = 1, max = 512))]
    pub glob: String,
}

/// Workloads by resource and labels. What is absent, or `*`, matches all.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSelector {
    /// API group, for example `apps`; empty for the core group.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Version, for example `v1`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub version: Option<String>,
    /// Plural resource in lower case, for example `deployments`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "*", "cronjobs", "daemonsets", "deployments", "jobs", "pods", "podtemplates",
        "replicasets", "replicationcontrollers", "statefulsets",
    ]))]
    pub resource: Option<String>,
    /// Labels of the object.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What happens when a policy is not met.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeSpec {
    /// Denies.
    #[default]
    Enforce,
    /// Admits, with an admission warning.
    Warn,
    /// Records only.
    Audit,
}

/// What happens when a policy cannot be decided, for example because a registry is down.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailableSpec {
    /// Denies.
    #[default]
    Deny,
    /// Admits, with an admission warning.
    Warn,
    /// Admits silently.
    Allow,
}

/// Which digests of a multi-platform image must meet a policy.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlatformsSpec {
    /// The one that the pod names: a signed index speaks for all that it lists.
    #[default]
    Index,
    /// Each manifest that the index lists for a platform. The index itself need not be signed.
    All,
    /// The index or one of its manifests; what a node of another platform runs may be unsigned.
    Any,
}
