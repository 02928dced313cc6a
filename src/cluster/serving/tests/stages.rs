//! Every stage of a rotation, as TLS clients see it.
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject as _;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use super::super::rotation::Action;
use super::super::rotation::MAX_AUTHORITIES;
use super::super::stored::Garbage;
use super::super::stored::Stored;
use super::super::stored::is_ours;

pub(super) fn names() -> Vec<String> {
    vec!["tegata.ns.svc".to_owned(), "tegata.ns.svc.cluster.local".to_owned()]
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Whether a client that trusts `bundle` accepts the leaf in `secret`.
pub(super) fn trusts(bundle: &str, secret: &Secret, now: Timestamp) -> bool {
    let anchors: Vec<_> =
        CertificateDer::pem_slice_iter(bundle.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let anchors: Vec<_> =
        anchors.iter().map(|der| webpki::anchor_from_trusted_cert(der).unwrap()).collect();
    let leaf = CertificateDer::from_pem_slice(text(secret, "tls.crt").as_bytes()).unwrap();
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    let now = u64::try_from(now.as_second()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let usage = KeyUsage::server_auth();
    names().iter().all(|name| {
        let name = ServerName::try_from(name.as_str()).unwrap();
        leaf.verify_is_valid_for_subject_name(&name).is_ok()
    }) && leaf.verify_for_usage(algorithms, &anchors, &[], now, usage, None, None).is_ok()
}

pub(super) fn text<'a>(secret: &'a Secret, name: &str) -> &'a str {
    std::str::from_utf8(&secret.data.as_ref().unwrap()[name].0).unwrap()
}

fn written(stored: &Stored) -> Secret {
    let mut secret = Secret::default();
    stored.write(&mut secret);
    secret
}

/// One step, through the Secret and back, as another replica would take it.
fn step(secret: &Secret, action: Action, now: Timestamp) -> Secret {
    let stored = Stored::parse(secret, &names()).unwrap();
    let mut secret = secret.clone();
    stored.after(action, &names(), now).unwrap().write(&mut secret);
    Stored::parse(&secret, &names()).unwrap();
    secret
}

fn count(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn clients_trust_the_leaf_at_every_stage_of_a_rotation() {
    let rest = written(&Stored::create(&names(), at(0)).unwrap());
    let old = text(&rest, "ca.crt").to_owned();
    assert!(trusts(&old, &rest, at(0)) && trusts(&old, &rest, at(90 * 86_400)));
    assert!(!trusts(&old, &rest, at(90 * 86_400 + 1)), "a leaf lasts 90 days");

    let announced = step(&rest, Action::Announce, at(10));
    let both = text(&announced, "ca.crt").to_owned();
    let new = both.strip_suffix(&old).expect("newest first").to_owned();
    assert_eq!((count(&old), count(&new), count(&both)), (1, 1, 2));
    assert_eq!(text(&announced, "tls.crt"), text(&rest, "tls.crt"));
    let trusted = |secret| [&old, &new, &both].map(|bundle| trusts(bundle, secret, at(100)));
    assert_eq!(trusted(&announced), [true, false, true]);
    let renewed = step(&announced, Action::Renew, at(20));
    assert_eq!(trusted(&renewed), [true, false, true], "renewed under the old authority");

    let confirmed = step(&renewed, Action::Confirm, at(30));
    assert_eq!(trusted(&confirmed), [true, false, true]);
    let since = |secret: &Secret| {
        Stored::parse(secret, &names()).unwrap().state().next.map(|next| next.in_step_since)
    };
    assert_eq!(since(&announced), Some(None));
    assert_eq!(since(&confirmed), Some(Some(at(30))));
    assert_eq!(since(&step(&confirmed, Action::Withdraw, at(31))), Some(None));

    let promoted = step(&confirmed, Action::Promote, at(60));
    assert_eq!(trusted(&promoted), [false, true, true]);
    assert_eq!(text(&promoted, "ca.crt"), both);
    assert_eq!(since(&promoted), None);
    assert!(!promoted.data.as_ref().unwrap().contains_key("next-ca.key"));
    assert_ne!(text(&promoted, "ca.key"), text(&announced, "ca.key"), "the old key is gone");

    let retired = step(&promoted, Action::Retire, at(4000));
    assert_eq!(text(&retired, "ca.crt"), new);
    assert_eq!(trusted(&retired), [false, true, true]);
    assert_eq!(text(&retired, "tls.crt"), text(&promoted, "tls.crt"));
}

#[test]
fn a_request_to_rotate_is_kept_until_it_is_granted() {
    let mut secret = written(&Stored::create(&names(), at(0)).unwrap());
    let asked = |secret: &Secret| Stored::parse(secret, &names()).unwrap().state().asked;
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert("tegata.dev/rotate".to_owned(), "later".to_owned());
    assert!(!asked(&secret));
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert("tegata.dev/rotate".to_owned(), "now".to_owned());
    annotations.insert("example.com/kept".to_owned(), "yes".to_owned());
    assert!(asked(&secret) && asked(&step(&secret, Action::Renew, at(1))));
    let announced = step(&secret, Action::Announce, at(2));
    assert!(!asked(&announced));
    let annotations = announced.metadata.annotations.unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["example.com/kept"]);
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let rest = written(&Stored::create(&names(), at(0)).unwrap());
    let late = step(&rest, Action::Renew, at(330 * 86_400));
    let state = Stored::parse(&late, &names()).unwrap().state();
    assert_eq!(state.leaf_expires, state.authority_expires);
    assert_eq!(state.authority_expires, at(365 * 86_400));
    assert_eq!((state.leaf_issued, state.authority_issued), (at(330 * 86_400), at(0)));
}

#[test]
fn notices_names_that_the_leaf_is_not_for() {
    let secret = written(&Stored::create(&names(), at(0)).unwrap());
    let other = [names(), vec!["tegata.other.svc".to_owned()]].concat();
    assert!(Stored::parse(&secret, &names()).unwrap().state().names_fit);
    assert!(!Stored::parse(&secret, &other).unwrap().state().names_fit);
}

#[test]
fn rejects_what_does_not_belong_together() {
    let good = written(&Stored::create(&names(), at(0)).unwrap());
    let foreign = written(&Stored::create(&names(), at(0)).unwrap());
    let with = |name: &str, value: Option<&[u8]>| {
        let mut secret = good.clone();
        let data = secret.data.as_mut().unwrap();
        match value {
            Some(value) => data.insert(name.to_owned(), ByteString(value.to_vec())),
            None => data.remove(name),
        };
        Stored::parse(&secret, &names()).err().map(|garbage| {
            let text = format!("{garbage} {garbage:?}");
            assert!(!text.contains("PRIVATE"), "{text}");
            garbage
        })
    };
    let of_foreign = |name| with(name, Some(text(&foreign, name).as_bytes()));
    for name in ["tls.crt", "tls.key", "ca.crt", "ca.key"] {
        let missing = with(name, None);
        assert!(matches!(missing, Some(Garbage::Missing { name: found }) if found == name));
        let binary = with(name, Some(b"\xff"));
        assert!(matches!(binary, Some(Garbage::Text { name: found }) if found == name));
    }
    assert!(matches!(of_foreign("tls.crt"), Some(Garbage::Pair(_))));
    assert!(matches!(of_foreign("tls.key"), Some(Garbage::Pair(_))));
    assert!(matches!(of_foreign("ca.crt"), Some(Garbage::Issuer)));
    assert!(matches!(of_foreign("ca.key"), Some(Garbage::Issuer)));
    assert!(matches!(
        with("tls.key", Some(b"-----BEGIN PRIVATE KEY-----")),
        Some(Garbage::Pair(_))
    ));
    assert!(matches!(with("ca.crt", Some(b"")), Some(Garbage::Issuer)));
    let leaf = text(&good, "tls.crt").as_bytes();
    assert!(matches!(with("ca.crt", Some(leaf)), Some(Garbage::Issuer)));
    let many = text(&good, "ca.crt").repeat(MAX_AUTHORITIES + 1);
    assert!(matches!(with("ca.crt", Some(many.as_bytes())), Some(Garbage::TooMany)));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(with("ca.crt", Some(broken.as_bytes())), Some(Garbage::Authority)));

    // A pair that is whole, of an authority whose key is not here.
    let mut secret = good.clone();
    for name in ["tls.crt", "tls.key"] {
        let value = ByteString(text(&foreign, name).as_bytes().to_vec());
        secret.data.as_mut().unwrap().insert(name.to_owned(), value);
    }
    assert!(matches!(Stored::parse(&secret, &names()).err(), Some(Garbage::Leaf)));
}

#[test]
fn an_announced_authority_without_its_key_is_not_promoted() {
    let rest = written(&Stored::create(&names(), at(0)).unwrap());
    let mut announced = step(&rest, Action::Announce, at(1));
    let foreign = text(&rest, "ca.key").as_bytes().to_vec();
    let data = announced.data.as_mut().unwrap();
    data.insert("next-ca.key".to_owned(), ByteString(foreign));
    let state = Stored::parse(&announced, &names()).unwrap().state();
    assert!(state.next.is_none());
    assert_eq!(state.authorities, 2);
}

#[test]
fn only_our_secrets_and_empty_ones_are_overwritten() {
    let ours = written(&Stored::create(&names(), at(0)).unwrap());
    assert!(is_ours(&ours) && is_ours(&Secret::default()));
    let mut foreign = ours.clone();
    foreign.metadata.labels = None;
    assert!(!is_ours(&foreign));
    foreign.metadata.labels =
        Some([("app.kubernetes.io/managed-by".to_owned(), "Helm".to_owned())].into());
    assert!(!is_ours(&foreign));
}
