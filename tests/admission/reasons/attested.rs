//! Situations that lie in what attestations say.
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;

use crate::gate::ALICE;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy::keyless;

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const REPORT: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const VEX: &str = "https://openvex.dev/ns/v0.2.0";

/// Makes the situation, where this reason is one of attestations.
#[expect(clippy::wildcard_enum_match_arm, reason = "other reasons have other places")]
pub(super) fn arrange(reason: Reason, gate: &mut Gate) -> bool {
    let cel = |text: &str| json!({ "predicateType": PROVENANCE, "conditions": [{ "cel": text }] });
    let list: Value = (0..300).collect();
    let numbers = Some((PROVENANCE, json!({ "numbers": list })));
    let strict = json!({ "vulnerabilities": { "maxSeverity": "low", "maxAge": "1d" } });
    let (asked, attached) = match reason {
        Reason::AttestationAbsent => (cel("true"), None),
        Reason::ConditionUnmet => (cel("size(predicate.numbers) == 301"), numbers),
        Reason::ConditionError => (cel("predicate.names == 1"), numbers),
        Reason::ConditionTooCostly => {
            let all = |inner: &str, name: &str| format!("predicate.numbers.all({name}, {inner})");
            let text = all(&all(&all("a + b + c >= 0", "a"), "b"), "c");
            (cel(&text), numbers)
        }
        Reason::PredicateUnusable => (strict, Some((REPORT, report(&now(), json!([]))))),
        Reason::ProvenanceMismatch => {
            let predicate = json!({
                "buildDefinition": { "buildType": "x", "externalParameters": {} },
                "runDetails": { "builder": { "id": "https://evil.example/builder" } },
            });
            let asked = json!({ "slsaProvenance": { "builders": ["https://ci.example/builder"] } });
            (asked, Some((PROVENANCE, predicate)))
        }
        Reason::ScanOutdated => {
            (strict, Some((REPORT, report("2020-01-01T00:00:00Z", trivy(&[])))))
        }
        Reason::VulnerabilityFound => {
            (strict, Some((REPORT, report(&now(), trivy(&[("CVE-2026-1", "HIGH")])))))
        }
        Reason::VexUnmet => {
            let asked = json!({ "vex": { "vulnerabilities": ["CVE-2026-1"] } });
            let document = json!({
                "@context": VEX, "@id": "https://example.com/vex", "author": "a", "version": 1,
                "timestamp": now(), "statements": [],
            });
            (asked, Some((VEX, document)))
        }
        _ => return false,
    };
    let mut authority = keyless(ALICE, ISSUER);
    let mut attestation = asked;
    attestation["name"] = json!("asked");
    authority["attestations"] = json!([attestation]);
    gate.demand(&[authority]);
    if let Some((kind, predicate)) = attached {
        gate.attach(gate.alice().predicate(kind, predicate));
    }
    true
}

fn now() -> String {
    tegata::server::now().to_string()
}

fn report(finished: &str, result: Value) -> Value {
    json!({
        "invocation": {}, "metadata": { "scanStartedOn": finished, "scanFinishedOn": finished },
        "scanner": { "uri": "pkg:github/aquasecurity/trivy", "version": "1", "result": result },
    })
}

fn trivy(findings: &[(&str, &str)]) -> Value {
    let finding = |(id, severity): &(&str, &str)| json!({ "VulnerabilityID": id, "PkgName": "p", "Severity": severity });
    let findings: Vec<Value> = findings.iter().map(finding).collect();
    let results = json!([{ "Target": "app", "Vulnerabilities": findings }]);
    json!({ "SchemaVersion": 2, "ArtifactName": "app", "Results": results })
}
