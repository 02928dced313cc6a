//! `tegata crds`: the custom resource definitions as YAML.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

use crate::api;

/// The definitions of every resource, in the order in which `kubectl apply` may take them.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    [
        api::ClusterImagePolicy::crd(),
        api::ImagePolicy::crd(),
        api::TrustRoot::crd(),
    ]
}

/// The same as one YAML text of several documents.
///
/// # Errors
/// Never with the definitions as they are; the serialiser's signature has an error.
pub fn yaml() -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string_multiple(&definitions())
}
