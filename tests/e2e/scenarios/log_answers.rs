//! Log entries that are not attached, as a proxy before Rekor v1 hands them out: each with one thing
//! altered is refused at that thing's step.
//!
//! What a log once answered about a signature is remembered, so that each alteration has an image and
//! a signature of its own. That another policy, which asks the log itself, admits the image shows that
//! the alteration is all that is wrong with it.
use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;

use super::support::EFFECT;
use super::support::STRANGER;
use super::support::TRUST_ROOT;
use super::support::admitted;
use super::support::all;
use super::support::apply_ready;
use super::support::ask;
use super::support::assert_refused;
use super::support::at;
use super::support::cluster_policy;
use super::support::flip;
use super::support::keyless;
use crate::registries::REFERRERS;
use crate::rekor_proxy;
use crate::rekor_proxy::RekorProxy;
use crate::sigstore::Format;
use crate::sigstore::Identity;
use crate::sigstore::Log;
use crate::sigstore::REKOR_V1;
use crate::sigstore::Signer;
use crate::sigstore::Sigstore;
use crate::sigstore::Way;
use crate::sigstore::entry_body;
use crate::world::World;

/// Who signs keyless.
const ALICE: Identity = Identity::Email("alice@e2e.test");

/// The key of whom else policies trust, and one that they do not.
const KEY: &str = "log-answers";
const ANOTHER_KEY: &str = "log-answers-other";

/// A namespace whose policies ask the proxy, and one whose policies ask the log.
const PROXY: &str = "log-answers-proxy";
const DIRECT: &str = "log-answers-direct";

/// Where an entry's body names the signer.
const SIGNER: &str = "/spec/signature/publicKey/content";
const SIGNATURE: &str = "/spec/signature/content";
const HASH: &str = "/spec/data/hash/value";

/// The annotation with the log entry.
const ENTRY: &str = "dev.sigstore.cosign/bundle";

/// How an image was signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    Key,
    Keyless,
}

use By::Key;
use By::Keyless;

/// What is done to an entry, with other entries at hand.
type Alteration = fn(&Sigstore, &mut Value, &Others) -> Result<()>;

/// What is altered, how, and the step and the reason of the refusal.
struct Row(&'static str, By, Alteration, &'static str, &'static str);

const ROWS: &[Row] = &[
    Row(
        "hash",
        Keyless,
        |_, it, _| put(it, HASH, zeros()),
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row("signature", Keyless, |_, it, _| flip_in(it, SIGNATURE), "log-lookup", "log-entry-absent"),
    Row(
        "certificate",
        Keyless,
        |_, it, others| take(it, &others.stranger, SIGNER),
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row(
        "promised-hash",
        Keyless,
        |s, it, _| put(it, HASH, zeros()).and_then(|()| s.promise_anew(it)),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row(
        "promised-certificate",
        Keyless,
        |s, it, others| take(it, &others.stranger, SIGNER).and_then(|()| s.promise_anew(it)),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row("promise", Keyless, |_, it, _| flip(it, PROMISE), "log-entry", "inclusion-promise-invalid"),
    Row(
        "promise-removed",
        Keyless,
        |_, it, _| remove(it, "signedEntryTimestamp"),
        "time",
        "timestamp-absent",
    ),
    Row(
        "promise-of-another",
        Keyless,
        |_, it, others| {
            *at(it, PROMISE)? = others.same_signer["verification"]["signedEntryTimestamp"].clone();
            Ok(())
        },
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row("proof", Keyless, |_, it, _| flip_hash(it), "log-entry", "inclusion-proof-invalid"),
    Row(
        "proof-index",
        Keyless,
        |_, it, _| add(it, "/verification/inclusionProof/logIndex", -1),
        "log-entry",
        "inclusion-proof-invalid",
    ),
    Row(
        "checkpoint",
        Keyless,
        |_, it, _| {
            let text = at(it, "/verification/inclusionProof/checkpoint")?;
            let note = text.as_str().context("no checkpoint")?;
            *text = json!(note.replacen("rekor-v1.e2e", "rekor-v1.e3e", 1));
            Ok(())
        },
        "log-entry",
        "checkpoint-invalid",
    ),
    Row(
        "time",
        Keyless,
        |_, it, _| add(it, "/integratedTime", -1),
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row(
        "promised-time",
        Keyless,
        |s, it, _| add(it, "/integratedTime", -5).and_then(|()| s.promise_anew(it)),
        "time",
        "signing-time-outside-certificate",
    ),
    Row(
        "log-id",
        Keyless,
        |_, it, _| {
            *at(it, "/logID")? = json!("ab".repeat(32));
            Ok(())
        },
        "log-entry",
        "log-unknown",
    ),
    Row(
        "index",
        Keyless,
        |_, it, _| add(it, "/logIndex", 1),
        "log-entry",
        "inclusion-promise-invalid",
    ),
    Row(
        "entry-of-another-image",
        Keyless,
        |_, it, others| {
            *it = others.same_signer.clone();
            Ok(())
        },
        "log-lookup",
        "log-entry-absent",
    ),
    Row("key-hash", Key, |_, it, _| put(it, HASH, zeros()), "log-entry", "inclusion-proof-invalid"),
    Row(
        "key-signer",
        Key,
        |_, it, others| take(it, &others.stranger, SIGNER),
        "log-entry",
        "inclusion-proof-invalid",
    ),
    Row(
        "promised-key-hash",
        Key,
        |s, it, _| put(it, HASH, zeros()).and_then(|()| s.promise_anew(it)),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row(
        "promised-key-signer",
        Key,
        |s, it, others| take(it, &others.stranger, SIGNER).and_then(|()| s.promise_anew(it)),
        "log-entry",
        "log-entry-mismatch",
    ),
    Row("key-promise", Key, |_, it, _| flip(it, PROMISE), "log-entry", "inclusion-promise-invalid"),
    Row("key-proof", Key, |_, it, _| flip_hash(it), "log-entry", "inclusion-proof-invalid"),
];

const PROMISE: &str = "/verification/signedEntryTimestamp";

/// Entries of other images: by the same signer, and by somebody whom no policy trusts.
struct Others {
    same_signer: Value,
    stranger: Value,
}

/// A signed image to which no log entry is attached, and its entry in the log.
struct Bare {
    image: String,
    /// The hash that the log lists the entry under.
    hash: String,
    identifier: String,
    entry: Value,
}

/// One part of what a log hands out is altered at a time, by a proxy, or by the holder of the log's key.
/// The whole is admitted; an entry of another image, and a log that is down, stand in for nothing.
pub async fn count_for_what_they_prove(world: &mut World) -> Result<()> {
    world.sigstore.start_rekor_v1().await?;
    for key in [KEY, ANOTHER_KEY] {
        world.sigstore.key(key).await?;
    }
    let world: &World = world;
    apply_policies(world).await?;
    let proxy = RekorProxy::start().await?;
    for by in [Keyless, Key] {
        let whole = bare(world, by, "whole", &by.signer()).await?;
        admitted(world, PROXY, &whole.image, EFFECT).await?;
        let stranger = bare(world, by, "stranger", &by.stranger()).await?.entry;
        let others = Others { same_signer: whole.entry.clone(), stranger };
        let rows = ROWS.iter().filter(|row| row.1 == by);
        let (proxy, others) = (&proxy, &others);
        all(rows.map(|row| async move {
            refuse(world, proxy, row, others).await.map_err(|error| anyhow!("{}: {error:#}", row.0))
        }))
        .await?;
        list_of_another_image(world, proxy, by, &whole).await?;
    }
    down(world, proxy).await
}

async fn refuse(world: &World, proxy: &RekorProxy, row: &Row, others: &Others) -> Result<()> {
    let Row(name, by, alter, step, code) = *row;
    let Bare { image, identifier, entry, .. } = bare(world, by, name, &by.signer()).await?;
    let mut altered = entry.clone();
    alter(&world.sigstore, &mut altered, others)?;
    ensure!(altered != entry, "nothing was altered");
    proxy.replace_entry(&identifier, altered);
    let (step, code) = (format!("step {step}"), format!("[{code}]"));
    let texts = [image.as_str(), &by.policy(), &step, &code];
    assert_refused(ask(world, PROXY, &image).await?, &texts)?;
    ensure!(proxy.has_told(&identifier), "the altered entry was not asked for");
    ask(world, DIRECT, &image).await?.success().map(drop)
}

/// The log lists an entry of the same signer, about another payload.
async fn list_of_another_image(
    world: &World,
    proxy: &RekorProxy,
    by: By,
    other: &Bare,
) -> Result<()> {
    let Bare { image, hash, .. } = bare(world, by, "listed", &by.signer()).await?;
    proxy.replace_list(&hash, &other.identifier);
    let found = "the log's one names another signature";
    let texts = [image.as_str(), &by.policy(), "step log-lookup", "[log-entry-absent]", found];
    assert_refused(ask(world, PROXY, &image).await?, &texts)?;
    ensure!(proxy.has_told(&hash), "the altered list was not asked for");
    ask(world, DIRECT, &image).await?.success().map(drop)
}

/// Nobody listens, then nothing but errors come: undecided, and decided once the log is back.
async fn down(world: &World, proxy: RekorProxy) -> Result<()> {
    drop(proxy);
    for by in [Keyless, Key] {
        let image = bare(world, by, "down", &by.signer()).await?.image;
        let undecided = format!("could not be decided by {}", by.policy());
        let log = format!("the log http://{}", rekor_proxy::ADDRESS);
        let texts = [&image, &undecided, "step log-lookup", "[log-unreachable]", &log];
        let refused = "Connection refused";
        assert_refused(ask(world, PROXY, &image).await?, &[&texts[..], &[refused]].concat())?;
        let proxy = RekorProxy::start().await?;
        proxy.fail(Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_refused(ask(world, PROXY, &image).await?, &[&texts[..], &["status 503"]].concat())?;
        proxy.fail(None);
        ask(world, PROXY, &image).await?.success()?;
    }
    Ok(())
}

/// An image of this name, signed into the log, whose signature no longer carries the entry.
async fn bare(world: &World, by: By, name: &str, signer: &Signer) -> Result<Bare> {
    let repository = format!("{}/{name}", by.folder());
    let image = world.registries.push(REFERRERS, &repository).await?;
    let way = Way { format: Format::Classic, log: Log::V1, timestamp: false };
    world.sigstore.sign(&image.pinned, signer, way).await?;
    let hash = world.registries.payload_digest(REFERRERS, &repository, &image).await?;
    let mut found = world.sigstore.entries_in_rekor_v1(&hash).await?;
    let (identifier, entry) = found.pop().context("the signature was entered nowhere")?;
    ensure!(found.is_empty(), "wanted one entry of {hash}, found more: {found:?}");
    let mut annotations = world.registries.annotations(REFERRERS, &repository, &image).await?;
    let removed = annotations.as_object_mut().and_then(|fields| fields.remove(ENTRY));
    ensure!(removed.is_some(), "the signature had no entry attached");
    let places = (repository.as_str(), repository.as_str());
    world.registries.copy_classic(REFERRERS, places, &image, annotations).await?;
    Ok(Bare { image: image.tagged, hash, identifier, entry })
}

/// Policies for both signers in both namespaces.
async fn apply_policies(world: &World) -> Result<()> {
    for (namespace, log) in [(PROXY, rekor_proxy::ADDRESS), (DIRECT, REKOR_V1)] {
        world.namespace(namespace, &[]).await?;
        for by in [Keyless, Key] {
            let mut authority = match by {
                Keyless => keyless(world, &ALICE),
                Key => {
                    let key = world.sigstore.public_key(KEY)?;
                    json!({ "name": "key", "key": { "data": key } })
                }
            };
            authority["ctlog"] =
                json!({ "trustRootRef": TRUST_ROOT, "url": format!("http://{log}") });
            let mut policy = cluster_policy(by.name(), by.folder(), json!([authority]));
            policy["kind"] = json!("ImagePolicy");
            policy["metadata"]["namespace"] = json!(namespace);
            apply_ready(world, &policy).await?;
        }
    }
    Ok(())
}

impl By {
    /// The name of the policy.
    const fn name(self) -> &'static str {
        match self {
            Key => "key",
            Keyless => "keyless",
        }
    }

    /// Where the images are.
    const fn folder(self) -> &'static str {
        match self {
            Key => "log-answers/key",
            Keyless => "log-answers/keyless",
        }
    }

    /// The policy that asks the proxy.
    fn policy(self) -> String {
        format!("ImagePolicy {PROXY}/{}", self.name())
    }

    /// Who signs.
    fn signer(self) -> Signer {
        match self {
            Key => Signer::Key(KEY.to_owned()),
            Keyless => Signer::Identity(ALICE),
        }
    }

    /// Somebody else.
    fn stranger(self) -> Signer {
        match self {
            Key => Signer::Key(ANOTHER_KEY.to_owned()),
            Keyless => Signer::Identity(STRANGER),
        }
    }
}

fn zeros() -> Value {
    json!("00".repeat(32))
}

/// Changes what an entry is about.
fn change_body(entry: &mut Value, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let mut body = entry_body(entry)?;
    change(&mut body)?;
    *at(entry, "/body")? = json!(BASE64_STANDARD.encode(body.to_string()));
    Ok(())
}

/// Puts something into an entry's body.
fn put(entry: &mut Value, pointer: &str, value: Value) -> Result<()> {
    change_body(entry, |body| {
        *at(body, pointer)? = value;
        Ok(())
    })
}

/// Takes a part of an entry's body from another's.
fn take(entry: &mut Value, other: &Value, pointer: &str) -> Result<()> {
    let other = entry_body(other)?;
    let part = other.pointer(pointer).with_context(|| format!("there is no {pointer}"))?;
    put(entry, pointer, part.clone())
}

/// Changes the last bit of what stands in an entry's body in base64.
fn flip_in(entry: &mut Value, pointer: &str) -> Result<()> {
    change_body(entry, |body| flip(body, pointer))
}

/// Changes the last bit of the first hash of an entry's proof.
fn flip_hash(entry: &mut Value) -> Result<()> {
    let text = at(entry, "/verification/inclusionProof/hashes/0")?;
    let mut bytes = hex::decode(text.as_str().context("no text")?)?;
    *bytes.last_mut().context("it is empty")? ^= 1;
    *text = json!(hex::encode(bytes));
    Ok(())
}

/// Takes a part of what vouches for an entry away.
fn remove(entry: &mut Value, name: &str) -> Result<()> {
    let fields = at(entry, "/verification")?.as_object_mut().context("no object")?;
    fields.remove(name).with_context(|| format!("there is no {name}")).map(drop)
}

/// Adds to a number.
fn add(entry: &mut Value, pointer: &str, more: i64) -> Result<()> {
    let number = at(entry, pointer)?;
    *number = json!(number.as_i64().context("no number")? + more);
    Ok(())
}
