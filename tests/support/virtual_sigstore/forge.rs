//! Forging log entries: what a log is handed, and what becomes of its evidence afterwards.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::Part;
use super::body::Submission;
use super::der;
use super::fulcio::San;
use super::key::Key;
use super::make::Content;
use super::make::Credential;
use super::make::Room;
use super::make::another_image;
use super::rekor::Entry;
use super::rekor::RekorLog;
use super::signing::Log;
use super::signing::Signer;
use super::signing::Signing;

impl Signing<'_> {
    /// What the log is handed instead of the `submission`.
    pub(super) fn forge_submission(
        &self,
        mut submission: Submission,
        credential: &Credential<'_>,
        at: Timestamp,
    ) -> Submission {
        let key = credential.key();
        if self.forges(Part::LogEntryOfAnotherSignature) {
            let again = key.sign(&submission.message);
            let same = again == submission.signature;
            submission.signature = if same { key.sign(b"another message") } else { again };
        }
        if credential.certificate.is_none() && self.forges(Part::LogEntryOfAnotherKey) {
            let other = Key::generate(key.algorithm());
            submission.verifier_pem = other.public_pem();
            submission.verifier = other.spki().to_vec();
        }
        if let Signer::Keyless(request, _) = &self.signer
            && self.forges(Part::LogEntryOfAnotherCertificate)
        {
            let mut request = request.clone();
            request.names = vec![San::Email("mallory@example.com".to_owned())];
            let other = self.issue(&self.sigstore.current.fulcio, &request, key, at);
            submission.verifier_pem = der::pem("CERTIFICATE", &other);
            submission.verifier = other;
        }
        let other_image = self.forges(Part::LogEntryOfAnotherImage);
        if other_image || self.forges(Part::LogEntryOfAnotherDigest) {
            let text = another_image().to_string().into_bytes();
            let content = match &submission.envelope {
                Some((_, kind)) => Content::envelope(text, kind),
                None => Content::message(text),
            };
            submission.message = content.message;
            submission.envelope = content.envelope;
        }
        if other_image {
            submission.signature = key.sign(&submission.message);
        }
        submission
    }

    /// What becomes of the entry after the log has signed it.
    pub(super) fn forge_entry(&self, mut entry: Entry, log: Log, room: Room) -> Entry {
        let current = &self.sigstore.current;
        let v1 = entry.promise.is_some();
        let other: &RekorLog = if v1 { &current.rekor_v2 } else { &current.rekor_v1 };
        if self.forges(Part::LogId) {
            entry.log_id = other.id();
        }
        if self.forges(Part::LogIndex) {
            entry.log_index += 1;
        }
        if v1 {
            self.forge_promise(&mut entry);
        }
        if room == Room::Bundle {
            self.forge_checkpoint(&mut entry, other);
            self.forge_proof(&mut entry, log);
        }
        entry
    }

    fn forge_promise(&self, entry: &mut Entry) {
        if self.forges(Part::PromiseBytes)
            && let Some(promise) = &mut entry.promise
        {
            flip(promise);
        }
        if self.forges(Part::PromiseAbsent) {
            entry.promise = None;
        }
        if self.forges(Part::IntegratedTime)
            && let Some(time) = &mut entry.integrated_time
        {
            *time += 60;
        }
    }

    fn forge_checkpoint(&self, entry: &mut Entry, other: &RekorLog) {
        let Some(proof) = &entry.proof else { return };
        if self.forges(Part::CheckpointOfAnotherLog) {
            entry.checkpoint = other.checkpoint(proof.size, proof.root);
        }
        if self.forges(Part::CheckpointRoot) {
            let mut root = proof.root;
            flip(&mut root);
            let (real, forged) = (STANDARD.encode(proof.root), STANDARD.encode(root));
            entry.checkpoint = entry.checkpoint.replace(&real, &forged);
        }
        if self.forges(Part::CheckpointSignature) {
            let (head, signature) = entry.checkpoint.trim_end().rsplit_once(' ').unwrap();
            let mut signature = STANDARD.decode(signature).unwrap();
            flip(&mut signature);
            entry.checkpoint = format!("{head} {}\n", STANDARD.encode(signature));
        }
        if self.forges(Part::CheckpointAbsent) {
            entry.checkpoint.clear();
        }
    }

    fn forge_proof(&self, entry: &mut Entry, log: Log) {
        if self.forges(Part::ProofOfAnotherLeaf) {
            if matches!(log, Log::RekorV2 | Log::SecondRekorV2) {
                entry.log_index = entry.other.index;
            }
            entry.proof = Some(entry.other.clone());
        }
        if self.forges(Part::ProofHash)
            && let Some(proof) = &mut entry.proof
        {
            flip(&mut proof.hashes[0]);
        }
        if self.forges(Part::ProofAbsent) {
            entry.proof = None;
        }
    }
}

/// Flips the lowest bit of the last byte.
pub fn flip(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}
