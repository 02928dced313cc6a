//! Each attack on a repository is refused, and for what it is.
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use tegata::trust_root::tuf::MAX_TARGET_BYTES;
use tegata::trust_root::tuf::Role;
use tegata::trust_root::tuf::Trusted;
use tegata::trust_root::tuf::TufError;

use crate::tuf_repository::EXPIRES;
use crate::tuf_repository::Key;
use crate::tuf_repository::Kind;
use crate::tuf_repository::NOW;
use crate::tuf_repository::Release;
use crate::tuf_repository::Roles;
use crate::tuf_repository::sign;

const TARGET: &[u8] = b"what is wanted";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn below(role: Role, valid: usize, threshold: usize) -> Result<(), TufError> {
    Err(TufError::BelowThreshold { role, valid, threshold })
}

fn start(roles: &Roles) -> Trusted {
    Trusted::from_root(&roles.signed_root(1, &[])).unwrap()
}

/// Takes in a whole release, and what it says of the target `t`.
fn take(trusted: &mut Trusted, roles: &Roles, release: &Release) -> Result<(), TufError> {
    let signed = roles.sign(release);
    trusted.update_timestamp(&signed.timestamp, now())?;
    trusted.update_snapshot(&signed.snapshot, now())?;
    trusted.update_targets(&signed.targets, now())?;
    trusted.target("t", now())?.check(TARGET)
}

fn release(roles: &Roles, version: u64) -> Release {
    roles.release(version, &[("t", TARGET)])
}

#[test]
fn accepts_a_release_and_the_next() {
    let roles = Roles::new("a");
    let mut trusted = start(&roles);
    assert_eq!(take(&mut trusted, &roles, &release(&roles, 1)), Ok(()));
    assert_eq!(take(&mut trusted, &roles, &release(&roles, 1)), Ok(()));
    assert_eq!(take(&mut trusted, &roles, &release(&roles, 7)), Ok(()));
    assert_eq!(trusted.expires(), EXPIRES.parse().unwrap());
}

#[test]
fn accepts_every_kind_of_key() {
    for kind in Kind::ALL {
        let mut roles = Roles::new("a");
        roles.root = vec![Key::new("kind", kind)];
        assert!(Trusted::from_root(&roles.signed_root(1, &[])).is_ok(), "{kind:?}");
        let mut other = roles.clone();
        other.root = vec![Key::new("kind", kind)];
        let forged = sign(&roles.root(1), &[&other.root[0]]);
        assert_eq!(Trusted::from_root(&forged).map(drop), below(Role::Root, 0, 1), "{kind:?}");
    }
}

#[test]
fn follows_a_root_that_is_rotated_twice() {
    let (one, two, three) = (Roles::new("1"), Roles::new("2"), Roles::new("3"));
    let mut trusted = start(&one);
    assert_eq!(take(&mut trusted, &one, &release(&one, 9)), Ok(()));
    assert_eq!(trusted.update_root(&two.signed_root(2, &one.root)), Ok(()));
    assert_eq!(trusted.update_root(&three.signed_root(3, &two.root)), Ok(()));
    assert_eq!(trusted.root_version(), 3);
    let old = trusted.update_timestamp(&one.sign(&release(&one, 9)).timestamp, now());
    assert_eq!(old, below(Role::Timestamp, 0, 1));
    // Whoever had the old keys raised the versions out of reach: they are forgotten.
    assert_eq!(take(&mut trusted, &three, &release(&three, 1)), Ok(()));
}

#[test]
fn versions_outlive_a_new_root_with_the_same_keys() {
    let roles = Roles::new("a");
    let mut trusted = start(&roles);
    take(&mut trusted, &roles, &release(&roles, 9)).unwrap();
    trusted.update_root(&roles.signed_root(2, &[])).unwrap();
    let name = "timestamp.json".to_owned();
    let wanted = TufError::Rollback { name, trusted: 9, offered: 8 };
    assert_eq!(take(&mut trusted, &roles, &release(&roles, 8)), Err(wanted));
}

#[test]
fn rejects_a_root_that_old_or_new_keys_do_not_sign() {
    let (old, new) = (Roles::new("old"), Roles::new("new"));
    let mut trusted = start(&old);
    assert_eq!(trusted.update_root(&new.signed_root(2, &[])), below(Role::Root, 0, 1));
    let by_old = sign(&new.root(2), &[&old.root[0]]);
    assert_eq!(trusted.update_root(&by_old), below(Role::Root, 0, 1));
    assert_eq!(trusted.root_version(), 1);
}

#[test]
fn rejects_a_root_that_is_not_the_next() {
    let roles = Roles::new("a");
    let mut trusted = start(&roles);
    for offered in [1, 3, u64::MAX] {
        let wanted = TufError::RootVersion { trusted: 1, offered };
        assert_eq!(trusted.update_root(&roles.signed_root(offered, &[])), Err(wanted));
    }
    let mut last = Trusted::from_root(&roles.signed_root(u64::MAX, &[])).unwrap();
    let wanted = TufError::RootVersion { trusted: u64::MAX, offered: 1 };
    assert_eq!(last.update_root(&roles.signed_root(1, &[])), Err(wanted));
}

#[test]
fn rejects_a_threshold_of_zero() {
    let roles = Roles::new("a");
    for role in Role::ALL {
        let mut root = roles.root(1);
        root["roles"][role.as_str()]["threshold"] = json!(0);
        let found = Trusted::from_root(&sign(&root, &[&roles.root[0]])).map(drop);
        assert_eq!(found, Err(TufError::ThresholdZero { role }));
    }
}

#[test]
fn counts_a_key_once_however_it_is_written() {
    let key = Key::new("pem", Kind::EcdsaPem);
    let (hex, old) = (key.again("hex", Kind::EcdsaHex), key.again("old", Kind::EcdsaOldPem));
    let mut roles = Roles::new("a");
    (roles.root, roles.threshold) = (vec![key.clone(), hex, old], 2);
    let found = Trusted::from_root(&roles.signed_root(1, &[])).map(drop);
    assert_eq!(found, below(Role::Root, 1, 2));
    let twice = Trusted::from_root(&sign(&roles.root(1), &[&key, &key])).map(drop);
    assert_eq!(twice, below(Role::Root, 1, 2));
    roles.root.push(Key::new("other", Kind::EcdsaPem));
    assert!(Trusted::from_root(&roles.signed_root(1, &[])).is_ok());
}

#[test]
fn keys_that_cannot_be_used_do_not_count_and_do_not_stop_others() {
    let entries = [
        json!({ "keytype": "ml-dsa", "scheme": "ml-dsa-65", "keyval": { "public": "00" } }),
        json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": "00" } }),
        json!({ "keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": { "public": "00" } }),
        json!({ "keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {} }),
        json!("no key"),
    ];
    for entry in entries {
        let mut roles = Roles::new("a");
        let mut odd = Key::ed25519("odd");
        odd.entry = entry.clone();
        roles.root.push(odd);
        assert!(Trusted::from_root(&roles.signed_root(1, &[])).is_ok(), "{entry}");
        roles.threshold = 2;
        let found = Trusted::from_root(&roles.signed_root(1, &[])).map(drop);
        assert_eq!(found, below(Role::Root, 1, 2), "{entry}");
    }
}

#[test]
fn rejects_metadata_that_another_role_signs() {
    let roles = Roles::new("a");
    let swapped = |change: fn(&mut Roles)| {
        let mut other = roles.clone();
        change(&mut other);
        take(&mut start(&roles), &other, &release(&roles, 1))
    };
    let found = swapped(|roles| roles.timestamp = roles.snapshot.clone());
    assert_eq!(found, below(Role::Timestamp, 0, 1));
    let found = swapped(|roles| roles.snapshot = roles.timestamp.clone());
    assert_eq!(found, below(Role::Snapshot, 0, 1));
    let found = swapped(|roles| roles.targets = roles.root.clone());
    assert_eq!(found, below(Role::Targets, 0, 1));
}

#[test]
fn rejects_versions_that_go_back() {
    let roles = Roles::new("a");
    let mut at_five = start(&roles);
    take(&mut at_five, &roles, &release(&roles, 5)).unwrap();
    type Change = fn(&mut Release);
    let cases: [(&str, Change); 3] = [
        ("timestamp.json", |it| it.timestamp["version"] = json!(4)),
        ("snapshot.json", |it| it.timestamp["meta"]["snapshot.json"]["version"] = json!(4)),
        ("targets.json", |it| it.snapshot["meta"]["targets.json"]["version"] = json!(4)),
    ];
    for (name, change) in cases {
        let mut back = release(&roles, 6);
        change(&mut back);
        let wanted = TufError::Rollback { name: name.to_owned(), trusted: 5, offered: 4 };
        assert_eq!(take(&mut at_five.clone(), &roles, &back), Err(wanted));
    }
    let mut dropped = release(&roles, 6);
    dropped.snapshot["meta"] = json!({ "other.json": { "version": 6 } });
    let wanted = TufError::Dropped { name: "targets.json".to_owned() };
    assert_eq!(take(&mut at_five, &roles, &dropped), Err(wanted));
}

/// Metadata of one version says one thing: the first that was trusted.
#[test]
fn a_second_timestamp_of_one_version_changes_nothing() {
    let roles = Roles::new("a");
    let mut trusted = start(&roles);
    take(&mut trusted, &roles, &release(&roles, 5)).unwrap();
    let mut second = release(&roles, 5);
    second.timestamp["meta"]["snapshot.json"]["version"] = json!(6);
    let signed = roles.sign(&second);
    assert_eq!(trusted.update_timestamp(&signed.timestamp, now()), Ok(()));
    assert_eq!(trusted.snapshot_file().unwrap().0, 5);
}

#[test]
fn rejects_what_has_expired_at_each_use() {
    let roles = Roles::new("a");
    let soon = "2026-11-22T00:00:01Z";
    let expires: Timestamp = soon.parse().unwrap();
    type Part = fn(&mut Release) -> &mut Value;
    let cases: [(Role, Part); 3] = [
        (Role::Timestamp, |it| &mut it.timestamp),
        (Role::Snapshot, |it| &mut it.snapshot),
        (Role::Targets, |it| &mut it.targets),
    ];
    for (role, part) in cases {
        let mut fleeting = release(&roles, 1);
        part(&mut fleeting)["expires"] = json!(soon);
        let mut trusted = start(&roles);
        assert_eq!(take(&mut trusted, &roles, &fleeting), Ok(()));
        let wanted = TufError::Expired { role, expires };
        assert_eq!(trusted.target("t", expires).map(drop), Err(wanted.clone()));
        part(&mut fleeting)["expires"] = json!(NOW);
        let found = take(&mut start(&roles), &roles, &fleeting);
        assert_eq!(found, Err(TufError::Expired { role, expires: now() }));
        assert_eq!(trusted.expires(), expires);
    }
    let mut root = roles.root(1);
    root["expires"] = json!(soon);
    let mut trusted = Trusted::from_root(&sign(&root, &[&roles.root[0]])).unwrap();
    assert_eq!(take(&mut trusted, &roles, &release(&roles, 1)), Ok(()));
    let wanted = TufError::Expired { role: Role::Root, expires };
    assert_eq!(trusted.check_root(expires), Err(wanted.clone()));
    assert_eq!(trusted.target("t", expires).map(drop), Err(wanted.clone()));
    let timestamp = roles.sign(&release(&roles, 2)).timestamp;
    assert_eq!(trusted.update_timestamp(&timestamp, expires), Err(wanted));
}

/// A timestamp that stays the same is no sign of life once it has expired.
#[test]
fn rejects_a_timestamp_that_is_repeated_after_it_expired() {
    let roles = Roles::new("a");
    let mut fleeting = release(&roles, 1);
    let expires: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    fleeting.timestamp["expires"] = json!(expires.to_string());
    let signed = roles.sign(&fleeting);
    let mut trusted = start(&roles);
    trusted.update_timestamp(&signed.timestamp, now()).unwrap();
    let wanted = TufError::Expired { role: Role::Timestamp, expires };
    assert_eq!(trusted.update_timestamp(&signed.timestamp, expires), Err(wanted.clone()));
    assert_eq!(trusted.update_snapshot(&signed.snapshot, expires), Err(wanted));
}

#[test]
fn rejects_files_that_are_not_those_that_were_signed() {
    let roles = Roles::new("a");
    let taken = |change: &dyn Fn(&mut Release)| {
        let mut release = release(&roles, 1);
        change(&mut release);
        take(&mut start(&roles), &roles, &release).unwrap_err()
    };
    for (role, name) in [(Role::Snapshot, "snapshot.json"), (Role::Targets, "targets.json")] {
        let change = |entry: Value| {
            move |it: &mut Release| {
                let named =
                    if role == Role::Snapshot { &mut it.timestamp } else { &mut it.snapshot };
                named["meta"][name] = entry.clone();
            }
        };
        let wanted = TufError::VersionMismatch { role, found: 1, wanted: 2 };
        assert_eq!(taken(&change(json!({ "version": 2 }))), wanted);
        let hashes = json!({ "sha256": "0".repeat(64) });
        let found = taken(&change(json!({ "version": 1, "hashes": hashes })));
        assert_eq!(found, TufError::HashMismatch { name: name.to_owned(), algorithm: "sha256" });
        let hashes = json!({ "sha512": "0".repeat(128) });
        let found = taken(&change(json!({ "version": 1, "hashes": hashes })));
        assert_eq!(found, TufError::HashMismatch { name: name.to_owned(), algorithm: "sha512" });
        let found = taken(&change(json!({ "version": 1, "length": 3, "hashes": hashes })));
        assert!(matches!(found, TufError::LengthMismatch { wanted: 3, .. }), "{found:?}");
        let found = taken(&change(json!({ "version": 1, "hashes": { "md5": "0" } })));
        assert!(matches!(found, TufError::Malformed { .. }), "{found:?}");
    }
}

#[test]
fn rejects_a_target_with_other_bytes() {
    let roles = Roles::new("a");
    let mut trusted = start(&roles);
    take(&mut trusted, &roles, &release(&roles, 1)).unwrap();
    let file = trusted.target("t", now()).unwrap();
    let name = "t".to_owned();
    let wanted = TufError::HashMismatch { name: name.clone(), algorithm: "sha256" };
    assert_eq!(file.check(b"what is-wanted"), Err(wanted));
    let wanted = TufError::LengthMismatch { name, found: 0, wanted: TARGET.len() as u64 };
    assert_eq!(file.check(b""), Err(wanted));
}

#[test]
fn rejects_targets_that_nobody_speaks_for() {
    let roles = Roles::new("a");
    let mut trusted = start(&roles);
    let mut delegating = release(&roles, 1);
    take(&mut trusted, &roles, &delegating).unwrap();
    let absent = trusted.target("other", now()).map(drop);
    assert_eq!(absent, Err(TufError::TargetAbsent { name: "other".to_owned() }));
    let forbidden = trusted.target("../t", now()).map(drop);
    assert!(matches!(forbidden, Err(TufError::NameForbidden { .. })), "{forbidden:?}");
    delegating.targets["delegations"] = json!({ "keys": {}, "roles": [{ "name": "r" }] });
    let mut trusted = start(&roles);
    take(&mut trusted, &roles, &delegating).unwrap();
    let delegated = trusted.target("other", now()).map(drop);
    assert_eq!(delegated, Err(TufError::Delegated { name: "other".to_owned() }));
}

/// CVE-2024-47534: delegations that overlap, with each other and with what the role itself names.
/// None is followed, so that none can stand in for another.
#[test]
fn overlapping_delegations_exchange_no_target() {
    let roles = Roles::new("a");
    let mut delegating = release(&roles, 1);
    let role = |name: &str, paths: Value| {
        json!({ "name": name, "keyids": [roles.root[0].id], "threshold": 1, "terminating": true,
            "paths": paths })
    };
    let overlapping = [role("first", json!(["*", "t"])), role("second", json!(["t", "../t"]))];
    delegating.targets["delegations"] = json!({
        "keys": { roles.root[0].id.as_str(): roles.root[0].entry }, "roles": overlapping,
    });
    let meta = json!({ "targets.json": { "version": 1 }, "first.json": { "version": 1 },
        "second.json": { "version": 1 } });
    delegating.snapshot["meta"] = meta;
    let mut trusted = start(&roles);
    assert_eq!(take(&mut trusted, &roles, &delegating), Ok(()));
    assert!(trusted.target("t", now()).unwrap().check(b"what is exchanged").is_err());
    let other = trusted.target("other", now()).map(drop);
    assert_eq!(other, Err(TufError::Delegated { name: "other".to_owned() }));
}

#[test]
fn a_target_may_be_as_large_as_a_trusted_root() {
    let roles = Roles::new("a");
    for (length, fits) in [(MAX_TARGET_BYTES, true), (MAX_TARGET_BYTES + 1, false)] {
        let mut large = release(&roles, 1);
        large.targets["targets"]["t"]["length"] = json!(length);
        let mut trusted = start(&roles);
        let _ = take(&mut trusted, &roles, &large);
        let found = trusted.target("t", now()).unwrap().length();
        let (name, bytes, limit) = ("t".to_owned(), length as u64, MAX_TARGET_BYTES);
        let too_large = Err(TufError::TooLarge { name, bytes, limit });
        assert_eq!(found, if fits { Ok(length) } else { too_large });
    }
}

/// Adds white space, which no signature covers.
fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(length, b' ');
    padded
}

#[test]
fn metadata_may_be_as_large_as_its_limit() {
    let roles = Roles::new("a");
    let signed = {
        let Release { timestamp, snapshot, targets } = release(&roles, 1);
        let keys = |keys: &[Key], value: &Value| sign(value, &[&keys[0]]);
        [
            (Role::Root, keys(&roles.root, &roles.root(1))),
            (Role::Timestamp, keys(&roles.timestamp, &timestamp)),
            (Role::Snapshot, keys(&roles.snapshot, &snapshot)),
            (Role::Targets, keys(&roles.targets, &targets)),
        ]
    };
    let mut trusted = start(&roles);
    for (role, bytes) in signed {
        let limit = role.max_bytes();
        let mut update = |bytes: &[u8]| match role {
            Role::Root => Trusted::from_root(bytes).map(drop),
            Role::Timestamp => trusted.update_timestamp(bytes, now()),
            Role::Snapshot => trusted.update_snapshot(bytes, now()),
            Role::Targets => trusted.update_targets(bytes, now()),
        };
        let (name, bytes_over) = (format!("{role}.json"), limit as u64 + 1);
        let wanted = TufError::TooLarge { name, bytes: bytes_over, limit };
        assert_eq!(update(&padded(&bytes, limit + 1)), Err(wanted));
        assert_eq!(update(&padded(&bytes, limit)), Ok(()));
    }
}

#[test]
fn bounds_keys_and_signatures() {
    let mut roles = Roles::new("a");
    let signed = |count: usize| {
        let keys: Vec<&Key> = std::iter::repeat_n(&roles.root[0], count).collect();
        Trusted::from_root(&sign(&roles.root(1), &keys)).map(drop)
    };
    assert_eq!(signed(64), Ok(()));
    let problem = "65 signatures; the limit is 64".to_owned();
    assert_eq!(signed(65), Err(TufError::Malformed { role: Role::Root, problem }));
    let more = (0..60).map(|index| Key::ed25519(&format!("k{index}")));
    roles.root.extend(more);
    assert!(Trusted::from_root(&sign(&roles.root(1), &[&roles.root[0]])).is_ok());
    roles.root.push(Key::ed25519("last"));
    let found = Trusted::from_root(&sign(&roles.root(1), &[&roles.root[0]])).map(drop);
    let problem = "65 keys; the limit is 64".to_owned();
    assert_eq!(found, Err(TufError::Malformed { role: Role::Root, problem }));
    // A key of too many characters is none.
    for (length, wanted) in [(4096, Ok(())), (4097, below(Role::Root, 0, 1))] {
        let mut roles = Roles::new("a");
        let public = &mut roles.root[0].entry["keyval"]["public"];
        *public = json!(format!("{:<length$}", public.as_str().unwrap()));
        assert_eq!(Trusted::from_root(&roles.signed_root(1, &[])).map(drop), wanted, "{length}");
    }
}

/// Whatever field is missing or of another type: an error, no panic, and nothing is changed.
#[test]
fn rejects_malformed_metadata_of_every_role() {
    let roles = Roles::new("a");
    let Release { timestamp, snapshot, targets } = release(&roles, 1);
    let documents = [roles.root(1), timestamp, snapshot, targets];
    let odd = [json!(null), json!([]), json!({}), json!(-1), json!(0.5), json!("x"), json!([{}])];
    for document in documents {
        for field in document.as_object().unwrap().keys() {
            if field == "consistent_snapshot" {
                continue;
            }
            for value in &odd {
                let mut wrong = document.clone();
                wrong[field] = value.clone();
                let empty = matches!(field.as_str(), "keys" | "targets") && *value == json!({});
                let fine = empty
                    || field == "meta" && document["_type"] == "snapshot" && *value == json!({});
                let mut trusted = start(&roles);
                let Release { timestamp, snapshot, .. } = release(&roles, 1);
                let found = match document["_type"].as_str().unwrap() {
                    "root" => Trusted::from_root(&sign(&wrong, &[&roles.root[0]])).map(drop),
                    "timestamp" => {
                        trusted.update_timestamp(&sign(&wrong, &[&roles.timestamp[0]]), now())
                    }
                    "snapshot" => {
                        let timestamp = sign(&timestamp, &[&roles.timestamp[0]]);
                        trusted.update_timestamp(&timestamp, now()).unwrap();
                        trusted.update_snapshot(&sign(&wrong, &[&roles.snapshot[0]]), now())
                    }
                    _ => {
                        let timestamp = sign(&timestamp, &[&roles.timestamp[0]]);
                        trusted.update_timestamp(&timestamp, now()).unwrap();
                        let snapshot = sign(&snapshot, &[&roles.snapshot[0]]);
                        trusted.update_snapshot(&snapshot, now()).unwrap();
                        trusted.update_targets(&sign(&wrong, &[&roles.targets[0]]), now())
                    }
                };
                let malformed = matches!(found, Err(TufError::Malformed { .. }));
                assert!(malformed || fine, "{field}: {value}: {found:?}");
            }
        }
    }
}

#[test]
fn rejects_bytes_that_are_no_metadata() {
    let roles = Roles::new("a");
    let whole = roles.signed_root(1, &[]);
    for end in (0..whole.len()).step_by(7) {
        let found = Trusted::from_root(&whole[..end]).map(drop);
        assert!(matches!(found, Err(TufError::Malformed { .. })), "{end}: {found:?}");
    }
    let text = String::from_utf8(whole).unwrap();
    let twice = text.replacen("\"signed\"", "\"signed\": {}, \"signed\"", 1);
    let found = Trusted::from_root(twice.as_bytes()).map(drop);
    assert!(matches!(found, Err(TufError::Malformed { .. })), "{found:?}");
    let deep = "[".repeat(100_000);
    assert!(matches!(Trusted::from_root(deep.as_bytes()), Err(TufError::Malformed { .. })));
}
