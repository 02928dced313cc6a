//! What one watch has seen.
use std::collections::BTreeMap;
use std::mem;

use kube::runtime::watcher::Event;

use super::object::Object;

/// Namespace and name of an object; the namespace is empty for what has none.
pub(super) type Name = (String, String);

/// The objects of one watch.
#[derive(Debug)]
pub(super) struct Collection<T> {
    held: BTreeMap<Name, T>,
    /// What a list that has not ended yet brought.
    incoming: BTreeMap<Name, Object>,
    listed: bool,
}

impl<T> Default for Collection<T> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), incoming: BTreeMap::new(), listed: false }
    }
}

impl<T> Collection<T> {
    /// Takes an event in. A list replaces what is held when it has ended, and not before.
    ///
    /// `update` makes the value of an object, from the value that it had. Returns whether what is
    /// held may have changed.
    pub(super) fn apply(
        &mut self,
        event: Event<Object>,
        mut update: impl FnMut(Option<T>, Object) -> T,
    ) -> bool {
        match event {
            Event::Init => {
                self.incoming.clear();
                return false;
            }
            Event::InitApply(object) => {
                self.incoming.insert(object.key(), object);
                return false;
            }
            Event::InitDone => {
                let mut before = mem::take(&mut self.held);
                for (name, object) in mem::take(&mut self.incoming) {
                    let value = update(before.remove(&name), object);
                    self.held.insert(name, value);
                }
                self.listed = true;
            }
            Event::Apply(object) => {
                let name = object.key();
                let value = update(self.held.remove(&name), object);
                self.held.insert(name, value);
            }
            Event::Delete(object) => drop(self.held.remove(&object.key())),
        }
        true
    }

    /// Whether a list has ended: before, nobody knows what is there.
    pub(super) fn listed(&self) -> bool {
        self.listed
    }

    pub(super) fn held(&self) -> &BTreeMap<Name, T> {
        &self.held
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.held.values_mut()
    }
}
