//! What the demo asks, and the answer that it wants.
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;

/// Where the images of a request are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The registry of the demo.
    Registry,
    /// A registry that is down.
    Down,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The object's kind.
    pub(crate) kind: &'static str,
    /// The object's name.
    pub(crate) name: &'static str,
    /// The object's namespace.
    pub(crate) namespace: &'static str,
    /// Where the images are.
    pub(crate) place: Place,
    /// The image of the container.
    pub(crate) image: &'static str,
    /// The image of the init container, where there is one.
    pub(crate) init: Option<&'static str>,
    /// `/mutate` or `/validate`.
    pub(crate) endpoint: &'static str,
    /// The wanted answer.
    pub(crate) wanted: Wanted,
}

/// An answer, as far as the demo looks at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wanted {
    /// Whether the object is let in.
    pub(crate) allowed: bool,
    /// The worst verdict on its images.
    pub(crate) verdict: Verdict,
    /// Why it is not `verified`.
    pub(crate) reason: Option<Reason>,
    /// What comes along with the answer.
    pub(crate) with: With,
}

/// What comes along with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum With {
    /// Nothing.
    Nothing,
    /// The patch that pins every tag to the verified digest.
    Patch,
    /// A warning for whoever typed the command.
    Warning,
}

const VERIFIED: Wanted =
    Wanted { allowed: true, verdict: Verdict::Verified, reason: None, with: With::Nothing };

const fn denied(reason: Reason) -> Wanted {
    let verdict = reason.verdict();
    Wanted { allowed: false, verdict, reason: Some(reason), with: With::Nothing }
}

const fn tolerated(reason: Reason, with: With) -> Wanted {
    Wanted { allowed: true, with, ..denied(reason) }
}

const fn ask(
    (kind, name): (&'static str, &'static str),
    namespace: &'static str,
    image: &'static str,
    wanted: Wanted,
) -> Ask {
    let (place, init, endpoint) = (Place::Registry, None, "/validate");
    Ask { kind, name, namespace, place, image, init, endpoint, wanted }
}

/// Every request of the demo, in order.
pub(crate) fn all() -> Vec<Ask> {
    let absent = denied(Reason::SignatureAbsent);
    vec![
        ask(("Pod", "web"), "shop", "shop/web:v1", VERIFIED),
        Ask {
            endpoint: "/mutate",
            ..ask(("Pod", "web"), "shop", "shop/web:v1", Wanted { with: With::Patch, ..VERIFIED })
        },
        ask(("Pod", "cart"), "shop", "shop/cart:v1", absent),
        ask(("Pod", "fork"), "shop", "shop/fork:v1", denied(Reason::IssuerMismatch)),
        ask(("Deployment", "cart"), "shop", "shop/cart:v1", absent),
        ask(("Deployment", "app"), "acme", "acme/app:v1", VERIFIED),
        Ask {
            init: Some("shop/cart:v1"),
            ..ask(("CronJob", "report"), "shop", "shop/web:v1", absent)
        },
        ask(("Pod", "api"), "payments", "payments/api:v1", VERIFIED),
        ask(("Pod", "web"), "payments", "shop/web:v1", denied(Reason::CertificateUnexpected)),
        ask(
            ("Pod", "debug"),
            "staging",
            "tools/debug:v1",
            tolerated(Reason::SignatureAbsent, With::Warning),
        ),
        ask(
            ("Pod", "debug"),
            "sandbox",
            "tools/debug:v1",
            tolerated(Reason::PolicyNone, With::Nothing),
        ),
        Ask {
            place: Place::Down,
            ..ask(("Pod", "web"), "shop", "shop/web:v1", denied(Reason::RegistryUnreachable))
        },
    ]
}

impl Ask {
    /// Kind, name and what is special about it, for a person.
    pub(crate) fn title(&self) -> String {
        let mutate = if self.endpoint == "/mutate" { ", mutate" } else { "" };
        format!("{} {}{mutate}", self.kind, self.name)
    }

    /// The images as a table shows them, without their registry.
    pub(crate) fn images(&self) -> Vec<String> {
        let down = match self.place {
            Place::Registry => "",
            Place::Down => "(down) ",
        };
        let all = [self.init.map(|image| format!("{image} (init)")), Some(self.image.to_owned())];
        all.into_iter().flatten().map(|image| format!("{down}{image}")).collect()
    }

    /// The AdmissionReview that an API server would send; `registry` holds the images.
    pub(crate) fn review(&self, uid: &str, registry: &str) -> Value {
        let Self { kind, name, namespace, image, init, .. } = self;
        let container = |name: &str, image: &str| json!([{ "name": name, "image": format!("{registry}/{image}") }]);
        let mut pod = json!({ "containers": container("main", image) });
        if let (Some(init), Some(fields)) = (init, pod.as_object_mut()) {
            fields.insert("initContainers".to_owned(), container("prepare", init));
        }
        let labels = json!({ "app": name });
        let template = json!({ "metadata": { "labels": labels }, "spec": pod });
        let (group, resource, spec) = match *kind {
            "Pod" => ("", "pods", pod),
            "CronJob" => {
                let job = json!({ "spec": { "template": template } });
                ("batch", "cronjobs", json!({ "schedule": "0 3 * * *", "jobTemplate": job }))
            }
            _ => {
                let selector = json!({ "matchLabels": labels });
                ("apps", "deployments", json!({ "selector": selector, "template": template }))
            }
        };
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": { "group": group, "version": "v1", "kind": kind },
                "resource": { "group": group, "version": "v1", "resource": resource },
                "namespace": namespace,
                "name": name,
                "operation": "CREATE",
                "userInfo": { "username": "demo" },
                "dryRun": false,
                "object": {
                    "apiVersion": version,
                    "kind": kind,
                    "metadata": { "name": name, "namespace": namespace, "labels": labels },
                    "spec": spec,
                },
            },
        })
    }
}
