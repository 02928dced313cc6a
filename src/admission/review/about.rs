//! Who and what a request is about, besides its images: for events, and for pull credentials.
//!
//! All of it is optional here: what is malformed is left out, since nothing is admitted for it.
use super::Triple;
use super::text_at;
use crate::admission::ObjectRef;
use crate::evidence::Tenant;
use crate::json::Tree;
use crate::verdict::printable;
use crate::workload::Kind;

/// Longest name of an object, in bytes (RFC 1123, as the API server reads it). Mutating webhooks see an
/// object before its names are checked: longer ones name nothing, and must not be kept.
const MAX_NAME: usize = 253;

/// Most pull secrets of one pod that are used. Each costs a request to the API server; pods in
/// the field have one or two.
const MAX_PULL_SECRETS: usize = 16;

/// The ServiceAccount of pods that name none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// The object of the request.
pub(super) fn object<V: Tree>(kind: &Triple<'_>, request: &V, object: Option<&V>) -> ObjectRef {
    // Not its `generateName`: nothing bears that.
    let named = [text_at(Some(request), &["name"]), text_at(object, &["metadata", "name"])];
    let named = named.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    ObjectRef {
        api_version: printable(&kind.api_version()),
        kind: printable(kind.name),
        name: printable(named),
        uid: printable(text_at(object, &["metadata", "uid"])),
    }
}

/// The object's controller: of its owner references the one that says so.
pub(super) fn owner<V: Tree>(object: Option<&V>) -> Option<ObjectRef> {
    let owners = object?.get("metadata")?.get("ownerReferences")?.as_list()?;
    let owner = owners
        .iter()
        .find(|owner| owner.get("controller").and_then(V::as_bool).unwrap_or_default())?;
    let text = |key| printable(text_at(Some(owner), &[key]));
    let found = ObjectRef {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
        uid: text("uid"),
    };
    (!found.kind.is_empty() && !found.name.is_empty()).then_some(found)
}

/// Whose credentials the kubelet would pull the object's images with.
pub(super) fn tenant<V: Tree>(kind: &Triple<'_>, namespace: &str, object: Option<&V>) -> Tenant {
    let kind = Kind::find(kind.group, kind.version, kind.name).ok();
    let spec = kind.and_then(|kind| kind.pod_spec(object?));
    let named = text_at(spec, &["serviceAccountName"]);
    let is_name = |name: &&str| (1..=MAX_NAME).contains(&name.len());
    let service_account = Some(named).filter(is_name).unwrap_or(DEFAULT_SERVICE_ACCOUNT);
    let secrets = spec.and_then(|spec| spec.get("imagePullSecrets")?.as_list());
    let names = secrets.into_iter().flatten().map(|secret| text_at(Some(secret), &["name"]));
    Tenant {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pull_secrets: names.filter(is_name).take(MAX_PULL_SECRETS).map(str::to_owned).collect(),
    }
}
