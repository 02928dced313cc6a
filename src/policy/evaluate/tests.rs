use std::num::NonZeroUsize;
use std::sync::Arc;

use super::*;
use crate::evidence::Format;
use crate::policy::Demands;
use crate::policy::ImageGlob;
use crate::policy::LogDemand;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::policy::Platforms;
use crate::policy::PolicyId;
use crate::policy::Scope;
use crate::policy::TextMatcher;
use crate::trust_root::TrustRoot;

fn policy(threshold: usize, signers: Vec<Signer>) -> Policy {
    let trust_root = Arc::new(TrustRoot::public_good());
    let authorities = signers.into_iter().enumerate().map(|(index, signer)| Authority {
        name: format!("authority-{index}"),
        signer,
        sources: Vec::new(),
        formats: vec![Format::Legacy, Format::Bundle],
        demands: Demands::new(LogDemand::Optional, false),
        rekor: None,
        trust_root: Arc::clone(&trust_root),
        attestations: Vec::new(),
    });
    Policy {
        id: PolicyId::Cluster { name: "p".to_owned() },
        scope: Scope {
            images: vec![ImageGlob::everything().unwrap()],
            workloads: Vec::new(),
            namespaces: None,
        },
        mode: Mode::Enforce,
        on_unavailable: OnUnavailable::Deny,
        platforms: Platforms::Index,
        threshold: NonZeroUsize::new(threshold).unwrap(),
        authorities: authorities.collect(),
        rules: None,
        version: None,
    }
}

fn keys(count: usize) -> Vec<Signer> {
    (0..count).map(|_| Signer::Keys(Vec::new())).collect()
}

fn key(name: &str) -> SignerReport {
    SignerReport::Key { fingerprint: name.to_owned() }
}

fn verified(entries: &[(usize, &[&str])]) -> Verified {
    entries.iter().map(|(i, names)| (*i, names.iter().map(|n| key(n)).collect())).collect()
}

#[test]
fn one_signer_twice_is_one() {
    for (threshold_wanted, authorities, entries, met) in [
        (1, 2, &[(1, &["a"][..])][..], true),
        (2, 2, &[(0, &["a"][..]), (1, &["b"][..])][..], true),
        (2, 2, &[(0, &["a"][..]), (1, &["a"][..])][..], false),
        (2, 2, &[(0, &["a", "b"][..])][..], false),
        (2, 3, &[(0, &["a"][..]), (1, &["a"][..]), (2, &["a"][..])][..], false),
        // A greedy choice of `a` for the first authority would leave none for the second.
        (2, 2, &[(0, &["a", "b"][..]), (1, &["a"][..])][..], true),
        (3, 3, &[(0, &["a", "b"][..]), (1, &["a", "c"][..]), (2, &["a"][..])][..], true),
        (3, 3, &[(0, &["a", "b"][..]), (1, &["a", "b"][..]), (2, &["a", "b"][..])][..], false),
        (1, 1, &[][..], false),
        // An authority that the policy does not have.
        (1, 1, &[(7, &["a"][..])][..], false),
    ] {
        let policy = policy(threshold_wanted, keys(authorities));
        let result = threshold(&policy, &verified(entries));
        assert_eq!(result.is_ok(), met, "{threshold_wanted} {entries:?}");
        if let Err(failure) = result {
            assert_eq!(failure.reason, Reason::ThresholdUnmet);
        }
    }
}

#[test]
fn static_answers_count_once_or_never() {
    let fail = || Signer::StaticFail { message: "closed registry".to_owned() };
    let pass = || Signer::StaticPass;
    assert_eq!(threshold(&policy(1, vec![pass()]), &Verified::new()), Ok(()));
    let twice = threshold(&policy(2, vec![pass(), pass()]), &Verified::new()).unwrap_err();
    assert_eq!(twice.reason, Reason::ThresholdUnmet);
    let mixed = policy(2, vec![pass(), Signer::Keys(Vec::new())]);
    assert_eq!(threshold(&mixed, &verified(&[(1, &["a"])])), Ok(()));

    let refused = threshold(&policy(1, vec![fail()]), &verified(&[(0, &["a"])])).unwrap_err();
    assert_eq!(refused.reason, Reason::StaticFail);
    assert_eq!(refused.found, "closed registry");
    let alternative = policy(1, vec![fail(), Signer::Keys(Vec::new())]);
    assert_eq!(threshold(&alternative, &verified(&[(1, &["a"])])), Ok(()));
    let neither = threshold(&alternative, &Verified::new()).unwrap_err();
    assert_eq!(neither.reason, Reason::ThresholdUnmet);
}

#[test]
fn a_full_house_is_decided_at_once() {
    let policy = policy(32, keys(32));
    let names: Vec<String> = (0..128).map(|n| format!("{n:03}")).collect();
    let all: BTreeSet<SignerReport> = names.iter().map(|n| key(n)).collect();
    let verified: Verified = (0..32).map(|i| (i, all.clone())).collect();
    assert_eq!(distinct_signers(&policy, &verified), 32);
    let few: BTreeSet<SignerReport> = names.iter().take(31).map(|n| key(n)).collect();
    let verified: Verified = (0..32).map(|i| (i, few.clone())).collect();
    assert_eq!(distinct_signers(&policy, &verified), 31);
}

#[test]
fn a_certificate_is_one_signer_whichever_subject_matched() {
    let certificate = |subjects: &[&str]| {
        signer(&VerifiedSigner::Certificate(CertificateIdentity {
            issuer: "i".to_owned(),
            subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
            claims: BTreeMap::new(),
        }))
    };
    assert_eq!(certificate(&["a", "b"]), certificate(&["b", "a"]));
    assert_ne!(certificate(&["a"]), certificate(&["b"]));
}

#[test]
fn reports_the_identity_that_got_furthest() {
    let exact = |text: &str| TextMatcher::exact(text).unwrap();
    let matcher = |issuer: &str, subject: &str, claim: Option<&str>| {
        let claims = claim.map(|claim| ("buildTrigger".to_owned(), exact(claim)));
        IdentityMatcher::new(exact(issuer), exact(subject), claims.into_iter().collect()).unwrap()
    };
    let found = CertificateIdentity {
        issuer: "i".to_owned(),
        subjects: vec!["s".to_owned()],
        claims: BTreeMap::from([("buildTrigger", "push".to_owned())]),
    };
    let issuer = || matcher("x", "s", None);
    let subject = || matcher("i", "x", None);
    let claim = || matcher("i", "s", Some("release"));
    let good = || matcher("i", "s", Some("push"));
    let reason = |identities: &[IdentityMatcher]| identity(identities, &found).unwrap_err().reason;
    assert_eq!(reason(&[]), Reason::IssuerMismatch);
    assert_eq!(reason(&[issuer()]), Reason::IssuerMismatch);
    assert_eq!(reason(&[subject(), issuer()]), Reason::SubjectMismatch);
    assert_eq!(reason(&[issuer(), claim(), subject()]), Reason::ClaimMismatch);
    assert_eq!(identity(&[issuer(), claim(), good()], &found), Ok(2));
}
