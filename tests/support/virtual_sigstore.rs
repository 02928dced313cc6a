//! A whole Sigstore in memory: it signs images in every format, and forges any single part.
//!
//! ```ignore
//! let sigstore = VirtualSigstore::new(start);
//! let signed = sigstore
//!     .keyless("alice@example.com", "https://issuer.example")
//!     .log(Log::RekorV1)
//!     .timestamp(1)
//!     .bundle(Version::V03)
//!     .tamper(Part::ProofHash)
//!     .sign(&digest);
//! let root = sigstore.trusted_root_json();
//! ```
//!
//! A test crate includes it with `#[path = "support/virtual_sigstore.rs"] mod virtual_sigstore;`.
//! Keys are fresh each time; every time and every window is fixed by `start`.
//!
//! Five sets of authorities exist. The trust root lists the *current* one (windows open since a
//! year before `start`) and the *retired* one (windows over since a year before `start`), like the
//! public one does; it lists the *second* one on request, and the *foreign* one never. A *lapsed*
//! certificate authority, whose window is open while its intermediate has expired, is listed too.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "test support: each test crate uses a part of it, and may panic"
)]

#[path = "virtual_sigstore/body.rs"]
mod body;
#[path = "virtual_sigstore/der.rs"]
pub mod der;
#[path = "virtual_sigstore/forge.rs"]
mod forge;
#[path = "virtual_sigstore/fulcio.rs"]
mod fulcio;
#[path = "virtual_sigstore/instance.rs"]
mod instance;
#[path = "virtual_sigstore/key.rs"]
mod key;
#[path = "virtual_sigstore/make.rs"]
mod make;
#[path = "virtual_sigstore/merkle.rs"]
mod merkle;
#[path = "virtual_sigstore/oci.rs"]
mod oci;
#[path = "virtual_sigstore/part.rs"]
mod part;
#[path = "virtual_sigstore/product.rs"]
mod product;
#[path = "virtual_sigstore/rekor.rs"]
mod rekor;
#[path = "virtual_sigstore/signing.rs"]
mod signing;
#[path = "virtual_sigstore/trusted_root.rs"]
mod trusted_root;
#[path = "virtual_sigstore/tsa.rs"]
mod tsa;
#[path = "virtual_sigstore/x509.rs"]
mod x509;

use jiff::Timestamp;

use self::fulcio::Fulcio;
pub use self::fulcio::San;
use self::fulcio::Scts;
use self::instance::Instance;
pub use self::key::Algorithm;
pub use self::key::Key;
pub use self::oci::OciArtifact;
pub use self::part::Part;
pub use self::product::ClassicSignature;
pub use self::product::SignedBundle;
pub use self::signing::BundleSigning;
pub use self::signing::COSIGN_SIGN;
pub use self::signing::ClassicSigning;
pub use self::signing::Log;
pub use self::signing::Signing;
pub use self::signing::Version;
pub use self::trusted_root::Authority;
pub use self::trusted_root::TrustedRootBuilder;

/// The instance; see the module's text.
#[derive(Debug)]
pub struct VirtualSigstore {
    start: Timestamp,
    current: Instance,
    retired: Instance,
    second: Instance,
    foreign: Instance,
    lapsed: Fulcio,
}

impl VirtualSigstore {
    /// An instance in which signatures are made at `start`. It should lie in the past of the clock
    /// that verifies, by some minutes at least.
    pub fn new(start: Timestamp) -> Self {
        let instance = |name, tsa| Instance::new(name, start, tsa);
        Self {
            start,
            current: instance("virtual.test", Algorithm::P256),
            retired: instance("retired.virtual.test", Algorithm::P256),
            second: instance("second.virtual.test", Algorithm::P384),
            foreign: instance("virtual.test", Algorithm::P256),
            lapsed: instance::lapsed_fulcio(start),
        }
    }

    /// When signatures are made: certificates begin, timestamps follow 20 s and log entries 30 s
    /// later.
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// Root and intermediate of the current certificate authority as PEM, for policies that name it
    /// as their own.
    pub fn authority_pem(&self) -> [String; 2] {
        chain_pem(&self.current.fulcio)
    }

    /// The same of the authority whose intermediate has expired.
    pub fn lapsed_authority_pem(&self) -> [String; 2] {
        chain_pem(&self.lapsed)
    }

    /// A list of revoked certificates, PEM, by the current intermediate, or by the root where
    /// `by_root`; to be replaced by `until`.
    pub fn revocation_list(&self, serials: &[Vec<u8>], until: Timestamp, by_root: bool) -> String {
        let fulcio = &self.current.fulcio;
        let issuer = if by_root { &fulcio.root } else { &fulcio.intermediate };
        der::pem("X509 CRL", &issuer.revoke(serials, self.start, until))
    }

    /// The `trusted_root.json` under which honest signatures verify.
    pub fn trusted_root_json(&self) -> String {
        self.trusted_root().json()
    }

    /// The same, to be altered first.
    pub const fn trusted_root(&self) -> TrustedRootBuilder<'_> {
        TrustedRootBuilder::new(self)
    }

    /// A signer with a certificate for `subject` (a URI where it has a scheme, otherwise an e-mail
    /// address), for whom `issuer` vouched.
    pub fn keyless(&self, subject: &str, issuer: &str) -> Signing<'_> {
        let name = if subject.contains("://") {
            San::Uri(subject.to_owned())
        } else {
            San::Email(subject.to_owned())
        };
        let request = fulcio::Request {
            names: vec![name],
            issuer_v1: Some(issuer.to_owned()),
            issuer_v2: Some(issuer.to_owned()),
            claims: Vec::new(),
            code_signing: true,
            digital_signature: true,
            scts: Scts::One,
        };
        Signing::new(self, signing::Signer::Keyless(request, Algorithm::P256))
    }

    /// A signer with this key.
    pub fn keyed<'a>(&'a self, key: &'a Key) -> Signing<'a> {
        Signing::new(self, signing::Signer::Keyed(key))
    }
}

fn chain_pem(fulcio: &Fulcio) -> [String; 2] {
    [&fulcio.root, &fulcio.intermediate].map(|one| der::pem("CERTIFICATE", &one.certificate))
}
