//! What runs in the cluster, and what is signed: the same for every configuration.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tegata::evidence::Tenant;
use tegata::image::Digest;
use tegata::image::ImageRef;

use crate::random::Random;

/// Which registry an image is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// The company's own: near, without limits, and not always there.
    Company,
    /// A large public one: somewhat slow, and very slow for an hour.
    Public,
    /// One that counts.
    Limited,
}

impl Host {
    pub(crate) const ALL: [Self; 3] = [Self::Company, Self::Public, Self::Limited];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Company => "company.example",
            Self::Public => "public.example",
            Self::Limited => "limited.example",
        }
    }

    /// 55, 25 and 20 images of a hundred.
    fn any(random: &mut Random) -> Self {
        match random.unit() {
            share if share < 0.55 => Self::Company,
            share if share < 0.80 => Self::Public,
            _ => Self::Limited,
        }
    }
}

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) pods: u64,
    pub(crate) images: u64,
    /// Parts of a whole cluster that this is, for what is counted by the day.
    pub(crate) part: u64,
}

impl Size {
    pub(crate) const WHOLE: Self = Self { pods: 100_000, images: 20_000, part: 1 };
    /// For a look, and for tests.
    pub(crate) const TENTH: Self = Self { pods: 10_000, images: 2_000, part: 10 };

    /// So many in a whole cluster, here.
    pub(crate) const fn of(self, whole: u64) -> u64 {
        whole.div_ceil(self.part)
    }
}

/// One digest.
#[derive(Debug)]
pub(crate) struct Image {
    /// No other has it.
    pub(crate) number: u64,
    /// Its name by digest.
    pub(crate) name: ImageRef,
    pub(crate) digest: Digest,
    pub(crate) host: Host,
    /// Bytes of its signature, with certificate and log entry.
    pub(crate) bytes: usize,
    /// From when to when a signature is attached.
    pub(crate) signed: Option<(Duration, Duration)>,
}

impl Image {
    pub(crate) fn is_signed(&self, at: Duration) -> bool {
        self.signed.is_some_and(|(from, to)| from <= at && at < to)
    }
}

/// What a Deployment, DaemonSet or CronJob runs: one image after the other.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) tenant: Tenant,
    /// The name that its pods have for the image: a tag, or `None` for the digest.
    pub(crate) tag: Option<ImageRef>,
    /// How many pods it has.
    pub(crate) pods: u64,
    /// Its images by the time from which they are rolled out; never empty.
    pub(crate) versions: Vec<(Duration, Arc<Image>)>,
}

impl Workload {
    /// The image at a time.
    pub(crate) fn image(&self, at: Duration) -> Option<&Arc<Image>> {
        self.versions.iter().rev().find(|(from, _)| *from <= at).map(|(_, image)| image)
    }

    /// Whether `digest` was the tag's at some time between two.
    pub(crate) fn stood_for(&self, digest: &Digest, from: Duration, to: Duration) -> bool {
        let ends = self.versions.iter().skip(1).map(|(begins, _)| *begins);
        let ends = ends.chain([Duration::MAX]);
        let mut spans = self.versions.iter().zip(ends);
        spans.any(|((begins, image), end)| image.digest == *digest && *begins <= to && from < end)
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) workloads: Vec<Arc<Workload>>,
    /// What runs beside the workloads' own containers.
    pub(crate) sidecars: Vec<Arc<Image>>,
    pub(crate) images: HashMap<Digest, Arc<Image>>,
    /// By the path of the repository.
    pub(crate) tags: HashMap<String, Arc<Workload>>,
}

/// Of all images, those that nobody ever signs.
const UNSIGNED: f64 = 0.02;

/// Of all images, those whose signature is taken away in the course of the day.
const TAKEN_BACK: f64 = 0.005;

/// Of all new versions, those that are signed only after they are rolled out, by impatient people.
const SIGNED_LATE: f64 = 0.05;

/// Of all workloads, those that name a tag.
const TAGGED: f64 = 0.3;

/// Namespaces of a cluster of any size.
const NAMESPACES: u64 = 200;

/// When rollouts of a workload begin.
pub(crate) type Rollouts<'a> = &'a dyn Fn(&mut Random, u64) -> Vec<Duration>;

impl World {
    /// Workloads with so many pods each, rolled out at the times that `rollouts` gives for their size.
    pub(crate) fn new(size: Size, seed: u64, rollouts: Rollouts<'_>) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let mut workloads = Vec::new();
        for (rank, pods) in shares(size.pods, size.images).into_iter().enumerate() {
            workloads.push(Arc::new(workload(&mut random, rank, pods, rollouts)?));
        }
        let sidecars = ["proxy", "logs", "secrets"].map(|name| {
            let path = format!("platform/{name}");
            let signed = Some((Duration::ZERO, Duration::MAX));
            image(&mut random, Host::Company, &path, 0, signed).map(Arc::new)
        });
        let sidecars = sidecars.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let of_workload = |workload: &Arc<Workload>| workload.versions.clone();
        let versions = workloads.iter().flat_map(of_workload).map(|(_, image)| image);
        let images = versions.chain(sidecars.iter().cloned());
        let images = images.map(|image| (image.digest.clone(), image)).collect();
        let tags = workloads.iter().filter_map(|workload| {
            let tag = workload.tag.as_ref()?;
            Some((tag.repository().path().to_owned(), Arc::clone(workload)))
        });
        let tags = tags.collect();
        Ok(Self { workloads, sidecars, images, tags })
    }
}

/// Pods by workload, the largest first: the n-th has an n-th of the first's, and each has one at
/// least.
fn shares(pods: u64, workloads: u64) -> Vec<u64> {
    let of = |first: u64| (1..=workloads).map(move |rank| ((first + rank / 2) / rank).max(1));
    let (mut low, mut high) = (1, pods);
    while low < high {
        let middle = low.midpoint(high);
        match of(middle).sum::<u64>() < pods {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    of(low).collect()
}

fn workload(
    random: &mut Random,
    rank: usize,
    pods: u64,
    rollouts: Rollouts<'_>,
) -> anyhow::Result<Workload> {
    let host = Host::any(random);
    let path = format!("team-{}/app-{rank}", random.below(NAMESPACES));
    let never = random.chance(UNSIGNED);
    let mut versions = Vec::new();
    let begins = std::iter::once(Duration::ZERO).chain(rollouts(random, pods));
    for (number, begins) in begins.enumerate() {
        let signed = (!never).then(|| signed(random, begins));
        versions.push((begins, Arc::new(image(random, host, &path, number, signed)?)));
    }
    let tag = match random.chance(TAGGED) {
        true => Some(format!("{}/{path}:stable", host.name()).parse().context("a tag")?),
        false => None,
    };
    let namespace = format!("namespace-{}", random.below(NAMESPACES));
    let tenant = Tenant { namespace, ..Tenant::default() };
    Ok(Workload { tenant, tag, pods, versions })
}

/// From when to when a version that is rolled out at `begins` has a signature.
fn signed(random: &mut Random, begins: Duration) -> (Duration, Duration) {
    let late = !begins.is_zero() && random.chance(SIGNED_LATE);
    let from = match late {
        true => begins + Duration::from_millis(random.below(20_000)),
        false => Duration::ZERO,
    };
    let to = match random.chance(TAKEN_BACK) {
        true => from + Duration::from_secs(6 * 3600 + random.below(12 * 3600)),
        false => Duration::MAX,
    };
    (from, to)
}

fn image(
    random: &mut Random,
    host: Host,
    path: &str,
    number: usize,
    signed: Option<(Duration, Duration)>,
) -> anyhow::Result<Image> {
    let digest = Digest::sha256_of(format!("{path} {number}").as_bytes());
    let repository: ImageRef = format!("{}/{path}", host.name()).parse().context("a name")?;
    let name = format!("{}@{digest}", repository.repository()).parse().context("a digest")?;
    // 10 KiB: a bundle with certificate, log entry and timestamp, or what the classic format takes.
    let bytes = (7 << 10) + random.below(6 << 10) as usize;
    Ok(Image { number: random.below(u64::MAX), name, digest, host, bytes, signed })
}
