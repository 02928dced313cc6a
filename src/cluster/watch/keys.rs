//! Objects that hold keys and trusted roots: which are watched, and what policies and trust roots
//! find in them.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::runtime::watcher::Event;

use super::collection::Collection;
use super::object::Object;
use crate::policy::compile;
use crate::policy::compile::KeyHolder;
use crate::policy::compile::KeyPlace;

/// Most objects with keys that are watched for the policies of one namespace other than Tegata's.
/// Each costs a connection to the API server; a team has a handful of keys, in one object or a few.
pub const MAX_PER_NAMESPACE: usize = 32;

/// Most objects with keys that are watched for all namespaces other than Tegata's, so that tenants
/// together cannot take all connections.
pub const MAX_OF_TENANTS: usize = 512;

/// An object that holds keys, or a trusted root. Ordered by namespace, so that bounds can be
/// counted.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KeyObject {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: KeyHolder,
    /// Its name.
    pub name: String,
}

impl KeyObject {
    pub(super) fn of(place: &KeyPlace) -> Self {
        let KeyPlace { kind, namespace, name, entry: _ } = place;
        Self { namespace: namespace.clone(), kind: *kind, name: name.clone() }
    }

    fn text(&self) -> String {
        let Self { namespace, kind, name } = self;
        format!("{} {namespace}/{name}", kind.as_str())
    }
}

/// The objects that are watched for keys.
#[derive(Debug, Default)]
pub(super) struct KeyObjects {
    watched: BTreeMap<KeyObject, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    content: Collection<BTreeMap<String, String>>,
    /// Why it could not be read, while it never could.
    failed: Option<String>,
}

impl Watched {
    fn looked_up(&self) -> bool {
        self.content.listed() || self.failed.is_some()
    }
}

impl KeyObjects {
    /// Watches what `wanted` names, within the bounds, and nothing else. What is watched already
    /// comes first, so that nobody can take away another's place.
    pub(super) fn watch(&mut self, wanted: &BTreeSet<KeyObject>, own_namespace: &str) {
        self.watched.retain(|object, _| wanted.contains(object));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut total = 0;
        let of_tenant = |object: &&KeyObject| object.namespace != own_namespace;
        let (watched, new): (Vec<_>, Vec<_>) =
            wanted.iter().partition(|object| self.watched.contains_key(object));
        for object in watched.into_iter().filter(of_tenant) {
            *counts.entry(&object.namespace).or_default() += 1;
            total += 1;
        }
        for object in new {
            if of_tenant(&object) {
                let count = counts.entry(&object.namespace).or_default();
                if *count >= MAX_PER_NAMESPACE || total >= MAX_OF_TENANTS {
                    continue;
                }
                *count += 1;
                total += 1;
            }
            self.watched.insert(object.clone(), Watched::default());
        }
    }

    pub(super) fn apply(&mut self, object: &KeyObject, event: Event<Object>) -> bool {
        let Some(watched) = self.watched.get_mut(object) else { return false };
        let changed = watched.content.apply(event, |_, object| object.data);
        if watched.content.listed() {
            watched.failed = None;
        }
        changed
    }

    /// Notes that an object could not be read. What was read earlier stays.
    pub(super) fn failed(&mut self, object: &KeyObject, problem: String) -> bool {
        let watched = self.watched.get_mut(object);
        let Some(watched) = watched.filter(|watched| !watched.content.listed()) else {
            return false;
        };
        watched.failed = Some(problem);
        true
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = &KeyObject> {
        self.watched.keys()
    }

    /// Whether something is watched of which nothing has been heard yet.
    pub(super) fn pending(&self) -> bool {
        !self.watched.values().all(Watched::looked_up)
    }

    /// What is at `place`: PEM or JSON as far as is known, or why there is none. `None` where that
    /// cannot be told yet.
    pub(super) fn find(&self, place: &KeyPlace) -> Option<Result<String, String>> {
        let object = KeyObject::of(place);
        let Some(watched) = self.watched.get(&object) else {
            return Some(Err(format!(
                "{} is not read: policies of a namespace may name {MAX_PER_NAMESPACE} objects \
                 with keys, and those of all namespaces {MAX_OF_TENANTS}",
                object.text()
            )));
        };
        if let Some(problem) = &watched.failed {
            return Some(Err(format!("{} cannot be read: {problem}", object.text())));
        }
        if !watched.content.listed() {
            return None;
        }
        let name = (object.namespace.clone(), object.name.clone());
        let Some(data) = watched.content.held().get(&name) else {
            return Some(Err(format!("there is no {}", object.text())));
        };
        Some(compile::key_entry(place, data.keys().map(String::as_str)).and_then(|entry| {
            let text = data.get(entry).map(String::as_str).unwrap_or_default();
            text_of(place.kind, text).ok_or_else(|| format!("{place} holds no text"))
        }))
    }
}

/// The text of an entry.
fn text_of(kind: KeyHolder, value: &str) -> Option<String> {
    match kind {
        KeyHolder::ConfigMap => Some(value.to_owned()),
        KeyHolder::Secret => String::from_utf8(BASE64.decode(value).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::compile::Entry;

    fn object(namespace: &str, index: usize) -> KeyObject {
        let (namespace, name) = (namespace.to_owned(), format!("k{index:03}"));
        KeyObject { namespace, kind: KeyHolder::Secret, name }
    }

    fn many(namespace: &str, count: usize) -> impl Iterator<Item = KeyObject> {
        (0..count).map(move |index| object(namespace, index))
    }

    #[test]
    fn bounds_what_tenants_have_watched_and_takes_nothing_away_for_newcomers() {
        let mut keys = KeyObjects::default();
        let own: BTreeSet<KeyObject> = many("own", 2 * MAX_OF_TENANTS).collect();
        keys.watch(&own, "own");
        assert_eq!(keys.watched().count(), own.len());

        let last = object("team", 999);
        keys.watch(&BTreeSet::from([last.clone()]), "own");
        let wanted: BTreeSet<KeyObject> =
            many("team", MAX_PER_NAMESPACE).chain([last.clone()]).collect();
        keys.watch(&wanted, "own");
        assert_eq!(keys.watched().count(), MAX_PER_NAMESPACE);
        assert!(keys.watched().any(|watched| *watched == last));

        let wanted: BTreeSet<KeyObject> = (0..40)
            .flat_map(|team| many(&format!("team-{team}"), 20).collect::<Vec<_>>())
            .chain(own.clone())
            .collect();
        keys.watch(&wanted, "own");
        assert_eq!(keys.watched().count(), MAX_OF_TENANTS + own.len());

        let refused = object("team-9", 19);
        let (kind, KeyObject { namespace, name, .. }) = (KeyHolder::Secret, refused);
        let place = KeyPlace { kind, namespace, name, entry: Entry::Usual("cosign.pub") };
        let problem = keys.find(&place).unwrap().unwrap_err();
        assert!(problem.starts_with("Secret team-9/k019 is not read: "), "{problem}");
    }
}
