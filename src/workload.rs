//! The image fields of every workload kind.
//!
//! The walk is over untyped JSON, so that fields of newer Kubernetes versions survive and do no
//! harm. What it must find is listed in [`IMAGE_FIELDS`], which `tests/image_fields.rs` compares
//! with the Kubernetes API types.
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::image::ImageUse;
use crate::json::Tree;
use crate::verdict::printable;

/// Most images judged in one object. Pods in the field have fewer than thirty containers; each
/// image may cost a dozen registry requests within one admission deadline. Images that an update
/// does not add are not counted.
pub const MAX_IMAGES: usize = 128;

/// Every field below a pod spec that names an image; `[]` stands for each element of a list.
///
/// The walk is driven by this list alone.
pub const IMAGE_FIELDS: [&str; 4] = [
    "containers[].image",
    "initContainers[].image",
    "ephemeralContainers[].image",
    "volumes[].image.reference",
];

/// The list that Kubernetes requires of every pod spec. Where it is missing, what lies there is
/// not a pod spec.
const REQUIRED_LIST: &str = "containers";

/// A kind that holds a pod spec.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    /// Its API group; empty is the core group.
    pub group: &'static str,
    /// Its API version.
    pub version: &'static str,
    /// Its name, for example `Deployment`.
    pub name: &'static str,
    /// Its plural resource, for example `deployments`.
    pub resource: &'static str,
    /// The keys that lead to its pod spec.
    pod_spec: &'static [&'static str],
}

const TEMPLATE: &[&str] = &["spec", "template", "spec"];

/// Every kind that is judged. Older versions of these APIs are no longer served by any supported
/// Kubernetes; the API server converts objects to the version that the webhook's rules name.
pub const KINDS: [Kind; 9] = [
    Kind::new("", "Pod", "pods", &["spec"]),
    Kind::new("", "PodTemplate", "podtemplates", &["template", "spec"]),
    Kind::new("", "ReplicationController", "replicationcontrollers", TEMPLATE),
    Kind::new("apps", "DaemonSet", "daemonsets", TEMPLATE),
    Kind::new("apps", "Deployment", "deployments", TEMPLATE),
    Kind::new("apps", "ReplicaSet", "replicasets", TEMPLATE),
    Kind::new("apps", "StatefulSet", "statefulsets", TEMPLATE),
    Kind::new("batch", "CronJob", "cronjobs", &["spec", "jobTemplate", "spec", "template", "spec"]),
    Kind::new("batch", "Job", "jobs", TEMPLATE),
];

impl Kind {
    const fn new(
        group: &'static str,
        name: &'static str,
        resource: &'static str,
        pod_spec: &'static [&'static str],
    ) -> Self {
        Self { group, version: "v1", name, resource, pod_spec }
    }

    /// The kind of this group, version and name.
    ///
    /// # Errors
    /// [`WorkloadError::NotCovered`] for every other: what cannot be read is not admitted.
    pub fn find(group: &str, version: &str, name: &str) -> Result<Self, WorkloadError> {
        KINDS
            .into_iter()
            .find(|kind| kind.group == group && kind.version == version && kind.name == name)
            .ok_or_else(|| WorkloadError::NotCovered {
                kind: printable(name),
                api_version: printable(&api_version(group, version)),
            })
    }

    /// The kind that an object of its own says it is, by `apiVersion` and `kind`.
    ///
    /// # Errors
    /// [`WorkloadError::NotCovered`], also when the object does not say.
    pub fn of<V: Tree>(object: &V) -> Result<Self, WorkloadError> {
        let text = |key| object.get(key).and_then(V::as_str).unwrap_or_default();
        let (group, version) = match text("apiVersion").split_once('/') {
            Some(parts) => parts,
            None => ("", text("apiVersion")),
        };
        Self::find(group, version, text("kind"))
    }

    /// Where the pod spec of an object of this kind is.
    pub fn pod_spec<'a, V: Tree>(&self, object: &'a V) -> Option<&'a V> {
        self.pod_spec.iter().try_fold(object, |value, key| value.get(key))
    }

    /// `apiVersion` as objects of this kind state it.
    pub fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Every image that `object` names, in the order of [`IMAGE_FIELDS`].
///
/// A container without an image, or with an empty one, is left out: a template may say so and no
/// kubelet runs it.
///
/// # Errors
/// When the pod spec or a field on the way to an image is not what Kubernetes says it is, or when
/// there are more than [`MAX_IMAGES`].
pub fn images<V: Tree>(kind: Kind, object: &V) -> Result<Vec<ImageUse>, WorkloadError> {
    judge(fields(kind, object)?)
}

/// The images that an update adds: those whose text the old object's pod spec nowhere holds.
///
/// Only this comparison excuses an image; a removed finaliser or a new label passes because it adds
/// none. An old object that cannot be read excuses nothing.
///
/// # Errors
/// As [`images`], for the new object.
pub fn added_images<V: Tree>(kind: Kind, new: &V, old: &V) -> Result<Vec<ImageUse>, WorkloadError> {
    let mut found = fields(kind, new)?;
    let known = fields(kind, old).unwrap_or_default();
    let known: BTreeSet<&str> = known.iter().map(|field| field.text).collect();
    found.retain(|field| !known.contains(field.text));
    judge(found)
}

/// Whether a JSON pointer ends where [`IMAGE_FIELDS`] end: the only places that a patch may touch.
pub fn is_image_pointer(pointer: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    KINDS.iter().any(|kind| {
        let root: String = kind.pod_spec.iter().map(|key| format!("/{key}")).collect();
        let Some(below) = pointer.strip_prefix(&root) else {
            return false;
        };
        IMAGE_FIELDS.iter().any(|field| {
            let Some((list, tail)) = field.split_once("[].") else {
                return false;
            };
            below
                .strip_prefix('/')
                .and_then(|rest| rest.strip_prefix(list))
                .and_then(|rest| rest.strip_prefix('/'))
                .and_then(|rest| rest.split_once('/'))
                .is_some_and(|(index, rest)| number(index) && rest == tail.replace('.', "/"))
        })
    })
}

/// An image field before its text is parsed.
struct Field<'a> {
    path: String,
    pointer: String,
    text: &'a str,
}

fn judge(fields: Vec<Field<'_>>) -> Result<Vec<ImageUse>, WorkloadError> {
    if fields.len() > MAX_IMAGES {
        return Err(WorkloadError::TooManyImages { found: fields.len() });
    }
    let judge = |Field { path, pointer, text }: Field<'_>| ImageUse {
        path,
        pointer,
        text: text.to_owned(),
        image: text.parse(),
    };
    Ok(fields.into_iter().map(judge).collect())
}

fn fields<V: Tree>(kind: Kind, object: &V) -> Result<Vec<Field<'_>>, WorkloadError> {
    let mut at = Place::default();
    let mut spec = object;
    for key in kind.pod_spec {
        at.enter(key);
        spec =
            spec.get(key).filter(|value| value.is_object()).ok_or_else(|| at.wants("an object"))?;
    }
    if spec.get(REQUIRED_LIST).and_then(V::as_list).is_none() {
        at.enter(REQUIRED_LIST);
        return Err(at.wants("a list"));
    }
    let mut found = Vec::new();
    let above = at.mark();
    for field in IMAGE_FIELDS {
        let Some((list, tail)) = field.split_once("[].") else {
            continue;
        };
        at.back(above);
        at.enter(list);
        let Some(list) = present(spec.get(list)) else {
            continue;
        };
        let list = list.as_list().ok_or_else(|| at.wants("a list"))?;
        let before = at.mark();
        for (index, element) in list.iter().enumerate() {
            at.back(before);
            at.enter_element(index);
            if !element.is_object() {
                return Err(at.wants("an object"));
            }
            found.extend(leaf(element, tail, &mut at)?);
        }
    }
    Ok(found)
}

/// The text at the end of `tail`, or `None` where nothing would be pulled.
fn leaf<'a, V: Tree>(
    element: &'a V,
    tail: &str,
    at: &mut Place,
) -> Result<Option<Field<'a>>, WorkloadError> {
    let mut value = element;
    for key in tail.split('.') {
        if !value.is_object() {
            return Err(at.wants("an object"));
        }
        at.enter(key);
        match present(value.get(key)) {
            Some(next) => value = next,
            None => return Ok(None),
        }
    }
    let text = value.as_str().ok_or_else(|| at.wants("a string"))?;
    let Place { path, pointer } = at;
    let field = || Field { path: path.clone(), pointer: pointer.clone(), text };
    Ok((!text.is_empty()).then(field))
}

/// Kubernetes reads `null` as absent.
fn present<V: Tree>(value: Option<&V>) -> Option<&V> {
    value.filter(|value| !value.is_null())
}

/// A place in the object, for people and for patches. The keys are those of this module, which
/// need no escaping in either form.
#[derive(Default)]
struct Place {
    path: String,
    pointer: String,
}

impl Place {
    fn enter(&mut self, key: &str) {
        let Self { path, pointer } = self;
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        pointer.push('/');
        pointer.push_str(key);
    }

    fn enter_element(&mut self, index: usize) {
        let Self { path, pointer } = self;
        // Writing to a string cannot fail.
        let _ = write!(path, "[{index}]");
        let _ = write!(pointer, "/{index}");
    }

    /// Where it is, for [`Self::back`].
    const fn mark(&self) -> (usize, usize) {
        (self.path.len(), self.pointer.len())
    }

    fn back(&mut self, (path, pointer): (usize, usize)) {
        self.path.truncate(path);
        self.pointer.truncate(pointer);
    }

    fn wants(&self, wanted: &'static str) -> WorkloadError {
        WorkloadError::Malformed { path: self.path.clone(), wanted }
    }
}

/// Why the images of an object cannot be listed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// A field on the way to an image is absent or of another type.
    #[error("{path} is not {wanted}: correct the object")]
    Malformed {
        /// The JSON path of the field.
        path: String,
        /// What Kubernetes says it is.
        wanted: &'static str,
    },
    /// The kind is none of [`KINDS`].
    #[error(
        "{kind} ({api_version}) is not covered: wanted a built-in workload kind; leave it out of the webhook's rules"
    )]
    NotCovered {
        /// Its name.
        kind: String,
        /// Its group and version.
        api_version: String,
    },
    /// There are more than [`MAX_IMAGES`].
    #[error("the object names {found} images: wanted at most {}; split the workload", MAX_IMAGES)]
    TooManyImages {
        /// How many.
        found: usize,
    },
}

/// Every name that is looked for in an object.
#[cfg(test)]
pub(crate) fn names() -> BTreeSet<&'static str> {
    let fields = IMAGE_FIELDS.iter().flat_map(|field| field.split(['[', ']', '.']));
    let paths = KINDS.iter().flat_map(|kind| kind.pod_spec.iter().copied());
    let own = ["apiVersion", "kind", REQUIRED_LIST];
    fields.chain(paths).chain(own).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests;
