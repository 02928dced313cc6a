//! The Secret on the API server: read, made, and replaced, never over what was not read.
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::Resource as _;
use kube::api::GetParams;
use kube::api::PostParams;
use kube::core::Request;

use super::ServingError;
use super::stored;
use super::stored::MANAGED_BY;
use super::stored::Stored;
use crate::error::one_line;

/// Who the API server writes down for our changes.
pub(super) const FIELD_MANAGER: &str = "tegata";

/// Most times that a Secret is read again because someone else was faster. Each time one of the
/// replicas succeeds, and a replica that reads what another wrote has nothing left to write.
const ATTEMPTS: usize = 8;

/// The Secret, by name.
pub(super) struct Keep {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) name: String,
    /// The names that a leaf must be for.
    pub(super) names: Vec<String>,
}

impl Keep {
    /// The Secret as it is now, and what it holds. What is missing or damaged is made anew if
    /// `may_make`.
    pub(super) async fn ensure(
        &self,
        may_make: bool,
        now: Timestamp,
    ) -> Result<(Secret, Stored), ServingError> {
        for _ in 0..ATTEMPTS {
            let Some(secret) = self.read().await? else {
                if !may_make {
                    return Err(ServingError::Absent { secret: self.to_string() });
                }
                self.create(now).await?;
                continue;
            };
            let garbage = match Stored::parse(&secret, &self.names) {
                Ok(stored) => return Ok((secret, stored)),
                Err(garbage) => one_line(&garbage),
            };
            if !stored::is_ours(&secret) {
                return Err(ServingError::Foreign { secret: self.to_string() });
            }
            if !may_make {
                return Err(ServingError::Damaged { secret: self.to_string(), problem: garbage });
            }
            if secret.data.as_ref().is_some_and(|data| !data.is_empty()) {
                tracing::error!(secret = %self, problem = %garbage, "Making a damaged Secret anew");
            }
            self.replace(secret, &Stored::create(&self.names, now)?).await?;
        }
        Err(ServingError::Contended { secret: self.to_string() })
    }

    /// Writes `stored` over `secret`, unless it was changed since it was read: then nothing.
    pub(super) async fn replace(
        &self,
        mut secret: Secret,
        stored: &Stored,
    ) -> Result<(), ServingError> {
        stored.write(&mut secret);
        let (action, bytes) = (format!("update {self}"), bytes(&secret)?);
        let request = self.request().replace(&self.name, &params(), bytes);
        // 404: deleted meanwhile.
        self.write(action, request, &[404, 409]).await
    }

    async fn create(&self, now: Timestamp) -> Result<(), ServingError> {
        let mut secret =
            Secret { type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
        secret.metadata.name = Some(self.name.clone());
        secret.metadata.namespace = Some(self.namespace.clone());
        let (label, value) = MANAGED_BY;
        secret.metadata.labels = Some([(label.to_owned(), value.to_owned())].into());
        Stored::create(&self.names, now)?.write(&mut secret);
        let (action, bytes) = (format!("create {self}"), bytes(&secret)?);
        let request = self.request().create(&params(), bytes);
        self.write(action, request, &[409]).await
    }

    /// Success too when the API server refused with one of `faster`, because someone else was: what
    /// is there is then read again.
    async fn write(
        &self,
        action: String,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
        faster: &[u16],
    ) -> Result<(), ServingError> {
        match self.send(&action, request).await? {
            Ok(_) => {
                tracing::info!(secret = %self, "Wrote the serving certificate");
                Ok(())
            }
            Err(kube::Error::Api(status)) if faster.contains(&status.code) => Ok(()),
            Err(error) => Err(ServingError::api(action, &error)),
        }
    }

    async fn read(&self) -> Result<Option<Secret>, ServingError> {
        let action = format!("read {self}");
        let request = self.request().get(&self.name, &GetParams::default());
        match self.send(&action, request).await? {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|_| ServingError::Api {
                action,
                problem: "the answer is not a Secret".to_owned(),
            }),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(ServingError::api(action, &error)),
        }
    }

    fn request(&self) -> Request {
        Request::new(Secret::url_path(&(), Some(&self.namespace)))
    }

    /// Sends a request and takes the answer as text: a typed one that cannot be read would be
    /// written to the log by the client, with every key in it.
    async fn send(
        &self,
        action: &str,
        request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Result<String, kube::Error>, ServingError> {
        let request = request.map_err(|error| ServingError::Api {
            action: action.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(self.client.request_text(request).await)
    }
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "secret {}/{}", self.namespace, self.name)
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn bytes(secret: &Secret) -> Result<Vec<u8>, ServingError> {
    serde_json::to_vec(secret)
        .map_err(|_| ServingError::Issue { problem: "the Secret cannot be written".to_owned() })
}
