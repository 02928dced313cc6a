//! Identities that trust strangers, or nobody.
use super::Hint;
use super::pattern;
use crate::api;
use crate::policy::TextMatcher;

/// The issuer of GitHub's workflows.
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// The issuer of GitLab's pipelines.
const GITLAB: &str = "https://gitlab.com";

/// Issuers that are the same for everybody, so that a misspelt one is never meant.
const ISSUERS: [&str; 5] = [
    GITHUB,
    GITLAB,
    "https://accounts.google.com",
    "https://github.com/login/oauth",
    "https://oauth2.sigstore.dev/auth",
];

/// Refs that people make who may not release.
const OPEN_REFS: [&str; 3] = ["refs/**", "refs/heads/**", "refs/pull/**"];

/// Domains in which anyone gets an address.
const PUBLIC_MAIL: [&str; 6] =
    ["gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "yahoo.com", "proton.me"];

/// The claim that says the same as the subject of a workflow.
const SIGNER_CLAIM: &str = "buildSignerURI";

pub(super) fn check(
    identity: &api::IdentitySpec,
    path: &str,
    mode: api::ModeSpec,
    hints: &mut Vec<Hint>,
) {
    let api::IdentitySpec { issuer, issuer_reg_exp, subject, subject_reg_exp, claims, .. } =
        identity;
    let claim_regexes = claims.iter().filter_map(|(name, claim)| {
        claim.regex.as_deref().map(|regex| (format!("claims.{name}"), regex))
    });
    let regexes = [("issuerRegExp", issuer_reg_exp), ("subjectRegExp", subject_reg_exp)]
        .into_iter()
        .filter_map(|(field, regex)| Some((field.to_owned(), regex.as_deref()?)));
    for (field, regex) in regexes.chain(claim_regexes) {
        if let Some(word) = pattern::loose_dot(regex) {
            let escaped = word.replace('.', "\\.");
            let text = format!("the dot in `{word}` stands for any character: write `{escaped}`");
            hints.push(Hint::new(format!("{path}.{field}"), text));
        }
    }
    if mode == api::ModeSpec::Enforce {
        strangers(identity, path, hints);
        ready_made(identity, path, hints);
    }
    if let Some(issuer) = issuer {
        misspelt_issuer(issuer, path, hints);
    }
    if let (Some(GITHUB), Some(subject)) = (issuer.as_deref(), subject) {
        workflow(subject, path, hints);
    }
    if let (Some(subject), Some(claim)) = (subject, claims.get(SIGNER_CLAIM)) {
        contradiction(subject, claim, path, hints);
    }
}

/// An enforced policy that anyone can meet. One that only warns may well begin with `.*`.
fn strangers(identity: &api::IdentitySpec, path: &str, hints: &mut Vec<Hint>) {
    let api::IdentitySpec { issuer, issuer_reg_exp, subject_reg_exp, claims, .. } = identity;
    let matcher = |regex: &Option<String>| TextMatcher::regex(regex.as_deref()?).ok();
    if matcher(issuer_reg_exp).is_some_and(|matcher| pattern::matches_anything(&matcher)) {
        let text = "anyone may vouch for the signer: name the issuer in `issuer`";
        hints.push(Hint::new(format!("{path}.issuerRegExp"), text));
    }
    let Some(matcher) = matcher(subject_reg_exp) else { return };
    // A claim says who signed as well as the subject does.
    if !claims.is_empty() {
        return;
    }
    let field = format!("{path}.subjectRegExp");
    if pattern::matches_anything(&matcher) {
        let text = "anyone whom the issuer knows may sign: narrow it to the signer that is meant";
        hints.push(Hint::new(field, text));
        return;
    }
    let (whose, examples) = match issuer.as_deref() {
        Some(GITHUB) => (
            "any repository on GitHub",
            [
                "https://github.com/stranger/a/.github/workflows/b.yml@refs/heads/main",
                "https://github.com/Z0-9/q_x.y/.github/workflows/release.yaml@refs/tags/v1.0.0",
            ],
        ),
        Some(GITLAB) => (
            "any project on GitLab",
            [
                "https://gitlab.com/stranger/a//.gitlab-ci.yml@refs/heads/main",
                "https://gitlab.com/z0-9/q_x/y//.gitlab-ci.yml@refs/tags/v1.0.0",
            ],
        ),
        Some(_) | None => return,
    };
    if examples.iter().all(|example| matcher.matches(example)) {
        let text = format!("{whose} may sign: name the owner and the repository");
        hints.push(Hint::new(field, text));
    }
}

/// Ready-made identities that let in more than their author may think.
fn ready_made(identity: &api::IdentitySpec, path: &str, hints: &mut Vec<Hint>) {
    let api::IdentitySpec { github_workflow, gitlab_pipeline, email, .. } = identity;
    let refs = [
        ("githubWorkflow", github_workflow.as_ref().map(|spec| &spec.git_ref)),
        ("gitlabPipeline", gitlab_pipeline.as_ref().map(|spec| &spec.git_ref)),
    ];
    for (form, git_ref) in refs {
        if git_ref.is_some_and(|git_ref| OPEN_REFS.contains(&git_ref.as_str())) {
            let text = "whoever may push a branch or open a pull request may sign: \
                        name the branch, or the tags";
            hints.push(Hint::new(format!("{path}.{form}.ref"), text));
        }
    }
    let domain = email.as_ref().and_then(|email| email.address.strip_prefix("*@"));
    if domain.is_some_and(|domain| PUBLIC_MAIL.contains(&domain)) {
        let text = "anyone can get such an address: name the signer";
        hints.push(Hint::new(format!("{path}.email.address"), text));
    }
}

/// A well-known issuer with a slash too many, or without its scheme.
fn misspelt_issuer(issuer: &str, path: &str, hints: &mut Vec<Hint>) {
    let bare = |issuer: &str| {
        let issuer = issuer.to_ascii_lowercase();
        let rest = issuer.strip_prefix("https://").or_else(|| issuer.strip_prefix("http://"));
        rest.unwrap_or(&issuer).trim_end_matches('/').to_owned()
    };
    let meant = ISSUERS.iter().find(|known| bare(known) == bare(issuer) && **known != issuer);
    if let Some(meant) = meant {
        let text = format!("no certificate names this issuer: write `{meant}`");
        hints.push(Hint::new(format!("{path}.issuer"), text));
    }
}

/// The subject of GitHub's certificates: `https://github.com/OWNER/REPO/FILE@REF`.
fn workflow(subject: &str, path: &str, hints: &mut Vec<Hint>) {
    let problem = if !subject.starts_with("https://") {
        "GitHub's subjects are URLs"
    } else if !subject.contains('@') {
        "GitHub's subjects end with a branch or a tag"
    } else {
        return;
    };
    let wanted = "https://github.com/OWNER/REPO/.github/workflows/FILE@refs/heads/BRANCH";
    let text = format!("no certificate names it, as {problem}: write `{wanted}`");
    hints.push(Hint::new(format!("{path}.subject"), text));
}

/// Fulcio writes a workflow's subject into this claim, too.
fn contradiction(subject: &str, claim: &api::ClaimSpec, path: &str, hints: &mut Vec<Hint>) {
    let api::ClaimSpec { exact, glob, regex } = claim;
    let matcher = match (exact, glob, regex) {
        (Some(text), None, None) => TextMatcher::exact(text),
        (None, Some(text), None) => TextMatcher::glob(text),
        (None, None, Some(text)) => TextMatcher::regex(text),
        _ => return,
    };
    if matcher.is_ok_and(|matcher| !matcher.matches(subject)) {
        let text = "no certificate has both: this claim says the same as `subject`";
        hints.push(Hint::new(format!("{path}.claims.{SIGNER_CLAIM}"), text));
    }
}
