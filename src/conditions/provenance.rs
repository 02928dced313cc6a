//! What SLSA provenance must say: versions 0.1, 0.2 and 1 of the predicate.
//!
//! The source is read from where generators write what was built, not from the list of everything
//! that was used: GitHub's (`workflow`), Google Cloud Build's (`buildConfigSource`), BuildKit's
//! (`configSource`) and those of slsa-github-generator (`source`). Where provenance declares
//! several, all of them must match.
use serde_json::Value;

use super::MAX_BUILDERS;
use super::RuleError;
use super::Statement;
use super::at_most;
use super::matcher;
use super::predicate;
use super::text_at;
use crate::api;
use crate::policy::TextMatcher;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// The highest build level that SLSA has ever had (version 0.1).
const MAX_LEVEL: u8 = 4;

/// Compiled demands.
#[derive(Debug)]
pub(super) struct Demands {
    builders: Vec<TextMatcher>,
    repository: Option<TextMatcher>,
    reference: Option<TextMatcher>,
    commit: Option<TextMatcher>,
    build_type: Option<TextMatcher>,
    level: Option<Level>,
}

#[derive(Debug)]
struct Level {
    minimum: u8,
    builders: Vec<(TextMatcher, u8)>,
}

pub(super) fn compile(spec: &api::SlsaProvenanceSpec, path: &str) -> Result<Demands, RuleError> {
    let api::SlsaProvenanceSpec {
        builders,
        source_repository,
        reference,
        commit,
        build_type,
        level,
    } = spec;
    if builders.is_empty() && level.is_none() {
        let problem = "it names no builder, and provenance is as good as its builder";
        return Err(RuleError::new(path, problem, "`builders`, or `level` with its builders"));
    }
    at_most(&format!("{path}.builders"), builders.len(), MAX_BUILDERS)?;
    let builder = |(index, spec)| matcher(spec, &format!("{path}.builders[{index}]"));
    let optional = |spec: &Option<api::ClaimSpec>, field: &str| {
        spec.as_ref().map(|spec| matcher(spec, &format!("{path}.{field}"))).transpose()
    };
    Ok(Demands {
        builders: builders.iter().enumerate().map(builder).collect::<Result<_, _>>()?,
        repository: optional(source_repository, "sourceRepository")?,
        reference: optional(reference, "ref")?,
        commit: optional(commit, "commit")?,
        build_type: optional(build_type, "buildType")?,
        level: level
            .as_ref()
            .map(|spec| compile_level(spec, &format!("{path}.level")))
            .transpose()?,
    })
}

fn compile_level(spec: &api::BuildLevelSpec, path: &str) -> Result<Level, RuleError> {
    let api::BuildLevelSpec { minimum, builders } = spec;
    let in_range = |level: u8, path: String| {
        if (1..=MAX_LEVEL).contains(&level) {
            return Ok(level);
        }
        Err(RuleError::new(
            path,
            format!("level {level}"),
            format!("a level from 1 to {MAX_LEVEL}"),
        ))
    };
    let minimum = in_range(*minimum, format!("{path}.minimum"))?;
    let path = format!("{path}.builders");
    if builders.is_empty() {
        return Err(RuleError::new(path, "it is empty", "the builders and their levels"));
    }
    at_most(&path, builders.len(), MAX_BUILDERS)?;
    let builder = |(index, spec): (usize, &api::BuilderLevelSpec)| {
        let api::BuilderLevelSpec { builder, level } = spec;
        let level = in_range(*level, format!("{path}[{index}].level"))?;
        Ok((matcher(builder, &format!("{path}[{index}].builder"))?, level))
    };
    let builders = builders.iter().enumerate().map(builder).collect::<Result<_, _>>()?;
    Ok(Level { minimum, builders })
}

impl Demands {
    /// Compares what the provenance says with what is asked for.
    pub(super) fn check(&self, statement: &Statement) -> Result<(), Failure> {
        let Self { builders, repository, reference, commit, build_type, level } = self;
        let said = Said::read(statement)?;
        let builder = said.builder.ok_or_else(|| absent("builder id"))?;
        if !builders.is_empty() && !builders.iter().any(|wanted| wanted.matches(builder)) {
            return Err(mismatch("builder", builder).wanted(alternatives(builders)));
        }
        if let Some(level) = level {
            level.check(builder)?;
        }
        if let Some(wanted) = build_type {
            let found = said.build_type.ok_or_else(|| absent("build type"))?;
            expect("build type", found, wanted)?;
        }
        let sources = [
            ("source repository", repository, Source::repository as fn(&Source) -> Option<&str>),
            ("source reference", reference, Source::reference),
            ("source commit", commit, Source::commit),
        ];
        for (what, wanted, part) in sources {
            let Some(wanted) = wanted else { continue };
            // Each source must say it: none speaks for another.
            if said.sources.is_empty() {
                return Err(absent(what).wanted(wanted));
            }
            for source in &said.sources {
                let found = part(source).ok_or_else(|| absent(what).wanted(wanted))?;
                expect(what, found, wanted)?;
            }
        }
        Ok(())
    }
}

impl Level {
    fn check(&self, builder: &str) -> Result<(), Failure> {
        let Self { minimum, builders } = self;
        let levels = builders.iter().filter(|(wanted, _)| wanted.matches(builder));
        let found = match levels.map(|(_, level)| *level).min() {
            Some(level) if level >= *minimum => return Ok(()),
            Some(level) => format!("builder `{builder}` of level {level}"),
            None => format!("builder `{builder}`, to which the policy gives no level"),
        };
        let wanted = format!("a builder of level {minimum}");
        Err(Failure::new(Reason::ProvenanceMismatch, found).wanted(wanted))
    }
}

/// What provenance says, in one form for all versions.
#[derive(Debug)]
struct Said<'a> {
    builder: Option<&'a str>,
    build_type: Option<&'a str>,
    sources: Vec<Source>,
}

/// A source that provenance declares.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Source {
    repository: Option<String>,
    reference: Option<String>,
    commit: Option<String>,
}

impl<'a> Said<'a> {
    fn read(statement: &'a Statement) -> Result<Self, Failure> {
        let predicate = statement.predicate();
        match statement.predicate_type() {
            predicate::SLSA_1 => Ok(Self::read_1(predicate)),
            predicate::SLSA_0_2 => Ok(Self {
                builder: text_at(predicate, "/builder/id"),
                build_type: text_at(predicate, "/buildType"),
                sources: of_uri(predicate.pointer("/invocation/configSource")),
            }),
            predicate::SLSA_0_1 => {
                let index = predicate.pointer("/recipe/definedInMaterial").and_then(Value::as_u64);
                let material =
                    index.and_then(|index| predicate.pointer(&format!("/materials/{index}")));
                Ok(Self {
                    builder: text_at(predicate, "/builder/id"),
                    build_type: text_at(predicate, "/recipe/type"),
                    sources: of_uri(material),
                })
            }
            other => {
                let found = format!("provenance of type `{other}`");
                let wanted = "SLSA provenance v0.1, v0.2 or v1";
                Err(Failure::new(Reason::PredicateUnusable, found).wanted(wanted))
            }
        }
    }

    fn read_1(predicate: &'a Value) -> Self {
        let parameters = predicate.pointer("/buildDefinition/externalParameters");
        let parameter = |name: &str| parameters.and_then(|parameters| parameters.get(name));
        let mut sources = Vec::new();
        for name in ["workflow", "buildConfigSource", "sourceToBuild"] {
            // A text under such a name is the path of a file.
            sources.extend(parameter(name).filter(|value| value.is_object()).map(of_parts));
        }
        for name in ["source", "configSource"] {
            sources.extend(of_uri(parameter(name)));
        }
        let dependencies = predicate.pointer("/buildDefinition/resolvedDependencies");
        for source in sources.iter_mut().filter(|source| source.commit.is_none()) {
            source.commit = commit_of(source, dependencies);
        }
        Self {
            builder: text_at(predicate, "/runDetails/builder/id"),
            build_type: text_at(predicate, "/buildDefinition/buildType"),
            sources,
        }
    }
}

/// A source of `repository` and `ref`.
fn of_parts(value: &Value) -> Source {
    let uri = text_at(value, "/repository").map(split_uri);
    let (repository, in_uri) = uri.unwrap_or_default();
    let reference = text_at(value, "/ref").map(str::to_owned).or(in_uri);
    let repository = Some(repository).filter(|repository| !repository.is_empty());
    Source { repository, reference, commit: None }
}

/// A source of `uri` and `digest`, or of an address alone.
fn of_uri(value: Option<&Value>) -> Vec<Source> {
    let uri = value.and_then(|value| value.as_str().or_else(|| text_at(value, "/uri")));
    let (Some(value), Some(uri)) = (value, uri) else { return Vec::new() };
    let (repository, reference) = split_uri(uri);
    vec![Source { repository: Some(repository), reference, commit: commit_in(value) }]
}

/// The commit of the dependency that is the source: the same repository, and no other reference.
fn commit_of(source: &Source, dependencies: Option<&Value>) -> Option<String> {
    let dependencies = dependencies.and_then(Value::as_array)?;
    let mut commits = dependencies.iter().filter_map(|dependency| {
        let (repository, reference) = split_uri(text_at(dependency, "/uri")?);
        let same = Some(&repository) == source.repository.as_ref()
            && (reference.is_none() || reference == source.reference);
        commit_in(dependency).filter(|_| same)
    });
    let first = commits.next()?;
    commits.all(|commit| commit == first).then_some(first)
}

fn commit_in(value: &Value) -> Option<String> {
    let digest = value.get("digest")?;
    let commit = text_at(digest, "/gitCommit").or_else(|| text_at(digest, "/sha1"));
    commit.map(str::to_ascii_lowercase)
}

/// `git+https://host/org/app.git@refs/heads/main` as repository and reference; BuildKit separates
/// them by `#`.
fn split_uri(uri: &str) -> (String, Option<String>) {
    let uri = uri.strip_prefix("git+").unwrap_or(uri);
    // An `@` before the path is a user's: `ssh://git@host/org/app`.
    let path = uri.find("://").map_or(0, |scheme| scheme + 3);
    let path = uri.get(path..).and_then(|rest| rest.find('/')).map_or(uri.len(), |at| path + at);
    let (host, path) = uri.split_at_checked(path).unwrap_or((uri, ""));
    let (path, reference) = match path.split_once(['@', '#']) {
        Some((path, reference)) => (path, Some(reference.to_owned())),
        None => (path, None),
    };
    let path = path.strip_suffix(".git").unwrap_or(path);
    (format!("{host}{path}"), reference.filter(|reference| !reference.is_empty()))
}

impl Source {
    fn repository(&self) -> Option<&str> {
        self.repository.as_deref()
    }

    fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }
}

fn expect(what: &str, found: &str, wanted: &TextMatcher) -> Result<(), Failure> {
    if wanted.matches(found) { Ok(()) } else { Err(mismatch(what, found).wanted(wanted)) }
}

fn mismatch(what: &str, found: &str) -> Failure {
    Failure::new(Reason::ProvenanceMismatch, format!("{what} `{found}`"))
}

fn absent(what: &str) -> Failure {
    Failure::new(Reason::ProvenanceMismatch, format!("the provenance names no {what}"))
}

fn alternatives(matchers: &[TextMatcher]) -> String {
    matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
