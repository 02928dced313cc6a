//! The files of a pod's volumes.
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::KeyToPath;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::core::v1::ServiceAccountTokenProjection;
use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::api::core::v1::VolumeProjection;
use kube::Api;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::json;

use super::container::field;

/// Files of a volume by their path below it.
type Files = BTreeMap<String, Vec<u8>>;

/// Where a volume's files are.
pub fn folder(pod_folder: &Path, volume: &str) -> PathBuf {
    pod_folder.join("volumes").join(volume)
}

/// Writes the files of every volume that differ from what is there.
pub async fn write(client: &Client, pod: &Pod, pod_folder: &Path) -> Result<()> {
    let spec = pod.spec.as_ref().context("a pod has a spec")?;
    for volume in spec.volumes.iter().flatten() {
        let folder = folder(pod_folder, &volume.name);
        fs::create_dir_all(&folder)?;
        let Some(files) = files(client, pod, volume, &folder).await? else {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
            continue;
        };
        for (path, content) in &files {
            let path = folder.join(path);
            if fs::read(&path).ok().as_ref() != Some(content) {
                fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
                let new = path.with_extension("new");
                fs::write(&new, content)?;
                fs::rename(new, path)?;
            }
        }
    }
    Ok(())
}

/// What a volume holds; nothing for a folder that the container writes to.
async fn files(
    client: &Client,
    pod: &Pod,
    volume: &Volume,
    folder: &Path,
) -> Result<Option<Files>> {
    let reader = Reader { client, pod, folder };
    if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let optional = secret.optional == Some(true);
        return reader.secret(name, secret.items.as_deref(), optional).await.map(Some);
    }
    if let Some(map) = &volume.config_map {
        let optional = map.optional == Some(true);
        return reader.config_map(&map.name, map.items.as_deref(), optional).await.map(Some);
    }
    if let Some(projected) = &volume.projected {
        let mut files = Files::new();
        for source in projected.sources.iter().flatten() {
            files.extend(reader.projected(source).await?);
        }
        return Ok(Some(files));
    }
    if volume.empty_dir.is_some() {
        return Ok(None);
    }
    anyhow::bail!("volume {} is of a kind that this node does not know", volume.name)
}

struct Reader<'a> {
    client: &'a Client,
    pod: &'a Pod,
    folder: &'a Path,
}

impl Reader<'_> {
    async fn projected(&self, source: &VolumeProjection) -> Result<Files> {
        if let Some(map) = &source.config_map {
            return self
                .config_map(&map.name, map.items.as_deref(), map.optional == Some(true))
                .await;
        }
        if let Some(secret) = &source.secret {
            let optional = secret.optional == Some(true);
            return self.secret(&secret.name, secret.items.as_deref(), optional).await;
        }
        if let Some(token) = &source.service_account_token {
            return self.token(token).await;
        }
        let mut files = Files::new();
        for item in source.downward_api.iter().flat_map(|api| api.items.iter().flatten()) {
            let path = item.field_ref.as_ref().map(|field| field.field_path.as_str());
            let value = field(self.pod, path.unwrap_or_default(), "")?;
            files.insert(item.path.clone(), value.into_bytes());
        }
        Ok(files)
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
    ) -> Result<Files> {
        let api: Api<Secret> = self.api();
        let secret = api.get_opt(name).await?;
        let data = match secret {
            Some(secret) => secret.data.unwrap_or_default(),
            None if optional => BTreeMap::new(),
            None => anyhow::bail!("there is no Secret {name}"),
        };
        select(data.into_iter().map(|(key, value)| (key, value.0)).collect(), items)
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
    ) -> Result<Files> {
        let api: Api<ConfigMap> = self.api();
        let map = api.get_opt(name).await?;
        let data = match map {
            Some(map) => map.data.unwrap_or_default(),
            None if optional => BTreeMap::new(),
            None => anyhow::bail!("there is no ConfigMap {name}"),
        };
        select(data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect(), items)
    }

    /// A token for the pod's ServiceAccount, once: it outlives the run.
    async fn token(&self, token: &ServiceAccountTokenProjection) -> Result<Files> {
        if self.folder.join(&token.path).is_file() {
            return Ok(Files::new());
        }
        let spec = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let request = json!({ "spec": {
            "audiences": token.audience.iter().collect::<Vec<_>>(),
            "expirationSeconds": 86_400,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": self.pod.name_any(),
                "uid": self.pod.uid(),
            },
        } });
        let request: TokenRequest = serde_json::from_value(request)?;
        let api: Api<ServiceAccount> = self.api();
        let name = spec.unwrap_or("default");
        let answer = api.create_token_request(name, &PostParams::default(), &request).await?;
        let token_text = answer.status.context("a token was asked for")?.token;
        Ok(Files::from([(token.path.clone(), token_text.into_bytes())]))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.pod.namespace().unwrap_or_default())
    }
}

fn select(data: Files, items: Option<&[KeyToPath]>) -> Result<Files> {
    let Some(items) = items else { return Ok(data) };
    items
        .iter()
        .map(|item| {
            let value = data.get(&item.key).with_context(|| format!("no entry {}", item.key))?;
            Ok((item.path.clone(), value.clone()))
        })
        .collect()
}
