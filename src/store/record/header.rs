//! What stands in a record besides the blobs.
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use crate::evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::MAX_CANDIDATES;
use crate::registry::limits::MAX_ANNOTATIONS;

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// What it answers, so that it cannot be passed off as the answer to something else.
    pub(super) query: QueryHeader,
    pub(super) fetched: Timestamp,
    /// In the order of their blobs.
    #[serde(deserialize_with = "candidates")]
    pub(super) candidates: Vec<CandidateHeader>,
}

#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryHeader {
    registry: String,
    path: String,
    digest: String,
    tag_prefix: String,
    attestations: bool,
}

impl From<&EvidenceQuery> for QueryHeader {
    fn from(query: &EvidenceQuery) -> Self {
        let EvidenceQuery { repository, digest, tag_prefix, attestations } = query;
        Self {
            registry: repository.registry().to_owned(),
            path: repository.path().to_owned(),
            digest: digest.to_string(),
            tag_prefix: tag_prefix.clone(),
            attestations: *attestations,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CandidateHeader {
    pub(super) place: Place,
    pub(super) manifest: String,
    pub(super) layer: String,
    pub(super) format: Format,
    pub(super) content: ContentHeader,
}

/// What the blob is, and its length.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum ContentHeader {
    Bundle { length: usize },
    Envelope { length: usize, annotations: Annotations },
    Failed { reason: String, found: String, wanted: String },
    SimpleSigning { length: usize, annotations: Annotations },
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    AttestationTag,
    FallbackTag,
    Referrers,
    SignatureTag,
}

impl From<evidence::Place> for Place {
    fn from(place: evidence::Place) -> Self {
        match place {
            evidence::Place::AttestationTag => Self::AttestationTag,
            evidence::Place::FallbackTag => Self::FallbackTag,
            evidence::Place::Referrers => Self::Referrers,
            evidence::Place::SignatureTag => Self::SignatureTag,
        }
    }
}

impl From<Place> for evidence::Place {
    fn from(place: Place) -> Self {
        match place {
            Place::AttestationTag => Self::AttestationTag,
            Place::FallbackTag => Self::FallbackTag,
            Place::Referrers => Self::Referrers,
            Place::SignatureTag => Self::SignatureTag,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    Bundle,
    Legacy,
}

impl From<evidence::Format> for Format {
    fn from(format: evidence::Format) -> Self {
        match format {
            evidence::Format::Bundle => Self::Bundle,
            evidence::Format::Legacy => Self::Legacy,
        }
    }
}

impl From<Format> for evidence::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Bundle => Self::Bundle,
            Format::Legacy => Self::Legacy,
        }
    }
}

/// At most [`MAX_ANNOTATIONS`], as a registry's; a key that comes twice is an error.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Annotations(BTreeMap<String, String>);

impl From<BTreeMap<String, String>> for Annotations {
    fn from(annotations: BTreeMap<String, String>) -> Self {
        Self(annotations)
    }
}

impl From<Annotations> for BTreeMap<String, String> {
    fn from(Annotations(annotations): Annotations) -> Self {
        annotations
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if found.insert(key, value).is_some() {
                        return Err(A::Error::custom("an annotation is there twice"));
                    }
                    if found.len() > MAX_ANNOTATIONS {
                        let problem = format!("more than {MAX_ANNOTATIONS} annotations");
                        return Err(A::Error::custom(problem));
                    }
                }
                Ok(Annotations(found))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// At most [`MAX_CANDIDATES`].
fn candidates<'de, D>(deserializer: D) -> Result<Vec<CandidateHeader>, D::Error>
where
    D: Deserializer<'de>,
{
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<CandidateHeader>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("candidates")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(item) = items.next_element()? {
                if found.len() == MAX_CANDIDATES {
                    let problem = format!("more than {MAX_CANDIDATES} candidates");
                    return Err(A::Error::custom(problem));
                }
                found.push(item);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_seq(Items)
}
