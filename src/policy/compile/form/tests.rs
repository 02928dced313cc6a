use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::json;

use super::super::signer::compile_identity;
use super::*;
use crate::policy::IdentityMatcher;
use crate::verdict::Reason;
use crate::verify::CertificateIdentity;

fn compile(identity: Value) -> Result<IdentityMatcher, CompileError> {
    compile_identity(&serde_json::from_value(identity).unwrap(), "i")
}

/// What Fulcio certifies for a run: issuer, subject, and claims by name.
fn run(issuer: &str, subject: &str, claims: &[(&'static str, &str)]) -> CertificateIdentity {
    let claims = claims.iter().map(|(name, value)| (*name, (*value).to_owned()));
    CertificateIdentity {
        issuer: issuer.to_owned(),
        subjects: vec![subject.to_owned()],
        claims: claims.collect::<BTreeMap<_, _>>(),
    }
}

fn github_run(home: &str, repository: &str, git_ref: &str) -> CertificateIdentity {
    run(
        GITHUB,
        &format!("https://github.com/{home}"),
        &[
            ("sourceRepositoryURI", &format!("https://github.com/{repository}")),
            ("sourceRepositoryRef", git_ref),
            ("buildTrigger", "push"),
        ],
    )
}

fn gitlab_run(project: &str, config: &str, git_ref: &str) -> CertificateIdentity {
    let home = format!("https://gitlab.com/{project}");
    run(
        GITLAB,
        &format!("{home}//{config}@{git_ref}"),
        &[("sourceRepositoryURI", &home), ("sourceRepositoryRef", git_ref)],
    )
}

const OWN: &str = "org/app/.github/workflows/release.yml@refs/heads/main";

fn own() -> Value {
    json!({"githubWorkflow": {
        "repository": "org/app",
        "workflow": "release.yml",
        "ref": "refs/heads/main",
        "trigger": "push",
    }})
}

/// Expects a match where `reason` is `None`.
fn expect(identity: &Value, found: &CertificateIdentity, reason: Option<Reason>) {
    let answer = compile(identity.clone()).unwrap().matches(found);
    let answer = answer.err().map(|failure| failure.reason);
    assert_eq!(answer, reason, "{identity} on {found:?}");
}

#[test]
fn each_part_of_a_github_workflow_alone_denies() {
    use Reason::ClaimMismatch;
    use Reason::SubjectMismatch;
    let good = github_run(OWN, "org/app", "refs/heads/main");
    expect(&own(), &good, None);
    let home = |home: &str| github_run(home, "org/app", "refs/heads/main");
    for (found, reason) in [
        (CertificateIdentity { issuer: GITLAB.to_owned(), ..good.clone() }, Reason::IssuerMismatch),
        (home("org/app-evil/.github/workflows/release.yml@refs/heads/main"), SubjectMismatch),
        (home("evil/org/app/.github/workflows/release.yml@refs/heads/main"), SubjectMismatch),
        (home("org/app/.github/workflows/evil.yml@refs/heads/main"), SubjectMismatch),
        (home("org/app/.github/workflows/releasexyml@refs/heads/main"), SubjectMismatch),
        (home("org/app/.github/workflows/release.yml@refs/heads/main2"), SubjectMismatch),
        (home("org/app/.github/workflows/release.yml@refs/tags/main"), SubjectMismatch),
        (home(&format!("{OWN}@refs/heads/main")), SubjectMismatch),
        (github_run(OWN, "org/app-evil", "refs/heads/main"), ClaimMismatch),
        (github_run(OWN, "evil/org/app", "refs/heads/main"), ClaimMismatch),
        (github_run(OWN, "evil/app", "refs/heads/main"), ClaimMismatch),
        (github_run(OWN, "org/app", "refs/heads/evil"), ClaimMismatch),
    ] {
        expect(&own(), &found, Some(reason));
    }
    for claim in ["sourceRepositoryURI", "sourceRepositoryRef", "buildTrigger"] {
        let mut without = good.clone();
        without.claims.remove(claim).unwrap();
        expect(&own(), &without, Some(ClaimMismatch));
        let mut other = good.clone();
        other.claims.insert(claim, "pull_request".to_owned());
        expect(&own(), &other, Some(ClaimMismatch));
    }
}

#[test]
fn wildcards_stay_in_their_place() {
    use Reason::ClaimMismatch;
    use Reason::SubjectMismatch;
    let identity = json!({"githubWorkflow": {
        "repository": "org/app-*", "workflow": "*.yml", "ref": "refs/tags/v*",
    }});
    let home = |repository: &str, file: &str, git_ref: &str| {
        let home = format!("{repository}/.github/workflows/{file}@{git_ref}");
        github_run(&home, repository, git_ref)
    };
    expect(&identity, &home("org/app-a", "any.yml", "refs/tags/v1.2"), None);
    for found in [
        home("org/app", "any.yml", "refs/tags/v1"),
        home("org/app-a/b", "any.yml", "refs/tags/v1"),
        home("org/app-a", "any.yaml", "refs/tags/v1"),
        home("org/app-a", "deep/any.yml", "refs/tags/v1"),
        home("org/app-a", "any.yml", "refs/tags/v1/evil"),
        home("org/app-a", "any.yml", "refs/heads/v1"),
        home("org/app-a", "evil.sh@refs/heads/x.yml", "refs/tags/v1"),
    ] {
        expect(&identity, &found, Some(SubjectMismatch));
    }
    let mixed =
        github_run("org/app-a/.github/workflows/any.yml@refs/tags/v1", "org/other", "refs/tags/v1");
    expect(&identity, &mixed, Some(ClaimMismatch));
    let anything = json!({"githubWorkflow": {
        "repository": "org/app", "workflow": "release.yml", "ref": "refs/**",
    }});
    let pull = "refs/pull/7/merge";
    expect(&anything, &home("org/app", "release.yml", pull), None);
    expect(&own(), &home("org/app", "release.yml", pull), Some(SubjectMismatch));
}

#[test]
fn a_reusable_workflow_is_bound_to_the_repository_that_calls_it() {
    let called = "org/ci/.github/workflows/build.yml@refs/tags/v1";
    let identity = json!({"githubWorkflow": {
        "repository": "org/app", "workflow": called, "ref": "refs/heads/main",
    }});
    expect(&identity, &github_run(called, "org/app", "refs/heads/main"), None);
    let other = "org/ci/.github/workflows/build.yml@refs/tags/v2";
    for (found, reason) in [
        (github_run(called, "evil/app", "refs/heads/main"), Reason::ClaimMismatch),
        (github_run(called, "org/app", "refs/heads/evil"), Reason::ClaimMismatch),
        (github_run(other, "org/app", "refs/heads/main"), Reason::SubjectMismatch),
        (github_run(OWN, "org/app", "refs/heads/main"), Reason::SubjectMismatch),
    ] {
        expect(&identity, &found, Some(reason));
    }
    // The other way round: our own workflow, called by a stranger.
    let stranger = github_run(OWN, "evil/app", "refs/heads/main");
    expect(&own(), &stranger, Some(Reason::ClaimMismatch));
}

#[test]
fn each_part_of_a_gitlab_pipeline_alone_denies() {
    let identity = json!({"gitlabPipeline": {"project": "group/app", "ref": "refs/heads/main"}});
    let file = ".gitlab-ci.yml";
    let main = "refs/heads/main";
    let good = gitlab_run("group/app", file, main);
    expect(&identity, &good, None);
    for found in [
        gitlab_run("group/app-evil", file, main),
        gitlab_run("evil/group/app", file, main),
        gitlab_run("group/app/sub", file, main),
        gitlab_run("group/app", "evil.yml", main),
        gitlab_run("group/app", "xgitlab-ciyyml", main),
        gitlab_run("group/app", file, "refs/tags/main"),
    ] {
        expect(&identity, &found, Some(Reason::SubjectMismatch));
    }
    for claim in ["sourceRepositoryURI", "sourceRepositoryRef"] {
        let mut other = good.clone();
        other.claims.insert(claim, "https://gitlab.com/evil/app".to_owned());
        expect(&identity, &other, Some(Reason::ClaimMismatch));
    }
    let whole = json!({"gitlabPipeline": {
        "project": "group/**", "ref": main, "config": "ci/release.yml",
    }});
    expect(&whole, &gitlab_run("group/a/b", "ci/release.yml", main), None);
    let reason = Some(Reason::SubjectMismatch);
    expect(&whole, &gitlab_run("group-evil/a", "ci/release.yml", main), reason);
    expect(&whole, &gitlab_run("group/a", "ci/release.yml", "refs/heads/x"), reason);
}

#[test]
fn people_accounts_and_workloads_are_exact() {
    let account = "bot@project.iam.gserviceaccount.com";
    let google = json!({"googleServiceAccount": account});
    let issuer = "https://accounts.google.com";
    expect(&google, &run(issuer, account, &[]), None);
    let mail = json!({"email": {"address": "me+ci@example.com", "issuer": "https://i.example"}});
    expect(&mail, &run("https://i.example", "me+ci@example.com", &[]), None);
    let anyone = json!({"email": {"address": "*@example.com", "issuer": "https://i.example"}});
    expect(&anyone, &run("https://i.example", "you@example.com", &[]), None);
    let id = "spiffe://example.org/ns/ci/sa/builder";
    let spiffe = json!({"spiffe": {"id": id, "issuer": "https://i.example"}});
    expect(&spiffe, &run("https://i.example", id, &[]), None);
    let domain = json!({"spiffe": {"trustDomain": "example.org", "issuer": "https://i.example"}});
    expect(&domain, &run("https://i.example", id, &[]), None);
    for (identity, issuer, subject, reason) in [
        (&google, "https://evil.example", account, Reason::IssuerMismatch),
        (&google, issuer, "bot@project-iam.gserviceaccount.com", Reason::SubjectMismatch),
        (&mail, "https://i.example.evil", "me+ci@example.com", Reason::IssuerMismatch),
        (&mail, "https://i.example", "meeci@example.com", Reason::SubjectMismatch),
        (&anyone, "https://i.example", "you@example.com.evil", Reason::SubjectMismatch),
        (&anyone, "https://i.example", "you@evil-example.com", Reason::SubjectMismatch),
        (&spiffe, "https://i.example", "spiffe://example.org/ns/ci/sa", Reason::SubjectMismatch),
        (&domain, "https://i.example", "spiffe://example.org.evil/a", Reason::SubjectMismatch),
        (&domain, "https://evil.example", id, Reason::IssuerMismatch),
    ] {
        expect(identity, &run(issuer, subject, &[]), Some(reason));
    }
}

#[test]
fn further_claims_only_narrow() {
    let mut identity = own();
    identity["claims"] = json!({"runnerEnvironment": "github-hosted"});
    let mut found = github_run(OWN, "org/app", "refs/heads/main");
    expect(&identity, &found, Some(Reason::ClaimMismatch));
    found.claims.insert("runnerEnvironment", "github-hosted".to_owned());
    expect(&identity, &found, None);
    let mut looser = own();
    looser["claims"] = json!({"sourceRepositoryURI": {"glob": "**"}});
    expect(&looser, &github_run(OWN, "evil/app", "refs/heads/main"), Some(Reason::ClaimMismatch));
}

#[test]
fn rejects_what_reaches_beyond_its_place() {
    let with = |pointer: &str, value: &str| {
        let mut identity = own();
        *identity.pointer_mut(pointer).unwrap() = json!(value);
        identity
    };
    let gitlab = |project: &str, config: &str| {
        let git_ref = "refs/heads/main";
        json!({"gitlabPipeline": {"project": project, "ref": git_ref, "config": config}})
    };
    let mail =
        |address: &str| json!({"email": {"address": address, "issuer": "https://i.example"}});
    let spiffe =
        |field: &str, value: &str| json!({"spiffe": {field: value, "issuer": "https://i"}});
    let mut rows = Vec::new();
    for value in ["app", "*/app", "**/app", "o*/app", "org/**", "org/a/b", "org/", "/app", "o/a@b"]
    {
        rows.push((with("/githubWorkflow/repository", value), "i.githubWorkflow.repository"));
    }
    for value in [
        "",
        "**",
        "a@refs/heads/x",
        "dir/release.yml",
        "o/a/.github/workflows/b.yml",
        "o/a/.github/workflows/b.yml@v1",
        "*/a/.github/workflows/b.yml@refs/tags/v1",
        "o/*/.github/workflows/b.yml@refs/tags/v1",
        "o/a/.github/workflows/d/b.yml@refs/tags/v1",
        "x/o/a/.github/workflows/b.yml@refs/tags/v1",
    ] {
        rows.push((with("/githubWorkflow/workflow", value), "i.githubWorkflow.workflow"));
    }
    for value in
        ["", "main", "*", "**", "refs/*", "refs/heads/", "refs/heads/a b", "refs/heads/a..b"]
    {
        rows.push((with("/githubWorkflow/ref", value), "i.githubWorkflow.ref"));
    }
    for value in ["", "Push", "push*", "push|pull"] {
        rows.push((with("/githubWorkflow/trigger", value), "i.githubWorkflow.trigger"));
    }
    for value in ["app", "*/app", "**", "g/**/app", "g/a**", "g//a", "g/a@b", "/a"] {
        rows.push((gitlab(value, "ci.yml"), "i.gitlabPipeline.project"));
    }
    for value in ["", "/ci.yml", "a@b", "**", "a//b"] {
        rows.push((gitlab("g/a", value), "i.gitlabPipeline.config"));
    }
    for value in ["me@example.com", "a@b.gserviceaccount.com.evil", "*@p.iam.gserviceaccount.com"] {
        rows.push((json!({"googleServiceAccount": value}), "i.googleServiceAccount"));
    }
    for value in ["me", "@a.example", "me@", "m*@a.example", "*@*", "*@*.example", "a@b@c"] {
        rows.push((mail(value), "i.email.address"));
    }
    for value in ["https://a/b", "spiffe://a", "spiffe://*/b", "spiffe://A/b", "spiffe://a/../b"] {
        rows.push((spiffe("id", value), "i.spiffe.id"));
    }
    for value in ["*", "a/b", "A", "spiffe://a"] {
        rows.push((spiffe("trustDomain", value), "i.spiffe.trustDomain"));
    }
    let mut two = own();
    two["email"] = json!({"address": "me@example.com", "issuer": "https://i.example"});
    let mut plain = own();
    plain["issuer"] = json!(GITHUB);
    let both = json!({"spiffe": {"id": "spiffe://a/b", "trustDomain": "a", "issuer": "https://i"}});
    let none = json!({"spiffe": {"issuer": "https://i"}});
    rows.extend([(two, "i"), (plain, "i"), (both, "i.spiffe"), (none, "i.spiffe")]);
    for (identity, path) in rows {
        let Err(error) = compile(identity.clone()) else { panic!("{identity} compiles") };
        assert_eq!(error.path, path, "{identity}: {error}");
        assert!(!error.wanted.is_empty(), "{error}");
    }
}

#[test]
fn globs_count_towards_the_policys_patterns() {
    let count = |identity: Value| {
        let spec = serde_json::from_value(identity).unwrap();
        expand(&spec, "i").unwrap().map_or(0, |expanded| expanded.patterns())
    };
    assert_eq!(count(own()), 0);
    let wild = json!({"githubWorkflow": {
        "repository": "org/*", "workflow": "*", "ref": "refs/**",
    }});
    assert_eq!(count(wild), 3);
    assert_eq!(count(json!({"issuer": "a", "subject": "b"})), 0);
}
