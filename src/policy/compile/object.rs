//! Objects of a cluster that hold keys, certificates and trusted roots.
use super::CompileError;
use super::Entry;
use super::KeyHolder;
use super::KeyPlace;
use super::Keys;
use crate::api;
use crate::policy::PolicyId;

/// Longest name of an object (Kubernetes, "DNS subdomain names"), and longest name of an entry in
/// a Secret or a ConfigMap.
const MAX_NAME: usize = 253;

/// What is looked for in an object.
pub(super) struct Wish {
    /// The entry where none is named, if it is there.
    pub(super) usual: &'static str,
    /// What it must hold.
    pub(super) wanted: &'static str,
    /// What to give where there is no cluster.
    pub(super) here: &'static str,
}

/// Where something is, as its spec says.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// In the spec.
    Here(&'a str),
    /// In an object.
    There(KeyHolder, &'a api::KeyReference),
}

impl<'a> Source<'a> {
    /// The one that is given; `None` where there is none.
    ///
    /// # Errors
    /// When there are several, at `path`; `names` says of what.
    pub(super) fn of(
        here: Option<&'a str>,
        secret: Option<&'a api::KeyReference>,
        config_map: Option<&'a api::KeyReference>,
        (path, names): (&str, &str),
    ) -> Result<Option<Self>, CompileError> {
        let there = |kind| move |reference| Self::There(kind, reference);
        let given = [
            here.map(Self::Here),
            secret.map(there(KeyHolder::Secret)),
            config_map.map(there(KeyHolder::ConfigMap)),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (source, None) => Ok(source),
            (_, Some(_)) => {
                let problem = format!("it has several of {names}");
                Err(CompileError::new(path, problem, "exactly one of them"))
            }
        }
    }
}

/// The field that refers to such an object.
pub(super) const fn field(kind: KeyHolder) -> &'static str {
    match kind {
        KeyHolder::ConfigMap => "configMapRef",
        KeyHolder::Secret => "secretRef",
    }
}

/// The place that a policy's reference names.
///
/// A `ClusterImagePolicy` reads from `own_namespace`, an `ImagePolicy` from its own: nobody reaches
/// through Tegata into a namespace that is not theirs.
pub(super) fn place(
    (kind, reference): (KeyHolder, &api::KeyReference),
    wish: &Wish,
    id: &PolicyId,
    own_namespace: &str,
    path: &str,
) -> Result<KeyPlace, CompileError> {
    let (namespace, whose) = match id {
        PolicyId::Cluster { .. } => {
            (own_namespace, "a ClusterImagePolicy reads from Tegata's namespace")
        }
        PolicyId::Namespaced { namespace, .. } => {
            (namespace.as_str(), "an ImagePolicy reads from its own namespace")
        }
    };
    place_of(kind, reference, wish.usual, (namespace, whose), path)
}

/// What is at the place that a policy's reference names, as it was read.
///
/// # Errors
/// When the reference cannot be followed, or nothing is there.
pub(super) fn content<'a>(
    (kind, reference): (KeyHolder, &api::KeyReference),
    wish: &Wish,
    id: &PolicyId,
    keys: &'a Keys,
    path: &str,
) -> Result<(KeyPlace, &'a str), CompileError> {
    let Keys::Cluster { own_namespace, found } = keys else {
        let problem = "a policy in a file cannot name an object of a cluster";
        return Err(CompileError::new(path, problem, wish.here));
    };
    let place = place((kind, reference), wish, id, own_namespace, path)?;
    let missing = |problem: &str| CompileError::new(path, problem, wish.wanted).missing();
    match found.get(&place) {
        Some(Ok(text)) => Ok((place, text)),
        Some(Err(problem)) => Err(missing(problem)),
        None => Err(missing(&format!("{place} has not been read yet"))),
    }
}

/// The place that a reference names. Names are checked because they become part of requests.
///
/// `whose` says why it is in this namespace and in no other.
pub(super) fn place_of(
    kind: KeyHolder,
    reference: &api::KeyReference,
    usual: &'static str,
    (namespace, whose): (&str, &str),
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
