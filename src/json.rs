//! JSON as signers and clusters write it, read strictly: one meaning for one text.
//!
//! RFC 8259 leaves duplicate names to the reader, so two readers may see two documents in the same
//! bytes. Here a duplicate name is an error, as is anything after the document.
use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;

mod excerpt;

pub use excerpt::Excerpt;
pub use excerpt::Wanted;
pub use excerpt::excerpt;

/// Most values in one document: objects, lists, texts and the rest, each counted once. A value of
/// two bytes takes up to some 350 in memory, so that bytes alone bound nothing: 8 MiB of `{"a":0}`
/// took 700 MiB. The largest Deployments in use hold some ten thousand.
pub const MAX_VALUES: usize = 32 << 10;

/// Parses one JSON document of at most [`MAX_VALUES`].
///
/// Nesting is bounded by `serde_json` (128 levels).
///
/// # Errors
/// When the bytes are no JSON, hold a name twice in one object or too many values, or go on after
/// the document.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    parse_within(bytes, &Cell::new(MAX_VALUES))
}

/// The same for one of several documents that together may have so many values; takes its own off.
///
/// # Errors
/// As [`parse`].
pub fn parse_within(bytes: &[u8], left: &Cell<usize>) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    /// How many values the document may still have.
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        counted(self.left)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        finite(value).map(Value::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(doubled(&name));
            }
            let value = access.next_value_seed(self)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// Takes one value off those that the document may still have.
fn counted<E: serde::de::Error>(left: &Cell<usize>) -> Result<(), E> {
    let Some(fewer) = left.get().checked_sub(1) else {
        return Err(E::custom(format!("more than {MAX_VALUES} values")));
    };
    left.set(fewer);
    Ok(())
}

fn finite<E: serde::de::Error>(value: f64) -> Result<Number, E> {
    Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))
}

fn doubled<E: serde::de::Error>(name: &str) -> E {
    let name = crate::verdict::printable(name);
    E::custom(format!("the name `{name}` stands twice"))
}

/// A document as a tree, whoever holds its texts.
pub trait Tree: Sized {
    /// The member of an object with this name.
    fn get(&self, name: &str) -> Option<&Self>;

    /// A text.
    fn as_str(&self) -> Option<&str>;

    /// `true` or `false`.
    fn as_bool(&self) -> Option<bool>;

    /// The elements of a list.
    fn as_list(&self) -> Option<&[Self]>;

    /// The members of an object.
    fn members(&self) -> Option<impl ExactSizeIterator<Item = (&str, &Self)>>;

    /// Whether it is `null`.
    fn is_null(&self) -> bool;

    /// Whether it is an object.
    fn is_object(&self) -> bool {
        self.members().is_some()
    }
}

impl Tree for Value {
    fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    fn as_str(&self) -> Option<&str> {
        Self::as_str(self)
    }

    fn as_bool(&self) -> Option<bool> {
        Self::as_bool(self)
    }

    fn as_list(&self) -> Option<&[Self]> {
        self.as_array().map(Vec::as_slice)
    }

    fn members(&self) -> Option<impl ExactSizeIterator<Item = (&str, &Self)>> {
        Some(self.as_object()?.iter().map(|(name, value)| (name.as_str(), value)))
    }

    fn is_null(&self) -> bool {
        Self::is_null(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_serde_json_accepts() {
        let text = br#"{"a":[1,-2,3.5,true,null,"x"],"b":{"a":{}}}"#;
        let wanted: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(parse(text).unwrap(), wanted);
    }

    #[test]
    fn rejects_duplicates_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"a":2}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("stands twice"), "{error}");
        }
    }

    #[test]
    fn rejects_more_values_than_memory_is_kept_for() {
        let list = |count: usize| format!("[{}0]", r#"{"a":0},"#.repeat(count));
        // The list and its last element are values too.
        let fits = (MAX_VALUES - 2) / 2;
        assert!(parse(list(fits).as_bytes()).is_ok());
        let error = parse(list(fits + 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("more than 32768 values"), "{error}");
    }

    #[test]
    fn rejects_what_follows_and_what_is_too_deep() {
        assert!(parse(b"{} {}").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(b"\xff").is_err());
    }
}
