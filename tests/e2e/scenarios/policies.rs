//! Policies that are meant: the examples, those that others wrote, and what their status says.
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::invalid::BY_WEBHOOK;
use super::support::EFFECT;
use super::support::apply_ready;
use super::support::cluster_policy;
use crate::collection;
use crate::foreign_policies;
use crate::process::Done;
use crate::tegata::NAMESPACE as TEGATA;
use crate::world::World;

/// The folders of examples with policies and trust roots, and how many of these there are at least.
const EXAMPLES: [&str; 4] = [
    "examples/trust",
    "examples/policies",
    "examples/policies/in-cluster",
    "examples/demo/policies",
];
const EXAMPLES_AT_LEAST: usize = 10;

/// The least number of policies of others that are accepted as they are.
const FOREIGN_AT_LEAST: usize = 15;

/// Within this the elected replica has written a status.
const STATUS: Duration = Duration::from_secs(10);

/// Every example is accepted by `kubectl apply` without a warning, but for the one of a key that is
/// looked for then, and is ready.
pub async fn of_the_examples_are_accepted_without_a_warning(world: &mut World) -> Result<()> {
    world.namespace("team-a", &[]).await?;
    let key = std::fs::read_to_string(package("examples/trust/cosign.pub"))?;
    // What the comment in `in-cluster/key-in-secret.yaml` has made.
    let secret = secret("platform-key", &key);
    world.apply(&secret).await?.success()?;
    // And what that in `in-cluster/trust-root-in-configmap.yaml` has.
    let root = std::fs::read_to_string(package("examples/trust/trusted_root.json"))?;
    let config_map = config_map("instance-root", &root);
    world.apply(&config_map).await?.success()?;
    let mut examples = vec![];
    for folder in EXAMPLES {
        examples.extend(objects_in(&package(folder))?);
    }
    ensure!(examples.len() >= EXAMPLES_AT_LEAST, "only {} examples", examples.len());
    // Trust roots first: a policy that names one that is not there gets a warning.
    examples.sort_by_key(|(_, object)| object["kind"] != "TrustRoot");
    for (file, object) in &examples {
        let namespace = object["metadata"]["namespace"].as_str();
        if let Some(namespace) = namespace {
            world.namespace(namespace, &[]).await?;
        }
        let applied = async {
            if object.to_string().contains("secretRef") {
                // A Secret is read for the policies that are there: the first that names it is told
                // that nobody has looked yet, and is ready as soon as somebody has.
                warns(&world.apply(object).await?, &["platform-key", "has not been read yet"])?;
                return apply_ready(world, object).await;
            }
            // The trust root that it names may have reached one replica and not yet the other.
            world.eventually(EFFECT, async || quiet(dry_run(world, object).await?)).await?;
            quiet(world.apply(object).await?)?;
            apply_ready(world, object).await
        };
        applied.await.with_context(|| file.clone())?;
    }
    for (file, object) in examples.iter().rev() {
        delete(world, object).await.with_context(|| file.clone())?;
    }
    delete(world, &secret).await?;
    delete(world, &config_map).await?;
    print!("({} accepted) ", examples.len());
    Ok(())
}

/// What others wrote for the same field names is accepted, or refused at the field of
/// `tests/e2e/policy_differences.yaml`; what they call invalid is refused.
pub async fn of_others_are_accepted_or_refused_by_a_named_field(world: &mut World) -> Result<()> {
    let folder = collection::folder("TEGATA_VECTORS", "there are no policies of others")
        .context("TEGATA_VECTORS is not set: it names a folder with `policies` of others")?;
    let policies = foreign_policies::converted(&folder.join("policies"));
    let mut differences = foreign_policies::differences();
    let (mut accepted, mut invalid, mut wrong) = (0, 0, vec![]);
    let differing = differences.len();
    for (name, text) in &policies {
        let done = world.kubectl_with(&["apply", "-f", "-"], text).await?;
        let outcome = if foreign_policies::is_invalid(name) {
            invalid += 1;
            refused_at(done, "spec")
        } else if let Some(row) = differences.remove(name) {
            refused_at(done, row.schema.as_ref().unwrap_or(&row.field))
        } else {
            accepted += 1;
            let deleted = ["delete", "-f", "-"];
            match done.success() {
                Ok(_) => world.kubectl_with(&deleted, text).await?.success().map(drop),
                Err(error) => Err(error),
            }
        };
        if let Err(error) = outcome {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), policies.len(), wrong.join("\n"));
    let left: Vec<_> = differences.keys().collect();
    ensure!(left.is_empty(), "these are not among the policies: {left:?}");
    ensure!(accepted >= FOREIGN_AT_LEAST, "only {accepted} of {} are accepted", policies.len());
    print!("({accepted} accepted, {differing} differing, {invalid} invalid) ");
    Ok(())
}

/// `kubectl wait --for=condition=Ready` ends for a good policy, and the columns say what it is.
pub async fn say_that_they_are_ready(world: &mut World) -> Result<()> {
    let pass = json!([{ "name": "anything", "static": { "action": "pass" } }]);
    let policy = cluster_policy("ready", "ready", pass);
    apply_ready(world, &policy).await?;
    let ready = condition(world, "ready").await?;
    ensure!(ready["reason"] == "Compiled" && ready["observedGeneration"] == 1, "{ready}");
    let shown = world.kubectl(&["get", "tcip", "ready"]).await?.success()?;
    for column in ["NAME", "MODE", "AUTHORITIES", "READY", "enforce", "True"] {
        ensure!(shown.contains(column), "wanted {column}: {shown}");
    }
    delete(world, &policy).await
}

/// A policy whose key is missing is accepted with a warning and says what it lacks, until the key
/// comes, and again when it goes; its labels can be changed all the while.
pub async fn say_what_they_lack_until_it_comes(world: &mut World) -> Result<()> {
    const PLACE: &str = "Secret tegata-system/late-key";
    let authority = json!([{ "name": "team", "key": { "secretRef": { "name": "late-key" } } }]);
    let policy = cluster_policy("late", "late", authority);
    let done = world.apply(&policy).await?;
    warns(&done, &["spec.authorities[0].key.secretRef", PLACE, "denies what it matches"])?;
    lacks(world, PLACE).await?;
    let key = secret("late-key", &world.sigstore.key("late").await?);
    world.apply(&key).await?.success()?;
    let wait = ["wait", "--for=condition=Ready", "clusterimagepolicy/late", "--timeout=10s"];
    world.kubectl(&wait).await?.success()?;
    let label = ["label", "clusterimagepolicy", "late", "--overwrite"];
    quiet(world.kubectl(&[&label[..], &["e2e=good"]].concat()).await?)?;
    delete(world, &key).await?;
    lacks(world, PLACE).await?;
    quiet(world.kubectl(&[&label[..], &["e2e=invalid"]].concat()).await?)?;
    let stored = world.get(&["clusterimagepolicy", "late"]).await?;
    ensure!(stored["metadata"]["labels"]["e2e"] == "invalid", "{stored}");
    delete(world, &policy).await
}

/// Waits until the policy `late` says that its key is missing, and what follows from it.
async fn lacks(world: &World, place: &str) -> Result<()> {
    let said = async || {
        let ready = condition(world, "late").await?;
        let message = ready["message"].as_str().unwrap_or_default();
        ensure!(ready["status"] == "False" && ready["reason"] == "KeyMissing", "{ready}");
        ensure!(message.contains(place) && message.contains("denies what it matches"), "{message}");
        Ok(())
    };
    world.eventually(STATUS, said).await
}

async fn condition(world: &World, name: &str) -> Result<Value> {
    let policy = world.get(&["clusterimagepolicy", name]).await?;
    let conditions = policy["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    ready.cloned().with_context(|| format!("{name} has no condition Ready: {policy}"))
}

/// Holds a command to having gone well without a word of warning.
fn quiet(done: Done) -> Result<()> {
    let (command, said) = (done.command.clone(), done.stderr.clone());
    done.success()?;
    ensure!(said.is_empty(), "{command}: {said}");
    Ok(())
}

/// Holds a command to having gone well with a warning of these texts.
fn warns(done: &Done, texts: &[&str]) -> Result<()> {
    let said = done.stderr.clone();
    done.clone().success()?;
    let warning = said.lines().find(|line| line.starts_with("Warning: ")).unwrap_or_default();
    for text in texts {
        ensure!(warning.contains(text), "{}: wanted {text:?} in: {said:?}", done.command);
    }
    Ok(())
}

/// Holds a refusal to a field: the webhook begins with it. The schema's message names it, or a rule
/// of the field that it is in does.
fn refused_at(done: Done, field: &str) -> Result<()> {
    let error = done.failure()?;
    if let Some((_, message)) = error.split_once(BY_WEBHOOK) {
        ensure!(message.starts_with(field), "wanted {field}: {error}");
        return Ok(());
    }
    ensure!(error.contains(" is invalid: "), "neither schema nor webhook: {error}");
    let begins = error.contains(&format!(" {field}")) || error.contains(&format!("[{field}"));
    let of_a_rule = field.rsplit_once('.').is_some_and(|(parent, leaf)| {
        error.contains(&format!("{parent}: ")) && error.contains(&format!("`{leaf}`"))
    });
    ensure!(begins || of_a_rule, "wanted {field}: {error}");
    Ok(())
}

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn secret(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": TEGATA },
        "stringData": { "cosign.pub": key },
    })
}

fn config_map(name: &str, root: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": TEGATA },
        "data": { "trusted_root.json": root },
    })
}

/// The objects of a folder's YAML files, each with its file. What a trust root names in a file is
/// put into the trust root itself, as the example says for a cluster.
fn objects_in(folder: &Path) -> Result<Vec<(String, Value)>> {
    let mut objects = vec![];
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_none_or(|ending| ending != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let options = serde_saphyr::options! {};
        let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options)?;
        for mut object in documents {
            if let Some(named) = object.pointer("/spec/trustedRoot/file").and_then(Value::as_str) {
                let root = std::fs::read_to_string(folder.join(named))?;
                object["spec"]["trustedRoot"] = serde_json::from_str(&root)?;
            }
            objects.push((file.display().to_string(), object));
        }
    }
    Ok(objects)
}

async fn dry_run(world: &World, object: &Value) -> Result<Done> {
    let arguments = ["apply", "--dry-run=server", "-f", "-"];
    world.kubectl_with(&arguments, &object.to_string()).await
}

async fn delete(world: &World, object: &Value) -> Result<()> {
    world.kubectl_with(&["delete", "-f", "-"], &object.to_string()).await?.success()?;
    Ok(())
}
