//! What a policy that is not met does to the request.
use serde_json::json;
use tegata::admission::NoMatch;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::gate::Gate;
use crate::policy;
use crate::policy::with;

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ends {
    Admitted,
    Warned,
    Denied,
}

async fn ends(gate: &Gate) -> (Ends, Vec<String>) {
    let answer = gate.admit().await;
    let reasons = answer.reasons().into_iter().map(str::to_owned).collect();
    let unmet = answer.warnings().iter().any(|warning| warning.contains(" at step "));
    let ends = match (answer.allowed(), unmet) {
        (false, _) => Ends::Denied,
        (true, true) => Ends::Warned,
        (true, false) => Ends::Admitted,
    };
    (ends, reasons)
}

#[tokio::test]
async fn the_mode_decides_what_a_rejection_does_and_is_recorded_in_each() {
    for (mode, wanted) in
        [("enforce", Ends::Denied), ("warn", Ends::Warned), ("audit", Ends::Admitted)]
    {
        for on_unavailable in ["deny", "warn", "allow"] {
            let mut gate = Gate::new().await;
            let policy = with(gate.policies[0].clone(), "mode", mode);
            gate.policies = vec![with(policy, "onUnavailable", on_unavailable)];
            let (found, reasons) = ends(&gate).await;
            assert_eq!(found, wanted, "{mode} {on_unavailable}");
            assert_eq!(reasons, ["signature-absent"], "{mode} {on_unavailable}");
            gate.attach(gate.alice());
            assert_eq!(ends(&gate).await, (Ends::Admitted, Vec::new()));
        }
    }
}

#[tokio::test]
async fn an_outage_follows_the_mode_and_on_unavailable() {
    for (mode, on_unavailable, wanted) in [
        ("enforce", "deny", Ends::Denied),
        ("enforce", "warn", Ends::Warned),
        ("enforce", "allow", Ends::Admitted),
        ("warn", "deny", Ends::Warned),
        ("warn", "allow", Ends::Admitted),
        ("audit", "deny", Ends::Admitted),
        ("audit", "warn", Ends::Admitted),
    ] {
        for path in ["/manifests/v1", "/referrers/"] {
            let mut gate = Gate::new().await;
            let policy = with(gate.policies[0].clone(), "mode", mode);
            gate.policies = vec![with(policy, "onUnavailable", on_unavailable)];
            let fault = Fault::Status { status: 503, times: usize::MAX, retry_after: None };
            gate.registry.fault(path, fault);
            let (found, reasons) = ends(&gate).await;
            assert_eq!(found, wanted, "{mode} {on_unavailable} {path}");
            assert_eq!(reasons, ["registry-unreachable"], "{mode} {on_unavailable} {path}");
        }
    }
}

#[tokio::test]
async fn an_outage_of_the_registry_spoils_no_other_policys_denial() {
    let mut gate = Gate::new().await;
    let fail = json!({ "static": { "action": "fail" } });
    gate.policies.push(with(policy::cluster("never", &[fail]), "mode", "warn"));
    gate.registry
        .fault("/v2/", Fault::Status { status: 503, times: usize::MAX, retry_after: None });
    let answer = gate.admit().await;
    assert_eq!(answer.0["status"]["code"], 503, "a warning does not make it final: {answer:?}");
    assert!(answer.reasons().contains(&Reason::RegistryUnreachable.code()));
}

#[tokio::test]
async fn the_setting_decides_about_images_that_nobody_covers() {
    for (no_match, wanted) in [
        (NoMatch::Allow, Ends::Admitted),
        (NoMatch::Warn, Ends::Warned),
        (NoMatch::Deny, Ends::Denied),
    ] {
        let mut gate = Gate::new().await;
        gate.settings.no_match = no_match;
        gate.policies.clear();
        let (found, reasons) = ends(&gate).await;
        assert_eq!((found, reasons), (wanted, vec!["policy-none".to_owned()]), "{no_match:?}");
        assert_eq!(gate.registry.log().len(), 0);
    }
}

#[tokio::test]
async fn a_text_that_is_no_image_is_denied_where_a_policy_is_in_force() {
    let mut gate = Gate::new().await;
    let object = crate::review::pod(&["not an image"]);
    gate.create(&object).await.assert_denied(Reason::ImageReferenceInvalid);
    gate.policies.clear();
    assert!(gate.create(&object).await.allowed());
    gate.settings.no_match = NoMatch::Deny;
    gate.create(&object).await.assert_denied(Reason::PolicyNone);
}
