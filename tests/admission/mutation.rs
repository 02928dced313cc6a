//! What `/mutate` writes: the digest that was verified, in image fields, and nothing else.
use serde_json::Value;
use serde_json::json;
use tegata::admission::Mutate;
use tegata::image::Digest;
use tegata::verdict::Reason;

use crate::gate::Gate;
use crate::policy::with;
use crate::review::containers;
use crate::review::create;
use crate::review::pod;
use crate::review::update;
use crate::review::workload;

#[tokio::test]
async fn pins_the_digest_that_was_verified_and_computed() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    let mut object = pod(&[&gate.image(), &gate.pinned(), &gate.image()]);
    object["spec"]["unknown"] = json!({ "future": true });
    let answer = gate.ask("mutate", &create(&object)).await;
    answer.assert_verified();
    let computed = Digest::sha256_of(crate::gate::image("app").to_string().as_bytes());
    let pinned = format!("{}@{computed}", gate.image());
    let operations = |index: usize| {
        let path = format!("/spec/containers/{index}/image");
        [
            json!({ "op": "test", "path": path, "value": gate.image() }),
            json!({ "op": "replace", "path": path, "value": pinned }),
        ]
    };
    let wanted: Vec<Value> = [operations(0), operations(2)].concat();
    assert_eq!(answer.patch(), wanted);
    assert_eq!(answer.warnings(), [] as [&str; 0]);
}

#[tokio::test]
async fn validation_never_patches_and_denials_carry_none() {
    let gate = Gate::new().await;
    let review = create(&pod(&[&gate.image()]));
    gate.ask("mutate", &review).await.assert_denied(Reason::SignatureAbsent);
    gate.attach(gate.alice());
    assert!(gate.ask("validate", &review).await.patch().is_empty());
    assert_eq!(gate.ask("mutate", &review).await.patch().len(), 2);
}

#[tokio::test]
async fn the_setting_says_which_kinds_are_pinned() {
    for (mutate, pods, templates, warns) in
        [(Mutate::Off, 0, 0, true), (Mutate::Pods, 2, 0, false), (Mutate::All, 2, 2, false)]
    {
        let mut gate = Gate::new().await;
        gate.attach(gate.alice());
        gate.settings.mutate = mutate;
        let answer = gate.ask("mutate", &create(&pod(&[&gate.image()]))).await;
        assert_eq!(answer.patch().len(), pods, "{mutate:?}");
        assert_eq!(!answer.warnings().is_empty(), warns, "{mutate:?} {answer:?}");
        let template = workload("Deployment", &containers(&[&gate.image()]));
        let answer = gate.ask("mutate", &create(&template)).await;
        assert_eq!(answer.patch().len(), templates, "{mutate:?}");
        for operation in answer.patch() {
            assert_eq!(operation["path"], "/spec/template/spec/containers/0/image");
        }
    }
}

/// What was only let pass is not called verified: a digest would say that it was.
#[tokio::test]
async fn pins_nothing_that_was_not_verified() {
    let mut gate = Gate::new().await;
    let policy = gate.policies[0].clone();
    for policies in
        [vec![with(policy.clone(), "mode", "warn")], vec![with(policy, "mode", "audit")], vec![]]
    {
        gate.policies = policies;
        let answer = gate.ask("mutate", &create(&pod(&[&gate.image()]))).await;
        assert!(answer.allowed() && answer.patch().is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_update_pins_the_images_that_it_adds() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    let old = pod(&["other.example/app:v1"]);
    let new = pod(&["other.example/app:v1", &gate.image()]);
    let answer = gate.ask("mutate", &update(&new, &old)).await;
    let paths: Vec<_> = answer.patch().iter().map(|op| op["path"].clone()).collect();
    assert_eq!(paths, ["/spec/containers/1/image"; 2]);
}
