//! Many clients at once, who ask until they are told, as controllers do.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use super::client::Answer;
use super::client::Client;
use super::client::Peer;
use super::pods::Review;

/// The API server's default for a webhook: an answer after that is none.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The first pause of a controller before it tries again what was denied; it doubles each time.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Pause of a client whose connection was refused.
const RECONNECT: Duration = Duration::from_millis(100);

/// Stack of a client's thread.
const STACK: usize = 512 << 10;

/// One pod that is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which image it is for: a number of the caller's.
    pub image: usize,
    /// The review.
    pub endpoint: &'static str,
    /// The pod's namespace.
    pub namespace: String,
    /// References of its images.
    pub images: Vec<String>,
    /// Whether it is to be admitted in the end, or else rejected.
    pub good: bool,
}

/// How the clients go about it.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// How many there are.
    pub clients: usize,
    /// When they give up altogether.
    pub time: Duration,
    /// Whether what was not decided is asked for again.
    pub retry: bool,
}

/// What came of the wishes.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Reviews sent.
    pub asked: usize,
    /// Wishes that were decided as they should be: which, and how long after the begin.
    pub settled: Vec<(usize, Duration)>,
    /// Good wishes that were rejected, and bad ones that were admitted.
    pub wrong: Vec<String>,
    /// Reviews whose answer took longer than [`DEADLINE`], or never came.
    pub late: usize,
    /// Answers that left it undecided.
    pub undecided: usize,
    /// How long answers took.
    pub latencies: Vec<Duration>,
    /// One of the texts that said why it was undecided.
    pub because: Option<String>,
}

/// A wish by its place, when it is due next, and how often it was tried.
type Due = Reverse<(Instant, usize, u32)>;

struct Crowd<'a> {
    wishes: &'a [Wish],
    due: Mutex<BinaryHeap<Due>>,
    outcome: Mutex<Outcome>,
    start: Instant,
    manners: Manners,
}

/// Has all wishes asked for, and says what came of them.
pub fn ask(peer: &Peer, wishes: &[Wish], manners: Manners) -> Outcome {
    let start = Instant::now();
    let due = (0..wishes.len()).map(|place| Reverse((start, place, 0))).collect();
    let crowd = Crowd { wishes, due: Mutex::new(due), outcome: Mutex::default(), start, manners };
    std::thread::scope(|scope| {
        for _ in 0..manners.clients {
            let client = || crowd.client(peer);
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, client).unwrap();
        }
    });
    crowd.outcome.into_inner().unwrap()
}

impl Crowd<'_> {
    fn client(&self, peer: &Peer) {
        let mut connection: Option<Client> = None;
        while self.start.elapsed() < self.manners.time {
            let Some((place, tries)) = self.next() else {
                if self.is_done() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            let wish = &self.wishes[place];
            let review = Review::new(wish.endpoint, &wish.namespace, &wish.images);
            let start = Instant::now();
            let client = match connection.take().map_or_else(|| peer.connect(), Ok) {
                Ok(client) => client,
                Err(_) => {
                    std::thread::sleep(RECONNECT);
                    self.again(place, tries);
                    continue;
                }
            };
            let (answer, client) = told(client, &review);
            connection = client;
            self.note(place, tries, answer, start.elapsed());
        }
    }

    /// The next wish that is due.
    fn next(&self) -> Option<(usize, u32)> {
        let mut due = self.due.lock().unwrap();
        let ready = due.peek().is_some_and(|Reverse((at, ..))| *at <= Instant::now());
        if !ready {
            return None;
        }
        due.pop().map(|Reverse((_, place, tries))| (place, tries))
    }

    /// Whether every wish is settled, or was asked for once where once is all.
    fn is_done(&self) -> bool {
        let outcome = self.outcome.lock().unwrap();
        let over = if self.manners.retry {
            outcome.settled.len() + outcome.wrong.len()
        } else {
            outcome.asked
        };
        over >= self.wishes.len()
    }

    fn note(&self, place: usize, tries: u32, answer: anyhow::Result<Answer>, took: Duration) {
        let wish = &self.wishes[place];
        let again = {
            let mut outcome = self.outcome.lock().unwrap();
            outcome.asked += 1;
            outcome.latencies.push(took);
            outcome.late += usize::from(took > DEADLINE || answer.is_err());
            match answer {
                Ok(Answer::Admitted) if wish.good && took <= DEADLINE => {
                    outcome.settled.push((place, self.start.elapsed()));
                    false
                }
                Ok(Answer::Rejected(_)) if !wish.good => {
                    outcome.settled.push((place, self.start.elapsed()));
                    false
                }
                Ok(Answer::Admitted) if !wish.good => {
                    outcome.wrong.push(format!("{:?} was admitted", wish.images));
                    false
                }
                Ok(Answer::LetIn(verdict)) => {
                    outcome.wrong.push(format!("{:?} was let in as {verdict}", wish.images));
                    false
                }
                Ok(Answer::Rejected(why)) => {
                    outcome.wrong.push(format!("{:?} was rejected: {why}", wish.images));
                    false
                }
                Ok(Answer::Admitted) => true,
                Ok(Answer::Undecided(why)) => {
                    outcome.undecided += 1;
                    outcome.because = Some(why);
                    true
                }
                Err(error) => {
                    outcome.because = Some(format!("{error:#}"));
                    true
                }
            }
        };
        if again && self.manners.retry {
            self.again(place, tries);
        }
    }

    fn again(&self, place: usize, tries: u32) {
        let pause = (PAUSE * 2_u32.pow(tries.min(8))).min(LONGEST_PAUSE);
        self.due.lock().unwrap().push(Reverse((Instant::now() + pause, place, tries + 1)));
    }
}

/// The answer, and the connection where it can be used again.
fn told(mut client: Client, review: &Review) -> (anyhow::Result<Answer>, Option<Client>) {
    match client.ask(review) {
        Ok(_) => {
            let answer = client.answer();
            (answer, Some(client))
        }
        Err(error) => (Err(error), None),
    }
}
