//! How a container is run: a root folder with its mounts, its environment and its arguments.
//!
//! All pods share the machine's one network, so `0.0.0.0` in arguments and variables becomes the
//! pod's own address.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::EnvVarSource;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::Endpoint;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::NODE;
use super::NODE_ADDRESS;
use super::volumes;
use crate::cluster::API_PORT;
use crate::isolation::has_users;
use crate::parts;
use crate::process::Program;

/// What a program that is linked to libraries needs of the machine, which a real image would not.
const OF_THE_MACHINE: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/etc/ssl", "/dev/null"];

/// The program that runs a pod's first container.
pub async fn program(client: &Client, pod: &Pod, address: &str, folder: &Path) -> Result<Program> {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let container = container.context("a pod has a container")?;
    let variables = variables(client, pod, container, address).await?;
    let mut script = String::from("set -eu\n");
    let root = folder.join("root");
    let root = root.display();
    let etc = folder.join("root/etc");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("hosts"), hosts(client).await?)?;
    fs::write(etc.join("nsswitch.conf"), "hosts: files\n")?;
    writeln!(script, "mkdir -p {root}/tmp\nmount --bind {root} {root}")?;
    for path in OF_THE_MACHINE {
        writeln!(script, "[ ! -e {path} ] || {{ {} }}", bind(path, &format!("{root}{path}")))?;
    }
    let tegata = parts::tegata();
    writeln!(script, "{}", bind(&tegata.display().to_string(), &format!("{root}/tegata")))?;
    for mount in container.volume_mounts.iter().flatten() {
        let mut source = volumes::folder(folder, &mount.name);
        source.extend(mount.sub_path.as_deref());
        let target = format!("{root}{}", mount.mount_path);
        writeln!(script, "{}", bind(&source.display().to_string(), &target))?;
    }
    let security = container.security_context.as_ref();
    if security.and_then(|security| security.read_only_root_filesystem) == Some(true) {
        writeln!(script, "mount -o remount,bind,ro {root}")?;
    }
    let user = security.and_then(|security| security.run_as_user);
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.run_as_user);
    let user = user.or(of_pod).unwrap_or(65_532);
    let user = if has_users() { format!("--userspec={user}:{user}") } else { String::new() };
    write!(script, "chroot=$(command -v chroot)\nexec env -i")?;
    for (name, value) in &variables {
        write!(script, " {}", quoted(&format!("{name}={value}")))?;
    }
    write!(script, " \"$chroot\" {user} {root} /tegata")?;
    let command = container.command.iter().flatten().skip(1);
    for argument in command.chain(container.args.iter().flatten()) {
        let argument = here(&expanded(argument, &variables), address);
        write!(script, " {}", quoted(&argument))?;
    }
    let file = folder.join("run.sh");
    fs::write(&file, script)?;
    Ok(Program::new(&pod.name_any(), "unshare").args([
        "--mount",
        "--propagation=private",
        "sh",
        &file.display().to_string(),
    ]))
}

/// A `hosts` file in place of cluster DNS and kube-proxy: the name of each Service, at its ready
/// pods.
async fn hosts(client: &Client) -> Result<String> {
    let mut lines = String::from("127.0.0.1 localhost\n");
    let slices: Api<EndpointSlice> = Api::all(client.clone());
    for slice in slices.list(&ListParams::default()).await? {
        let service = slice.labels().get("kubernetes.io/service-name").cloned();
        let (Some(service), Some(namespace)) = (service, slice.namespace()) else { continue };
        let is_ready = |endpoint: &&Endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        for address in slice.endpoints.iter().filter(is_ready).flat_map(|e| &e.addresses) {
            writeln!(lines, "{address} {service}.{namespace}.svc")?;
        }
    }
    Ok(lines)
}

/// Shell commands that put a file or folder into the root folder.
fn bind(source: &str, target: &str) -> String {
    format!(
        "if [ -d {source} ]; then mkdir -p {target}; else mkdir -p $(dirname {target}); \
         [ -e {target} ] || : > {target}; fi; mount --rbind {source} {target};"
    )
}

async fn variables(
    client: &Client,
    pod: &Pod,
    container: &Container,
    address: &str,
) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::from([
        ("KUBERNETES_SERVICE_HOST".to_owned(), NODE_ADDRESS.to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), API_PORT.to_owned()),
        ("HOSTNAME".to_owned(), pod.name_any()),
        // What the image's defaults would collide on.
        ("TEGATA_LISTEN".to_owned(), format!("{address}:8443")),
        ("TEGATA_HEALTH_LISTEN".to_owned(), format!("{address}:8080")),
    ]);
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => expanded(value, &variables),
            (None, Some(source)) => match value_from(client, pod, source, address).await? {
                Some(value) => value,
                None => continue,
            },
            (None, None) => String::new(),
        };
        variables.insert(variable.name.clone(), here(&value, address));
    }
    Ok(variables)
}

async fn value_from(
    client: &Client,
    pod: &Pod,
    source: &EnvVarSource,
    address: &str,
) -> Result<Option<String>> {
    let namespace = pod.namespace().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, address).map(Some);
    }
    if let Some(reference) = &source.secret_key_ref {
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        let data = api.get_opt(&reference.name).await?.and_then(|secret| secret.data);
        let value = data.and_then(|mut data| data.remove(&reference.key));
        return Ok(value.map(|value| String::from_utf8_lossy(&value.0).into_owned()));
    }
    if let Some(reference) = &source.config_map_key_ref {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        let data = api.get_opt(&reference.name).await?.and_then(|map| map.data);
        return Ok(data.and_then(|mut data| data.remove(&reference.key)));
    }
    let resource = source.resource_field_ref.as_ref().context("a source of a variable")?;
    let limits = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.resources.clone());
    let name = resource.resource.trim_start_matches("limits.").trim_start_matches("requests.");
    let quantity = limits.and_then(|limits| limits.limits?.remove(name));
    Ok(quantity.map(|quantity| quantity.0))
}

/// A field of a pod by its path in the downward API.
pub fn field(pod: &Pod, path: &str, address: &str) -> Result<String> {
    let spec = pod.spec.as_ref();
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "status.podIP" => address.to_owned(),
        "status.hostIP" => NODE_ADDRESS.to_owned(),
        "spec.nodeName" => NODE.to_owned(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        _ => anyhow::bail!("field {path} is none that this node knows"),
    })
}

/// With `$(NAME)` replaced by the variable.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

fn here(text: &str, address: &str) -> String {
    text.replace("0.0.0.0:", &format!("{address}:")).replace("[::]:", &format!("{address}:"))
}

/// As one word for the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
