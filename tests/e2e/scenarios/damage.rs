//! Signatures of which one part is damaged: each is refused at that part's step.
//!
//! A damaged signature is attached to a copy of the image in another repository, because it must be
//! about the same digest.
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;
use x509_cert::Certificate;
use x509_cert::TbsCertificate;
use x509_cert::der::Decode as _;
use x509_cert::der::DecodePem as _;
use x509_cert::der::Encode as _;
use x509_cert::der::EncodePem as _;
use x509_cert::der::asn1::UtcTime;
use x509_cert::der::pem::LineEnding;
use x509_cert::time::Time;

use super::support::EFFECT;
use super::support::TRUST_ROOT;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::assert_refused;
use super::support::at;
use super::support::cluster_policy;
use super::support::flip;
use super::support::keyless;
use crate::registries::Image;
use crate::registries::REFERRERS;
use crate::sigstore::Format;
use crate::sigstore::Identity;
use crate::sigstore::Log;
use crate::sigstore::Signer;
use crate::sigstore::Sigstore;
use crate::sigstore::Way;
use crate::sigstore::damage_sct;
use crate::world::World;

/// Who signs.
const ALICE: Identity = Identity::Email("alice@e2e.test");

const NAMESPACE: &str = "damage";

const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const ENTRY: &str = "dev.sigstore.cosign/bundle";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

/// A good signature: its annotations, or its bundle.
struct Good {
    sort: Sort,
    repository: String,
    image: Image,
    value: Value,
    /// Those of another image, signed by the same person in the same way.
    other: Value,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sort {
    Classic,
    Bundle1,
    Bundle2,
}

use Sort::Bundle1;
use Sort::Bundle2;
use Sort::Classic;

/// What is done to a signature, with the one of another image at hand.
type Damage = fn(&Sigstore, &mut Value, &Value) -> Result<()>;

/// What is damaged, how, and the step and the reason of the refusal.
struct Row(&'static str, Sort, Damage, &'static str, &'static str);

const ROWS: &[Row] = &[
    Row("entry-removed", Classic, |_, it, _| remove(it, ENTRY), "log-lookup", "log-entry-absent"),
    Row(
        "entry-of-another-image",
        Classic,
        |_, it, other| take(it, other, &format!("/{}", escaped(ENTRY))),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row(
        "entry-promise",
        Classic,
        |_, it, _| change_entry(it, |entry| flip(entry, "/SignedEntryTimestamp")),
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row(
        "entry-time",
        Classic,
        |_, it, _| {
            change_entry(it, |entry| {
                let time = at(entry, "/Payload/integratedTime")?;
                *time = json!(time.as_i64().context("no time")? - 1);
                Ok(())
            })
        },
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row(
        "entry-of-unknown-log",
        Classic,
        |_, it, _| {
            change_entry(it, |entry| {
                *at(entry, "/Payload/logID")? = json!("ab".repeat(32));
                Ok(())
            })
        },
        "log-entry",
        "log-unknown",
    ),
    Row(
        "entry-body",
        Classic,
        |_, it, _| {
            change_entry(it, |entry| {
                *at(entry, "/Payload/body")? = json!("bm8gSlNPTg==");
                Ok(())
            })
        },
        "log-entry",
        "log-entry-malformed",
    ),
    Row("sct", Classic, |s, it, _| reissue(s, it, damage_sct), "certificate", "sct-invalid"),
    Row(
        "certificate-signature",
        Classic,
        |_, it, _| {
            change_certificate(it, |mut der| {
                *der.last_mut().context("it is empty")? ^= 1;
                Ok(der)
            })
        },
        "certificate",
        "certificate-untrusted",
    ),
    Row(
        "certificate-removed",
        Classic,
        |_, it, _| remove(it, CERTIFICATE),
        "certificate",
        "certificate-absent",
    ),
    Row(
        "certificate-expired",
        Classic,
        |s, it, _| {
            reissue(s, it, |certificate| {
                let validity = &mut certificate.validity;
                for time in [&mut validity.not_before, &mut validity.not_after] {
                    let earlier = time.to_unix_duration() - Duration::from_secs(3600);
                    *time = Time::UtcTime(UtcTime::from_unix_duration(earlier)?);
                }
                Ok(())
            })
        },
        "time",
        "signing-time-outside-certificate",
    ),
    Row("time-removed", Classic, |_, it, _| remove(it, TIMESTAMP), "time", "timestamp-absent"),
    Row(
        "time-of-another-image",
        Classic,
        |_, it, other| take(it, other, &format!("/{}", escaped(TIMESTAMP))),
        "time",
        "timestamp-invalid",
    ),
    Row(
        "signature",
        Classic,
        |_, it, _| flip(it, &format!("/{}", escaped(SIGNATURE))),
        "time",
        "timestamp-invalid",
    ),
    Row(
        "entry-promise",
        Bundle1,
        |_, it, _| {
            flip(it, "/verificationMaterial/tlogEntries/0/inclusionPromise/signedEntryTimestamp")
        },
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row(
        "entry-of-another-image",
        Bundle1,
        |_, it, other| take(it, other, "/verificationMaterial/tlogEntries"),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row(
        "entry-proof",
        Bundle1,
        |_, it, _| flip(it, PROOF_HASH),
        "log-entry",
        "inclusion-proof-invalid",
    ),
    Row(
        "entry-removed",
        Bundle2,
        |_, it, _| {
            *at(it, "/verificationMaterial/tlogEntries")? = json!([]);
            Ok(())
        },
        "log-lookup",
        "log-entry-absent",
    ),
    Row(
        "entry-of-another-image",
        Bundle2,
        |_, it, other| take(it, other, "/verificationMaterial/tlogEntries"),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row(
        "entry-proof",
        Bundle2,
        |_, it, _| flip(it, PROOF_HASH),
        "log-entry",
        "inclusion-proof-invalid",
    ),
    Row(
        "entry-checkpoint",
        Bundle2,
        |_, it, _| {
            let text = at(it, CHECKPOINT)?;
            let note = text.as_str().context("no checkpoint")?;
            *text = json!(note.replacen("rekor.e2e", "rekor.e3e", 1));
            Ok(())
        },
        "log-entry",
        "checkpoint-invalid",
    ),
    Row("sct", Bundle2, |s, it, _| reissue(s, it, damage_sct), "certificate", "sct-invalid"),
    Row(
        "time-of-another-image",
        Bundle2,
        |_, it, other| take(it, other, "/verificationMaterial/timestampVerificationData"),
        "time",
        "timestamp-invalid",
    ),
    Row(
        "time-removed",
        Bundle2,
        |_, it, _| {
            *at(it, "/verificationMaterial/timestampVerificationData")? = json!({});
            Ok(())
        },
        "time",
        "timestamp-absent",
    ),
];

const PROOF_HASH: &str = "/verificationMaterial/tlogEntries/0/inclusionProof/hashes/0";
const CHECKPOINT: &str = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";

/// One part of a signature is damaged at a time. The copy of the whole one is admitted.
pub async fn is_found_at_its_step(world: &mut World) -> Result<()> {
    world.sigstore.start_rekor_v1().await?;
    world.namespace(NAMESPACE, &[]).await?;
    let mut authority = keyless(world, &ALICE);
    let service = json!({ "trustRootRef": TRUST_ROOT });
    authority["ctlog"] = service.clone();
    authority["rfc3161timestamp"] = service;
    apply_ready(world, &cluster_policy("damage", "damage", json!([authority]))).await?;
    let mut errors = vec![];
    for sort in [Classic, Bundle1, Bundle2] {
        let good = good(world, sort).await?;
        let whole = attach(world, &good, "whole", good.value.clone()).await?;
        admitted(world, NAMESPACE, &whole.tagged, EFFECT).await?;
        for row in ROWS.iter().filter(|row| row.1 == sort) {
            if let Err(error) = refuse(world, &good, row).await {
                errors.push(format!("{sort:?} {}: {error:#}", row.0));
            }
        }
    }
    ensure!(errors.is_empty(), "{}", errors.join("\n  "));
    Ok(())
}

async fn refuse(world: &World, good: &Good, row: &Row) -> Result<()> {
    let Row(name, _, damage, step, code) = *row;
    let mut value = good.value.clone();
    damage(&world.sigstore, &mut value, &good.other)?;
    ensure!(value != good.value, "nothing was damaged");
    let image = attach(world, good, name, value).await?.tagged;
    let (step, code) = (format!("step {step}"), format!("[{code}]"));
    assert_refused(ask(world, NAMESPACE, &image).await?, &[&image, &step, &code])
}

/// Two images signed by Alice, and the signature of the one and of the other.
async fn good(world: &World, sort: Sort) -> Result<Good> {
    let (format, log) = match sort {
        Classic => (Format::Classic, Log::V1),
        Bundle1 => (Format::Bundle, Log::V1),
        Bundle2 => (Format::Bundle, Log::V2),
    };
    let (way, signer) = (Way { format, log, timestamp: true }, Signer::Identity(ALICE));
    let mut signed = vec![];
    // The other is signed last: its entry is of a time at which the one's certificate was valid.
    for name in ["one", "other"] {
        let repository = format!("whole/{sort:?}/{name}").to_lowercase();
        let image = world.registries.push(REFERRERS, &repository).await?;
        world.sigstore.sign(&image.pinned, &signer, way).await?;
        let value = match sort {
            Classic => world.registries.annotations(REFERRERS, &repository, &image).await?,
            Bundle1 | Bundle2 => world.registries.bundle(REFERRERS, &repository, &image).await?,
        };
        signed.push((repository, image, value));
    }
    let (_, _, other) = signed.pop().context("two were signed")?;
    let (repository, image, value) = signed.pop().context("two were signed")?;
    Ok(Good { sort, repository, image, value, other })
}

/// A copy of the image, with this as its signature.
async fn attach(world: &World, good: &Good, name: &str, value: Value) -> Result<Image> {
    let Good { sort, repository, image, .. } = good;
    let to = format!("damage/{sort:?}/{name}").to_lowercase();
    let places = (repository.as_str(), to.as_str());
    match sort {
        Classic => world.registries.copy_classic(REFERRERS, places, image, value).await?,
        Bundle1 | Bundle2 => {
            world.registries.copy_bundle(REFERRERS, places, image, &value).await?;
        }
    }
    world.registries.copy(REFERRERS, repository, image, &to).await
}

fn remove(annotations: &mut Value, name: &str) -> Result<()> {
    let annotations = annotations.as_object_mut().context("no annotations")?;
    annotations.remove(name).with_context(|| format!("there is no {name}")).map(drop)
}

/// Takes a part from the signature of another image.
fn take(value: &mut Value, other: &Value, pointer: &str) -> Result<()> {
    let part = other.pointer(pointer).with_context(|| format!("there is no {pointer}"))?;
    *at(value, pointer)? = part.clone();
    Ok(())
}

/// A key as part of a JSON pointer (RFC 6901, section 3).
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Changes the log entry that an annotation holds.
fn change_entry(value: &mut Value, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let annotation = at(value, &format!("/{}", escaped(ENTRY)))?;
    let mut entry: Value = serde_json::from_str(annotation.as_str().context("no text")?)?;
    change(&mut entry)?;
    *annotation = json!(entry.to_string());
    Ok(())
}

fn reissue(
    sigstore: &Sigstore,
    value: &mut Value,
    change: impl FnOnce(&mut TbsCertificate) -> Result<()>,
) -> Result<()> {
    change_certificate(value, |der| sigstore.issue_anew(&der, change))
}

/// Changes the certificate of annotations (PEM) or of a bundle (base64).
fn change_certificate(
    value: &mut Value,
    change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>>,
) -> Result<()> {
    if let Some(annotation) = value.get_mut(CERTIFICATE) {
        let pem = annotation.as_str().context("no text")?;
        let der = change(Certificate::from_pem(pem)?.to_der()?)?;
        *annotation = json!(Certificate::from_der(&der)?.to_pem(LineEnding::LF)?);
        return Ok(());
    }
    let text = at(value, "/verificationMaterial/certificate/rawBytes")?;
    let der = change(BASE64_STANDARD.decode(text.as_str().context("no text")?)?)?;
    *text = json!(BASE64_STANDARD.encode(der));
    Ok(())
}
