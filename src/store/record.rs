//! Evidence as bytes, for the tiers that outlive the process.
//!
//! A record is a version, the SHA-256 of the rest, the length of a header, the header as JSON, and
//! the blobs one after the other. Nothing in it is believed: the checksum finds damage, not malice.
//! A record names the query that it answers, its blobs hash to the digests that name them, and what
//! it holds is verified like what a registry hands out.
use bytes::Bytes;
use jiff::SignedDuration;
use jiff::Timestamp;
use sha2::Digest as _;
use sha2::Sha256;

use crate::evidence::Candidate;
use crate::evidence::Content;
use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::Format;
use crate::evidence::Kept;
use crate::evidence::MAX_CANDIDATES;
use crate::image::Digest;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;
use crate::verdict::Verdict;
use crate::verdict::printable;

use self::header::CandidateHeader;
use self::header::ContentHeader;
use self::header::Header;
use self::header::QueryHeader;

mod header;
#[cfg(test)]
mod tests;

/// Largest record, in bytes. Signatures take some 10 KiB each and a large SBOM's attestation some
/// hundred; what is larger is fetched from the registry each time, because several of them at once
/// must not fill the memory.
pub const MAX_RECORD_BYTES: usize = 2 << 20;

/// How far in the future evidence may have been fetched: replicas' clocks differ by seconds. Beyond
/// it a record would stay fresh for as long as its writer likes.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// The layout's version. Records of another are not read.
const VERSION: u8 = 1;

const HASH_BYTES: usize = 32;

/// Why bytes are no record of evidence for a query.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a blob does not hash to {wanted}")]
    Blob { wanted: Digest },
    #[error("the checksum does not match")]
    Checksum,
    #[error("{found} bytes follow the last blob, wanted none")]
    Excess { found: usize },
    #[error("fetched at {found}, wanted no time after {now}")]
    Future { found: Timestamp, now: Timestamp },
    #[error("the header is malformed")]
    Header(#[from] serde_json::Error),
    #[error("`{found}` is no {wanted}")]
    Value { found: String, wanted: &'static str },
    #[error("it answers another query")]
    Query,
    #[error("{found} bytes, wanted at most {}", MAX_RECORD_BYTES)]
    TooLarge { found: usize },
    #[error("it is cut short")]
    Truncated,
    #[error("version {found}, wanted {}", VERSION)]
    Version { found: u8 },
}

/// The evidence as a record; none where it is not to be kept: what failed for now may succeed when
/// it is tried again, "unsigned" may change at any time, and some is too large.
pub(crate) fn encode(evidence: &Evidence, fetched: Timestamp) -> Option<Vec<u8>> {
    let Evidence { query, candidates, problems, kept: _ } = evidence;
    if !problems.is_empty() || candidates.is_empty() || candidates.len() > MAX_CANDIDATES {
        return None;
    }
    let described: Option<Vec<_>> = candidates.iter().map(describe).collect();
    let header = Header { query: query.into(), fetched, candidates: described? };
    let header = serde_json::to_vec(&header).ok()?;
    let length = u32::try_from(header.len()).ok()?;
    let blobs = || candidates.iter().filter_map(blob);
    let total = blobs().map(|blob| blob.len()).sum::<usize>() + header.len();
    let total = total + size_of_val(&length) + HASH_BYTES + size_of_val(&VERSION);
    if total > MAX_RECORD_BYTES {
        return None;
    }
    let mut rest = Vec::with_capacity(total);
    rest.push(VERSION);
    rest.extend_from_slice(&[0; HASH_BYTES]);
    rest.extend_from_slice(&length.to_be_bytes());
    rest.extend_from_slice(&header);
    blobs().for_each(|blob| rest.extend_from_slice(blob));
    let (head, body) = rest.split_at_mut_checked(1 + HASH_BYTES)?;
    let (_, checksum) = head.split_first_mut()?;
    checksum.copy_from_slice(&Sha256::digest(&*body));
    Some(rest)
}

/// The evidence in a record, and when it was fetched.
///
/// # Errors
/// When the bytes are not what [`encode`] writes for an answer to `query`, or come from the future.
pub(crate) fn decode(
    query: &EvidenceQuery,
    bytes: &[u8],
    now: Timestamp,
) -> Result<(Evidence, Timestamp), RecordError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLarge { found: bytes.len() });
    }
    let (header, mut blobs) = open(bytes)?;
    let Header { query: answered, fetched, candidates } = serde_json::from_slice(header)?;
    if answered != QueryHeader::from(query) {
        return Err(RecordError::Query);
    }
    if now.duration_until(fetched) > MAX_AHEAD {
        return Err(RecordError::Future { found: fetched, now });
    }
    let candidates: Result<Vec<_>, _> =
        candidates.into_iter().map(|candidate| restore(candidate, &mut blobs)).collect();
    let candidates = candidates?;
    if !blobs.is_empty() {
        return Err(RecordError::Excess { found: blobs.len() });
    }
    if candidates.is_empty() {
        return Err(RecordError::Value { found: "[]".to_owned(), wanted: "list of candidates" });
    }
    let kept = Some(Kept { fetched, stale: None, second_hand: true });
    let evidence = Evidence { query: query.clone(), candidates, problems: Vec::new(), kept };
    Ok((evidence, fetched))
}

/// Header and blobs, of the right version and undamaged.
fn open(bytes: &[u8]) -> Result<(&[u8], &[u8]), RecordError> {
    let (&version, bytes) = bytes.split_first().ok_or(RecordError::Truncated)?;
    if version != VERSION {
        return Err(RecordError::Version { found: version });
    }
    let (checksum, body) = bytes.split_first_chunk::<HASH_BYTES>().ok_or(RecordError::Truncated)?;
    if Sha256::digest(body).as_slice() != checksum {
        return Err(RecordError::Checksum);
    }
    let (length, rest) = body.split_first_chunk().ok_or(RecordError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length));
    rest.split_at_checked(length.unwrap_or(usize::MAX)).ok_or(RecordError::Truncated)
}

fn blob(candidate: &Candidate) -> Option<&Bytes> {
    match candidate.content.as_ref().ok()? {
        Content::Bundle(blob)
        | Content::Envelope { envelope: blob, .. }
        | Content::SimpleSigning { payload: blob, .. } => Some(blob),
    }
}

/// None where trying again may bring something else.
fn describe(candidate: &Candidate) -> Option<CandidateHeader> {
    let Candidate { place, manifest, layer, format, content, .. } = candidate;
    let content = match content {
        Ok(Content::Bundle(bundle)) => ContentHeader::Bundle { length: bundle.len() },
        Ok(Content::Envelope { envelope, annotations }) => ContentHeader::Envelope {
            length: envelope.len(),
            annotations: annotations.clone().into(),
        },
        Ok(Content::SimpleSigning { payload, annotations }) => ContentHeader::SimpleSigning {
            length: payload.len(),
            annotations: annotations.clone().into(),
        },
        Err(failure) if is_final(failure.reason) => {
            let Failure { reason, found, wanted } = failure;
            let reason = reason.code().to_owned();
            ContentHeader::Failed { reason, found: found.clone(), wanted: wanted.clone() }
        }
        Err(_) => return None,
    };
    Some(CandidateHeader {
        place: (*place).into(),
        manifest: manifest.to_string(),
        layer: layer.to_string(),
        format: (*format).into(),
        content,
    })
}

/// Whether a candidate that failed so stays as it is: it was there and bad.
fn is_final(reason: Reason) -> bool {
    reason.step() == Step::Evidence && reason.verdict() == Verdict::Rejected
}

/// Takes the candidate's blob off `blobs`.
fn restore(candidate: CandidateHeader, blobs: &mut &[u8]) -> Result<Candidate, RecordError> {
    let CandidateHeader { place, manifest, layer, format, content } = candidate;
    let (manifest, layer) = (digest(&manifest)?, digest(&layer)?);
    let (kind, content) = match content {
        ContentHeader::Bundle { length } => {
            (Some(Format::Bundle), Ok(Content::Bundle(take(blobs, length, &layer)?)))
        }
        ContentHeader::Envelope { length, annotations } => {
            let (envelope, annotations) = (take(blobs, length, &layer)?, annotations.into());
            (Some(Format::Legacy), Ok(Content::Envelope { envelope, annotations }))
        }
        ContentHeader::SimpleSigning { length, annotations } => {
            let (payload, annotations) = (take(blobs, length, &layer)?, annotations.into());
            (Some(Format::Legacy), Ok(Content::SimpleSigning { payload, annotations }))
        }
        ContentHeader::Failed { reason, found, wanted } => {
            (None, Err(failure(&reason, found, wanted)?))
        }
    };
    let format = Format::from(format);
    if kind.is_some_and(|kind| kind != format) {
        return Err(RecordError::Value {
            found: format.as_str().to_owned(),
            wanted: "format of this content",
        });
    }
    Ok(Candidate::new(place.into(), manifest, layer, format, content))
}

fn digest(text: &str) -> Result<Digest, RecordError> {
    text.parse().map_err(|_| RecordError::Value { found: printable(text), wanted: "digest" })
}

fn take(blobs: &mut &[u8], length: usize, digest: &Digest) -> Result<Bytes, RecordError> {
    let (blob, rest) = blobs.split_at_checked(length).ok_or(RecordError::Truncated)?;
    if !digest.matches(blob) {
        return Err(RecordError::Blob { wanted: digest.clone() });
    }
    *blobs = rest;
    Ok(Bytes::copy_from_slice(blob))
}

/// The texts go into explanations, and so must be as [`Failure`] makes them.
fn failure(code: &str, found: String, wanted: String) -> Result<Failure, RecordError> {
    let known = Reason::ALL.iter().find(|reason| reason.code() == code);
    let Some(reason) = known.copied().filter(|reason| is_final(*reason)) else {
        return Err(RecordError::Value { found: printable(code), wanted: "final reason" });
    };
    for text in [&found, &wanted] {
        if printable(text) != *text {
            return Err(RecordError::Value { found: printable(text), wanted: "explanation" });
        }
    }
    Ok(Failure { reason, found, wanted })
}
