//! The containers' command lines are ones that the program takes.
use clap::Parser as _;
use serde_json::Value;
use tegata::args::Args;
use tegata::metrics;
use tegata::registry::RegistryOptions;

use crate::support::RENDERINGS;
use crate::support::objects;
use crate::support::of_kind;
use crate::support::only;
use crate::support::read;
use crate::support::texts;

/// Arguments of a container, with `TEGATA_…` of its environment as the flags they stand for.
fn command_line(container: &Value) -> Vec<String> {
    let mut line = vec!["tegata".to_owned()];
    line.extend(texts(&container["args"]).into_iter().map(str::to_owned));
    for variable in container["env"].as_array().into_iter().flatten() {
        if let Some(flag) = variable["name"].as_str().unwrap().strip_prefix("TEGATA_") {
            let value = variable["value"].as_str().unwrap_or("from-the-pod");
            line.push(format!("--{}={value}", flag.to_lowercase().replace('_', "-")));
        }
    }
    line
}

#[test]
fn serve_takes_every_command_line_of_the_deployment() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        let pod = &only(&objects, "Deployment")["spec"]["template"]["spec"];
        let line = command_line(&pod["containers"][0]);
        // A flag given twice would be an error by which no replica starts: `extraArgs` may do it.
        let line: Vec<_> = match rendering {
            Some("everything") => {
                line.into_iter().filter(|arg| arg != "--default-timeout=9s").collect()
            }
            _ => line,
        };
        if let Err(error) = Args::try_parse_from(&line) {
            panic!("{rendering:?}: {line:?}: {error}");
        }
    }
}

#[test]
fn probe_takes_the_command_line_of_the_test() {
    let objects = objects(None);
    let line = command_line(&only(&objects, "Pod")["spec"]["containers"][0]);
    if let Err(error) = Args::try_parse_from(&line) {
        panic!("{line:?}: {error}");
    }
}

#[test]
fn registries_are_settings_that_the_client_takes() {
    let objects = objects(Some("everything"));
    let config = of_kind(&objects, "ConfigMap")
        .into_iter()
        .find_map(|map| map["data"]["registries.yaml"].as_str())
        .unwrap();
    let options: RegistryOptions = serde_saphyr::from_str(config).unwrap();
    assert_eq!(options.request_timeout.as_secs(), 4);
    assert!(options.hosts["registry.example:5000"].allow_private);
    assert_eq!(options.hosts["docker.io"].mirrors, ["mirror.example/dockerhub"]);
}

/// Words that look like names of our metrics.
fn metric_names(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tegata_")).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_there_are() {
    let (registry, _metrics) = metrics::registry();
    let names = format!("{registry:?}");
    let mut seen = 0;
    for file in ["charts/tegata/files/alerts.yaml", "charts/tegata/files/dashboard.json"] {
        for metric in metric_names(&read(file)) {
            let stem = ["_total", "_bucket", "_seconds"]
                .iter()
                .fold(metric, |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
            let stem = stem.strip_prefix("tegata_").unwrap();
            assert!(names.contains(&format!("name: \"{stem}\"")), "{file}: {metric}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}
