//! The client protocol of sigstore-conformance over this project's own verification.
//!
//! ```text
//! conformance verify-bundle [--staging] --bundle FILE
//!     (--certificate-identity IDENTITY --certificate-oidc-issuer URL | --key FILE)
//!     [--trusted-root FILE] FILE_OR_DIGEST
//! ```
//!
//! Exit code 0 means verified; 1 means refused, with the step and the reason code on standard
//! error; 2 means that the arguments or a file could not be read. Signing is not ours.
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::bail;
use bytes::Bytes;
use tegata::evidence::Candidate;
use tegata::evidence::Content;
use tegata::evidence::Format;
use tegata::evidence::Place;
use tegata::image::Digest;
use tegata::policy::Demands;
use tegata::policy::IdentityMatcher;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::policy::TextMatcher;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verify::PublicKey;
use tegata::verify::Question;
use tegata::verify::VerifiedSigner;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            eprintln!("refused at {}: {}: {failure}", failure.step(), failure.reason);
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs one command: the outer error is ours, the inner one is the verdict.
fn run(arguments: &[String]) -> anyhow::Result<Result<(), Failure>> {
    let [command, rest @ ..] = arguments else { bail!("wanted `verify-bundle`") };
    if command != "verify-bundle" {
        bail!("`{command}` is not supported; wanted `verify-bundle`");
    }
    let mut options: BTreeMap<&str, &str> = BTreeMap::new();
    let mut staging = false;
    let mut subject = None;
    let mut words = rest.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--staging" => staging = true,
            "--bundle"
            | "--certificate-identity"
            | "--certificate-oidc-issuer"
            | "--key"
            | "--trusted-root" => {
                options.insert(word, words.next().with_context(|| format!("{word} what?"))?);
            }
            _ if word.starts_with("--") => bail!("unknown option {word}"),
            _ => subject = Some(word),
        }
    }
    let bundle = options.get("--bundle").context("--bundle is missing")?;
    let bundle = std::fs::read(bundle).with_context(|| format!("cannot read {bundle}"))?;
    let digest = digest(subject.context("the artefact or its digest is missing")?)?;
    let trust_root = trust_root(options.get("--trusted-root").copied(), staging)?;
    let signer = signer(&options)?;
    let demands = demands(options.get("--trusted-root").copied())?;
    Ok(verify(bundle, &digest, &trust_root, demands, &signer))
}

enum Signer {
    Key(Vec<PublicKey>),
    Identity(Box<IdentityMatcher>),
}

fn signer(options: &BTreeMap<&str, &str>) -> anyhow::Result<Signer> {
    if let Some(file) = options.get("--key") {
        let pem = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        return Ok(Signer::Key(PublicKey::from_pem(&pem, None)?));
    }
    let option = |name| options.get(name).with_context(|| format!("{name} is missing"));
    let text = |name| Ok::<_, anyhow::Error>(TextMatcher::exact(option(name)?)?);
    let (issuer, subject) = (text("--certificate-oidc-issuer")?, text("--certificate-identity")?);
    let identity = IdentityMatcher::new(issuer, subject, Vec::new())?;
    Ok(Signer::Identity(Box::new(identity)))
}

fn trust_root(file: Option<&str>, staging: bool) -> anyhow::Result<TrustRoot> {
    match file {
        Some(file) => {
            let json = std::fs::read_to_string(file);
            let json = json.with_context(|| format!("cannot read {file}"))?;
            Ok(TrustRoot::from_json(&json)?)
        }
        None if staging => {
            let json = sigstore_verify::trust_root::SIGSTORE_STAGING_TRUSTED_ROOT;
            Ok(TrustRoot::from_json(json)?)
        }
        None => Ok(TrustRoot::public_good()),
    }
}

/// A log entry, or a timestamp where the trust root knows no log (GitHub's own instance).
fn demands(file: Option<&str>) -> anyhow::Result<Demands> {
    let logged = Demands::new(LogDemand::Entry, false);
    let Some(file) = file else { return Ok(logged) };
    let root = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let root: serde_json::Value = serde_json::from_slice(&root)?;
    match root.get("tlogs").and_then(serde_json::Value::as_array) {
        Some(logs) if !logs.is_empty() => Ok(logged),
        _ => Ok(Demands::new(LogDemand::Optional, true)),
    }
}

/// The digest of a file, unless the text is a digest and no file of that name exists.
fn digest(text: &str) -> anyhow::Result<Digest> {
    match text.parse() {
        Ok(digest) if !Path::new(text).exists() => Ok(digest),
        _ => {
            let bytes = std::fs::read(text).with_context(|| format!("cannot read {text}"))?;
            Ok(Digest::sha256_of(&bytes))
        }
    }
}

fn verify(
    bundle: Vec<u8>,
    digest: &Digest,
    trust_root: &TrustRoot,
    demands: Demands,
    signer: &Signer,
) -> Result<(), Failure> {
    let payload = payload_kind(&bundle);
    let candidate = Candidate::new(
        Place::Referrers,
        digest.clone(),
        Digest::sha256_of(&bundle),
        Format::Bundle,
        Ok(Content::Bundle(Bytes::from(bundle))),
    );
    let ask = |key| Question { digest, key, demands, payload: &payload, trust_root, now: now() };
    match signer {
        Signer::Key(keys) => {
            let examined = tegata::verify::verify(&candidate, &ask(keys.first()));
            examined.result.map(drop)
        }
        Signer::Identity(identity) => {
            let verified = tegata::verify::verify(&candidate, &ask(None)).result?;
            match verified.signer() {
                VerifiedSigner::Certificate(certificate) => identity.matches(certificate),
                VerifiedSigner::Key { .. } => unreachable!("no key was asked for"),
            }
        }
    }
}

/// An envelope holds a statement of any type; anything else must be a signature of the artefact.
fn payload_kind(bundle: &[u8]) -> PayloadKind {
    let document: serde_json::Value = serde_json::from_slice(bundle).unwrap_or_default();
    match document.get("dsseEnvelope") {
        Some(_) => PayloadKind::Statement { predicate_types: None },
        None => PayloadKind::Signature,
    }
}

#[expect(clippy::disallowed_methods, reason = "the program's one reading of the clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
