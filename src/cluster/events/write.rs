//! Writing Events to the API server.
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::api::core::v1::EventSource;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::Client;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::json;

use super::Reporter;
use super::ledger::Write;
use super::note::Note;
use crate::metrics::EventOutcome;

/// Longest time for one write: a slow API server must not have the queue run over for ever.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes Events.
pub(super) struct Writer {
    client: Client,
    reporter: Reporter,
}

impl Writer {
    pub(super) const fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter }
    }

    /// Writes, or logs why not.
    pub(super) async fn write(&self, write: &Write) -> EventOutcome {
        let note = write.note();
        let events: Api<Event> = Api::namespaced(self.client.clone(), note.event_namespace());
        let request = async {
            match write {
                Write::Create { note, name, at } => {
                    let event = self.event(note, name, *at);
                    events.create(&PostParams::default(), &event).await.map(drop)
                }
                Write::Count { note: _, name, count, at } => {
                    let patch = Patch::Merge(json!({ "count": count, "lastTimestamp": Time(*at) }));
                    events.patch(name, &PatchParams::default(), &patch).await.map(drop)
                }
            }
        };
        let error = match tokio::time::timeout(WRITE_TIMEOUT, request).await {
            Ok(Ok(())) => return written(write),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", WRITE_TIMEOUT.as_secs()),
        };
        let Note { namespace: _, regarding, reason, message: _ } = note;
        tracing::debug!(
            namespace = note.event_namespace(),
            kind = %regarding.kind,
            name = %regarding.name,
            reason = reason.as_str(),
            %error,
            "Could not write an Event"
        );
        EventOutcome::Failed
    }

    fn event(&self, note: &Note, name: &str, at: Timestamp) -> Event {
        let Note { namespace, regarding, reason, message } = note;
        let Reporter { component, instance } = &self.reporter;
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(note.event_namespace().to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: known(&regarding.api_version),
                kind: known(&regarding.kind),
                name: known(&regarding.name),
                namespace: namespace.clone(),
                uid: known(&regarding.uid),
                ..ObjectReference::default()
            },
            type_: Some(reason.kind().to_owned()),
            reason: Some(reason.as_str().to_owned()),
            message: Some(message.clone()),
            action: Some(reason.action().to_owned()),
            source: Some(EventSource { component: Some(component.clone()), host: None }),
            reporting_component: Some(component.clone()),
            reporting_instance: Some(instance.clone()),
            first_timestamp: Some(Time(at)),
            last_timestamp: Some(Time(at)),
            count: Some(1),
            ..Event::default()
        }
    }
}

const fn written(write: &Write) -> EventOutcome {
    match write {
        Write::Create { .. } => EventOutcome::Created,
        Write::Count { .. } => EventOutcome::Updated,
    }
}
