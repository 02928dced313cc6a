//! One trust root: its spec, where it comes from, and what became of it.
use std::sync::Arc;

use serde_json::Value;

use super::entry::Seen;
use super::entry::guarded;
use super::entry::not_compiled;
use super::entry::parse;
use super::object::Object;
use super::report::Kind;
use super::report::Outcome;
use super::report::Report;
use crate::policy::compile;
use crate::policy::compile::CompileError;
use crate::policy::compile::TrustRootSource;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;
use crate::tuf::Published;
use crate::tuf::Roots;

/// A trust root.
///
/// The last good version of what a spec holds is kept while a later one is broken, as long as both
/// come from the same field. What was fetched is not kept here: what its source published last is
/// used for as long as the spec names that very source, so that no root outlives its source.
#[derive(Debug)]
pub(super) struct RootEntry {
    seen: Seen,
    spec: Arc<str>,
    good: Option<Good>,
    state: Option<State>,
}

/// What a spec held that could be used.
#[derive(Debug)]
struct Good {
    field: &'static str,
    root: Arc<TrustRoot>,
}

#[derive(Debug)]
enum State {
    /// It is fetched from this source.
    Fetched { source: Box<Source>, id: String },
    /// It is in the spec.
    Held { holds: String },
    /// The spec cannot be used.
    Invalid(CompileError),
}

impl RootEntry {
    /// The entry of `object`, which had `before`.
    pub(super) fn new(before: Option<Self>, object: &Object) -> Self {
        let seen = Seen::of(object);
        let spec = Arc::clone(&object.spec);
        match before.filter(|before| before.seen.is(&seen)) {
            Some(before) if before.spec == spec => Self { seen, ..before },
            Some(before) => {
                let field = field(&spec);
                let good = before.good.filter(|good| Some(good.field) == field);
                Self { seen, spec, good, state: None }
            }
            None => Self { seen, spec, good: None, state: None },
        }
    }

    /// Compiles it unless that is done. Returns whether it was to be done.
    pub(super) fn compile(&mut self) -> bool {
        if self.state.is_some() {
            return false;
        }
        let compiled = guarded(|| {
            let spec = parse(&self.spec)?;
            Ok(match compile::trust_root_source(&spec)? {
                TrustRootSource::Tuf(source) => Err(source),
                TrustRootSource::Json(_) | TrustRootSource::File(_) | TrustRootSource::Keys(_) => {
                    Ok(compile::compile_trust_root(&spec)?)
                }
            })
        });
        self.state = Some(match compiled {
            Ok(Ok(root)) => {
                let holds = holds(&root);
                let root = Arc::new(root);
                self.good = field(&self.spec).map(|field| Good { field, root });
                State::Held { holds }
            }
            Ok(Err(source)) => {
                self.good = None;
                State::Fetched { id: source.id(), source }
            }
            Err(error) => State::Invalid(error),
        });
        true
    }

    /// The source to be followed.
    pub(super) fn source(&self) -> Option<&Source> {
        match self.state.as_ref()? {
            State::Fetched { source, .. } => Some(source),
            State::Held { .. } | State::Invalid(_) => None,
        }
    }

    /// Whether nothing has been heard of its source yet, good or bad.
    pub(super) fn pending(&self, roots: &Roots) -> bool {
        self.source().is_some()
            && self.published(roots).is_none_or(|published| {
                published.root.is_none() && published.status.error.is_none()
            })
    }

    /// What policies that name it are checked against.
    pub(super) fn usable(&self, roots: &Roots) -> Option<Arc<TrustRoot>> {
        match self.state.as_ref()? {
            State::Fetched { .. } => self.published(roots)?.root.clone(),
            State::Held { .. } | State::Invalid(_) => {
                self.good.as_ref().map(|good| Arc::clone(&good.root))
            }
        }
    }

    fn published<'a>(&self, roots: &'a Roots) -> Option<&'a Published> {
        match self.state.as_ref()? {
            State::Fetched { id, .. } => roots.sources.get(id),
            State::Held { .. } | State::Invalid(_) => None,
        }
    }

    pub(super) fn report(&self, roots: &Roots) -> Report {
        let outcome = match &self.state {
            None => Outcome::Invalid { error: not_compiled(), last_good: false },
            Some(State::Held { holds }) => Outcome::TrustRoot { holds: holds.clone() },
            Some(State::Invalid(error)) => {
                Outcome::Invalid { error: error.clone(), last_good: self.good.is_some() }
            }
            Some(State::Fetched { .. }) => {
                let published = self.published(roots).cloned().unwrap_or_default();
                let Published { root, status } = published;
                match root {
                    Some(root) => Outcome::Fetched { holds: holds(&root), status },
                    None => Outcome::NotFetched { error: status.error },
                }
            }
        };
        self.seen.report(Kind::TrustRoot, None, outcome)
    }
}

/// The one field of a spec that says where its trust root comes from.
fn field(spec: &str) -> Option<&'static str> {
    let spec: Value = serde_json::from_str(spec).ok()?;
    compile::trust_root_field(&spec)
}

/// What is in a trust root, and what was left out of it.
fn holds(root: &TrustRoot) -> String {
    let counted = [
        ("certificate authorities", root.authorities().len()),
        ("logs", root.logs().len()),
        ("timestamp authorities", root.timestamp_authorities().len()),
    ];
    let counted = counted.map(|(what, count)| format!("{what}: {count}")).join(", ");
    match root.problems() {
        [] => counted,
        problems => format!("{counted}; left out: {}", problems.join("; ")),
    }
}
