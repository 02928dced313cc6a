use super::*;

fn users(keychain: &Keychain, registry: &str, path: &str) -> Vec<String> {
    let shown = |source| match source {
        CredentialSource::Entry(credential) => match &*credential {
            Credential::Basic { username, .. } => username.clone(),
            Credential::IdentityToken(token) => format!("identity {token}"),
            Credential::RegistryToken(token) => format!("registry {token}"),
        },
        CredentialSource::Helper { name, server } => format!("helper {name} {server}"),
    };
    keychain.sources(registry, path).into_iter().map(shown).collect()
}

fn user(keychain: &Keychain, registry: &str, path: &str) -> Option<String> {
    users(keychain, registry, path).into_iter().next()
}

fn secret(keys: &[&str]) -> Keychain {
    Keychain::from_pull_secret(&named(keys)).unwrap()
}

fn named(keys: &[&str]) -> Vec<u8> {
    let auths: BTreeMap<_, _> = keys
        .iter()
        .map(|key| (*key, serde_json::json!({"username": key, "password": "p"})))
        .collect();
    serde_json::to_vec(&serde_json::json!({ "auths": auths })).unwrap()
}

#[test]
fn rejects_hosts_that_only_look_alike() {
    let file = named(&["gcr.io", "https://registry.azurecr.io", "*.azurecr.io", "gcr.*"]);
    for keychain in [Keychain::from_docker_config(&file), Keychain::from_pull_secret(&file)] {
        let keychain = keychain.unwrap();
        for host in [
            "evil.azurecr.io.attacker.com",
            "gcr.io.evil",
            "xgcr.io",
            "a.b.azurecr.io",
            "gcr.io:5000",
            "azurecr.io",
        ] {
            assert_eq!(user(&keychain, host, "x"), None, "{host}");
        }
    }
}

#[test]
fn docker_configuration_knows_no_globs() {
    let keychain = Keychain::from_docker_config(&named(&["*.azurecr.io"])).unwrap();
    assert_eq!(user(&keychain, "a.azurecr.io", "x"), None);
    let keychain = Keychain::from_pull_secret(&named(&["*.azurecr.io"])).unwrap();
    assert_eq!(user(&keychain, "a.azurecr.io", "x").as_deref(), Some("*.azurecr.io"));
}

#[test]
fn docker_hub_goes_by_every_name() {
    for key in ["https://index.docker.io/v1/", "docker.io", "index.docker.io/v1"] {
        let keychain = Keychain::from_docker_config(&named(&[key])).unwrap();
        assert_eq!(user(&keychain, "docker.io", "library/x").as_deref(), Some(key));
    }
}

#[test]
fn more_specific_keys_come_first_and_the_others_after_them() {
    let keys = ["r.example", "r.example/team", "r.example/team/app", "*.example/team/app/x"];
    let keychain = secret(&keys);
    for (path, expected) in [
        ("other", &["r.example"][..]),
        ("team", &["r.example/team", "r.example"]),
        ("team/app", &["r.example/team/app", "r.example/team", "r.example"]),
        (
            "team/app/x",
            &["r.example/team/app", "r.example/team", "r.example", "*.example/team/app/x"],
        ),
    ] {
        assert_eq!(users(&keychain, "r.example", path), expected, "{path}");
    }
    let docker = Keychain::from_docker_config(&named(&keys)).unwrap();
    assert_eq!(users(&docker, "r.example", "teamster"), ["r.example"]);
    assert_eq!(users(&docker, "r.example", "team/x"), ["r.example/team", "r.example"]);
}

#[test]
fn secrets_join_by_key_and_groups_follow_each_other() {
    let first = br#"{"auths": {"r.example": {"username": "first", "password": "p"}}}"#;
    let second = br#"{"auths": {"r.example": {"username": "second", "password": "p"}}}"#;
    let mut keychain = Keychain::anonymous();
    keychain.extend(Keychain::from_pull_secret(first).unwrap());
    keychain.extend(secret(&["r.example/team"]));
    keychain.extend(Keychain::from_pull_secret(second).unwrap());
    // The same credential once more, and one that is more specific but of the next group.
    keychain.then(Keychain::from_pull_secret(first).unwrap());
    keychain.then(secret(&["r.example/team/app"]));
    let expected = ["r.example/team", "first", "second", "r.example/team/app"];
    assert_eq!(users(&keychain, "r.example", "team/app"), expected);
}

#[test]
fn the_number_of_credentials_is_bounded() {
    let path = "a/b/c/d/e/f/g/h";
    let keys: Vec<String> = (1..=8).map(|n| format!("r.example/{}", &path[..2 * n - 1])).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let found = users(&secret(&keys), "r.example", path);
    assert_eq!(found.len(), MAX_CREDENTIALS);
    assert_eq!(found[0], format!("r.example/{path}"));
}

#[test]
fn legacy_pull_secrets_have_no_auths() {
    let file = br#"{"r.example": {"auth": "dXNlcjpwYXNz"}}"#;
    let keychain = Keychain::from_legacy_pull_secret(file).unwrap();
    assert_eq!(user(&keychain, "r.example", "x").as_deref(), Some("user"));
    assert!(Keychain::from_legacy_pull_secret(br#"{"r": {"auth": 5}}"#).is_err());
}

#[test]
fn rejects_pull_secrets_that_are_too_large() {
    let room = MAX_PULL_SECRET_BYTES - br#"{"x":""}"#.len();
    for (extra, fits) in [(0, true), (1, false)] {
        let file = format!(r#"{{"x":"{}"}}"#, "y".repeat(room + extra));
        assert_eq!(Keychain::from_pull_secret(file.as_bytes()).is_ok(), fits);
    }
}

#[test]
fn reads_every_kind_of_entry() {
    let file = br#"{
        "auths": {
            "a": {"auth": "dXNlcjpwYXNz"},
            "b": {"auth": "", "identitytoken": "refresh"},
            "c": {"registrytoken": "bearer"},
            "d": {},
            "e": {"username": "<token>", "password": "refresh2"}
        },
        "credHelpers": {"f": "cloud"},
        "HttpHeaders": {"x": "y"}
    }"#;
    let keychain = Keychain::from_docker_config(file).unwrap();
    for (host, expected) in [
        ("a", Some("user")),
        ("b", Some("identity refresh")),
        ("c", Some("registry bearer")),
        ("d", None),
        ("e", Some("identity refresh2")),
        ("f", Some("helper cloud f")),
    ] {
        assert_eq!(user(&keychain, host, "x").as_deref(), expected, "{host}");
    }
    let pull_secret = Keychain::from_pull_secret(file).unwrap();
    assert_eq!(user(&pull_secret, "f", "x"), None, "a pull secret must not run programs");
}

#[test]
fn general_helper_is_the_last_resort() {
    let file = br#"{"auths": {"a": {"auth": "dXNlcjpwYXNz"}}, "credsStore": "desktop"}"#;
    let keychain = Keychain::from_docker_config(file).unwrap();
    assert_eq!(user(&keychain, "a", "x").as_deref(), Some("user"));
    assert_eq!(
        user(&keychain, "docker.io", "x").as_deref(),
        Some("helper desktop https://index.docker.io/v1/")
    );
}

#[test]
fn rejects_helpers_with_a_path_and_broken_files() {
    for file in [
        &br#"{"credsStore": "../../evil"}"#[..],
        br#"{"credHelpers": {"a": "x/y"}}"#,
        br#"{"auths": {"a": {"auth": "hunter2!"}}}"#,
        br#"{"auths": {"a": {"auth": "bm9jb2xvbg=="}}}"#,
        br#"{"auths": {"a": {"auth": 12345678}}}"#,
        b"[]",
    ] {
        let error = Keychain::from_docker_config(file).unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !error.contains("12345678"), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let keychain = Keychain::from_docker_config(br#"{"auths": {"a": {"auth": "dXNlcjpwYXNz"}}}"#);
    let text = format!("{keychain:?}");
    assert!(!text.contains("pass") && !text.contains("user"), "{text}");
}
