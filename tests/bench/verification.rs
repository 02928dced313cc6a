//! (b) Verification through the library's own call, against the signature checks that it cannot do
//! without, made bare.
//!
//! The first sight of a certificate authority needs its chain checked; the second image that it
//! vouches for does not.
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use aws_lc_rs::signature;
use aws_lc_rs::signature::UnparsedPublicKey;
use aws_lc_rs::signature::VerificationAlgorithm;
use jiff::Timestamp;
use serde_json::json;
use tegata::evidence::Candidate;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence as _;
use tegata::image::Digest;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::registry::Layout;
use tegata::trust_root::TrustRoot;
use tegata::verify;
use tegata::verify::PublicKey;
use tegata::verify::Question;

use super::Bench;
use super::images::Image;
use super::images::Signers;
use super::registry::runtime;
use super::stats::Turns;
use super::stats::alternate;
use super::stats::median;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::virtual_sigstore::Algorithm;
use super::virtual_sigstore::Algorithm::Ed25519;
use super::virtual_sigstore::Algorithm::P256;
use super::virtual_sigstore::Algorithm::P384;
use super::virtual_sigstore::Key;
use super::virtual_sigstore::Log;
use super::virtual_sigstore::Version;

const TURNS: Turns = Turns { rounds: 60, block: 5, time: Duration::from_secs(2) };

/// How many times the bare checks a verification may take: at first sight, and once the certificate
/// authority is known.
const FIRST: f64 = 1.2;
const SECOND: f64 = 1.0;

/// Images of one kind, which take turns, so that nothing is learned of one that helps with it.
const IMAGES: usize = 16;

/// Bytes under a signature, roughly: hashing them hardly counts.
const MESSAGE: usize = 700;

/// A check: its algorithm, and whether it is of what stays the same from image to image.
type Check = (Algorithm, bool);

const ARTEFACT: Check = (P256, false);
const LEAF: Check = (P384, false);
const CA: Check = (P384, true);
const SCT: Check = (P256, false);
const PROMISE: Check = (P256, false);
const CHECKPOINT: Check = (P256, false);
const CHECKPOINT_V2: Check = (Ed25519, false);
const STAMP: Check = (P256, false);
const TSA: Check = (P384, true);
/// The samples' timestamp authority has a root of another kind.
const TSA_OF_SAMPLES: Check = (P256, true);

/// A kind of evidence.
struct Kind {
    name: String,
    root: String,
    key: Option<PublicKey>,
    payload: PayloadKind,
    demands: Demands,
    /// What no verification can do without: an entry of Rekor v1 in a bundle of version 0.3 must
    /// have an inclusion proof, and its time is proven by its promise alone.
    checks: &'static [Check],
    images: Vec<(Digest, Candidate)>,
}

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut kinds = made();
    match std::env::var_os("TEGATA_SAMPLES") {
        Some(folder) => kinds.extend(samples(Path::new(&folder))?),
        None => bench.say("TEGATA_SAMPLES is not set: what cosign signed is not measured"),
    }
    for kind in &kinds {
        bench.say(&kind.name);
        for first in [true, false] {
            let (ours, bare) = measure(kind, first)?;
            let sight = if first { "first sight" } else { "second image" };
            let name = format!("{}, {sight}", kind.name);
            let figure = Figure::new('b', name, Quantity::Time(ours));
            let figure = figure.against("all bare checks", Quantity::Time(bare));
            let most = if first { FIRST } else { SECOND };
            bench.table.add(figure.target(Target::Ratio(most)));
        }
    }
    Ok(())
}

/// What is made here.
fn made() -> Vec<Kind> {
    let signers = Signers::new();
    let sigstore = &signers.sigstore;
    let root = sigstore.trusted_root_json();
    let images: Vec<Digest> =
        (0..IMAGES).map(|number| Image::new("verified", number).digest).collect();
    let keyless = || sigstore.keyless("release@shop.example", "https://accounts.shop.example");
    let provenance =
        || keyless().predicate("https://slsa.dev/provenance/v1", json!({ "buildDefinition": {} }));
    let spki = PublicKey::from_pem(&signers.key.public_pem(), None).unwrap().remove(0);
    let logged = Demands::new(LogDemand::Entry, false);
    let kind = |name: &str, checks, demands, sign: &dyn Fn(&Digest) -> Candidate| Kind {
        name: name.to_owned(),
        root: root.clone(),
        key: None,
        payload: PayloadKind::Signature,
        demands,
        checks,
        images: images.iter().map(|digest| (digest.clone(), sign(digest))).collect(),
    };
    let keyed =
        kind("classic, key", &[ARTEFACT], Demands::new(LogDemand::Optional, false), &|image| {
            sigstore.keyed(&signers.key).classic().sign(image).candidate()
        });
    let keyed = Kind { key: Some(spki), ..keyed };
    let attestation = kind(
        "bundle, attestation, Rekor v1",
        &[LEAF, CA, SCT, PROMISE, CHECKPOINT, ARTEFACT],
        logged,
        &|image| provenance().log(Log::RekorV1).bundle(Version::V03).sign(image).candidate(),
    );
    let payload = PayloadKind::Statement { predicate_types: None };
    vec![
        keyed,
        kind("classic, keyless", &[LEAF, CA, SCT, PROMISE, ARTEFACT], logged, &|image| {
            keyless().log(Log::RekorV1).classic().sign(image).candidate()
        }),
        kind(
            "classic, keyless, timestamp",
            &[LEAF, CA, SCT, PROMISE, ARTEFACT, STAMP, TSA],
            Demands::new(LogDemand::Entry, true),
            &|image| keyless().log(Log::RekorV1).timestamp(1).classic().sign(image).candidate(),
        ),
        kind(
            "bundle, keyless, Rekor v1",
            &[LEAF, CA, SCT, PROMISE, CHECKPOINT, ARTEFACT],
            logged,
            &|image| keyless().log(Log::RekorV1).bundle(Version::V03).sign(image).candidate(),
        ),
        kind(
            "bundle, keyless, Rekor v2, timestamp",
            &[LEAF, CA, SCT, CHECKPOINT_V2, ARTEFACT, STAMP, TSA],
            logged,
            &|image| {
                let signing = keyless().log(Log::RekorV2).timestamp(1);
                signing.bundle(Version::V03).sign(image).candidate()
            },
        ),
        Kind { payload, ..attestation },
    ]
}

/// What real cosign signed, with real authorities and logs.
fn samples(folder: &Path) -> anyhow::Result<Vec<Kind>> {
    let runtime = runtime()?;
    let root = std::fs::read_to_string(folder.join("trust/trusted_root.json"))?;
    let pem = std::fs::read_to_string(folder.join("keys/cosign.pub"))?;
    let key = PublicKey::from_pem(&pem, None)?.into_iter().next();
    let attested = PayloadKind::Statement { predicate_types: None };
    let signature = PayloadKind::Signature;
    let rows: [(&str, bool, &PayloadKind, &'static [Check]); 6] = [
        ("key-legacy-notlog", true, &signature, &[ARTEFACT]),
        ("kl-legacy-rekor1", false, &signature, &[LEAF, CA, SCT, PROMISE, ARTEFACT]),
        ("kl-bundle-rekor1", false, &signature, &[LEAF, CA, SCT, PROMISE, CHECKPOINT, ARTEFACT]),
        (
            "kl-bundle-rekor1-tsa",
            false,
            &signature,
            &[LEAF, CA, SCT, PROMISE, CHECKPOINT, ARTEFACT, STAMP, TSA_OF_SAMPLES],
        ),
        (
            "kl-bundle-rekor2",
            false,
            &signature,
            &[LEAF, CA, SCT, CHECKPOINT_V2, ARTEFACT, STAMP, TSA_OF_SAMPLES],
        ),
        ("att-kl-bundle-rekor1", false, &attested, &[LEAF, CA, SCT, PROMISE, CHECKPOINT, ARTEFACT]),
    ];
    let kind = |(name, keyed, payload, checks): (&str, bool, &PayloadKind, &'static [Check])| {
        let log = if keyed { LogDemand::Optional } else { LogDemand::Entry };
        let layout =
            Layout::open(&format!("oci:{}:v1", folder.join("oci").join(name).display()).parse()?)?;
        let digest = layout.image().digest().context("the sample has no digest")?.clone();
        let query = EvidenceQuery {
            repository: layout.image().repository().clone(),
            digest: digest.clone(),
            tag_prefix: String::new(),
            attestations: true,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        let evidence = runtime.block_on(layout.fetch(&query, deadline));
        let mut kind = Kind {
            name: format!("sample {name}"),
            root: root.clone(),
            key: key.clone().filter(|_| keyed),
            payload: payload.clone(),
            demands: Demands::new(log, false),
            checks,
            images: Vec::new(),
        };
        let root = TrustRoot::from_json(&kind.root)?;
        let good = evidence
            .candidates
            .iter()
            .find(|candidate| kind.verify(&root, &digest, candidate).is_ok());
        let good = good.with_context(|| format!("no signature of {name} verifies"))?;
        kind.images = vec![(digest, good.clone())];
        Ok(kind)
    };
    rows.into_iter().map(kind).collect()
}

impl Kind {
    fn verify(
        &self,
        root: &TrustRoot,
        digest: &Digest,
        candidate: &Candidate,
    ) -> anyhow::Result<()> {
        let question = Question {
            digest,
            key: self.key.as_ref(),
            demands: self.demands,
            payload: &self.payload,
            trust_root: root,
            now: Timestamp::now(),
        };
        let examined = verify::verify(candidate, &question);
        match examined.result {
            Ok(_) => Ok(()),
            Err(failure) => anyhow::bail!("{}: {failure:?}", self.name),
        }
    }
}

/// The medians of verification and of its bare checks.
fn measure(kind: &Kind, first: bool) -> anyhow::Result<(Duration, Duration)> {
    // Of the second image, too, all of them: knowing the authority already is to be a gain.
    let bare = kind.checks.iter();
    let bare: Vec<Bare> = bare.map(|(algorithm, _)| Bare::new(*algorithm)).collect();
    let mut number = 0;
    let mut ours = || {
        number += 1;
        let (digest, candidate) = &kind.images[number % kind.images.len()];
        // A trust root that has seen nothing, or the image before this one.
        let root = TrustRoot::from_json(&kind.root)?;
        if !first {
            let (digest, candidate) = &kind.images[(number - 1) % kind.images.len()];
            kind.verify(&root, digest, candidate)?;
        }
        let start = Instant::now();
        kind.verify(&root, digest, candidate)?;
        Ok(start.elapsed())
    };
    let mut theirs = || {
        let start = Instant::now();
        let good = bare.iter().all(Bare::verify);
        let took = start.elapsed();
        ensure!(good, "a bare check failed");
        Ok(took)
    };
    let times = alternate(TURNS, &mut [&mut ours, &mut theirs])?;
    Ok((median(&times[0]), median(&times[1])))
}

/// A signature check and nothing else.
struct Bare {
    algorithm: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Bare {
    fn new(algorithm: Algorithm) -> Self {
        let key = Key::generate(algorithm);
        let message = vec![0x5a; MESSAGE];
        let verification: &'static dyn VerificationAlgorithm = match algorithm {
            P384 => &signature::ECDSA_P384_SHA384_ASN1,
            Ed25519 => &signature::ED25519,
            P256 | Algorithm::P521 | Algorithm::Rsa | Algorithm::RsaPss => {
                &signature::ECDSA_P256_SHA256_ASN1
            }
        };
        let signature = key.sign(&message);
        Self { algorithm: verification, key: key.raw_public(), message, signature }
    }

    fn verify(&self) -> bool {
        let key = UnparsedPublicKey::new(self.algorithm, &self.key);
        key.verify(&self.message, &self.signature).is_ok()
    }
}
