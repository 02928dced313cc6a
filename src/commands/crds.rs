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
                    refuse_null(spec);
                    keep_unknown(spec);
                }
            }
            definition
        },
    )
}

/// Fields that may be absent may not be null: the API server then refuses `ctlog:` with nothing
/// after it, as we do, instead of keeping a null that asks for nothing.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        refuse_null(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        refuse_null(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        refuse_null(values);
    }
}

/// Fields that are unknown are kept. The API server would take them away in silence otherwise, for
/// every client that does not ask to be told, and what is left might mean less: a misspelt
/// `threshold` would be none. Kept, they are refused by name.
fn keep_unknown(schema: &mut JSONSchemaProps) {
    if schema.properties.is_some() {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        keep_unknown(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        keep_unknown(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        keep_unknown(values);
    }
}

/// The same as one YAML text of several documents.
///
/// # Errors
/// Never with the definitions as they are; the serialiser's signature has an error.
pub fn yaml() -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string_multiple(&definitions())
}
