//! Addresses of services: where to ask, never whom to believe.
use super::CompileError;
use super::unsupported;
use crate::api;
use crate::evidence::LogUrl;
use crate::evidence::log::LogUrlError;
use crate::trust_root::TrustRoot;

/// The public-good certificate authority's address, as policies for other controllers give it.
pub(super) const PUBLIC_FULCIO: &str = "https://fulcio.sigstore.dev";

/// Refuses `keyless.url`, unless it is the public-good instance's own, in an authority that names no
/// trust root, where the default one is of that instance.
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
    let Some(url) = keyless.as_ref().and_then(|keyless| keyless.url.as_deref()) else {
        return Ok(());
    };
    let is_public = url.strip_suffix('/').unwrap_or(url) == PUBLIC_FULCIO;
    if is_public && of_default && default.has_service(PUBLIC_FULCIO) {
        return Ok(());
    }
    let advice =
        "leave it out, and name a TrustRoot in `trustRootRef` where it is not the default one";
    Err(unsupported(format!("{path}.keyless.url"), advice))
}

/// The log that `ctlog.url` names. The address is where to ask, never whom to believe: that stays
/// with the trust root, and what addresses may be asked with the administrator.
pub(super) fn compile_log(
    ctlog: Option<&api::CtLogSpec>,
    path: &str,
) -> Result<Option<LogUrl>, CompileError> {
    let Some(url) = ctlog.and_then(|ctlog| ctlog.url.as_deref()) else {
        return Ok(None);
    };
    let unusable = |error: LogUrlError| CompileError::new(format!("{path}.ctlog.url"), error, "");
    url.parse().map(Some).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    const PUBLIC_REKOR: &str = "https://rekor.sigstore.dev";

    fn check(authority: Value, default: &TrustRoot) -> Result<(), CompileError> {
        check_addresses(&serde_json::from_value(authority).unwrap(), "a", default)
    }

    fn keyless(url: &str) -> Value {
        json!({"keyless": {"identities": [], "url": url}})
    }

    fn log(ctlog: Value) -> Result<Option<String>, CompileError> {
        let spec: api::CtLogSpec = serde_json::from_value(ctlog).unwrap();
        compile_log(Some(&spec), "a").map(|url| url.map(|url| url.to_string()))
    }

    #[test]
    fn accepts_what_the_default_trust_root_stands_for() {
        let default = TrustRoot::public_good();
        for authority in [
            keyless(PUBLIC_FULCIO),
            keyless("https://fulcio.sigstore.dev/"),
            json!({"keyless": {"identities": [], "url": PUBLIC_FULCIO}, "ctlog": {"url": PUBLIC_REKOR}}),
            json!({"keyless": {"identities": []}}),
        ] {
            assert_eq!(check(authority.clone(), &default), Ok(()), "{authority}");
        }
    }

    #[test]
    fn rejects_every_other_address_of_a_certificate_authority() {
        let default = TrustRoot::public_good();
        let private =
            json!({"keyless": {"identities": [], "trustRootRef": "x", "url": PUBLIC_FULCIO}});
        for authority in [
            keyless("https://fulcio.sigstore.dev//"),
            keyless("http://fulcio.sigstore.dev"),
            keyless("https://fulcio.sigstore.dev.evil.example"),
            keyless(PUBLIC_REKOR),
            keyless(""),
            private,
        ] {
            let error = check(authority.clone(), &default).unwrap_err();
            assert_eq!(error.path, "a.keyless.url", "{authority}");
            assert!(error.problem.contains("not supported yet"), "{error}");
            assert!(!error.missing);
        }
    }

    #[test]
    fn rejects_the_public_address_where_the_default_is_another_instance() {
        let mut root: Value =
            serde_json::from_str(sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
                .unwrap();
        for authority in root["certificateAuthorities"].as_array_mut().unwrap() {
            authority["uri"] = json!("https://fulcio.example");
        }
        let default = TrustRoot::from_json(&root.to_string()).unwrap();
        assert_eq!(check(keyless(PUBLIC_FULCIO), &default).unwrap_err().path, "a.keyless.url");
    }

    #[test]
    fn accepts_the_address_of_any_log_beside_any_trust_root() {
        for (ctlog, wanted) in [
            (json!({}), None),
            (json!({"url": PUBLIC_REKOR}), Some(PUBLIC_REKOR)),
            (json!({"url": "https://rekor.sigstore.dev/"}), Some(PUBLIC_REKOR)),
            (
                json!({"url": "http://rekor.example:3000", "trustRootRef": "x"}),
                Some("http://rekor.example:3000"),
            ),
        ] {
            assert_eq!(log(ctlog), Ok(wanted.map(str::to_owned)));
        }
    }

    #[test]
    fn rejects_what_is_no_address_of_a_log() {
        for url in ["", "x", "ftp://rekor.example", "https://me@rekor.example", "https://x/?a"] {
            let error = log(json!({ "url": url })).unwrap_err();
            assert_eq!(error.path, "a.ctlog.url", "{url}");
            assert!(!error.missing && error.to_string().contains("wanted"), "{error}");
        }
    }
}
