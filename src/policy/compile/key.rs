//! Keys: in the policy itself, or in an object that it names.
use std::collections::BTreeSet;

use super::CompileError;
use super::Entry;
use super::KeyHolder;
use super::KeyPlace;
use super::Keys;
use super::count;
use crate::api;
use crate::policy::PolicyId;
use crate::policy::Signer;
use crate::verify::HashAlgorithm;
use crate::verify::PublicKey;

/// Longest PEM text, in bytes: some eighty RSA keys of 4096 bits.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// Most keys in one authority: each is tried on each signature.
const MAX_KEYS: usize = 32;

/// The entry that cosign keeps a public key in.
const USUAL_ENTRY: &str = "cosign.pub";

/// Longest name of an object (Kubernetes, "DNS subdomain names"), and longest name of an entry in
/// a Secret or a ConfigMap.
const MAX_NAME: usize = 253;

const WANTED: &str = "one or more public keys in PEM (`-----BEGIN PUBLIC KEY-----`)";

/// Where the policy's keys are, as far as it names objects in a way that can be followed.
///
/// A `ClusterImagePolicy` reads from `own_namespace`, an `ImagePolicy` from its own: nobody reaches
/// through Tegata into a namespace that is not theirs.
pub fn key_places(
    id: &PolicyId,
    authorities: &[api::AuthoritySpec],
    own_namespace: &str,
) -> BTreeSet<KeyPlace> {
    let namespace = namespace_of(id, own_namespace);
    let keys = authorities.iter().filter_map(|authority| authority.key.as_ref());
    keys.filter_map(|key| match source(key, "").ok()? {
        Source::Here(_) => None,
        Source::There(kind, reference) => place(kind, reference, namespace, whose(id), "").ok(),
    })
    .collect()
}

fn namespace_of<'a>(id: &'a PolicyId, own_namespace: &'a str) -> &'a str {
    match id {
        PolicyId::Cluster { .. } => own_namespace,
        PolicyId::Namespaced { namespace, .. } => namespace,
    }
}

/// Why a reference of this policy reads from its namespace and from no other.
const fn whose(id: &PolicyId) -> &'static str {
    match id {
        PolicyId::Cluster { .. } => "a ClusterImagePolicy reads from Tegata's namespace",
        PolicyId::Namespaced { .. } => "an ImagePolicy reads from its own namespace",
    }
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
    let path = format!("{path}.{}", field(kind));
    let Keys::Cluster { own_namespace, found } = keys else {
        let problem = "a policy in a file cannot name an object of a cluster";
        return Err(CompileError::new(path, problem, "the public key itself in `data`"));
    };
    let place = place(kind, reference, namespace_of(id, own_namespace), whose(id), &path)?;
    let pem = match found.get(&place) {
        Some(Ok(pem)) => pem,
        Some(Err(problem)) => return Err(CompileError::new(path, problem, WANTED).missing()),
        None => {
            let problem = format!("{place} has not been read yet");
            return Err(CompileError::new(path, problem, WANTED).missing());
        }
    };
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

/// Where a key is, as its spec says.
enum Source<'a> {
    Here(&'a str),
    There(KeyHolder, &'a api::KeyReference),
}

fn source<'a>(spec: &'a api::KeySpec, path: &str) -> Result<Source<'a>, CompileError> {
    let api::KeySpec { data, secret_ref, config_map_ref, kms, hash_algorithm: _ } = spec;
    if let Some(uri) = kms {
        return Err(refuse_kms(uri, &format!("{path}.kms")));
    }
    match (data, secret_ref, config_map_ref) {
        (Some(pem), None, None) => Ok(Source::Here(pem)),
        (None, Some(reference), None) => Ok(Source::There(KeyHolder::Secret, reference)),
        (None, None, Some(reference)) => Ok(Source::There(KeyHolder::ConfigMap, reference)),
        (None, None, None) => Err(CompileError::new(
            path,
            "it has none of `data`, `secretRef` and `configMapRef`",
            WANTED,
        )),
        _ => Err(CompileError::new(
            path,
            "it has several of `data`, `secretRef` and `configMapRef`",
            "exactly one of them",
        )),
    }
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

const fn field(kind: KeyHolder) -> &'static str {
    match kind {
        KeyHolder::ConfigMap => "configMapRef",
        KeyHolder::Secret => "secretRef",
    }
}

/// The place of the key that a reference names.
fn place(
    kind: KeyHolder,
    reference: &api::KeyReference,
    namespace: &str,
    whose: &str,
    path: &str,
) -> Result<KeyPlace, CompileError> {
    place_of(kind, reference, USUAL_ENTRY, namespace, whose, path)
}

/// The place that a reference names. Names are checked because they become part of requests.
pub(super) fn place_of(
    kind: KeyHolder,
    reference: &api::KeyReference,
    usual: &'static str,
    namespace: &str,
    whose: &str,
    path: &str,
) -> Result<KeyPlace, CompileError> {
    let api::KeyReference { name, key, namespace: asked } = reference;
    if let Some(asked) = asked
        && asked != namespace
    {
        return Err(CompileError::new(
            format!("{path}.namespace"),
            format!("`{asked}`, but {whose}, and from no other"),
            format!("no `namespace`, or `{namespace}`"),
        ));
    }
    // Kubernetes, "DNS subdomain names", and the characters of keys in a ConfigMap.
    let in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    if !(1..=MAX_NAME).contains(&name.len()) || !name.chars().all(in_name) {
        let problem = format!("`{name}` is no name of an object");
        let wanted = format!("1 to {MAX_NAME} lower-case letters, digits, `-` and `.`");
        return Err(CompileError::new(format!("{path}.name"), problem, wanted));
    }
    let in_key = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if let Some(key) = key
        && (!(1..=MAX_NAME).contains(&key.len()) || !key.chars().all(in_key))
    {
        let problem = format!("`{key}` is no name of an entry");
        let wanted = format!("1 to {MAX_NAME} letters, digits, `-`, `_` and `.`");
        return Err(CompileError::new(format!("{path}.key"), problem, wanted));
    }
    let entry = key.clone().map_or(Entry::Usual(usual), Entry::Named);
    Ok(KeyPlace { kind, namespace: namespace.to_owned(), name: name.clone(), entry })
}

/// The entry of an object's data that `place` means.
///
/// # Errors
/// When there is no such entry, or it is not clear which one is meant. Names the entries that are
/// there, and never their content.
pub fn key_entry<'a>(
    place: &KeyPlace,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<&'a str, String> {
    /// Most entries that are named: enough to see a typing error.
    const MAX_NAMED: usize = 10;
    let found = names.clone().find(|name| match &place.entry {
        Entry::Named(entry) => name == entry,
        Entry::Usual(usual) => name == usual,
    });
    if let Some(found) = found {
        return Ok(found);
    }
    let mut few = names.clone();
    if let (Entry::Usual(_), Some(only), None) = (&place.entry, few.next(), few.next()) {
        return Ok(only);
    }
    let count = names.clone().count();
    let listed: Vec<_> = names.take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
    let listed = listed.join(", ") + if count > MAX_NAMED { " and more" } else { "" };
    Err(match &place.entry {
        _ if count == 0 => format!("{place} is not there: the object holds nothing"),
        Entry::Named(_) => format!("{place} is not there: the object holds {listed}"),
        Entry::Usual(_) => format!("{place} has several entries: {listed}; say which one in `key`"),
    })
}
