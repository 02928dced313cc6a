use proptest::prelude::*;

use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn parse(text: &str) -> Result<ImageRef, ImageRefError> {
    text.parse()
}

fn normal(text: &str) -> String {
    parse(text).map(|image| image.to_string()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn accepts_and_normalises() {
    let digest = format!("sha256:{HEX}");
    let table = [
        ("alpine", "docker.io/library/alpine:latest".to_owned()),
        ("alpine:3.20", "docker.io/library/alpine:3.20".to_owned()),
        ("user/app", "docker.io/user/app:latest".to_owned()),
        ("a/b/c", "docker.io/a/b/c:latest".to_owned()),
        ("docker.io/alpine", "docker.io/library/alpine:latest".to_owned()),
        ("docker.io/library/alpine", "docker.io/library/alpine:latest".to_owned()),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest".to_owned()),
        ("registry-1.docker.io/library/alpine:1", "docker.io/library/alpine:1".to_owned()),
        ("registry.hub.docker.com/user/app:1", "docker.io/user/app:1".to_owned()),
        ("Index.Docker.IO:443/alpine", "docker.io/library/alpine:latest".to_owned()),
        ("docker.io:5000/alpine", "docker.io:5000/alpine:latest".to_owned()),
        ("localhost/app", "localhost/app:latest".to_owned()),
        ("LOCALHOST/app", "localhost/app:latest".to_owned()),
        ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
        ("localhost:5000", "docker.io/library/localhost:5000".to_owned()),
        ("localhostess/app", "docker.io/localhostess/app:latest".to_owned()),
        ("GCR.IO/x", "gcr.io/x:latest".to_owned()),
        ("gcr.io:443/x", "gcr.io/x:latest".to_owned()),
        ("gcr.io:80/x", "gcr.io:80/x:latest".to_owned()),
        ("gcr.io:65535/x", "gcr.io:65535/x:latest".to_owned()),
        ("Intranet/x", "intranet:443/x:latest".to_owned()),
        ("intranet:443/x", "intranet:443/x:latest".to_owned()),
        ("intranet/x", "docker.io/intranet/x:latest".to_owned()),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest".to_owned()),
        ("[::1]:5000/x", "[::1]:5000/x:latest".to_owned()),
        ("[::1]/x", "[::1]/x:latest".to_owned()),
        ("[0:0:0:0:0:0:0:1]:443/x:t", "[::1]/x:t".to_owned()),
        ("[2001:DB8::A]/x", "[2001:db8::a]/x:latest".to_owned()),
        ("xn--bcher-kva.example/x", "xn--bcher-kva.example/x:latest".to_owned()),
        ("r.io/a.b/c_d/e__f/g---h", "r.io/a.b/c_d/e__f/g---h:latest".to_owned()),
        ("r.io/x:_Tag.With-All", "r.io/x:_Tag.With-All".to_owned()),
        (&format!("r.io/x@{digest}"), format!("r.io/x@{digest}")),
        (&format!("r.io/x:v1@{digest}"), format!("r.io/x:v1@{digest}")),
        (&format!("r.io:443/x:v1@{digest}"), format!("r.io/x:v1@{digest}")),
        (&format!("r.io/x@sha512:{HEX}{HEX}"), format!("r.io/x@sha512:{HEX}{HEX}")),
        (&format!("r.io/{HEX}"), format!("r.io/{HEX}:latest")),
        ("sha256/x:dead", "docker.io/sha256/x:dead".to_owned()),
    ];
    for (text, wanted) in table {
        assert_eq!(normal(text), wanted, "{text}");
    }
}

/// A policy on the trusted name must not see it as the registry or as the start of the path.
#[test]
fn keeps_the_host_apart_from_look_alikes() {
    let table = [
        ("attacker.com/x.trusted.example/y", "attacker.com", "x.trusted.example/y"),
        ("evil.azurecr.io.attacker.com/x", "evil.azurecr.io.attacker.com", "x"),
        ("gcr.io.evil/x", "gcr.io.evil", "x"),
        ("gcr.io-evil.com/x", "gcr.io-evil.com", "x"),
        ("evil.com/gcr.io/x", "evil.com", "gcr.io/x"),
        ("evil/gcr.io/x", "docker.io", "evil/gcr.io/x"),
        ("gcr/io/x", "docker.io", "gcr/io/x"),
        ("docker.io.evil.com/library/alpine", "docker.io.evil.com", "library/alpine"),
        ("docker.io/gcr.io/x", "docker.io", "gcr.io/x"),
    ];
    for (text, registry, path) in table {
        let image = parse(text).unwrap();
        assert_eq!(image.repository().registry(), registry, "{text}");
        assert_eq!(image.repository().path(), path, "{text}");
    }
}

#[test]
fn implies_latest_only_without_a_digest() {
    assert_eq!(parse("r.io/x").unwrap().tag(), Some("latest"));
    let pinned = parse(&format!("r.io/x@sha256:{HEX}")).unwrap();
    assert_eq!((pinned.tag(), pinned.digest().unwrap().hex()), (None, HEX));
}

/// The variant's name alone, so that a table can say which rule refuses.
fn rule(error: &ImageRefError) -> &'static str {
    match error {
        ImageRefError::Character { .. } => "character",
        ImageRefError::Digest { .. } => "digest",
        ImageRefError::Empty => "empty",
        ImageRefError::Host { .. } => "host",
        ImageRefError::ImageId { .. } => "image id",
        ImageRefError::PathComponent { .. } => "component",
        ImageRefError::PathLength { .. } => "path length",
        ImageRefError::Port { .. } => "port",
        ImageRefError::RepositoryOnly { .. } => "repository only",
        ImageRefError::Tag { .. } => "tag",
        ImageRefError::TooLong { .. } => "too long",
    }
}

#[test]
fn rejects_each_with_its_own_rule() {
    let long = |n: usize| "a".repeat(n);
    let table = [
        ("", "empty"),
        (" alpine", "character"),
        ("alpine ", "character"),
        ("alpine\n", "character"),
        ("al\tpine", "character"),
        ("alp\0ine", "character"),
        ("r.io/x%2fy", "character"),
        ("r.io\\@evil.com/x", "character"),
        ("https://r.io/x", "port"),
        ("user:secret@r.io/x", "digest"),
        ("r.io/x?y", "character"),
        ("r.io/x#y", "character"),
        ("gcr.іo/x", "character"),
        ("bücher.example/x", "character"),
        ("r.io/x\u{202e}", "character"),
        ("r.io./x", "host"),
        ("r..io/x", "host"),
        (".r.io/x", "host"),
        ("-r.io/x", "host"),
        ("r-.io/x", "host"),
        ("r_x.io/x", "host"),
        (":5000/x", "host"),
        ("127.1/x", "host"),
        ("0x7f.1/x", "host"),
        ("r.0x7f/x", "host"),
        ("2130706433:80/x", "host"),
        ("0177.0.0.1/x", "host"),
        ("127.0.0.1.2/x", "host"),
        ("[::1/x", "host"),
        ("[::1%25lo]/x", "character"),
        ("[::ffff:127.0.0.1]/x", "host"),
        ("[::ffff:7f00:1]/x", "host"),
        ("[r.io]/x", "host"),
        ("[]/x", "host"),
        ("r.io:/x", "port"),
        ("r.io:0/x", "port"),
        ("r.io:0443/x", "port"),
        ("r.io:65536/x", "port"),
        ("r.io:99999999999999999999/x", "port"),
        ("r.io:44a/x", "port"),
        ("r.io:+443/x", "character"),
        ("r.io:-1/x", "port"),
        ("alpine:tag/x", "port"),
        ("r.io:1:2/x", "host"),
        ("r.io/", "component"),
        ("/x", "component"),
        ("r.io//x", "component"),
        ("r.io/x/", "component"),
        ("r.io/../x", "component"),
        ("r.io/./x", "component"),
        ("r.io/X", "component"),
        ("user/App", "component"),
        ("Alpine", "component"),
        ("r.io/-x", "component"),
        ("r.io/x-", "component"),
        ("r.io/x..y", "component"),
        ("r.io/x___y", "component"),
        ("r.io/x._y", "component"),
        ("r.io/x-_y", "component"),
        ("r.io/[x]", "component"),
        ("a:b:c", "component"),
        ("r.io/x:", "tag"),
        ("r.io/x:.t", "tag"),
        ("r.io/x:-t", "tag"),
        ("r.io/x:[t]", "tag"),
        (&format!("r.io/x:{}", long(129)), "tag"),
        ("r.io/x@", "digest"),
        ("r.io/x@latest", "digest"),
        ("r.io/x@sha256:abc", "digest"),
        (&format!("r.io/x@sha256:{}", HEX.to_uppercase()), "digest"),
        (&format!("r.io/x@sha256:{HEX}0"), "digest"),
        (&format!("r.io/x@md5:{HEX}"), "digest"),
        (&format!("r.io/x@sha256:{HEX}@sha256:{HEX}"), "digest"),
        (&format!("r.io/x@sha256:{HEX}:tag"), "digest"),
        (&format!("@sha256:{HEX}"), "component"),
        (HEX, "image id"),
        (&HEX.to_uppercase(), "image id"),
        (&format!("sha256:{HEX}"), "image id"),
        ("sha256:dead", "image id"),
        (&format!("sha512:{HEX}{HEX}"), "image id"),
        (&format!("{HEX}:latest"), "image id"),
        (&format!("r.io/{}", long(256)), "path length"),
        (&long(248), "path length"),
        (&format!("{}.io/x", long(64)), "host"),
        (&format!("{}io/x", "a.".repeat(127)), "host"),
        (&long(MAX_REFERENCE_LENGTH + 1), "too long"),
    ];
    for (text, wanted) in table {
        match parse(text) {
            Ok(image) => panic!("{text:?} was taken for {image}"),
            Err(error) => assert_eq!(rule(&error), wanted, "{text:?}: {error}"),
        }
    }
}

#[test]
fn accepts_every_length_up_to_its_limit() {
    for text in [
        format!("r.io/{}", "a".repeat(255)),
        "a".repeat(247),
        format!("r.io/x:{}", "t".repeat(128)),
        format!("{}.io/x", "a".repeat(63)),
    ] {
        assert!(parse(&text).is_ok(), "{text}");
    }
}

#[test]
fn rejects_tag_and_digest_in_a_repository() {
    for text in ["r.io/x:tag", "x:1", &format!("r.io/x@sha256:{HEX}")] {
        let error = text.parse::<Repository>().unwrap_err();
        assert_eq!(rule(&error), "repository only", "{text}");
    }
    let repository: Repository = "GCR.io:443/a/b".parse().unwrap();
    assert_eq!(repository.to_string(), "gcr.io/a/b");
    assert_eq!("r.io:5000/x".parse::<Repository>().unwrap().registry(), "r.io:5000");
    assert_eq!(rule(&HEX.parse::<Repository>().unwrap_err()), "image id");
}

#[test]
fn errors_hold_no_control_characters_and_stay_short() {
    let error = parse(&format!("r.io/{}/A", "\u{202e}\n".repeat(100))).unwrap_err().to_string();
    assert!(!error.contains(['\n', '\u{202e}']), "{error:?}");
    let error = parse(&format!("r.io/x:{}", "t".repeat(900))).unwrap_err().to_string();
    assert!(error.len() < 500, "{error}");
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,80}") {
        let _ = parse(&text);
        let _ = text.parse::<Repository>();
    }

    /// Texts near the grammar, so that many of them parse.
    #[test]
    fn display_parses_to_the_same_value(
        text in "((([A-Za-z0-9]{1,4}\\.){0,2}[A-Za-z]{1,4}|localhost|\\[[0-9a-f]{1,4}::[0-9A-F]{1,4}\\]|[0-9]{1,3}(\\.[0-9]{1,3}){3})(:(443|[1-9][0-9]{0,4}))?/)?([a-z0-9]{1,3}[._-]{0,2}[a-z0-9]{1,3}/?){1,3}(:[A-Za-z0-9_.-]{1,6})?(@sha256:[0-9a-f]{64})?"
    ) {
        if let Ok(image) = parse(&text) {
            let shown = image.to_string();
            let again = parse(&shown);
            prop_assert_eq!(again.as_ref(), Ok(&image), "{} shown as {}", text, shown);
            let repository = image.repository().to_string().parse::<Repository>();
            prop_assert_eq!(repository.as_ref(), Ok(image.repository()));
        }
    }

    #[test]
    fn case_and_default_port_of_the_host_do_not_matter(host in "[a-z]{1,5}\\.[a-z]{2,3}", path in "[a-z]{1,5}") {
        let plain = parse(&format!("{host}/{path}"));
        prop_assert_eq!(&parse(&format!("{}/{path}", host.to_uppercase())), &plain);
        prop_assert_eq!(&parse(&format!("{host}:443/{path}")), &plain);
        prop_assert!(plain.is_ok());
    }
}
