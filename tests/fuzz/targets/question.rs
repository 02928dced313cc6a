//! What the targets on signatures ask of each candidate.
use std::cell::LazyCell;

use jiff::Timestamp;

use tegata::evidence::Candidate;
use tegata::evidence::Content;
use tegata::evidence::Format;
use tegata::evidence::Place;
use tegata::image::Digest;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::trust_root::TrustRoot;
use tegata::verify;
use tegata::verify::PublicKey;
use tegata::verify::Question;

/// A key made for this purpose, whose private half was thrown away.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErDZKZuCl7IhpYbnmYvenyo1PX9Qt
A+sHDn5eXETpqwpo/9bT9gTPJV5cC5k/EEa2I52RAjbCB7LpNSa3mDUveg==
-----END PUBLIC KEY-----
";

thread_local! {
    static TRUST_ROOT: LazyCell<TrustRoot> = LazyCell::new(TrustRoot::public_good);
    static KEYS: LazyCell<Vec<PublicKey>> =
        LazyCell::new(|| PublicKey::from_pem(KEY, None).expect("the key is one"));
}

/// Verifies under a key and as keyless, and as a signature and a statement. Each must fail, and
/// must say why.
pub fn ask(format: Format, content: Content) {
    let digest = Digest::sha256_of(b"an image that nobody signed");
    let candidate =
        Candidate::new(Place::Referrers, digest.clone(), digest.clone(), format, Ok(content));
    let payloads = [
        PayloadKind::Signature,
        PayloadKind::Statement {
            predicate_types: None,
        },
    ];
    KEYS.with(|keys| {
        TRUST_ROOT.with(|trust_root| {
            for key in [None, keys.first()] {
                for payload in &payloads {
                    let demands = Demands::new(LogDemand::Optional, false);
                    let question = Question {
                        digest: &digest,
                        key,
                        demands,
                        payload,
                        trust_root,
                        now: Timestamp::UNIX_EPOCH,
                    };
                    let examined = verify::verify(&candidate, &question);
                    let failure = examined.result.expect_err("nobody signed");
                    assert!(!failure.found.is_empty());
                    assert!(!examined.steps.is_empty());
                }
            }
        });
    });
}
