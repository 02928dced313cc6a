//! What is made of a decision besides the answer: Events and metrics.
//!
//! The real router before a pipeline that answers as it is told, with the real observer, whose API
//! server is in process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

#[path = "support/review.rs"]
mod review;

#[path = "answers/counts.rs"]
mod counts;
#[path = "answers/events.rs"]
mod events;
#[path = "answers/house.rs"]
mod house;
#[path = "answers/log.rs"]
mod log;
