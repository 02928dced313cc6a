//! What pods will be asked about, looked at when the workload that makes them is admitted.
use std::time::Instant;

use jiff::Timestamp;

use super::Admission;
use super::POD;
use super::Request;
use super::check::Asked;
use super::check::Tags;
use crate::evidence::FetchEvidence;
use crate::evidence::SearchLog;
use crate::policy::PolicySnapshot;
use crate::policy::Workload;

/// Most images of one workload that are looked at beforehand. Workloads have two or three; whoever
/// lists hundreds must not have them all fetched for nothing.
const MAX_IMAGES: usize = 16;

impl<F: FetchEvidence, L: SearchLog> Admission<F, L> {
    /// Checks the images of a workload as its pods' will be, so that what policies need is at hand when
    /// they come: at once, and from many nodes. Answers nothing, and decides nothing. Does nothing for
    /// a pod, nor for what is not to be stored.
    pub async fn prefetch(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) {
        let Request { workload, kind, images, tenant, dry_run, .. } = request;
        if kind == POD || *dry_run {
            return;
        }
        let pods = Workload {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            ..workload.clone()
        };
        let workload = &snapshot.know_namespace(&pods);
        let tags = Tags::MayBeOld;
        let asked = Asked { workload, tenant, snapshot, now, deadline, tags };
        // One after the other: nobody waits for it.
        for image in images.iter().filter_map(|image| image.image.as_ref().ok()).take(MAX_IMAGES) {
            let _report = self.check_image(image, asked).await;
        }
    }
}
