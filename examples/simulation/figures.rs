//! What is counted, and the tables of it.
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use tegata::image::Digest;
use tegata::registry::limits::MAX_REST;
use tegata::store::NEGATIVE_LIFE;
use tegata::store::Settings;
use tegata::store::TAG_LIFE;
use tegata::store::Usage;
use tegata::verdict::Verdict;

use crate::day::BROWN_OUT;
use crate::day::OUTAGE;
use crate::day::Pod;
use crate::replica::Checked;
use crate::servers::Asked;
use crate::world::Host;
use crate::world::World;

/// What is counted while a day goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    admitted: u64,
    rejected: u64,
    indeterminate: u64,
    unanswered: u64,
    /// Of these two, those outside of [`OUTAGE`].
    undisturbed: u64,
    wrong: u64,
    unfinished: u64,
    /// How long each answer took, in milliseconds.
    waits: Vec<u64>,
    /// From a pod's creation to its admission.
    delayed: Duration,
    /// Of evidence that led to an admission.
    oldest: Duration,
    /// How long after it was taken away a signature still led to an admission.
    taken_back: Duration,
    held: Usage,
    /// Images that pods were admitted with.
    images: BTreeSet<Digest>,
}

impl Tally {
    /// No replica was there.
    pub(crate) fn unanswered(&mut self, at: Duration) {
        self.unanswered += 1;
        self.undecided(at);
    }

    fn undecided(&mut self, at: Duration) {
        if !OUTAGE.contains(&at) {
            self.undisturbed += 1;
        }
    }

    /// The day ended before the pod was admitted.
    pub(crate) fn left(&mut self) {
        self.unfinished += 1;
    }

    pub(crate) fn held(&mut self, Usage { entries, bytes }: Usage) {
        self.held.entries = self.held.entries.max(entries);
        self.held.bytes = self.held.bytes.max(bytes);
    }

    /// An answer to a review that began and ended so, with what was found for each image.
    pub(crate) fn answer(
        &mut self,
        world: &World,
        pod: &Pod,
        span: Range<Duration>,
        checked: &[Checked],
        settings: Option<Settings>,
    ) -> Verdict {
        self.waits.push((span.end - span.start).as_millis() as u64);
        for one in checked {
            if !self.is_right(world, pod, &span, one, settings) {
                self.wrong += 1;
            }
        }
        let verdicts = || checked.iter().map(|one| one.verdict);
        if verdicts().any(|verdict| verdict == Verdict::Rejected) {
            self.rejected += 1;
            return Verdict::Rejected;
        }
        // An answer about nothing at all is none.
        if checked.is_empty() || verdicts().any(|verdict| verdict != Verdict::Verified) {
            self.indeterminate += 1;
            self.undecided(span.start);
            return Verdict::Indeterminate;
        }
        self.admitted += 1;
        self.delayed = self.delayed.max(span.end - pod.at);
        Verdict::Verified
    }

    /// Whether a verdict is one that may be given at that time.
    fn is_right(
        &mut self,
        world: &World,
        pod: &Pod,
        span: &Range<Duration>,
        checked: &Checked,
        settings: Option<Settings>,
    ) -> bool {
        let Checked { digest, verdict, age } = checked;
        let Some(digest) = digest else { return *verdict == Verdict::Indeterminate };
        let Some(image) = world.images.get(digest) else { return false };
        let is_sidecar = pod.sidecar.as_ref().is_some_and(|sidecar| sidecar.digest == *digest);
        let named = match pod.workload.tag {
            Some(_) => {
                let life = tag_life(settings, image.host, span.start);
                pod.workload.stood_for(digest, span.start.saturating_sub(life), span.end)
            }
            None => pod.image.digest == *digest,
        };
        let Some((from, to)) = image.signed else {
            return *verdict != Verdict::Verified && (named || is_sidecar);
        };
        let max_age = settings.map(|settings| settings.max_age).unwrap_or_default();
        let right = match verdict {
            Verdict::Indeterminate => true,
            Verdict::Rejected => from + NEGATIVE_LIFE >= span.start || to <= span.end,
            Verdict::Verified => from <= span.end && span.start < to.saturating_add(max_age),
        };
        if *verdict == Verdict::Verified {
            self.images.insert(digest.clone());
            self.oldest = self.oldest.max(*age);
            self.taken_back = self.taken_back.max(span.start.saturating_sub(to));
        }
        right && (named || is_sidecar)
    }
}

/// How old a tag's digest may be. Where an old one stands in, it may while its registry does not answer,
/// or takes longer than a tag is waited for, and until it is asked again after that.
fn tag_life(settings: Option<Settings>, host: Host, at: Duration) -> Duration {
    let disturbed = match host {
        Host::Company => OUTAGE,
        Host::Public => BROWN_OUT,
        Host::Limited => return TAG_LIFE,
    };
    match settings {
        Some(Settings { stale_tags: true, max_age, .. })
            if disturbed.start <= at && at < disturbed.end + MAX_REST =>
        {
            max_age
        }
        _ => TAG_LIFE,
    }
}

/// What came of a day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Figures {
    pub(crate) label: String,
    pub(crate) asked: Asked,
    pub(crate) admitted: u64,
    pub(crate) rejected: u64,
    pub(crate) indeterminate: u64,
    pub(crate) unanswered: u64,
    pub(crate) wrong: u64,
    /// Images that pods were admitted with.
    pub(crate) images: BTreeSet<Digest>,
    held: Usage,
    undisturbed: u64,
    unfinished: u64,
    /// Median, 99th of a hundred, and the longest, in milliseconds.
    waits: [u64; 3],
    delayed: Duration,
    oldest: Duration,
    taken_back: Duration,
}

impl Figures {
    pub(crate) fn new(label: &str, tally: Tally, asked: Asked) -> Self {
        let Tally { admitted, rejected, indeterminate, unanswered, wrong, .. } = tally;
        let Tally {
            mut waits,
            delayed,
            oldest,
            taken_back,
            held,
            images,
            unfinished,
            undisturbed,
            ..
        } = tally;
        waits.sort_unstable();
        let at = |hundredths: usize| {
            let place = waits.len().saturating_sub(1) * hundredths / 100;
            waits.get(place).copied().unwrap_or_default()
        };
        let waits = [at(50), at(99), at(100)];
        Self {
            label: label.to_owned(),
            asked,
            admitted,
            rejected,
            indeterminate,
            unanswered,
            wrong,
            images,
            held,
            undisturbed,
            unfinished,
            waits,
            delayed,
            oldest,
            taken_back,
        }
    }

    /// What the registries were asked.
    fn registries(&self) -> Vec<String> {
        let Asked { evidence, refreshes, tags, requests, limited, busiest_minute, images: _ } =
            &self.asked;
        let per_pod = *requests as f64 / self.admitted.max(1) as f64;
        vec![
            self.label.clone(),
            evidence.to_string(),
            refreshes.to_string(),
            tags.to_string(),
            requests.to_string(),
            format!("{per_pod:.2}"),
            busiest_minute.to_string(),
            limited.to_string(),
        ]
    }

    /// What pods and administrators saw of it.
    fn answers(&self) -> Vec<String> {
        let Self { admitted, rejected, indeterminate, unanswered, .. } = self;
        let all = admitted + rejected + indeterminate + unanswered;
        let share = |part: u64| format!("{:.2} %", part as f64 * 100.0 / all.max(1) as f64);
        let [median, high, longest] = self.waits;
        vec![
            self.label.clone(),
            all.to_string(),
            share(indeterminate + unanswered),
            share(self.undisturbed),
            self.wrong.to_string(),
            format!("{median} / {high} / {longest} ms"),
            minutes(self.delayed),
            self.unfinished.to_string(),
            minutes(self.oldest),
            minutes(self.taken_back),
            self.held.entries.to_string(),
            format!("{:.1} MiB", self.held.bytes as f64 / f64::from(1 << 20)),
        ]
    }
}

fn minutes(time: Duration) -> String {
    format!("{} min", time.as_secs().div_ceil(60))
}

const REGISTRIES: [&str; 8] = [
    "configuration",
    "evidence",
    "refreshes",
    "tags",
    "requests",
    "per pod",
    "busiest minute",
    "refused (429)",
];

const ANSWERS: [&str; 12] = [
    "configuration",
    "answers",
    "undecided",
    "outside of the outage",
    "wrong",
    "median / 99th / longest",
    "longest delay of a pod",
    "never admitted",
    "oldest evidence",
    "taken back, yet counted",
    "entries",
    "kept",
];

/// Both tables, as Markdown.
pub(crate) fn tables(all: &[Figures]) -> String {
    let registries = table(&REGISTRIES, all.iter().map(Figures::registries));
    let answers = table(&ANSWERS, all.iter().map(Figures::answers));
    format!("{registries}\n{answers}")
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rule = format!("|---|{}", "--:|".repeat(head.len().saturating_sub(1)));
    let rows = rows.map(|row| format!("| {} |\n", row.join(" | ")));
    format!("| {} |\n{rule}\n{}", head.join(" | "), rows.collect::<String>())
}
