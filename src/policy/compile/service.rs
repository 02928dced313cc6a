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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    fn check(authority: Value, default: &TrustRoot) -> Result<(), CompileError> {
        check_addresses(&serde_json::from_value(authority).unwrap(), "a", default)
    }

    fn keyless(url: &str) -> Value {
        json!({"keyless": {"identities": [], "url": url}})
    }

    #[test]
    fn accepts_what_the_default_trust_root_stands_for() {
        let default = TrustRoot::public_good();
        for authority in [
            keyless(PUBLIC_FULCIO),
            keyless("https://fulcio.sigstore.dev/"),
            json!({"key": {}, "ctlog": {"url": PUBLIC_REKOR}}),
            json!({"key": {}, "ctlog": {"url": "https://rekor.sigstore.dev/"}}),
            json!({"keyless": {"identities": [], "url": PUBLIC_FULCIO}, "ctlog": {"url": PUBLIC_REKOR}}),
            json!({"keyless": {"identities": []}}),
        ] {
            assert_eq!(check(authority.clone(), &default), Ok(()), "{authority}");
        }
    }

    #[test]
    fn rejects_every_other_address() {
        let default = TrustRoot::public_good();
        let private =
            json!({"keyless": {"identities": [], "trustRootRef": "x", "url": PUBLIC_FULCIO}});
        let elsewhere = json!({
            "keyless": {"identities": [], "trustRootRef": "x"},
            "ctlog": {"url": PUBLIC_REKOR},
        });
        let timestamp = json!({
            "key": {},
            "ctlog": {"url": PUBLIC_REKOR},
            "rfc3161timestamp": {"trustRootRef": "x"},
        });
        for (authority, path) in [
            (keyless("https://fulcio.sigstore.dev//"), "a.keyless.url"),
            (keyless("http://fulcio.sigstore.dev"), "a.keyless.url"),
            (keyless("https://fulcio.sigstore.dev.evil.example"), "a.keyless.url"),
            (keyless(PUBLIC_REKOR), "a.keyless.url"),
            (keyless(""), "a.keyless.url"),
            (private, "a.keyless.url"),
            (elsewhere, "a.ctlog.url"),
            (timestamp, "a.ctlog.url"),
            (json!({"key": {}, "ctlog": {"url": PUBLIC_FULCIO}}), "a.ctlog.url"),
        ] {
            let error = check(authority.clone(), &default).unwrap_err();
            assert_eq!(error.path, path, "{authority}");
            assert!(error.problem.contains("not supported yet"), "{error}");
            assert!(!error.missing);
        }
    }

    #[test]
    fn rejects_the_public_addresses_where_the_default_is_another_instance() {
        let mut root: Value =
            serde_json::from_str(sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
                .unwrap();
        for authority in root["certificateAuthorities"].as_array_mut().unwrap() {
            authority["uri"] = json!("https://fulcio.example");
        }
        let default = TrustRoot::from_json(&root.to_string()).unwrap();
        assert_eq!(check(keyless(PUBLIC_FULCIO), &default).unwrap_err().path, "a.keyless.url");
        assert_eq!(check(json!({"key": {}, "ctlog": {"url": PUBLIC_REKOR}}), &default), Ok(()));
    }
}
