//! Single keys and certificates to a trusted root.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::CompileError;
use super::count;
use crate::api;
use crate::verify::PublicKey;

/// Most entries of one kind; real instances have fewer than ten.
const MAX_ENTRIES: usize = 64;

/// Most certificates in one chain: Fulcio's have three at most.
const MAX_CHAIN: usize = 16;

/// Most bytes of one PEM text, in base64 or not; the schema has the same limit.
const MAX_PEM_BYTES: usize = 64 * 1024;

const WANTED_CHAIN: &str = "certificates in PEM (`-----BEGIN CERTIFICATE-----`)";
const WANTED_KEY: &str = "one public key in PEM (`-----BEGIN PUBLIC KEY-----`)";

/// The `trusted_root.json` of these keys and certificates.
pub(super) fn document(spec: &api::SigstoreKeysSpec) -> Result<Value, CompileError> {
    let api::SigstoreKeysSpec { certificate_authorities, t_logs, ct_logs, timestamp_authorities } =
        spec;
    let path = |field: &str| format!("spec.sigstoreKeys.{field}");
    Ok(json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "certificateAuthorities":
            each(certificate_authorities, &path("certificateAuthorities"), authority)?,
        "tlogs": each(t_logs, &path("tLogs"), log)?,
        "ctlogs": each(ct_logs, &path("ctLogs"), ct_log)?,
        "timestampAuthorities":
            each(timestamp_authorities, &path("timestampAuthorities"), authority)?,
    }))
}

fn each<T>(
    entries: &[T],
    path: &str,
    compile: fn(&T, &str) -> Result<Value, CompileError>,
) -> Result<Vec<Value>, CompileError> {
    if !entries.is_empty() {
        count(path, entries.len(), MAX_ENTRIES)?;
    }
    let entries = entries.iter().enumerate();
    entries.map(|(index, entry)| compile(entry, &format!("{path}[{index}]"))).collect()
}

fn authority(spec: &api::CertificateAuthoritySpec, path: &str) -> Result<Value, CompileError> {
    let api::CertificateAuthoritySpec { subject, uri, cert_chain, valid_for } = spec;
    let chain_path = format!("{path}.certChain");
    let error = |problem: String| CompileError::new(&chain_path, problem, WANTED_CHAIN);
    let pem = pem(cert_chain, &chain_path, WANTED_CHAIN)?;
    let chain = Certificate::load_pem_chain(pem.as_bytes())
        .map_err(|problem| error(format!("it cannot be read: {problem}")))?;
    if chain.is_empty() {
        return Err(error("there is no certificate in it".to_owned()));
    }
    count(&chain_path, chain.len(), MAX_CHAIN)?;
    let mut certificates = Vec::new();
    for certificate in chain {
        let der = certificate.to_der().map_err(|problem| error(problem.to_string()))?;
        certificates.push(json!({ "rawBytes": STANDARD.encode(der) }));
    }
    let subject = subject.as_ref().map(|subject| {
        let api::AuthoritySubjectSpec { organization, common_name } = subject;
        json!({ "organization": organization, "commonName": common_name })
    });
    Ok(json!({
        "subject": subject.unwrap_or_else(|| json!({})),
        "uri": uri.as_deref().unwrap_or_default(),
        "certChain": { "certificates": certificates },
        "validFor": window(valid_for.as_ref(), path)?,
    }))
}

fn ct_log(spec: &api::LogSpec, path: &str) -> Result<Value, CompileError> {
    if spec.origin.is_some() {
        let problem = "a certificate transparency log is known by its key alone";
        return Err(CompileError::new(format!("{path}.origin"), problem, "no such field"));
    }
    log(spec, path)
}

fn log(spec: &api::LogSpec, path: &str) -> Result<Value, CompileError> {
    let api::LogSpec { base_url, hash_algorithm, public_key, origin, valid_for } = spec;
    if let Some(other) = hash_algorithm.as_deref().filter(|name| !is_sha256(name)) {
        let problem = format!("`{other}` is not supported");
        return Err(CompileError::new(format!("{path}.hashAlgorithm"), problem, "`sha-256`"));
    }
    let key_path = format!("{path}.publicKey");
    let error = |problem: String| CompileError::new(&key_path, problem, WANTED_KEY);
    let pem = pem(public_key, &key_path, WANTED_KEY)?;
    let keys = PublicKey::from_pem(&pem, None).map_err(|problem| error(problem.to_string()))?;
    let [key] = keys.as_slice() else {
        return Err(error(format!("it holds {} keys", keys.len())));
    };
    let spki = key.spki();
    let spki = spki.as_bytes();
    let parsed = SubjectPublicKeyInfoOwned::from_der(spki)
        .map_err(|problem| error(format!("it cannot be read: {problem}")))?;
    let kind = kind(&parsed)
        .ok_or_else(|| error("a log's key of this kind is not supported".to_owned()))?;
    let id = match (origin, kind) {
        (None, _) | (Some(_), Kind::P256 | Kind::P384) => sha2::Sha256::digest(spki).to_vec(),
        (Some(origin), Kind::Ed25519) => {
            checkpoint_key_id(origin, parsed.subject_public_key.raw_bytes())
        }
        (Some(_), Kind::Rsa) => {
            let problem = "a log of Rekor v2 with an RSA key is not supported";
            return Err(CompileError::new(key_path, problem, "an Ed25519 or ECDSA key"));
        }
    };
    let valid_for = window(valid_for.as_ref(), path)?;
    let key = json!({
        "rawBytes": STANDARD.encode(spki), "keyDetails": kind.details(), "validFor": valid_for,
    });
    Ok(json!({
        "baseUrl": base_url.as_deref().unwrap_or_default(),
        "hashAlgorithm": "SHA2_256",
        "publicKey": key,
        "logId": { "keyId": STANDARD.encode(id) },
    }))
}

fn is_sha256(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "sha-256" | "sha256" | "sha2_256")
}

/// The key ID of an Ed25519 key in checkpoints (C2SP signed-note, "Signature types", 0x01).
fn checkpoint_key_id(origin: &str, key: &[u8]) -> Vec<u8> {
    let hash = sha2::Sha256::new().chain_update(origin).chain_update(b"\n\x01");
    hash.chain_update(key).finalize().to_vec()
}

#[derive(Clone, Copy)]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

impl Kind {
    /// `PublicKeyDetails` of Sigstore's protobuf specifications.
    const fn details(self) -> &'static str {
        match self {
            Self::Ed25519 => "PKIX_ED25519",
            Self::P256 => "PKIX_ECDSA_P256_SHA_256",
            Self::P384 => "PKIX_ECDSA_P384_SHA_384",
            Self::Rsa => "PKIX_RSA_PKCS1V15_2048_SHA256",
        }
    }
}

fn kind(spki: &SubjectPublicKeyInfoOwned) -> Option<Kind> {
    let curve = || {
        let parameters = spki.algorithm.parameters.as_ref()?;
        parameters.decode_as::<x509_cert::der::asn1::ObjectIdentifier>().ok()
    };
    match spki.algorithm.oid.to_string().as_str() {
        "1.3.101.112" => Some(Kind::Ed25519),
        "1.2.840.113549.1.1.1" => Some(Kind::Rsa),
        "1.2.840.10045.2.1" => match curve()?.to_string().as_str() {
            "1.2.840.10045.3.1.7" => Some(Kind::P256),
            "1.3.132.0.34" => Some(Kind::P384),
            _ => None,
        },
        _ => None,
    }
}

/// The PEM text, which may be given in base64: that is how `policy.sigstore.dev` writes it.
fn pem(text: &str, path: &str, wanted: &str) -> Result<String, CompileError> {
    if text.len() > MAX_PEM_BYTES {
        let problem = format!("it has {} bytes, more than {MAX_PEM_BYTES}", text.len());
        return Err(CompileError::new(path, problem, wanted));
    }
    if text.contains("-----BEGIN ") {
        return Ok(text.to_owned());
    }
    let joined: String = text.split_whitespace().collect();
    let decoded = STANDARD.decode(joined).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let error = || CompileError::new(path, "it is neither PEM nor PEM in base64", wanted);
    decoded.filter(|text| text.contains("-----BEGIN ")).ok_or_else(error)
}

/// A window as protobuf JSON writes it; null where there is none, which means the same as no field.
fn window(window: Option<&api::WindowSpec>, path: &str) -> Result<Value, CompileError> {
    let Some(api::WindowSpec { start, end }) = window else { return Ok(Value::Null) };
    let time = |field: &str, text: &str| {
        text.parse::<Timestamp>().map_err(|_| {
            let path = format!("{path}.validFor.{field}");
            CompileError::new(path, "it is no time", "RFC 3339, for example 2026-01-01T00:00:00Z")
        })
    };
    let from = time("start", start)?;
    let Some(end) = end else { return Ok(json!({ "start": from.to_string() })) };
    let until = time("end", end)?;
    if until < from {
        let path = format!("{path}.validFor.end");
        let wanted = "a later time, or no such field";
        return Err(CompileError::new(path, "it is before the start", wanted));
    }
    Ok(json!({ "start": from.to_string(), "end": until.to_string() }))
}
