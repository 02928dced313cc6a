//! A Service in front of replicas, as far as its clients notice.
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::client::Client;
use super::client::Peer;

/// New connections go to the endpoints in turn. An endpoint that has died stays among them until
/// somebody notices, as with a cluster's.
#[derive(Debug)]
pub struct Service {
    endpoints: Vec<Endpoint>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Endpoint {
    peer: Peer,
    serves: AtomicBool,
}

impl Service {
    /// All of these serve.
    pub fn new(peers: impl IntoIterator<Item = Peer>) -> Self {
        let endpoint = |peer| Endpoint { peer, serves: AtomicBool::new(true) };
        Self { endpoints: peers.into_iter().map(endpoint).collect(), turn: AtomicUsize::new(0) }
    }

    /// From now on it is one of those that serve, or it is not.
    pub fn set(&self, replica: usize, serves: bool) {
        self.endpoints[replica].serves.store(serves, Ordering::SeqCst);
    }

    /// A connection to the next one that serves, and its number.
    ///
    /// # Errors
    /// When it is refused.
    pub fn connect(&self) -> anyhow::Result<(usize, Client)> {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let serving: Vec<usize> = (0..self.endpoints.len())
            .filter(|number| self.endpoints[*number].serves.load(Ordering::SeqCst))
            .collect();
        let number = serving[turn % serving.len()];
        Ok((number, self.endpoints[number].peer.connect()?))
    }
}
