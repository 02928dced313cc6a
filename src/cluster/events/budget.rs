//! How many Events may be written: token buckets, for each namespace and for all.
use std::collections::BTreeMap;

use jiff::Timestamp;

/// Writes in one namespace: a rollout's worth at once, then ten a minute. What repeats is merged
/// and costs less; what does not is a flood.
const NAMESPACE: Rate = Rate { burst: 20.0, per_second: 1.0 / 6.0 };

/// Writes in all namespaces. An API server takes hundreds a second, and other components need them.
const GLOBAL: Rate = Rate { burst: 100.0, per_second: 5.0 };

/// Most namespaces whose buckets are remembered; full ones need not be. The global rate keeps
/// their number below this, the bound holds if rates are changed.
const MAX_NAMESPACES: usize = 2048;

/// A bucket's size, and how fast it fills.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// What may still be written.
#[derive(Clone, Debug)]
pub struct Budget {
    all: Bucket,
    namespaces: BTreeMap<String, Bucket>,
}

impl Budget {
    /// Full buckets.
    pub fn new(now: Timestamp) -> Self {
        Self { all: Bucket::full(GLOBAL, now), namespaces: BTreeMap::new() }
    }

    /// Takes one write in `namespace`, where there is one left.
    pub fn take(&mut self, namespace: &str, now: Timestamp) -> bool {
        if !self.all.has_one(now) {
            return false;
        }
        if self.namespaces.len() >= MAX_NAMESPACES && !self.namespaces.contains_key(namespace) {
            self.namespaces.retain(|_, bucket| !bucket.is_full(now));
            if self.namespaces.len() >= MAX_NAMESPACES {
                return false;
            }
        }
        let bucket = self
            .namespaces
            .entry(namespace.to_owned())
            .or_insert_with(|| Bucket::full(NAMESPACE, now));
        let granted = bucket.has_one(now);
        if granted {
            bucket.left -= 1.0;
            self.all.left -= 1.0;
        }
        granted
    }
}

#[derive(Clone, Debug)]
struct Bucket {
    rate: Rate,
    left: f64,
    at: Timestamp,
}

impl Bucket {
    const fn full(rate: Rate, now: Timestamp) -> Self {
        Self { rate, left: rate.burst, at: now }
    }

    /// Fills it up to `now`. A clock that is set back adds nothing.
    fn fill(&mut self, now: Timestamp) {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.left = (self.left + passed * self.rate.per_second).min(self.rate.burst);
        self.at = now;
    }

    fn has_one(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        self.left >= 1.0
    }

    fn is_full(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        self.left >= self.rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn granted(budget: &mut Budget, namespace: &str, now: Timestamp, asked: usize) -> usize {
        (0..asked).filter(|_| budget.take(namespace, now)).count()
    }

    #[test]
    fn a_namespace_gets_a_burst_and_then_its_rate() {
        let mut budget = Budget::new(at(0));
        assert_eq!(granted(&mut budget, "a", at(0), 50), 20);
        assert_eq!(granted(&mut budget, "a", at(5), 5), 0);
        assert_eq!(granted(&mut budget, "a", at(60), 50), 10);
        assert_eq!(granted(&mut budget, "b", at(60), 5), 5, "it leaves others alone");
        assert_eq!(granted(&mut budget, "a", at(100_000), 50), 20, "never more than a burst");
    }

    #[test]
    fn all_namespaces_share_a_budget() {
        let mut budget = Budget::new(at(0));
        let each = |budget: &mut Budget, now| -> usize {
            (0..50).map(|n| granted(budget, &format!("n{n}"), now, 10)).sum()
        };
        assert_eq!(each(&mut budget, at(0)), 100);
        assert_eq!(each(&mut budget, at(2)), 10);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_and_takes_nothing() {
        let mut budget = Budget::new(at(1000));
        assert_eq!(granted(&mut budget, "a", at(1000), 20), 20);
        assert_eq!(granted(&mut budget, "a", at(0), 5), 0);
        assert_eq!(granted(&mut budget, "a", at(6), 5), 1);
    }

    #[test]
    fn remembers_a_bounded_number_of_namespaces() {
        let mut budget = Budget::new(at(0));
        for second in 0..10_000 {
            granted(&mut budget, &format!("n{second}"), at(second), 1);
            assert!(budget.namespaces.len() <= MAX_NAMESPACES);
        }
        assert!(budget.take("last", at(10_000)), "full buckets make room");
    }
}
