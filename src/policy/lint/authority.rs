//! Authorities that decide nothing, and thresholds that nobody can meet.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Fields;
use super::Hint;
use super::repeated;
use crate::api;
use crate::evidence::Format;
use crate::policy::Policy;
use crate::policy::Signer;
use crate::policy::evaluate;
use crate::verdict::SignerReport;
use crate::verify::PublicKey;

/// Globs that cover every image.
const EVERY_IMAGE: [&str; 2] = ["*", "**"];

pub(super) fn check(fields: Fields<'_>, policy: Option<&Policy>, hints: &mut Vec<Hint>) {
    let specs = fields.authorities;
    let unnamed = |spec: &api::AuthoritySpec| api::AuthoritySpec { name: None, ..spec.clone() };
    repeated(&specs.iter().map(unnamed).collect::<Vec<_>>(), "spec.authorities", hints);
    for (index, spec) in specs.iter().enumerate() {
        if let Some(keyless) = &spec.keyless {
            let path = format!("spec.authorities[{index}].keyless.identities");
            repeated(&keyless.identities, &path, hints);
        }
    }
    fixed_answers(fields, hints);
    let Some(policy) = policy else { return };
    thresholds(policy, hints);
    let (possible, wanted) = (most_signers(policy, specs), policy.threshold.get());
    // Static refusals are told about, and are the only authorities without signers.
    if possible < wanted && possible > 0 {
        let text = format!(
            "the authorities have {possible} distinct signers at most, so it can never be met"
        );
        hints.push(Hint::new("spec.threshold", text));
    }
}

/// Thresholds of logs and of timestamp authorities that no signature can meet.
fn thresholds(policy: &Policy, hints: &mut Vec<Hint>) {
    for (index, authority) in policy.authorities.iter().enumerate() {
        let (demands, root) = (authority.demands, &authority.trust_root);
        let classic_alone = authority.formats == [Format::Legacy];
        for (field, wanted, possible, what) in [
            ("ctlog", demands.log_threshold.get(), root.distinct_logs(), "logs"),
            (
                "rfc3161timestamp",
                demands.timestamp_threshold.get(),
                root.distinct_timestamp_authorities(),
                "timestamp authorities",
            ),
        ] {
            let text = if wanted > 1 && possible < wanted {
                format!("the trust root has {possible} distinct {what}, so it can never be met")
            } else if wanted > 1 && classic_alone {
                format!("a classic signature has room for one of the {what}: accept bundles")
            } else {
                continue;
            };
            hints.push(Hint::new(format!("spec.authorities[{index}].{field}.threshold"), text));
        }
    }
}

fn fixed_answers(fields: Fields<'_>, hints: &mut Vec<Hint>) {
    let Fields { images, matches, namespaces, mode, authorities, .. } = fields;
    let action = |spec: &api::AuthoritySpec| spec.fixed.as_ref().map(|fixed| fixed.action);
    let all_fail = authorities.iter().all(|spec| action(spec) == Some(api::StaticActionSpec::Fail));
    let everywhere = matches.is_empty()
        && namespaces.is_none_or(|selector| *selector == api::LabelSelector::default())
        && images.iter().any(|image| EVERY_IMAGE.contains(&image.glob.as_str()));
    if all_fail && everywhere && mode == api::ModeSpec::Enforce {
        let text = "it denies every image wherever it applies: name the images in `images`";
        hints.push(Hint::new("spec.authorities", text));
    }
    if all_fail || authorities.len() < 2 {
        return;
    }
    for (index, spec) in authorities.iter().enumerate() {
        let text = match action(spec) {
            Some(api::StaticActionSpec::Pass) => {
                "it is met whoever signed, beside authorities that ask: leave out one or the other"
            }
            Some(api::StaticActionSpec::Fail) => {
                "it is never met, which refuses nothing beside other authorities: \
                 give it a policy of its own"
            }
            None => continue,
        };
        hints.push(Hint::new(format!("spec.authorities[{index}].static"), text));
    }
}

/// Most distinct signers that the authorities can have, each for another one.
///
/// A regular expression may have any number: it counts as a signer of its own.
fn most_signers(policy: &Policy, specs: &[api::AuthoritySpec]) -> usize {
    let signers = |index: usize, signer: &Signer| match signer {
        Signer::Keys(keys) => keys.iter().map(PublicKey::fingerprint).map(key).collect(),
        Signer::Identities(_) => {
            let keyless = specs.get(index).and_then(|spec| spec.keyless.as_ref());
            let identities = keyless.iter().flat_map(|keyless| &keyless.identities);
            identities.map(|identity| certificate(index, identity)).collect()
        }
        Signer::Certificates { .. } => BTreeSet::from([SignerReport::Certificate {
            issuer: String::new(),
            subject: index.to_string(),
        }]),
        Signer::StaticPass | Signer::StaticFail { .. } => BTreeSet::new(),
    };
    let all: BTreeMap<usize, BTreeSet<SignerReport>> = policy
        .authorities
        .iter()
        .enumerate()
        .map(|(index, authority)| (index, signers(index, &authority.signer)))
        .collect();
    evaluate::distinct_signers(policy, &all)
}

fn key(fingerprint: &str) -> SignerReport {
    SignerReport::Key { fingerprint: fingerprint.to_owned() }
}

fn certificate(authority: usize, identity: &api::IdentitySpec) -> SignerReport {
    match (&identity.issuer, &identity.subject) {
        (Some(issuer), Some(subject)) => {
            SignerReport::Certificate { issuer: issuer.clone(), subject: subject.clone() }
        }
        // No issuer is empty, so it is none of the exact ones.
        _ => SignerReport::Certificate { issuer: String::new(), subject: authority.to_string() },
    }
}
