//! Policies and trust roots from YAML files.
//!
//! A file that cannot be read never makes a policy disappear: [`load`] turns what is broken into
//! [`PolicyState::Invalid`], which denies what it matches, and [`merge`] puts the last good version
//! in its place where there is one. [`load_strict`] makes the first problem an error instead.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::policy::InvalidPolicy;
use crate::policy::PolicyId;
use crate::policy::PolicySnapshot;
use crate::policy::PolicyState;
use crate::policy::compile;
use crate::policy::compile::Keys;
use crate::policy::compile::References;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;
use crate::tuf::Roots;

mod document;
mod listing;
mod yaml;

use document::Document;
use document::Resource;
use document::Root;
use document::Spec;

/// What was read from files.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Every policy, those that cannot be used among them.
    pub snapshot: PolicySnapshot,
    /// Every trust root that can be used, by name.
    pub trust_roots: BTreeMap<String, Arc<TrustRoot>>,
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<FileProblem>,
    contents: BTreeMap<PathBuf, Content>,
    /// The trust root of authorities that name none.
    default: Option<Arc<TrustRoot>>,
    fetched: Arc<Roots>,
}

/// What one file holds.
#[derive(Clone, Debug, Default)]
struct Content {
    policies: Vec<PolicyState>,
    /// The specs of those that are ready, to be compiled again when what they name changes.
    good: BTreeMap<PolicyId, Spec>,
    /// The specs of those that could be read, and not compiled.
    failed: BTreeMap<PolicyId, Spec>,
    /// Trust roots in files, each with the field that it comes from.
    trust_roots: BTreeMap<String, (&'static str, Arc<TrustRoot>)>,
    /// Where other trust roots are fetched from.
    sources: BTreeMap<String, Source>,
    /// Names of trust roots that are there and cannot be used, with the field they come from.
    broken_roots: BTreeMap<String, Option<&'static str>>,
    /// The file as a whole could not be read, so that nobody knows what it holds.
    unreadable: bool,
}

/// What is wrong with a file, or with a field in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct FileProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// The field, for example `spec.images[0].glob`; empty for the file or document as a whole.
    pub field: String,
    /// What was found, in one clause.
    pub problem: String,
    /// What was wanted, in one clause; may be empty.
    pub wanted: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, problem, wanted } = self;
        write!(f, "{}", file.display())?;
        if let Some(line) = line {
            write!(f, ":{line}")?;
        }
        if !field.is_empty() {
            write!(f, ": {field}")?;
        }
        write!(f, ": {problem}")?;
        if wanted.is_empty() { Ok(()) } else { write!(f, ", wanted {wanted}") }
    }
}

impl FileProblem {
    fn of_file(file: &Path, problem: impl fmt::Display, wanted: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            field: String::new(),
            problem: problem.to_string(),
            wanted: wanted.to_string(),
        }
    }
}

/// Reads policies and trust roots from YAML files and from folders of such files, for a server.
///
/// Of a folder the files with the endings `yaml`, `yml` and `json` are read, by name; hidden ones
/// and sub-folders are not, which is how Kubernetes mounts a ConfigMap. `default` is the trust
/// root of authorities that name none. What is broken is in [`Loaded::problems`], and denies.
///
/// # Errors
/// When a path is not there or a folder cannot be listed: then nobody knows what is missing, and
/// the caller keeps what it has.
pub fn load(paths: &[PathBuf], default: &Arc<TrustRoot>) -> Result<Loaded, FileProblem> {
    load_with(paths, default, &Arc::default())
}

/// The same, with what was fetched for the trust roots that name a repository.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    paths: &[PathBuf],
    default: &Arc<TrustRoot>,
    fetched: &Arc<Roots>,
) -> Result<Loaded, FileProblem> {
    let (held, fetched) = (Some(Arc::clone(default)), Arc::clone(fetched));
    let mut loaded = Loaded { default: held, fetched, ..Loaded::default() };
    let mut documents = Vec::new();
    for file in listing::files(paths)? {
        let content = loaded.contents.entry(file.clone()).or_default();
        match document::read(&file) {
            Ok(found) => {
                documents.extend(found.into_iter().map(|document| (file.clone(), document)))
            }
            Err(problem) => {
                content.unreadable = true;
                content.policies.push(stand_in(&problem));
                loaded.problems.push(problem);
            }
        }
    }
    load_trust_roots(&mut loaded, &documents);
    load_policies(&mut loaded, &documents, default);
    loaded.index();
    Ok(loaded)
}

/// The same for a command line: the first problem is the error.
///
/// # Errors
/// The first problem in the order of the files, or that there is no policy in them.
pub fn load_strict(paths: &[PathBuf], default: &Arc<TrustRoot>) -> Result<Loaded, FileProblem> {
    load_strict_with(paths, default, &Arc::default())
}

/// The same, with what was fetched for the trust roots that name a repository.
///
/// # Errors
/// As [`load_strict`].
pub fn load_strict_with(
    paths: &[PathBuf],
    default: &Arc<TrustRoot>,
    fetched: &Arc<Roots>,
) -> Result<Loaded, FileProblem> {
    let loaded = load_with(paths, default, fetched)?;
    if let Some(problem) = loaded.problems.first() {
        return Err(problem.clone());
    }
    if loaded.snapshot.policies().is_empty() {
        let file = paths.first().cloned().unwrap_or_default();
        let wanted = "a YAML file with a ClusterImagePolicy or an ImagePolicy";
        return Err(FileProblem::of_file(&file, "there is no policy in it", wanted));
    }
    Ok(loaded)
}

/// What to use after a reload: `new`, with the last good version of whatever is broken in it.
///
/// A policy that is invalid now and was good before stays as it was; a file that cannot be read
/// now keeps all that it held. Both are compiled again with the trust roots that there are now, so
/// that they cannot keep one that was taken away; and a version that names one that is not there
/// is not replaced by an earlier one. What was never good stays invalid and denies. The problems
/// are those of `new`: the last good version is used, and still reported.
#[must_use]
pub fn merge(last_good: &Loaded, mut new: Loaded) -> Loaded {
    let specs: BTreeMap<&PolicyId, &Spec> =
        last_good.contents.values().flat_map(|content| &content.good).collect();
    let named_anew: BTreeSet<String> =
        new.contents.values().flat_map(|content| content.trust_roots.keys()).cloned().collect();
    let held_roots = || last_good.contents.values().flat_map(|content| &content.trust_roots);
    for (file, content) in &mut new.contents {
        if let (true, Some(held)) = (content.unreadable, last_good.contents.get(file))
            && !held.unreadable
        {
            let policies = held.policies.iter().map(until_compiled).collect();
            *content = Content { unreadable: false, policies, ..held.clone() };
            continue;
        }
        for (name, field) in &content.broken_roots {
            // What another file says now is not replaced by what was there before.
            if named_anew.contains(name) {
                continue;
            }
            let same = |(held, (from, _)): &(&String, &(&'static str, _))| {
                *held == name && Some(*from) == *field
            };
            if let Some((_, root)) = held_roots().find(same) {
                content.trust_roots.insert(name.clone(), root.clone());
            }
        }
    }
    // Nothing was loaded without one.
    let Some(default) = new.default.clone() else { return new };
    let references = new.references(&default);
    for content in new.contents.values_mut().filter(|content| !content.unreadable) {
        content.compile_again(&specs, &references);
    }
    new.index();
    new
}

impl Content {
    /// Puts what can be compiled now, or could be before, in the place of what is invalid.
    fn compile_again(&mut self, specs: &BTreeMap<&PolicyId, &Spec>, references: &References) {
        let Self { policies, good, failed, .. } = self;
        for state in policies {
            let id = state.id().clone();
            if matches!(state, PolicyState::Ready(_)) {
                continue;
            }
            let current = failed.get(&id).map(|spec| (spec, spec.compile(references)));
            let (spec, compiled) = match (current, specs.get(&id)) {
                (Some((spec, Ok(policy))), _) => (spec, Ok(policy)),
                (Some((_, Err(error))), _) if error.missing => continue,
                (Some(_) | None, Some(spec)) => (*spec, spec.compile(references)),
                (Some(_) | None, None) => continue,
            };
            if let Ok(policy) = compiled {
                good.insert(id, spec.clone());
                *state = PolicyState::Ready(Arc::new(policy));
            }
        }
    }
}

impl Loaded {
    /// Where trust roots are to be fetched from, by their labels in metrics.
    pub fn sources(&self) -> BTreeMap<String, Source> {
        let sources = self.contents.values().flat_map(|content| &content.sources);
        sources.map(|(name, source)| (format!("TrustRoot/{name}"), source.clone())).collect()
    }

    /// Gathers what the files hold.
    fn index(&mut self) {
        let policies = self.contents.values().flat_map(|content| content.policies.iter().cloned());
        self.snapshot = PolicySnapshot::new(policies.collect());
        self.trust_roots = self.named();
    }

    /// Every trust root that there is now, by name.
    fn named(&self) -> BTreeMap<String, Arc<TrustRoot>> {
        let mut named = BTreeMap::new();
        for Content { trust_roots, sources, .. } in self.contents.values() {
            let held = trust_roots.iter().map(|(name, (_, root))| (name, Arc::clone(root)));
            let fetched = sources
                .iter()
                .filter_map(|(name, source)| Some((name, self.fetched.find(source).ok()?)));
            named.extend(held.chain(fetched).map(|(name, root)| (name.clone(), root)));
        }
        named
    }

    fn references(&self, default: &Arc<TrustRoot>) -> References {
        References { default: Arc::clone(default), named: self.named(), keys: Keys::NoCluster }
    }
}

/// What stands for a policy that was good, until it is compiled again.
fn until_compiled(state: &PolicyState) -> PolicyState {
    match state {
        PolicyState::Ready(policy) => {
            let problem = "a trust root that it names cannot be used any longer".to_owned();
            let (id, scope) = (policy.id.clone(), policy.scope.clone());
            PolicyState::Invalid(Arc::new(InvalidPolicy { id, scope, problem }))
        }
        PolicyState::Invalid(_) => state.clone(),
    }
}

/// The policy that stands for a file of which nothing is known: it denies everything.
fn stand_in(problem: &FileProblem) -> PolicyState {
    let name = problem.file.display().to_string();
    let id = PolicyId::Cluster { name };
    PolicyState::Invalid(Arc::new(compile::invalid(id, &serde_json::Value::Null, problem)))
}

fn load_trust_roots(loaded: &mut Loaded, documents: &[(PathBuf, Document)]) {
    let mut seen = BTreeMap::new();
    for (file, document) in documents {
        let Resource::TrustRoot { name, spec } = &document.resource else {
            continue;
        };
        let content = loaded.contents.entry(file.clone()).or_default();
        let known = content.trust_roots.contains_key(name) || content.sources.contains_key(name);
        let first: &PathBuf = seen.entry(name.clone()).or_insert_with(|| file.clone());
        let field = compile::trust_root_field(&document.spec());
        let compiled = if known || first != file {
            Err(document.problem(file, "metadata.name", twice("TrustRoot", name, first), ""))
        } else {
            document::trust_root(file, document, spec)
        };
        match (compiled, field) {
            (Ok(Root::Fetched(source)), _) => {
                if let Err(problem) = loaded.fetched.find(&source) {
                    let wanted = "a mirror that answers, and metadata that verifies";
                    loaded.problems.push(document.problem(file, "spec.tuf", problem, wanted));
                }
                content.sources.insert(name.clone(), *source);
            }
            (Ok(Root::Held(root)), Some(field)) => {
                content.trust_roots.insert(name.clone(), (field, Arc::new(root)));
            }
            (Ok(Root::Held(_)), None) => {}
            (Err(problem), field) => {
                content.broken_roots.insert(name.clone(), field);
                loaded.problems.push(problem);
            }
        }
    }
}

fn load_policies(loaded: &mut Loaded, documents: &[(PathBuf, Document)], default: &Arc<TrustRoot>) {
    let roots = loaded.references(default);
    let mut seen = BTreeMap::new();
    for (file, document) in documents {
        let (id, compiled) = match &document.resource {
            Resource::Foreign(problem) => {
                loaded.problems.push(problem.clone());
                continue;
            }
            Resource::TrustRoot { .. } => continue,
            Resource::Invalid { id, problem } => (id.clone(), Err(problem.clone())),
            Resource::Policy(policy) => {
                let compiled = policy.compile(&roots).map_err(|error| {
                    document.problem(file, &error.path, error.problem, error.wanted)
                });
                (policy.id(), compiled)
            }
        };
        let first = seen.insert(id.clone(), file.clone());
        let first_of_its_name = first.is_none();
        let compiled = match first {
            None => compiled,
            Some(first) => {
                let found = twice("policy", &id.to_string(), &first);
                Err(document.problem(file, "metadata.name", found, "one definition of each"))
            }
        };
        let content = loaded.contents.entry(file.clone()).or_default();
        let spec = match &document.resource {
            Resource::Policy(spec) if first_of_its_name => Some(spec.clone()),
            Resource::Policy(_)
            | Resource::Foreign(_)
            | Resource::TrustRoot { .. }
            | Resource::Invalid { .. } => None,
        };
        let specs = if compiled.is_ok() { &mut content.good } else { &mut content.failed };
        specs.extend(spec.map(|spec| (id.clone(), spec)));
        content.policies.push(compiled.map_or_else(
            |problem| {
                let invalid = compile::invalid(id, &document.spec(), &problem);
                loaded.problems.push(problem);
                PolicyState::Invalid(Arc::new(invalid))
            },
            |policy| PolicyState::Ready(Arc::new(policy)),
        ));
    }
}

fn twice(what: &str, name: &str, first: &Path) -> String {
    format!("the {what} `{name}` is there already, in {}", first.display())
}

#[cfg(test)]
mod tests;
