//! Imports go downwards only, and pure modules do no I/O: the layer table of `src/lib.rs` as a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// How much a module may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Layer {
    /// Values and functions: no I/O, no `async`.
    Pure,
    /// `async`, but no I/O of its own; of tokio only [`PIPELINE_TOKIO`].
    Pipeline,
    /// Anything.
    Io,
}

/// What the pipeline may name of tokio: work off the async threads, places in a queue,
/// deadlines.
const PIPELINE_TOKIO: [&str; 3] = ["tokio::sync", "tokio::task", "tokio::time"];

/// What modules without I/O may not name.
const IO_NAMES: [&str; 13] = [
    "tokio::",
    "axum::",
    "hyper::",
    "reqwest::",
    "kube::Api",
    "kube::Client",
    "kube::client",
    "kube::runtime",
    "std::env",
    "std::fs",
    "std::process",
    "std::net::Tcp",
    "std::net::Udp",
];

/// What the I/O layer may import from: itself and all below.
const IO_USES: &str = "admission api cluster conditions error evidence files fingerprint image json metrics policy registry rekor \
                       server store telemetry trust_root tuf verdict verify workload";

/// What composes the program may import from: everything.
const ALL: &str = "admission api args cluster commands conditions error evidence files fingerprint image json metrics policy registry \
                   rekor server store telemetry trust_root tuf verdict verify workload";

/// Each module of the crate: its layer, and which others it may import from.
const MODULES: [(&str, Layer, &str); 24] = [
    ("api", Layer::Pure, ""),
    ("error", Layer::Pure, ""),
    ("fingerprint", Layer::Pure, ""),
    ("verdict", Layer::Pure, "policy"),
    ("image", Layer::Pure, "json verdict"),
    ("json", Layer::Pure, "verdict"),
    ("workload", Layer::Pure, "image verdict"),
    ("trust_root", Layer::Pure, "fingerprint json verdict"),
    ("verify", Layer::Pure, "evidence fingerprint image json policy trust_root verdict"),
    ("conditions", Layer::Pure, "api image json policy verdict"),
    ("policy", Layer::Pure, "api conditions error evidence image trust_root verdict verify"),
    ("evidence", Layer::Pipeline, "fingerprint image verdict"),
    (
        "admission",
        Layer::Pipeline,
        "api conditions evidence fingerprint image json policy trust_root verdict verify workload",
    ),
    ("cluster", Layer::Io, IO_USES),
    ("files", Layer::Io, IO_USES),
    ("metrics", Layer::Io, IO_USES),
    ("registry", Layer::Io, IO_USES),
    ("rekor", Layer::Io, IO_USES),
    ("server", Layer::Io, IO_USES),
    ("store", Layer::Io, IO_USES),
    ("telemetry", Layer::Io, IO_USES),
    ("tuf", Layer::Io, IO_USES),
    ("args", Layer::Io, ALL),
    ("commands", Layer::Io, ALL),
];

/// Code without comments, and without what follows `#[cfg(test)]`, which ends a file.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]").next().unwrap();
    source.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The words that follow each `crate::`, and each `super::` chain that climbs to the crate's root.
///
/// `depth` is the number of modules around the code: 1 for `src/image.rs`.
fn imports(code: &str, depth: usize) -> Vec<String> {
    let climb = "super::".repeat(depth);
    let up = code.match_indices(&climb).map(|(at, text)| (at, at + text.len()));
    let root = code.match_indices("crate::").map(|(at, text)| (at, at + text.len()));
    up.chain(root)
        .filter(|(start, _)| !code[..*start].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(_, end)| {
            code[end..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        })
        .collect()
}

/// What is wrong with the code of `module`.
fn violations(module: &str, depth: usize, source: &str) -> Vec<String> {
    let Some((_, layer, may_use)) = MODULES.iter().find(|(name, _, _)| *name == module) else {
        return vec![format!("`{module}` is missing from the table of layers")];
    };
    let code = code(source);
    let mut found: Vec<String> = imports(&code, depth)
        .into_iter()
        .filter(|import| import != module && !may_use.split(' ').any(|name| name == import))
        .map(|import| format!("`{module}` imports from `{import}`"))
        .collect();
    if *layer == Layer::Pure && code.contains("async fn") {
        found.push(format!("`{module}` is pure, but has an async fn"));
    }
    let permitted: &[&str] = match layer {
        Layer::Pure => &[],
        Layer::Pipeline => &PIPELINE_TOKIO,
        Layer::Io => return found,
    };
    let code = permitted.iter().fold(code, |code, name| code.replace(name, ""));
    let named = IO_NAMES.iter().filter(|name| code.contains(**name));
    found.extend(named.map(|name| format!("`{module}` does no I/O, but names `{name}`")));
    found
}

/// Every source file, with its module and its depth. Unit tests in files of their own are left out.
fn files() -> Vec<(PathBuf, String, usize)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).unwrap().with_extension("");
            let parts: Vec<_> =
                inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            let rust = path.extension().is_some_and(|extension| extension == "rs");
            let entry = ["lib", "main"].contains(&parts[0].as_str());
            if rust && !entry && parts.last().is_some_and(|last| last != "tests") {
                found.push((path, parts[0].clone(), parts.len()));
            }
        }
    }
    found
}

#[test]
fn imports_go_downwards_and_pure_modules_do_no_io() {
    let files = files();
    assert!(files.len() >= MODULES.len(), "only {} files were found", files.len());
    for (module, _, _) in MODULES {
        assert!(files.iter().any(|(_, name, _)| name == module), "there is no module `{module}`");
    }
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, module, depth)| {
            let source = fs::read_to_string(path).unwrap();
            violations(module, *depth, &source)
                .into_iter()
                .map(|problem| format!("{}: {problem}", path.display()))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_public_module_has_a_layer() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| {
        let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        name.strip_suffix(';')
    });
    for module in modules {
        assert!(MODULES.iter().any(|(name, _, _)| *name == module), "`{module}` has no layer");
    }
}

#[test]
fn no_layer_may_import_from_one_above_it() {
    for (module, layer, may_use) in MODULES {
        for other in may_use.split_whitespace() {
            let (_, other_layer, _) = MODULES.iter().find(|(name, _, _)| *name == other).unwrap();
            let io_below = *other_layer == Layer::Io && layer != Layer::Io;
            assert!(!io_below, "`{module}` may not use `{other}`");
        }
    }
}

#[test]
fn rejects_each_kind_of_violation() {
    let table = [
        ("image", 1, "use crate::registry::Client;", "`image` imports from `registry`"),
        ("policy", 2, "fn f() { crate::server::f() }", "`policy` imports from `server`"),
        ("image", 1, "use super::policy::Policy;", "`image` imports from `policy`"),
        ("verify", 2, "use super::super::args::Args;", "`verify` imports from `args`"),
        ("verify", 2, "pub(crate) use crate::{files};", "`verify` imports from ``"),
        ("server", 1, "use crate::commands;", "`server` imports from `commands`"),
        ("verify", 1, "pub async fn f() {}", "`verify` is pure, but has an async fn"),
        ("policy", 1, "use tokio::task;", "`policy` does no I/O, but names `tokio::`"),
        (
            "admission",
            1,
            "use tokio::net::TcpStream;",
            "`admission` does no I/O, but names `tokio::`",
        ),
        ("evidence", 1, "std::fs::read(x)", "`evidence` does no I/O, but names `std::fs`"),
        ("api", 2, "kube::Client::new()", "`api` does no I/O, but names `kube::Client`"),
        ("novel", 1, "", "`novel` is missing from the table of layers"),
    ];
    for (module, depth, source, wanted) in table {
        assert_eq!(violations(module, depth, source), [wanted], "{source}");
    }
}

#[test]
fn accepts_what_the_layers_permit() {
    let table = [
        ("image", 1, "use crate::verdict::printable;"),
        ("image", 2, "use super::Digest; use super::super::verdict::printable;"),
        ("verify", 1, "/// See [`crate::registry`].\nfn f() {} // std::fs"),
        ("admission", 1, "use tokio::time::timeout_at; use tokio::task::JoinSet; async fn f() {}"),
        ("policy", 1, "fn f() {}\n#[cfg(test)]\nmod tests { use tokio::x; }"),
        ("registry", 2, "use reqwest::Client; use crate::evidence::Evidence;"),
        ("commands", 2, "use crate::args::Args;"),
    ];
    for (module, depth, source) in table {
        assert!(violations(module, depth, source).is_empty(), "{source}");
    }
}
