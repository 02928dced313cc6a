//! What an Event says, and on what; which decisions call for one.
use crate::admission::Decision;
use crate::admission::ObjectRef;
use crate::admission::Request;
use crate::admission::review::Endpoint;
use crate::verdict::text;

/// Longest message, in bytes: the API server refuses more for Events of its newer API, and tools
/// expect no more in the older.
pub const MAX_MESSAGE: usize = 1024;

/// Where Events on objects of the whole cluster are: the API server takes them nowhere else.
pub const CLUSTER_EVENTS: &str = "default";

/// Longest name of an object in Kubernetes, in bytes (RFC 1123 subdomain).
const MAX_NAME: usize = 253;

/// Longest name of a namespace, in bytes (RFC 1123 label).
const MAX_NAMESPACE: usize = 63;

/// What an Event says, once or many times.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Note {
    /// The namespace of the object, and of the Event; `None` for an object of the whole cluster,
    /// whose Events are in [`CLUSTER_EVENTS`].
    pub namespace: Option<String>,
    /// What it is about: the object that a person looks at.
    pub regarding: ObjectRef,
    /// What happened to it.
    pub reason: Reason,
    /// The explanation: one line of at most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

/// The reason of an Event.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// The object was denied.
    Denied,
    /// A trust root's repository is followed again.
    RefreshRecovered,
    /// What a trust root's repository offers is not to be believed.
    RefreshRefused,
    /// A trust root's repository has not answered for long.
    RefreshUnavailable,
    /// Another trust root is in force, and not because somebody changed the resource.
    RootChanged,
    /// The object was let in, and a policy that enforces would have denied it.
    WouldBeDenied,
}

impl Reason {
    /// The name in the Event.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "ImageDenied",
            Self::RefreshRecovered => "RefreshRecovered",
            Self::RefreshRefused => "RefreshRefused",
            Self::RefreshUnavailable => "RefreshUnavailable",
            Self::RootChanged => "TrustRootChanged",
            Self::WouldBeDenied => "ImageWouldBeDenied",
        }
    }

    /// The type of the Event: whether a person should look.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Denied
            | Self::RefreshRefused
            | Self::RefreshUnavailable
            | Self::WouldBeDenied => "Warning",
            Self::RefreshRecovered | Self::RootChanged => "Normal",
        }
    }

    /// What was done when it happened.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Denied | Self::WouldBeDenied => "Admission",
            Self::RefreshRecovered
            | Self::RefreshRefused
            | Self::RefreshUnavailable
            | Self::RootChanged => "Refresh",
        }
    }
}

impl Note {
    /// What to tell of a decision, or `None`: of dry runs, of what is simply admitted, of answers
    /// after which the API server asks again, and of objects that have no name yet.
    pub fn of(endpoint: Endpoint, request: &Request, decision: &Decision) -> Option<Self> {
        if request.dry_run || !endpoint.settles(decision.allowed) {
            return None;
        }
        let (reason, message) = if decision.allowed {
            (Reason::WouldBeDenied, overlooked(decision)?)
        } else {
            (Reason::Denied, decision.message.clone())
        };
        let namespace = &request.workload.namespace;
        Some(Self {
            namespace: Some(is_label(namespace).then(|| namespace.clone())?),
            regarding: regarding(request)?.clone(),
            reason,
            message: bounded(&message),
        })
    }

    /// The namespace that the Event is in.
    pub(super) fn event_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(CLUSTER_EVENTS)
    }

    /// Whose budget it is written from: objects of the cluster have one of their own.
    pub(super) fn payer(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

/// A line for each image that was let in although a policy is not met.
fn overlooked(decision: &Decision) -> Option<String> {
    let mut message = String::new();
    for image in decision.images.iter().filter(|image| image.overlooked()) {
        if message.len() > MAX_MESSAGE {
            break;
        }
        let separator = if message.is_empty() { "" } else { "; " };
        message.push_str(separator);
        message.push_str(&text::denial(&image.path, &image.report));
    }
    (!message.is_empty()).then_some(message)
}

/// The controller that owns the object, for it is there and people look at it; else the object.
fn regarding(request: &Request) -> Option<&ObjectRef> {
    // A mirror pod is owned by its node, which is in no namespace.
    let owner = request.owner.as_ref().filter(|owner| owner.kind != "Node");
    owner.into_iter().chain([&request.object]).find(|object| is_subdomain(&object.name))
}

/// One printable line, cut where it is too long.
pub(super) fn bounded(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if line.len() > MAX_MESSAGE {
        line.truncate(line.floor_char_boundary(MAX_MESSAGE - '…'.len_utf8()));
        line.push('…');
    }
    line
}

/// Whether this can be the name of a namespace: it becomes a part of a path.
fn is_label(text: &str) -> bool {
    text.len() <= MAX_NAMESPACE && !text.contains('.') && is_subdomain(text)
}

/// Whether this can be the name of an object.
pub(super) fn is_subdomain(text: &str) -> bool {
    let good = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(inner)
    };
    text.len() <= MAX_NAME && text.split('.').all(good)
}
