//! Every way of signing, by every kind of signer, judged by the webhook.
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::support::EFFECT;
use super::support::RELEASE;
use super::support::TRUST_ROOT;
use super::support::admitted;
use super::support::all;
use super::support::apply_ready;
use super::support::ask;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::refused;
use crate::registries::PLAIN;
use crate::registries::REFERRERS;
use crate::sigstore::Format;
use crate::sigstore::Format::Bundle;
use crate::sigstore::Format::Classic;
use crate::sigstore::Format::ClassicReferrer;
use crate::sigstore::Log;
use crate::sigstore::Log::Nowhere;
use crate::sigstore::Log::V1;
use crate::sigstore::Log::V2;
use crate::sigstore::Way;
use crate::world::World;

#[path = "signatures/who.rs"]
mod who;

use who::Who;
use who::Who::EcdsaP256;
use who::Who::EcdsaP384;
use who::Who::Ed25519;
use who::Who::Email;
use who::Who::Rsa;
use who::Who::Uri;
use who::Who::Workflow;

/// A namespace whose policies trust the signer and ask for what the signature has.
const RIGHT: &str = "signatures-right";

/// A namespace whose policies trust another signer of the same kind.
const WRONG: &str = "signatures-wrong";

/// A namespace whose policies ask for a log entry and a timestamp of everybody.
const STRICT: &str = "signatures-strict";

/// Namespaces whose policies ask for attestations: for what they say, for what they do not say, for
/// another type, by another signer.
const SAYS: &str = "attestations-say";
const SAYS_NOT: &str = "attestations-say-not";
const OTHER_TYPE: &str = "attestations-other-type";
const OTHER_SIGNER: &str = "attestations-other-signer";

/// A namespace whose policy asks for a log entry.
const FOUND: &str = "signatures-found";

/// How long policies take to be ready.
const READY: Duration = Duration::from_secs(60);

/// A signature: who made it, how (form, log, with a timestamp or not), and in which registry it is.
struct Row(&'static str, Who, Format, Log, bool, &'static str);

const WITH: bool = true;
const WITHOUT: bool = false;

/// Not among them, because `cosign` itself makes none: bundles by Ed25519 keys, and bundles by P-384
/// keys in Rekor v1.
const SIGNATURES: &[Row] = &[
    Row("key-classic", EcdsaP256, Classic, Nowhere, WITHOUT, PLAIN),
    Row("key-classic-tsa", EcdsaP256, Classic, Nowhere, WITH, REFERRERS),
    Row("key-classic-rekor1", EcdsaP256, Classic, V1, WITHOUT, PLAIN),
    Row("key-classic-rekor1-tsa", EcdsaP256, Classic, V1, WITH, REFERRERS),
    Row("key-classic-referrer", EcdsaP256, ClassicReferrer, Nowhere, WITHOUT, REFERRERS),
    Row("key-classic-annotated", EcdsaP256, Classic, Nowhere, WITHOUT, PLAIN),
    Row("key-bundle-annotated", EcdsaP256, Bundle, Nowhere, WITHOUT, REFERRERS),
    Row("key-bundle", EcdsaP256, Bundle, Nowhere, WITHOUT, PLAIN),
    Row("key-bundle-tsa", EcdsaP256, Bundle, Nowhere, WITH, REFERRERS),
    Row("key-bundle-rekor1", EcdsaP256, Bundle, V1, WITHOUT, PLAIN),
    Row("key-bundle-rekor1-tsa", EcdsaP256, Bundle, V1, WITH, REFERRERS),
    Row("key-bundle-rekor2", EcdsaP256, Bundle, V2, WITH, PLAIN),
    Row("rsa-classic", Rsa, Classic, Nowhere, WITHOUT, REFERRERS),
    Row("rsa-classic-rekor1", Rsa, Classic, V1, WITHOUT, PLAIN),
    Row("rsa-bundle-rekor2", Rsa, Bundle, V2, WITH, REFERRERS),
    Row("rsa-bundle-rekor1", Rsa, Bundle, V1, WITHOUT, PLAIN),
    Row("p384-classic", EcdsaP384, Classic, Nowhere, WITHOUT, PLAIN),
    Row("p384-classic-rekor1", EcdsaP384, Classic, V1, WITHOUT, REFERRERS),
    Row("p384-bundle-rekor2", EcdsaP384, Bundle, V2, WITH, PLAIN),
    Row("ed25519-classic", Ed25519, Classic, Nowhere, WITHOUT, REFERRERS),
    Row("email-classic-rekor1", Email, Classic, V1, WITHOUT, PLAIN),
    Row("email-classic-rekor1-tsa", Email, Classic, V1, WITH, REFERRERS),
    Row("email-classic-tsa", Email, Classic, Nowhere, WITH, PLAIN),
    Row("email-classic-referrer-rekor1", Email, ClassicReferrer, V1, WITHOUT, REFERRERS),
    Row("email-bundle-rekor1", Email, Bundle, V1, WITHOUT, REFERRERS),
    Row("email-bundle-rekor1-tsa", Email, Bundle, V1, WITH, PLAIN),
    Row("email-bundle-rekor2", Email, Bundle, V2, WITH, REFERRERS),
    Row("email-bundle-tsa", Email, Bundle, Nowhere, WITH, PLAIN),
    Row("workflow-classic-rekor1", Workflow, Classic, V1, WITHOUT, REFERRERS),
    Row("workflow-bundle-rekor1", Workflow, Bundle, V1, WITHOUT, REFERRERS),
    Row("workflow-bundle-rekor2", Workflow, Bundle, V2, WITH, PLAIN),
    Row("uri-classic-rekor1", Uri, Classic, V1, WITHOUT, PLAIN),
    Row("uri-bundle-rekor1", Uri, Bundle, V1, WITHOUT, REFERRERS),
    Row("uri-bundle-rekor2", Uri, Bundle, V2, WITH, PLAIN),
];

/// An attestation: the same, and the type of its predicate.
struct Attested(Row, &'static str);

const ATTESTATIONS: &[Attested] = &[
    Attested(Row("att-key-classic", EcdsaP256, Classic, Nowhere, WITHOUT, PLAIN), "slsaprovenance"),
    Attested(Row("att-key-bundle", EcdsaP256, Bundle, Nowhere, WITHOUT, REFERRERS), "custom"),
    Attested(
        Row("att-workflow-classic-rekor1", Workflow, Classic, V1, WITHOUT, REFERRERS),
        "slsaprovenance1",
    ),
    Attested(
        Row("att-workflow-bundle-rekor1", Workflow, Bundle, V1, WITHOUT, PLAIN),
        "slsaprovenance1",
    ),
    Attested(Row("att-workflow-bundle-rekor2", Workflow, Bundle, V2, WITH, REFERRERS), "vuln"),
    Attested(Row("att-email-bundle-rekor2", Email, Bundle, V2, WITH, PLAIN), "cyclonedx"),
];

/// A key's signature is admitted for who made it and for what it has, refused under the policy of
/// another key, and refused where more is asked for than it has.
pub async fn of_keys_are_admitted_and_refused(world: &mut World) -> Result<()> {
    judge_all(world, |who| who.identities().is_none()).await
}

/// The same of signatures by people and workflows.
pub async fn of_identities_are_admitted_and_refused(world: &mut World) -> Result<()> {
    judge_all(world, |who| who.identities().is_some()).await
}

async fn judge_all(world: &mut World, wanted: fn(Who) -> bool) -> Result<()> {
    let rows = SIGNATURES.iter().filter(|row| wanted(row.1));
    prepare(world, rows.clone()).await?;
    let world: &World = world;
    all(rows.map(|row| async move {
        judge(world, row).await.map_err(|error| anyhow!("{}: {error:#}", row.0))
    }))
    .await
}

async fn judge(world: &World, row: &Row) -> Result<()> {
    let Row(name, who, _, log, timestamp, registry) = *row;
    let image = world.registries.push(registry, &format!("{name}/app")).await?;
    let annotations: &[&str] =
        if name.ends_with("annotated") { &["env=prod", "team=a"] } else { &[] };
    let signer = who.signer();
    world.sigstore.sign_annotated(&image.pinned, &signer, row.way(), annotations).await?;
    let image = image.tagged;
    ask(world, RIGHT, &image).await?.success()?;
    let policy = format!("ImagePolicy {WRONG}/{name}");
    let texts = [image.as_str(), &policy, who.step(), who.code()];
    assert_refused(ask(world, WRONG, &image).await?, &texts)?;
    let policy = format!("ImagePolicy {STRICT}/{name}");
    let (step, code) = match (log, timestamp) {
        (Nowhere, _) => ("step log-lookup", "[log-entry-absent]"),
        (V1 | V2, WITHOUT) => ("step time", "[timestamp-absent]"),
        (V1 | V2, WITH) => {
            return ask(world, STRICT, &image).await?.success().map(drop);
        }
    };
    assert_refused(ask(world, STRICT, &image).await?, &[&image, &policy, step, code])
}

/// Several signers of one image, in both forms: each is found among the others' signatures, and one
/// who did not sign is missed.
pub async fn of_several_on_one_image_are_told_apart(world: &mut World) -> Result<()> {
    const SEVERAL: &str = "signatures-several";
    let rows = [
        Row("several-key-classic", EcdsaP256, Classic, Nowhere, WITHOUT, PLAIN),
        Row("several-workflow-classic", Workflow, Classic, V1, WITHOUT, PLAIN),
        Row("several-email-bundle", Email, Bundle, V2, WITH, PLAIN),
        Row("several-rsa-bundle", Rsa, Bundle, Nowhere, WITHOUT, PLAIN),
    ];
    world.sigstore.start_rekor_v1().await?;
    world.namespace(SEVERAL, &[]).await?;
    let image = world.registries.push(PLAIN, "several/app").await?;
    for row in &rows {
        row.1.make_keys(world).await?;
        world.sigstore.sign(&image.pinned, &row.1.signer(), row.way()).await?;
        // All of these policies cover the image, so that all must be met.
        let mut policy = row.policy(world, SEVERAL)?;
        policy["spec"]["images"] = json!([{ "glob": "10.244.0.*:5000/several/**" }]);
        apply_ready(world, &policy).await?;
    }
    admitted(world, SEVERAL, &image.tagged, EFFECT).await?;
    for row in &rows {
        let mut policy = row.policy(world, WRONG)?;
        policy["metadata"]["namespace"] = json!(SEVERAL);
        policy["spec"]["images"] = json!([{ "glob": "10.244.0.*:5000/several/**" }]);
        world.apply(&policy).await?.success()?;
        let named = format!("ImagePolicy {SEVERAL}/{}", row.0);
        let texts = [named.as_str(), row.1.step(), row.1.code()];
        refused(world, SEVERAL, &image.tagged, EFFECT, &texts).await?;
        let right = row.policy(world, SEVERAL)?["spec"]["authorities"].clone();
        policy["spec"]["authorities"] = right;
        world.apply(&policy).await?.success()?;
        admitted(world, SEVERAL, &image.tagged, EFFECT).await?;
    }
    Ok(())
}

/// An index that was signed with all its images is admitted by its tag, and refused when only its
/// images are signed.
pub async fn of_an_index_are_its_own(world: &mut World) -> Result<()> {
    let policy = cluster_policy("index", "index", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    world.namespace(RIGHT, &[]).await?;
    let (signer, way) = (Workflow.signer(), Way { format: Bundle, log: V2, timestamp: WITH });
    let signed = world.registries.push_index(REFERRERS, "index/signed").await?;
    world.sigstore.sign_recursively(&signed.pinned, &signer, way).await?;
    admitted(world, RIGHT, &signed.tagged, EFFECT).await?;
    let parts = world.registries.push_index(REFERRERS, "index/parts").await?;
    for digest in world.registries.digests(REFERRERS, "index/parts", &parts).await? {
        let part = format!("{REFERRERS}/index/parts@{digest}");
        world.sigstore.sign(&part, &signer, way).await?;
        admitted(world, RIGHT, &part, EFFECT).await?;
    }
    let texts = [parts.tagged.as_str(), "step evidence", "[signature-absent]"];
    assert_refused(ask(world, RIGHT, &parts.tagged).await?, &texts)
}

/// Rekor v1 finds an entry by the hash of what was signed, which is the payload's digest; and so does
/// Tegata, for a signature that carries none. Where the policy names no log, or the log has no entry of
/// this signature, it is missed.
pub async fn in_rekor_v1_are_found_by_hash(world: &mut World) -> Result<()> {
    world.sigstore.start_rekor_v1().await?;
    EcdsaP256.make_keys(world).await?;
    let image = world.registries.push(REFERRERS, "found/app").await?;
    let way = Way { format: Classic, log: V1, timestamp: WITHOUT };
    world.sigstore.sign(&image.pinned, &EcdsaP256.signer(), way).await?;
    let payload = world.registries.payload_digest(REFERRERS, "found/app", &image).await?;
    let entries = world.sigstore.search_rekor_v1(&payload).await?;
    ensure!(entries.len() == 1, "wanted one entry of {payload}, found {entries:?}");
    let hash = &entries[0]["spec"]["data"]["hash"]["value"];
    ensure!(format!("sha256:{}", hash.as_str().unwrap_or_default()) == payload, "{entries:?}");
    let none = world.sigstore.search_rekor_v1(&image.digest).await?;
    ensure!(none.is_empty(), "wanted no entry of another hash, found {none:?}");
    let mut bare = world.registries.annotations(REFERRERS, "found/app", &image).await?;
    let entry = bare.as_object_mut().and_then(|fields| fields.remove("dev.sigstore.cosign/bundle"));
    ensure!(entry.is_some(), "the signature had no entry attached");
    let copied = world.registries.copy(REFERRERS, "found/app", &image, "found/bare").await?;
    let places = ("found/app", "found/bare");
    world.registries.copy_classic(REFERRERS, places, &image, bare).await?;
    let unlogged = world.registries.push(REFERRERS, "found/unlogged").await?;
    let way = Way { format: Classic, log: Nowhere, timestamp: WITHOUT };
    world.sigstore.sign(&unlogged.pinned, &EcdsaP256.signer(), way).await?;
    world.namespace(FOUND, &[]).await?;
    let mut authority = EcdsaP256.authority(world, false)?;
    authority["ctlog"] = json!({ "trustRootRef": TRUST_ROOT });
    let asked = |authority: &Value| {
        let mut policy = cluster_policy("found", "found", json!([authority]));
        policy["kind"] = json!("ImagePolicy");
        policy["metadata"]["namespace"] = json!(FOUND);
        policy
    };
    apply_ready(world, &asked(&authority)).await?;
    let texts = [copied.tagged.as_str(), "step log-lookup", "[log-entry-absent]"];
    assert_refused(ask(world, FOUND, &copied.tagged).await?, &texts)?;
    authority["ctlog"]["url"] = json!(format!("http://{}", crate::sigstore::REKOR_V1));
    apply_ready(world, &asked(&authority)).await?;
    admitted(world, FOUND, &copied.tagged, EFFECT).await?;
    let texts = [unlogged.tagged.as_str(), "step log-lookup", "[log-entry-absent]"];
    assert_refused(ask(world, FOUND, &unlogged.tagged).await?, &texts)
}

/// Attestations of every form are attached and good, as `cosign` finds; none of them stands in for a
/// signature; and each is admitted for its signer, its type and what it says, and refused for
/// another of these.
pub async fn attestations_are_admitted_for_what_they_say(world: &mut World) -> Result<()> {
    prepare(world, ATTESTATIONS.iter().map(|Attested(row, _)| row)).await?;
    for namespace in [SAYS, SAYS_NOT, OTHER_TYPE, OTHER_SIGNER] {
        world.namespace(namespace, &[]).await?;
        let policies: Result<Vec<Value>> =
            ATTESTATIONS.iter().map(|one| one.policy(world, namespace)).collect();
        apply_all_ready(world, namespace, policies?).await?;
    }
    let world: &World = world;
    all(ATTESTATIONS.iter().map(|attested| async move {
        judge_attested(world, attested)
            .await
            .map_err(|error| anyhow!("{}: {error:#}", attested.0.0))
    }))
    .await
}

async fn judge_attested(world: &World, Attested(row, kind): &Attested) -> Result<()> {
    let Row(name, who, format, .., registry) = *row;
    let image = world.registries.push(registry, &format!("{name}/app")).await?;
    let (signer, sigstore) = (who.signer(), &world.sigstore);
    sigstore.attest(&image.pinned, &signer, row.way(), (kind, &predicate(kind))).await?;
    sigstore.verify_attestation(&image.pinned, &signer, row.way(), kind).await?.success()?;
    let code = match format {
        Bundle => "[predicate-type-unexpected]",
        Classic | ClassicReferrer => "[signature-absent]",
    };
    let image = image.tagged.as_str();
    let texts = [image, &format!("{RIGHT}/{name}"), "step evidence", code];
    assert_refused(ask(world, RIGHT, image).await?, &texts)?;
    ask(world, SAYS, image).await?.success()?;
    for (namespace, step, code) in [
        (SAYS_NOT, "step conditions", "[condition-unmet]"),
        (OTHER_TYPE, "step evidence", "[predicate-type-unexpected]"),
        (OTHER_SIGNER, who.step(), who.code()),
    ] {
        let texts = [image, &format!("{namespace}/{name}"), step, code];
        assert_refused(ask(world, namespace, image).await?, &texts)?;
    }
    Ok(())
}

impl Attested {
    /// The policy that asks for the attestation, in one of its namespaces.
    fn policy(&self, world: &World, namespace: &str) -> Result<Value> {
        let Self(row, kind) = self;
        let signers = if namespace == OTHER_SIGNER { WRONG } else { namespace };
        let mut policy = row.policy(world, signers)?;
        policy["metadata"]["namespace"] = json!(namespace);
        let kind = if namespace == OTHER_TYPE { "link" } else { kind };
        let says = format!("size(subject) == {}", if namespace == SAYS_NOT { 2 } else { 1 });
        policy["spec"]["authorities"][0]["attestations"] = json!([
            { "name": "asked", "predicateType": kind, "conditions": [{ "cel": says }] },
        ]);
        Ok(policy)
    }
}

/// A predicate of a type, with no more in it than `cosign` asks for.
fn predicate(kind: &str) -> String {
    let predicate = match kind {
        "cyclonedx" => json!({ "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1 }),
        "slsaprovenance" => json!({
            "builder": { "id": "https://builder.e2e.test" },
            "buildType": "https://builder.e2e.test/type",
            "invocation": { "configSource": {} },
        }),
        "slsaprovenance1" => json!({
            "buildDefinition": {
                "buildType": "https://builder.e2e.test/type",
                "externalParameters": {},
            },
            "runDetails": { "builder": { "id": "https://builder.e2e.test" } },
        }),
        "vuln" => json!({
            "scanner": { "uri": "pkg:e2e/scanner", "version": "1", "result": {} },
            "metadata": {
                "scanStartedOn": "2026-01-01T00:00:00Z",
                "scanFinishedOn": "2026-01-01T00:00:01Z",
            },
        }),
        _ => json!({ "tested": true }),
    };
    predicate.to_string()
}

/// Starts Rekor v1, makes keys, and applies the policies of all three namespaces for these rows.
async fn prepare(world: &mut World, rows: impl Iterator<Item = &Row> + Clone) -> Result<()> {
    world.sigstore.start_rekor_v1().await?;
    for who in [EcdsaP256, EcdsaP384, Ed25519, Rsa] {
        who.make_keys(world).await?;
    }
    for namespace in [RIGHT, WRONG, STRICT] {
        world.namespace(namespace, &[]).await?;
        let policies: Result<Vec<Value>> =
            rows.clone().map(|row| row.policy(world, namespace)).collect();
        apply_all_ready(world, namespace, policies?).await?;
    }
    Ok(())
}

/// Applies the policies of a namespace, and waits until they are in force.
async fn apply_all_ready(world: &World, namespace: &str, policies: Vec<Value>) -> Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": policies });
    world.apply(&list).await?.success()?;
    let timeout = format!("--timeout={}s", READY.as_secs());
    let wait = ["wait", "--for=condition=Ready", "imagepolicies", "--all", "-n", namespace];
    world.kubectl(&[&wait[..], &[&timeout]].concat()).await?.success().map(drop)
}

impl Row {
    const fn way(&self) -> Way {
        Way { format: self.2, log: self.3, timestamp: self.4 }
    }

    /// The policy for this row's images in one of the namespaces.
    fn policy(&self, world: &World, namespace: &str) -> Result<Value> {
        let Self(name, who, format, log, timestamp, _) = *self;
        let mut authority = who.authority(world, namespace == WRONG)?;
        let service = json!({ "trustRootRef": TRUST_ROOT });
        if log != Nowhere || namespace == STRICT {
            authority["ctlog"] = service.clone();
        }
        if timestamp || namespace == STRICT {
            authority["rfc3161timestamp"] = service;
        }
        authority["signatureFormat"] = match format {
            Bundle => json!("bundle"),
            Classic | ClassicReferrer => json!("legacy"),
        };
        let mut policy = cluster_policy(name, name, json!([authority]));
        policy["kind"] = json!("ImagePolicy");
        policy["metadata"]["namespace"] = json!(namespace);
        Ok(policy)
    }
}
