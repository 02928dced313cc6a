//! How to go on while the demo stays up.
use std::path::Path;

use anstream::println;
use owo_colors::OwoColorize as _;

use super::Demo;
use super::body;
use super::requests;
use super::requests::Place;
use super::server;

/// Kinds of requests for which a `curl` line is printed.
const CURLS: [(&str, &str); 3] = [("Pod", "cart"), ("Pod", "web"), ("CronJob", "report")];

/// Namespace and image for which a `tegata verify` line is printed.
const VERIFIES: [(&str, &str); 3] =
    [("shop", "shop/web:v1"), ("shop", "shop/cart:v1"), ("payments", "shop/web:v1")];

/// Prints commands that work as long as the demo runs.
///
/// # Errors
/// When the binary has gone.
pub(crate) fn explain(demo: &Demo) -> anyhow::Result<()> {
    let Demo { server, hosts, policies, folder, _registry: _ } = demo;
    title("Ask as an API server does; other requests are in the folder of these files:");
    for (kind, name) in CURLS {
        let asks = requests::all();
        let found = asks.iter().find(|ask| {
            (ask.kind, ask.name) == (kind, name) && matches!(ask.place, Place::Registry)
        });
        if let Some(ask) = found {
            println!(
                "curl --cacert {} -H 'content-type: application/json' \\\n  --data @{} {}{}",
                quoted(&server.ca),
                quoted(&body(folder.path(), ask)),
                server.webhook,
                ask.endpoint,
            );
        }
    }
    title("Ask on the command line, with the same policies:");
    let tegata = quoted(&server::binary()?);
    let policies: Vec<_> =
        policies.iter().map(|path| format!("--policy {}", quoted(path))).collect();
    for (namespace, image) in VERIFIES {
        println!(
            "{tegata} verify --allow-http-registry {}/{image} \\\n  {} --namespace {namespace}",
            hosts.registry,
            policies.join(" "),
        );
    }
    title("Look inside; a policy that you edit is in force two seconds later:");
    println!("curl {}/metrics", server.health);
    println!("tail -f {}", quoted(&server.log));
    title("Ctrl-C ends it");
    Ok(())
}

fn title(text: &str) {
    println!("\n{}", text.bold());
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
