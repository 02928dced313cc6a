//! One request to a log: no redirects, no credentials, a capped answer, a time limit.
use std::error::Error as StdError;

use bytes::Bytes;
use bytes::BytesMut;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::error::LogError;
use super::limits::REQUEST_TIMEOUT;
use crate::evidence::LogUrl;
use crate::registry::Outbound;
use crate::registry::address::ForbiddenAddress;

/// A log, and how it is asked.
pub(super) struct Log<'a> {
    pub(super) client: &'a Outbound,
    pub(super) turns: &'a Semaphore,
    pub(super) url: &'a LogUrl,
}

impl Log<'_> {
    /// The answer to a POST of `body` below `/api/v1`, of at most `cap` bytes; `None` where the log
    /// says that there is nothing (404).
    pub(super) async fn post(
        &self,
        path: &[&str],
        body: &Value,
        cap: usize,
    ) -> Result<Option<Bytes>, LogError> {
        let _turn = self.turns.acquire().await;
        let answer = Box::pin(self.exchange(path, body, cap));
        match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(LogError::TimedOut { log: self.url.to_string() }),
        }
    }

    async fn exchange(
        &self,
        path: &[&str],
        body: &Value,
        cap: usize,
    ) -> Result<Option<Bytes>, LogError> {
        let mut url = self.url.url().clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        let request = self.client.post(url).map_err(|problem| self.forbidden(problem))?;
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::ACCEPT_ENCODING, "identity")
            .json(body);
        let response = request.send().await.map_err(|error| self.explain(error))?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_redirection() => {
                Err(self.forbidden("it sends us elsewhere, and redirects are not followed".into()))
            }
            status if status.is_success() => self.read(response, cap).await.map(Some),
            status => Err(self.unreachable(format!("status {}", status.as_u16()))),
        }
    }

    /// Reads the answer, no further than `cap`, whatever length it announces.
    async fn read(&self, mut response: Response, cap: usize) -> Result<Bytes, LogError> {
        let too_large = || LogError::TooLarge { log: self.url.to_string(), limit: cap, entries: 0 };
        if response.headers().contains_key(header::CONTENT_ENCODING) {
            return Err(self.malformed("it is compressed".to_owned()));
        }
        if response.content_length().is_some_and(|length| length > cap as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.explain(error))? {
            if body.len() + chunk.len() > cap {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn explain(&self, error: reqwest::Error) -> LogError {
        let error = error.without_url();
        let mut innermost: &(dyn StdError + 'static) = &error;
        loop {
            if let Some(refused) = innermost.downcast_ref::<ForbiddenAddress>() {
                return self.forbidden(refused.to_string());
            }
            match innermost.source() {
                Some(source) => innermost = source,
                None => return self.unreachable(innermost.to_string()),
            }
        }
    }

    fn forbidden(&self, problem: String) -> LogError {
        LogError::Forbidden { log: self.url.to_string(), problem }
    }

    pub(super) fn malformed(&self, problem: String) -> LogError {
        LogError::Malformed { log: self.url.to_string(), problem }
    }

    fn unreachable(&self, problem: String) -> LogError {
        LogError::Unreachable { log: self.url.to_string(), problem }
    }
}
