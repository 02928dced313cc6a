//! What each policy said: the one metric whose labels come from the cluster, and so is bounded.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::policy::PolicyId;
use crate::policy::PolicySnapshot;
use crate::verdict::PolicyReport;
use crate::verdict::printable;

/// Most label sets of `ClusterImagePolicy` resources, and as many again of `ImagePolicy` ones: a
/// hundred policies with ten answers each. Tenants can create policies, and every label set costs
/// memory here and in whatever scrapes; those of the cluster have room of their own, which tenants
/// cannot use up.
pub const MAX_LABEL_SETS: usize = 1000;

/// The policy's name in the label sets beyond [`MAX_LABEL_SETS`].
const OTHER: &str = "other";

/// What each policy said. Clones share their values.
#[derive(Clone, Debug, Default)]
pub(super) struct ByPolicy {
    decisions: Family<Labels, Counter>,
    /// The label sets that are there, by the policy's kind: of the cluster, of namespaces.
    known: Arc<Mutex<[BTreeSet<Labels>; 2]>>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Labels {
    policy: String,
    mode: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

impl ByPolicy {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metric = Self::default();
        registry.register(
            "policy_decisions",
            "What each policy said of each image, once a request",
            metric.decisions.clone(),
        );
        metric
    }

    /// Counts the answers of policies on the images of one request, which are mostly the same.
    pub(super) fn decided<'a>(&self, reports: impl Iterator<Item = &'a PolicyReport>) {
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for report in reports {
            let PolicyReport { policy, mode, verdict, failure, .. } = report;
            let reason = failure.as_ref().map_or("none", |failure| failure.reason.code());
            *counts.entry((policy, mode.as_str(), verdict.as_str(), reason)).or_default() += 1;
        }
        for ((policy, mode, verdict, reason), count) in counts {
            self.add(policy, Labels { policy: label(policy), mode, verdict, reason }, count);
        }
    }

    fn add(&self, policy: &str, mut labels: Labels, count: u64) {
        let mut known = self.known();
        let [of_cluster, of_namespaces] = &mut *known;
        let known =
            if policy.starts_with("ClusterImagePolicy ") { of_cluster } else { of_namespaces };
        if !known.contains(&labels) {
            if known.len() < MAX_LABEL_SETS {
                known.insert(labels.clone());
            } else {
                // Closed from here on: three modes times the reasons.
                OTHER.clone_into(&mut labels.policy);
            }
        }
        self.decisions.get_or_create(&labels).inc_by(count);
    }

    /// Forgets the policies that are gone.
    pub(super) fn retain(&self, snapshot: &PolicySnapshot) {
        let there: BTreeSet<String> =
            snapshot.policies().iter().map(|policy| id_label(policy.id())).collect();
        for known in &mut *self.known() {
            known.retain(|labels| {
                let stays = there.contains(&labels.policy);
                if !stays {
                    self.decisions.remove(labels);
                }
                stays
            });
        }
    }

    fn known(&self) -> MutexGuard<'_, [BTreeSet<Labels>; 2]> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn id_label(id: &PolicyId) -> String {
    label(&id.to_string())
}

/// `ImagePolicy team-a/signed` as `ImagePolicy/team-a/signed`.
fn label(policy: &str) -> String {
    printable(&policy.replacen(' ', "/", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;
    use crate::policy::InvalidPolicy;
    use crate::policy::Mode;
    use crate::policy::OnUnavailable;
    use crate::policy::PolicyState;
    use crate::policy::Scope;
    use crate::verdict::Failure;
    use crate::verdict::Reason;
    use crate::verdict::Verdict;

    fn report(id: &PolicyId, reason: Option<Reason>) -> PolicyReport {
        PolicyReport {
            stale: false,
            policy: id.to_string(),
            mode: Mode::Enforce,
            verdict: reason.map_or(Verdict::Verified, Reason::verdict),
            on_unavailable: OnUnavailable::Deny,
            failure: reason.map(|reason| Failure::new(reason, "found")),
            authorities: Vec::new(),
        }
    }

    fn of_cluster(name: &str) -> PolicyId {
        PolicyId::Cluster { name: name.to_owned() }
    }

    fn of_tenant(name: &str) -> PolicyId {
        PolicyId::Namespaced { namespace: "team-a".to_owned(), name: name.to_owned() }
    }

    fn snapshot(ids: &[&PolicyId]) -> PolicySnapshot {
        let scope = Scope { images: Vec::new(), workloads: Vec::new(), namespaces: None };
        let state = |id: &&PolicyId| {
            let (id, scope) = ((*id).clone(), scope.clone());
            PolicyState::Invalid(Arc::new(InvalidPolicy { id, scope, problem: String::new() }))
        };
        PolicySnapshot::new(ids.iter().map(state).collect())
    }

    fn text(registry: &Registry) -> String {
        metrics::encode(registry).unwrap()
    }

    fn line(policy: &str, verdict: &str, reason: &str, count: usize) -> String {
        format!(
            "policy_decisions_total{{policy=\"{policy}\",mode=\"enforce\",verdict=\"{verdict}\",reason=\"{reason}\"}} {count}\n"
        )
    }

    #[test]
    fn counts_by_policy_and_forgets_those_that_are_gone() {
        let mut registry = Registry::default();
        let metric = ByPolicy::register(&mut registry);
        let (signed, own) = (of_cluster("signed"), of_tenant("own"));
        metric.decided([report(&signed, None), report(&signed, None)].iter());
        metric.decided([report(&own, Some(Reason::SignatureAbsent))].iter());
        let of_signed = line("ClusterImagePolicy/signed", "verified", "none", 2);
        let of_own = line("ImagePolicy/team-a/own", "rejected", "signature-absent", 1);
        let found = text(&registry);
        assert!(found.contains(&of_signed) && found.contains(&of_own), "{found}");
        metric.retain(&snapshot(&[&signed]));
        let found = text(&registry);
        assert!(found.contains(&of_signed) && !found.contains("team-a"), "{found}");
    }

    #[test]
    fn tenants_policies_beyond_the_bound_share_one_name_and_leave_the_clusters_alone() {
        let mut registry = Registry::default();
        let metric = ByPolicy::register(&mut registry);
        for index in 0..MAX_LABEL_SETS + 5 {
            metric.decided([report(&of_tenant(&format!("p{index}")), None)].iter());
        }
        let (kept, signed) = (of_tenant("p0"), of_cluster("signed"));
        metric.decided([report(&signed, None)].iter());
        metric.decided([report(&kept, None)].iter());
        let found = text(&registry);
        assert!(found.contains(&line(OTHER, "verified", "none", 5)), "{found}");
        assert!(found.contains(&line("ImagePolicy/team-a/p0", "verified", "none", 2)), "{found}");
        assert!(found.contains(&line("ClusterImagePolicy/signed", "verified", "none", 1)));
        let sets = found.lines().filter(|line| line.starts_with("policy_decisions_total")).count();
        assert_eq!(sets, MAX_LABEL_SETS + 2);
        // Room again, once they are gone.
        metric.retain(&snapshot(&[&kept, &signed]));
        metric.decided([report(&of_tenant("late"), None)].iter());
        assert!(text(&registry).contains(&line("ImagePolicy/team-a/late", "verified", "none", 1)));
    }
}
