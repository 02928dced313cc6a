//! Evidence: untrusted bytes about an image digest, and the trait that fetches them.
//!
//! Nothing in here is believed. A [`Candidate`] is what a registry, a cache or a folder handed out;
//! only [`crate::verify`] turns it into a [`crate::verify::VerifiedSignature`].
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::verdict::Failure;

mod asker;
pub mod log;

pub use asker::OwnCredentials;
pub use asker::Scope;
pub use asker::Tenant;
pub use log::LogAnswer;
pub use log::LogQuery;
pub use log::LogUrl;
pub use log::LookedUp;
pub use log::NamedBy;
pub use log::NoLog;
pub use log::SearchLog;

/// Where evidence for an image is looked for.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EvidenceQuery {
    /// The repository that holds the signatures: the image's own, or a policy's `source.oci`.
    pub repository: Repository,
    /// The digest of the image.
    pub digest: Digest,
    /// A policy's `source.tagPrefix`: put before `sha256-<hex>.sig`. Empty in most cases.
    pub tag_prefix: String,
    /// Whether attestations are looked for as well, in the places that hold nothing else.
    pub attestations: bool,
}

/// A place in which signatures may be attached to an image.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// cosign's tag `sha256-<hex>.att`.
    AttestationTag,
    /// cosign's tag `sha256-<hex>.sig`.
    SignatureTag,
    /// The OCI 1.1 referrers API.
    Referrers,
    /// The OCI 1.1 fallback tag `sha256-<hex>`, for registries without that API.
    FallbackTag,
}

impl Place {
    /// The name used in explanations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AttestationTag => "attestation tag",
            Self::SignatureTag => "signature tag",
            Self::Referrers => "referrers",
            Self::FallbackTag => "fallback tag",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything found for one query, in a stable order; untrusted.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The query that it answers.
    pub query: EvidenceQuery,
    /// What looks like a signature or a bundle, at most [`MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// Places that could not be listed, or not to the end. Never empty when a listing failed: an
    /// error is not "no signature there".
    pub problems: Vec<Problem>,
    /// How old it is, where it was kept; `None` where the registry gave it just now.
    pub kept: Option<Kept>,
}

/// How old kept evidence is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// When the registry gave it.
    pub fetched: Timestamp,
    /// Why the registry could not be asked again since, where that was tried and failed.
    pub stale: Option<Failure>,
    /// Whether something else than a registry gave it to this process: it is then not known to be what a
    /// registry once said.
    pub second_hand: bool,
}

/// Most candidates kept for one image. cosign's own images carry fewer than ten; a signer who
/// re-signs weekly for two years stays below. More is [`crate::verdict::Reason::EvidenceTooLarge`].
pub const MAX_CANDIDATES: usize = 128;

/// A place that could not be listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Which place.
    pub place: Place,
    /// Why; its reason says whether a retry is worth it.
    pub failure: Failure,
}

/// One thing attached to an image that may be a signature.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where it was found.
    pub place: Place,
    /// Digest of the manifest that holds it.
    pub manifest: Digest,
    /// Digest of the layer or blob with the payload or bundle.
    pub layer: Digest,
    /// Its format, also when its bytes could not be had.
    pub format: Format,
    /// Its bytes, or why they could not be had.
    pub content: Result<Content, Failure>,
    fingerprint: Once,
}

/// A fingerprint, once it was asked for. A copy is asked anew: it may be changed before that.
#[derive(Debug, Default)]
struct Once(OnceLock<Fingerprint>);

impl Clone for Once {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Candidate {
    /// A candidate of these parts.
    pub const fn new(
        place: Place,
        manifest: Digest,
        layer: Digest,
        format: Format,
        content: Result<Content, Failure>,
    ) -> Self {
        Self { place, manifest, layer, format, content, fingerprint: Once(OnceLock::new()) }
    }

    /// The fingerprint of all that is verified of it, computed from the bytes themselves; `None`
    /// where they could not be had. It is computed when it is first asked for: what was asked is not
    /// to be changed any more, but a copy may be.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let content = self.content.as_ref().ok()?;
        Some(*self.fingerprint.0.get_or_init(|| content.fingerprint()))
    }
}

/// The format of a signature, as policies name it in `signatureFormat`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Format {
    /// cosign's classic format: a simple-signing payload, or the envelope of an attestation, with
    /// annotations.
    Legacy,
    /// A Sigstore bundle.
    Bundle,
}

impl Format {
    /// The name used in policies and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Bundle => "bundle",
        }
    }
}

/// The bytes of a candidate.
#[derive(Clone, Debug)]
pub enum Content {
    /// A Sigstore bundle's JSON.
    Bundle(Bytes),
    /// A classic attestation with the annotations of its layer.
    Envelope {
        /// The DSSE envelope's JSON; the statement and its signature are in it.
        envelope: Bytes,
        /// The layer's annotations, among them certificate, log entry and timestamp.
        annotations: BTreeMap<String, String>,
    },
    /// A classic payload with the annotations of its layer.
    SimpleSigning {
        /// The payload: the exact bytes that were signed.
        payload: Bytes,
        /// The layer's annotations, among them signature, certificate, log entry and timestamp.
        annotations: BTreeMap<String, String>,
    },
}

impl Content {
    fn fingerprint(&self) -> Fingerprint {
        let annotated = |parts: Parts, annotations: &BTreeMap<String, String>| {
            let parts = parts.number(annotations.len());
            annotations.iter().fold(parts, |parts, (name, value)| parts.part(name).part(value))
        };
        match self {
            Self::Bundle(bytes) => Parts::of("bundle").part(bytes),
            Self::Envelope { envelope, annotations } => {
                annotated(Parts::of("envelope").part(envelope), annotations)
            }
            Self::SimpleSigning { payload, annotations } => {
                annotated(Parts::of("simple signing").part(payload), annotations)
            }
        }
        .finish()
    }
}

/// Annotation keys that cosign writes on the layer of a classic signature.
pub mod annotation {
    /// Base64 of the signature over the payload.
    pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
    /// JSON of the Rekor entry: `SignedEntryTimestamp` and `Payload`.
    pub const BUNDLE: &str = "dev.sigstore.cosign/bundle";
    /// PEM of the signing certificate.
    pub const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
    /// PEM of the intermediates; may be empty.
    pub const CHAIN: &str = "dev.sigstore.cosign/chain";
    /// JSON with `SignedRFC3161Timestamp`.
    pub const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
}

/// Media type of a classic signature's payload.
pub const SIMPLE_SIGNING_MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Media type of a classic attestation: a DSSE envelope.
pub const ENVELOPE_MEDIA_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// A part of an image, by the digest of its bytes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// Its configuration: a blob.
    Config(Digest),
    /// A manifest, or an index of manifests.
    Manifest(Digest),
}

/// The I/O of admission: references to digests, digests to evidence, and images' own parts.
///
/// Implemented by the registry client, by OCI layout folders, and by fakes in tests. All calls
/// must end by `deadline`; what is not there by then is a [`Failure`], never silence.
pub trait FetchEvidence: Send + Sync + 'static {
    /// The digest that `image` stands for. A reference with a digest costs no request; a tag's
    /// digest is computed over the manifest's bytes.
    ///
    /// # Errors
    /// With a reason of step `subject` or a `registry-…` reason.
    fn resolve(
        &self,
        image: &ImageRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send;

    /// Whatever is attached to the digest, from every place at once.
    fn fetch(
        &self,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> impl Future<Output = Evidence> + Send;

    /// A part of an image: bytes that hash to its digest.
    ///
    /// # Errors
    /// With a reason of step `subject` or a `registry-…` reason.
    fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send;

    /// [`Self::read`] with the tenant's credentials. Sources that know no tenants leave it as it
    /// is.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn read_for(
        &self,
        _tenant: &Tenant,
        _own: OwnCredentials,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send {
        self.read(repository, part, deadline)
    }

    /// [`Self::resolve`] with the tenant's credentials. Sources that know no tenants leave it as
    /// it is.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    fn resolve_for(
        &self,
        _tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send {
        self.resolve(image, deadline)
    }

    /// [`Self::resolve_for`] where no digest may stand in that the tag had before: what was judged may
    /// not be what will run. Sources that keep nothing leave it as it is.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    fn resolve_fresh_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send {
        self.resolve_for(tenant, image, deadline)
    }

    /// [`Self::fetch`] with the tenant's credentials. Sources that know no tenants leave it as it
    /// is.
    fn fetch_for(
        &self,
        _tenant: &Tenant,
        _own: OwnCredentials,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> impl Future<Output = Arc<Evidence>> + Send {
        async move { Arc::new(self.fetch(query, deadline).await) }
    }

    /// [`Self::fetch_for`] once more, after what `seen` holds has led to nothing good: `None` where
    /// the place has been asked so shortly before that it is not worth it. Sources that keep nothing
    /// leave it as it is.
    fn fetch_again(
        &self,
        _tenant: &Tenant,
        _own: OwnCredentials,
        _seen: &Arc<Evidence>,
        _deadline: Instant,
    ) -> impl Future<Output = Option<Arc<Evidence>>> + Send {
        std::future::ready(None)
    }

    /// Who else may be told what is asked of this repository with the tenant's credentials. Asks no
    /// registry.
    fn scope(
        &self,
        _tenant: &Tenant,
        own: OwnCredentials,
        _repository: &Repository,
        _deadline: Instant,
    ) -> impl Future<Output = Scope> + Send {
        std::future::ready(Scope::Own(own))
    }

    /// The same, where it can be told without asking anybody.
    fn scope_now(
        &self,
        _tenant: &Tenant,
        own: OwnCredentials,
        _repository: &Repository,
    ) -> Option<Scope> {
        Some(Scope::Own(own))
    }
}

impl<F: FetchEvidence> FetchEvidence for Arc<F> {
    fn resolve(
        &self,
        image: &ImageRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send {
        (**self).resolve(image, deadline)
    }

    fn fetch(
        &self,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> impl Future<Output = Evidence> + Send {
        (**self).fetch(query, deadline)
    }

    fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send {
        (**self).read(repository, part, deadline)
    }

    fn read_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send {
        (**self).read_for(tenant, own, repository, part, deadline)
    }

    fn resolve_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send {
        (**self).resolve_for(tenant, image, deadline)
    }

    fn resolve_fresh_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> impl Future<Output = Result<Digest, Failure>> + Send {
        (**self).resolve_fresh_for(tenant, image, deadline)
    }

    fn fetch_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> impl Future<Output = Arc<Evidence>> + Send {
        (**self).fetch_for(tenant, own, query, deadline)
    }

    fn fetch_again(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        seen: &Arc<Evidence>,
        deadline: Instant,
    ) -> impl Future<Output = Option<Arc<Evidence>>> + Send {
        (**self).fetch_again(tenant, own, seen, deadline)
    }

    fn scope(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        deadline: Instant,
    ) -> impl Future<Output = Scope> + Send {
        (**self).scope(tenant, own, repository, deadline)
    }

    fn scope_now(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
    ) -> Option<Scope> {
        (**self).scope_now(tenant, own, repository)
    }
}
