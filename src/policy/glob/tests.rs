use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn normalises_as_references_are() {
    for (glob, expected) in [
        ("*", "**"),
        ("**", "**"),
        ("**demo**", "**demo**"),
        ("**/app", "**/app"),
        ("nginx*", "docker.io/library/nginx*"),
        ("nginx:1.*", "docker.io/library/nginx:1.*"),
        ("image.*", "docker.io/library/image.*"),
        ("bitnami/*", "docker.io/bitnami/*"),
        ("*/*", "docker.io/*/*"),
        ("index.docker.io/istio/*", "docker.io/istio/*"),
        ("registry-1.docker.io/nginx", "docker.io/library/nginx"),
        ("docker.io/**", "docker.io/**"),
        ("docker.io/*", "docker.io/library/*"),
        ("GHCR.io/Org/*", "ghcr.io/Org/*"),
        ("ghcr.io:443/org/*", "ghcr.io/org/*"),
        ("ghcr.io**", "ghcr.io**"),
        ("localhost/app", "localhost/app"),
        ("localhost:5000/app", "localhost:5000/app"),
        ("*.trusted.example/**", "*.trusted.example/**"),
        ("[::1]:5000/app", "[::1]:5000/app"),
    ] {
        assert_eq!(normalise(glob), expected, "{glob}");
    }
}

#[test]
fn matches_segment_by_segment() {
    for (glob, text, expected) in [
        ("*.trusted.example/**", "a.trusted.example/x/y", true),
        ("*.trusted.example/**", "attacker.com/x.trusted.example/y", false),
        ("*.trusted.example/**", "trusted.example/x", false),
        ("*.trusted.example/**", "a.trusted.example.attacker.com/x", false),
        ("ghcr.io/org/*", "ghcr.io/org/app", true),
        ("ghcr.io/org/*", "ghcr.io/org/app/sub", false),
        ("ghcr.io/org/*", "ghcr.io/organisation/app", false),
        ("ghcr.io/org/*", "ghcr.io/org/app:1.0", true),
        ("ghcr.io/org/**", "ghcr.io/org/app/sub", true),
        ("ghcr.io/org**", "ghcr.io/org-two/app", true),
        ("ghcrxio/app", "ghcr.io/app", false),
        ("ghcr.io/app:v?", "ghcr.io/app:v1", true),
        ("ghcr.io/app:v?", "ghcr.io/app:v10", false),
        ("nginx", "docker.io/library/nginx", true),
        ("nginx", "docker.io/evil/nginx", false),
        ("**demo**", "registry.local:5000/team/demo/app:1", true),
        ("*", "any.example:5000/a/b/c:tag", true),
    ] {
        let parsed = ImageGlob::parse(glob).unwrap();
        assert_eq!(parsed.shape.matches(text), expected, "{glob} on {text}");
    }
}

#[test]
fn rejects_what_no_reference_can_hold() {
    let long = "a".repeat(MAX_GLOB_BYTES + 1);
    for (glob, problem) in [
        ("", "empty"),
        ("[", "`[` has no meaning"),
        ("ghcr.io/{a,b}", "`{` has no meaning"),
        ("ghcr.io/[ab]", "`[` has no meaning"),
        ("!ghcr.io/**", "`!` has no meaning"),
        ("ghcr.io/a b", "` ` has no meaning"),
        ("ghcr.io/a\\*", "has no meaning"),
        ("ghcr.io/a\n", "`\\n` has no meaning"),
        ("gһcr.io/a", "has no meaning"),
        ("https://ghcr.io/org/*", "empty path segment"),
        ("ghcr.io//org", "empty path segment"),
        ("ghcr.io/org/", "empty path segment"),
        ("/org/app", "empty path segment"),
        ("ghcr.io/Org/*", "upper-case `O`"),
        ("ghcr.io/org/App", "upper-case `A`"),
        ("ghcr.io/org/App:V1", "upper-case `A`"),
        ("**/App@sha256:*", "upper-case `A`"),
        ("**GHCR.io/app", "upper-case `G`"),
        (long.as_str(), "bytes, more than"),
    ] {
        let error = ImageGlob::parse(glob).unwrap_err();
        assert!(error.problem.contains(problem), "{glob}: {error}");
    }
}

#[test]
fn compares_with_tag_and_digest() {
    let image: ImageRef = format!("GHCR.io:443/org/app:v1@{DIGEST}").parse().unwrap();
    for (glob, expected) in [
        ("ghcr.io/org/app", true),
        ("ghcr.io/org/app:v*", true),
        ("ghcr.io/org/app:v2", false),
        (&format!("ghcr.io/org/app@{DIGEST}"), true),
        (&format!("ghcr.io/org/app:v1@{DIGEST}"), true),
        ("ghcr.io/org/app@sha256:0*", false),
    ] {
        assert_eq!(ImageGlob::parse(glob).unwrap().matches(&image), expected, "{glob}");
    }
    let hub: ImageRef = "index.docker.io/nginx".parse().unwrap();
    for glob in ["nginx", "nginx*", "nginx:latest", "docker.io/nginx", "docker.io/**", "library/*"]
    {
        assert!(ImageGlob::parse(glob).unwrap().matches(&hub), "{glob}");
    }
}

#[test]
fn upper_case_is_for_hosts_and_tags() {
    let image: ImageRef = "GHCR.io/org/app:V1-RC".parse().unwrap();
    for glob in ["GHCR.io/org/app", "ghcr.io/org/app:V1*", "ghcr.io/org/*RC", "**V1-RC", "*.IO/**"]
    {
        assert!(ImageGlob::parse(glob).unwrap().matches(&image), "{glob}");
    }
}

#[test]
fn spells_hosts_and_docker_hub_as_references_do() {
    for (glob, image, expected) in [
        ("docker.io/*", "nginx", true),
        ("docker.io/*", "bitnami/redis", false),
        ("docker.io/**", "bitnami/redis", true),
        ("intranet:443/app", "intranet:443/app", true),
        ("Intranet/app", "INTRANET/app:1", true),
        ("intranet/app", "Intranet/app", false),
        ("[::1]:443/app", "[::1]/app", true),
    ] {
        let image: ImageRef = image.parse().unwrap();
        assert_eq!(ImageGlob::parse(glob).unwrap().matches(&image), expected, "{glob} on {image}");
    }
}

#[test]
fn knows_which_digests_it_could_be_about() {
    let image: ImageRef = "ghcr.io/org/app:v1".parse().unwrap();
    for (glob, expected) in [
        ("**@sha256:*", true),
        ("ghcr.io/org/*@sha256:*", true),
        (&format!("ghcr.io/org/app@{DIGEST}"), true),
        (&format!("ghcr.io/org/app:v1@{DIGEST}"), true),
        (&format!("ghcr.io/org/app:v2@{DIGEST}"), false),
        ("ghcr.io/org/other@sha256:*", false),
        ("quay.io/**@sha256:*", false),
        ("ghcr.io/org/**", false),
    ] {
        let parsed = ImageGlob::parse(glob).unwrap();
        assert_eq!(parsed.may_match_digest_of(&image), expected, "{glob}");
        let pinned = image.with_digest(DIGEST.parse().unwrap());
        let later = parsed.matches(&pinned) && !parsed.matches(&image);
        assert!(expected || !later, "{glob}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,80}", image in "\\PC{0,80}") {
        if let Ok(glob) = ImageGlob::parse(&text) {
            let _ = glob.shape.matches(&image);
        }
    }

    #[test]
    fn a_literal_matches_itself_alone(
        host in "[a-z]{1,8}\\.[a-z]{2,4}", path in "[a-z0-9._-]{1,12}", other in "[a-z0-9./]{1,20}"
    ) {
        let text = format!("{host}/team/{path}");
        let glob = ImageGlob::parse(&text).unwrap();
        prop_assert!(glob.shape.matches(&text));
        prop_assert_eq!(glob.shape.matches(&other), text == other);
        let extended = format!("{}{}", text, other);
        prop_assert!(!glob.shape.matches(&extended));
    }

    #[test]
    fn a_star_never_crosses_a_slash(a in "[a-z]{0,5}", b in "[a-z/]{0,9}", c in "[a-z]{1,5}") {
        let glob = ImageGlob::parse(&format!("r.example/{a}*{c}")).unwrap();
        let text = format!("r.example/{a}{b}{c}");
        prop_assert_eq!(glob.shape.matches(&text), !b.contains('/'));
        let deep = ImageGlob::parse(&format!("r.example/{a}**{c}")).unwrap();
        prop_assert!(deep.shape.matches(&text));
    }
}

/// The short ways of comparing say what the regular expression says.
#[test]
fn every_shape_matches_what_its_pattern_matches() {
    let texts = ["", "a/b", "a/b/c", "a/bc", "a/b:1", "a", "a.b", "axb", "a/b@sha256:1", "a\nb"];
    for glob in ["a/b", "a/**", "a**", "**", "***", "a/b***", "a/*", "a?b", "**b", "a/*/**", "a.b"]
    {
        let regex = pattern::glob_regex(glob).unwrap();
        let shape = Shape::of(glob).unwrap();
        for text in texts {
            assert_eq!(shape.matches(text), regex.is_match(text), "{glob} on {text:?}");
        }
    }
    assert!(matches!(Shape::of("a/b").unwrap(), Shape::Literal(_)));
    assert!(matches!(Shape::of("**").unwrap(), Shape::Prefix(prefix) if prefix.is_empty()));
    assert!(matches!(Shape::of("a/*").unwrap(), Shape::Pattern(_)));
}
