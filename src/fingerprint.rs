//! Fingerprints: one hash over several parts, by which what was looked at is known again.
//!
//! Each part goes in with its length, so that two different lists of parts never read alike.
use sha2::Digest as _;
use sha2::Sha256;

/// A SHA-256.
pub type Fingerprint = [u8; 32];

/// Parts that are being hashed.
#[derive(Clone, Debug)]
pub struct Parts(Sha256);

impl Parts {
    /// None yet, of something of this kind: things of two kinds never share a fingerprint.
    pub fn of(kind: &str) -> Self {
        Self(Sha256::new()).part(kind)
    }

    /// One more part.
    #[must_use]
    pub fn part(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// A number, as one more part.
    #[must_use]
    pub fn number(self, number: usize) -> Self {
        self.part((number as u64).to_be_bytes())
    }

    /// As many parts as there are, and how many.
    #[must_use]
    pub fn list(self, list: impl ExactSizeIterator<Item: AsRef<[u8]>>) -> Self {
        let counted = self.number(list.len());
        list.fold(counted, Self::part)
    }

    /// The hash over all of them.
    pub fn finish(self) -> Fingerprint {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_run_together_alike_differ() {
        let of = |parts: &[&str]| parts.iter().fold(Parts::of("a"), Parts::part).finish();
        let all = [
            of(&["ab", "c"]),
            of(&["a", "bc"]),
            of(&["abc"]),
            of(&["abc", ""]),
            of(&["", "abc"]),
            Parts::of("aabc").finish(),
            Parts::of("a").list(["a", "bc"].iter()).finish(),
            Parts::of("a").list(["a"].iter()).part("bc").finish(),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
    }
}
