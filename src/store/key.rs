//! What evidence is kept under: the question, and who may hear the answer.
use crate::evidence::EvidenceQuery;
use crate::evidence::OwnCredentials;
use crate::evidence::Part;
use crate::evidence::Scope;
use crate::fingerprint::Parts;
use crate::image::Repository;

/// Begins what is hashed to a [`Key::lasting`]: another layout of records gets other keys.
const LAYOUT: &str = "tegata evidence 1";

/// A question for evidence.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    pub(super) query: EvidenceQuery,
    pub(super) scope: Scope,
}

impl Key {
    /// The name under which it is kept beyond the process. It tells nothing of a credential's content.
    pub(super) fn lasting(&self) -> [u8; 32] {
        let EvidenceQuery { repository, digest, tag_prefix, attestations } = &self.query;
        let (kind, secrets) = match &self.scope {
            Scope::Own(own) => (format!("own {}", shown(*own)), String::new()),
            Scope::Tenant { credentials: _, secrets, own } => {
                (format!("tenant {}", shown(*own)), hex::encode(secrets))
            }
        };
        let (repository, digest) = (repository.to_string(), digest.to_string());
        let attestations = if *attestations { "attestations" } else { "signatures" };
        Parts::of(LAYOUT)
            .part(repository)
            .part(digest)
            .part(tag_prefix)
            .part(attestations)
            .part(kind)
            .part(secrets)
            .finish()
    }

    /// Whether others than the holder of a secret may read it.
    pub(super) const fn is_shareable(&self) -> bool {
        matches!(self.scope, Scope::Own(_))
    }
}

const fn shown(own: OwnCredentials) -> &'static str {
    match own {
        OwnCredentials::Used => "used",
        OwnCredentials::Withheld => "withheld",
    }
}

/// A question for a tag's digest.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct TagKey {
    pub(super) repository: Repository,
    pub(super) tag: String,
    pub(super) scope: Scope,
}

/// A question for a part of an image.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct PartKey {
    pub(super) repository: Repository,
    pub(super) part: Part,
    pub(super) scope: Scope,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::image::Digest;

    fn key(tag_prefix: &str, attestations: bool, scope: Scope) -> Key {
        let repository = "registry.example/app:1".parse::<crate::image::ImageRef>().unwrap();
        let query = EvidenceQuery {
            repository: repository.repository().clone(),
            digest: Digest::sha256_of(b"image"),
            tag_prefix: tag_prefix.to_owned(),
            attestations,
        };
        Key { query, scope }
    }

    fn tenant(credentials: u8, secrets: &str) -> Scope {
        let (credentials, secrets) = ([credentials; 32], Parts::of(secrets).finish());
        Scope::Tenant { credentials, secrets, own: OwnCredentials::Used }
    }

    #[test]
    fn differs_where_the_question_or_the_askers_differ() {
        let used = Scope::Own(OwnCredentials::Used);
        let keys = [
            key("", false, used.clone()),
            key("", true, used.clone()),
            key("p", false, used),
            key("", false, Scope::Own(OwnCredentials::Withheld)),
            key("", false, tenant(1, "a/s")),
            key("", false, tenant(1, "b/s")),
            key("a/s", false, tenant(1, "")),
            key("", false, tenant(1, "")),
        ];
        let lasting: BTreeSet<_> = keys.iter().map(Key::lasting).collect();
        assert_eq!(lasting.len(), keys.len());
    }

    #[test]
    fn outlives_the_renewal_of_a_secret_and_tells_nothing_of_it() {
        let (old, new) = (key("", false, tenant(1, "a/s")), key("", false, tenant(2, "a/s")));
        assert_ne!(old, new);
        assert_eq!(old.lasting(), new.lasting());
        assert!(!old.is_shareable());
    }
}
