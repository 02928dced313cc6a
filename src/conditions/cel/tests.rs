use std::time::Duration;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::conditions::tests::now;
use crate::conditions::tests::statement;
use crate::policy::pattern::MAX_PATTERN_BYTES;

const KIND: &str = "https://example.com/t";

/// Longer than any evaluation may take, without optimisation and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn compiled(cel: &str) -> Result<Conditions, RuleError> {
    let spec = api::ConditionSpec { cel: cel.to_owned(), message: None };
    compile(&[spec], Scope::Statement, "c")
}

fn check(cel: &str, predicate: &Value) -> Result<(), Failure> {
    let conditions = compiled(cel).unwrap_or_else(|error| panic!("{error}"));
    let statement = statement(KIND, predicate);
    conditions.check(Facts::Statement(&statement), now(), &Budget::default())
}

fn reason(cel: &str, predicate: &Value) -> Option<Reason> {
    check(cel, predicate).err().map(|failure| failure.reason)
}

#[test]
fn conditions_see_the_statement_and_the_time() {
    let predicate = json!({
        "builder": {"id": "https://b"}, "n": 3, "big": 18446744073709551615u64, "f": 1.5,
        "list": [{"a": 1}, {"a": 2}], "finished": "2026-11-21T13:00:00Z", "none": null,
    });
    for cel in [
        "true",
        "predicate.builder.id == 'https://b'",
        "statement.predicate == predicate && statement.predicateType == predicateType",
        "predicateType == 'https://example.com/t'",
        "subject.exists(s, s.digest.sha256.startsWith('6'))",
        "subject[0].name == 'app' && subject.size() == 1",
        "predicate.list.all(x, x.a > 0) && predicate.list.exists_one(x, x.a == 2)",
        "predicate.list.map(x, x.a) == [1, 2] && predicate.list.filter(x, x.a > 1).size() == 1",
        "predicate.list.map(x, x.a > 1, x.a) == [2]",
        "'builder' in predicate && !('other' in predicate) && 3 in [1, 2, 3]",
        "has(predicate.builder) && !has(predicate.missing)",
        "predicate['builder']['id'].matches('^https')",
        "matches(predicate.builder.id, 'b$')",
        "predicate.n + 1 == 4 && predicate.n * 2 > 5 && predicate.n - 1 == 2 && -predicate.n < 0",
        "predicate.big > 1u && predicate.f < 2.0 && predicate.none == null",
        "type(predicate.n) == int && string(predicate.n) == '3' && int('3') == predicate.n",
        "now - timestamp(predicate.finished) < duration('24h')",
        "timestamp(predicate.finished) + duration('23h') <= now",
        "now > timestamp('2026-01-01T00:00:00Z') && now == now",
        "predicate.n > 2 ? true : predicate.missing",
        "[1, 2].all(x, [3, 4].all(y, x < y))",
        "{'a': 1}.a == 1 && 'x' + 'y' == 'xy' && [1] + [2] == [1, 2]",
        "predicate.list.map(x, predicate.list.map(y, x.a + y.a)) == [[2, 3], [3, 4]]",
    ] {
        assert_eq!(check(cel, &predicate), Ok(()), "{cel}");
    }
}

#[test]
fn rejects_what_is_not_exactly_true() {
    let predicate = json!({"n": 3, "s": "text", "list": [1, 2], "when": "yesterday"});
    for (cel, expected, found) in [
        ("false", Reason::ConditionUnmet, "is false"),
        ("predicate.n > 3", Reason::ConditionUnmet, "is false"),
        ("predicate.n", Reason::ConditionError, "yields a int"),
        ("predicate.s", Reason::ConditionError, "yields a string"),
        ("[true]", Reason::ConditionError, "yields a list"),
        ("null", Reason::ConditionError, "yields a null"),
        ("predicate.missing", Reason::ConditionError, "the field `missing` is missing"),
        ("predicate.missing.deeper == 1", Reason::ConditionError, "`missing` is missing"),
        ("predicate.missing != 'bad'", Reason::ConditionError, "`missing` is missing"),
        ("!(predicate.missing == 'bad')", Reason::ConditionError, "`missing` is missing"),
        ("predicate.list.all(x, x.a == 1)", Reason::ConditionError, "cannot be evaluated"),
        ("predicate.list[7] == 1", Reason::ConditionError, "cannot be evaluated"),
        ("predicate.s > 1", Reason::ConditionError, "cannot be evaluated"),
        ("predicate.n.all(x, true)", Reason::ConditionError, "cannot be evaluated"),
        ("predicate.n / 0 == 1", Reason::ConditionError, "cannot be evaluated"),
        ("9223372036854775807 + predicate.n > 0", Reason::ConditionError, "cannot be evaluated"),
        ("timestamp(predicate.when) < now", Reason::ConditionError, "`yesterday` is none"),
        ("duration('never') > duration('1s')", Reason::ConditionError, "`never` is none"),
        ("now < duration('1s')", Reason::ConditionError, "cannot be evaluated"),
        ("predicate.n.matches('x')", Reason::ConditionError, "no string"),
        ("predicate", Reason::ConditionError, "yields a map"),
    ] {
        let failure = check(cel, &predicate).unwrap_err();
        assert_eq!(failure.reason, expected, "{cel}: {failure}");
        assert!(failure.found.contains(found), "{cel}: {failure}");
        assert_eq!(failure.wanted, format!("`{cel}`"));
    }
}

#[test]
fn the_message_is_what_the_user_reads() {
    let spec = api::ConditionSpec {
        cel: "predicate.ok".to_owned(),
        message: Some("ask the release team".to_owned()),
    };
    let conditions = compile(&[spec], Scope::Statement, "c").unwrap();
    let statement = statement(KIND, &json!({"ok": false}));
    let facts = Facts::Statement(&statement);
    let failure = conditions.check(facts, now(), &Budget::default()).unwrap_err();
    assert_eq!(failure.found, "ask the release team");
}

#[test]
fn rejects_when_compiled() {
    for (cel, found) in [
        ("", "empty"),
        ("1 +", "cannot be parsed"),
        ("predicat.a", "`predicat` is no variable"),
        ("input.a", "`input` is no variable"),
        ("size2(predicate)", "`size2` is no function"),
        ("optional.of(1) == 1", "`of` is no function"),
        ("predicate.?a == 1", "cannot be parsed"),
        ("predicate.s.matches(predicate.p)", "not written out"),
        ("predicate.s.matches('(')", "cannot be used"),
        ("predicate.s.matches('(\\\\w{100}){100}')", "cannot be used"),
        ("predicate.all(x)", "not called as it must be"),
        ("a.b.C{d: 1} == 1", "makes a message"),
        ("@meter == 1", "cannot be parsed"),
        ("@pay(1, 2)", "cannot be parsed"),
        ("x.y(1)", "no function"),
        ("dyn(1) == 1", "no function"),
    ] {
        let error = compiled(cel).map(drop).unwrap_err();
        assert!(error.problem.contains(found), "{cel}: {error}");
        assert_eq!(error.path, "c[0].cel");
    }
}

#[test]
fn bounds_the_text_from_both_sides() {
    let long = |bytes: usize| format!("'{}' != ''", "x".repeat(bytes - 8));
    assert!(compiled(&long(MAX_EXPRESSION_BYTES)).is_ok());
    assert!(compiled(&long(MAX_EXPRESSION_BYTES + 1)).is_err());
    let brackets = |count: usize| format!("{} == 1", ["size([])"].repeat(count / 2).join(" + "));
    assert!(compiled(&brackets(MAX_BRACKETS)).is_ok());
    assert!(compiled(&brackets(MAX_BRACKETS + 2)).is_err());
    let branches = |count: usize| format!("{}true", "true ? true : ".repeat(count));
    assert!(compiled(&branches(MAX_BRANCHES)).is_ok());
    assert!(compiled(&branches(MAX_BRANCHES + 1)).is_err());
    let pattern = |bytes: usize| format!("'x'.matches('{}')", "a".repeat(bytes));
    assert!(compiled(&pattern(MAX_PATTERN_BYTES)).is_ok());
    assert!(compiled(&pattern(MAX_PATTERN_BYTES + 1)).is_err());
    // The sum nests as deep as it has operators, within an equation and payments.
    let sum = |terms: usize| format!("{} == 1", ["1"].repeat(terms).join("+"));
    let depth = |cel: &str| compiled(cel).err().map(|error| error.problem);
    assert_eq!(depth(&sum(MAX_DEPTH - 1)), None);
    assert!(depth(&sum(MAX_DEPTH)).unwrap().contains("nests too deep"));
}

/// Texts that nest as the grammar lets them, as long as they may be: each is an answer, none ends
/// the process.
#[test]
fn no_text_overflows_the_stack() {
    let most = |part: &str| part.repeat(MAX_EXPRESSION_BYTES / part.len() - 1);
    let nested = |open: &str, inner: &str, close: &str, levels: usize| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    for cel in [
        nested("(", "true", ")", MAX_BRACKETS),
        nested("[", "", "]", MAX_BRACKETS),
        nested("{1:", "1", "}", MAX_BRACKETS),
        nested("[1].all(x, ", "true", ")", MAX_BRACKETS / 2),
        nested("size(", "1", ")", MAX_BRACKETS),
        format!("{}true", "true ? true : ".repeat(MAX_BRANCHES)),
        format!("{}true", most("!")),
        format!("{}1 == 1", most("-")),
        format!("{}1 == 1", most("- ")),
        format!("predicate{}", most(".a")),
        format!("1{} == 1", most("+1")),
        format!("true{}", most("&&true")),
        format!("true{}", most("||true")),
        format!("1{}", most("<1")),
        format!("1{}", most(" in 1")),
        most("a b "),
        most("'"),
        most("\""),
        most("\\"),
        most("//"),
        most("}"),
        most("?"),
        "é".repeat(MAX_EXPRESSION_BYTES / 2),
        nested("(", "true", ")", 2000),
        nested("[", "", "]", 10_000),
    ] {
        if let Ok(conditions) = compiled(&cel) {
            let statement = statement(KIND, &json!({"a": 1}));
            let facts = Facts::Statement(&statement);
            let _ = conditions.check(facts, now(), &Budget::default());
        }
    }
}

/// A predicate with a list of this many numbers and a text of this many bytes.
fn large(items: usize, bytes: usize) -> Value {
    let list: Vec<usize> = (0..items).collect();
    json!({"list": list, "text": "x".repeat(bytes), "words": vec!["word"; items.min(1000)]})
}

#[test]
fn stops_what_would_take_for_ever() {
    let predicate = large(30_000, 500_000);
    let doubled = |start: &str| format!("{start}{}.size() > 0", ".map(x, x + x)".repeat(40));
    let nested = format!("[predicate.list]{}.size() > 0", ".map(x, [x, x])".repeat(22));
    for cel in [
        "predicate.list.all(a, predicate.list.all(b, predicate.list.all(c, a + b + c >= 0)))",
        "predicate.list.exists(a, predicate.list.exists(b, predicate.list.exists(c, a + b + c < 0)))",
        "predicate.list.map(a, predicate.list.map(b, a + b)).size() > 0",
        "predicate.list.filter(a, predicate.list.filter(b, b > a).size() > 0).size() > 0",
        "predicate.list.exists_one(a, predicate.list.exists_one(b, a == b))",
        "predicate.list.all(a, predicate == statement.predicate)",
        "predicate.list.all(a, !(-1 in predicate.list))",
        "predicate.list.map(a, predicate.text).size() > 0",
        "predicate.list.map(a, predicate.text + 'x').size() > 0",
        "predicate.list.map(a, [predicate, predicate]).size() > 0",
        "predicate.list.map(a, {'a': predicate}).size() > 0",
        "predicate.list.all(a, predicate.text.size() > 0)",
        "predicate.list.all(a, predicate.text.contains('y') || true)",
        "predicate.list.all(a, predicate.text.matches('(x+x+)+y') || true)",
        "predicate.list.all(a, predicate.list[1.5] == 1 || true)",
        "predicate.list.all(a, predicate.list - 1 == 1 || true)",
        "predicate.list.all(a, -predicate.list == 1 || true)",
        "predicate.list.all(a, predicate.text < predicate.text || true)",
        "predicate.list.all(a, bytes(predicate.text) != b'')",
        // Errors are put off by `exists` and `||`; the budget is not.
        "predicate.list.exists(a, predicate.list.map(b, b).size() == 0) || true",
        doubled("['x']").as_str(),
        doubled("[[1]]").as_str(),
        nested.as_str(),
    ] {
        let conditions = compiled(cel).unwrap_or_else(|error| panic!("{error}"));
        let statement = statement(KIND, &predicate);
        let start = Instant::now();
        let budget = Budget::new(crate::conditions::MAX_UNITS / 8);
        let facts = Facts::Statement(&statement);
        let failure = conditions.check(facts, now(), &budget).unwrap_err();
        assert_eq!(failure.reason, Reason::ConditionTooCostly, "{cel}: {failure}");
        assert!(start.elapsed() < PATIENCE, "{cel}: {:?}", start.elapsed());
    }
}

#[test]
fn what_real_rules_cost_is_within_the_budget() {
    // A bill of materials with 2,500 packages of a dozen values.
    let package = json!({"name": "package", "versionInfo": "1.2.3", "licenseConcluded": "MIT",
        "a": "x".repeat(40), "b": "x".repeat(40), "c": "x".repeat(40), "d": "x".repeat(40),
        "e": [{"f": "x".repeat(60)}]});
    let predicate = json!({"packages": vec![package; 2_500]});
    let budget = Budget::default();
    let statement = statement(KIND, &predicate);
    for cel in [
        "predicate.packages.all(p, p.licenseConcluded != 'AGPL-3.0')",
        "predicate.packages.exists(p, p.name == 'package' && p.versionInfo.startsWith('1.'))",
        "predicate.packages.filter(p, p.name.matches('^log4j')).size() == 0",
        "predicate.packages.map(p, p.name).all(n, n in ['package', 'other'])",
    ] {
        let facts = Facts::Statement(&statement);
        let checked = compiled(cel).unwrap().check(facts, now(), &budget);
        assert_eq!(checked, Ok(()), "{cel}");
    }
}

#[test]
fn a_budget_is_shared_by_all_that_it_is_handed_to() {
    let conditions = compiled("predicate.list.all(x, x >= 0)").unwrap();
    let statement = statement(KIND, &large(1_000, 0));
    let budget = Budget::new(60_000);
    let check = || conditions.check(Facts::Statement(&statement), now(), &budget);
    assert_eq!(check(), Ok(()));
    let failure = (0..10).find_map(|_| check().err()).unwrap();
    assert_eq!(failure.reason, Reason::ConditionTooCostly);
    assert_eq!(check().unwrap_err().reason, Reason::ConditionTooCostly);
}

#[test]
fn in_place_appending_is_kept() {
    // Were the accumulator copied at each step, this would cost a thousand times as much.
    let statement = statement(KIND, &large(20_000, 0));
    let conditions = compiled("predicate.list.map(x, x).filter(x, x > 5).size() > 0").unwrap();
    let facts = Facts::Statement(&statement);
    assert_eq!(conditions.check(facts, now(), &Budget::new(2_000_000)), Ok(()));
}

#[test]
fn missing_is_not_absorbed_by_accident() {
    assert_eq!(
        reason("predicate.list.all(x, x.ok)", &json!({"list": [{}]})),
        Some(Reason::ConditionError)
    );
    assert_eq!(reason("predicate.list.all(x, x.ok)", &json!({"list": [{"ok": true}]})), None);
    assert_eq!(reason("predicate.list.all(x, x.ok)", &json!({})), Some(Reason::ConditionError));
}

/// Pieces of expressions, joined at random.
fn expression() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "predicate",
        "statement",
        "subject",
        "now",
        "predicateType",
        ".list",
        ".text",
        ".a",
        "[0]",
        "['a']",
        "x",
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " == ",
        " != ",
        " < ",
        " in ",
        " && ",
        " || ",
        " ? ",
        " : ",
        "!",
        "-",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "1",
        "2u",
        "1.5",
        "'s'",
        "b'b'",
        "null",
        "true",
        ".all(x, ",
        ".exists(x, ",
        ".map(x, ",
        ".filter(x, ",
        "has(",
        "size(",
        "string(",
        "int(",
        "double(",
        "timestamp(",
        "duration('1h')",
        ".matches('a')",
        ".contains(",
        "type(",
        "é",
        "\\",
        "'",
        "//",
        "\n",
    ]);
    prop::collection::vec(piece, 1..20).prop_map(|pieces| pieces.concat())
}

/// Expressions that are likely to parse.
fn well_formed() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "predicate",
        "statement",
        "now",
        "predicate.list",
        "predicate.text",
        "predicate.a",
        "1",
        "2u",
        "1.5",
        "'s'",
        "null",
        "true",
        "[1, 2]",
        "{'a': 1}",
        "duration('1h')",
        "b'b'",
        "int",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||",
        ]);
        let function = prop::sample::select(vec![
            "size",
            "string",
            "int",
            "uint",
            "double",
            "bytes",
            "timestamp",
            "duration",
            "type",
        ]);
        let member = prop::sample::select(vec![
            ".all(x, ",
            ".exists(x, ",
            ".exists_one(x, ",
            ".map(x, ",
            ".filter(x, ",
            ".contains(",
            ".startsWith(",
            ".endsWith(",
            "[",
        ]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (function, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), member, inner.clone()).prop_map(|(a, m, b)| {
                let close = if m == "[" { "]" } else { ")" };
                format!("{a}{m}{b}{close}")
            }),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gets_an_answer(cel in expression()) {
        if let Ok(conditions) = compiled(&cel) {
            let statement = statement(KIND, &json!({"list": [1, "a", {"a": [1]}], "text": "ab", "a": {"a": 1}}));
            let start = Instant::now();
            let checked = conditions.run(Facts::Statement(&statement), now(), &Budget::new(100_000));
            prop_assert!(start.elapsed() < PATIENCE);
            if let Err(failure) = checked {
                prop_assert_eq!(failure.step(), crate::verdict::Step::Conditions);
            }
        }
    }

    #[test]
    fn any_expression_gets_an_answer(cel in well_formed()) {
        if let Ok(conditions) = compiled(&cel) {
            let statement = statement(KIND, &large(300, 300));
            let start = Instant::now();
            let _ = conditions.run(Facts::Statement(&statement), now(), &Budget::new(200_000));
            prop_assert!(start.elapsed() < PATIENCE);
        }
    }
}
