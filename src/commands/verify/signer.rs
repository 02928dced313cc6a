//! A policy made of flags: everything signed by this key, or by this identity.
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::super::InputError;
use super::super::inputs;
use super::VerifyError;
use super::sources;
use super::sources::Pattern;
use crate::args::verify::SignerArgs;
use crate::evidence::Format;
use crate::policy::Authority;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::policy::Platforms;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::policy::PolicySnapshot;
use crate::policy::PolicyState;
use crate::policy::Scope;
use crate::policy::Signer;
use crate::trust_root::TrustRoot;
use crate::verify::PublicKey;

/// A snapshot with one policy, for every image, that asks for the signer of the flags and believes
/// `root`.
///
/// # Errors
/// When the flags name no signer, or files that cannot be used.
pub(super) fn snapshot(
    args: &SignerArgs,
    root: Arc<TrustRoot>,
) -> Result<PolicySnapshot, VerifyError> {
    let demands = demands(args)?;
    let (name, signer) = signer(args)?;
    let authority = Authority {
        name: name.to_owned(),
        signer,
        sources: Vec::new(),
        formats: vec![Format::Legacy, Format::Bundle],
        demands,
        rekor: args.rekor_url.clone(),
        trust_root: root,
        attestations: Vec::new(),
    };
    let policy = Policy {
        id: PolicyId::Cluster { name: "of-the-command-line".to_owned() },
        scope: Scope {
            images: vec![sources::every_image()?],
            workloads: Vec::new(),
            namespaces: None,
        },
        mode: Mode::Enforce,
        on_unavailable: OnUnavailable::Deny,
        platforms: Platforms::Index,
        threshold: NonZeroUsize::MIN,
        authorities: vec![authority],
        rules: None,
        version: None,
    };
    Ok(PolicySnapshot::new(vec![PolicyState::Ready(Arc::new(policy))]))
}

/// What must prove log inclusion and time. A key needs neither unless a flag asks; a certificate
/// lives for minutes, so its signing time must be proven by one of the two.
fn demands(args: &SignerArgs) -> Result<Demands, VerifyError> {
    let timestamp = args.use_signed_timestamps.unwrap_or(false);
    let asked = args.insecure_ignore_tlog.map(|ignored| !ignored);
    let asked = asked.unwrap_or_else(|| args.key.is_none() || args.rekor_url.is_some());
    let log = if asked { LogDemand::Entry } else { LogDemand::Optional };
    if args.rekor_url.is_some() && log == LogDemand::Optional {
        let problem = "no log is asked where --insecure-ignore-tlog says that no entry is needed";
        return Err(VerifyError::Flag { flag: "--rekor-url", problem: problem.to_owned() });
    }
    if args.key.is_none() && log == LogDemand::Optional && !timestamp {
        let problem = "a certificate's signing time must be proven by a log entry or a timestamp: \
                       add --use-signed-timestamps";
        return Err(VerifyError::Flag {
            flag: "--insecure-ignore-tlog",
            problem: problem.to_owned(),
        });
    }
    Ok(Demands::new(log, timestamp))
}

fn signer(args: &SignerArgs) -> Result<(&'static str, Signer), VerifyError> {
    if let Some(path) = &args.key {
        let keys = PublicKey::from_pem(&inputs::read("--key", path)?, None)
            .map_err(|error| InputError::file("--key", path, &error))?;
        return Ok(("key", Signer::Keys(keys)));
    }
    let SignerArgs { certificate_identity, certificate_identity_regexp, .. } = args;
    let subject = exact("--certificate-identity", certificate_identity)
        .or_else(|| regex("--certificate-identity-regexp", certificate_identity_regexp));
    let SignerArgs { certificate_oidc_issuer, certificate_oidc_issuer_regexp, .. } = args;
    let issuer = exact("--certificate-oidc-issuer", certificate_oidc_issuer)
        .or_else(|| regex("--certificate-oidc-issuer-regexp", certificate_oidc_issuer_regexp));
    let missing = |flag, other| VerifyError::Flag {
        flag,
        problem: format!("not given; an identity is issuer and subject, {other} alone is not one"),
    };
    match (issuer, subject) {
        (None, None) => Err(VerifyError::NothingToVerify),
        (None, Some(_)) => Err(missing("--certificate-oidc-issuer", "a subject")),
        (Some(_), None) => Err(missing("--certificate-identity", "an issuer")),
        (Some(issuer), Some(subject)) => {
            let matcher = sources::identity(issuer, subject)?;
            Ok(("identity", Signer::Identities(vec![matcher])))
        }
    }
}

fn exact<'a>(flag: &'static str, text: &'a Option<String>) -> Option<Pattern<'a>> {
    text.as_deref().map(|text| Pattern::Exact(flag, text))
}

fn regex<'a>(flag: &'static str, text: &'a Option<String>) -> Option<Pattern<'a>> {
    text.as_deref().map(|text| Pattern::Regex(flag, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: SignerArgs = SignerArgs {
        key: None,
        certificate_identity: None,
        certificate_identity_regexp: None,
        certificate_oidc_issuer: None,
        certificate_oidc_issuer_regexp: None,
        insecure_ignore_tlog: None,
        use_signed_timestamps: None,
        rekor_url: None,
    };

    #[test]
    fn demands_follow_the_flags() {
        let key = |tlog, timestamps| SignerArgs {
            key: Some("k".into()),
            insecure_ignore_tlog: tlog,
            use_signed_timestamps: timestamps,
            ..NONE
        };
        let identity = |tlog, timestamps| SignerArgs { key: None, ..key(tlog, timestamps) };
        for (args, log, timestamp) in [
            (key(None, None), LogDemand::Optional, false),
            (key(Some(true), Some(true)), LogDemand::Optional, true),
            (key(Some(false), None), LogDemand::Entry, false),
            (identity(None, None), LogDemand::Entry, false),
            (identity(Some(false), Some(true)), LogDemand::Entry, true),
            (identity(Some(true), Some(true)), LogDemand::Optional, true),
        ] {
            assert_eq!(demands(&args).unwrap(), Demands::new(log, timestamp), "{args:?}");
        }
        // A log that is named is a log that is asked.
        let rekor_url = "https://rekor.example".parse().ok();
        let named = |args: SignerArgs| SignerArgs { rekor_url: rekor_url.clone(), ..args };
        assert_eq!(demands(&named(key(None, None))).unwrap().log, LogDemand::Entry);
        assert_eq!(demands(&named(identity(None, None))).unwrap().log, LogDemand::Entry);
        let error = demands(&named(key(Some(true), None))).unwrap_err().to_string();
        assert!(error.starts_with("--rekor-url: "), "{error}");
        for timestamps in [None, Some(false)] {
            let error = demands(&identity(Some(true), timestamps)).unwrap_err();
            assert!(error.to_string().contains("add --use-signed-timestamps"), "{error}");
        }
    }

    #[test]
    fn rejects_half_an_identity_and_none() {
        let text = |args: SignerArgs| signer(&args).unwrap_err().to_string();
        assert!(text(NONE).starts_with("nothing to verify against"));
        let subject = SignerArgs { certificate_identity: Some("a".into()), ..NONE };
        assert!(text(subject).starts_with("--certificate-oidc-issuer: not given"));
        let issuer = SignerArgs { certificate_oidc_issuer_regexp: Some("a".into()), ..NONE };
        assert!(text(issuer).starts_with("--certificate-identity: not given"));
    }
}
