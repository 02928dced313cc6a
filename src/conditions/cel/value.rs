//! JSON as values of CEL, borrowed.
use std::collections::HashMap;

use ::cel::common::types::CelBool;
use ::cel::common::types::CelBytes;
use ::cel::common::types::CelDouble;
use ::cel::common::types::CelInt;
use ::cel::common::types::CelList;
use ::cel::common::types::CelMap;
use ::cel::common::types::CelMapKey;
use ::cel::common::types::CelNull;
use ::cel::common::types::CelString;
use ::cel::common::types::CelUInt;
use ::cel::common::value::Val;
use serde_json::Value;

/// The value; a number is an `int` where it fits, else a `uint`, else a `double`.
pub(super) fn from_json(json: &Value) -> Box<dyn Val + '_> {
    match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            // What is neither fits a double: nothing else is parsed.
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(list) => {
            Box::new(CelList::from(list.iter().map(from_json).collect::<Vec<_>>()))
        }
        Value::Object(map) => {
            let entry = |(key, value)| (CelMapKey::from(String::as_str(key)), from_json(value));
            Box::new(CelMap::from(map.iter().map(entry).collect::<HashMap<_, _>>()))
        }
    }
}

/// How many values a document holds, itself included.
pub(super) fn count(json: &Value) -> u64 {
    1 + match json {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Bytes of a text that cost as much as one value.
const BYTES_PER_UNIT: usize = 8;

/// What it costs to look at all of a value: copying, comparing or joining costs no more.
pub(super) fn size(value: &(dyn Val + '_)) -> u64 {
    let of_bytes = |bytes: usize| u64::try_from(bytes / BYTES_PER_UNIT).unwrap_or(u64::MAX);
    let inside: u64 = if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        of_bytes(text.inner().len())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        of_bytes(bytes.inner().len())
    } else if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        list.inner().iter().map(|value| size(value.as_ref())).fold(0, u64::saturating_add)
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        let keys = map.inner().keys().map(|key| size(key.inner()));
        let values = map.inner().values().map(|value| size(value.as_ref()));
        keys.chain(values).fold(0, u64::saturating_add)
    } else {
        0
    };
    inside.saturating_add(1)
}
