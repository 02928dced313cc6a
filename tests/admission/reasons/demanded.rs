//! Situations that lie in what a policy demands besides a signature: logs, timestamps, an authority
//! of its own.
use bytes::Bytes;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::LogUrl;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::gate::ALICE;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy::keyless;
use crate::virtual_sigstore::Version;

/// Makes the situation, where this reason is one of them.
#[expect(clippy::wildcard_enum_match_arm, reason = "other reasons have other places")]
pub(super) fn arrange(reason: Reason, gate: &mut Gate) -> bool {
    match reason {
        Reason::LogUnreachable => look_up(gate, "http://127.0.0.1:1", true),
        Reason::LogAddressForbidden => look_up(gate, "https://169.254.169.254", false),
        Reason::LogAnswerMalformed => answer(gate, Bytes::from("<html>")),
        Reason::LogSearchTooLarge => answer(gate, vec![b' '; 8 << 20].into()),
        Reason::LogThresholdUnmet => {
            gate.attach(gate.alice());
            demand(gate, "ctlog", json!({ "threshold": 2 }));
        }
        Reason::TimestampThresholdUnmet => {
            gate.attach(gate.alice().timestamp(1));
            demand(gate, "rfc3161timestamp", json!({ "threshold": 2 }));
        }
        Reason::CertificateRevoked => own_authority(gate, true, 1),
        Reason::RevocationListExpired => own_authority(gate, false, -1),
        _ => return false,
    }
    true
}

fn demand(gate: &mut Gate, field: &str, value: Value) {
    let mut authority = keyless(ALICE, ISSUER);
    authority[field] = value;
    gate.demand(&[authority]);
}

/// A signature without its log entry, and a log at this address to ask for it.
fn look_up(gate: &mut Gate, url: &str, allowed: bool) {
    gate.push(&gate.alice().bundle(Version::V03).sign(&gate.digest).unlogged().oci());
    demand(gate, "ctlog", json!({ "url": url }));
    if allowed {
        gate.logs.push(url.parse::<LogUrl>().unwrap());
    }
}

/// The same with a log that answers so.
fn answer(gate: &mut Gate, body: Bytes) {
    let url = format!("http://{}", gate.registry.host());
    gate.registry.fault("/api/v1/", Fault::AnswerFrom(1, body));
    look_up(gate, &url, true);
}

/// An authority of the policy's own, with a list of revoked certificates to be replaced in `days`.
fn own_authority(gate: &mut Gate, revoked: bool, days: i64) {
    let signed = gate.sigstore.keyless(ALICE, ISSUER).timestamp(1);
    let signed = signed.bundle(Version::V03).sign(&gate.digest);
    let serial = serial(signed.certificate.as_deref().unwrap());
    let serials = if revoked { vec![serial] } else { Vec::new() };
    let until = tegata::server::now() + (days * 24).hours();
    let list = gate.sigstore.revocation_list(&serials, until, false);
    gate.push(&signed.oci());
    let [root, intermediate] = gate.sigstore.authority_pem();
    gate.demand(&[json!({ "certificate": {
        "data": root, "intermediates": intermediate, "revocationList": list,
        "identities": [{ "subject": ALICE }],
    } })]);
}

fn serial(certificate: &[u8]) -> Vec<u8> {
    use x509_cert::der::Decode as _;
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    certificate.tbs_certificate.serial_number.as_bytes().to_vec()
}
