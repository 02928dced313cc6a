use super::*;
use crate::policy::compile::CompileError;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn report(outcome: Outcome) -> Report {
    Report {
        kind: Kind::ImagePolicy,
        namespace: "team".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        generation: Some(2),
        status: api::Status::default(),
        authorities: Some(3),
        outcome,
        root: None,
    }
}

fn invalid(error: CompileError, last_good: bool) -> Report {
    report(Outcome::Invalid { error, last_good })
}

fn ready(status: &api::Status) -> &Condition {
    status.conditions.iter().find(|condition| condition.type_ == READY).unwrap()
}

#[test]
fn says_what_became_of_it() {
    let bad = || CompileError::new("spec.images", "0 elements", "1 to 256 elements");
    let key = || CompileError::new("spec.authorities[0].key.secretRef", "gone", "").missing();
    let root =
        || CompileError::new("spec.authorities[0].keyless.trustRootRef", "gone", "").missing();
    for (report, status, reason, message) in [
        (report(Outcome::Policy), "True", "Compiled", "the policy is in force"),
        (
            invalid(bad(), false),
            "False",
            "InvalidSpec",
            "spec.images: 0 elements, wanted 1 to 256 elements; until then the policy denies what \
             it matches",
        ),
        (
            invalid(bad(), true),
            "False",
            "InvalidSpec",
            "spec.images: 0 elements, wanted 1 to 256 elements; the last version that could be \
             used stays in force",
        ),
        (
            invalid(key(), false),
            "False",
            "KeyMissing",
            "spec.authorities[0].key.secretRef: gone; until then the policy denies what it matches",
        ),
        (
            invalid(root(), false),
            "False",
            "TrustRootMissing",
            "spec.authorities[0].keyless.trustRootRef: gone; until then the policy denies what it \
             matches",
        ),
    ] {
        let wanted = wanted(&report, time(100)).unwrap();
        let condition = ready(&wanted);
        let found = (condition.status.as_str(), condition.reason.as_str());
        assert_eq!((found, condition.message.as_str()), ((status, reason), message));
        assert_eq!(condition.observed_generation, Some(2));
        assert_eq!((wanted.observed_generation, wanted.authorities), (Some(2), Some(3)));
    }
}

#[test]
fn says_what_became_of_a_trust_root_in_a_config_map() {
    let error = |problem: &str| CompileError::new("spec.trustedRoot.configMapRef", problem, "x");
    let gone = error("there is no ConfigMap own/roots").missing();
    let wrong = || error("ConfigMap own/roots holds no trusted root");
    let start =
        "spec.trustedRoot.configMapRef: ConfigMap own/roots holds no trusted root, wanted x";
    for (outcome, reason, message) in [
        (
            Outcome::Invalid { error: gone, last_good: false },
            "ConfigMapMissing",
            "spec.trustedRoot.configMapRef: there is no ConfigMap own/roots, wanted x; policies \
             that name it deny what they match"
                .to_owned(),
        ),
        (
            Outcome::Unusable { error: wrong(), last_good: false },
            "InvalidConfigMap",
            format!("{start}; policies that name it deny what they match"),
        ),
        (
            Outcome::Unusable { error: wrong(), last_good: true },
            "InvalidConfigMap",
            format!("{start}; the last version that could be used stays in force"),
        ),
    ] {
        let report = Report { kind: Kind::TrustRoot, authorities: None, ..report(outcome) };
        let wanted = wanted(&report, time(100)).unwrap();
        let condition = ready(&wanted);
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", reason));
        assert_eq!(condition.message, message);
    }
}

#[test]
fn writes_only_what_differs_and_keeps_the_time_of_the_last_flip() {
    let mut report = report(Outcome::Policy);
    report.status = wanted(&report, time(100)).unwrap();
    assert_eq!(wanted(&report, time(200)), None);

    report.generation = Some(3);
    report.status = wanted(&report, time(200)).unwrap();
    assert_eq!(ready(&report.status).last_transition_time, Time(time(100)));
    assert_eq!(ready(&report.status).observed_generation, Some(3));

    let error = CompileError::new("spec", "bad", "");
    report.outcome = Outcome::Invalid { error, last_good: false };
    report.status = wanted(&report, time(300)).unwrap();
    assert_eq!(ready(&report.status).last_transition_time, Time(time(300)));
    assert_eq!(wanted(&report, time(400)), None);
}

#[test]
fn leaves_conditions_of_others_alone() {
    let mut report = report(Outcome::Policy);
    let other = Condition {
        type_: "Reviewed".to_owned(),
        status: "True".to_owned(),
        reason: "ByHand".to_owned(),
        message: String::new(),
        observed_generation: None,
        last_transition_time: Time(time(1)),
    };
    report.status.conditions = vec![other.clone()];
    let wanted = wanted(&report, time(100)).unwrap();
    assert_eq!(wanted.conditions.len(), 2);
    assert_eq!(wanted.conditions[0], other);
}

#[test]
fn does_not_write_the_same_again_and_again() {
    let mut written = Written::default();
    let (start, now) = (Instant::now(), time(100));
    let one = [report(Outcome::Policy)];
    assert_eq!(written.due(&one, now, start).writes.len(), 1);
    // Another controller wrote over it, or the report is older than the write.
    let soon = written.due(&one, now, start + HOLD / 2);
    assert_eq!((soon.writes.len(), soon.more), (0, Some(start + HOLD)));
    assert_eq!(written.due(&one, now, start + HOLD).writes.len(), 1);
    // News is written at once.
    let news = [invalid(CompileError::new("spec", "bad", ""), false)];
    assert_eq!(written.due(&news, now, start + HOLD).writes.len(), 1);
    written.forget("u");
    assert_eq!(written.due(&news, now, start + HOLD).writes.len(), 1);
}

#[test]
fn writes_in_batches() {
    let many: Vec<Report> = (0..2 * BATCH)
        .map(|index| Report { uid: index.to_string(), ..report(Outcome::Policy) })
        .collect();
    let (mut written, start) = (Written::default(), Instant::now());
    let batch = |written: &mut Written| -> Vec<String> {
        let due = written.due(&many, time(1), start);
        due.writes.iter().map(|write| write.report.uid.clone()).collect()
    };
    let (first, second) = (batch(&mut written), batch(&mut written));
    assert_eq!((first.len(), second.len()), (BATCH, BATCH));
    assert!(first.iter().all(|uid| !second.contains(uid)));
    assert!(batch(&mut written).is_empty());
}

#[test]
fn the_patch_is_for_the_version_that_was_read() {
    let report = report(Outcome::Policy);
    let status = wanted(&report, time(100)).unwrap();
    let body = Write { report: &report, status }.body();
    assert_eq!(body["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
    assert_eq!(body["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(body["status"]["authorities"], 3);
}
