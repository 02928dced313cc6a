//! Which policies bind a request, and what they ask together. They are written here as users
//! write them, in YAML.
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;

use crate::gate::ALICE;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy::cluster;
use crate::policy::glob;
use crate::policy::keyed;
use crate::policy::keyless;
use crate::policy::namespaced;
use crate::policy::with;
use crate::review::NAMESPACE;
use crate::review::containers;
use crate::review::pod;
use crate::review::workload;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;

#[tokio::test]
async fn every_policy_that_applies_must_be_met() {
    let mut gate = Gate::new().await;
    gate.policies.push(cluster("bob", &[keyless(BOB, ISSUER)]));
    gate.policies.push(namespaced(NAMESPACE, "own", &[keyless("carol@example.com", ISSUER)]));
    gate.attach(gate.alice());
    let answer = gate.admit().await;
    answer.assert_denied(Reason::SubjectMismatch);
    assert!(answer.message().contains("(1 further policy is not met)"), "{answer:?}");
    gate.attach(gate.signer(BOB));
    gate.admit().await.assert_denied(Reason::SubjectMismatch);
    gate.attach(gate.signer("carol@example.com"));
    gate.admit().await.assert_verified();
}

#[tokio::test]
async fn authorities_are_alternatives_until_a_threshold_asks_for_more() {
    let key = Key::generate(Algorithm::P256);
    let authorities = [keyless(ALICE, ISSUER), keyless(BOB, ISSUER), keyed(&key.public_pem())];
    for threshold in [1, 2, 3] {
        let mut gate = Gate::new().await;
        gate.policies = vec![with(cluster("some", &authorities), "threshold", threshold)];
        let wanted = |signed: usize| signed >= threshold;
        gate.attach(gate.signer(BOB));
        assert_eq!(gate.admit().await.allowed(), wanted(1), "{threshold}");
        gate.attach_classic(gate.sigstore.keyed(&key));
        assert_eq!(gate.admit().await.allowed(), wanted(2), "{threshold}");
        gate.attach(gate.alice());
        assert_eq!(gate.admit().await.allowed(), wanted(3), "{threshold}");
    }
}

#[tokio::test]
async fn both_formats_count_unless_one_is_named() {
    for (format, bundle, classic) in [
        (None, true, true),
        (Some("both"), true, true),
        (Some("bundle"), true, false),
        (Some("legacy"), false, true),
    ] {
        for (is_classic, wanted) in [(false, bundle), (true, classic)] {
            let mut gate = Gate::new().await;
            let mut authority = keyless(ALICE, ISSUER);
            if let Some(format) = format {
                authority["signatureFormat"] = json!(format);
            }
            gate.demand(&[authority]);
            let signing = gate.alice();
            if is_classic {
                gate.attach_classic(signing)
            } else {
                gate.attach(signing)
            }
            let answer = gate.admit().await;
            assert_eq!(answer.allowed(), wanted, "{format:?} {is_classic}: {answer:?}");
            if !wanted {
                answer.assert_denied(Reason::SignatureFormatRefused);
            }
        }
    }
}

#[tokio::test]
async fn a_policy_binds_the_kinds_labels_and_images_that_it_names() {
    let deployments = json!([{ "group": "apps", "version": "v1", "resource": "deployments" }]);
    let labelled = json!([{ "selector": { "matchLabels": { "tier": "web" } } }]);
    let mut gate = Gate::new().await;
    let strict = gate.policies[0].clone();
    let elsewhere = glob(strict.clone(), "elsewhere.example/**");
    let mut web = pod(&[&gate.image()]);
    web["metadata"]["labels"] = json!({ "tier": "web" });
    let deployment = workload("Deployment", &containers(&[&gate.image()]));
    let by_tag = glob(strict.clone(), &gate.image().replace(":v1", ":v*"));
    let by_digest = glob(strict.clone(), &gate.pinned());
    let other_digest =
        glob(strict.clone(), &gate.pinned().replace(gate.digest.hex(), &"0".repeat(64)));
    for (policy, plain, labels, template) in [
        (strict.clone(), true, true, true),
        (elsewhere, false, false, false),
        (with(strict.clone(), "match", deployments), false, false, true),
        (with(strict, "match", labelled), false, true, false),
        (by_tag, true, true, true),
        (by_digest, true, true, true),
        (other_digest, false, false, false),
    ] {
        gate.policies = vec![policy.clone()];
        for (object, bound) in
            [(pod(&[&gate.image()]), plain), (web.clone(), labels), (deployment.clone(), template)]
        {
            let answer = gate.create(&object).await;
            assert_eq!(!answer.allowed(), bound, "{policy} {object}: {answer:?}");
        }
    }
}

/// A namespace's labels are not part of a review. Until they are known, a selector excuses nobody.
#[tokio::test]
async fn a_namespace_selector_binds_while_labels_are_unknown() {
    let mut gate = Gate::new().await;
    let selector = json!({ "matchLabels": { "environment": "production" } });
    gate.policies = vec![with(gate.policies[0].clone(), "namespaceSelector", selector)];
    gate.admit().await.assert_denied(Reason::SignatureAbsent);
}

#[tokio::test]
async fn signatures_are_looked_for_where_the_policy_says() {
    let mut gate = Gate::new().await;
    let mut authority = keyless(ALICE, ISSUER);
    let oci = format!("{}/signatures", gate.registry.host());
    authority["source"] = json!([{ "oci": oci }]);
    gate.demand(&[authority]);
    gate.attach_classic(gate.alice());
    gate.admit().await.assert_denied(Reason::SignatureAbsent);
    let artifact = gate.alice().classic().sign(&gate.digest).oci();
    for blob in &artifact.blobs {
        gate.registry.put_blob(blob.clone());
    }
    let digest = gate.registry.put_manifest_bytes("signatures", artifact.manifest.clone().into());
    gate.registry.tag("signatures", artifact.tag.as_deref().unwrap(), &digest);
    gate.admit().await.assert_verified();
}

#[tokio::test]
async fn a_broken_policy_denies_what_it_could_be_for_and_nothing_else() {
    let mut gate = Gate::new().await;
    gate.lenient = true;
    gate.attach(gate.alice());
    let broken = cluster("broken", &[keyed("no key")]);
    gate.policies.push(glob(broken.clone(), "elsewhere.example/**"));
    gate.admit().await.assert_verified();
    gate.policies.push(broken);
    gate.admit().await.assert_denied(Reason::PolicyInvalid);
    gate.policies = vec![namespaced("team-b", "broken", &[keyed("no key")])];
    assert!(gate.admit().await.allowed(), "another namespace's");
    gate.policies = vec![namespaced(NAMESPACE, "broken", &[keyed("no key")])];
    gate.admit().await.assert_denied(Reason::PolicyInvalid);
    let mut unknown = Gate::new().await.policies[0].clone();
    unknown["spec"]["authoritys"] = Value::Null;
    gate.policies = vec![unknown];
    gate.admit().await.assert_denied(Reason::PolicyInvalid);
}

#[tokio::test]
async fn a_policy_in_yaml_as_users_write_it() {
    let gate = Gate::new().await;
    gate.attach(gate.sigstore.keyless(ALICE, ISSUER).log(Log::RekorV2).timestamp(1));
    let yaml = format!(
        "# Release images.
apiVersion: tegata.dev/v1alpha1
kind: ClusterImagePolicy
metadata:
  name: release
spec:
  images:
    - glob: {}/**
  authorities:
    - name: people
      keyless:
        identities:
          - issuer: {ISSUER}
            subjectRegExp: .*@example\\.com
      ctlog: {{}}
      rfc3161timestamp: {{}}
---
apiVersion: tegata.dev/v1alpha1
kind: ImagePolicy
metadata:
  name: own
  namespace: {NAMESPACE}
spec:
  images: [{{glob: \"**\"}}]
  authorities: [{{keyless: {{identities: [{{issuer: {ISSUER}, subject: {ALICE}}}]}}}}]
",
        gate.registry.host(),
    );
    let gate = Gate { yaml: Some(yaml), ..gate };
    gate.admit().await.assert_verified();
}
