//! One document of a file: which resource it is, and its spec.
use std::fmt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::FileProblem;
use super::listing;
use super::yaml;
use super::yaml::Node;
use crate::api;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::policy::compile;
use crate::policy::compile::CompileError;
use crate::policy::compile::References;
use crate::policy::compile::TrustRootSource;
use crate::policy::suggest;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;

/// Largest file, in bytes: what a ConfigMap can hold, and what etcd takes for one object.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Largest `trusted_root.json`, in bytes. The public instance's has 7 kB.
const MAX_TRUST_ROOT_BYTES: u64 = 1024 * 1024;

const KINDS: [&str; 3] = ["ClusterImagePolicy", "ImagePolicy", "TrustRoot"];

/// The group whose resources ours look like.
const SIGSTORE_GROUP: &str = "policy.sigstore.dev";

/// Sigstore protobuf specification, `sigstore_trustroot.proto`; a version follows.
const TRUSTED_ROOT_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// One document and what it says.
#[derive(Clone, Debug)]
pub(super) struct Document {
    node: Node,
    pub(super) resource: Resource,
}

/// What a document is.
#[derive(Clone, Debug)]
pub(super) enum Resource {
    /// A policy whose spec could be read.
    Policy(Spec),
    /// A trust root whose spec could be read.
    TrustRoot { name: String, spec: api::TrustRootSpec },
    /// What is, or was meant to be, a policy, and could not be read.
    Invalid { id: PolicyId, problem: FileProblem },
    /// What is no policy: nothing is denied for it.
    Foreign(FileProblem),
}

/// A policy as it was read.
#[derive(Clone, Debug)]
pub(super) enum Spec {
    Cluster { name: String, spec: Box<api::ClusterImagePolicySpec> },
    Namespaced { namespace: String, name: String, spec: Box<api::ImagePolicySpec> },
}

impl Spec {
    pub(super) fn id(&self) -> PolicyId {
        match self {
            Self::Cluster { name, .. } => PolicyId::Cluster { name: name.clone() },
            Self::Namespaced { namespace, name, .. } => {
                PolicyId::Namespaced { namespace: namespace.clone(), name: name.clone() }
            }
        }
    }

    pub(super) fn compile(&self, roots: &References) -> Result<Policy, CompileError> {
        match self {
            Self::Cluster { name, spec } => {
                compile::compile_cluster_image_policy(name, spec, roots)
            }
            Self::Namespaced { namespace, name, spec } => {
                compile::compile_image_policy(namespace, name, spec, roots)
            }
        }
    }
}

impl Document {
    /// The spec as it was written.
    pub(super) fn spec(&self) -> Value {
        self.node.to_value().get("spec").cloned().unwrap_or_default()
    }

    /// A problem at one of its fields.
    pub(super) fn problem(
        &self,
        file: &Path,
        field: &str,
        problem: impl fmt::Display,
        wanted: impl fmt::Display,
    ) -> FileProblem {
        at(file, &self.node, field, problem, wanted)
    }
}

/// The documents of a file.
pub(super) fn read(file: &Path) -> Result<Vec<Document>, FileProblem> {
    let text = listing::read(file, MAX_FILE_BYTES)?;
    let nodes = yaml::parse(&text).map_err(|error| FileProblem {
        line: error.line,
        ..FileProblem::of_file(
            file,
            format!("it is no YAML that can be read: {}", error.problem),
            "",
        )
    })?;
    Ok(nodes
        .into_iter()
        .filter(|node| !is_trusted_root(&node.to_value()))
        .enumerate()
        .map(|(index, node)| Document { resource: classify(file, index, &node), node })
        .collect())
}

/// Whether it is a trusted root as such, which a `TrustRoot` beside it names: no policy, and
/// nothing wrong with it.
fn is_trusted_root(value: &Value) -> bool {
    let media_type = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    media_type.starts_with(TRUSTED_ROOT_MEDIA_TYPE)
        && value.get("kind").is_none()
        && value.get("apiVersion").is_none()
}

/// A trust root, or where it is to be fetched from.
pub(super) enum Root {
    Fetched(Box<Source>),
    Held(TrustRoot),
}

/// Compiles a trust root, from the file beside it where it names one.
pub(super) fn trust_root(
    file: &Path,
    document: &Document,
    spec: &api::TrustRootSpec,
) -> Result<Root, FileProblem> {
    let source = compile::trust_root_source(spec)
        .map_err(|error| document.problem(file, &error.path, error.problem, error.wanted))?;
    let (field, json) = match source {
        TrustRootSource::Json(json) => ("spec.trustedRoot", json),
        TrustRootSource::ConfigMap(_) => {
            let error = compile::no_cluster();
            return Err(document.problem(file, &error.path, error.problem, error.wanted));
        }
        TrustRootSource::Tuf(source) => return Ok(Root::Fetched(source)),
        TrustRootSource::Keys(_) => {
            return compile::compile_trust_root(spec)
                .map(Root::Held)
                .map_err(|error| document.problem(file, &error.path, error.problem, error.wanted));
        }
        TrustRootSource::File(name) => {
            let field = "spec.trustedRoot.file";
            // A name, not a path: a policy repository must not read other files of the machine.
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                let wanted = "the name of a file in the same folder";
                let problem = format!("`{}` is no file name", crate::verdict::printable(&name));
                return Err(document.problem(file, field, problem, wanted));
            }
            let json = listing::read(&file.with_file_name(&name), MAX_TRUST_ROOT_BYTES).map_err(
                |error| {
                    let problem = format!("`{name}`: {}", error.problem);
                    document.problem(file, field, problem, error.wanted)
                },
            )?;
            (field, json)
        }
    };
    TrustRoot::from_json(&json).map(Root::Held).map_err(|error| {
        document.problem(file, field, error.problem, "a Sigstore trusted_root.json")
    })
}

fn classify(file: &Path, index: usize, node: &Node) -> Resource {
    let value = node.to_value();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let namespace = text("/metadata/namespace");
    if lists_policies(&value) {
        let id = PolicyId::Cluster { name: format!("{}#{index}", file.display()) };
        let wanted = "a document for each of them, with `---` between";
        let problem = at(file, node, "items", "found a list of policies", wanted);
        return Resource::Invalid { id, problem };
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let meant = kind.is_empty() || group.is_empty() && KINDS.contains(&kind);
    let resource = match header(file, node, api_version, kind) {
        Err(problem) if group == api::GROUP || group == SIGSTORE_GROUP || meant => Err(problem),
        Err(problem) => return Resource::Foreign(problem),
        Ok(()) => resource(file, node, &value, kind, namespace, name),
    };
    resource.unwrap_or_else(|problem| {
        if kind == "TrustRoot" {
            return Resource::Foreign(problem);
        }
        let name =
            if name.is_empty() { format!("{}#{index}", file.display()) } else { name.to_owned() };
        let id = if kind == "ImagePolicy" && !namespace.is_empty() {
            PolicyId::Namespaced { namespace: namespace.to_owned(), name }
        } else {
            PolicyId::Cluster { name }
        };
        Resource::Invalid { id, problem }
    })
}

/// Whether it is a list, as `kubectl get -o yaml` prints, with policies among its items.
fn lists_policies(value: &Value) -> bool {
    let items = value.get("items").and_then(Value::as_array);
    items.into_iter().flatten().any(|item| {
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
        text("apiVersion").starts_with(api::GROUP) && text("kind") != "TrustRoot"
    })
}

/// `apiVersion` and `kind` must be ours.
fn header(file: &Path, node: &Node, api_version: &str, kind: &str) -> Result<(), FileProblem> {
    let shown = |text: &str| {
        if text.is_empty() {
            "nothing".to_owned()
        } else {
            format!("`{}`", crate::verdict::printable(text))
        }
    };
    if api_version != api::API_VERSION {
        let theirs = api_version.starts_with("policy.sigstore.dev/") && KINDS.contains(&kind);
        let wanted = if theirs {
            format!(
                "`{}`: change apiVersion to convert it, the fields have the same names",
                api::API_VERSION
            )
        } else {
            format!("`{}`", api::API_VERSION)
        };
        return Err(at(file, node, "apiVersion", format!("found {}", shown(api_version)), wanted));
    }
    if !KINDS.contains(&kind) {
        let wanted = suggest::wanted(kind, &KINDS);
        return Err(at(file, node, "kind", format!("found {}", shown(kind)), wanted));
    }
    Ok(())
}

fn resource(
    file: &Path,
    node: &Node,
    value: &Value,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Resource, FileProblem> {
    let fields = ["apiVersion", "kind", "metadata", "spec", "status"];
    for key in value.as_object().into_iter().flat_map(|object| object.keys()) {
        if !fields.contains(&key.as_str()) {
            let problem = format!("unknown field `{}`", crate::verdict::printable(key));
            return Err(at(file, node, key, problem, suggest::wanted(key, &fields)));
        }
    }
    for field in ["name", "namespace"] {
        let found = value.get("metadata").and_then(|metadata| metadata.get(field));
        if found.is_some_and(|found| !found.is_string()) {
            let field = format!("metadata.{field}");
            return Err(at(file, node, &field, "it is no text", "a text, in quotes"));
        }
    }
    if name.is_empty() {
        return Err(at(file, node, "metadata.name", "it is missing", "a name"));
    }
    let namespaced = kind == "ImagePolicy";
    if namespaced && namespace.is_empty() {
        let wanted = "the namespace that the policy is for, or `kind: ClusterImagePolicy`";
        return Err(at(file, node, "metadata.namespace", "it is missing", wanted));
    }
    if !namespaced && !namespace.is_empty() {
        let wanted = if kind == "TrustRoot" {
            "none: a TrustRoot is for the whole cluster"
        } else {
            "none, or `kind: ImagePolicy`"
        };
        return Err(at(file, node, "metadata.namespace", format!("`{namespace}`"), wanted));
    }
    let spec = value.get("spec").filter(|spec| !spec.is_null());
    let Some(spec) = spec else {
        return Err(at(file, node, "spec", "it is missing", "the specification"));
    };
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    Ok(match kind {
        "TrustRoot" => Resource::TrustRoot { name, spec: typed(file, node, spec)? },
        "ImagePolicy" => {
            let spec = Box::new(typed(file, node, spec)?);
            Resource::Policy(Spec::Namespaced { namespace, name, spec })
        }
        _ => {
            let spec = Box::new(typed(file, node, spec)?);
            Resource::Policy(Spec::Cluster { name, spec })
        }
    })
}

/// The spec as its type.
fn typed<T: DeserializeOwned>(file: &Path, node: &Node, spec: &Value) -> Result<T, FileProblem> {
    compile::read_spec(spec)
        .map_err(|error| at(file, node, &error.path, error.problem, error.wanted))
}

fn at(
    file: &Path,
    node: &Node,
    field: &str,
    problem: impl fmt::Display,
    wanted: impl fmt::Display,
) -> FileProblem {
    let line = match node.line_of(field) {
        0 => node.line(),
        line => line,
    };
    FileProblem {
        line: Some(line).filter(|line| *line > 0),
        field: field.to_owned(),
        ..FileProblem::of_file(file, problem, wanted)
    }
}
