//! Addresses of services: they may say again what the default trust root says, and nothing else.
use super::CompileError;
use super::unsupported;
use crate::api;
use crate::trust_root::TrustRoot;

/// The public-good certificate authority's address, as policies for other controllers give it.
pub(super) const PUBLIC_FULCIO: &str = "https://fulcio.sigstore.dev";

/// The public-good log's address.
pub(super) const PUBLIC_REKOR: &str = "https://rekor.sigstore.dev";

/// Refuses `url` in `keyless` and `ctlog`, unless it is the public-good instance's own, in an
/// authority that names no trust root, where the default one is of that instance.
pub(super) fn check_addresses(
    spec: &api::AuthoritySpec,
    path: &str,
    default: &TrustRoot,
) -> Result<(), CompileError> {
    let api::AuthoritySpec { keyless, ctlog, rfc3161timestamp, .. } = spec;
    let named = [
        keyless.as_ref().and_then(|keyless| keyless.trust_root_ref.as_ref()),
        ctlog.as_ref().and_then(|ctlog| ctlog.trust_root_ref.as_ref()),
        rfc3161timestamp.as_ref().and_then(|timestamp| timestamp.trust_root_ref.as_ref()),
    ];
    let of_default = named.iter().all(Option::is_none);
    let fulcio = keyless.as_ref().and_then(|keyless| keyless.url.as_deref());
    let rekor = ctlog.as_ref().and_then(|ctlog| ctlog.url.as_deref());
    for (field, url, public, advice) in [
        (
            "keyless.url",
            fulcio,
            PUBLIC_FULCIO,
            "leave it out, and name a TrustRoot in `trustRootRef` where it is not the default one",
        ),
        (
            "ctlog.url",
            rekor,
            PUBLIC_REKOR,
            "leave it out (`ctlog: {}`), the trust root names the logs",
        ),
    ] {
        let Some(url) = url else { continue };
        let is_public = url.strip_suffix('/').unwrap_or(url) == public;
        if !(is_public && of_default && default.has_service(public)) {
            return Err(unsupported(format!("{path}.{field}"), advice));
        }
    }
    Ok(())
}
