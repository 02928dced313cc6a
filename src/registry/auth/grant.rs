//! What a server grants, and how a token service says so.
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

use super::Key;
use crate::registry::error::RegistryError;
use crate::registry::limits::DEFAULT_TOKEN_LIFE;
use crate::registry::limits::MAX_TOKEN_LIFE;
use crate::registry::transport::Answer;

/// What a server grants: a header to send, or leave to send none.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) header: Option<HeaderValue>,
    since: Instant,
    life: Duration,
}

impl Grant {
    /// One that holds from now on.
    pub(super) fn new(header: Option<HeaderValue>, life: Duration) -> Self {
        Self { header, since: Instant::now(), life }
    }

    /// Whether it still holds.
    pub(super) fn is_fresh(&self) -> bool {
        self.since.elapsed() < self.life
    }
}

/// Takes tokens out of memory as their time ends.
pub(super) struct GrantExpiry;

impl moka::Expiry<Key, Arc<Grant>> for GrantExpiry {
    fn expire_after_create(
        &self,
        _: &Key,
        grant: &Arc<Grant>,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(grant.life)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

/// The grant in a token service's answer.
///
/// # Errors
/// When there is none.
pub(super) fn grant(answer: &Answer, what: &str) -> Result<Grant, RegistryError> {
    let malformed = |problem: &str| RegistryError::malformed(what, problem);
    let TokenAnswer { token, access_token, expires_in } = serde_json::from_slice(&answer.body)
        .map_err(|_| malformed("the token service's answer is not JSON with a token"))?;
    let token = token
        .or(access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| malformed("the token service's answer holds no token"))?;
    let life = expires_in.map_or(DEFAULT_TOKEN_LIFE, |seconds| {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
    });
    // A tenth less, so that a token does not expire on its way.
    let life = life.min(MAX_TOKEN_LIFE).mul_f64(0.9);
    Ok(Grant::new(Some(bearer(&token, what)?), life))
}

/// The header that shows a token.
///
/// # Errors
/// When it cannot be sent.
pub(super) fn bearer(token: &str, what: &str) -> Result<HeaderValue, RegistryError> {
    secret(format!("Bearer {token}"))
        .ok_or_else(|| RegistryError::malformed(what, "the token holds control characters"))
}

/// The header that shows user name and password.
///
/// # Errors
/// When they cannot be sent.
pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, RegistryError> {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    secret(format!("Basic {encoded}"))
        .ok_or_else(|| RegistryError::malformed("user name and password", "cannot be sent"))
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_grant_ends_by_the_clock_of_the_runtime() {
        let grant = Grant::new(None, Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(grant.is_fresh());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!grant.is_fresh());
    }
}
