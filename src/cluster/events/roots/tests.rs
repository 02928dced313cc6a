use super::*;
use crate::policy::compile::CompileError;
use crate::tuf::Status;

fn report(root: Option<&Arc<TrustRoot>>, outcome: Outcome) -> Report {
    Report {
        kind: Kind::TrustRoot,
        namespace: String::new(),
        name: "private".to_owned(),
        uid: "u".to_owned(),
        resource_version: "7".to_owned(),
        generation: Some(1),
        status: api::Status::default(),
        authorities: None,
        outcome,
        root: root.cloned(),
    }
}

fn root() -> Arc<TrustRoot> {
    Arc::new(TrustRoot::public_good())
}

/// A trust root of which there is this one, after so many failures of this kind.
fn failing(root: Option<&Arc<TrustRoot>>, kind: FailureKind, failures: u32) -> Report {
    let error = Some(Failure { kind, problem: "the reason".to_owned() });
    let status = Status { failures, error, ..Status::default() };
    let outcome = match root {
        Some(_) => Outcome::Fetched { holds: "logs: 2".to_owned(), status },
        None => Outcome::NotFetched { status },
    };
    report(root, outcome)
}

fn fetched(root: &Arc<TrustRoot>) -> Report {
    let status = Status::default();
    report(Some(root), Outcome::Fetched { holds: "logs: 2".to_owned(), status })
}

impl Standings {
    /// Reason and message of what the leader tells of one trust root.
    fn told(&mut self, report: Report) -> Vec<String> {
        let notes = self.notes(&[report], true);
        notes.iter().map(|note| format!("{}: {}", note.reason.as_str(), note.message)).collect()
    }
}

const NOTHING: [&str; 0] = [];

const REFUSED: &str = "RefreshRefused: what the repository offers is refused, and the last good \
                       trust root stays in force: the reason";

const AWAY: &str = "RefreshUnavailable: the repository has not been reached for long, and the last \
                    good trust root stays in force: the reason";

const RECOVERED: &str = "RefreshRecovered: the repository is followed again; in force: logs: 2";

#[test]
fn is_about_the_trust_root_and_in_no_namespace() {
    let notes = Standings::default().notes(&[failing(None, FailureKind::Refused, 1)], true);
    let [Note { namespace, regarding, reason, message }] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    let ObjectRef { api_version, kind, name, uid } = regarding;
    assert_eq!((api_version.as_str(), kind.as_str()), ("tegata.dev/v1alpha1", "TrustRoot"));
    assert_eq!((name.as_str(), uid.as_str()), ("private", "u"));
    assert_eq!((namespace, *reason), (&None, Reason::RefreshRefused));
    assert!(
        message.contains("policies that name it deny what they match: the reason"),
        "{message}"
    );
}

#[test]
fn a_refused_repository_is_told_at_once_and_once_for_each_attempt() {
    let (mut standings, root) = (Standings::default(), root());
    let refused = |failures| failing(Some(&root), FailureKind::Refused, failures);
    assert_eq!(standings.told(fetched(&root)), NOTHING);
    assert_eq!(standings.told(refused(1)), [REFUSED]);
    assert_eq!(standings.told(refused(1)), NOTHING, "another object changed");
    assert_eq!(standings.told(refused(2)), [REFUSED]);
    assert_eq!(standings.told(fetched(&root)), [RECOVERED]);
    assert_eq!(standings.told(fetched(&root)), NOTHING);
    assert_eq!(standings.told(refused(2)), [REFUSED], "as often as before");
}

#[test]
fn a_mirror_that_is_away_is_told_when_it_has_been_for_long() {
    let (mut standings, root) = (Standings::default(), root());
    let away = |failures| failing(Some(&root), FailureKind::Unavailable, failures);
    for failures in 1..LONG {
        assert_eq!(standings.told(away(failures)), NOTHING);
    }
    assert_eq!(standings.told(fetched(&root)), NOTHING, "nothing was told that could recover");
    assert_eq!(standings.told(away(LONG)), [AWAY]);
    assert_eq!(standings.told(away(LONG + 1)), [AWAY]);
    assert_eq!(standings.told(fetched(&root)), [RECOVERED]);
    // Between a refusal and the recovery the mirror may be away for a moment.
    let refused = |failures| failing(Some(&root), FailureKind::Refused, failures);
    assert_eq!(standings.told(refused(2 * LONG)), [REFUSED]);
    assert_eq!(standings.told(away(2 * LONG + 1)), NOTHING);
    assert_eq!(standings.told(away(3 * LONG - 1)), NOTHING);
    assert_eq!(standings.told(away(3 * LONG)), [AWAY]);
    assert_eq!(standings.told(fetched(&root)), [RECOVERED]);
    assert_eq!(standings.told(away(1)), NOTHING);
}

#[test]
fn another_root_is_told_unless_the_spec_changed() {
    let (mut standings, first, second) = (Standings::default(), root(), root());
    let changed = |from: &str| {
        format!("TrustRootChanged: {from} brought another trust root, which is in force: logs: 2")
    };
    assert_eq!(standings.told(fetched(&first)), NOTHING, "the first one changes nothing");
    assert_eq!(standings.told(fetched(&first)), NOTHING);
    assert_eq!(standings.told(fetched(&second)), [changed("its repository")]);
    let held = |root: &Arc<TrustRoot>| {
        report(Some(root), Outcome::TrustRoot { holds: "logs: 2".to_owned() })
    };
    assert_eq!(standings.told(Report { generation: Some(2), ..held(&first) }), NOTHING);
    let renewed = Report { generation: Some(2), ..held(&second) };
    assert_eq!(standings.told(renewed), [changed("its ConfigMap")]);
    // And another object of the same name is another object.
    let other = Report { uid: "v".to_owned(), ..fetched(&first) };
    assert_eq!(standings.told(other), NOTHING);
}

#[test]
fn a_recovery_with_another_root_is_both() {
    let (mut standings, first, second) = (Standings::default(), root(), root());
    assert_eq!(standings.told(failing(Some(&first), FailureKind::Refused, 1)), [REFUSED]);
    let told = standings.told(fetched(&second));
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], RECOVERED);
    assert!(told[1].starts_with("TrustRootChanged: "), "{told:?}");
}

#[test]
fn who_does_not_lead_tells_nothing_and_knows_all_the_same() {
    let (mut standings, first, second) = (Standings::default(), root(), root());
    let refused = |root| failing(Some(root), FailureKind::Refused, 3);
    assert_eq!(standings.notes(&[fetched(&first)], false), []);
    assert_eq!(standings.notes(&[refused(&first)], false), []);
    assert_eq!(standings.told(refused(&first)), [REFUSED], "what lasts, the next leader tells");
    assert_eq!(standings.notes(&[fetched(&second)], false), []);
    assert_eq!(standings.told(fetched(&second)), NOTHING, "what is over is told by nobody");
    assert_eq!(standings.notes(&[refused(&second)], false), []);
    assert_eq!(standings.told(fetched(&second)), [RECOVERED]);
}

#[test]
fn tells_nothing_of_policies_and_of_specs_that_are_wrong() {
    let (mut standings, root) = (Standings::default(), root());
    let error = CompileError::new("spec.trustedRoot", "no such thing", "");
    for outcome in [
        Outcome::Invalid { error: error.clone(), last_good: true },
        Outcome::Unusable { error, last_good: true },
        Outcome::TrustRoot { holds: "logs: 2".to_owned() },
    ] {
        assert_eq!(standings.told(report(Some(&root), outcome)), NOTHING);
    }
    let policy = Report { kind: Kind::ImagePolicy, ..failing(None, FailureKind::Refused, 1) };
    assert_eq!(standings.told(policy), NOTHING);
}

#[test]
fn forgets_what_is_gone() {
    let mut standings = Standings::default();
    standings.notes(&[fetched(&root())], true);
    assert_eq!(standings.last.len(), 1);
    standings.notes(&[], true);
    assert_eq!(standings.last.len(), 0);
}
