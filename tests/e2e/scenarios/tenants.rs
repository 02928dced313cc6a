//! What the owners of a namespace may do, and what they cannot reach through Tegata.
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;

use super::support::EFFECT;
use super::support::admitted;
use super::support::apply_ready;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::refused;
use crate::process::Done;
use crate::registries::REFERRERS;
use crate::tegata::NAMESPACE as TEGATA;
use crate::tegata::RELEASE;
use crate::world::World;

/// How soon a role is aggregated, or a status written.
const SOON: Duration = Duration::from_secs(30);

/// A Secret's content that nobody else may ever see.
const CONTENT: &str = "the-content-of-a-secret-5f2c";

/// `admin` of a namespace writes its ImagePolicies; nothing of another's, nothing of the cluster's.
pub async fn an_administrator_of_a_namespace_tightens_it_alone(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = world.registries.push(REFERRERS, "frozen/app").await?.tagged;
    let nobody = json!([{ "name": "nobody", "static": { "action": "fail" } }]);
    let policy = image_policy("frozen", "frozen", nobody.clone());
    world
        .eventually(SOON, async || as_alice(world, "create", "alice", &policy).await?.success())
        .await?;
    let texts = ["ImagePolicy alice/frozen", "[static-fail]"];
    refused(world, "alice", &image, EFFECT, &texts).await?;
    admitted(world, "bob", &image, EFFECT).await?;
    let cannot = |verb: &str, resource: &str, place: &str| {
        format!(
            "User \"alice\" cannot {verb} resource \"{resource}\" in API group \"tegata.dev\" {place}"
        )
    };
    let everywhere = "at the cluster scope";
    let others = as_alice(world, "create", "bob", &policy).await?;
    assert_refused(others, &[&cannot("create", "imagepolicies", "in the namespace \"bob\"")])?;
    let of_cluster = cluster_policy("alices", "frozen", nobody);
    let of_cluster = as_alice(world, "create", "alice", &of_cluster).await?;
    assert_refused(of_cluster, &[&cannot("create", "clusterimagepolicies", everywhere)])?;
    let mut root = crate::sigstore::trust_root("alices", &world.sigstore.trusted_root()?);
    root["metadata"]["namespace"] = Value::Null;
    let root = as_alice(world, "create", "alice", &root).await?;
    assert_refused(root, &[&cannot("create", "trustroots", everywhere)])?;
    let delete = ["delete", "clusterimagepolicy", "basics", "--as=alice"];
    let delete = world.kubectl(&delete).await?;
    assert_refused(delete, &[&cannot("delete", "clusterimagepolicies", everywhere)])?;
    for (subresource, wanted) in [("", "yes"), ("status", "no")] {
        let subresource = format!("--subresource={subresource}");
        let can = ["auth", "can-i", "patch", "imagepolicies", "-n", "alice", "--as=alice"];
        let said = world.kubectl(&[&can[..], &[&subresource]].concat()).await?;
        ensure!(said.stdout.trim() == wanted, "{}: {}", said.command, said.stdout);
    }
    let delete = ["delete", "imagepolicy", "frozen", "-n", "alice", "--as=alice"];
    world.kubectl(&delete).await?.success()?;
    admitted(world, "alice", &image, EFFECT).await
}

/// A key in a Secret of another namespace is not found, although Tegata could read it.
pub async fn a_key_of_another_namespace_is_out_of_reach(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let key = world.sigstore.key("bobs").await?;
    let image = world.registries.push(REFERRERS, "borrowed/signed-by-bob").await?;
    world.sigstore.sign_with_key(&image.pinned, "bobs").await?;
    for (namespace, name) in [("bob", "only-bobs"), (TEGATA, "only-tegatas")] {
        world.apply(&secret(namespace, name, &key)).await?.success()?;
    }
    let authority =
        |name: &str| json!([{ "name": "team", "key": { "secretRef": { "name": name } } }]);
    // It is a good key, where it may be named.
    let mut own = image_policy("own", "borrowed", authority("only-bobs"));
    own["metadata"]["namespace"] = json!("bob");
    apply_ready(world, &own).await?;
    admitted(world, "bob", &image.tagged, EFFECT).await?;
    let mut elsewhere = authority("only-bobs");
    elsewhere[0]["key"]["secretRef"]["namespace"] = json!("bob");
    let elsewhere =
        as_alice(world, "apply", "alice", &image_policy("elsewhere", "borrowed", elsewhere))
            .await?;
    let texts = [
        "spec.authorities[0].key.secretRef.namespace",
        "`bob`, but an ImagePolicy reads from its own namespace, and from no other",
    ];
    assert_refused(elsewhere, &texts)?;
    for name in ["only-bobs", "only-tegatas"] {
        let policy = image_policy("borrowed", "borrowed", authority(name));
        as_alice(world, "apply", "alice", &policy).await?.success()?;
        not_ready(world, "borrowed", &format!("there is no Secret alice/{name}")).await?;
        let texts = ["ImagePolicy alice/borrowed", &format!("alice/{name}"), "[policy-invalid]"];
        refused(world, "alice", &image.tagged, EFFECT, &texts).await?;
    }
    world.kubectl(&["delete", "imagepolicy", "borrowed", "-n", "alice"]).await?.success()?;
    Ok(())
}

/// What stands in a Secret that holds no key is told to nobody: not by the policy's status, a
/// denial, an Event or a log.
pub async fn a_secrets_content_is_never_shown(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = world.registries.push(REFERRERS, "junk/app").await?.tagged;
    let encoded = BASE64_STANDARD.encode(CONTENT);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n");
    let authority = json!([{ "name": "team", "key": { "secretRef": { "name": "junk" } } }]);
    let mut seen = String::new();
    for content in [CONTENT, &pem, &format!("-----BEGIN {CONTENT}-----")] {
        world.apply(&secret("alice", "junk", content)).await?.success()?;
        let policy = image_policy("junk", "junk", authority.clone());
        let Done { stdout, stderr, .. } = as_alice(world, "apply", "alice", &policy).await?;
        seen += &format!("{stdout}{stderr}");
        not_ready(world, "junk", "Secret alice/junk").await?;
        let run = ["run", "junk", "-n", "alice", "--image", &image];
        let denial = world.kubectl(&run).await?.failure()?;
        ensure!(denial.contains("[policy-invalid]") && denial.contains("alice/junk"), "{denial}");
        seen += &denial;
        let show = ["get", "imagepolicies,events", "-n", "alice", "-o", "yaml"];
        seen += &world.kubectl(&show).await?.success()?;
        world.kubectl(&["delete", "imagepolicy", "junk", "-n", "alice"]).await?.success()?;
    }
    for entry in std::fs::read_dir(world.logs())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(RELEASE)) {
            seen += &String::from_utf8_lossy(&std::fs::read(path)?);
        }
    }
    ensure!(
        seen.contains("alice/junk") && seen.contains("ImagePolicy"),
        "nothing was seen: {seen}"
    );
    for part in [CONTENT, &encoded] {
        let at = seen.find(part);
        let around = at.and_then(|at| seen.get(at.saturating_sub(300)..at + part.len()));
        ensure!(around.is_none(), "the content is shown: {around:?}");
    }
    Ok(())
}

/// Two namespaces whose Secrets Tegata may read, and the administrator of one.
async fn prepare(world: &World) -> Result<()> {
    let account = format!("{TEGATA}:{RELEASE}");
    for namespace in ["alice", "bob"] {
        world.namespace(namespace, &[]).await?;
        let keys = binding("keys", namespace, &format!("{RELEASE}-policy-keys"), &account);
        world.apply(&keys).await?.success()?;
    }
    world.apply(&binding("admin", "alice", "admin", "alice")).await?.success()?;
    Ok(())
}

/// A ClusterRole bound in a namespace, to a user or to a ServiceAccount as `namespace:name`.
fn binding(name: &str, namespace: &str, role: &str, subject: &str) -> Value {
    let subject = match subject.split_once(':') {
        Some((namespace, name)) => {
            json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
        }
        None => {
            json!({ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": subject })
        }
    };
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": name, "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [subject],
    })
}

fn secret(namespace: &str, name: &str, content: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "stringData": { "cosign.pub": content },
    })
}

/// A policy, for images below a folder, of the namespace that it is written in.
fn image_policy(name: &str, folder: &str, authorities: Value) -> Value {
    let mut policy = cluster_policy(name, folder, authorities);
    policy["kind"] = json!("ImagePolicy");
    policy
}

async fn as_alice(world: &World, verb: &str, namespace: &str, object: &Value) -> Result<Done> {
    let command = [verb, "--as=alice", "-n", namespace, "-f", "-"];
    world.kubectl_with(&command, &object.to_string()).await
}

/// Waits until a policy of alice's says that it cannot be used, and why.
async fn not_ready(world: &World, name: &str, why: &str) -> Result<()> {
    world
        .eventually(SOON, async || {
            let policy = world.get(&["imagepolicy", name, "-n", "alice"]).await?;
            let condition = &policy["status"]["conditions"][0];
            let message = condition["message"].as_str().unwrap_or_default();
            let is_told = condition["type"] == "Ready" && condition["status"] == "False";
            ensure!(is_told && message.contains(why), "wanted {why:?} in {}", policy["status"]);
            Ok(())
        })
        .await
}
