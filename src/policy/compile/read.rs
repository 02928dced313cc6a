//! Specs as they were written to specs as types.
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CompileError;
use crate::policy::suggest;
use crate::verdict::printable;

/// A resource's `spec` as its type.
///
/// # Errors
/// The first field that is unknown, missing or of another type, with its path.
pub fn read_spec<T: DeserializeOwned>(spec: &Value) -> Result<T, CompileError> {
    read_at("spec", spec)
}

/// The same for the part of it at this path.
pub(super) fn read_at<T: DeserializeOwned>(at: &str, part: &Value) -> Result<T, CompileError> {
    serde_path_to_error::deserialize(part).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => at.to_owned(),
            path => format!("{at}.{path}"),
        };
        let text = error.inner().to_string();
        match unknown_field(&text) {
            Some((field, known)) => {
                // The path may or may not end with the unknown field itself.
                let parent = path.strip_suffix(&format!(".{field}")).unwrap_or(&path);
                let problem = format!("unknown field `{}`", printable(field));
                let wanted = suggest::wanted(field, &known);
                CompileError::new(format!("{parent}.{field}"), problem, wanted)
            }
            None if text.starts_with("invalid type: null") => no_value(path),
            None => CompileError::new(path, text, ""),
        }
    })
}

/// Refuses a field anywhere in a spec that is there and has no value.
///
/// # Errors
/// The first such field, with its path.
pub fn refuse_empty_fields(spec: &Value) -> Result<(), CompileError> {
    fn find(value: &Value, path: String) -> Result<(), CompileError> {
        match value {
            Value::Null => Err(no_value(path)),
            Value::Array(list) => {
                let mut items = list.iter().enumerate();
                items.try_for_each(|(index, item)| find(item, format!("{path}[{index}]")))
            }
            Value::Object(map) => {
                map.iter().try_for_each(|(name, field)| find(field, format!("{path}.{name}")))
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }
    find(spec, "spec".to_owned())
}

fn no_value(path: String) -> CompileError {
    CompileError::new(path, "it has no value", "a value, or no such field")
}

/// The field and the known ones, of serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown_field(text: &str) -> Option<(&str, Vec<&str>)> {
    let (field, rest) = text.strip_prefix("unknown field `")?.split_once('`')?;
    Some((field, rest.split('`').skip(1).step_by(2).collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api;

    #[test]
    fn names_the_field_and_what_was_wanted() {
        let authority = |authority: Value| json!({"images": [], "authorities": [authority]});
        for (spec, wanted) in [
            (
                json!({"images": [], "authorities": [], "thresold": 2}),
                "spec.thresold: unknown field `thresold`, wanted `threshold`",
            ),
            (
                authority(json!({"keyles": {}})),
                "spec.authorities[0].keyles: unknown field `keyles`, wanted `keyless`",
            ),
            (
                json!({"images": [{"glob": 7}], "authorities": []}),
                "spec.images[0].glob: invalid type: integer `7`, expected a string",
            ),
            (json!({"images": []}), "spec: missing field `authorities`"),
            (Value::Null, "spec: it has no value, wanted a value, or no such field"),
        ] {
            let error = read_spec::<api::ClusterImagePolicySpec>(&spec).unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
    }

    #[test]
    fn rejects_a_field_without_a_value_wherever_it_is() {
        let wanted = "spec.authorities[1].ctlog: it has no value, wanted a value, or no such field";
        let mut spec = json!({"images": [], "authorities": [{}, {"ctlog": null}]});
        assert_eq!(refuse_empty_fields(&spec).unwrap_err().to_string(), wanted);
        spec["authorities"][1]["ctlog"] = json!({});
        assert_eq!(refuse_empty_fields(&spec), Ok(()));
        assert_eq!(refuse_empty_fields(&Value::Null).unwrap_err().path, "spec");
    }
}
