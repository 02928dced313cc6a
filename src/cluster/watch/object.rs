//! An object as the API server sends it, read no further than is needed.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ApiResource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api;

/// An object of any kind that is watched.
///
/// Reading one never fails for what its author put into it: the spec is kept as text, managed
/// fields and annotations are passed over, however deep they nest. A list that holds one object
/// that cannot be read could otherwise not be read at all, and its author would have stopped every
/// other policy from being seen.
#[derive(Clone, Deserialize)]
#[serde(from = "Wire")]
pub struct Object {
    meta: ObjectMeta,
    /// `spec` as JSON; `null` where there is none.
    pub(super) spec: Arc<str>,
    /// `status`, where it is one of ours.
    pub(super) status: api::Status,
    /// `data`, of Secrets in Base64.
    pub(super) data: BTreeMap<String, String>,
}

impl Object {
    /// Namespace and name.
    pub(super) fn key(&self) -> (String, String) {
        (
            self.meta.namespace.clone().unwrap_or_default(),
            self.meta.name.clone().unwrap_or_default(),
        )
    }

    pub(super) fn labels(self) -> BTreeMap<String, String> {
        self.meta.labels.unwrap_or_default()
    }
}

/// Names the object and shows nothing of it: it may be a Secret.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.key()).finish()
    }
}

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[derive(Deserialize)]
struct Wire {
    metadata: Metadata,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
}

impl From<Wire> for Object {
    fn from(wire: Wire) -> Self {
        let Wire { metadata, spec, status, data } = wire;
        let Metadata { name, namespace, uid, resource_version, generation, labels } = metadata;
        let parsed = |raw: &RawValue| serde_json::from_str(raw.get()).ok();
        let data = data.and_then(|raw| serde_json::from_str(raw.get()).ok());
        Self {
            meta: ObjectMeta {
                name,
                namespace,
                uid,
                resource_version,
                generation,
                labels,
                ..ObjectMeta::default()
            },
            spec: spec.map_or_else(|| "null".into(), |spec| spec.get().into()),
            status: status.as_deref().and_then(parsed).unwrap_or_default(),
            data: data.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectList;
    use kube::core::WatchEvent;

    use super::*;

    /// An object's JSON whose spec nests deeper than a JSON parser follows.
    fn deep() -> String {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(400), "}".repeat(400));
        format!(
            r#"{{"apiVersion":"tegata.dev/v1alpha1","kind":"ImagePolicy","metadata":{{"name":"p",
            "namespace":"team","uid":"u","generation":3,"resourceVersion":"7",
            "managedFields":[{{"fieldsV1":{deep}}}]}},"spec":{{"policy":{deep}}},"status":{deep}}}"#
        )
    }

    #[test]
    fn reads_objects_however_deep_they_nest() {
        let list = format!(
            r#"{{"apiVersion":"v1","kind":"L","metadata":{{}},"items":[{0},{0}]}}"#,
            deep()
        );
        let list: ObjectList<Object> = serde_json::from_str(&list).unwrap();
        assert_eq!(list.items.len(), 2);
        let event = format!(r#"{{"type":"MODIFIED","object":{}}}"#, deep());
        let event: WatchEvent<Object> = serde_json::from_str(&event).unwrap();
        let WatchEvent::Modified(object) = event else { panic!("{event:?}") };
        assert_eq!(object.key(), ("team".to_owned(), "p".to_owned()));
        assert_eq!(object.meta.generation, Some(3));
        assert!(object.spec.starts_with(r#"{"policy":{"a":"#));
        assert_eq!(object.status, api::Status::default());
    }

    #[test]
    fn shows_nothing_of_what_it_holds() {
        let secret = r#"{"metadata":{"name":"k","namespace":"n"},"data":{"k":"aHVudGVyMg=="}}"#;
        let object: Object = serde_json::from_str(secret).unwrap();
        assert_eq!(object.data["k"], "aHVudGVyMg==");
        assert_eq!(format!("{object:?}"), r#"Object(("n", "k"))"#);
        assert_eq!(&*object.spec, "null");
    }
}
