//! The certificates and keys of a Secret: read, checked, moved on by one step, and written.
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::authority;
use super::authority::Anchor;
use super::authority::Authority;
use super::rotation::Action;
use super::rotation::Announced;
use super::rotation::MAX_AUTHORITIES;
use super::rotation::SecretState;
use crate::server::tls::PairError;
use crate::server::tls::Served;
use crate::server::tls::issue::IssueError;

/// The leaf.
pub(super) const CERTIFICATE: &str = "tls.crt";
/// The leaf's key.
pub(super) const KEY: &str = "tls.key";
/// Every authority that clients are to trust, newest first.
pub(super) const BUNDLE: &str = "ca.crt";
/// The key of the authority that issues.
pub(super) const AUTHORITY_KEY: &str = "ca.key";
/// The key of the authority that is to issue next.
pub(super) const NEXT_KEY: &str = "next-ca.key";

/// Says that a Secret is ours to write.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "tegata");

/// On the Secret, with the value [`ROTATE_NOW`]: asks for a new authority at once. It is taken away
/// as soon as that authority is announced.
pub(super) const ROTATE: &str = "tegata.dev/rotate";
/// The only value of [`ROTATE`] that asks.
pub(super) const ROTATE_NOW: &str = "now";

/// On the Secret: since when every webhook configuration was seen to hold the announced authority.
pub(super) const IN_STEP_SINCE: &str = "tegata.dev/ca-bundle-in-step-since";

/// What a Secret holds, checked: everything in it belongs together.
pub(super) struct Stored {
    leaf: Leaf,
    issuing: Authority,
    next: Option<(Authority, Announced)>,
    retired: Vec<Anchor>,
    asked: bool,
}

struct Leaf {
    certificate: String,
    key: String,
    served: Served,
    issued: Timestamp,
    names_fit: bool,
}

impl Stored {
    /// Everything new.
    pub(super) fn create(names: &[String], now: Timestamp) -> Result<Self, IssueError> {
        let issuing = Authority::create(now)?;
        let leaf = Leaf::issue(&issuing, names, now)?;
        Ok(Self { leaf, issuing, next: None, retired: Vec::new(), asked: false })
    }

    /// What `secret` holds.
    ///
    /// # Errors
    /// When it is not a whole that can be served and renewed.
    pub(super) fn parse(secret: &Secret, names: &[String]) -> Result<Self, Garbage> {
        let annotations = secret.metadata.annotations.as_ref();
        let annotation = |name: &str| annotations?.get(name).map(String::as_str);
        let mut anchors = bundle(text(secret, BUNDLE)?)?;
        let key = text(secret, AUTHORITY_KEY)?;
        let (at, issuing) = anchors
            .iter()
            .enumerate()
            .find_map(|(at, anchor)| Some((at, Authority::parse(anchor, key)?)))
            .ok_or(Garbage::Issuer)?;
        anchors.remove(at);
        let next = (at == 1)
            .then(|| Authority::parse(anchors.first()?, text(secret, NEXT_KEY).ok()?))
            .flatten();
        let next = next.map(|authority| {
            anchors.remove(0);
            let in_step_since = annotation(IN_STEP_SINCE).and_then(|since| since.parse().ok());
            (authority, Announced { in_step_since })
        });
        let leaf = Leaf::parse(text(secret, CERTIFICATE)?, text(secret, KEY)?, &issuing, names)?;
        let asked = annotation(ROTATE) == Some(ROTATE_NOW);
        Ok(Self { leaf, issuing, next, retired: anchors, asked })
    }

    /// What decides over the next step.
    pub(super) fn state(&self) -> SecretState {
        SecretState {
            leaf_issued: self.leaf.issued,
            leaf_expires: self.leaf.served.expires(),
            names_fit: self.leaf.names_fit,
            authority_issued: self.issuing.anchor.issued,
            authority_expires: self.issuing.anchor.expires,
            next: self.next.as_ref().map(|(_, announced)| *announced),
            authorities: self.anchors().count(),
            asked: self.asked,
        }
    }

    /// The leaf and its key, ready to serve.
    pub(super) const fn served(&self) -> &Served {
        &self.leaf.served
    }

    /// Every authority that clients are to trust, as PEM, newest first.
    pub(super) fn bundle(&self) -> String {
        self.anchors().map(Anchor::pem).collect()
    }

    fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        let next = self.next.iter().map(|(next, _)| &next.anchor);
        next.chain([&self.issuing.anchor]).chain(&self.retired)
    }

    /// What the Secret is to hold after `action`.
    pub(super) fn after(
        self,
        action: Action,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        let Self { leaf, issuing, next, mut retired, asked } = self;
        Ok(match action {
            Action::Announce => {
                let next = Some((Authority::create(now)?, Announced { in_step_since: None }));
                Self { leaf, issuing, next, retired, asked: false }
            }
            Action::Confirm => Self { next: noted(next, Some(now)), leaf, issuing, retired, asked },
            Action::Withdraw => Self { next: noted(next, None), leaf, issuing, retired, asked },
            Action::Promote => {
                let Some((next, _)) = next else { return Err(IssueError::defect()) };
                let leaf = Leaf::issue(&next, names, now)?;
                retired.insert(0, issuing.anchor);
                Self { leaf, issuing: next, next: None, retired, asked }
            }
            Action::Renew => {
                let leaf = Leaf::issue(&issuing, names, now)?;
                Self { leaf, issuing, next, retired, asked }
            }
            Action::Retire => Self { leaf, issuing, next, retired: Vec::new(), asked },
            Action::Wait(_) => Self { leaf, issuing, next, retired, asked },
        })
    }

    /// Writes everything into `secret` and leaves there what is not ours.
    pub(super) fn write(&self, secret: &mut Secret) {
        let data = secret.data.get_or_insert_default();
        let mut set = |name: &str, text: String| {
            data.insert(name.to_owned(), ByteString(text.into_bytes()));
        };
        set(CERTIFICATE, self.leaf.certificate.clone());
        set(KEY, self.leaf.key.clone());
        set(BUNDLE, self.bundle());
        set(AUTHORITY_KEY, self.issuing.key().to_owned());
        match &self.next {
            Some((next, _)) => set(NEXT_KEY, next.key().to_owned()),
            None => drop(data.remove(NEXT_KEY)),
        }
        let (label, value) = MANAGED_BY;
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert(label.to_owned(), value.to_owned());
        let since = self.next.as_ref().and_then(|(_, announced)| announced.in_step_since);
        let annotations = secret.metadata.annotations.get_or_insert_default();
        note(annotations, IN_STEP_SINCE, since.map(|since| since.to_string()));
        if !self.asked {
            annotations.remove(ROTATE);
        }
    }
}

fn noted(
    next: Option<(Authority, Announced)>,
    in_step_since: Option<Timestamp>,
) -> Option<(Authority, Announced)> {
    next.map(|(next, _)| (next, Announced { in_step_since }))
}

fn note(annotations: &mut BTreeMap<String, String>, name: &str, value: Option<String>) {
    match value {
        Some(value) => annotations.insert(name.to_owned(), value),
        None => annotations.remove(name),
    };
}

impl Leaf {
    fn issue(authority: &Authority, names: &[String], now: Timestamp) -> Result<Self, IssueError> {
        let (certificate, key) = authority.issue(names, now)?;
        Self::parse(&certificate, &key, authority, names).map_err(|_| IssueError::defect())
    }

    fn parse(
        certificate: &str,
        key: &str,
        authority: &Authority,
        names: &[String],
    ) -> Result<Self, Garbage> {
        let served = Served::from_pem(certificate.as_bytes(), key.as_bytes())?;
        let unreadable = || Garbage::Pair(PairError::Certificate);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| Garbage::Pair(PairError::Certificate))?;
        let parsed = Certificate::from_der(&der).map_err(|_| unreadable())?;
        let (issued, _) =
            authority::validity(&parsed.tbs_certificate.validity).ok_or_else(unreadable)?;
        if !authority.anchor.issued_leaf(&der, issued) {
            return Err(Garbage::Leaf);
        }
        let names_fit = EndEntityCert::try_from(&der).is_ok_and(|leaf| {
            names.iter().all(|name| {
                ServerName::try_from(name.as_str())
                    .is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
            })
        });
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        Ok(Self { certificate, key, served, issued, names_fit })
    }
}

/// Whether `secret` may be overwritten: Tegata wrote it, or there is nothing in it.
pub(super) fn is_ours(secret: &Secret) -> bool {
    let (label, value) = MANAGED_BY;
    let labels = secret.metadata.labels.as_ref();
    let empty = secret.data.as_ref().is_none_or(BTreeMap::is_empty);
    empty || labels.and_then(|labels| labels.get(label)).is_some_and(|found| found == value)
}

fn text<'a>(secret: &'a Secret, name: &'static str) -> Result<&'a str, Garbage> {
    let value = secret.data.as_ref().and_then(|data| data.get(name));
    let value = value.ok_or(Garbage::Missing { name })?;
    std::str::from_utf8(&value.0).map_err(|_| Garbage::Text { name })
}

fn bundle(text: &str) -> Result<Vec<Anchor>, Garbage> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .take(MAX_AUTHORITIES + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| Garbage::Authority)?;
    if certificates.len() > MAX_AUTHORITIES {
        return Err(Garbage::TooMany);
    }
    certificates
        .into_iter()
        .map(|certificate| Anchor::parse(certificate).ok_or(Garbage::Authority))
        .collect()
}

/// Why what a Secret holds cannot be used. Never holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Garbage {
    /// A certificate in the bundle is not one of an authority.
    #[error("{BUNDLE} holds what is no certificate of an authority")]
    Authority,
    /// The authority's key belongs to no certificate.
    #[error("{AUTHORITY_KEY} is not the key of a certificate in {BUNDLE}")]
    Issuer,
    /// The leaf is not of the authority whose key there is.
    #[error("{CERTIFICATE} was not issued with {AUTHORITY_KEY}")]
    Leaf,
    /// A key of the Secret's data is missing.
    #[error("{name} is missing")]
    Missing {
        /// The key of the data.
        name: &'static str,
    },
    /// The leaf and its key are no pair.
    #[error("{CERTIFICATE} cannot be served with {KEY}")]
    Pair(#[from] PairError),
    /// A value is not text.
    #[error("{name} is not text: wanted PEM")]
    Text {
        /// The key of the data.
        name: &'static str,
    },
    /// The bundle is longer than any that we write.
    #[error("{BUNDLE} holds more than {MAX_AUTHORITIES} certificates")]
    TooMany,
}
