//! `caBundle` of our webhook configurations, kept in step with the bundle.
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use kube::Resource as _;
use kube::api::GetParams;
use kube::api::ObjectMeta;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use super::ServingError;
use super::secret::FIELD_MANAGER;

/// Our webhook configurations.
pub(super) struct Configurations {
    client: Client,
    names: Vec<(Kind, String)>,
    /// Those that were not there, so that each is told of once.
    absent: BTreeSet<(Kind, String)>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Mutating,
    Validating,
}

/// A configuration as it was read.
pub(super) struct Found {
    kind: Kind,
    name: String,
    configuration: Configuration,
}

#[derive(Deserialize)]
struct Configuration {
    metadata: ObjectMeta,
    #[serde(default)]
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
struct Webhook {
    name: String,
    #[serde(default, rename = "clientConfig")]
    client_config: ClientConfig,
}

#[derive(Default, Deserialize)]
struct ClientConfig {
    #[serde(default, rename = "caBundle")]
    ca_bundle: Option<String>,
}

/// What keeping the configurations came to.
pub(super) enum Kept {
    /// Some were brought in step just now.
    Changed,
    /// Someone else was faster: they are to be read again.
    Contended,
    /// Some could not be read or brought in step.
    Failed(ServingError),
    /// All were in step already.
    InStep,
}

impl Configurations {
    pub(super) fn new(client: Client, mutating: Vec<String>, validating: Vec<String>) -> Self {
        let of = |kind| move |name| (kind, name);
        let mutating = mutating.into_iter().map(of(Kind::Mutating));
        let names = mutating.chain(validating.into_iter().map(of(Kind::Validating))).collect();
        Self { client, names, absent: BTreeSet::new() }
    }

    /// The configurations that there are. Each that cannot be read is an error of its own.
    pub(super) async fn read(&mut self) -> Vec<Result<Found, ServingError>> {
        let mut found = Vec::new();
        for (kind, name) in self.names.clone() {
            let action = format!("read {kind} {name}");
            let request = kind.request().get(&name, &GetParams::default());
            let configuration = match request {
                Ok(request) => self.client.request(request).await,
                Err(error) => Err(kube::Error::BuildRequest(error)),
            };
            match configuration {
                Ok(configuration) => {
                    self.absent.remove(&(kind, name.clone()));
                    found.push(Ok(Found { kind, name, configuration }));
                }
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    if self.absent.insert((kind, name.clone())) {
                        tracing::info!(%kind, name, "There is no such webhook configuration");
                    }
                }
                Err(error) => found.push(Err(ServingError::api(action, &error))),
            }
        }
        found
    }

    /// Brings every webhook that was found in step with `bundle`. A failure at one is no reason to
    /// leave the others.
    pub(super) async fn keep(&self, found: Vec<Result<Found, ServingError>>, bundle: &str) -> Kept {
        let bundle = STANDARD.encode(bundle);
        let mut worst = Kept::InStep;
        for found in found {
            let kept = match found {
                Err(error) => Kept::Failed(error),
                Ok(found) if found.holds(&bundle) => continue,
                Ok(found) => self.patch(&found, &bundle).await,
            };
            worst = match (worst, kept) {
                (failed @ Kept::Failed(_), _) | (_, failed @ Kept::Failed(_)) => failed,
                (Kept::Contended, _) | (_, Kept::Contended) => Kept::Contended,
                _ => Kept::Changed,
            };
        }
        worst
    }

    async fn patch(&self, found: &Found, bundle: &str) -> Kept {
        let Found { kind, name, configuration: _ } = found;
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request = kind.request().patch(name, &params, &Patch::Strategic(found.patch(bundle)));
        let patched = match request {
            Ok(request) => self.client.request::<Value>(request).await,
            Err(error) => Err(kube::Error::BuildRequest(error)),
        };
        match patched {
            Ok(_) => {
                tracing::info!(%kind, name, "Brought caBundle of the webhooks in step");
                Kept::Changed
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Kept::Contended
            }
            Err(error) => Kept::Failed(ServingError::api(format!("update {kind} {name}"), &error)),
        }
    }
}

impl Found {
    fn holds(&self, bundle: &str) -> bool {
        let mut webhooks = self.configuration.webhooks.iter();
        webhooks.all(|webhook| webhook.client_config.ca_bundle.as_deref() == Some(bundle))
    }

    /// A strategic merge patch: webhooks are merged by name, so that nothing but `caBundle` is
    /// touched, whatever fields there are. All are named, which keeps their order; the resource
    /// version keeps the patch from bringing back one that was removed meanwhile.
    fn patch(&self, bundle: &str) -> Value {
        let webhooks = self.configuration.webhooks.iter();
        let webhooks: Vec<_> = webhooks
            .map(|webhook| json!({ "name": webhook.name, "clientConfig": { "caBundle": bundle } }))
            .collect();
        let version = &self.configuration.metadata.resource_version;
        json!({ "metadata": { "resourceVersion": version }, "webhooks": webhooks })
    }
}

impl Kind {
    fn request(self) -> Request {
        Request::new(match self {
            Self::Mutating => MutatingWebhookConfiguration::url_path(&(), None),
            Self::Validating => ValidatingWebhookConfiguration::url_path(&(), None),
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        })
    }
}
