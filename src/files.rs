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

use crate::policy::PolicyId;
use crate::policy::PolicySnapshot;
use crate::policy::PolicyState;
use crate::policy::compile;
use crate::policy::compile::Keys;
use crate::policy::compile::References;
use crate::trust_root::TrustRoot;

mod document;
mod listing;
mod yaml;

use document::Document;
use document::Resource;

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
}

/// What one file holds.
#[derive(Clone, Debug, Default)]
struct Content {
    policies: Vec<PolicyState>,
    trust_roots: BTreeMap<String, Arc<TrustRoot>>,
    /// Names of trust roots that are there and cannot be used.
    broken_roots: BTreeSet<String>,
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
    let mut loaded = Loaded::default();
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
    let loaded = load(paths, default)?;
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
/// now keeps all that it held. What was never good stays invalid and denies. The problems are
/// those of `new`: the last good version is used, and still reported.
#[must_use]
pub fn merge(last_good: &Loaded, mut new: Loaded) -> Loaded {
    let mut usable = BTreeMap::new();
    for state in last_good.snapshot.policies() {
        if let PolicyState::Ready(policy) = state {
            usable.entry(policy.id.clone()).or_insert_with(|| state.clone());
        }
    }
    for (file, content) in &mut new.contents {
        if let (true, Some(held)) = (content.unreadable, last_good.contents.get(file))
            && !held.unreadable
        {
            *content = Content { unreadable: false, ..held.clone() };
            continue;
        }
        for state in &mut content.policies {
            if let (PolicyState::Invalid(invalid), true) = (&*state, !content.unreadable)
                && let Some(good) = usable.get(&invalid.id)
            {
                *state = good.clone();
            }
        }
        for name in &content.broken_roots {
            if let Some(root) = last_good.trust_roots.get(name) {
                content.trust_roots.insert(name.clone(), Arc::clone(root));
            }
        }
    }
    new.index();
    new
}

impl Loaded {
    /// Gathers what the files hold.
    fn index(&mut self) {
        let policies = self.contents.values().flat_map(|content| content.policies.iter().cloned());
        self.snapshot = PolicySnapshot::new(policies.collect());
        let roots = self.contents.values().flat_map(|content| &content.trust_roots);
        self.trust_roots = roots.map(|(name, root)| (name.clone(), Arc::clone(root))).collect();
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
        let first: &PathBuf = seen.entry(name.clone()).or_insert_with(|| file.clone());
        let compiled = if content.trust_roots.contains_key(name) || first != file {
            Err(document.problem(file, "metadata.name", twice("TrustRoot", name, first), ""))
        } else {
            document::trust_root(file, document, spec)
        };
        match compiled {
            Ok(root) => drop(content.trust_roots.insert(name.clone(), Arc::new(root))),
            Err(problem) => {
                content.broken_roots.insert(name.clone());
                loaded.problems.push(problem);
            }
        }
    }
}

fn load_policies(loaded: &mut Loaded, documents: &[(PathBuf, Document)], default: &Arc<TrustRoot>) {
    let named = loaded.contents.values().flat_map(|content| content.trust_roots.clone());
    let roots =
        References { default: Arc::clone(default), named: named.collect(), keys: Keys::NoCluster };
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
        let compiled = match seen.insert(id.clone(), file.clone()) {
            None => compiled,
            Some(first) => {
                let found = twice("policy", &id.to_string(), &first);
                Err(document.problem(file, "metadata.name", found, "one definition of each"))
            }
        };
        let state = compiled.map_or_else(
            |problem| {
                let invalid = compile::invalid(id, &document.spec(), &problem);
                loaded.problems.push(problem);
                PolicyState::Invalid(Arc::new(invalid))
            },
            |policy| PolicyState::Ready(Arc::new(policy)),
        );
        loaded.contents.entry(file.clone()).or_default().policies.push(state);
    }
}

fn twice(what: &str, name: &str, first: &Path) -> String {
    format!("the {what} `{name}` is there already, in {}", first.display())
}

#[cfg(test)]
mod tests;
