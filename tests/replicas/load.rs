//! Reviews at a steady rate, whatever becomes of them, from many clients.
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::Scope;
use std::time::Duration;
use std::time::Instant;

use super::client::Client;
use super::pods::Review;
use super::service::Service;
use super::tally::Answered;
use super::tally::Tally;

/// The API server's default for a webhook: an answer after that is none.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Clients, with a connection each. As many reviews as may be under way at a time: at 500 a second
/// each may take 96 ms before any is sent late. A server has places for more.
pub const CLIENTS: usize = 48;

/// How long a connection is used. Connections of a cluster are renewed now and then, and by that the
/// replicas get even shares again.
const CONNECTION_AGE: Duration = Duration::from_secs(4);

/// How often one review is sent at most.
const TRIES: usize = 50;

/// How long after the end what is not decided is sent anew.
const GRACE: Duration = Duration::from_secs(2);

/// The pause before it is sent anew, as a controller's.
const PAUSE: Duration = Duration::from_millis(100);

/// A stride through the pods that visits all: it shares no factor with their number.
const STRIDE: usize = 37;

/// Stack of a client's thread.
const STACK: usize = 512 << 10;

/// One kind of pod that is wanted again and again.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its review.
    pub review: Review,
    /// Whether its image is to be admitted.
    pub good: bool,
}

/// A load that is being sent.
#[derive(Debug)]
pub struct Load<'a> {
    service: &'a Service,
    pods: &'a [Pod],
    per_second: f64,
    /// How many reviews there are to send.
    pub wanted: usize,
    time: Duration,
    start: Instant,
    next: AtomicUsize,
    tally: Mutex<Tally>,
}

/// A connection, whose it is, and since when.
type Line = (usize, Client, Instant);

impl<'a> Load<'a> {
    /// So many reviews a second for this time, of these pods in turn. It begins now.
    pub fn new(service: &'a Service, pods: &'a [Pod], per_second: f64, time: Duration) -> Self {
        assert!(!pods.len().is_multiple_of(STRIDE), "some pods would never be asked for");
        Self {
            service,
            pods,
            per_second,
            wanted: (per_second * time.as_secs_f64()) as usize,
            time,
            start: Instant::now(),
            next: AtomicUsize::new(0),
            tally: Mutex::default(),
        }
    }

    /// Starts the clients, who end when the time is over and what they sent is decided.
    pub fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        for _ in 0..CLIENTS {
            let client = || self.client();
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, client).unwrap();
        }
    }

    /// What came of it so far.
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap()
    }

    /// The time since it began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until this time after it began, and tells how it goes every `pace`.
    pub fn wait_until(&self, time: Duration, pace: Duration) {
        loop {
            let left = time.saturating_sub(self.elapsed());
            std::thread::sleep(left.min(pace));
            let line = self.tally().line_and_times();
            super::say(&format!("{:4.1} s: {line}", self.elapsed().as_secs_f64()));
            if left <= pace {
                return;
            }
        }
    }

    fn client(&self) {
        let mut line = None;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(number as f64 / self.per_second);
            if number >= self.wanted || self.elapsed() >= self.time {
                return;
            }
            std::thread::sleep(due.saturating_sub(self.elapsed()));
            self.tally().sent += 1;
            self.have_decided(number, due, &mut line);
        }
    }

    /// Sends a review until it is decided.
    fn have_decided(&self, number: usize, due: Duration, line: &mut Option<Line>) {
        let place = number * STRIDE % self.pods.len();
        let mut review = self.pods[place].review.clone();
        for again in 0..TRIES {
            if self.elapsed() > self.time + GRACE {
                return;
            }
            // What is sent anew is another pod, with another name.
            review.set_number((number * TRIES + again) as u64);
            let Ok((replica, mut client, since)) = self.line(line) else {
                let now = self.elapsed();
                self.tally().refused.push(now);
                std::thread::sleep(PAUSE);
                continue;
            };
            let sent = self.elapsed();
            if let Err(error) = client.ask(&review) {
                let now = self.elapsed();
                let text = format!("replica {replica}, sent at {sent:?}: {error:#}");
                self.tally().broken.push((now, text));
                continue;
            }
            let end = self.elapsed();
            let image = (place, self.pods[place].good);
            // One that is sent anew was due just then.
            let times = (if again == 0 { due } else { sent }, sent);
            let answer = client.answer();
            *line = Some((replica, client, since));
            if self.tally().note(Answered { replica, image, times, end, answer }) {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The connection that there is, unless it is old, or a new one.
    fn line(&self, line: &mut Option<Line>) -> anyhow::Result<Line> {
        let young = line.take().filter(|(.., since)| since.elapsed() < CONNECTION_AGE);
        young.map_or_else(
            || self.service.connect().map(|(replica, client)| (replica, client, Instant::now())),
            Ok,
        )
    }
}
