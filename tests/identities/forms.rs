//! Identities as policies write them, from certificate to answer.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;
use tegata::api::ClusterImagePolicySpec;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::policy::compile::compile_cluster_image_policy;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Reason;
use tegata::verify::CLAIM_NAMES;

use crate::gate::Gate;
use crate::virtual_sigstore::Authority;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::San;
use crate::virtual_sigstore::Signing;

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const WORKFLOW: &str = "https://github.com/org/app/.github/workflows/release.yml@refs/heads/main";

fn identity(identity: Value) -> Value {
    json!({ "keyless": { "identities": [identity] } })
}

/// A run of the workflow, for the repository and the ref that the claims state.
fn run<'a>(gate: &'a Gate, repository: &str, git_ref: &str) -> Signing<'a> {
    let signing = gate.signer(WORKFLOW).issuers(Some(GITHUB), Some(GITHUB));
    signing.claim(12, &format!("https://github.com/{repository}")).claim(14, git_ref)
}

#[tokio::test]
async fn a_github_workflow_is_bound_by_subject_and_claims() {
    let workflow = json!({ "githubWorkflow": {
        "repository": "org/app", "workflow": "release.yml", "ref": "refs/heads/main",
    } });
    for (repository, git_ref, wanted) in [
        ("org/app", "refs/heads/main", None),
        ("evil/app", "refs/heads/main", Some(Reason::ClaimMismatch)),
        ("org/app-evil", "refs/heads/main", Some(Reason::ClaimMismatch)),
        ("org/app", "refs/heads/evil", Some(Reason::ClaimMismatch)),
    ] {
        let mut gate = Gate::new().await;
        gate.demand(&[identity(workflow.clone())]);
        gate.attach(run(&gate, repository, git_ref));
        match wanted {
            None => gate.admit().await.assert_verified(),
            Some(reason) => gate.admit().await.assert_denied(reason),
        }
    }
}

#[tokio::test]
async fn any_of_several_names_may_match_whatever_their_kind() {
    let names = [
        San::Other("alice".to_owned()),
        San::Uri("https://ci.example/alice".to_owned()),
        San::Email("alice@example.org".to_owned()),
        San::Dns("ci.example".to_owned()),
    ];
    for (subject, good) in [
        ("alice", true),
        ("https://ci.example/alice", true),
        ("alice@example.org", true),
        ("ci.example", true),
        ("bob", false),
    ] {
        let mut gate = Gate::new().await;
        let issuer = "https://names.example";
        gate.demand(&[identity(json!({ "issuer": issuer, "subject": subject }))]);
        let signing = gate.signer("x@example.com").sans(&names);
        gate.attach(signing.issuers(Some(issuer), Some(issuer)));
        let answer = gate.admit().await;
        if good {
            answer.assert_verified();
        } else {
            answer.assert_denied(Reason::SubjectMismatch);
        }
    }
}

#[tokio::test]
async fn issuers_of_both_generations_must_agree() {
    let issuer = "https://issuer.example";
    let other = "https://another.example";
    for (old, new, wanted) in [
        (Some(issuer), Some(issuer), None),
        (Some(issuer), None, None),
        (None, Some(issuer), None),
        (Some(other), Some(issuer), Some(Reason::CertificateMalformed)),
        (Some(issuer), Some(other), Some(Reason::CertificateMalformed)),
        (None, None, Some(Reason::CertificateMalformed)),
    ] {
        let mut gate = Gate::new().await;
        gate.demand(&[identity(json!({ "issuer": issuer, "subjectRegExp": ".*" }))]);
        gate.attach(gate.signer("x@example.com").issuers(old, new));
        match wanted {
            None => gate.admit().await.assert_verified(),
            Some(reason) => gate.admit().await.assert_denied(reason),
        }
    }
}

#[tokio::test]
async fn every_claim_is_read_by_its_name() {
    for (arc, name) in [
        (9, "buildSignerURI"),
        (11, "runnerEnvironment"),
        (22, "sourceRepositoryVisibilityAtSigning"),
        (23, "deploymentEnvironment"),
        (24, "tokenSubject"),
    ] {
        let mut gate = Gate::new().await;
        gate.demand(&[identity(json!({
            "issuerRegExp": ".*", "subjectRegExp": ".*", "claims": { name: "good" },
        }))]);
        gate.attach(gate.alice().claim(arc, "bad"));
        gate.attach(gate.alice());
        gate.admit().await.assert_denied(Reason::ClaimMismatch);
        gate.attach(gate.alice().claim(arc, "good"));
        gate.admit().await.assert_verified();
    }
}

#[tokio::test]
async fn a_policy_may_ask_for_two_logs() {
    let mut gate = Gate::new().await;
    let subject = identity(json!({ "issuerRegExp": ".*", "subjectRegExp": ".*" }));
    let mut authority = subject.clone();
    authority["ctlog"] = json!({ "threshold": 2 });
    gate.demand(&[authority]);
    gate.trusted_root = gate.sigstore.trusted_root().second(Authority::RekorV1).json();
    gate.attach(gate.alice().log(Log::RekorV1));
    gate.admit().await.assert_denied(Reason::LogThresholdUnmet);
    gate.attach(gate.alice().log(Log::SecondRekorV1));
    gate.admit().await.assert_verified();
}

#[test]
fn the_page_on_identities_says_what_compiles() {
    let page = include_str!("../../.github/IDENTITIES.md");
    for name in CLAIM_NAMES {
        assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
    }
    let examples: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .map(|text| text.strip_prefix("identities:\n").unwrap_or(text))
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let read: Value =
            serde_saphyr::from_str_with_options(example, serde_saphyr::options! {}).unwrap();
        let referring = read.get("certificate").is_some();
        let authority = match (referring, read.is_array()) {
            (true, _) => read,
            (false, true) => json!({ "keyless": { "identities": read } }),
            (false, false) => json!({ "keyless": { "identities": [read] } }),
        };
        let spec: ClusterImagePolicySpec = serde_json::from_value(json!({
            "images": [{ "glob": "**" }],
            "authorities": [authority],
        }))
        .unwrap();
        let default = Arc::new(TrustRoot::public_good());
        let keys =
            Keys::Cluster { own_namespace: "tegata-system".to_owned(), found: BTreeMap::new() };
        let roots = References { default, named: BTreeMap::new(), keys };
        match compile_cluster_image_policy("page", &spec, &roots) {
            Ok(_) => assert!(!referring),
            // All of it is right but for what is not there.
            Err(error) => assert!(referring && error.missing, "{error}"),
        }
    }
}
