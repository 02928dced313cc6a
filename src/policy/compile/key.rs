//! Keys: in the policy itself, or in an object that it names.
use std::collections::BTreeSet;

use super::CompileError;
use super::KeyPlace;
use super::Keys;
use super::certificate;
use super::count;
use super::object;
use super::object::Source;
use super::object::Wish;
use crate::api;
use crate::policy::PolicyId;
use crate::policy::Signer;
use crate::verify::HashAlgorithm;
use crate::verify::PublicKey;

/// Longest PEM text, in bytes: some eighty RSA keys of 4096 bits.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// Most keys in one authority: each is tried on each signature.
const MAX_KEYS: usize = 32;

const WANTED: &str = "one or more public keys in PEM (`-----BEGIN PUBLIC KEY-----`)";

/// The usual entry is the one that cosign writes.
const KEY: Wish =
    Wish { usual: "cosign.pub", wanted: WANTED, here: "the public key itself in `data`" };

/// Where the policy's keys and certificates are, as far as it names objects in a way that can be
/// followed.
pub fn key_places(
    id: &PolicyId,
    authorities: &[api::AuthoritySpec],
    own_namespace: &str,
) -> BTreeSet<KeyPlace> {
    let of_authority = |authority: &api::AuthoritySpec| {
        let api::AuthoritySpec { key, certificate, .. } = authority;
        let key = key.as_ref().and_then(|key| match source(key, "").ok()? {
            Source::Here(_) => None,
            Source::There(kind, reference) => {
                object::place((kind, reference), &KEY, id, own_namespace, "").ok()
            }
        });
        let certificate = certificate.as_ref();
        let certificates = certificate
            .map(|spec| certificate::places(id, spec, own_namespace))
            .unwrap_or_default();
        key.into_iter().chain(certificates).collect::<Vec<_>>()
    };
    authorities.iter().flat_map(of_authority).collect()
}

pub(super) fn compile(
    id: &PolicyId,
    spec: &api::KeySpec,
    path: &str,
    keys: &Keys,
) -> Result<Signer, CompileError> {
    let hash = spec.hash_algorithm.map(|hash| match hash {
        api::HashAlgorithmSpec::Sha256 => HashAlgorithm::Sha256,
        api::HashAlgorithmSpec::Sha384 => HashAlgorithm::Sha384,
        api::HashAlgorithmSpec::Sha512 => HashAlgorithm::Sha512,
    });
    let (kind, reference) = match source(spec, path)? {
        Source::Here(pem) => {
            let path = format!("{path}.data");
            let keys = parse(pem, hash, &path)?;
            return Ok(Signer::Keys(keys));
        }
        Source::There(kind, reference) => (kind, reference),
    };
    let path = format!("{path}.{}", object::field(kind));
    let (place, pem) = object::content((kind, reference), &KEY, id, keys, &path)?;
    parse(pem, hash, &path)
        .map(Signer::Keys)
        .map_err(|error| CompileError::new(path, unusable(&place, pem, &error), WANTED).missing())
}

fn parse(
    pem: &str,
    hash: Option<HashAlgorithm>,
    path: &str,
) -> Result<Vec<PublicKey>, CompileError> {
    if pem.len() > MAX_PEM_BYTES {
        let problem = format!("it has {} bytes, more than {MAX_PEM_BYTES}", pem.len());
        return Err(CompileError::new(path, problem, WANTED));
    }
    let keys = PublicKey::from_pem(pem, hash)
        .map_err(|error| CompileError::new(path, error.problem, ""))?;
    count(path, keys.len(), MAX_KEYS)?;
    Ok(keys)
}

/// What is wrong with an object's content, of which nothing may be quoted: whoever writes a policy
/// need not be someone who may read Secrets. Only of what calls itself a public key is said more.
fn unusable(place: &KeyPlace, pem: &str, error: &CompileError) -> String {
    let mut labels = pem.lines().map(str::trim).filter(|line| line.starts_with("-----BEGIN "));
    if pem.contains("PRIVATE KEY-----") {
        format!("{place} holds a private key, which nobody but its owner should have")
    } else if pem.contains("-----BEGIN PUBLIC KEY-----")
        && labels.all(|label| label == "-----BEGIN PUBLIC KEY-----")
    {
        format!("{place} holds no public key that can be used: {}", error.problem)
    } else {
        format!("{place} holds no public key in PEM")
    }
}

fn source<'a>(spec: &'a api::KeySpec, path: &str) -> Result<Source<'a>, CompileError> {
    let api::KeySpec { data, secret_ref, config_map_ref, kms, hash_algorithm: _ } = spec;
    if let Some(uri) = kms {
        return Err(refuse_kms(uri, &format!("{path}.kms")));
    }
    let names = "`data`, `secretRef` and `configMapRef`";
    let references = (secret_ref.as_ref(), config_map_ref.as_ref());
    let given = Source::of(data.as_deref(), references.0, references.1, (path, names))?;
    given.ok_or_else(|| CompileError::new(path, format!("it has none of {names}"), WANTED))
}

/// No key service is asked during admission: it would have to be up, and to let Tegata in.
fn refuse_kms(uri: &str, path: &str) -> CompileError {
    let providers = [
        ("awskms://", "AWS KMS"),
        ("azurekms://", "Azure Key Vault"),
        ("gcpkms://", "Google Cloud KMS"),
        ("hashivault://", "HashiCorp Vault"),
        ("k8s://", "a Kubernetes Secret"),
    ];
    let provider = providers.iter().find(|(scheme, _)| uri.starts_with(scheme));
    let named = provider.map_or_else(
        || format!("`{uri}` is no key service that is known"),
        |(_, name)| format!("`{uri}` names a key of {name}"),
    );
    let wanted = if uri.starts_with("k8s://") {
        "the Secret in `secretRef`, which is read where the policy may read it".to_owned()
    } else {
        "the public key in `data`: `cosign public-key --key URI` prints it".to_owned()
    };
    CompileError::new(path, format!("{named}, and none is asked during admission"), wanted)
}
