//! Ways around an admission controller that others left open.
use serde_json::Value;
use serde_json::json;
use tegata::admission::NoMatch;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::gate::ALICE;
use crate::gate::Answer;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy;
use crate::policy::cluster;
use crate::policy::keyless;
use crate::policy::namespaced;
use crate::policy::with;
use crate::review;
use crate::review::NAMESPACE;
use crate::review::pod;
use crate::virtual_sigstore::Log;

fn pass() -> Value {
    json!({ "static": { "action": "pass" } })
}

fn fail() -> Value {
    json!({ "static": { "action": "fail" } })
}

/// A gate without registry traffic: these policies, and a denial of whatever they leave out.
async fn gate_of(policies: Vec<Value>) -> Gate {
    let mut gate = Gate::new().await;
    gate.policies = policies;
    gate.settings.no_match = NoMatch::Deny;
    gate
}

/// Portieris 0.14.2, GO-2026-6225.
#[tokio::test]
async fn a_name_that_looks_like_a_trusted_one_is_not_covered() {
    for (glob, trusted, lookalikes) in [
        (
            "gcr.io/**",
            "gcr.io/team/app",
            &["gcr.io.evil/team/app", "evil.gcr.io/team/app", "evil.io/gcr.io/team/app"][..],
        ),
        (
            "*.trusted.example/**",
            "a.trusted.example/x/y",
            &["attacker.com/x.trusted.example/y", "a.trusted.example.evil/y", "trusted.example/y"],
        ),
        ("gcr.io/team/*", "gcr.io/team/app:v1", &["gcr.io/team/app/evil", "gcr.io/teams/app"]),
        (
            "gcr.io/team/app",
            "gcr.io/team/app@sha256:",
            &["gcr.io/team/app2", "gcr.io/team/apps:v1"],
        ),
    ] {
        let gate = gate_of(vec![policy::glob(cluster("trusted", &[pass()]), glob)]).await;
        let trusted = trusted.replace("@sha256:", &format!("@{}", gate.digest));
        assert!(gate.create(&pod(&[&trusted])).await.allowed(), "{glob} {trusted}");
        for image in lookalikes {
            println!("{glob} {image}");
            gate.create(&pod(&[image])).await.assert_denied(Reason::PolicyNone);
        }
    }
}

/// CVE-2026-22772: a pattern for an issuer that also matches a host of somebody else's. The whole
/// text is compared, and no issuer is ever asked.
#[tokio::test]
async fn rejects_an_issuer_that_only_looks_like_the_trusted_one() {
    let mut authority = keyless(ALICE, ISSUER);
    let identity = &mut authority["keyless"]["identities"][0];
    *identity = json!({ "issuerRegExp": "https://(login|issuer)[.]example", "subject": ALICE });
    for (issuer, trusted) in [
        (ISSUER, true),
        ("https://issuer.example.attacker.test", false),
        ("https://issuer.example@attacker.test", false),
        ("https://attacker.test/https://issuer.example", false),
        ("https://issuer.example/", false),
        ("https://issuer.example:8443", false),
        ("https://issuer.example\n", false),
        ("https://issuerxexample", false),
        ("http://issuer.example", false),
    ] {
        let mut gate = Gate::new().await;
        gate.demand(std::slice::from_ref(&authority));
        gate.attach(gate.sigstore.keyless(ALICE, issuer).log(Log::RekorV1));
        println!("{issuer:?}");
        match trusted {
            true => gate.admit().await.assert_verified(),
            false => gate.admit().await.assert_denied(Reason::IssuerMismatch),
        }
    }
}

/// Reported elsewhere: another spelling of a host escapes the policy.
#[tokio::test]
async fn another_spelling_of_a_name_escapes_no_policy() {
    for (glob, spellings) in [
        ("gcr.io/**", &["GCR.io/team/app", "gcr.io:443/team/app", "Gcr.Io:443/team/app:v1"][..]),
        (
            "docker.io/library/nginx",
            &[
                "nginx",
                "nginx:1",
                "library/nginx",
                "docker.io/nginx",
                "index.docker.io/nginx",
                "registry-1.docker.io/library/nginx:latest",
                "DOCKER.IO/library/nginx",
            ],
        ),
    ] {
        let mut gate = gate_of(vec![policy::glob(cluster("refused", &[fail()]), glob)]).await;
        gate.settings.no_match = NoMatch::Allow;
        for image in spellings {
            println!("{glob} {image}");
            gate.create(&pod(&[image])).await.assert_denied(Reason::StaticFail);
        }
    }
}

/// Reported elsewhere, and CVE-2023-34091, Portieris 0.14.3: nothing that the object says of
/// itself is believed.
#[tokio::test]
async fn a_forged_mark_of_approval_changes_nothing() {
    let digest = "0".repeat(64);
    for metadata in [
        json!({ "annotations": { "tegata.dev/verified": "true", "tegata.dev/verdict": "verified" } }),
        json!({ "labels": { "tegata.dev/verified": "true", "tegata.dev/exempt": "true" } }),
        json!({ "annotations": { "kyverno.io/verify-images": format!("{{\"x@sha256:{digest}\":true}}") } }),
        json!({ "annotations": { "tegata.dev/images": "[{\"verdict\":\"verified\"}]" } }),
        json!({ "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true },
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true },
        ] }),
        json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x.example/y"] }),
        json!({ "annotations": { "kubernetes.io/config.mirror": "x", "kubernetes.io/config.source": "file" } }),
    ] {
        let gate = Gate::new().await;
        let mut object = pod(&[&gate.image()]);
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        println!("{metadata}");
        gate.create(&object).await.assert_denied(Reason::SignatureAbsent);
        // The same on an update that brings the image in.
        let old = pod(&["other.example/app:v1"]);
        let answer = gate.ask("validate", &review::update(&object, &old)).await;
        answer.assert_denied(Reason::SignatureAbsent);
    }
}

/// CVE-2023-2727 and others.
#[tokio::test]
async fn rejects_an_unsigned_ephemeral_container() {
    let gate = Gate::new().await;
    let old = pod(&["other.example/app:v1"]);
    let mut object = old.clone();
    object["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": gate.image() }]);
    let mut review = review::update(&object, &old);
    review["request"]["subResource"] = json!("ephemeralcontainers");
    review["request"]["requestSubResource"] = json!("ephemeralcontainers");
    let answer = gate.ask("validate", &review).await;
    answer.assert_denied(Reason::SignatureAbsent);
    assert!(answer.message().starts_with("spec.ephemeralContainers[0].image: "), "{answer:?}");
    gate.attach(gate.alice());
    gate.ask("validate", &review).await.assert_verified();
}

/// CVE-2024-48921, GHSA-gg4x-fgg2-h9w9: exceptions never add up to more than each of them.
#[tokio::test]
async fn exceptions_never_add_up() {
    for policies in [
        vec![cluster("a", &[pass()]), cluster("b", &[fail()])],
        vec![cluster("a", &[fail()]), namespaced(NAMESPACE, "b", &[pass()])],
        vec![cluster("a", &[pass()]), namespaced(NAMESPACE, "b", &[fail()])],
    ] {
        let gate = gate_of(policies).await;
        gate.admit().await.assert_denied(Reason::StaticFail);
    }
    let two = with(cluster("two", &[pass(), pass()]), "threshold", 2);
    gate_of(vec![two]).await.admit().await.assert_denied(Reason::ThresholdUnmet);
    let mut gate = Gate::new().await;
    let authorities = [keyless(ALICE, ISSUER), keyless(BOB, ISSUER), pass()];
    gate.policies = vec![with(cluster("three", &authorities), "threshold", 3)];
    gate.attach(gate.alice());
    gate.admit().await.assert_denied(Reason::ThresholdUnmet);
    gate.attach(gate.signer(BOB));
    assert!(gate.admit().await.allowed());
}

/// Reported elsewhere: the policy that was asked last, or first, speaks for all.
#[tokio::test]
async fn a_policy_that_warns_neither_softens_nor_hides_one_that_enforces() {
    let of = |name: &str, mode: &str, subject: &str| {
        with(cluster(name, &[keyless(subject, ISSUER)]), "mode", mode)
    };
    for lenient in ["warn", "audit"] {
        // In the order of documents, and in that of names.
        for (strict, loose, first) in [("a", "b", 0), ("b", "a", 0), ("a", "b", 1), ("b", "a", 1)] {
            let mut gate = Gate::new().await;
            gate.policies = vec![of(loose, lenient, BOB)];
            gate.policies.insert(first, of(strict, "enforce", ALICE));
            let denied = |answer: &Answer, reason| {
                answer.assert_denied(reason);
                let by = format!("ClusterImagePolicy {strict} ");
                assert!(answer.message().contains(&by), "{lenient} {strict}: {answer:?}");
            };
            denied(&gate.admit().await, Reason::SignatureAbsent);
            // Good for the lenient one alone.
            gate.attach(gate.signer(BOB));
            denied(&gate.admit().await, Reason::SubjectMismatch);
            // Good for both, then for the strict one alone.
            gate.attach(gate.alice());
            gate.admit().await.assert_verified();
            gate.policies = vec![of(loose, lenient, "carol@example.com")];
            gate.policies.insert(first, of(strict, "enforce", ALICE));
            let answer = gate.admit().await;
            assert!(answer.allowed(), "{lenient} {strict}: {answer:?}");
            assert_eq!(answer.reasons(), ["subject-mismatch"], "{lenient} {strict}");
            let warned = answer.warnings().iter().any(|text| {
                text.contains(&format!("ClusterImagePolicy {loose} "))
                    && text.contains("[subject-mismatch]")
            });
            assert_eq!(warned, lenient == "warn", "{answer:?}");
        }
    }
}

/// Reported elsewhere: all of nothing is not a pass.
#[tokio::test]
async fn an_image_that_no_policy_covers_is_called_uncovered() {
    let elsewhere = policy::glob(cluster("elsewhere", &[pass()]), "elsewhere.example/**");
    let mut gate = gate_of(vec![elsewhere]).await;
    gate.admit().await.assert_denied(Reason::PolicyNone);
    gate.settings.no_match = NoMatch::Warn;
    let answer = gate.admit().await;
    assert!(answer.allowed(), "{answer:?}");
    assert!(answer.warnings()[0].contains("[policy-none]"), "{answer:?}");
    gate.settings.no_match = NoMatch::Allow;
    let answer = gate.admit().await;
    assert!(answer.allowed() && answer.warnings().is_empty(), "{answer:?}");
    assert_eq!(answer.reasons(), ["policy-none"]);
    assert_eq!(answer.images()[0]["verdict"], "uncovered", "never called verified");
}

/// Reported elsewhere: a policy that cannot be used denies and stays visible, whatever its mode.
#[tokio::test]
async fn a_policy_that_cannot_be_used_denies_and_stays_visible() {
    let broken_key = cluster("broken", &[policy::keyed("no key")]);
    let no_root = {
        let mut authority = keyless(ALICE, ISSUER);
        authority["keyless"]["trustRootRef"] = json!("absent");
        cluster("broken", &[authority])
    };
    let secret = cluster("broken", &[json!({ "key": { "secretRef": { "name": "k" } } })]);
    let remote = with(cluster("broken", &[pass()]), "policy", json!({ "remote": {} }));
    for policy in [broken_key, no_root, secret, remote] {
        for (field, value) in [("mode", "audit"), ("mode", "warn"), ("onUnavailable", "allow")] {
            let mut gate = Gate::new().await;
            gate.attach(gate.alice());
            gate.policies.push(with(policy.clone(), field, value));
            gate.lenient = true;
            let answer = gate.admit().await;
            answer.assert_denied(Reason::PolicyInvalid);
            assert!(answer.message().contains("ClusterImagePolicy broken"), "{answer:?}");
        }
    }
}

/// A policy that needs the digest to know whether it applies stays in force while the registry
/// is down, beside one that an outage satisfies.
#[tokio::test]
async fn an_outage_leaves_no_policy_out() {
    let lenient = with(cluster("lenient", &[keyless(ALICE, ISSUER)]), "onUnavailable", "allow");
    let outage = Fault::Status { status: 503, times: usize::MAX, retry_after: None };
    for (strict, reason) in [
        (
            policy::glob(cluster("pinned", &[keyless(ALICE, ISSUER)]), "**@sha256:*"),
            Reason::RegistryUnreachable,
        ),
        (with(cluster("never", &[fail()]), "onUnavailable", "allow"), Reason::StaticFail),
        (with(cluster("never", &[fail()]), "onUnavailable", "warn"), Reason::StaticFail),
    ] {
        let mut gate = Gate::new().await;
        gate.policies = vec![lenient.clone()];
        gate.registry.fault("/v2/", outage.clone());
        assert!(gate.admit().await.allowed());
        gate.policies.push(strict);
        gate.admit().await.assert_denied(reason);
    }
}

/// CVE-2026-22039 and others: a namespace's policy binds that namespace, and loosens nothing.
#[tokio::test]
async fn a_namespaced_policy_neither_loosens_nor_reaches_elsewhere() {
    let mut gate = Gate::new().await;
    gate.policies.push(namespaced(NAMESPACE, "loose", &[pass()]));
    gate.admit().await.assert_denied(Reason::SignatureAbsent);
    gate.attach(gate.alice());
    gate.admit().await.assert_verified();
    gate.policies.push(namespaced("team-b", "strict", &[fail()]));
    gate.admit().await.assert_verified();
    gate.policies.push(namespaced(NAMESPACE, "strict", &[keyless(BOB, ISSUER)]));
    gate.admit().await.assert_denied(Reason::SubjectMismatch);
    gate.attach(gate.signer(BOB));
    gate.admit().await.assert_verified();
}

/// Reported elsewhere: what was verified once is judged again under each policy.
#[tokio::test]
async fn an_earlier_admission_answers_no_later_question() {
    let mut gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.admit().await.assert_verified();
    gate.demand(&[keyless(BOB, ISSUER)]);
    gate.admit().await.assert_denied(Reason::SubjectMismatch);
}

/// Reported elsewhere: an object that cannot be read is an error with a name, not an admission.
#[tokio::test]
async fn rejects_objects_that_cannot_be_read() {
    let gate = Gate::new().await;
    for spec in [json!(null), json!([]), json!("x"), json!({}), json!({ "containers": {} })] {
        let mut object = pod(&[]);
        object["spec"] = spec.clone();
        let answer = gate.create(&object).await;
        assert!(!answer.allowed(), "{spec}");
        assert_eq!(answer.0["status"]["code"], 400, "{spec}: {answer:?}");
    }
    let (status, _) = gate.send("validate", "{\"kind\":".to_owned()).await;
    assert_eq!(status, 400);
}
