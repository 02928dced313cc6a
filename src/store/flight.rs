//! One question at a time, whoever asks it.
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::watch;

/// How often one asker begins anew where the flight that it joined ended without an answer: it was
/// given up as the asker came, which may happen twice in a row at most by bad luck, or it panicked.
const MAX_JOINS: usize = 3;

/// Questions under way. Clones share them.
pub(super) struct Flights<K, V> {
    under_way: Arc<Mutex<UnderWay<K, V>>>,
}

type UnderWay<K, V> = HashMap<K, watch::Sender<Option<V>>>;

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self { under_way: Arc::clone(&self.under_way) }
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Arc::default() }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer of the flight for `key`: the one under way, or that of `start`, which then runs in
    /// a task of its own. Whoever stops waiting takes nothing from the others; a flight that nobody
    /// waits for may give itself up ([`Waiters::gone`]), and ends with `None`.
    ///
    /// `None` where it gave no answer: a defect.
    pub(super) async fn join<T>(&self, key: &K, start: impl Fn(Waiters<V>) -> T) -> Option<V>
    where
        T: Future<Output = Option<V>> + Send + 'static,
    {
        for _ in 0..MAX_JOINS {
            let mut answer = self.board(key, &start);
            if let Ok(answer) = answer.wait_for(Option::is_some).await {
                return answer.clone();
            }
        }
        None
    }

    fn board<T>(&self, key: &K, start: impl Fn(Waiters<V>) -> T) -> watch::Receiver<Option<V>>
    where
        T: Future<Output = Option<V>> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key) {
            return flight.subscribe();
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(key.clone(), sender.clone());
        let arrival = Arrival { flights: self.clone(), key: key.clone() };
        let flight = start(Waiters(sender.clone()));
        tokio::spawn(async move {
            let arrival = arrival;
            if let Some(value) = flight.await {
                sender.send_replace(Some(value));
            }
            drop(arrival);
        });
        answer
    }

    /// How many questions are under way.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Takes a flight off the board, also where it panics.
struct Arrival<K: Eq + Hash, V> {
    flights: Flights<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Arrival<K, V> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.key);
    }
}

/// Those who wait for a flight.
#[derive(Clone, Debug)]
pub(super) struct Waiters<V>(watch::Sender<Option<V>>);

impl<V> Waiters<V> {
    /// Returns once nobody waits any more.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::sync::Notify;
    use tokio::task::yield_now;

    use super::*;

    #[derive(Clone, Default)]
    struct Counted {
        started: Arc<AtomicUsize>,
        go: Arc<Notify>,
    }

    impl Counted {
        fn flight(&self) -> impl Future<Output = Option<usize>> + Send + 'static {
            let Self { started, go } = self.clone();
            async move {
                let number = started.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                Some(number)
            }
        }

        fn started(&self) -> usize {
            self.started.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn asks_once_for_all_and_anew_afterwards() {
        let (flights, counted) = (Flights::default(), Counted::default());
        let all = (0..50).map(|_| flights.join(&"a", |_| counted.flight()));
        let all = join_all(all);
        let release = async {
            yield_now().await;
            counted.go.notify_one();
        };
        let (answers, ()) = tokio::join!(all, release);
        assert_eq!(answers, vec![Some(0); 50]);
        assert_eq!(counted.started(), 1);
        assert_eq!(flights.len(), 0);
        counted.go.notify_one();
        assert_eq!(flights.join(&"a", |_| counted.flight()).await, Some(1));
    }

    #[tokio::test]
    async fn the_first_of_fifty_leaves_and_the_others_are_answered() {
        let (flights, counted) = (Flights::default(), Counted::default());
        let first = tokio::spawn({
            let (flights, counted) = (flights.clone(), counted.clone());
            async move { flights.join(&"a", |_| counted.flight()).await }
        });
        while counted.started() == 0 {
            yield_now().await;
        }
        let others: Vec<_> = (1..50)
            .map(|_| {
                let (flights, counted) = (flights.clone(), counted.clone());
                tokio::spawn(async move { flights.join(&"a", |_| counted.flight()).await })
            })
            .collect();
        yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        counted.go.notify_one();
        for other in others {
            assert_eq!(other.await.unwrap(), Some(0));
        }
        assert_eq!(counted.started(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn is_given_up_when_nobody_waits_and_begun_anew_for_who_comes_then() {
        let flights: Flights<&str, u8> = Flights::default();
        let idle = |waiters: Waiters<u8>| async move {
            waiters.gone().await;
            None
        };
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, flights.join(&"a", idle)).await.is_err());
        for _ in 0..10 {
            yield_now().await;
        }
        assert_eq!(flights.len(), 0);
        assert_eq!(flights.join(&"a", |_| async { Some(7) }).await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_keeps_nobody_waiting_and_nothing_behind() {
        let flights: Flights<&str, u8> = Flights::default();
        let tries = Arc::new(AtomicUsize::new(0));
        let answer = flights
            .join(&"a", |_| {
                let tries = Arc::clone(&tries);
                async move {
                    tries.fetch_add(1, Ordering::SeqCst);
                    panic!("on purpose")
                }
            })
            .await;
        assert_eq!(answer, None);
        assert_eq!(tries.load(Ordering::SeqCst), MAX_JOINS);
        assert_eq!(flights.len(), 0);
    }
}
