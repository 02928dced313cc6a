//! Finding what is attached to an image: the same for registries and for layout folders.
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::OnceCell;

use crate::evidence::Candidate;
use crate::evidence::ENVELOPE_MEDIA_TYPE;
use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::Format;
use crate::evidence::MAX_CANDIDATES;
use crate::evidence::Place;
use crate::evidence::Problem;
use crate::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use crate::image::Digest;
use crate::verdict::Failure;
use crate::verdict::Reason;

use super::error::RegistryError;
use super::error::Subject;
use super::limits::MAX_BLOB_BYTES;
use super::limits::MAX_CONCURRENT_REQUESTS;
use super::limits::MAX_EVIDENCE_BYTES;
use super::limits::MAX_MANIFEST_BYTES;
use super::manifest::Descriptor;
use super::manifest::Document;
use super::manifest::parse_document;
use super::manifest::parse_index;

mod kind;

use kind::BUNDLE_PREFIX;
use kind::COSIGN_ATTESTATION_TYPE;
use kind::COSIGN_SIGNATURE_TYPE;
use kind::UNCLEAR_TYPES;
use kind::is_classic;
use kind::layer_kind;
use kind::manifest_format;

/// A place that holds manifests and blobs. Everything named by a digest is checked against it.
pub(super) trait Store: Send + Sync {
    /// The manifest that a tag names, with the digest of its bytes; `None` when there is none.
    fn tag(
        &self,
        tag: &str,
    ) -> impl Future<Output = Result<Option<(Digest, Bytes)>, RegistryError>> + Send;

    /// A manifest of at most `cap` bytes.
    fn manifest(
        &self,
        digest: &Digest,
        cap: usize,
    ) -> impl Future<Output = Result<Bytes, RegistryError>> + Send;

    /// A blob of at most [`MAX_BLOB_BYTES`].
    fn blob(&self, digest: &Digest) -> impl Future<Output = Result<Bytes, RegistryError>> + Send;

    /// What names `digest` as its subject.
    fn referrers(&self, digest: &Digest) -> impl Future<Output = Listing> + Send;

    /// Whether the fallback tag is worth asking beside the list, before it is known that there is none.
    fn expects_fallback(&self) -> impl Future<Output = bool> + Send;
}

/// Whether there is a referrers API.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Api {
    /// It answered that there is none.
    Absent,
    /// There is one.
    Present,
    /// It could not be asked, or its answer says neither.
    #[default]
    Unknown,
}

/// A list of referrers, as far as it could be had.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// Whether there is a list at all.
    pub(super) api: Api,
    /// The descriptors read.
    pub(super) descriptors: Vec<Descriptor>,
    /// Why it is not the whole list.
    pub(super) problem: Option<RegistryError>,
}

/// Collects everything attached to the query's digest, from every place at once.
pub(super) async fn discover<S: Store>(store: &S, query: &EvidenceQuery) -> Evidence {
    let finder = Finder {
        store,
        query,
        blobs: Mutex::default(),
        manifests: Mutex::default(),
        spent: AtomicUsize::new(0),
    };
    // Chains that do not wait for each other: a place that hangs takes down itself only. The fallback
    // tag alone comes after another, for which it stands in.
    let (signatures, attestations, (referrers, fallback)) = futures::join!(
        Box::pin(finder.classic(Place::SignatureTag, "sig")),
        Box::pin(finder.attestations()),
        Box::pin(finder.attached()),
    );
    assemble(query, [signatures, attestations, referrers, fallback])
}

fn assemble(query: &EvidenceQuery, places: [Found; 4]) -> Evidence {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut problems = Vec::new();
    for found in places {
        let known = candidates.len();
        for candidate in found.candidates {
            if candidates.iter().take(known).any(|one| stands_for(one, &candidate)) {
                continue;
            }
            if candidates.len() == MAX_CANDIDATES {
                problems.push(surplus(candidate.place));
                break;
            }
            candidates.push(candidate);
        }
        problems.extend(found.problems);
    }
    problems.dedup();
    Evidence { query: query.clone(), candidates, problems, kept: None }
}

/// Whether what was found of a manifest in one place says all that another place's would. A tag is
/// for one kind of payload: what stands there in vain may be good where any may stand.
fn stands_for(known: &Candidate, candidate: &Candidate) -> bool {
    let in_vain = is_classic(known.place)
        && candidate.content.is_ok()
        && (known.content.is_err() || known.format == Format::Bundle);
    known.manifest == candidate.manifest && !in_vain
}

/// What one place holds.
#[derive(Debug, Default)]
struct Found {
    candidates: Vec<Candidate>,
    problems: Vec<Problem>,
}

impl Found {
    fn problem(place: Place, error: &RegistryError) -> Self {
        let failure = error.failure(Subject::Evidence);
        Self { candidates: Vec::new(), problems: vec![Problem { place, failure }] }
    }
}

fn surplus(place: Place) -> Problem {
    let found = format_args!("more than {MAX_CANDIDATES} signatures or referrers in one place");
    let failure = Failure::new(Reason::EvidenceTooLarge, found);
    Problem { place, failure: failure.wanted(format_args!("at most {MAX_CANDIDATES}")) }
}

/// Results by digest: each thing is read once, however many places list it.
type Memo = Mutex<HashMap<Digest, Arc<OnceCell<Result<Bytes, RegistryError>>>>>;

struct Finder<'a, S> {
    store: &'a S,
    query: &'a EvidenceQuery,
    blobs: Memo,
    manifests: Memo,
    spent: AtomicUsize,
}

impl<S: Store> Finder<'_, S> {
    async fn attestations(&self) -> Found {
        if !self.query.attestations {
            return Found::default();
        }
        self.classic(Place::AttestationTag, "att").await
    }

    async fn classic(&self, place: Place, suffix: &str) -> Found {
        let EvidenceQuery { digest, tag_prefix, .. } = self.query;
        let tag = format!("{tag_prefix}{}.{suffix}", digest.tag_form());
        match self.store.tag(&tag).await {
            Ok(None) => Found::default(),
            Ok(Some((digest, bytes))) => match self.charge(bytes) {
                Ok(bytes) => Box::pin(self.examine(place, &digest, &bytes)).await,
                Err(error) => Found::problem(place, &error),
            },
            Err(error) => Found::problem(place, &error),
        }
    }

    /// The referrers, by the API and by the fallback tag. Where the API lists, the tag is not asked.
    async fn attached(&self) -> (Found, Found) {
        let (referrers, api, fallback) = if self.store.expects_fallback().await {
            let ((referrers, api), fallback) =
                futures::join!(Box::pin(self.referrers()), Box::pin(self.fallback()));
            (referrers, api, fallback)
        } else {
            let (referrers, api) = Box::pin(self.referrers()).await;
            let fallback = match api {
                Api::Present => Found::default(),
                Api::Absent | Api::Unknown => Box::pin(self.fallback()).await,
            };
            (referrers, api, fallback)
        };
        match api {
            Api::Absent => (referrers, fallback),
            // Nothing need be there; what is there counts all the same.
            Api::Present | Api::Unknown => (referrers, Found { problems: Vec::new(), ..fallback }),
        }
    }

    async fn referrers(&self) -> (Found, Api) {
        let place = Place::Referrers;
        let Listing { api, descriptors, problem } = self.store.referrers(&self.query.digest).await;
        let mut found = self.listed(place, descriptors).await;
        let failure = problem.map(|error| error.failure(Subject::Evidence));
        found.problems.extend(failure.map(|failure| Problem { place, failure }));
        (found, api)
    }

    async fn fallback(&self) -> Found {
        let place = Place::FallbackTag;
        let tag = self.query.digest.tag_form();
        let bytes = match self.store.tag(&tag).await {
            Ok(None) => return Found::default(),
            Ok(Some((_, bytes))) => self.charge(bytes),
            Err(error) => return Found::problem(place, &error),
        };
        let index = bytes.and_then(|bytes| {
            parse_index(&bytes)
                .map_err(|error| RegistryError::malformed(format_args!("tag {tag}"), error))
        });
        match index {
            Ok(index) => {
                let listed = index.manifests.into_iter().map(Descriptor::listed).collect();
                let mut found = self.listed(place, listed).await;
                if index.surplus > 0 {
                    found.problems.push(surplus(place));
                }
                found
            }
            Err(error) => Found::problem(place, &error),
        }
    }

    /// Looks at every listed manifest that may be a signature.
    async fn listed(&self, place: Place, descriptors: Vec<Descriptor>) -> Found {
        let mut seen = BTreeSet::new();
        let possible: Vec<Descriptor> = descriptors
            .into_iter()
            .filter(|descriptor| self.is_possible(descriptor.artifact_type.as_deref()))
            .filter(|descriptor| seen.insert(descriptor.digest.clone()))
            .collect();
        let kept = possible.iter().take(MAX_CANDIDATES);
        let found = some_at_a_time(
            kept.map(|descriptor| Box::pin(self.referrer(place, descriptor))).collect(),
        );
        let found = found.await;
        let mut all = Found::default();
        for Found { candidates, problems } in found {
            all.candidates.extend(candidates);
            all.problems.extend(problems);
        }
        if possible.len() > MAX_CANDIDATES {
            all.problems.push(surplus(place));
        }
        all
    }

    async fn referrer(&self, place: Place, descriptor: &Descriptor) -> Found {
        let digest = &descriptor.digest;
        let read = async { self.store.manifest(digest, MAX_MANIFEST_BYTES).await };
        match self.once(&self.manifests, digest, read).await {
            Ok(bytes) => Box::pin(self.examine(place, digest, &bytes)).await,
            Err(error) => {
                let format = match descriptor.artifact_type.as_deref() {
                    Some(COSIGN_SIGNATURE_TYPE | COSIGN_ATTESTATION_TYPE | ENVELOPE_MEDIA_TYPE) => {
                        Format::Legacy
                    }
                    Some(text) if text.starts_with(BUNDLE_PREFIX) => Format::Bundle,
                    // It may be of either, and so is missing to whoever accepts one of them.
                    _ => return Found::problem(place, &error),
                };
                single(failed(place, digest, format, error.failure(Subject::Evidence)))
            }
        }
    }

    /// Turns one manifest into candidates.
    async fn examine(&self, place: Place, digest: &Digest, bytes: &[u8]) -> Found {
        let document = parse_document(bytes);
        let classic = is_classic(place);
        let manifest = match document {
            Ok(Document::Manifest(manifest)) => manifest,
            Ok(Document::Index(_)) if !classic => return Found::default(),
            Ok(Document::Index(_)) => {
                let found = format_args!("the {place} names an index");
                let failure = Failure::new(Reason::EvidenceUnsupported, found);
                return single(failed(place, digest, Format::Legacy, failure));
            }
            Err(error) => {
                let format = if classic { Format::Legacy } else { Format::Bundle };
                let failure = Failure::new(Reason::EvidenceMalformed, error);
                return single(failed(place, digest, format, failure));
            }
        };
        let Some(format) = manifest_format(&manifest, classic) else {
            return Found::default();
        };
        if !classic && manifest.subject.as_ref() != Some(&self.query.digest) {
            let subject = manifest.subject.map_or_else(|| "nothing".into(), |s| s.to_string());
            let found = format_args!("listed as a referrer, and its manifest refers to {subject}");
            let failure = Failure::new(Reason::EvidenceMalformed, found);
            let failure = failure.wanted(&self.query.digest);
            return single(failed(place, digest, format, failure));
        }
        let kept = manifest.layers.iter().take(MAX_CANDIDATES);
        let layers = kept.map(|layer| Box::pin(self.layer(place, digest, format, layer)));
        let mut candidates = some_at_a_time(layers.collect()).await;
        if candidates.is_empty() {
            let failure = Failure::new(Reason::EvidenceMalformed, "a signature without layers");
            candidates.push(failed(place, digest, format, failure));
        }
        let over = manifest.surplus > 0 || manifest.layers.len() > MAX_CANDIDATES;
        Found { candidates, problems: over.then(|| surplus(place)).into_iter().collect() }
    }

    async fn layer(
        &self,
        place: Place,
        manifest: &Digest,
        expected: Format,
        layer: &Descriptor,
    ) -> Candidate {
        let (format, content) = match layer_kind(&layer.media_type).filter(|kind| kind.fits(place))
        {
            Some(kind) => {
                let blob = self.blob(layer).await;
                let content = blob.map_err(|error| error.failure(Subject::Evidence));
                (kind.format(), content.map(|bytes| kind.content(bytes, layer)))
            }
            None => {
                let found = format_args!("a layer of type {}", layer.media_type);
                let failure = Failure::new(Reason::EvidenceUnsupported, found);
                let classic = match place {
                    Place::AttestationTag => ENVELOPE_MEDIA_TYPE,
                    Place::SignatureTag | Place::Referrers | Place::FallbackTag => {
                        SIMPLE_SIGNING_MEDIA_TYPE
                    }
                };
                let wanted = format_args!("{classic} or a Sigstore bundle");
                (expected, Err(failure.wanted(wanted)))
            }
        };
        let (manifest, layer) = (manifest.clone(), layer.digest.clone());
        Candidate::new(place, manifest, layer, format, content)
    }

    async fn blob(&self, layer: &Descriptor) -> Result<Bytes, RegistryError> {
        let Descriptor { digest, size, .. } = layer;
        if size.is_some_and(|size| size > MAX_BLOB_BYTES as u64) {
            let limit = format_args!("{MAX_BLOB_BYTES} bytes");
            return Err(RegistryError::too_large(format_args!("layer {digest}"), limit));
        }
        self.once(&self.blobs, digest, async { self.store.blob(digest).await }).await
    }

    async fn once(
        &self,
        memo: &Memo,
        digest: &Digest,
        read: impl Future<Output = Result<Bytes, RegistryError>>,
    ) -> Result<Bytes, RegistryError> {
        let cell = {
            let mut memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
            memo.entry(digest.clone()).or_default().clone()
        };
        let read = async {
            self.charge(Bytes::new())?;
            self.charge(read.await?)
        };
        cell.get_or_init(|| read).await.clone()
    }

    /// Whether a listed manifest is worth reading: all but those that clearly are something else.
    /// The type in a list is a hint; only the manifest says what it is.
    fn is_possible(&self, artifact_type: Option<&str>) -> bool {
        artifact_type.is_none_or(|artifact_type| match artifact_type {
            COSIGN_SIGNATURE_TYPE => true,
            COSIGN_ATTESTATION_TYPE | ENVELOPE_MEDIA_TYPE => self.query.attestations,
            _ => UNCLEAR_TYPES.contains(&artifact_type) || artifact_type.starts_with(BUNDLE_PREFIX),
        })
    }

    /// Counts bytes toward the limit for the whole image.
    fn charge(&self, bytes: Bytes) -> Result<Bytes, RegistryError> {
        let spent = self.spent.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if spent > MAX_EVIDENCE_BYTES {
            let what = format_args!("evidence of {}", self.query.digest);
            let limit = format_args!("{MAX_EVIDENCE_BYTES} bytes in all");
            return Err(RegistryError::too_large(what, limit));
        }
        Ok(bytes)
    }
}

/// The outcomes in order, of no more futures at a time than a registry answers at once: one that
/// waits has some ten KiB, and a pod may ask for thousands.
async fn some_at_a_time<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    stream::iter(futures).buffered(MAX_CONCURRENT_REQUESTS).collect().await
}

fn single(candidate: Candidate) -> Found {
    Found { candidates: vec![candidate], problems: Vec::new() }
}

fn failed(place: Place, manifest: &Digest, format: Format, failure: Failure) -> Candidate {
    let (manifest, layer) = (manifest.clone(), manifest.clone());
    Candidate::new(place, manifest, layer, format, Err(failure))
}
