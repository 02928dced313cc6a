//! The parts of a document that a reader asks for, read as strictly as the whole.
use std::borrow::Cow;
use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use super::MAX_VALUES;
use super::Tree;
use super::counted;
use super::doubled;

/// Names of one object that are compared one by one. Objects in the field have fewer; beyond, a hash
/// is cheaper.
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

/// Reads what is wanted of one document of at most [`MAX_VALUES`]. What is not wanted is looked at
/// all the same: the text is refused where [`super::parse`] refuses it, with the same words.
///
/// # Errors
/// As [`super::parse`].
pub fn excerpt(text: &str, wanted: Wanted) -> Result<Excerpt<'_>, serde_json::Error> {
    let reader = Reader { left: Cell::new(MAX_VALUES), wanted, names: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Keep { reader: &reader, whole: false }.deserialize(&mut deserializer)?;
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

struct Reader<'de> {
    /// How many values the document may still have.
    left: Cell<usize>,
    wanted: Wanted,
    /// The names that were read of each object around the place that is read, outermost first.
    names: RefCell<Vec<Cow<'de, str>>>,
}

/// The names of one object, so far.
struct Names<'r, 'de> {
    of_all: &'r RefCell<Vec<Cow<'de, str>>>,
    /// Where its own begin.
    base: usize,
    /// Its own, once there are more than a few.
    many: Option<HashSet<Cow<'de, str>>>,
}

impl<'r, 'de> Names<'r, 'de> {
    fn new(of_all: &'r RefCell<Vec<Cow<'de, str>>>) -> Self {
        let base = of_all.borrow().len();
        Self { of_all, base, many: None }
    }

    /// Takes a name in.
    fn add<E: Error>(&mut self, name: Cow<'de, str>) -> Result<(), E> {
        let fresh = match &mut self.many {
            Some(many) => many.insert(name.clone()),
            None => {
                let mut all = self.of_all.borrow_mut();
                let fresh = all.iter().skip(self.base).all(|other| *other != name);
                all.push(name.clone());
                if all.len() - self.base > FEW {
                    self.many = Some(all.drain(self.base..).collect());
                }
                fresh
            }
        };
        if fresh { Ok(()) } else { Err(doubled(&name)) }
    }
}

impl Drop for Names<'_, '_> {
    fn drop(&mut self) {
        self.of_all.borrow_mut().truncate(self.base);
    }
}

/// The name of a member, or a text.
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
struct Keep<'r, 'de> {
    reader: &'r Reader<'de>,
    whole: bool,
}

impl<'de> DeserializeSeed<'de> for Keep<'_, 'de> {
    type Value = Excerpt<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        counted(&self.reader.left)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keep<'_, 'de> {
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
        let Self { reader, whole } = self;
        let Wanted { names, whole: below } = reader.wanted;
        let mut members = Vec::new();
        let mut seen = Names::new(&reader.names);
        while let Some(name) = access.next_key_seed(Name)? {
            seen.add(name.clone())?;
            if whole || names.contains(&&*name) {
                let whole = whole || below.contains(&&*name);
                let value = access.next_value_seed(Self { reader, whole })?;
                members.push((name, value));
            } else {
                access.next_value_seed(Skip { reader })?;
            }
        }
        Ok(Excerpt::Object(members))
    }
}

/// Looks at a value that is not wanted.
#[derive(Clone, Copy)]
struct Skip<'r, 'de> {
    reader: &'r Reader<'de>,
}

impl<'de> DeserializeSeed<'de> for Skip<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        counted(&self.reader.left)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        super::finite(value).map(drop)
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while access.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut seen = Names::new(&self.reader.names);
        while let Some(name) = access.next_key_seed(Name)? {
            seen.add(name.clone())?;
            access.next_value_seed(self)?;
        }
        Ok(())
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

    /// Both readers of a text: the excerpt of one is what is wanted of the other's, and both refuse
    /// with the same words.
    fn agree(text: &str) {
        let whole = super::super::parse(text.as_bytes());
        match (excerpt(text, WANTED), whole) {
            (Ok(found), Ok(whole)) => assert_eq!(value(&found), cut(whole, false), "{text}"),
            (Err(found), Err(wanted)) => assert_eq!(found.to_string(), wanted.to_string()),
            (found, whole) => panic!("{text}: {found:?}, {whole:?}"),
        }
    }

    #[test]
    fn keeps_what_is_wanted_and_refuses_what_the_whole_is_refused_for() {
        let wide = |last: &str| {
            let names: Vec<String> = (0..40).map(|index| format!("\"n{index}\":{index}")).collect();
            format!("{{\"x\":{{{},{last}:0}}}}", names.join(","))
        };
        for text in [
            r#"{"a":[1,-2,3.5,true,null,"x\n\u0061"],"x":{"a":1},"labels":{"q":{"z":"y"}}}"#,
            r#"{"x":{"y":1,"y":1}}"#,
            r#"{"a":{"a":1,"a":1}}"#,
            r#"{"x":[{"b":{"a":1,"\u0061":2}}]}"#,
            r#"{"labels":{"q":1,"q":2}}"#,
            &wide("\"n40\""),
            &wide("\"n3\""),
            &wide("\"n\\u0033\""),
            r#"{"x":1e999}"#,
            r#"{"x":"\ud800"}"#,
            r#"{"x":"a"#,
            r#"{"x":01}"#,
            r#"{1:2}"#,
            "{} {}",
            "",
            &"[".repeat(200),
            &format!("{}1{}", r#"{"x":"#.repeat(127), "}".repeat(127)),
            &format!("{}1{}", r#"{"x":"#.repeat(128), "}".repeat(128)),
        ] {
            agree(text);
        }
    }

    #[test]
    fn counts_what_it_skips() {
        let list = |count: usize| format!("{{\"x\":[{}0]}}", r#"{"y":0},"#.repeat(count));
        let fits = (MAX_VALUES - 3) / 2;
        assert!(excerpt(&list(fits), WANTED).is_ok());
        let error = excerpt(&list(fits + 1), WANTED).unwrap_err().to_string();
        assert!(error.contains("more than 32768 values"), "{error}");
        agree(&list(fits + 1));
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
