//! Installing Tegata, a first policy, and what it admits and refuses.
use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use super::support::COPY;
use super::support::EFFECT;
use super::support::RELEASE;
use super::support::STRANGER;
use super::support::TRUST_ROOT;
use super::support::admitted;
use super::support::apply_ready;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::refused;
use super::support::signed;
use crate::registries::PLAIN;
use crate::registries::REFERRERS;
use crate::sigstore::trust_root;
use crate::world::World;

/// The images that the policies of these scenarios cover.
const FOLDER: &str = "basics";

/// The parts work together before Tegata is asked anything: both registries, both kinds of identity.
pub async fn cosign_signs_and_verifies_with_the_private_sigstore(world: &mut World) -> Result<()> {
    for registry in [REFERRERS, PLAIN] {
        for identity in [RELEASE, STRANGER] {
            let image = world.registries.push(registry, "parts/app").await?;
            world.sigstore.sign_keyless(&image.pinned, &identity).await?;
            world.sigstore.verify_keyless(&image.pinned, &identity).await?.success()?;
        }
    }
    let unsigned = world.registries.push(REFERRERS, "parts/unsigned").await?;
    let error = world.sigstore.verify_keyless(&unsigned.pinned, &RELEASE).await?.failure()?;
    ensure!(error.contains("no signatures found"), "{error}");
    Ok(())
}

/// `helm install` ends with every replica ready, and the API server reaches them.
pub async fn helm_installs_tegata(world: &mut World) -> Result<()> {
    world.install_tegata(&[]).await?;
    let pods = world.tegata_pods().await?;
    ensure!(pods.len() == 2, "wanted two replicas, found {pods:?}");
    Ok(())
}

/// The trust root and a policy are accepted and say that they are ready.
pub async fn policies_are_applied(world: &mut World) -> Result<()> {
    let root = trust_root(TRUST_ROOT, &world.sigstore.trusted_root()?);
    apply_ready(world, &root).await?;
    let policy = cluster_policy("basics", FOLDER, json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    world.namespace("basics", &[]).await
}

/// `kubectl run` of an image that was signed in this very run; what is stored names the digest.
pub async fn admits_what_cosign_signed_and_stores_its_digest(world: &mut World) -> Result<()> {
    for (name, registry) in [("referrers", REFERRERS), ("plain", PLAIN)] {
        let image = world.registries.push(registry, &format!("{FOLDER}/{name}")).await?;
        world.sigstore.sign_keyless(&image.pinned, &RELEASE).await?;
        let run = ["run", name, "-n", "basics", "--image", &image.tagged];
        world.kubectl(&run).await?.success()?;
        let pod = world.get(&["pod", name, "-n", "basics"]).await?;
        let stored = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        let wanted = format!("{}@{}", image.tagged, image.digest);
        ensure!(stored == wanted, "wanted {wanted}, found {stored}");
    }
    Ok(())
}

/// A refusal names field, image, policy, step, what was found, what was wanted, and a reason code.
pub async fn refuses_and_says_why(world: &mut World) -> Result<()> {
    let unsigned = world.registries.push(REFERRERS, &format!("{FOLDER}/unsigned")).await?;
    let other = signed(world, &format!("{FOLDER}/other"), &COPY).await?;
    let stranger = signed(world, &format!("{FOLDER}/stranger"), &STRANGER).await?;
    let cases: [(&str, &str, &[&str]); 3] = [
        ("unsigned", &unsigned.tagged, &["step evidence", "[signature-absent]"]),
        ("other", &other.tagged, &["step identity", &COPY.subject(), "[subject-mismatch]"]),
        ("stranger", &stranger.tagged, &["step identity", "/email`", "[issuer-mismatch]"]),
    ];
    for (name, image, texts) in cases {
        let run = ["run", name, "-n", "basics", "--image", image];
        let always =
            ["spec.containers[0].image", image, "ClusterImagePolicy basics", "found: ", "wanted: "];
        assert_refused(world.kubectl(&run).await?, &[&always, texts].concat())?;
    }
    another_key(world).await
}

/// An image signed with another key than the policy's, and the same image once the policy names
/// that key: a change takes effect within a second.
async fn another_key(world: &World) -> Result<()> {
    let image = world.registries.push(REFERRERS, "keys/app").await?;
    let (ours, theirs) = (world.sigstore.key("ours").await?, world.sigstore.key("theirs").await?);
    world.sigstore.sign_with_key(&image.pinned, "theirs").await?;
    let policy = |key: &str| {
        let authority = json!([{ "name": "team", "key": { "data": key } }]);
        cluster_policy("keys", "keys", authority)
    };
    let texts = [image.tagged.as_str(), "step signature", "[signature-invalid]"];
    apply_ready(world, &policy(&ours)).await?;
    refused(world, "basics", &image.tagged, EFFECT, &texts).await?;
    world.apply(&policy(&theirs)).await?.success()?;
    admitted(world, "basics", &image.tagged, EFFECT).await
}
