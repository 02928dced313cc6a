//! The controller at work, without a cluster: a registry in this process, the real `tegata serve`
//! beside it, and AdmissionReviews as an API server sends them.
//!
//! Exits with 0 only when every answer is the wanted one. With `KEEP=1` in the environment it stays
//! up until Ctrl-C and says how to go on.
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Instant;

use anstream::eprintln;
use anstream::println;
use anyhow::Context as _;
use anyhow::bail;
use owo_colors::OwoColorize as _;
use tempfile::TempDir;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use self::answer::Answer;
use self::fake_registry::FakeRegistry;
use self::requests::Ask;
use self::requests::Place;
use self::server::Server;

#[path = "demo/answer.rs"]
mod answer;
#[path = "../tests/support/fake_registry.rs"]
#[allow(clippy::indexing_slicing, missing_docs, reason = "shared with the tests")]
mod fake_registry;
#[path = "demo/keep.rs"]
mod keep;
#[path = "demo/requests.rs"]
mod requests;
#[path = "demo/server.rs"]
mod server;
#[path = "demo/table.rs"]
mod table;

/// Folders of `examples/images`, and the repositories into which they are pushed.
const IMAGES: [(&str, &str); 6] = [
    ("kl-bundle-rekor2", "shop/web"),
    ("unsigned", "shop/cart"),
    ("kl-gha-rekor2", "shop/fork"),
    ("kl-gha-rekor2", "acme/app"),
    ("key-bundle-notlog", "payments/api"),
    ("unsigned", "tools/debug"),
];

/// Which request's denial is printed in full.
const SHOWN: &str = "CronJob";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", "demo failed:".red().bold());
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let mut stop = pin!(stopped());
    let mut demo = tokio::select! {
        biased;
        () = &mut stop => bail!("stopped by a signal"),
        demo = Demo::play() => demo?,
    };
    if keeps() {
        keep::explain(&demo)?;
        tokio::select! {
            // Ctrl-C reaches the server too.
            biased;
            () = &mut stop => eprintln!(),
            error = demo.server.ended() => return Err(error),
        }
    }
    demo.server.stop().await
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP. What runs is then dropped: the server with it, and the
/// temporary folder.
async fn stopped() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let waits = kinds.map(|kind| {
        Box::pin(async move {
            match signal(kind) {
                Ok(mut signal) => {
                    signal.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        })
    });
    futures::future::select_all(waits).await;
}

/// A demo whose requests are answered. Dropping it ends the server and removes the files.
pub(crate) struct Demo {
    server: Server,
    hosts: Hosts,
    policies: [PathBuf; 2],
    folder: TempDir,
    _registry: FakeRegistry,
}

/// The registries that requests name.
#[derive(Debug)]
struct Hosts {
    /// The registry of the demo.
    registry: String,
    /// One that is down.
    down: String,
}

impl Demo {
    /// Starts everything and asks.
    async fn play() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::Builder::new().prefix("tegata-demo-").tempdir()?;
        let registry = FakeRegistry::start().await.context("cannot start a registry")?;
        for (layout, repository) in IMAGES {
            let layout = root.join("examples/images").join(layout);
            registry
                .push_layout(&layout, repository)
                .with_context(|| format!("cannot push {}", layout.display()))?;
        }
        let hosts = Hosts { registry: registry.host(), down: free_address()? };
        let count = IMAGES.len();
        say("registry", &format!("{} with {count} images of examples/images", hosts.registry));
        say("policies", "examples/demo/policies, trust root in examples/trust");
        let policies = ["examples/demo/policies", "examples/trust"].map(|path| root.join(path));
        let start = Instant::now();
        let http = [hosts.registry.as_str(), &hosts.down];
        let server = Server::start(&policies, &http, folder.path()).await?;
        let ready = start.elapsed();
        say("tegata", &format!("serve at {}, ready after {ready:.1?}", server.webhook));
        let wrong = ask_all(&server, &hosts, &folder).await?;
        if !wrong.is_empty() {
            bail!("not every answer is as it should be\n  {}", wrong.join("\n  "));
        }
        Ok(Self { server, hosts, policies, folder, _registry: registry })
    }
}

/// Asks everything, prints the answers, and returns how they differ from the wanted ones.
async fn ask_all(server: &Server, hosts: &Hosts, folder: &TempDir) -> anyhow::Result<Vec<String>> {
    let columns = table::columns();
    let (mut wrong, mut patched, mut shown) = (Vec::new(), None, None);
    let (asks, start) = (requests::all(), Instant::now());
    println!("\n{}", table::head(columns));
    for (index, ask) in asks.iter().enumerate() {
        let uid = format!("demo-{}", index + 1);
        let host = match ask.place {
            Place::Registry => &hosts.registry,
            Place::Down => &hosts.down,
        };
        let review = ask.review(&uid, host);
        std::fs::write(body(folder.path(), ask), format!("{review:#}\n"))?;
        let answer = server.ask(ask.endpoint, &review).await?;
        let answer = Answer::parse(&answer, &uid).map_err(anyhow::Error::msg)?;
        println!("{}", table::line(ask, &answer, columns));
        let difference = answer.difference(&ask.wanted);
        wrong
            .extend(difference.map(|text| format!("{} in {}: {text}", ask.title(), ask.namespace)));
        patched = patched.or_else(|| answer.pinned.first().cloned());
        if ask.kind == SHOWN {
            shown = Some((ask, answer));
        }
    }
    println!("\n{} answers in {:.1?}", asks.len(), start.elapsed());
    if let Some(pinned) = patched {
        println!("\n{}\n  {pinned}", "What /mutate writes into the pod:".bold());
    }
    if let Some((ask, answer)) = shown {
        println!("\n{}", format!("What kubectl prints for {}:", ask.title()).bold());
        println!("{}", as_kubectl(&body(Path::new(""), ask), &answer.message));
    }
    Ok(wrong)
}

/// The line that `kubectl create -f FILE` prints.
fn as_kubectl(file: &Path, message: &str) -> String {
    let file = file.with_extension("yaml");
    let hook = "admission webhook \"validate.tegata.dev\" denied the request";
    format!(
        "Error from server (Forbidden): error when creating \"{}\": {hook}: {message}",
        file.display()
    )
}

/// Where the AdmissionReview of a request is written to.
pub(crate) fn body(folder: &Path, ask: &Ask) -> PathBuf {
    let down = match ask.place {
        Place::Registry => "",
        Place::Down => "-down",
    };
    let name = format!("{}-{}-{}{down}.json", ask.namespace, ask.kind.to_lowercase(), ask.name);
    folder.join(name)
}

fn say(what: &str, text: &str) {
    println!("{} {text}", format!("{what:9}").dimmed());
}

/// An address at which nobody listens.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Whether to stay up after the table.
fn keeps() -> bool {
    std::env::var_os("KEEP").is_some_and(|value| !value.is_empty() && value != "0")
}
