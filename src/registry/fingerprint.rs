//! Credentials compared without being kept.
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;

use aws_lc_rs::hmac;
use aws_lc_rs::rand;

/// A key of this process for hashes of credentials: what is made of a password with it helps nobody to
/// guess the password, and means nothing to another process.
pub(super) struct FingerprintKey(hmac::Key);

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

impl FingerprintKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).map(Self)
    }

    /// The same for the same value, and else another.
    pub(super) fn of(&self, value: &impl Hash) -> [u8; 32] {
        let mut hasher = Feed(hmac::Context::with_key(&self.0));
        value.hash(&mut hasher);
        let mut fingerprint = [0; 32];
        for (into, from) in fingerprint.iter_mut().zip(hasher.0.sign().as_ref()) {
            *into = *from;
        }
        fingerprint
    }
}

/// What is hashed, fed to a MAC.
struct Feed(hmac::Context);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// Not used: the MAC is the hash.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differs_by_value_and_by_process() {
        let key = FingerprintKey::new().unwrap();
        assert_eq!(key.of(&vec!["a", "b"]), key.of(&vec!["a", "b"]));
        let all = [key.of(&vec!["a", "b"]), key.of(&vec!["ab"]), key.of(&vec!["a"]), key.of(&"")];
        let distinct: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_ne!(FingerprintKey::new().unwrap().of(&"a"), key.of(&"a"));
    }
}
