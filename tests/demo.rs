//! What a newcomer tries first: `make demo`, which ends what it started and notices wrong answers,
//! and the commands of the README.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;
use tempfile::TempDir;

use self::answer::Answer;
use self::requests::Wanted;
use self::requests::With;

#[path = "../examples/demo/answer.rs"]
mod answer;
#[path = "../examples/demo/requests.rs"]
#[expect(dead_code, reason = "the demo uses all of it")]
mod requests;

/// The demo, with `temporary` as its folder for temporary files.
fn demo(temporary: &TempDir) -> Command {
    let folder = Path::new(env!("CARGO_BIN_EXE_tegata")).with_file_name("examples");
    let program = folder.join("demo");
    assert!(program.is_file(), "build it first: cargo build --example demo");
    let mut command = Command::new(program);
    command.env_clear().env("TMPDIR", temporary.path());
    command
}

/// Whether some process has `text` in its command line.
fn runs(text: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    })
}

/// Waits until no process of a demo in `temporary` is left, and looks that its files are gone.
fn assert_clean(temporary: &TempDir) {
    let (path, start) = (temporary.path().to_str().unwrap(), Instant::now());
    while runs(path) {
        assert!(start.elapsed() < Duration::from_secs(5), "`tegata serve` still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read_dir(path).unwrap().count(), 0, "files are left in {path}");
}

#[test]
fn every_answer_is_as_wanted_and_nothing_is_left() {
    let temporary = TempDir::new().unwrap();
    let output = demo(&temporary).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(!stdout.contains('\u{1b}'), "colour, but no terminal");
    let rows = stdout.split("──\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for row in rows.lines() {
        assert!(row.chars().count() <= 100, "{row}");
    }
    let asked = requests::all().len();
    assert_eq!(rows.lines().filter(|row| !row.starts_with(' ')).count(), asked, "{rows}");
    let denial = stdout.lines().last().unwrap();
    assert!(denial.starts_with("Error from server (Forbidden): "), "{denial}");
    assert!(denial.contains("initContainers[0].image") && denial.ends_with("[signature-absent]"));
    assert_clean(&temporary);
}

/// A running demo. It is asked to end when the test ends, also by a failure.
struct Running(Child);

impl Running {
    fn terminate(&self) -> bool {
        let pid = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.terminate() {
            let _ = self.0.wait();
        }
    }
}

/// Its lines up to the one that says how to end it.
fn lines_of(child: &mut Child) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap().starts_with("Ctrl-C") {
            return lines;
        }
    }
    panic!("it ended early: {lines:#?}");
}

#[test]
fn stays_up_when_asked_and_ends_by_signal() {
    let temporary = TempDir::new().unwrap();
    let child = demo(&temporary).env("KEEP", "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut running = Running(child);
    let lines = lines_of(&mut running.0);
    assert!(runs(&format!("{}/tegata-demo-", temporary.path().display())));
    let calls = lines.iter().position(|line| line.starts_with("Ask on the command line")).unwrap();
    let calls = lines[calls + 1..].iter().take_while(|line| !line.is_empty());
    let calls = calls.map(|line| line.trim_end_matches('\\')).collect::<Vec<_>>();
    let codes = calls.chunks(2).map(|call| {
        let output =
            Command::new("/bin/sh").env_clear().args(["-c", &call.concat()]).output().unwrap();
        output.status.code().unwrap()
    });
    assert_eq!(codes.collect::<Vec<_>>(), [0, 1, 1], "{calls:?}");
    assert!(running.terminate());
    assert!(running.0.wait().unwrap().success());
    assert_clean(&temporary);
}

/// Each `tegata verify` of the README, from the root of the package: the text beside them says that
/// the third fails.
#[test]
fn commands_of_the_readme_do_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binaries = Path::new(env!("CARGO_BIN_EXE_tegata")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands = blocks.map(|block| block.replace("\\\n", " "));
    let commands: Vec<_> =
        commands.flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let commands = commands.iter().filter(|line| line.starts_with("tegata verify "));
    let codes = commands.map(|command| {
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().env("PATH", binaries).current_dir(root).args(["-c", command]);
        shell.output().unwrap().status.code().unwrap()
    });
    assert_eq!(codes.collect::<Vec<_>>(), [0, 0, 1, 0]);
}

/// The answer to `uid` as the server gives it to a pod that is pinned.
fn pinned() -> Value {
    let digest = format!("sha256:{}", "a".repeat(64));
    let images = json!([{ "path": "p", "image": "i:v1", "digest": digest, "verdict": "verified" }]);
    // [{"op":"replace","path":"p","value":"i:v1@sha256:aa…"}]
    let patch = json!([{ "op": "replace", "path": "p", "value": format!("i:v1@{digest}") }]);
    let patch = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, patch.to_string());
    json!({ "response": {
        "uid": "uid",
        "allowed": true,
        "patch": patch,
        "auditAnnotations": { "decision": "admitted", "images": images.to_string() },
    }})
}

/// The same as a denial.
fn denial() -> Value {
    let images = json!([
        { "image": "i", "verdict": "verified" },
        { "image": "j", "verdict": "rejected", "reasons": ["signature-absent"] },
    ]);
    json!({ "response": {
        "uid": "uid",
        "allowed": false,
        "status": { "code": 403, "message": "j is rejected at step evidence: found: nothing" },
        "auditAnnotations": { "reasons": "signature-absent", "images": images.to_string() },
    }})
}

const PINNED: Wanted =
    Wanted { allowed: true, verdict: Verdict::Verified, reason: None, with: With::Patch };

const DENIED: Wanted = Wanted {
    allowed: false,
    verdict: Verdict::Rejected,
    reason: Some(Reason::SignatureAbsent),
    with: With::Nothing,
};

fn difference(mut review: Value, wanted: Wanted, change: (&str, Value)) -> Option<String> {
    let (pointer, value) = change;
    if !pointer.is_empty() {
        *review.pointer_mut(pointer).unwrap() = value;
    }
    Answer::parse(&review, "uid").unwrap().difference(&wanted)
}

#[test]
fn takes_the_wanted_answers() {
    assert_eq!(difference(pinned(), PINNED, ("", Value::Null)), None);
    assert_eq!(difference(denial(), DENIED, ("", Value::Null)), None);
}

#[test]
fn notices_every_difference() {
    let other = json!([{ "digest": "sha256:b", "verdict": "verified" }]).to_string();
    let undecided = json!([{ "verdict": "indeterminate" }]).to_string();
    let nothing = Wanted { with: With::Nothing, ..PINNED };
    let warned = Wanted { with: With::Warning, ..DENIED };
    let mismatch = Wanted { reason: Some(Reason::IssuerMismatch), ..DENIED };
    let change = |pointer: &'static str, value: &str| (pointer, json!(value));
    let none = ("", Value::Null);
    let images = "/response/auditAnnotations/images";
    for (review, wanted, change, named) in [
        (pinned(), PINNED, ("/response/allowed", json!(false)), "wanted `allowed, verified`"),
        (pinned(), PINNED, change("/response/patch", "W10="), "patch"),
        (pinned(), PINNED, change(images, &other), "patch"),
        (pinned(), nothing, none.clone(), "patch"),
        (pinned(), PINNED, change(images, "[]"), "found `allowed, none`"),
        (denial(), DENIED, change(images, &undecided), "found `denied, 403, indeterminate"),
        (denial(), DENIED, ("/response/status/code", json!(503)), "found `denied, 503"),
        (denial(), mismatch, none.clone(), "wanted `denied, 403, rejected, issuer-mismatch`"),
        (denial(), warned, none, "wanted Warning"),
        (denial(), DENIED, change("/response/status/message", "no"), "at step evidence"),
        (denial(), DENIED, change("/response/status/message", ""), "without a message"),
    ] {
        let found = difference(review, wanted, change).unwrap_or_default();
        assert!(found.contains(named), "wanted `{named}` in: {found}");
    }
    assert!(Answer::parse(&denial(), "another").is_err());
}
