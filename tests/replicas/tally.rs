//! What came of the reviews, and what must not.
use std::collections::HashSet;
use std::time::Duration;

use super::client::Answer;
use super::load::DEADLINE;

/// Faults that are told of each kind.
const TOLD: usize = 5;

/// Everything that happened to reviews. Times are since the load began.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Reviews that were sent, each counted once however often it was sent anew.
    pub sent: usize,
    /// Of these, those that were decided as they should be.
    pub decided: usize,
    /// Answers that must never be given.
    pub wrong: Vec<String>,
    /// Answers that came too late.
    pub late: Vec<String>,
    /// Answers that left it undecided, and when.
    pub undecided: Vec<(Duration, String)>,
    /// Requests whose connection broke before their answer, and when it did.
    pub broken: Vec<(Duration, String)>,
    /// Connections that were refused, and when.
    pub refused: Vec<Duration>,
    /// Which replica decided what image as it should be, since this was last emptied.
    pub seen: HashSet<(usize, usize)>,
    /// How long answers took, counted from when the review was due, since this was last emptied.
    pub times: Vec<Duration>,
}

/// One answer, and the question.
#[derive(Debug)]
pub struct Answered {
    /// Which replica gave it.
    pub replica: usize,
    /// The image's number, and whether it is to be admitted.
    pub image: (usize, bool),
    /// When the review was due, and when it was sent.
    pub times: (Duration, Duration),
    /// When the answer was there.
    pub end: Duration,
    /// The answer; an error where it is none, or one to something else.
    pub answer: anyhow::Result<Answer>,
}

impl Tally {
    /// Takes an answer in, and says whether the review needs no further one.
    pub fn note(&mut self, answered: Answered) -> bool {
        let Answered { replica, image: (image, good), times: (due, sent), end, answer } = answered;
        self.times.push(end.saturating_sub(due));
        let place = format!("image {image} at replica {replica}, sent at {sent:?}");
        let took = end.saturating_sub(sent);
        if took > DEADLINE {
            self.late.push(format!("{place}: answered after {took:?}"));
        }
        match answer {
            Ok(Answer::Admitted) if good => {}
            Ok(Answer::Rejected(_)) if !good => {}
            Ok(Answer::Undecided(why)) => {
                self.undecided.push((end, format!("{place}: {why}")));
                return false;
            }
            Ok(answer) => {
                self.wrong.push(format!("{place}, to be admitted: {good}, found {answer:?}"));
                return true;
            }
            Err(error) => {
                self.wrong.push(format!("{place}: {error:#}"));
                return true;
            }
        }
        self.decided += 1;
        self.seen.insert((replica, image));
        true
    }

    /// The tally in a line.
    pub fn line(&self) -> String {
        format!(
            "{} sent, {} decided, {} wrong, {} late, {} undecided, {} broken, {} refused",
            self.sent,
            self.decided,
            self.wrong.len(),
            self.late.len(),
            self.undecided.len(),
            self.broken.len(),
            self.refused.len()
        )
    }

    /// The same, and how long answers took since it was last told.
    pub fn line_and_times(&mut self) -> String {
        let mut times = std::mem::take(&mut self.times);
        times.sort_unstable();
        let at = |share: usize| {
            let time = times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
            time.copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        format!(
            "{}; half within {:.1} ms, 99 % within {:.1} ms, all within {:.1} ms",
            self.line(),
            at(50),
            at(99),
            at(100)
        )
    }
}

/// The first of them, for a message.
pub fn first<T: std::fmt::Debug>(faults: &[T]) -> String {
    format!("{} in all, the first: {:#?}", faults.len(), &faults[..faults.len().min(TOLD)])
}
