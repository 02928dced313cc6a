//! Ready-made identities to issuer, subject and claims.
//!
//! Every part that a user gives is held to the characters of its kind before it becomes part of a
//! text, so that no value can reach beyond its place; wildcards become a glob over the whole text,
//! in which everything else is literal.
use super::CompileError;
use crate::api;

/// The issuer of GitHub's workflows (GitHub, "OpenID Connect reference").
const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// The issuer of GitLab's pipelines (GitLab, "ID token authentication").
const GITLAB: &str = "https://gitlab.com";

/// The issuer of Google's service accounts.
const GOOGLE: &str = "https://accounts.google.com";

/// Where GitHub looks for workflows.
const WORKFLOWS: &str = ".github/workflows/";

/// The file of a GitLab pipeline, where a project names no other.
const PIPELINE: &str = ".gitlab-ci.yml";

/// What a ready-made identity stands for.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) issuer: String,
    pub(super) subject: Text,
    pub(super) claims: Vec<(&'static str, Text)>,
}

/// A text, or a glob.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Text {
    Exact(String),
    Glob(String),
}

impl Text {
    /// A glob where there is a wildcard in it. Only for texts in which `*` and `?` are nothing else.
    fn of(text: String) -> Self {
        if text.contains(WILDCARDS) { Self::Glob(text) } else { Self::Exact(text) }
    }
}

const WILDCARDS: [char; 2] = ['*', '?'];

impl Expanded {
    /// How many globs it holds.
    pub(super) fn patterns(&self) -> usize {
        let texts = std::iter::once(&self.subject).chain(self.claims.iter().map(|(_, text)| text));
        texts.filter(|text| matches!(text, Text::Glob(_))).count()
    }
}

/// What the ready-made form of an identity stands for; `None` where it has issuer and subject.
pub(super) fn expand(
    spec: &api::IdentitySpec,
    path: &str,
) -> Result<Option<Expanded>, CompileError> {
    let api::IdentitySpec {
        issuer,
        issuer_reg_exp,
        subject,
        subject_reg_exp,
        claims: _,
        github_workflow,
        gitlab_pipeline,
        google_service_account,
        email,
        spiffe,
    } = spec;
    let plain = [issuer, issuer_reg_exp, subject, subject_reg_exp];
    let forms = [
        ("githubWorkflow", github_workflow.is_some()),
        ("gitlabPipeline", gitlab_pipeline.is_some()),
        ("googleServiceAccount", google_service_account.is_some()),
        ("email", email.is_some()),
        ("spiffe", spiffe.is_some()),
        ("issuer and subject", plain.iter().any(|field| field.is_some())),
    ];
    let there: Vec<&str> = forms.iter().filter(|form| form.1).map(|form| form.0).collect();
    if there.len() > 1 {
        let problem = format!("it has several forms: {}", there.join(", "));
        return Err(CompileError::new(path, problem, "one form; `identities` are alternatives"));
    }
    let at = |field: &str| format!("{path}.{field}");
    if let Some(spec) = github_workflow {
        github(spec, &at("githubWorkflow")).map(Some)
    } else if let Some(spec) = gitlab_pipeline {
        gitlab(spec, &at("gitlabPipeline")).map(Some)
    } else if let Some(account) = google_service_account {
        google(account, &at("googleServiceAccount")).map(Some)
    } else if let Some(spec) = email {
        address(spec, &at("email")).map(Some)
    } else if let Some(spec) = spiffe {
        spiffe_id(spec, &at("spiffe")).map(Some)
    } else {
        Ok(None)
    }
}

/// The subject names the workflow that ran, which may be another repository's and be called from
/// anywhere: it is the claim that binds the repository that was built.
fn github(spec: &api::GitHubWorkflowSpec, path: &str) -> Result<Expanded, CompileError> {
    let api::GitHubWorkflowSpec { repository, workflow, git_ref, trigger } = spec;
    check_repository(repository, true, &format!("{path}.repository"))?;
    check_ref(git_ref, &["refs/heads/", "refs/tags/", "refs/pull/"], &format!("{path}.ref"))?;
    let home = workflow_home(workflow, repository, git_ref, &format!("{path}.workflow"))?;
    let mut claims = vec![
        ("sourceRepositoryURI", Text::of(format!("https://github.com/{repository}"))),
        ("sourceRepositoryRef", Text::of(git_ref.clone())),
    ];
    if let Some(trigger) = trigger {
        if !trigger.chars().all(|c| c.is_ascii_lowercase() || c == '_') || trigger.is_empty() {
            let problem = format!("`{trigger}` is no event");
            let wanted = "an event's name, for example `push` or `workflow_dispatch`";
            return Err(CompileError::new(format!("{path}.trigger"), problem, wanted));
        }
        claims.push(("buildTrigger", Text::Exact(trigger.clone())));
    }
    let subject = Text::of(format!("https://github.com/{home}"));
    Ok(Expanded { issuer: GITHUB.to_owned(), subject, claims })
}

/// `OWNER/NAME/.github/workflows/FILE@REF` of the workflow that signs.
fn workflow_home(
    workflow: &str,
    repository: &str,
    git_ref: &str,
    path: &str,
) -> Result<String, CompileError> {
    let wanted = "a file's name (`release.yml`), or a reusable workflow with its ref \
                  (`OWNER/NAME/.github/workflows/FILE@refs/tags/v1`)";
    let error = || CompileError::new(path, format!("`{workflow}` is no workflow"), wanted);
    let check_file = |file: &str| {
        let good = is_name(file, "._-", true) && !file.contains("**");
        if good { Ok(()) } else { Err(error()) }
    };
    let own = workflow.strip_prefix(WORKFLOWS).unwrap_or(workflow);
    if !own.contains('/') {
        check_file(own)?;
        return Ok(format!("{repository}/{WORKFLOWS}{own}@{git_ref}"));
    }
    let (home, rest) = workflow.split_once("/.github/workflows/").ok_or_else(error)?;
    let (file, its_ref) = rest.split_once('@').ok_or_else(error)?;
    check_repository(home, false, path)?;
    check_file(file)?;
    check_ref(its_ref, &["refs/heads/", "refs/tags/"], path)?;
    Ok(workflow.to_owned())
}

fn check_repository(text: &str, wildcards: bool, path: &str) -> Result<(), CompileError> {
    let parts = text.split_once('/').filter(|(owner, name)| {
        let name = is_name(name, "._-", wildcards) && !name.contains("**");
        name && is_name(owner, "_-", false)
    });
    parts.map(drop).ok_or_else(|| {
        let problem = format!("`{text}` is no repository");
        CompileError::new(path, problem, "`OWNER/NAME`, with wildcards in the name at most")
    })
}

/// A ref in full: `main` alone could be a branch or a tag.
fn check_ref(text: &str, starts: &[&str], path: &str) -> Result<(), CompileError> {
    let start = starts.iter().find_map(|start| text.strip_prefix(start));
    let named = start.is_some_and(|name| !name.is_empty() && !name.contains("//"));
    // Git, git-check-ref-format: what no ref holds. Wildcards are none of it.
    let clean =
        !text.contains(|c: char| c.is_whitespace() || c.is_control() || "~^:[\\".contains(c));
    if (named || text == "refs/**") && clean && !text.contains("..") {
        return Ok(());
    }
    let wanted = "`refs/heads/BRANCH` or `refs/tags/TAG`; `refs/**` says that it may be any";
    Err(CompileError::new(path, format!("`{text}` is no full ref"), wanted))
}

fn gitlab(spec: &api::GitLabPipelineSpec, path: &str) -> Result<Expanded, CompileError> {
    let api::GitLabPipelineSpec { project, git_ref, config } = spec;
    let parts: Vec<&str> = project.split('/').collect();
    let good = |(index, part): (usize, &&str)| match index {
        0 => is_name(part, "._-", false),
        _ if part.contains("**") => *part == "**" && index + 1 == parts.len(),
        _ => is_name(part, "._-", true),
    };
    if parts.len() < 2 || !parts.iter().enumerate().all(good) {
        let problem = format!("`{project}` is no project");
        let wanted = "`GROUP/NAME` or `GROUP/SUBGROUP/NAME`, the first group without wildcards, \
                      and `**` at the end at most";
        return Err(CompileError::new(format!("{path}.project"), problem, wanted));
    }
    check_ref(git_ref, &["refs/heads/", "refs/tags/"], &format!("{path}.ref"))?;
    let config = config.as_deref().unwrap_or(PIPELINE);
    if !config.split('/').all(|part| is_name(part, "._-", true) && !part.contains("**")) {
        let problem = format!("`{config}` is no file of the project");
        let wanted = "a path without `@`, for example `ci/release.yml`";
        return Err(CompileError::new(format!("{path}.config"), problem, wanted));
    }
    let home = format!("https://gitlab.com/{project}");
    Ok(Expanded {
        issuer: GITLAB.to_owned(),
        subject: Text::of(format!("{home}//{config}@{git_ref}")),
        claims: vec![
            ("sourceRepositoryURI", Text::of(home)),
            ("sourceRepositoryRef", Text::of(git_ref.clone())),
        ],
    })
}

fn google(account: &str, path: &str) -> Result<Expanded, CompileError> {
    let good = account.split_once('@').is_some_and(|(name, domain)| {
        let host = domain.strip_suffix(".gserviceaccount.com");
        is_name(name, "._-", false) && host.is_some_and(|host| is_name(host, ".-", false))
    });
    if !good {
        let problem = format!("`{account}` is no service account");
        let wanted = "`NAME@PROJECT.iam.gserviceaccount.com`, or `email` for a person";
        return Err(CompileError::new(path, problem, wanted));
    }
    let subject = Text::Exact(account.to_owned());
    Ok(Expanded { issuer: GOOGLE.to_owned(), subject, claims: Vec::new() })
}

fn address(spec: &api::EmailSpec, path: &str) -> Result<Expanded, CompileError> {
    let api::EmailSpec { address, issuer } = spec;
    let unusual = |c: char| c.is_whitespace() || c.is_control() || "@*?/\"".contains(c);
    let good = address.rsplit_once('@').is_some_and(|(local, domain)| {
        let local = local == "*" || (!local.is_empty() && !local.contains(unusual));
        local && is_name(domain, ".-", false)
    });
    if !good {
        let problem = format!("`{address}` is no e-mail address");
        let wanted = "an address, or `*@DOMAIN` for anyone of a domain; \
                      `subjectRegExp` says everything else";
        return Err(CompileError::new(format!("{path}.address"), problem, wanted));
    }
    let subject = Text::of(address.clone());
    Ok(Expanded { issuer: issuer.clone(), subject, claims: Vec::new() })
}

/// SPIFFE-ID, sections 2.1 and 2.2: the characters of trust domains and of paths.
fn spiffe_id(spec: &api::SpiffeSpec, path: &str) -> Result<Expanded, CompileError> {
    let api::SpiffeSpec { id, trust_domain, issuer } = spec;
    let domain = |text: &str| {
        let lower = |c: char| !c.is_ascii_uppercase();
        is_name(text, "._-", false) && text.chars().all(lower)
    };
    let segment = |part: &str| is_name(part, "._-", true) && ![".", ".."].contains(&part);
    let subject = match (id, trust_domain) {
        (Some(id), None) => {
            let rest = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
            rest.filter(|(host, rest)| domain(host) && rest.split('/').all(segment))
                .map(|_| Text::of(id.clone()))
                .ok_or_else(|| (format!("{path}.id"), format!("`{id}` is no SPIFFE identity")))
        }
        (None, Some(name)) if domain(name) => Ok(Text::Glob(format!("spiffe://{name}/**"))),
        (None, Some(name)) => {
            Err((format!("{path}.trustDomain"), format!("`{name}` is no trust domain")))
        }
        (Some(_), Some(_)) => Err((path.to_owned(), "it has both `id` and `trustDomain`".into())),
        (None, None) => Err((path.to_owned(), "it has neither `id` nor `trustDomain`".into())),
    };
    let subject = subject.map_err(|(path, problem)| {
        let wanted = "`id: spiffe://TRUST-DOMAIN/PATH` or `trustDomain: TRUST-DOMAIN`";
        CompileError::new(path, problem, wanted)
    })?;
    Ok(Expanded { issuer: issuer.clone(), subject, claims: Vec::new() })
}

/// Letters, digits and these characters; and wildcards where they are allowed.
fn is_name(text: &str, others: &str, wildcards: bool) -> bool {
    let good = |c: char| {
        c.is_ascii_alphanumeric() || others.contains(c) || (wildcards && WILDCARDS.contains(&c))
    };
    !text.is_empty() && text.chars().all(good)
}

#[cfg(test)]
mod tests;
