//! YAML as a tree that remembers its lines.
use std::fmt;

use serde::Deserialize;
use serde::de;
use serde_json::Map;
use serde_json::Number;
use serde_json::Value;
use serde_saphyr::Spanned;

/// Most documents in one file: a policy has some twenty lines, and a file of the largest size
/// holds no more than a few thousand.
const MAX_DOCUMENTS: usize = 256;

/// Deepest nesting: a policy has eight levels, a trust root in it some ten more.
const MAX_DEPTH: usize = 64;

/// Most nodes in one file, aliases expanded: a trusted root has some five hundred.
const MAX_NODES: usize = 100_000;

/// A value and the line on which it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    line: u64,
    value: Tree,
}

#[derive(Clone, Debug)]
enum Tree {
    Scalar(Value),
    Sequence(Vec<Node>),
    Mapping(Vec<(String, u64, Node)>),
}

/// Why a text is not YAML that we read.
#[derive(Clone, Debug)]
pub(super) struct YamlError {
    pub(super) line: Option<u64>,
    pub(super) problem: String,
}

/// The documents of a YAML text, empty ones left out.
///
/// Duplicate keys are refused, aliases are counted when they are expanded.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: MAX_DOCUMENTS,
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
        },
        // `y`, `on` and `no` are texts, as in every field that may hold them.
        strict_booleans: true,
        with_snippet: false,
    };
    let documents: Vec<Node> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
            // A parser's texts may draw the place over several lines; the first says what it is.
            let text = error.without_snippet().to_string();
            let first = text.lines().next().unwrap_or_default();
            YamlError { line, problem: crate::verdict::printable(first) }
        })?;
    Ok(documents
        .into_iter()
        .filter(|node| !matches!(node.value, Tree::Scalar(Value::Null)))
        .collect())
}

impl Node {
    /// The line on which it begins.
    pub(super) const fn line(&self) -> u64 {
        self.line
    }

    /// The same without lines.
    pub(super) fn to_value(&self) -> Value {
        match &self.value {
            Tree::Scalar(value) => value.clone(),
            Tree::Sequence(nodes) => Value::Array(nodes.iter().map(Self::to_value).collect()),
            Tree::Mapping(entries) => {
                let entry = |(key, _, node): &(String, u64, Self)| (key.clone(), node.to_value());
                Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
            }
        }
    }

    /// The line of the field at `path`, or of the nearest field around it that is there.
    pub(super) fn line_of(&self, path: &str) -> u64 {
        let mut node = self;
        let mut line = self.line;
        for segment in path.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
            let found = match &node.value {
                Tree::Mapping(entries) => entries
                    .iter()
                    .find(|(key, _, _)| key == segment)
                    .map(|(_, line, node)| (*line, node)),
                Tree::Sequence(nodes) => segment
                    .parse()
                    .ok()
                    .and_then(|index: usize| nodes.get(index))
                    .map(|node| (node.line, node)),
                Tree::Scalar(_) => None,
            };
            let Some((found_line, found)) = found else {
                break;
            };
            (line, node) = (found_line, found);
        }
        line
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Tree>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> de::Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value with texts as keys")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Number(value.into())))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        Number::from_f64(value)
            .map(|number| Tree::Scalar(Value::Number(number)))
            .ok_or_else(|| E::custom("a number that JSON does not have"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Tree, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(Tree::Sequence(nodes))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((key.value, key.referenced.line(), map.next_value()?));
        }
        Ok(Tree::Mapping(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_lines() {
        let nodes = parse("---\na:\n  - b: 1\n    c: [x]\n---\n---\nd: {e: f}\n").unwrap();
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].line_of("a[0].c"), 4);
        assert_eq!(nodes[0].line_of("a[0].c[0]"), 4);
        assert_eq!(nodes[0].line_of("a[0].absent.deeper"), 3);
        assert_eq!(nodes[1].line_of("d.e"), 7);
        assert_eq!(nodes[0].to_value(), serde_json::json!({"a": [{"b": 1, "c": ["x"]}]}));
    }

    #[test]
    fn rejects_what_hides_or_explodes() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let deep = format!("a: {}{}\n", "[".repeat(100), "]".repeat(100));
        let many = "---\na: 1\n".repeat(MAX_DOCUMENTS + 1);
        for text in ["a: 1\na: 2\n", "a: [\n", "a: .nan\n", "[1]: 2\n", &bomb, &deep, &many] {
            let error = parse(text).expect_err(text.get(..text.len().min(60)).unwrap());
            assert!(!error.problem.is_empty() && !error.problem.contains('\n'));
        }
        let duplicate = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(duplicate.line, Some(3), "{duplicate:?}");
    }
}
