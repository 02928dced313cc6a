//! What a replica of Tegata asks the registries with: the counterpart of the registry client.
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use tegata::evidence::Candidate;
use tegata::evidence::Content;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence;
use tegata::evidence::Format;
use tegata::evidence::Part;
use tegata::evidence::Place;
use tegata::evidence::Problem;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::image::Repository;
use tegata::registry::HostOptions;
use tegata::registry::breaker::Breaker;
use tegata::registry::breaker::Silence;
use tegata::registry::budget::Budget;
use tegata::registry::budget::Limits;
use tegata::registry::budget::NoTurn;
use tegata::registry::limits::DEFAULT_REQUEST_TIMEOUT;
use tegata::registry::limits::MAX_TRIES;
use tegata::registry::limits::RETRY_PAUSE;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::day::Pod;
use crate::servers::Reply;
use crate::servers::Round;
use crate::servers::Servers;
use crate::servers::Why;
use crate::world::Host;
use crate::world::Image;

/// The signature's tag, and the list of referrers.
const LISTING: Round = Round { requests: 2, manifests: 1 };

/// The payload or bundle. It has to be known which.
const CONTENT: Round = Round { requests: 1, manifests: 0 };

/// The manifest of a tag.
const MANIFEST: Round = Round { requests: 1, manifests: 1 };

/// Requests for one pod, where nothing is known beforehand.
pub(crate) fn requests(pod: &Pod) -> u64 {
    let of_image = |image: &Arc<Image>| {
        let content = if image.is_signed(pod.at) { CONTENT.requests } else { 0 };
        LISTING.requests + content
    };
    let tag = if pod.workload.tag.is_some() { MANIFEST.requests } else { 0 };
    tag + of_image(&pod.image) + pod.sidecar.as_ref().map_or(0, of_image)
}

/// Images whose evidence somebody waits for, and how many do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Awaited(Arc<Mutex<HashMap<Digest, u64>>>);

impl Awaited {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits until what is returned is dropped.
    pub(crate) fn wait(&self, digest: &Digest) -> Wait {
        *self.lock().entry(digest.clone()).or_default() += 1;
        Wait { awaited: self.clone(), digest: digest.clone() }
    }

    fn contains(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Wait {
    awaited: Awaited,
    digest: Digest,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut awaited = self.awaited.lock();
        if let Some(waiting) = awaited.get_mut(&self.digest) {
            *waiting -= 1;
            if *waiting == 0 {
                awaited.remove(&self.digest);
            }
        }
    }
}

/// The time that a question has.
#[derive(Clone, Copy, Debug)]
struct Time {
    began: Instant,
    deadline: Instant,
}

impl Time {
    /// That of one which begins now.
    fn until(deadline: std::time::Instant) -> Self {
        Self { began: Instant::now(), deadline: deadline.into() }
    }
}

/// One replica's access to the registries.
#[derive(Debug)]
pub(crate) struct Client {
    servers: Arc<Servers>,
    awaited: Awaited,
    /// What is known of each registry, and what it is still asked.
    manners: [(Breaker, Budget); Host::ALL.len()],
}

impl Client {
    /// One that has just started, with so many requests a second to each registry.
    pub(crate) fn new(
        servers: &Arc<Servers>,
        awaited: &Awaited,
        per_second: Option<NonZeroU16>,
    ) -> Self {
        let options = HostOptions { requests_per_second: per_second, ..HostOptions::default() };
        let begin = |_| (Breaker::default(), Budget::new(Limits::from(&options)));
        let (servers, awaited) = (Arc::clone(servers), awaited.clone());
        Self { servers, awaited, manners: Host::ALL.map(begin) }
    }

    /// One round trip with its retries, as the registry client has them.
    async fn ask(&self, image: &Image, round: Round, time: Time) -> Result<(), Failure> {
        let (host, deadline) = (image.host, time.deadline);
        let Some((breaker, budget)) = self.manners.get(host as usize) else {
            return Err(failure(Reason::InternalError, host));
        };
        let mut problem = failure(Reason::RegistryUnreachable, host);
        let mut pause = Duration::ZERO;
        for number in 0..MAX_TRIES {
            if Instant::now() + pause >= deadline {
                break;
            }
            tokio::time::sleep(pause).await;
            let alone = |_| failure(Reason::RegistryUnreachable, host);
            breaker.look(image.name.repository().path()).map_err(alone)?;
            let turns = turns(budget, round, time).await.map_err(|why| no_turn(why, host))?;
            let pass = breaker.pass(image.name.repository().path()).map_err(alone)?;
            let (sent, (takes, reply)) = (Instant::now(), self.servers.reply(image, round));
            let most = DEFAULT_REQUEST_TIMEOUT.min(deadline - Instant::now());
            let answered = tokio::time::timeout(most, tokio::time::sleep(takes)).await;
            drop(turns);
            (problem, pause) = match (answered, reply) {
                (Ok(()), Reply::Answered) => {
                    pass.answered();
                    budget.answered(None, sent);
                    return Ok(());
                }
                (Ok(()), Reply::Limited(after)) => {
                    pass.answered();
                    budget.pause(None, after, sent);
                    (failure(Reason::RegistryRateLimited, host), Duration::ZERO)
                }
                (Ok(()), Reply::Silent) => {
                    pass.failed(Silence::Unreached, "no connection");
                    (failure(Reason::RegistryUnreachable, host), RETRY_PAUSE * (1 << number))
                }
                (Err(_), _) => {
                    if most == DEFAULT_REQUEST_TIMEOUT {
                        pass.failed(Silence::Unanswered, "not in time");
                    }
                    (failure(Reason::DeadlineExceeded, host), RETRY_PAUSE * (1 << number))
                }
            };
        }
        Err(problem)
    }

    /// What is attached to an image.
    async fn candidates(&self, image: &Image, time: Time) -> Result<Vec<Candidate>, Failure> {
        self.ask(image, LISTING, time).await?;
        if !image.is_signed(self.servers.now()) {
            return Ok(Vec::new());
        }
        self.ask(image, CONTENT, time).await?;
        Ok(vec![candidate(image)])
    }
}

impl FetchEvidence for Client {
    async fn resolve(
        &self,
        image: &ImageRef,
        deadline: std::time::Instant,
    ) -> Result<Digest, Failure> {
        if let Some(digest) = image.digest() {
            return Ok(digest.clone());
        }
        let Some(workload) = self.servers.world.tags.get(image.repository().path()) else {
            return Err(Failure::new(Reason::ImageNotFound, image));
        };
        let missing = || Failure::new(Reason::ImageNotFound, image);
        let first = workload.image(self.servers.now()).ok_or_else(missing)?;
        self.servers.question(Why::Tag, &first.digest);
        self.ask(first, MANIFEST, Time::until(deadline)).await?;
        let found = workload.image(self.servers.now()).ok_or_else(missing)?;
        Ok(found.digest.clone())
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: std::time::Instant) -> Evidence {
        let (mut candidates, mut problems) = (Vec::new(), Vec::new());
        if let Some(image) = self.servers.world.images.get(&query.digest) {
            let awaited = self.awaited.contains(&query.digest);
            let why = if awaited { Why::Evidence } else { Why::Refresh };
            self.servers.question(why, &query.digest);
            match self.candidates(image, Time::until(deadline)).await {
                Ok(found) => candidates = found,
                Err(failure) => problems.push(Problem { place: Place::SignatureTag, failure }),
            }
        }
        Evidence { query: query.clone(), candidates, problems, kept: None }
    }

    async fn read(
        &self,
        repository: &Repository,
        _: &Part,
        _: std::time::Instant,
    ) -> Result<Bytes, Failure> {
        // No policy of the simulation looks at an image's configuration.
        Err(Failure::new(Reason::ImageNotFound, repository))
    }
}

/// Leave for a round's requests.
async fn turns(
    budget: &Budget,
    round: Round,
    Time { began, deadline }: Time,
) -> Result<Vec<SemaphorePermit<'_>>, NoTurn> {
    let mut turns = Vec::new();
    for _ in 0..round.requests {
        turns.push(budget.turn(None, began, deadline).await?);
    }
    Ok(turns)
}

fn no_turn(why: NoTurn, host: Host) -> Failure {
    match why {
        NoTurn::Paused(_) => failure(Reason::RegistryRateLimited, host),
        NoTurn::Spent(_) => failure(Reason::DeadlineExceeded, host),
    }
}

fn failure(reason: Reason, host: Host) -> Failure {
    Failure::new(reason, host.name())
}

/// A bundle that names its image, and is as long as one.
fn candidate(image: &Image) -> Candidate {
    let mut bundle = image.digest.to_string().into_bytes();
    bundle.resize(image.bytes, b' ');
    Candidate::new(
        Place::SignatureTag,
        image.digest.clone(),
        Digest::sha256_of(&bundle),
        Format::Bundle,
        Ok(Content::Bundle(Bytes::from(bundle))),
    )
}

/// Whether it is a signature of the image, which stands for verifying it.
pub(crate) fn is_signature(candidate: &Candidate, digest: &Digest) -> bool {
    match &candidate.content {
        Ok(Content::Bundle(bundle)) => bundle.starts_with(digest.to_string().as_bytes()),
        Ok(Content::Envelope { .. } | Content::SimpleSigning { .. }) | Err(_) => false,
    }
}
