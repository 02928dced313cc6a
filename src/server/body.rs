//! Receiving request bodies within bounds, and finding a request's `uid` in a part of one.
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::Visitor;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::admission::review::MAX_BODY;
use crate::admission::review::MAX_UID;

/// Most bytes that all bodies together may hold while they are received and judged: what two
/// requests of the largest size take, or thousands of usual ones. Beyond it requests are shed. It
/// is an eighth of the 128 MiB that the whole server is to stay below.
pub const MAX_BUFFERED: usize = 2 * MAX_BODY;

/// How much of a body is kept when it is received only for its `uid`. The API server writes the
/// `uid` first in `request`, within the first 200 bytes.
const HEAD: usize = 2 << 10;

/// Bytes that one permit of the buffer budget stands for.
const BUFFER_UNIT: usize = 1 << 10;

/// A budget for bodies in memory, of [`MAX_BUFFERED`] bytes.
pub(super) fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_BUFFERED / BUFFER_UNIT))
}

/// A body that was received to its end.
#[derive(Debug)]
pub(super) enum Received {
    /// All of it, and its share of the budget.
    Whole(Bytes, Option<OwnedSemaphorePermit>),
    /// Its beginning only: there was no budget for the rest.
    Head(Bytes),
}

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body could not be read to its end: send it again")]
    Interrupted(#[source] axum::Error),
    #[error(
        "the body is larger than {MAX_BODY} bytes, which is more than an AdmissionReview can be"
    )]
    TooLarge,
}

/// Receives `body`; keeps it whole as far as `budget` allows and up to `most` bytes, or only its head
/// where there is none. Never keeps more than [`MAX_BODY`] bytes, whatever length was declared.
pub(super) async fn receive(
    body: Body,
    mut budget: Option<&Arc<Semaphore>>,
    most: usize,
) -> Result<Received, BodyError> {
    let mut stream = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut length = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(BodyError::Interrupted)?;
        length = length.saturating_add(chunk.len());
        if length > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        if let Some(semaphore) = budget {
            let more = if length > most { None } else { more(semaphore, share.as_ref(), length) };
            match more {
                Some(more) => share = merged(share, more),
                None => (budget, share) = (None, None),
            }
        }
        let room = if budget.is_some() { chunk.len() } else { HEAD.saturating_sub(kept.len()) };
        kept.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if budget.is_none() && kept.len() > HEAD {
            kept = BytesMut::from(kept.get(..HEAD).unwrap_or_default());
        }
    }
    Ok(match budget {
        Some(_) => Received::Whole(kept.freeze(), share),
        None => Received::Head(kept.freeze()),
    })
}

/// What `length` bytes need beyond `share`, or `None` when the budget is spent.
fn more(
    budget: &Arc<Semaphore>,
    share: Option<&OwnedSemaphorePermit>,
    length: usize,
) -> Option<OwnedSemaphorePermit> {
    let held = share.map_or(0, OwnedSemaphorePermit::num_permits);
    let wanted = length.div_ceil(BUFFER_UNIT).saturating_sub(held);
    Arc::clone(budget).try_acquire_many_owned(u32::try_from(wanted).ok()?).ok()
}

fn merged(
    share: Option<OwnedSemaphorePermit>,
    more: OwnedSemaphorePermit,
) -> Option<OwnedSemaphorePermit> {
    match share {
        Some(mut share) => {
            share.merge(more);
            Some(share)
        }
        None => Some(more),
    }
}

/// The `request.uid` of an AdmissionReview, from its text or the beginning of it.
///
/// A denial without the `uid` is no answer to the API server, so that a webhook with
/// `failurePolicy: Ignore` would admit. This finds it where the document is not parsed otherwise.
pub(super) fn probe_uid(head: &[u8]) -> Option<String> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(head);
    // An error is expected: the text ends early. What was found before it counts.
    let _ = Member { name: "request", inner: Uid(&mut found) }.deserialize(&mut deserializer);
    found.filter(|uid| {
        (1..=MAX_UID).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_graphic())
    })
}

/// Looks for the member `name` of an object and hands its value to `inner`.
struct Member<S> {
    name: &'static str,
    inner: S,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Member<S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Member<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == self.name {
                map.next_value_seed(self.inner)?;
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Finds the member `uid` of an object.
struct Uid<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Uid<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        Member { name: "uid", inner: Text(self.0) }.deserialize(deserializer)
    }
}

struct Text<'a>(&'a mut Option<String>);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.0 = Some(serde::Deserialize::deserialize(deserializer)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(chunk: &'static [u8], count: usize) -> Body {
        Body::from_stream(futures::stream::iter(
            (0..count).map(move |_| Ok::<_, std::io::Error>(Bytes::from_static(chunk))),
        ))
    }

    #[tokio::test]
    async fn keeps_a_body_whole_within_the_budget() {
        let budget = budget();
        let before = budget.available_permits();
        let received = receive(chunks(&[b'x'; 1500], 3), Some(&budget), 4500).await.unwrap();
        let Received::Whole(bytes, share) = received else { panic!("{received:?}") };
        assert_eq!(bytes.len(), 4500);
        assert_eq!(budget.available_permits(), before - 5);
        drop(share);
        assert_eq!(budget.available_permits(), before);
        let received = receive(chunks(&[b'x'; 1500], 3), Some(&budget), 4499).await.unwrap();
        assert!(matches!(received, Received::Head(_)), "{received:?}");
        assert_eq!(budget.available_permits(), before);
    }

    #[tokio::test]
    async fn keeps_only_the_head_when_the_budget_is_spent_and_gives_back_its_share() {
        let budget = Arc::new(Semaphore::new(20));
        let received = receive(chunks(&[b'x'; 4096], 10), Some(&budget), MAX_BODY).await.unwrap();
        let Received::Head(bytes) = received else { panic!("{received:?}") };
        assert_eq!(bytes.len(), HEAD);
        assert_eq!(budget.available_permits(), 20);
        let received = receive(chunks(&[b'x'; 4096], 10), None, MAX_BODY).await.unwrap();
        assert!(matches!(received, Received::Head(bytes) if bytes.len() == HEAD));
    }

    #[tokio::test]
    async fn rejects_a_body_without_a_declared_length_that_is_too_large() {
        let error =
            receive(chunks(&[b'x'; 1 << 20], 9), Some(&budget()), MAX_BODY).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge), "{error:?}");
        let exactly =
            receive(chunks(&[b'x'; 1 << 20], 8), Some(&budget()), MAX_BODY).await.unwrap();
        assert!(matches!(exactly, Received::Whole(bytes, _) if bytes.len() == MAX_BODY));
        let error = receive(chunks(&[b'x'; 1 << 20], 9), None, MAX_BODY).await.unwrap_err();
        assert!(matches!(error, BodyError::TooLarge), "{error:?}");
    }

    #[test]
    fn finds_the_uid_in_the_beginning_of_a_review() {
        let review = r#"{"kind":"AdmissionReview","x":[{"uid":"no"}],"request":{"a":{"uid":"no"},"uid":"u-1","object":{"uid":"no"}}}"#;
        assert_eq!(probe_uid(review.as_bytes()).as_deref(), Some("u-1"));
        let cut = review.find("object").unwrap();
        assert_eq!(probe_uid(&review.as_bytes()[..cut]).as_deref(), Some("u-1"));
        let cut = review.find("u-1").unwrap() + 2;
        assert_eq!(probe_uid(&review.as_bytes()[..cut]), None);
    }

    #[test]
    fn finds_no_uid_where_there_is_none() {
        for text in [
            "",
            "[]",
            "null",
            "{\"uid\":\"u\"}",
            "{\"request\":{}}",
            "{\"request\":[]}",
            "{\"request\":{\"uid\":7}}",
            "{\"request\":{\"uid\":\"\"}}",
            "{\"request\":{\"uid\":\"a\\nb\"}}",
            "\u{fffd}",
        ] {
            assert_eq!(probe_uid(text.as_bytes()), None, "{text}");
        }
        let long = format!("{{\"request\":{{\"uid\":\"{}\"}}}}", "u".repeat(MAX_UID + 1));
        assert_eq!(probe_uid(long.as_bytes()), None);
        assert_eq!(probe_uid("[".repeat(HEAD).as_bytes()), None);
    }
}
