//! What there is to tell of trust roots: refused repositories, mirrors that are long away, recoveries,
//! and new roots. No I/O.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::note::Note;
use super::note::Reason;
use super::note::bounded;
use crate::admission::ObjectRef;
use crate::api;
use crate::cluster::watch::Kind;
use crate::cluster::watch::Outcome;
use crate::cluster::watch::Report;
use crate::trust_root::TrustRoot;
use crate::tuf;
use crate::tuf::Failure;
use crate::tuf::FailureKind;

/// After so many failures in a row a mirror has been away for long. The pauses double from ten
/// seconds on, so that it is ten to twenty minutes: longer than a mirror takes to restart, and far
/// less than the days after which metadata expires.
pub const LONG: u32 = 8;

/// How trust roots stood when they were last looked at, by `uid`.
#[derive(Debug, Default)]
pub struct Standings {
    last: BTreeMap<String, Standing>,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    generation: Option<i64>,
    root: Option<Arc<TrustRoot>>,
    /// Whether something is wrong that is told.
    troubled: bool,
    /// The number of failures that was told of last.
    told: Option<u32>,
    /// The number of failures when the repository was last refused: the mirror was there.
    refused: u32,
}

impl Standings {
    /// What is to be told now. A replica that does not lead tells nothing, and has it to tell once
    /// it leads if it lasts.
    pub fn notes(&mut self, reports: &[Report], leads: bool) -> Vec<Note> {
        let (mut notes, mut last) = (Vec::new(), BTreeMap::new());
        for report in reports.iter().filter(|report| report.kind == Kind::TrustRoot) {
            let before = self.last.remove(&report.uid);
            // Another spec is another beginning: whoever wrote it knows.
            let before = before.filter(|before| before.generation == report.generation);
            let before = before.unwrap_or_default();
            let (standing, news) = before.next(report, leads);
            if leads {
                notes.extend(news);
            }
            last.insert(report.uid.clone(), standing);
        }
        self.last = last;
        notes
    }
}

impl Standing {
    /// How it stands now, and what is new about it. `tells` says whether it will be told.
    fn next(&self, report: &Report, tells: bool) -> (Self, Vec<Note>) {
        let mut next =
            Self { generation: report.generation, root: report.root.clone(), ..Self::default() };
        let mut news = Vec::new();
        if let Some((status, so)) = followed(report)
            && let Some(failure) = &status.error
        {
            next.refused = match failure.kind {
                FailureKind::Refused => status.failures,
                FailureKind::Unavailable => self.refused.min(status.failures),
            };
            // One failure of a mirror does not take back what was told.
            (next.troubled, next.told) = (self.troubled, self.told);
            if let Some((reason, what)) = trouble(failure, status.failures - next.refused) {
                next.troubled = true;
                if self.told != Some(status.failures) {
                    let message = format!("{what}, and {so}: {}", failure.problem);
                    news.push(note(report, reason, &message));
                    next.told = tells.then_some(status.failures).or(self.told);
                }
            }
        }
        news.extend(self.recovery(report));
        news.extend(self.change(report));
        (next, news)
    }

    fn recovery(&self, report: &Report) -> Option<Note> {
        let Outcome::Fetched { holds, status } = &report.outcome else { return None };
        if !self.troubled || status.error.is_some() {
            return None;
        }
        let message = format!("the repository is followed again; in force: {holds}");
        Some(note(report, Reason::RefreshRecovered, &message))
    }

    fn change(&self, report: &Report) -> Option<Note> {
        let (before, now) = (self.root.as_ref()?, report.root.as_ref()?);
        let (from, holds) = match &report.outcome {
            Outcome::Fetched { holds, .. } => ("its repository", holds),
            Outcome::TrustRoot { holds } => ("its ConfigMap", holds),
            Outcome::Invalid { .. }
            | Outcome::NotFetched { .. }
            | Outcome::Policy
            | Outcome::Unusable { .. } => return None,
        };
        if Arc::ptr_eq(before, now) {
            return None;
        }
        let message = format!("{from} brought another trust root, which is in force: {holds}");
        Some(note(report, Reason::RootChanged, &message))
    }
}

/// How following a repository goes, where the trust root has one, and what is so meanwhile.
const fn followed(report: &Report) -> Option<(&tuf::Status, &'static str)> {
    match &report.outcome {
        Outcome::Fetched { status, .. } => {
            Some((status, "the last good trust root stays in force"))
        }
        Outcome::NotFetched { status } => {
            Some((status, "there is none yet: policies that name it deny what they match"))
        }
        Outcome::Invalid { .. }
        | Outcome::Policy
        | Outcome::TrustRoot { .. }
        | Outcome::Unusable { .. } => None,
    }
}

/// What is wrong with following a repository, where that is to be told; `unreached` counts the
/// attempts since the mirror was last there.
const fn trouble(failure: &Failure, unreached: u32) -> Option<(Reason, &'static str)> {
    match failure.kind {
        FailureKind::Refused => {
            Some((Reason::RefreshRefused, "what the repository offers is refused"))
        }
        FailureKind::Unavailable if unreached >= LONG => {
            Some((Reason::RefreshUnavailable, "the repository has not been reached for long"))
        }
        FailureKind::Unavailable => None,
    }
}

fn note(report: &Report, reason: Reason, message: &str) -> Note {
    let regarding = ObjectRef {
        api_version: api::API_VERSION.to_owned(),
        kind: "TrustRoot".to_owned(),
        name: report.name.clone(),
        uid: report.uid.clone(),
    };
    Note { namespace: None, regarding, reason, message: bounded(message) }
}

#[cfg(test)]
mod tests;
