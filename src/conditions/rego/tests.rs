#![allow(clippy::unwrap_used, reason = "test support")]
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::conditions::Budget;
use crate::conditions::tests::now;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Longer than any evaluation may take, without optimisation and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn check(text: &str, input: &Value) -> Result<(), Failure> {
    let module = compile(text, "p").unwrap();
    module.check(input, now(), &Budget::default())
}

fn input() -> Value {
    json!({"predicateType": "t", "predicate": {"n": 3, "list": (0..300).collect::<Vec<_>>(),
        "builder": {"id": "b"}, "finished": "2026-11-22T11:00:00Z"}})
}

#[test]
fn accepts_modules_of_both_versions() {
    for text in [
        "package sigstore\ndefault isCompliant = false\nisCompliant { input.predicate.n == 3 }",
        "package sigstore\nimport rego.v1\ndefault isCompliant := false\nisCompliant if { input.predicate.n == 3 }",
        "package sigstore\nisCompliant { startswith(input.predicate.builder.id, \"b\"); count(input.predicate.list) == 300 }",
        "package sigstore\nisCompliant { regex.match(\"^b$\", input.predicate.builder.id) }",
        "package sigstore\nisCompliant { time.now_ns() - time.parse_rfc3339_ns(input.predicate.finished) <= time.parse_duration_ns(\"1h\") }",
        "package sigstore\nisCompliant { sprintf(\"%s-%d\", [\"a\", 1]) == \"a-1\"; concat(\",\", [\"a\", \"b\"]) == \"a,b\"; replace(\"aba\", \"a\", \"c\") == \"cbc\" }",
        "package sigstore\nisCompliant[r] { r := {\"result\": true, \"error\": \"\"} }",
    ] {
        assert_eq!(check(text, &input()), Ok(()), "{text}");
    }
}

#[test]
fn rejects_what_is_not_exactly_true() {
    let rule = |body: &str| format!("package sigstore\nerrorMsg = \"told\"\n{body}");
    for (text, reason, found) in [
        (rule("default isCompliant = false"), Reason::ConditionUnmet, "told"),
        (rule("isCompliant = 1"), Reason::ConditionUnmet, "told"),
        (rule("isCompliant = \"true\""), Reason::ConditionUnmet, "told"),
        (rule("isCompliant { input.missing }"), Reason::ConditionUnmet, "told"),
        (rule("isCompliant = []"), Reason::ConditionUnmet, "told"),
        (
            rule("isCompliant[r] { r := {\"result\": false, \"error\": \"from the set\"} }"),
            Reason::ConditionUnmet,
            "from the set",
        ),
        (
            rule("isCompliant = [{\"result\": true}, {\"result\": false, \"error\": \"second\"}]"),
            Reason::ConditionUnmet,
            "second",
        ),
        (
            rule("isCompliant { f(1) }\nf(x) = y { y := concat(1, [x]) }"),
            Reason::ConditionError,
            "cannot be evaluated",
        ),
        (
            "package sigstore\ndefault isCompliant = false".to_owned(),
            Reason::ConditionUnmet,
            "isCompliant is not true",
        ),
    ] {
        let failure = check(&text, &input()).unwrap_err();
        assert_eq!(failure.reason, reason, "{text}: {failure}");
        assert!(failure.found.contains(found), "{text}: {failure}");
    }
}

#[test]
fn rejects_when_compiled() {
    let rule = |body: &str| format!("package sigstore\nisCompliant {{ {body} }}");
    let long = format!("{}\n{}", rule("true"), "#\n".repeat(MAX_MODULE_BYTES / 2));
    for (text, found) in [
        ("package other\nisCompliant { true }".to_owned(), "of package `other`"),
        ("package sigstore\nallow { true }".to_owned(), "cannot be used"),
        ("isCompliant".to_owned(), "cannot be used"),
        (String::new(), "cannot be used"),
        (
            rule("http.send({\"method\": \"get\", \"url\": \"http://x\"})"),
            "`http.send` is not available",
        ),
        (rule("opa.runtime ()"), "`opa.runtime` is not available"),
        (rule("numbers.range(1, 1000000000)"), "`numbers.range` is not available"),
        (long, "a module of"),
    ] {
        let error = compile(&text, "p").map(drop).unwrap_err();
        assert!(error.problem.contains(found), "{text}: {error}");
    }
    let fits = format!("{}\n", rule("true"));
    let fits = format!("{fits}{}", "#\n".repeat((MAX_MODULE_BYTES - fits.len()) / 2));
    assert!(compile(&fits, "p").is_ok());
}

#[test]
fn stops_what_would_take_for_ever() {
    let loops = "package sigstore\nisCompliant { l := input.predicate.list; a := l[_]; b := l[_]; c := l[_]; d := l[_]; a + b + c + d < 0 }";
    let start = Instant::now();
    let failure = check(loops, &input()).unwrap_err();
    assert_eq!(failure.reason, Reason::ConditionTooCostly, "{failure}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn texts_do_not_double_without_end() {
    for step in [
        "concat(\"\", [x, x])",
        "sprintf(\"%s%s\", [x, x])",
        "replace(x, \"x\", \"xx\")",
        "sprintf(\"%v\", [[x, x]])",
    ] {
        let steps: String = (1..=25)
            .map(|i| {
                format!(
                    "x{i} := {}\n",
                    step.replace("x,", "Y,")
                        .replace("x]", "Y]")
                        .replace("(x", "(Y")
                        .replace('Y', &format!("x{}", i - 1))
                )
            })
            .collect();
        let text = format!("package sigstore\nisCompliant {{\nx0 := \"x\"\n{steps}x25 != \"\"\n}}");
        let failure = check(&text, &input()).unwrap_err();
        assert_eq!(failure.reason, Reason::ConditionError, "{step}: {failure}");
        assert!(failure.found.contains("more than 65536 bytes"), "{step}: {failure}");
    }
}

#[test]
fn bounds_a_text_from_both_sides() {
    let most = functions::MAX_TEXT_BYTES;
    for made in [
        "concat(\"\", [input.text, \"\"])",
        "sprintf(\"%s\", [input.text])",
        "replace(input.text, \"y\", \"z\")",
    ] {
        let text = format!("package sigstore\nisCompliant {{ count({made}) > 1 }}");
        let of = |bytes: usize| check(&text, &json!({ "text": "x".repeat(bytes) }));
        assert_eq!(of(most), Ok(()), "{made}");
        let failure = of(most + 1).unwrap_err();
        assert_eq!(failure.reason, Reason::ConditionError, "{made}: {failure}");
        assert!(failure.found.contains("more than 65536 bytes"), "{made}: {failure}");
    }
}

#[test]
fn nothing_overflows_the_stack() {
    let chain: String = (0..900).map(|i| format!("a{i} {{ a{} }}\n", i + 1)).collect();
    for text in [
        format!("package sigstore\nisCompliant {{ a0 }}\n{chain}a900 = true"),
        "package sigstore\nf(x) = y { y := f(x) }\nisCompliant { f(1) }".to_owned(),
        "package sigstore\nf(x) = y { y := count(x) with count as f }\nisCompliant { f([1]) }"
            .to_owned(),
        "package sigstore\nf(x) = y { y := data.sigstore[\"f\"](x) }\nisCompliant { f(1) }"
            .to_owned(),
        "package sigstore\nimport data.sigstore.f as g\nf(x) = g(x)\nisCompliant { f(1) }"
            .to_owned(),
        "package sigstore\na := 1 f(x) =\nf(x)\nisCompliant { f(1) }".to_owned(),
        "package sigstore\nisCompliant { a }\na { b }\nb { a }".to_owned(),
        format!("package sigstore\nisCompliant {{ {}1{} }}", "(".repeat(5_000), ")".repeat(5_000)),
        format!(
            "package sigstore\nisCompliant {{ x := {}{} }}",
            "[".repeat(5_000),
            "]".repeat(5_000)
        ),
        format!("package sigstore\nx := {}{}", "[".repeat(10), "]".repeat(10)),
        format!("package sigstore\nx := {}1{}", "{".repeat(10), "}".repeat(10)),
        format!("package sigstore\nx := {}1{}", "(".repeat(10), ")".repeat(10)),
        format!("package sigstore\nx := {}", "-".repeat(9_000)),
        format!("package sigstore\nx := 1{}", " + 1".repeat(3_000)),
        format!("package sigstore\nx := a{}", ".b".repeat(7_000)),
        format!("package sigstore\nisCompliant {{ {}true }}", "not ".repeat(3_000)),
    ] {
        let start = Instant::now();
        if let Ok(module) = compile(&text, "p") {
            let _ = module.check(&input(), now(), &Budget::default());
        }
        assert!(start.elapsed() < PATIENCE, "{text:.80}: {:?}", start.elapsed());
    }
}

#[test]
fn evaluations_are_counted() {
    let module = compile("package sigstore\nisCompliant { true }", "p").unwrap();
    let budget = Budget::default();
    let results: Vec<_> = (0..17).map(|_| module.check(&input(), now(), &budget)).collect();
    assert!(results[..16].iter().all(Result::is_ok));
    let failure = results[16].clone().unwrap_err();
    assert_eq!(failure.reason, Reason::ConditionTooCostly);
}
