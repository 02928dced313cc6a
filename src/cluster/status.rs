//! Conditions of our resources.
//!
//! What a status should be is a pure function of a [`Report`]; [`run`] writes what differs, where
//! this replica holds the lease.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::Client;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::watch::Kind;
use super::watch::Outcome;
use super::watch::Report;
use crate::api;
use crate::server;
use crate::tuf;

/// The type of the condition that is always there.
pub const READY: &str = "Ready";

/// How long the same status is not written again to an object: whoever else writes it, too, is
/// not fought with, and what was just written has time to be read back.
const HOLD: Duration = Duration::from_secs(30);

/// Most statuses that are written at once, then in one go before [`PAUSE`]: some hundred a second,
/// so that ten thousand policies have theirs within two minutes and the API server hardly notices.
const CONCURRENT: usize = 4;
const BATCH: usize = 20;

/// The pause after a batch.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest message, in characters: Kubernetes' conditions take 32768, people read one line.
const MAX_MESSAGE: usize = 2048;

/// Writes the status of every object that is reported on, while `leader` says that this replica
/// does. Never ends by itself.
pub async fn run(
    client: Client,
    mut reports: watch::Receiver<Arc<Vec<Report>>>,
    mut leader: watch::Receiver<bool>,
) {
    let mut written = Written::default();
    loop {
        let mut again = None;
        if *leader.borrow_and_update() {
            let current = Arc::clone(&reports.borrow_and_update());
            let Due { writes, more } = written.due(&current, server::now(), Instant::now());
            again = more;
            if !writes.is_empty() {
                let writes: Vec<_> = writes.into_iter().map(|write| write.send(&client)).collect();
                let wrote = stream::iter(writes).buffer_unordered(CONCURRENT);
                let wrote: Vec<_> = wrote.collect().await;
                wrote.into_iter().flatten().for_each(|uid| written.forget(&uid));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        let wait = async move {
            match again {
                Some(again) => tokio::time::sleep_until(again).await,
                None => std::future::pending().await,
            }
        };
        let open = tokio::select! {
            () = wait => true,
            changed = reports.changed() => changed.is_ok(),
            changed = leader.changed() => changed.is_ok(),
        };
        if !open {
            // The process is stopping, and what told of it has ended before us.
            std::future::pending::<()>().await;
        }
    }
}

/// What was written, by the object's `uid`.
#[derive(Debug, Default)]
struct Written {
    last: BTreeMap<String, (api::Status, Instant)>,
}

/// What is to be written now, and when there may be more.
#[derive(Debug)]
struct Due<'a> {
    writes: Vec<Write<'a>>,
    more: Option<Instant>,
}

impl Written {
    fn due<'a>(&mut self, reports: &'a [Report], now: Timestamp, at: Instant) -> Due<'a> {
        self.last.retain(|_, (_, when)| at.saturating_duration_since(*when) < HOLD);
        let mut due = Due { writes: Vec::new(), more: None };
        for report in reports {
            let Some(status) = wanted(report, now) else { continue };
            if let Some((last, when)) = self.last.get(&report.uid)
                && same(last, &status)
            {
                let again = *when + HOLD;
                due.more = Some(due.more.map_or(again, |more| more.min(again)));
                continue;
            }
            self.last.insert(report.uid.clone(), (status.clone(), at));
            due.writes.push(Write { report, status });
            if due.writes.len() >= BATCH {
                break;
            }
        }
        due
    }

    /// Lets an object be written again at once.
    fn forget(&mut self, uid: &str) {
        self.last.remove(uid);
    }
}

/// One status to be written.
#[derive(Debug)]
struct Write<'a> {
    report: &'a Report,
    status: api::Status,
}

impl Write<'_> {
    /// Writes it. Returns the object's `uid` where the object has changed in between, so that a
    /// later report is to be written.
    async fn send(self, client: &Client) -> Option<String> {
        let Report { kind, namespace, name, uid, .. } = self.report;
        let body = self.body();
        let client = client.clone();
        let write = async {
            let (parameters, patch) = (PatchParams::default(), Patch::Merge(&body));
            match kind {
                Kind::ClusterImagePolicy => {
                    let api = Api::<api::ClusterImagePolicy>::all(client);
                    api.patch_subresource("status", name, &parameters, &patch).await.map(drop)
                }
                Kind::ImagePolicy => {
                    let api = Api::<api::ImagePolicy>::namespaced(client, namespace);
                    api.patch_subresource("status", name, &parameters, &patch).await.map(drop)
                }
                Kind::TrustRoot => {
                    let api = Api::<api::TrustRoot>::all(client);
                    api.patch_subresource("status", name, &parameters, &patch).await.map(drop)
                }
            }
        };
        let kind = format!("{kind:?}");
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            // An answer that cannot be read back, because the spec is invalid, was written.
            Ok(Ok(()) | Err(kube::Error::SerdeError(_))) => None,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Some(uid.clone()),
            Ok(Err(error)) => {
                tracing::warn!(%kind, %namespace, %name, %error, "Could not write a status");
                None
            }
            Err(_) => {
                tracing::warn!(%kind, %namespace, %name, "Writing a status took too long");
                None
            }
        }
    }

    /// The patch: it fails if the object is not the one, and in the version, that was read.
    fn body(&self) -> Value {
        let Report { uid, resource_version, .. } = self.report;
        let api::Status { conditions, observed_generation, authorities } = &self.status;
        json!({
            "metadata": {"uid": uid, "resourceVersion": resource_version},
            "status": {
                "conditions": conditions,
                "observedGeneration": observed_generation,
                "authorities": authorities,
            },
        })
    }
}

/// The status that an object should have; `None` where it has it.
fn wanted(report: &Report, now: Timestamp) -> Option<api::Status> {
    let Report { generation, status: found, authorities, .. } = report;
    let (status, reason, message) = verdict(report, now);
    let mut conditions = found.conditions.clone();
    let before = conditions.iter().find(|condition| condition.type_ == READY);
    let since = before
        .filter(|condition| condition.status == status)
        .map_or(Time(now), |condition| condition.last_transition_time.clone());
    let ready = Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: *generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|condition| condition.type_ == READY) {
        Some(condition) => *condition = ready,
        None => conditions.push(ready),
    }
    let wanted = api::Status {
        conditions,
        observed_generation: *generation,
        authorities: authorities.and_then(|count| i64::try_from(count).ok()),
    };
    (wanted != *found).then_some(wanted)
}

/// Whether two statuses say the same, whenever it became so.
fn same(a: &api::Status, b: &api::Status) -> bool {
    let said = |status: &api::Status| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == READY).cloned();
        let ready = ready.map(|c| (c.status, c.reason, c.message, c.observed_generation));
        (ready, status.observed_generation, status.authorities)
    };
    said(a) == said(b)
}

/// Status, reason and message of the condition `Ready`.
fn verdict(report: &Report, now: Timestamp) -> (&'static str, &'static str, String) {
    let (status, reason, message) = match &report.outcome {
        Outcome::Policy => ("True", "Compiled", "the policy is in force".to_owned()),
        Outcome::Fetched { holds, status } => {
            let (reason, how) = freshness(status, now);
            ("True", reason, format!("{holds}; {how}"))
        }
        Outcome::NotFetched { status } => {
            let found = tuf::unfetched(status.error.as_ref());
            let message = format!("spec.tuf: {found}; policies that name it deny what they match");
            ("False", "NotFetched", message)
        }
        Outcome::TrustRoot { holds } => ("True", "Compiled", holds.clone()),
        Outcome::Invalid { error, last_good } => {
            let reason = match (error.missing, report.kind) {
                (true, Kind::TrustRoot) => "ConfigMapMissing",
                (true, _) if error.path.ends_with("trustRootRef") => "TrustRootMissing",
                (true, Kind::ClusterImagePolicy | Kind::ImagePolicy) => "KeyMissing",
                (false, _) => "InvalidSpec",
            };
            ("False", reason, format!("{error}; {}", consequence(report.kind, *last_good)))
        }
        Outcome::Unusable { error, last_good } => {
            let so = consequence(report.kind, *last_good);
            ("False", "InvalidConfigMap", format!("{error}; {so}"))
        }
    };
    (status, reason, message.chars().take(MAX_MESSAGE).collect())
}

/// What follows from that an object cannot be used.
const fn consequence(kind: Kind, last_good: bool) -> &'static str {
    match (kind, last_good) {
        (_, true) => "the last version that could be used stays in force",
        (Kind::TrustRoot, false) => "policies that name it deny what they match",
        (Kind::ClusterImagePolicy | Kind::ImagePolicy, false) => {
            "until then the policy denies what it matches"
        }
    }
}

/// How fresh a fetched trust root is, as the condition's reason and in words.
fn freshness(status: &tuf::Status, now: Timestamp) -> (&'static str, String) {
    let tuf::Status { succeeded, root_version, expires, failures: _, error } = status;
    let mut how =
        root_version.map_or_else(String::new, |version| format!("root version {version}, "));
    match succeeded {
        Some(at) => how.push_str(&format!("last refreshed {at:.0}")),
        None => how.push_str("taken from the folder that keeps it"),
    }
    let expired = expires.filter(|expires| *expires <= now);
    match (expired, expires) {
        (Some(expires), _) => how.push_str(&format!(", its metadata has expired {expires:.0}")),
        (None, Some(expires)) => how.push_str(&format!(", its metadata expires {expires:.0}")),
        (None, None) => {}
    }
    if let Some(tuf::Failure { kind: _, problem }) = error {
        how.push_str(&format!("; it stays in use although refreshing it fails: {problem}"));
    }
    match (expired, error) {
        (Some(_), _) => ("MetadataExpired", how),
        (None, Some(_)) => ("RefreshFailing", how),
        (None, None) => ("Fetched", how),
    }
}

#[cfg(test)]
mod tests;
