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
use crate::policy::compile::KeyPlace;
use crate::policy::compile::TrustRootSource;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;
use crate::tuf::Published;
use crate::tuf::Roots;

/// A trust root.
///
/// The last good version of what a spec holds is kept while a later one is broken, as long as both
/// come from the same field. The same goes for what a ConfigMap holds, as long as the spec names
/// that very one and it is there. What was fetched is not kept here: what its source published last
/// is used for as long as the spec names that very source, so that no root outlives its source.
#[derive(Debug)]
pub(super) struct RootEntry {
    seen: Seen,
    spec: Arc<str>,
    good: Option<Good>,
    state: Option<State>,
}

/// What a spec, or the ConfigMap that it names, held that could be used.
#[derive(Debug)]
struct Good {
    field: &'static str,
    /// Where it was read, if it is not in the spec.
    place: Option<KeyPlace>,
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
    /// It is in a ConfigMap.
    Referred { place: KeyPlace, content: Content },
}

/// What was found in a ConfigMap.
#[derive(Debug)]
enum Content {
    Missing(CompileError),
    Unusable { json: String, error: CompileError },
    Usable { json: String, holds: String },
}

impl Content {
    fn json(&self) -> Option<&String> {
        match self {
            Self::Missing(_) => None,
            Self::Unusable { json, .. } | Self::Usable { json, .. } => Some(json),
        }
    }
}

/// Where a spec says that its trust root is.
enum Place {
    Here(TrustRoot),
    Object(KeyPlace),
    Repository(Box<Source>),
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
    pub(super) fn compile(&mut self, own_namespace: &str) -> bool {
        if self.state.is_some() {
            return false;
        }
        let compiled = guarded(|| {
            let spec = parse(&self.spec)?;
            Ok(match compile::trust_root_source(&spec)? {
                TrustRootSource::ConfigMap(reference) => {
                    Place::Object(compile::trust_root_place(&reference, own_namespace)?)
                }
                TrustRootSource::Tuf(source) => Place::Repository(source),
                TrustRootSource::Json(_) | TrustRootSource::File(_) | TrustRootSource::Keys(_) => {
                    Place::Here(compile::compile_trust_root(&spec)?)
                }
            })
        });
        self.state = Some(match compiled {
            Ok(Place::Here(root)) => {
                let (holds, root) = (holds(&root), Arc::new(root));
                self.good = field(&self.spec).map(|field| Good { field, place: None, root });
                State::Held { holds }
            }
            Ok(Place::Object(place)) => {
                self.good.take_if(|good| good.place.as_ref() != Some(&place));
                State::Referred { content: Content::Missing(unread(&place)), place }
            }
            Ok(Place::Repository(source)) => {
                self.good = None;
                State::Fetched { id: source.id(), source }
            }
            Err(error) => {
                // It may no longer name the ConfigMap that the last good one was in.
                self.good.take_if(|good| good.place.is_some());
                State::Invalid(error)
            }
        });
        true
    }

    /// Where its trust root is to be read.
    pub(super) fn place(&self) -> Option<&KeyPlace> {
        match self.state.as_ref()? {
            State::Referred { place, .. } => Some(place),
            State::Fetched { .. } | State::Held { .. } | State::Invalid(_) => None,
        }
    }

    /// Takes in what is at [`Self::place`] now, or why nothing is; `None` where nobody knows yet.
    /// Returns whether that is new.
    ///
    /// What is missing takes the trust root away. What is there and cannot be used does not.
    pub(super) fn read(&mut self, found: Option<Result<String, String>>) -> bool {
        let Some(State::Referred { place, content }) = &mut self.state else { return false };
        let Some(Ok(json)) = found else {
            let error = found.and_then(Result::err).map_or_else(|| unread(place), missing);
            if matches!(content, Content::Missing(before) if *before == error) {
                return false;
            }
            *content = Content::Missing(error);
            self.good = None;
            return true;
        };
        if content.json() == Some(&json) {
            return false;
        }
        *content = match guarded(|| compile::referred_trust_root(place, &json)) {
            Ok(root) => {
                let (holds, root) = (holds(&root), Arc::new(root));
                let place = Some(place.clone());
                self.good = field(&self.spec).map(|field| Good { field, place, root });
                Content::Usable { json, holds }
            }
            Err(error) => Content::Unusable { json, error },
        };
        true
    }

    /// The source to be followed.
    pub(super) fn source(&self) -> Option<&Source> {
        match self.state.as_ref()? {
            State::Fetched { source, .. } => Some(source),
            State::Held { .. } | State::Invalid(_) | State::Referred { .. } => None,
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
            State::Held { .. } | State::Invalid(_) | State::Referred { .. } => {
                self.good.as_ref().map(|good| Arc::clone(&good.root))
            }
        }
    }

    fn published<'a>(&self, roots: &'a Roots) -> Option<&'a Published> {
        match self.state.as_ref()? {
            State::Fetched { id, .. } => roots.sources.get(id),
            State::Held { .. } | State::Invalid(_) | State::Referred { .. } => None,
        }
    }

    pub(super) fn report(&self, roots: &Roots) -> Report {
        let outcome = match &self.state {
            None => Outcome::Invalid { error: not_compiled(), last_good: false },
            Some(
                State::Held { holds }
                | State::Referred { content: Content::Usable { holds, .. }, .. },
            ) => Outcome::TrustRoot { holds: holds.clone() },
            Some(
                State::Invalid(error) | State::Referred { content: Content::Missing(error), .. },
            ) => Outcome::Invalid { error: error.clone(), last_good: self.good.is_some() },
            Some(State::Referred { content: Content::Unusable { error, .. }, .. }) => {
                Outcome::Unusable { error: error.clone(), last_good: self.good.is_some() }
            }
            Some(State::Fetched { .. }) => {
                let published = self.published(roots).cloned().unwrap_or_default();
                let Published { root, status } = published;
                match root {
                    Some(root) => Outcome::Fetched { holds: holds(&root), status },
                    None => Outcome::NotFetched { status },
                }
            }
        };
        let report = self.seen.report(Kind::TrustRoot, None, outcome);
        Report { root: self.usable(roots), ..report }
    }
}

/// What to say of a ConfigMap of which nothing is known yet.
fn unread(place: &KeyPlace) -> CompileError {
    missing(format!("{place} has not been read yet"))
}

fn missing(problem: String) -> CompileError {
    CompileError::new("spec.trustedRoot.configMapRef", problem, "a Sigstore trusted_root.json")
        .missing()
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
