//! Every kind and every image field; updates; requests that have nothing to judge.
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;

use crate::gate::Gate;
use crate::review;
use crate::review::KINDS;
use crate::review::containers;
use crate::review::pod;
use crate::review::update;
use crate::review::workload;

/// Every image field below a pod spec, around an image.
fn fields(image: &str) -> [(&'static str, &'static str, Value); 4] {
    let container = json!([{ "name": "c", "image": image }]);
    [
        ("containers[0].image", "containers", container.clone()),
        ("initContainers[0].image", "initContainers", container.clone()),
        ("ephemeralContainers[0].image", "ephemeralContainers", container),
        (
            "volumes[1].image.reference",
            "volumes",
            json!([{ "name": "a", "emptyDir": {} }, { "name": "b", "image": { "reference": image } }]),
        ),
    ]
}

#[tokio::test]
async fn every_kind_and_every_image_field_is_judged() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.put_image("unsigned", "v2");
    let unsigned = gate.image().replace(":v1", ":v2");
    for (kind, _, _, pointer) in KINDS {
        for (path, list, value) in fields(&unsigned) {
            let mut spec = containers(&[&gate.image()]);
            spec[list] = value;
            let answer = gate.create(&workload(kind, &spec)).await;
            answer.assert_denied(Reason::SignatureAbsent);
            let start = format!("{}.{path}: ", pointer.trim_start_matches('/').replace('/', "."));
            assert!(answer.message().starts_with(&start), "{kind}: {}", answer.message());
        }
        let answer = gate.create(&workload(kind, &containers(&[&gate.image()]))).await;
        answer.assert_verified();
    }
}

#[tokio::test]
async fn the_worst_image_decides_and_every_bad_one_is_named() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.put_image("unsigned", "v2");
    let [good, bad] = [gate.image(), gate.image().replace(":v1", ":v2")];
    let missing = gate.image().replace(":v1", ":v3");
    let answer = gate.create(&pod(&[&good, &bad, &missing])).await;
    answer.assert_denied(Reason::SignatureAbsent);
    answer.assert_denied(Reason::ImageNotFound);
    let verdicts: Vec<_> = answer.images().iter().map(|i| i["verdict"].clone()).collect();
    assert_eq!(verdicts, ["verified", "rejected", "rejected"]);
}

#[tokio::test]
async fn one_final_denial_makes_the_answer_final() {
    let gate = Gate::new().await;
    let fault = crate::fake_registry::Fault::Status { status: 503, times: 99, retry_after: None };
    gate.registry.fault("/manifests/v9", fault);
    let [unsigned, down] = [gate.image(), gate.image().replace(":v1", ":v9")];
    gate.create(&pod(&[&down])).await.assert_denied(Reason::RegistryUnreachable);
    let answer = gate.create(&pod(&[&down, &unsigned])).await;
    assert_eq!(answer.0["status"]["code"], 403, "{answer:?}");
    assert_eq!(answer.reasons(), ["registry-unreachable", "signature-absent"]);
}

#[tokio::test]
async fn an_update_is_judged_on_the_images_that_it_adds() {
    let gate = Gate::new().await;
    let old = pod(&[&gate.image()]);
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({ "x": "y" });
    let mut scaled = workload("Deployment", &containers(&[&gate.image()]));
    let deployment = scaled.clone();
    scaled["spec"]["replicas"] = json!(3);
    for review in [update(&labelled, &old), update(&scaled, &deployment)] {
        let answer = gate.ask("validate", &review).await;
        assert!(answer.allowed() && answer.images().is_empty(), "{answer:?}");
    }
    assert_eq!(gate.registry.log().len(), 0);
    let added = pod(&[&gate.image(), &gate.pinned()]);
    let answer = gate.ask("validate", &update(&added, &old)).await;
    answer.assert_denied(Reason::SignatureAbsent);
    assert_eq!(answer.images().len(), 1, "{answer:?}");
    // Nothing excuses an image: not an old object of another kind, and not its absence.
    for old in [Value::Null, deployment, json!({ "kind": "Pod", "apiVersion": "v1", "spec": 1 })] {
        let answer = gate.ask("validate", &update(&pod(&[&gate.image()]), &old)).await;
        answer.assert_denied(Reason::SignatureAbsent);
    }
}

#[tokio::test]
async fn deletions_and_connections_have_nothing_to_judge() {
    let gate = Gate::new().await;
    for operation in ["DELETE", "CONNECT"] {
        let mut review = review::review(operation, &pod(&[&gate.image()]), &Value::Null);
        review["request"]["object"] = Value::Null;
        assert!(gate.ask("validate", &review).await.allowed(), "{operation}");
    }
    assert_eq!(gate.registry.log().len(), 0);
}

#[tokio::test]
async fn a_dry_run_is_answered_alike() {
    let gate = Gate::new().await;
    let mut review = review::create(&pod(&[&gate.image()]));
    review["request"]["dryRun"] = json!(true);
    gate.ask("validate", &review).await.assert_denied(Reason::SignatureAbsent);
    gate.attach(gate.alice());
    let answer = gate.ask("mutate", &review).await;
    answer.assert_verified();
    assert_eq!(answer.patch().len(), 2);
}
