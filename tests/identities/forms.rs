//! Identities as policies write them, from certificate to answer.
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;

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
    let root = gate.sigstore.trusted_root().second(Authority::RekorV1).json();
    gate.trust_root = tegata::trust_root::TrustRoot::from_json(&root).unwrap();
    gate.attach(gate.alice().log(Log::RekorV1));
    gate.admit().await.assert_denied(Reason::LogThresholdUnmet);
    gate.attach(gate.alice().log(Log::SecondRekorV1));
    gate.admit().await.assert_verified();
}
