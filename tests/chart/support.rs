//! Rendering the chart.
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use serde_json::Value;

/// Where the release is rendered for; `manifests/install.yaml` too.
pub const NAMESPACE: &str = "tegata-system";

/// Every rendering that the tests look at: the files of `tests/chart/values`, `None` for the
/// defaults.
pub const RENDERINGS: [Option<&str>; 6] = [
    None,
    Some("everything"),
    Some("cert-manager"),
    Some("cert-manager-alone"),
    Some("own-certificate"),
    Some("smallest"),
];

pub fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn read(path: &str) -> String {
    fs::read_to_string(package(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn values_file(name: &str) -> PathBuf {
    package(&format!("tests/chart/values/{name}.yaml"))
}

/// Runs a tool that has to be there.
pub fn run(variable: &str, name: &str, args: &[&str]) -> Output {
    let tool = env::var_os(variable).unwrap_or_else(|| name.into());
    Command::new(&tool).args(args).output().unwrap_or_else(|error| {
        panic!("{}: {error}: install {name}, or name it in {variable}", tool.display())
    })
}

/// `helm template` of the chart with these further arguments.
pub fn template(args: &[&str]) -> Output {
    let chart = package("charts/tegata");
    let fixed = ["template", "tegata", chart.to_str().unwrap(), "--namespace", NAMESPACE];
    run("HELM", "helm", &[&fixed, args].concat())
}

/// The text of a rendering that succeeds.
pub fn rendered(args: &[&str]) -> String {
    let output = template(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of one of [`RENDERINGS`].
pub fn objects(rendering: Option<&str>) -> Vec<Value> {
    let file = rendering.map(values_file);
    let args: Vec<_> = file.iter().flat_map(|file| ["--values", file.to_str().unwrap()]).collect();
    documents(&rendered(&args))
}

/// The objects of a YAML text of several documents.
pub fn documents(text: &str) -> Vec<Value> {
    let read: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, serde_saphyr::options! {}).unwrap();
    read.into_iter().filter(|object| !object.is_null()).collect()
}

pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub fn of_kind<'a>(objects: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| kind(object) == wanted).collect()
}

/// The only object of a kind.
pub fn only<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let found = of_kind(objects, wanted);
    assert_eq!(found.len(), 1, "{wanted}");
    found[0]
}

/// The texts of a list.
pub fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}
