//! `tegata crds`: the custom resource definitions as YAML.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrBool;
use kube::CustomResourceExt as _;

use crate::api;

/// The definitions of every resource, in the order in which `kubectl apply` may take them.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [api::ClusterImagePolicy::crd(), api::ImagePolicy::crd(), api::TrustRoot::crd()].map(
        |mut definition| {
            for version in &mut definition.spec.versions {
                let schema = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut());
                if let Some(properties) = schema.and_then(|schema| schema.properties.as_mut())
                    && let Some(spec) = properties.get_mut("spec")
                {
                    keep(spec);
                }
            }
            definition
        },
    )
}

/// Keeps what means nothing: unknown fields, and fields with nothing in them.
///
/// The API server would take both away in silence otherwise, from every client that does not ask to
/// be told, and what is left might mean less: a misspelt `threshold` would be none, and `ctlog:`
/// without a value no `ctlog`. Kept, they are refused by name.
fn keep(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.properties.is_some() {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    let required = schema.required.clone().unwrap_or_default();
    for (name, property) in schema.properties.iter_mut().flatten() {
        keep(property);
        let optional = property.default.is_none() && !required.contains(name);
        property.nullable = optional.then_some(true);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        keep(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        keep(values);
    }
}

/// The same as one YAML text of several documents.
///
/// # Errors
/// Never with the definitions as they are; the serialiser's signature has an error.
pub fn yaml() -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string_multiple(&definitions())
}
