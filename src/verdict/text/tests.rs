use super::*;
use crate::verdict::Step;

fn step_passed(step: Step) -> StepReport {
    StepReport::passed(step, "checked")
}

fn signature(steps: Vec<StepReport>, signer: Option<SignerReport>) -> SignatureReport {
    let verdict = if signer.is_some() { Verdict::Verified } else { Verdict::Rejected };
    let source = format!("referrers sha256:{}", "ab".repeat(32));
    SignatureReport { source, attestation: None, format: "bundle", verdict, signer, steps }
}

fn authority(
    name: &str,
    failure: Option<Failure>,
    signatures: Vec<SignatureReport>,
) -> AuthorityReport {
    let verdict = failure.as_ref().map_or(Verdict::Verified, Failure::verdict);
    AuthorityReport { name: name.to_owned(), platform: None, verdict, failure, signatures }
}

fn policy(name: &str, authorities: Vec<AuthorityReport>) -> PolicyReport {
    let failure = authorities.iter().find_map(|authority| authority.failure.clone());
    PolicyReport {
        stale: false,
        policy: name.to_owned(),
        mode: Mode::Enforce,
        verdict: failure.as_ref().map_or(Verdict::Verified, Failure::verdict),
        on_unavailable: OnUnavailable::Deny,
        failure,
        authorities,
    }
}

fn image(policies: Vec<PolicyReport>) -> ImageReport {
    ImageReport {
        image: "ghcr.io/acme/app:1.2".to_owned(),
        digest: Some(format!("sha256:{}", "0123456789abcdef".repeat(4))),
        verdict: policies.iter().map(|policy| policy.verdict).max().unwrap_or(Verdict::Rejected),
        failure: None,
        policies,
    }
}

const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main";

fn subject_mismatch() -> Failure {
    Failure::new(Reason::SubjectMismatch, format!("the certificate is for {WORKFLOW}"))
        .wanted("subject exactly alice@infra.test")
}

fn rejected() -> ImageReport {
    let failure = subject_mismatch();
    let mut steps: Vec<_> = Step::ALL.iter().take(7).map(|step| step_passed(*step)).collect();
    steps.push(StepReport::failed(&failure));
    let keyless = authority("release-team", Some(failure), vec![signature(steps, None)]);
    let steps = vec![
        step_passed(Step::Subject),
        StepReport::not_required(Step::LogEntry, "no entry"),
        step_passed(Step::Signature),
    ];
    let key = SignerReport::Key { fingerprint: "cd".repeat(32) };
    let keyed = authority("key", None, vec![signature(steps, Some(key))]);
    image(vec![
        policy("ClusterImagePolicy signed-by-release", vec![keyless]),
        policy("ImagePolicy team-a/key", vec![keyed]),
    ])
}

#[test]
fn tree_shows_the_way_from_image_to_failed_step() {
    let shown = tree(&rejected(), Look::default());
    let wanted = "\
✗ ghcr.io/acme/app:1.2 is rejected
│ digest sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
├─ ✗ ClusterImagePolicy signed-by-release
│  └─ ✗ authority release-team
│     └─ ✗ bundle signature at referrers
│        │ sha256:abababababababababababababababababababababababababababababababab
│        ├─ ✓ subject, log-lookup, log-entry, evidence, certificate, signature,
│        │    time
│        └─ ✗ identity: someone else signed than the policy accepts
│             found  the certificate is for
│                    https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main
│             wanted subject exactly alice@infra.test
│             next   sign with the accepted identity, or add the signer to the
│                    policy
│             reason subject-mismatch
└─ ✓ ImagePolicy team-a/key
   └─ ✓ authority key
      └─ ✓ bundle signature at referrers
         │ sha256:abababababababababababababababababababababababababababababababab
         │ signer key
         │        sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
         ├─ ✓ subject, signature
         └─ - not required: log-entry
";
    assert_eq!(shown, wanted, "{shown}");
}

#[test]
fn tree_in_ascii_has_no_other_character() {
    let look = Look { unicode: false, ..Look::default() };
    let shown = tree(&rejected(), look);
    assert!(shown.is_ascii(), "{shown}");
    assert!(shown.contains("|  `- x authority release-team"), "{shown}");
}

#[test]
fn tree_colours_only_where_asked() {
    let look = Look { colour: true, ..Look::default() };
    assert!(tree(&rejected(), look).contains("\u{1b}[31;1m✗\u{1b}[0m"));
    assert!(!tree(&rejected(), Look::default()).contains('\u{1b}'));
}

#[test]
fn tree_says_not_covered_where_no_policy_applies() {
    let shown = tree(&image(Vec::new()), Look::default());
    assert!(shown.contains("not covered: no policy applies to this image"), "{shown}");
    assert!(shown.starts_with("✗ "), "{shown}");
}

#[test]
fn tree_says_a_failure_once() {
    let failure = Failure::new(Reason::SignatureAbsent, "nothing at signature tag and referrers");
    let report = image(vec![policy("p", vec![authority("a", Some(failure), Vec::new())])]);
    let shown = tree(&report, Look::default());
    assert_eq!(shown.matches("signature-absent").count(), 1, "{shown}");
    assert_eq!(shown.matches("cosign sign").count(), 1, "{shown}");
}

#[test]
fn tree_says_what_only_the_policy_knows() {
    let mut report = rejected();
    report.policies[1].verdict = Verdict::Rejected;
    report.policies[1].failure = Some(Failure::new(Reason::ThresholdUnmet, "1 signer").wanted("2"));
    let shown = tree(&report, Look::default());
    assert!(shown.contains("step   conditions: fewer distinct signers"), "{shown}");
    assert!(shown.contains("subject-mismatch") && shown.contains("threshold-unmet"), "{shown}");
}

#[test]
fn tree_marks_a_failed_step_without_reason() {
    let mut report = rejected();
    report.policies[0].authorities[0].signatures[0].steps[7].reason = None;
    let shown = tree(&report, Look::default());
    assert!(shown.contains("internal-error"), "{shown}");
}

#[test]
fn tree_and_denial_cannot_be_forged_by_evidence() {
    let evil = "x\n\u{1b}[2J✓ ok\r\u{202e}\u{2028}";
    let mut report = rejected();
    report.image = evil.to_owned();
    report.policies[0].policy = evil.to_owned();
    report.policies[0].failure = Some(Failure {
        reason: Reason::SubjectMismatch,
        found: evil.to_owned(),
        wanted: evil.to_owned(),
    });
    let lines = tree(&report, Look { width: 400, ..Look::default() });
    assert!(
        lines.lines().all(|line| !line.contains("\u{1b}") && !line.starts_with('✓')),
        "{lines}"
    );
    let line = denial(evil, &report);
    assert!(!line.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{202e}'), "{line}");
}

#[test]
fn denial_names_field_image_policy_step_and_remedy() {
    let line = denial("spec.containers[0].image", &rejected());
    let wanted = format!(
        "spec.containers[0].image: image ghcr.io/acme/app:1.2 is rejected by ClusterImagePolicy \
         signed-by-release at step identity: found: the certificate is for {WORKFLOW}; wanted: \
         subject exactly alice@infra.test; next: sign with the accepted identity, or add the signer \
         to the policy [subject-mismatch]"
    );
    assert_eq!(line, wanted);
}

#[test]
fn denial_takes_the_enforced_rejection_that_got_furthest() {
    let with = |name: &str, mode, failure: Failure| PolicyReport {
        mode,
        ..policy(name, vec![authority("a", Some(failure), Vec::new())])
    };
    let report = image(vec![
        with("audited", Mode::Audit, Failure::new(Reason::ThresholdUnmet, "1 signer")),
        with("unreached", Mode::Enforce, Failure::new(Reason::DeadlineExceeded, "10 s passed")),
        with("absent", Mode::Enforce, Failure::new(Reason::SignatureAbsent, "none")),
        with("stranger", Mode::Enforce, subject_mismatch()),
    ]);
    let line = denial("f", &report);
    assert!(line.contains("by stranger at step identity"), "{line}");
    assert!(line.ends_with("[subject-mismatch] (3 further policies are not met)"), "{line}");
}

#[test]
fn denial_prefers_what_is_final_to_what_a_retry_may_change() {
    let of = |name: &str, reason| {
        let failure = Failure::new(reason, "x");
        policy(name, vec![authority("a", Some(failure), Vec::new())])
    };
    let report =
        image(vec![of("slow", Reason::DeadlineExceeded), of("broken", Reason::PolicyInvalid)]);
    assert!(denial("f", &report).contains("is rejected by broken at step subject"));
}

#[test]
fn denial_of_several_authorities_takes_the_one_that_got_furthest() {
    let absent = Failure::new(Reason::SignatureAbsent, "none");
    let authorities = vec![
        authority("a", Some(absent.clone()), Vec::new()),
        authority("b", Some(subject_mismatch()), Vec::new()),
        authority("c", Some(absent), Vec::new()),
    ];
    let mut report = image(vec![policy("p", authorities)]);
    report.policies[0].failure = None;
    assert!(denial("f", &report).contains("[subject-mismatch]"));
}

#[test]
fn denial_says_undecided_where_it_is() {
    let failure = Failure::new(Reason::RegistryUnreachable, "ghcr.io: connection refused");
    let report = image(vec![policy("p", vec![authority("a", Some(failure), Vec::new())])]);
    let line = denial("f", &report);
    assert!(line.contains("could not be decided by p at step evidence"), "{line}");
    assert!(!line.contains("rejected"), "{line}");
}

#[test]
fn denial_without_a_recorded_reason_is_still_a_denial() {
    let line = denial("f", &image(Vec::new()));
    assert!(line.contains("is rejected: no reason was recorded"), "{line}");
}

#[test]
fn denial_is_bounded_whatever_the_evidence() {
    for filler in ["x", "é", "字", "\u{1f600}", " "] {
        for reason in Reason::ALL {
            let long = filler.repeat(5_000);
            let failure = Failure { reason: *reason, found: long.clone(), wanted: long.clone() };
            let mut report =
                image(vec![policy(&long, vec![authority(&long, Some(failure), Vec::new())])]);
            report.image = long.clone();
            report.policies.extend(report.policies.clone());
            let line = denial(&long, &report);
            assert!(line.chars().count() <= MAX_DENIAL, "{} {reason}", line.chars().count());
            assert!(line.contains(reason.advice()), "{reason}: the remedy is cut: {line}");
            assert!(line.contains(&format!("[{reason}]")), "{line}");
        }
    }
}

#[test]
fn wrap_never_breaks_a_word() {
    assert_eq!(wrap("aa bbb c", 5), ["aa", "bbb c"]);
    assert_eq!(wrap("aaaaaaaa b", 3), ["aaaaaaaa", "b"]);
    assert_eq!(wrap("", 3), [""]);
    assert_eq!(wrap("a b", 0), ["a", "b"]);
}

#[test]
fn warning_keeps_the_code_however_long_the_rest_is() {
    let long = "x".repeat(400);
    let mut report = image(Vec::new());
    report.image = long.clone();
    report.verdict = Verdict::Rejected;
    report.failure = Some(Failure::new(Reason::ImageNotFound, &long));
    let line = warning(&long, &report);
    assert!(line.chars().count() <= MAX_WARNING, "{line}");
    assert!(line.ends_with("[image-not-found]"), "{line}");
    report.failure = Some(Failure::new(Reason::PolicyNone, "nothing"));
    assert!(
        warning("f", &report).contains("is not covered at step subject: nothing [policy-none]")
    );
}
