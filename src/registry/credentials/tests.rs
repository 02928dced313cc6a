use super::*;

fn user(keychain: &Keychain, registry: &str, path: &str) -> Option<String> {
    match keychain.source(registry, path)? {
        CredentialSource::Entry(credential) => match &*credential {
            Credential::Basic { username, .. } => Some(username.clone()),
            Credential::IdentityToken(token) => Some(format!("identity {token}")),
            Credential::RegistryToken(token) => Some(format!("registry {token}")),
        },
        CredentialSource::Helper { name, server } => Some(format!("helper {name} {server}")),
    }
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
fn longest_path_wins_and_ends_at_a_slash() {
    let keys = ["r.example", "r.example/team", "r.example/team/app", "*.example/team/app/x"];
    let keychain = Keychain::from_pull_secret(&named(&keys)).unwrap();
    for (path, expected) in [
        ("other", "r.example"),
        ("team", "r.example/team"),
        ("teamster/app", "r.example"),
        ("team/app", "r.example/team/app"),
        ("team/app/x", "*.example/team/app/x"),
    ] {
        assert_eq!(user(&keychain, "r.example", path).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn globs_stay_within_a_label() {
    for (pattern, host, expected) in [
        ("*", "localhost", true),
        ("reg-*-eu.example", "reg-a-eu.example", true),
        ("reg-*-eu.example", "reg-eu.example", false),
        ("*a*b*.example", "xaxbx.example", true),
        ("*a*b*.example", "xbxa.example", false),
        ("*.example:5000", "r.example:5000", true),
        ("*.example:5000", "r.example", false),
    ] {
        assert_eq!(glob_host(pattern, host), expected, "{pattern} {host}");
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
