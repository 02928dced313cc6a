//! Attestations: statements that must be attached, and what they must say.
#![allow(unreachable_pub, reason = "the schema derive copies each type into a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use super::ClaimSpec;
use super::Unsupported;

/// An attestation that must be there, and the rules that it must meet: all of them.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.predicateType) || has(self.slsaProvenance) || has(self.vulnerabilities) || has(self.sbom) || has(self.vex)")
        .message("an attestation needs a `predicateType`, for example `slsaprovenance1`, or one of `slsaProvenance`, `vulnerabilities`, `sbom` and `vex`, which imply theirs"),
    validation = Rule::new("(has(self.slsaProvenance) ? 1 : 0) + (has(self.vulnerabilities) ? 1 : 0) + (has(self.sbom) ? 1 : 0) + (has(self.vex) ? 1 : 0) <= 1")
        .message("one attestation is of one type: write one of `slsaProvenance`, `vulnerabilities`, `sbom` and `vex`, and another attestation for the next")
)]
pub struct AttestationSpec {
    /// A name for explanations and for the rules of the policy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The predicate type: an address, or a short name of cosign: `slsaprovenance`,
    /// `slsaprovenance02`, `slsaprovenance1`, `link`, `spdx`, `spdxjson`, `cyclonedx`, `vuln`,
    /// `openvex`, `custom`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub predicate_type: Option<String>,
    /// CEL expressions over the statement; each must yield `true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<ConditionSpec>,
    /// A Rego module over the statement.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub policy: Option<RulePolicySpec>,
    /// What SLSA provenance must say.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub slsa_provenance: Option<SlsaProvenanceSpec>,
    /// What a report on vulnerabilities may say.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub vulnerabilities: Option<VulnerabilitiesSpec>,
    /// What a software bill of materials must be.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub sbom: Option<SbomSpec>,
    /// What an OpenVEX document must say.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub vex: Option<VexSpec>,
}

/// A CEL expression that must yield `true`.
///
/// Over an attestation the variables are `statement`, `predicate`, `predicateType`, `subject` and
/// `now`; over all that was verified they are `input` and `now`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConditionSpec {
    /// The expression. A field that is not there makes it fail: ask with `has(…)` where it may be
    /// absent.
    #[schemars(length(min = 1, max = 2048))]
    pub cel: String,
    /// What to tell the user when it is not met.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub message: Option<String>,
}

/// A Rego module: `package sigstore`, with a rule `isCompliant` that must be `true`, and
/// optionally `errorMsg` with what to tell the user.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.type != 'cue'")
        .message("`type: cue` is not supported: write the rule in CEL (`conditions`) or in Rego (`type: rego`)")
        .field_path(".type"),
    validation = Rule::new("!has(self.url) && !has(self.remote) && !has(self.configMapRef)")
        .message("`url`, `remote` and `configMapRef` are not supported yet: put the module into `data`"),
    validation = Rule::new("!has(self.fetchConfigFile) || !self.fetchConfigFile")
        .message("a rule over one attestation does not see the image's configuration: write `fetchConfigFile` in `spec.policy`")
        .field_path(".fetchConfigFile"),
    validation = Rule::new("(!has(self.includeSpec) || !self.includeSpec) && (!has(self.includeObjectMeta) || !self.includeObjectMeta) && (!has(self.includeTypeMeta) || !self.includeTypeMeta)")
        .message("`includeSpec`, `includeObjectMeta` and `includeTypeMeta` are not supported: a rule sees what was verified"),
    validation = Rule::new("has(self.data)")
        .message("a policy needs `data`: the text of its Rego module")
)]
pub struct RulePolicySpec {
    /// The language.
    #[serde(rename = "type")]
    pub language: RuleLanguageSpec,
    /// The text of the module.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub data: Option<String>,
    /// An address of the module. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
    /// An address of the module with its digest. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub remote: Option<Unsupported>,
    /// A ConfigMap with the module. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<Unsupported>,
    /// Whether the image's configuration is part of the input. `true` is for `spec.policy` alone.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub fetch_config_file: Option<bool>,
    /// Whether the workload's spec is part of the input. `true` is not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub include_spec: Option<bool>,
    /// Whether the workload's metadata are part of the input. `true` is not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub include_object_meta: Option<bool>,
    /// Whether the workload's kind is part of the input. `true` is not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub include_type_meta: Option<bool>,
}

/// The language of a rule.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleLanguageSpec {
    /// CUE. Not supported: it is part of the type so that it is refused by name.
    Cue,
    /// Rego.
    Rego,
}

/// Rules over all that was verified for an image: CEL, a Rego module, or both.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.url) && !has(self.remote) && !has(self.configMapRef)")
        .message("`url`, `remote` and `configMapRef` are not supported yet: put the module into `data`"),
    validation = Rule::new("(!has(self.includeSpec) || !self.includeSpec) && (!has(self.includeObjectMeta) || !self.includeObjectMeta) && (!has(self.includeTypeMeta) || !self.includeTypeMeta)")
        .message("`includeSpec`, `includeObjectMeta` and `includeTypeMeta` are not supported: a rule sees what was verified, and the image's configuration"),
    validation = Rule::new("has(self.type) ? !has(self.conditions) : has(self.conditions)")
        .message("a policy has either `type` with `data`, or `conditions`"),
    validation = Rule::new("!has(self.type) || self.type != 'cue'")
        .message("`type: cue` is not supported: write the rule in CEL (`conditions`) or in Rego (`type: rego`)")
        .field_path(".type"),
    validation = Rule::new("has(self.type) == has(self.data)")
        .message("`type` and `data` go together: the language and the text of the module")
)]
pub struct PolicyRulesSpec {
    /// CEL expressions over `input`; each must yield `true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<ConditionSpec>,
    /// The language of `data`.
    #[serde(
        default,
        rename = "type",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub language: Option<RuleLanguageSpec>,
    /// The text of a Rego module.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub data: Option<String>,
    /// An address of the module. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub url: Option<String>,
    /// An address of the module with its digest. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub remote: Option<Unsupported>,
    /// A ConfigMap with the module. Not supported yet.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<Unsupported>,
    /// Whether the image's configuration is read from the registry and part of the input:
    /// `input.config`, by platform, for example `input.config["linux/amd64"].config.User`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub fetch_config_file: Option<bool>,
    /// Whether the workload's spec is part of the input. `true` is not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub include_spec: Option<bool>,
    /// Whether the workload's metadata are part of the input. `true` is not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub include_object_meta: Option<bool>,
    /// Whether the workload's kind is part of the input. `true` is not supported.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub include_type_meta: Option<bool>,
}

/// What SLSA provenance (v0.1, v0.2 or v1) must say. What is absent here is not asked for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlsaProvenanceSpec {
    /// Builders, by their id: alternatives. A text must be equal; an object has one of `exact`,
    /// `glob` and `regex`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub builders: Vec<ClaimSpec>,
    /// The repository of the source, without `git+`, `.git` and the reference, for example
    /// `https://github.com/org/app`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub source_repository: Option<ClaimSpec>,
    /// The git reference that was built, for example `refs/heads/main`.
    #[serde(
        default,
        rename = "ref",
        deserialize_with = "super::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub reference: Option<ClaimSpec>,
    /// The commit that was built, in hexadecimal.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub commit: Option<ClaimSpec>,
    /// The type of the build.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub build_type: Option<ClaimSpec>,
    /// The SLSA build level that the builder must have.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub level: Option<BuildLevelSpec>,
}

/// A build level. Provenance does not state one: it is a property of the builder, so the policy
/// says which builder has which.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildLevelSpec {
    /// The lowest that will do.
    #[schemars(with = "i32", range(min = 1, max = 4))]
    pub minimum: u8,
    /// Builders with their levels. A builder that is not here has none; one that several match has
    /// the lowest of theirs.
    #[schemars(length(min = 1, max = 32))]
    pub builders: Vec<BuilderLevelSpec>,
}

/// The level of a builder.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuilderLevelSpec {
    /// The builder's id.
    pub builder: ClaimSpec,
    /// Its level.
    #[schemars(with = "i32", range(min = 1, max = 4))]
    pub level: u8,
}

/// What a report on vulnerabilities may say: cosign's `vuln` predicate with the result of Trivy or
/// Grype.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VulnerabilitiesSpec {
    /// The highest severity that is tolerated. One that the scanner does not know is not.
    pub max_severity: SeveritySpec,
    /// How old the scan may be: a number with `s`, `m`, `h` or `d`, for example `24h` or `7d`.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 10), regex(pattern = r"^[1-9][0-9]*[smhd]$"))]
    pub max_age: Option<String>,
    /// Vulnerabilities that are tolerated whatever their severity, for example `CVE-2024-1234`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub allow: Vec<String>,
    /// The scanner, by its address in the report.
    #[serde(default, deserialize_with = "super::present", skip_serializing_if = "Option::is_none")]
    pub scanner: Option<ClaimSpec>,
}

/// A severity.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum SeveritySpec {
    /// No vulnerability at all.
    None,
    /// Negligible.
    Negligible,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical: whatever its severity, as long as the scanner knows it.
    Critical,
}

/// What a software bill of materials must be.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SbomSpec {
    /// The formats that will do: alternatives.
    #[schemars(length(min = 1, max = 3))]
    pub formats: Vec<SbomFormatSpec>,
}

/// A format of a software bill of materials.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SbomFormatSpec {
    /// CycloneDX JSON.
    Cyclonedx,
    /// SPDX, as JSON or as tag-value text.
    Spdx,
    /// SPDX JSON alone.
    Spdxjson,
}

/// What an OpenVEX document must say about this image.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VexSpec {
    /// Vulnerabilities, each of which the document must speak of, for example `CVE-2024-1234`.
    #[schemars(length(min = 1, max = 256))]
    pub vulnerabilities: Vec<String>,
    /// The statuses that will do; `not_affected` and `fixed` where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub statuses: Vec<VexStatusSpec>,
}

/// A status of OpenVEX.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VexStatusSpec {
    /// The vulnerability can be exploited here.
    Affected,
    /// The image has a version with the remedy.
    Fixed,
    /// The vulnerability does not matter here, for a reason that the document states.
    NotAffected,
    /// It is not known yet.
    UnderInvestigation,
}
