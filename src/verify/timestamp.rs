//! RFC 3161 timestamps for signatures that `sigstore-verify` cannot take whole.
use jiff::Timestamp;
use sigstore_verify::trust_root::TsaAuthority;
use sigstore_verify::tsa;
use sigstore_verify::types::SignatureBytes;
use sigstore_verify::types::TimestampToken;

use super::Parsed;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Most bytes of one token. With its authority's certificates a token has some 6 KiB; without this
/// bound one could bring a thousand certificates along.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Refuses tokens that are larger than any authority's.
pub(super) fn check_size(parsed: &Parsed) -> Result<(), Failure> {
    let material = &parsed.bundle.verification_material;
    let tokens = &material.timestamp_verification_data.rfc3161_timestamps;
    let sizes = tokens.iter().map(|token| token.signed_timestamp.as_bytes().len());
    match sizes.max().filter(|size| *size > MAX_TOKEN_BYTES) {
        Some(size) => {
            Err(Failure::new(Reason::EvidenceTooLarge, format!("a timestamp of {size} bytes"))
                .wanted(format!("at most {MAX_TOKEN_BYTES}")))
        }
        None => Ok(()),
    }
}

/// A timestamp that was verified.
pub(super) struct Stamp<'a> {
    pub(super) time: Timestamp,
    /// Who made it.
    pub(super) authority: &'a TsaAuthority,
}

/// All timestamps that are attached; every one must verify under an authority of the trust root
/// that was valid at that time.
pub(super) fn verify<'a>(parsed: &Parsed, root: &'a TrustRoot) -> Result<Vec<Stamp<'a>>, Failure> {
    let signature = SignatureBytes::new(parsed.signature.clone());
    let material = &parsed.bundle.verification_material;
    let tokens = &material.timestamp_verification_data.rfc3161_timestamps;
    tokens.iter().map(|token| check_token(&token.signed_timestamp, &signature, root)).collect()
}

/// The time of one timestamp: the first authority that made it decides.
fn check_token<'a>(
    token: &TimestampToken,
    signature: &SignatureBytes,
    root: &'a TrustRoot,
) -> Result<Stamp<'a>, Failure> {
    let mut failure =
        Failure::new(Reason::TimestampInvalid, "the trust root has no timestamp authority");
    for authority in root.timestamp_authorities() {
        match tsa::verify_timestamp_for_authority(token, signature, authority) {
            Ok(time) => return Ok(Stamp { time, authority }),
            Err(error @ tsa::Error::TimestampOutsideValidity { .. }) => {
                failure = Failure::new(Reason::TimestampOutsideWindow, error);
            }
            Err(error) if failure.reason == Reason::TimestampInvalid => {
                failure = Failure::new(Reason::TimestampInvalid, error);
            }
            Err(_) => {}
        }
    }
    Err(failure)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
