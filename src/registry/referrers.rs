//! The referrers API: pages, each pointing at the next (distribution specification, "Listing
//! Referrers").
use std::collections::BTreeSet;

use reqwest::StatusCode;
use reqwest::header;
use reqwest::header::HeaderMap;
use tokio::time::Instant;
use url::Url;

use crate::image::Digest;

use super::auth::error_code;
use super::discover::Api;
use super::discover::Listing;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::error::shown;
use super::limits::MAX_DESCRIPTORS;
use super::limits::MAX_MANIFEST_BYTES;
use super::limits::MAX_REFERRERS_PAGES;
use super::manifest::Descriptor;
use super::manifest::INDEX_MEDIA_TYPE;
use super::manifest::parse_index;
use super::session::Session;
use super::session::settled;
use super::transport::Answer;
use super::transport::header_text;

/// Statuses by which registries say that they do not know the API: 404 by the specification, the
/// others in practice.
const UNKNOWN_API: &[u16] = &[400, 404, 405, 406, 410, 415, 501];

/// Codes of errors that speak of a repository or a manifest, and not of the API: by the specification
/// a list is never refused for such a reason, and some registries do.
const ABOUT_CONTENT: &[&str] = &["MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN"];

/// Lists what refers to `digest`. A mirror's list counts when there is something in it; otherwise
/// the registry is asked, because a mirror may hold the image alone.
pub(super) async fn list(session: &Session, digest: &Digest) -> Listing {
    let mut left = session.endpoints.len() as u32;
    let mut listing = Listing::default();
    for endpoint in &session.endpoints {
        let time = session.deadline.saturating_duration_since(Instant::now()) / left.max(1);
        let until = if left == 1 { session.deadline } else { Instant::now() + time };
        left = left.saturating_sub(1);
        listing = pages(session, endpoint, digest, until).await;
        if listing.problem.is_none() && !listing.descriptors.is_empty() {
            break;
        }
    }
    listing
}

async fn pages(session: &Session, endpoint: &Endpoint, digest: &Digest, until: Instant) -> Listing {
    let mut listing = Listing::default();
    let mut url = endpoint.url("referrers", &digest.to_string());
    let mut seen = BTreeSet::new();
    loop {
        let first = seen.is_empty();
        let step = page(session, endpoint, &url, first, until).await;
        let (index, next) = match step {
            Ok(found) => found,
            Err(error) if first && is_unknown(&error) => {
                listing.api = Api::Absent;
                return listing;
            }
            Err(error) => {
                listing.problem = Some(error);
                return listing;
            }
        };
        if first {
            listing.api = Api::Present;
        }
        seen.insert(url.to_string());
        let room = MAX_DESCRIPTORS - listing.descriptors.len();
        let over = index.manifests.len() > room || index.surplus > 0;
        listing.descriptors.extend(index.manifests.into_iter().take(room).map(Descriptor::listed));
        let Some(next) = next.filter(|_| !over) else {
            listing.problem = over.then(|| {
                RegistryError::too_large(shown(&url), format_args!("{MAX_DESCRIPTORS} referrers"))
            });
            return listing;
        };
        if seen.contains(next.as_str()) {
            let problem = "its pages lead in a circle";
            listing.problem = Some(RegistryError::malformed(shown(&url), problem));
            return listing;
        }
        if seen.len() >= MAX_REFERRERS_PAGES {
            let limit = format_args!("{MAX_REFERRERS_PAGES} pages");
            listing.problem = Some(RegistryError::too_large(shown(&url), limit));
            return listing;
        }
        url = next;
    }
}

async fn page(
    session: &Session,
    endpoint: &Endpoint,
    url: &Url,
    first: bool,
    until: Instant,
) -> Result<(super::manifest::Index, Option<Url>), RegistryError> {
    let answer = session.ask(endpoint, url.clone(), INDEX_MEDIA_TYPE, MAX_MANIFEST_BYTES, until);
    let answer = answer.await?;
    if first && !is_about_content(&answer) {
        note(session, endpoint, answer.status).await;
    }
    let answer = settled(shown(url), answer)?;
    let index =
        parse_index(&answer.body).map_err(|error| RegistryError::malformed(shown(url), error))?;
    let next = next_page(url, &answer.headers)?;
    if let Some(next) = &next
        && (!endpoint.is_own(next) || next.scheme() != endpoint.base.scheme())
    {
        let address = format!("{}, another server", shown(next));
        return Err(RegistryError::ForbiddenAddress { what: shown(url), address });
    }
    Ok((index, next))
}

/// Whether an error speaks of what is in the registry.
fn is_about_content(answer: &Answer) -> bool {
    let code = if answer.status == StatusCode::OK { None } else { error_code(&answer.body) };
    code.is_some_and(|code| ABOUT_CONTENT.contains(&code.as_str()))
}

/// What the status of a first page says of the API, for later.
async fn note(session: &Session, endpoint: &Endpoint, status: StatusCode) {
    let apis = &session.configured.apis;
    if status == StatusCode::OK {
        apis.forget(endpoint).await;
    } else if UNKNOWN_API.contains(&status.as_u16()) {
        apis.learn(endpoint).await;
    }
}

/// Whether the registry says that it does not know the API.
fn is_unknown(error: &RegistryError) -> bool {
    let status = match error {
        RegistryError::Absent { .. } => Some(404),
        RegistryError::Unsupported { status, .. } => Some(*status),
        RegistryError::Credentials { .. }
        | RegistryError::DigestMismatch { .. }
        | RegistryError::ForbiddenAddress { .. }
        | RegistryError::Malformed { .. }
        | RegistryError::NoLookup { .. }
        | RegistryError::NoMemory { .. }
        | RegistryError::NotAsked { .. }
        | RegistryError::OverBudget { .. }
        | RegistryError::RateLimited { .. }
        | RegistryError::TimedOut { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Unauthorised { .. }
        | RegistryError::Unreachable { .. } => None,
    };
    status.is_some_and(|status| UNKNOWN_API.contains(&status))
}

/// The target of `Link: <…>; rel="next"` (RFC 8288), against the page's own address.
fn next_page(url: &Url, headers: &HeaderMap) -> Result<Option<Url>, RegistryError> {
    if !headers.contains_key(header::LINK) {
        return Ok(None);
    }
    let malformed = || RegistryError::malformed(shown(url), "its Link header is unreadable");
    let text = header_text(headers, &header::LINK).ok_or_else(malformed)?;
    for link in text.split(',') {
        let Some((target, params)) = link.trim().strip_prefix('<').and_then(|l| l.split_once('>'))
        else {
            continue;
        };
        let is_next = params.split(';').any(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').split(' ').any(|rel| rel == "next")
        });
        if is_next {
            return url.join(target).map(Some).map_err(|_| malformed());
        }
    }
    Ok(None)
}
