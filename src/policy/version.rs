//! What the answers of a policy stand on, besides the evidence.
use std::fmt;

use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use super::Authority;
use super::PolicyId;
use super::Signer;
use crate::conditions::PolicyRules;

/// Which policy it was, word for word, with the keys and trust roots that it names: two of the same
/// version say the same of the same evidence, whenever they are asked.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Version([u8; 32]);

impl Version {
    /// The version of a policy, or `None` where its answers may not be kept: rules and conditions
    /// may look at the clock, and an authority of the policy's own revokes as time goes by.
    pub(super) fn of(
        id: &PolicyId,
        spec: &impl Serialize,
        authorities: &[Authority],
        rules: Option<&PolicyRules>,
    ) -> Option<Self> {
        if rules.is_some() {
            return None;
        }
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // With its length before it, so that no two lists of parts read alike.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(id.to_string().as_bytes());
        add(&serde_json::to_vec(spec).ok()?);
        for authority in authorities {
            let Authority { signer, trust_root, attestations, .. } = authority;
            if !attestations.is_empty() {
                return None;
            }
            match signer {
                Signer::Keys(keys) => keys.iter().for_each(|key| add(key.fingerprint().as_bytes())),
                Signer::Certificates { .. } => return None,
                // All that is to be said of them stands in the spec.
                Signer::Identities(_) | Signer::StaticPass | Signer::StaticFail { .. } => {}
            }
            add(&trust_root.fingerprint());
        }
        Some(Self(hash.finalize().into()))
    }

    /// As bytes, for what is kept under it.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", hex::encode(self.0))
    }
}
