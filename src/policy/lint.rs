//! What is likely wrong with a policy that compiles: it means something, but hardly what its
//! author meant.
//!
//! A hint never changes what a policy does. Each is for one field, and is silent in doubt: advice
//! that is wrong once is not read twice.
use std::fmt;

use crate::api;
use crate::policy::Policy;
use crate::verdict::printable;

mod authority;
mod glob;
mod identity;
mod pattern;
mod scope;

/// One thing that is likely wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hint {
    /// The field, for example `spec.images[0].glob`.
    pub path: String,
    /// What it does, and what to write instead: one clause without a full stop.
    pub text: String,
}

impl Hint {
    /// A hint about an entry that a trust root leaves out, as
    /// [`crate::trust_root::TrustRoot::problems`] names it.
    pub fn of_trust_root(problem: &String) -> Self {
        Self::new("spec.trustedRoot", problem)
    }

    fn new(path: impl fmt::Display, text: impl fmt::Display) -> Self {
        Self { path: path.to_string(), text: printable(&text.to_string()) }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, text } = self;
        write!(f, "{path}: {text}")
    }
}

/// Hints about a `ClusterImagePolicy` and the policy that it compiles to, where it does: without
/// it some hints are not given.
pub fn cluster_image_policy(
    spec: &api::ClusterImagePolicySpec,
    policy: Option<&Policy>,
) -> Vec<Hint> {
    let api::ClusterImagePolicySpec {
        images,
        matches,
        namespace_selector,
        mode,
        threshold: _,
        on_unavailable,
        platforms,
        authorities,
        policy: _,
    } = spec;
    let namespaces = namespace_selector.as_ref();
    let fields = Fields {
        images,
        matches,
        namespaces,
        mode: *mode,
        on_unavailable: *on_unavailable,
        platforms: *platforms,
        authorities,
    };
    fields.hints(policy)
}

/// Hints about an `ImagePolicy`, as [`cluster_image_policy`].
pub fn image_policy(spec: &api::ImagePolicySpec, policy: Option<&Policy>) -> Vec<Hint> {
    let api::ImagePolicySpec {
        images,
        matches,
        mode,
        threshold: _,
        on_unavailable,
        platforms,
        authorities,
        policy: _,
    } = spec;
    let fields = Fields {
        images,
        matches,
        namespaces: None,
        mode: *mode,
        on_unavailable: *on_unavailable,
        platforms: *platforms,
        authorities,
    };
    fields.hints(policy)
}

/// What both kinds of policy have.
#[derive(Clone, Copy)]
struct Fields<'a> {
    images: &'a [api::ImagePattern],
    matches: &'a [api::WorkloadSelector],
    namespaces: Option<&'a api::LabelSelector>,
    mode: api::ModeSpec,
    on_unavailable: api::OnUnavailableSpec,
    platforms: api::PlatformsSpec,
    authorities: &'a [api::AuthoritySpec],
}

impl Fields<'_> {
    fn hints(self, policy: Option<&Policy>) -> Vec<Hint> {
        let mut hints = Vec::new();
        glob::check(self.images, &mut hints);
        scope::check(self, &mut hints);
        authority::check(self, policy, &mut hints);
        for (index, authority) in self.authorities.iter().enumerate() {
            let keyless = authority.keyless.iter().flat_map(|keyless| &keyless.identities);
            for (number, identity) in keyless.enumerate() {
                let path = format!("spec.authorities[{index}].keyless.identities[{number}]");
                identity::check(identity, &path, self.mode, &mut hints);
            }
        }
        hints
    }
}

/// Hints at the later ones of equal elements.
fn repeated<T: PartialEq>(elements: &[T], path: &str, hints: &mut Vec<Hint>) {
    for (index, element) in elements.iter().enumerate() {
        if let Some(first) = elements.iter().take(index).position(|earlier| earlier == element) {
            let text = format!("it says the same as {path}[{first}]: leave it out");
            hints.push(Hint::new(format!("{path}[{index}]"), text));
        }
    }
}

#[cfg(test)]
mod tests;
