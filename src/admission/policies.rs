//! Our own resources at apply time.
//!
//! A policy is compiled here as the watches will compile it, so that whoever applies it reads what
//! is wrong with it at once, instead of everybody else afterwards. What is likely a mistake, and
//! what is not there yet, becomes an admission warning.
use serde_json::Value;

use super::Decision;
use super::Operation;
use super::Request;
use super::review;
use super::review::ReviewError;
use super::review::ReviewProblem;
use super::review::Triple;
use crate::api;
use crate::policy::Policy;
use crate::policy::compile;
use crate::policy::compile::CompileError;
use crate::policy::compile::References;
use crate::policy::lint;
use crate::policy::lint::Hint;
use crate::verdict::printable;

/// What the webhook for policies takes.
pub(super) const WANTED: &str =
    "ClusterImagePolicy, ImagePolicy or TrustRoot of tegata.dev/v1alpha1";

/// The subresource that only conditions are written to.
const STATUS: &str = "status";

/// Where `kubectl apply` keeps what it was given, as JSON. It leaves fields without a value out of
/// what it sends, so that `ctlog:` with nothing after it arrives here as no `ctlog` at all, which
/// asks for less; in this annotation it can still be seen.
const APPLIED: &str = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration";

/// The kinds of our own resources.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    ClusterImagePolicy,
    ImagePolicy,
    TrustRoot,
}

impl Kind {
    const ALL: [Self; 3] = [Self::ClusterImagePolicy, Self::ImagePolicy, Self::TrustRoot];

    const fn name(self) -> &'static str {
        match self {
            Self::ClusterImagePolicy => "ClusterImagePolicy",
            Self::ImagePolicy => "ImagePolicy",
            Self::TrustRoot => "TrustRoot",
        }
    }

    const fn resource(self) -> &'static str {
        match self {
            Self::ClusterImagePolicy => "clusterimagepolicies",
            Self::ImagePolicy => "imagepolicies",
            Self::TrustRoot => "trustroots",
        }
    }

    /// What becomes of an object that cannot be used.
    const fn consequence(self) -> &'static str {
        match self {
            Self::ClusterImagePolicy | Self::ImagePolicy => "the policy denies what it matches",
            Self::TrustRoot => "policies that name it deny what they match",
        }
    }
}

/// A request about one of our own resources.
#[derive(Clone, Debug)]
pub struct PolicyRequest {
    /// Who asks for what; it has no images.
    pub request: Request,
    /// What is stored, where something is.
    change: Option<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    kind: Kind,
    spec: Value,
    /// The spec that `kubectl apply` was given, where it asks for this change.
    applied: Option<Value>,
    /// Whether it is an update that leaves the spec as it was.
    unchanged: bool,
    /// Whether it is for the status alone.
    status: bool,
}

/// Parses the body of an admission request about a policy or a trust root.
///
/// # Errors
/// As [`review::parse`], and when the resource is not one of ours.
pub fn parse(body: &[u8]) -> Result<PolicyRequest, ReviewError> {
    review::open(body, |request, uid| {
        let described = review::describe(request, uid)?;
        let change = match described.operation {
            Operation::Connect | Operation::Delete => None,
            Operation::Create | Operation::Update => Some(change(request, described.operation)?),
        };
        Ok(PolicyRequest { request: described, change })
    })
}

fn change(request: &Value, operation: Operation) -> Result<Change, ReviewProblem> {
    let found = review::triple(request, "kind", "request.kind")?;
    let ours = (found.group, found.version) == (api::GROUP, api::VERSION);
    let kind =
        Kind::ALL.into_iter().find(|kind| ours && kind.name() == found.name).ok_or_else(|| {
            ReviewProblem::Foreign {
                found: printable(&format!("{} of {}/{}", found.name, found.group, found.version)),
            }
        })?;
    let resource = Triple { name: kind.resource(), ..found };
    let object = review::object(request, &resource, kind.name())?;
    let spec = |object: &Value| object.get("spec").cloned().unwrap_or_default();
    let old = request.get("oldObject").filter(|_| operation == Operation::Update);
    let old = old.filter(|old| old.is_object());
    let unchanged = old.is_some_and(|old| spec(old) == spec(object));
    let status = review::text_at(Some(request), &["subResource"]) == STATUS;
    // The content of a trust root is another format, in which `null` has a meaning.
    let applied = match kind {
        Kind::ClusterImagePolicy | Kind::ImagePolicy if !unchanged => applied(object, old),
        Kind::ClusterImagePolicy | Kind::ImagePolicy | Kind::TrustRoot => None,
    };
    Ok(Change { kind, spec: spec(object), applied, unchanged, status })
}

/// The spec that `kubectl apply` was given, unless it is what an earlier one was given.
fn applied(object: &Value, old: Option<&Value>) -> Option<Value> {
    let annotation = |object: &Value| object.pointer(APPLIED)?.as_str().map(str::to_owned);
    let text = annotation(object)?;
    if old.and_then(annotation).as_ref() == Some(&text) {
        return None;
    }
    serde_json::from_str::<Value>(&text).ok()?.get("spec").cloned()
}

impl PolicyRequest {
    /// Answers it: denied is what cannot be compiled.
    ///
    /// Two things that cannot be used are admitted, with a warning: what names a trust root or a
    /// key that may still come, and what was already stored and whose spec stays as it is, so that
    /// its labels and finalisers can still be changed. Either denies what it matches.
    pub fn judge(&self, references: &References) -> Decision {
        let Some(change) = &self.change else { return admit(Vec::new()) };
        let Change { kind, spec, applied, unchanged, status } = change;
        if *unchanged && *status {
            return admit(Vec::new());
        }
        let (error, hints) = self.look_over(*kind, spec, references);
        let empty = applied.as_ref().and_then(|spec| compile::refuse_empty_fields(spec).err());
        let error = match error {
            Some(error) if !error.missing => Some(error),
            missing => empty.or(missing),
        };
        let hints = hints.iter().filter(|_| !unchanged).map(ToString::to_string);
        match error {
            None => admit(hints.collect()),
            Some(error) if error.missing => {
                let pending = format!("until this is there, {}: {error}", kind.consequence());
                admit(std::iter::once(pending).chain(hints).collect())
            }
            Some(error) if *unchanged => {
                admit(vec![format!("as before, {}: {error}", kind.consequence())])
            }
            Some(error) => Decision {
                allowed: false,
                message: error.to_string(),
                warnings: Vec::new(),
                retry: false,
                images: Vec::new(),
            },
        }
    }

    /// Why it cannot be used, if so, and what is likely wrong with it otherwise.
    fn look_over(
        &self,
        kind: Kind,
        spec: &Value,
        references: &References,
    ) -> (Option<CompileError>, Vec<Hint>) {
        let Request { name, workload, .. } = &self.request;
        match kind {
            Kind::ClusterImagePolicy => with_hints(
                compile::read_spec(spec),
                |spec| compile::compile_cluster_image_policy(name, spec, references),
                lint::cluster_image_policy,
            ),
            Kind::ImagePolicy => with_hints(
                compile::read_spec(spec),
                |spec| compile::compile_image_policy(&workload.namespace, name, spec, references),
                lint::image_policy,
            ),
            Kind::TrustRoot => {
                let root = compile::read_spec::<api::TrustRootSpec>(spec)
                    .and_then(|spec| compile::check_trust_root(&spec, &references.keys));
                match root {
                    Ok(left_out) => (None, left_out.iter().map(Hint::of_trust_root).collect()),
                    Err(error) => (Some(error), Vec::new()),
                }
            }
        }
    }
}

fn with_hints<T>(
    spec: Result<T, CompileError>,
    compile: impl FnOnce(&T) -> Result<Policy, CompileError>,
    lint: impl FnOnce(&T, Option<&Policy>) -> Vec<Hint>,
) -> (Option<CompileError>, Vec<Hint>) {
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => return (Some(error), Vec::new()),
    };
    match compile(&spec) {
        Ok(policy) => (None, lint(&spec, Some(&policy))),
        Err(error) if error.missing => (Some(error), lint(&spec, None)),
        Err(error) => (Some(error), Vec::new()),
    }
}

fn admit(warnings: Vec<String>) -> Decision {
    Decision { allowed: true, message: String::new(), warnings, retry: false, images: Vec::new() }
}

#[cfg(test)]
mod tests;
