//! `tegata verify`: images against policies, a key or an identity, explained.
use std::io;
use std::io::IsTerminal as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;

use self::sources::Source;
use super::Exit;
use super::InputError;
use super::inputs;
use crate::admission::Admission;
use crate::admission::Mutate;
use crate::admission::NoMatch;
use crate::admission::Settings;
use crate::admission::check::Asked;
use crate::admission::check::Tags;
use crate::args::VerifyArgs;
use crate::args::verify::ImageArg;
use crate::args::verify::PolicyArgs;
use crate::evidence::Tenant;
use crate::image::ImageRef;
use crate::policy::NAMESPACE_NAME;
use crate::policy::PolicySnapshot;
use crate::policy::Workload;
use crate::rekor::Rekor;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::Reason;

mod output;
mod signer;
mod sources;

/// Images checked at once: enough to hide a registry's latency, few enough to be polite to it.
const CONCURRENT_IMAGES: usize = 4;

/// Time beyond the deadline after which a check that ignores it is given up.
const OVERRUN: Duration = Duration::from_secs(2);

/// Why `tegata verify` cannot start. Always wrong usage or configuration, never an answer.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// `--as` speaks of one layout.
    #[error("--as needs exactly one image, and it must be an `oci:` layout")]
    AsWithoutLayout,
    /// A file that a flag names cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A flag's value cannot be used.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What was found, and what was wanted.
        problem: String,
    },
    /// An OCI layout cannot be used.
    #[error("image {image}: {problem}")]
    Layout {
        /// The image as it was asked for.
        image: String,
        /// What was found, and what was wanted.
        problem: String,
    },
    /// Neither a policy nor a signer.
    #[error(
        "nothing to verify against: give --policy, or --key, or --certificate-identity and \
         --certificate-oidc-issuer"
    )]
    NothingToVerify,
    /// Standard output cannot be written.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
    /// Policies cannot be used.
    #[error("policies cannot be used: {0}")]
    Policies(String),
    /// The settings of the registry client cannot be used.
    #[error("{0}")]
    Registry(String),
}

/// One image, ready to be checked.
struct Subject {
    /// As it was asked for.
    name: String,
    /// As policies see it.
    image: ImageRef,
    admission: Admission<Arc<Source>, Option<Rekor>>,
}

/// Verifies the images and prints the answer.
///
/// # Errors
/// When the configuration cannot be used; nothing is verified then.
pub async fn run(args: &VerifyArgs) -> Result<Exit, VerifyError> {
    let root = inputs::trust_root(args.trusted_root.as_deref())?;
    let snapshot = match args.policies.policies.as_slice() {
        [] => signer::snapshot(&args.signer, root)?,
        _ => sources::load_policies(args, &root).await?,
    };
    let subjects = subjects(args)?;
    let workload = workload(&args.policies);
    let reports = check_all(&subjects, &workload, &snapshot, args.timeout.0).await;
    super::print(&output::render(&reports, args))?;
    Ok(output::verdict(&reports).into())
}

fn subjects(args: &VerifyArgs) -> Result<Vec<Subject>, VerifyError> {
    let VerifyArgs { images, known_as, .. } = args;
    if known_as.is_some() && !matches!(images.as_slice(), [ImageArg::Layout(_)]) {
        return Err(VerifyError::AsWithoutLayout);
    }
    let registry = Arc::new(sources::registry(args)?);
    let log = sources::log(args)?;
    let settings = Settings { no_match: NoMatch::Deny, mutate: Mutate::Off };
    let subject = |argument: &ImageArg| {
        let (image, source) = match argument {
            ImageArg::Registry(image) => (image.clone(), Arc::clone(&registry)),
            ImageArg::Layout(layout) => {
                let (image, source) = sources::layout(layout, known_as.as_ref())?;
                (image, Arc::new(source))
            }
        };
        let admission = Admission::new(source, settings).with_log(log.clone());
        Ok(Subject { name: argument.to_string(), image, admission })
    };
    images.iter().map(subject).collect()
}

/// The pod that is asked for: one without labels, in the namespace of the flags.
fn workload(args: &PolicyArgs) -> Workload {
    let PolicyArgs { policies: _, namespace, namespace_labels } = args;
    let mut workload = Workload {
        namespace: namespace.clone().unwrap_or_default(),
        version: "v1".to_owned(),
        resource: "pods".to_owned(),
        ..Workload::default()
    };
    let labels = &mut workload.namespace_labels;
    labels.extend(namespace_labels.iter().map(|label| (label.key.clone(), label.value.clone())));
    if let Some(namespace) = namespace {
        labels.insert(NAMESPACE_NAME.to_owned(), namespace.clone());
    }
    workload
}

async fn check_all(
    subjects: &[Subject],
    workload: &Workload,
    snapshot: &PolicySnapshot,
    timeout: Duration,
) -> Vec<ImageReport> {
    let done = AtomicUsize::new(0);
    let checks = subjects.iter().map(|subject| {
        let done = &done;
        async move {
            let report = check(subject, workload, snapshot, timeout).await;
            done.fetch_add(1, Ordering::Relaxed);
            report
        }
    });
    let work = stream::iter(checks).buffered(CONCURRENT_IMAGES).collect();
    with_progress(work, &done, subjects.len()).await
}

#[expect(clippy::disallowed_methods, reason = "the composition root reads the clock")]
async fn check(
    subject: &Subject,
    workload: &Workload,
    snapshot: &PolicySnapshot,
    timeout: Duration,
) -> ImageReport {
    let Subject { name, image, admission } = subject;
    let deadline = Instant::now() + timeout;
    let tenant = &Tenant::default();
    let (now, tags) = (Timestamp::now(), Tags::Fresh);
    let asked = Asked { workload, tenant, snapshot, now, deadline, tags };
    let check = admission.check_image(image, asked);
    let report = match tokio::time::timeout(timeout + OVERRUN, check).await {
        Ok(report) => report,
        Err(_) => overrun(name, timeout),
    };
    output::covered(ImageReport { image: name.clone(), ..report })
}

fn overrun(name: &str, timeout: Duration) -> ImageReport {
    let failure = Failure::new(Reason::DeadlineExceeded, format!("no answer within {timeout:?}"));
    ImageReport::failed(name.to_owned(), failure)
}

/// Does `work`; where standard error is a terminal and it takes a while, a line there says how far
/// it is. The line is gone at the end.
async fn with_progress<T>(work: impl Future<Output = T>, done: &AtomicUsize, total: usize) -> T {
    /// What takes less needs no progress line.
    const PATIENCE: Duration = Duration::from_millis(400);
    let mut work = pin!(work);
    if !io::stderr().is_terminal() {
        return work.await;
    }
    let start = Instant::now();
    let mut shown = false;
    loop {
        if let Ok(result) = tokio::time::timeout(PATIENCE, work.as_mut()).await {
            if shown {
                eprint!("\r\u{1b}[K");
            }
            return result;
        }
        let (done, elapsed) = (done.load(Ordering::Relaxed), start.elapsed().as_secs());
        eprint!("\r\u{1b}[Kverifying: {done} of {total} done, {elapsed} s");
        shown = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::verify::Label;

    #[test]
    fn asks_for_a_pod_in_the_namespace() {
        let label = Label { key: "kubernetes.io/metadata.name".into(), value: "forged".into() };
        let args = PolicyArgs {
            policies: Vec::new(),
            namespace: Some("team-a".to_owned()),
            namespace_labels: vec![label, Label { key: "env".into(), value: "prod".into() }],
        };
        let Workload { namespace, namespace_labels, group, version, resource, labels } =
            workload(&args);
        assert_eq!([namespace, group, version, resource], ["team-a", "", "v1", "pods"]);
        assert!(labels.is_empty());
        let labels: Vec<_> = namespace_labels.iter().collect();
        let text = |text: &str| text.to_owned();
        let wanted = [
            (&text("env"), &text("prod")),
            (&text("kubernetes.io/metadata.name"), &text("team-a")),
        ];
        assert_eq!(labels, wanted);
    }

    #[test]
    fn an_overrun_is_no_verification() {
        let report = overrun("x", Duration::from_secs(1));
        assert_eq!(output::covered(report.clone()).verdict, crate::verdict::Verdict::Indeterminate);
        assert_eq!(report.failure.unwrap().reason, Reason::DeadlineExceeded);
    }
}
