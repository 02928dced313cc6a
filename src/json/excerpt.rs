//! The parts of a document that a reader asks for.
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use super::MAX_VALUES;
use super::Tree;
use super::counted;
use super::doubled;

/// Members of one object that are compared one by one. Objects in the field have fewer that are
/// wanted; beyond, a hash is cheaper.
const FEW: usize = 16;

/// Which members of a document are kept.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The names of members that are kept, at any depth, as long as what holds them is kept.
    pub names: &'static [&'static str],
    /// Of those, the ones below which everything is kept.
    pub whole: &'static [&'static str],
}

/// A document without the members that nobody asked for. Texts without escapes are those of the
/// document itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Excerpt<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A list, with all its elements.
    List(Vec<Self>),
    /// `null`.
    Null,
    /// Any number: nobody who reads an excerpt asks which.
    Number,
    /// An object, with the members that are wanted.
    Object(Vec<(Cow<'a, str>, Self)>),
    /// A text.
    Text(Cow<'a, str>),
}

/// Reads what is wanted of one document, at most [`MAX_VALUES`], as strictly as [`super::parse`] reads
/// all of it. What is not wanted must be JSON, and is passed over: it takes a byte of memory for each of
/// its brackets that are open, and whatever it says, nobody is told. A member that is passed over counts
/// as one value.
///
/// # Errors
/// When the text is no JSON, or goes on after the document; when what is wanted holds a name twice in
/// one object, too many values, or a number or text that cannot be represented.
pub fn excerpt(text: &str, wanted: Wanted) -> Result<Excerpt<'_>, serde_json::Error> {
    let left = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Keep { left: &left, wanted, whole: false }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

impl Tree for Excerpt<'_> {
    fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    fn members(&self) -> Option<impl ExactSizeIterator<Item = (&str, &Self)>> {
        let Self::Object(members) = self else { return None };
        Some(members.iter().map(|(name, value)| (&**name, value)))
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// The names of one object that are kept, once there are more than a few.
#[derive(Default)]
struct Names(Option<HashSet<String>>);

impl Names {
    /// Takes a name in, beside those of the members so far.
    fn add<E: Error>(
        &mut self,
        name: &str,
        members: &[(Cow<'_, str>, Excerpt<'_>)],
    ) -> Result<(), E> {
        let Self(many) = self;
        let mut names = members.iter().map(|(name, _)| &**name);
        if many.is_none() && members.len() >= FEW {
            *many = Some(names.clone().map(str::to_owned).collect());
        }
        let fresh = match many {
            Some(many) => many.insert(name.to_owned()),
            None => names.all(|other| other != name),
        };
        if fresh { Ok(()) } else { Err(doubled(name)) }
    }
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

/// Reads a value that is wanted.
#[derive(Clone, Copy)]
struct Keep<'r> {
    /// How many values the excerpt may still have.
    left: &'r Cell<usize>,
    wanted: Wanted,
    whole: bool,
}

impl<'de> DeserializeSeed<'de> for Keep<'_> {
    type Value = Excerpt<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        counted(self.left)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep<'_> {
    type Value = Excerpt<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Excerpt::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Excerpt::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Excerpt::Number)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        super::finite(value).map(|_| Excerpt::Number)
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Excerpt::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Excerpt::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Excerpt::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Excerpt::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let Self { left, wanted: Wanted { names, whole: below }, whole } = self;
        let mut members = Vec::new();
        let mut kept = Names::default();
        while let Some(name) = access.next_key_seed(Name)? {
            if whole || names.contains(&&*name) {
                kept.add(&name, &members)?;
                let whole = whole || below.contains(&&*name);
                let value = access.next_value_seed(Self { whole, ..self })?;
                members.push((name, value));
            } else {
                // Each is compared with what is wanted: not without end.
                counted(left)?;
                access.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Excerpt::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const WANTED: Wanted = Wanted { names: &["a", "b", "labels"], whole: &["labels"] };

    /// What is wanted of the whole document, read the long way.
    fn cut(value: Value, whole: bool) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| cut(item, whole)).collect(),
            Value::Object(members) => {
                let wanted = |name: &str| whole || WANTED.names.contains(&name);
                let members = members.into_iter().filter(|(name, _)| wanted(name));
                let below = |name: &str| whole || WANTED.whole.contains(&name);
                members.map(|(name, value)| (name.clone(), cut(value, below(&name)))).collect()
            }
            Value::Number(_) => Value::from(0),
            other @ (Value::Null | Value::Bool(_) | Value::String(_)) => other,
        }
    }

    fn value(excerpt: &Excerpt<'_>) -> Value {
        match excerpt {
            Excerpt::Bool(value) => (*value).into(),
            Excerpt::List(items) => items.iter().map(value).collect(),
            Excerpt::Null => Value::Null,
            Excerpt::Number => 0.into(),
            Excerpt::Object(members) => {
                members.iter().map(|(name, one)| (name.to_string(), value(one))).collect()
            }
            Excerpt::Text(text) => Value::from(&**text),
        }
    }

    /// Three readers of a text. Where the strict one takes the whole, the excerpt is what is wanted of
    /// it. Where it does not, the excerpt is refused, too, or what is bad stands where nobody looks, and
    /// then a reader that takes the last of several members of one name sees the same.
    fn agree(text: &str) {
        let whole = super::super::parse(text.as_bytes());
        match (excerpt(text, WANTED), whole) {
            (Ok(found), Ok(whole)) => assert_eq!(value(&found), cut(whole, false), "{text}"),
            (Err(_), Err(_)) => {}
            (Ok(found), Err(_)) => {
                serde_json::from_str::<IgnoredAny>(text).unwrap();
                if let Ok(last) = serde_json::from_str::<Value>(text) {
                    assert_eq!(value(&found), cut(last, false), "{text}");
                }
            }
            (Err(error), Ok(_)) => panic!("{text}: {error}"),
        }
    }

    /// A document whose object `at` has so many names, and then this one.
    fn wide(at: &str, last: &str) -> String {
        let names: Vec<String> = (0..40).map(|index| format!("\"n{index}\":{index}")).collect();
        format!("{{\"{at}\":{{{},{last}:0}}}}", names.join(","))
    }

    #[test]
    fn refuses_what_is_wanted_and_ambiguous_and_what_is_no_json() {
        for (text, wanted) in [
            (r#"{"a":{"a":1,"a":1}}"#, "the name `a` stands twice"),
            (r#"{"a":1,"x":0,"a":1}"#, "the name `a` stands twice"),
            (r#"{"a":[{"b":{"a":1,"\u0061":2}}]}"#, "the name `a` stands twice"),
            (r#"{"labels":{"q":1,"q":2}}"#, "the name `q` stands twice"),
            (&wide("labels", "\"n3\""), "the name `n3` stands twice"),
            (&wide("labels", "\"n\\u0033\""), "the name `n3` stands twice"),
            (r#"{"a":1e999}"#, "number out of range"),
            (r#"{"a":"\ud800"}"#, "unexpected end of hex escape"),
            (r#"{"x":"a"#, "EOF"),
            (r#"{"x":01}"#, "invalid number"),
            (r#"{"x":{"y" 1}}"#, "expected `:`"),
            (r#"{1:2}"#, "key must be a string"),
            ("{} {}", "trailing characters"),
            ("", "EOF"),
            (&"[".repeat(200), "recursion limit"),
            (&r#"{"a":"#.repeat(128), "recursion limit"),
        ] {
            let error = excerpt(text, WANTED).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            let whole = super::super::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, whole.to_string(), "{text}");
        }
    }

    #[test]
    fn passes_over_what_nobody_asks_for() {
        for text in [
            r#"{"a":[1,-2,3.5,true,null,"x\n\u0061"],"x":{"a":1},"labels":{"q":{"z":"y"}}}"#,
            r#"{"x":{"y":1,"y":1}}"#,
            r#"{"x":1,"x":2}"#,
            r#"{"x":1e999}"#,
            &wide("labels", "\"n40\""),
            &wide("x", "\"n3\""),
            &format!("{}1{}", r#"{"a":"#.repeat(126), "}".repeat(126)),
            // Nothing is held for each level of what is passed over but its bracket.
            &format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            assert!(excerpt(text, WANTED).is_ok(), "{text}");
            agree(text);
        }
    }

    #[test]
    fn counts_what_it_keeps() {
        let list =
            |name: &str, count: usize| format!("{{\"{name}\":[{}0]}}", r#"{"b":0},"#.repeat(count));
        let fits = (MAX_VALUES - 3) / 2;
        assert!(excerpt(&list("a", fits), WANTED).is_ok());
        let error = excerpt(&list("a", fits + 1), WANTED).unwrap_err().to_string();
        assert!(error.contains("more than 32768 values"), "{error}");
        agree(&list("a", fits + 1));
        assert!(excerpt(&list("x", fits + 1), WANTED).is_ok());
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|index| format!("\"x{index}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(excerpt(&members(MAX_VALUES - 1), WANTED).is_ok());
        assert!(excerpt(&members(MAX_VALUES), WANTED).is_err());
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            let name = prop_oneof!["[abx]", Just("labels".to_owned()), ".{0,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..30)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_reader_on_what_is_json(value in document()) {
            agree(&value.to_string());
        }

        #[test]
        fn agrees_with_the_whole_reader_on_what_is_damaged(
            value in document(),
            at in any::<prop::sample::Index>(),
            with in r#"["{}\[\]:,0a\\\\ ]{0,3}"#,
        ) {
            let mut text: Vec<char> = value.to_string().chars().collect();
            let at = at.index(text.len());
            text.splice(at..at + 1, with.chars());
            agree(&text.into_iter().collect::<String>());
        }
    }
}
