//! The documentation is complete and says what the program does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use jiff::Timestamp;
use serde_json::Value;
use tegata::admission::Outcome;
use tegata::args::Args;
use tegata::files;
use tegata::metrics;
use tegata::metrics::Decided;
use tegata::metrics::RequestOutcome;
use tegata::metrics::Stage;
use tegata::policy::Mode;
use tegata::policy::OnUnavailable;
use tegata::policy::PolicySnapshot;
use tegata::trust_root::TrustRoot;
use tegata::verdict::PolicyReport;
use tegata::verdict::Reason;
use tegata::verdict::Step;
use tegata::verdict::Verdict;

/// Set to write the generated table in place of comparing it.
const UPDATE: &str = "TEGATA_UPDATE_DOCS";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn reasons() -> String {
    let mut out = String::from(
        "# Reason codes\n\n\
         Generated from `src/verdict/reason.rs`; `make docs` writes it anew. Codes are stable: they\n\
         never change their meaning, and metrics, logs, JSON and explanations use the same ones.\n\n\
         | code | step | verdict | meaning | what to do |\n|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let cells = [
            &format!("`{}`", reason.code()),
            reason.step().as_str(),
            reason.verdict().as_str(),
            reason.meaning(),
            reason.advice(),
        ];
        writeln!(out, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")).unwrap();
    }
    out
}

#[test]
fn table_of_reasons_is_what_the_code_says() {
    let path = ".github/REASONS.md";
    if std::env::var_os(UPDATE).is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), reasons()).unwrap();
    }
    let (committed, generated) = (read(path), reasons());
    for (committed, generated) in committed.lines().zip(generated.lines()) {
        assert_eq!(committed, generated, "{path} is out of date: run `make docs`");
    }
    assert_eq!(committed, generated, "{path} is out of date: run `make docs`");
}

#[test]
fn codes_are_unique_and_fit_for_labels() {
    let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for code in codes {
        assert!(code.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{code}");
    }
}

/// One row of the table of metrics.
struct MetricRow {
    name: String,
    kind: String,
    labels: Vec<String>,
    meaning: String,
}

/// The table of metrics, by the names that are registered: without what the text format adds.
fn metric_rows() -> BTreeMap<String, MetricRow> {
    let text = read(".github/METRICS.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{line}") };
        let name = name.trim_matches('`').to_owned();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let registered = name.strip_suffix(suffix).unwrap_or_else(|| panic!("{name}: {kind}"));
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let (kind, meaning) = (kind.to_owned(), meaning.to_owned());
        (registered.to_owned(), MetricRow { name, kind, labels, meaning })
    };
    text.lines().filter(|line| line.starts_with("| `tegata_")).map(row).collect()
}

/// Every metric that is registered, with its help text: also those without a value yet, which the
/// text format leaves out.
fn registered_metrics() -> BTreeMap<String, String> {
    let (registry, _) = metrics::registry();
    let debug = format!("{registry:?}");
    let descriptor = |part: &str| {
        let (name, rest) = part.split_once("\", help: \"").unwrap();
        let (help, rest) = rest.split_once("\", unit: ").unwrap();
        let unit = match rest.strip_prefix("Some(") {
            Some(unit) => format!("_{}", unit.split(')').next().unwrap().to_lowercase()),
            None => String::new(),
        };
        (format!("tegata_{name}{unit}"), help.trim_end_matches('.').to_owned())
    };
    debug.split("Descriptor { name: \"").skip(1).map(descriptor).collect()
}

#[test]
fn every_metric_is_in_the_table_and_the_reverse() {
    let (rows, registered) = (metric_rows(), registered_metrics());
    assert!(registered.len() >= 11, "{registered:#?}");
    for (name, help) in &registered {
        let row = rows.get(name);
        let row = row.unwrap_or_else(|| panic!(".github/METRICS.md lacks `{name}`: {help}"));
        assert_eq!(row.meaning, *help, "the meaning of {name}");
    }
    for name in rows.keys() {
        assert!(registered.contains_key(name), ".github/METRICS.md has `{name}`, which is none");
    }
}

/// A registry in which each of the server's own metrics has a value.
fn used_metrics() -> String {
    let (registry, metrics) = metrics::registry();
    let (verdict, reason) = (Outcome::Verified, None);
    metrics.decided(Decided { endpoint: "mutate", allowed: true, verdict, reason });
    metrics.stage(Stage::Total, Duration::ZERO);
    metrics.refused(400);
    metrics.policies(&PolicySnapshot::default());
    let report = PolicyReport {
        stale: false,
        policy: "ClusterImagePolicy signed".to_owned(),
        mode: Mode::Enforce,
        verdict: Verdict::Verified,
        on_unavailable: OnUnavailable::Deny,
        failure: None,
        authorities: Vec::new(),
    };
    metrics.policies_decided([&report].into_iter());
    metrics.registry.request("ghcr.io", RequestOutcome::Ok);
    metrics.watch.starting("keys");
    metrics.watch.contact("keys", Timestamp::UNIX_EPOCH);
    let epoch = Some(Timestamp::UNIX_EPOCH);
    metrics.trust_roots.state("default", Some(1), epoch, epoch);
    metrics::encode(&registry).unwrap()
}

#[test]
fn types_and_labels_of_metrics_are_as_the_table_says() {
    let (rows, text) = (metric_rows(), used_metrics());
    let mut seen = 0;
    for (name, kind) in
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
    {
        let row = &rows[name];
        assert_eq!(row.kind, kind, "{name}");
        let sample = match kind {
            "histogram" => format!("{}_count", row.name),
            _ => row.name.clone(),
        };
        let lines = text.lines().filter_map(|line| line.strip_prefix(&sample));
        let line = lines.clone().find(|rest| rest.starts_with(['{', ' ']));
        let line = line.unwrap_or_else(|| panic!("no sample of {sample}: {text}"));
        let labels = line.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|two| two.0);
        let found: Vec<_> = labels.iter().flat_map(|labels| labels.split(',')).collect();
        let found: Vec<_> = found.iter().map(|label| label.split('=').next().unwrap()).collect();
        assert_eq!(found, row.labels, "labels of {name}");
        seen += 1;
    }
    assert_eq!(seen, rows.len(), "{text}");
}

/// Flags of all commands, as `--name`.
fn flags() -> BTreeSet<String> {
    let command = Args::command();
    let all = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let mut flags: BTreeSet<_> =
        all.filter_map(clap::Arg::get_long).map(|name| format!("--{name}")).collect();
    flags.extend(["--help", "--version"].map(str::to_owned));
    flags
}

/// Lines of the fenced blocks and the code spans that call `tegata`, and the table of flags.
fn calls(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let spans = joined.split('`').skip(1).step_by(2).filter(|span| !span.contains('\n'));
    let lines = joined.lines().map(str::trim).filter(|line| !line.contains('`'));
    let call = |part: &&str| part.contains("tegata ") || part.starts_with("--");
    spans.chain(lines).filter(call).map(str::to_owned).collect()
}

#[test]
fn flags_in_the_documentation_exist() {
    let flags = flags();
    // Of the other programs that the documents call.
    let foreign = ["--create-namespace", "--locked", "--path", "--set", "--values"];
    let mut seen = BTreeSet::new();
    for path in ["README.md", ".github/CONTRIBUTING.md", "CHANGELOG.md"] {
        for call in calls(&read(path)) {
            for word in call.split_whitespace().filter(|word| word.starts_with("--")) {
                let flag = word.split(['=', '[', ',', ')', ';']).next().unwrap();
                if flag == "--" || flag.starts_with("---") || foreign.contains(&flag) {
                    continue;
                }
                assert!(flags.contains(flag), "{path} names {flag}, which no command has: {call}");
                seen.insert(flag.to_owned());
            }
        }
    }
    assert!(seen.len() >= 10, "the documents show only {seen:?}");
}

#[test]
fn readme_names_every_flag_of_verify() {
    let readme = read("README.md");
    let command = Args::command();
    let verify = command.find_subcommand("verify").unwrap();
    for flag in verify.get_arguments().filter_map(clap::Arg::get_long) {
        if matches!(flag, "help" | "version") {
            continue;
        }
        assert!(readme.contains(&format!("`--{flag}")), "README.md does not explain --{flag}");
    }
}

#[test]
fn readme_lists_steps_and_commands() {
    let readme = read("README.md");
    for step in Step::ALL {
        assert!(readme.contains(&format!("*{step}*")), "README.md does not explain {step}");
    }
    for command in Args::command().get_subcommands() {
        let call = format!("tegata {}", command.get_name());
        assert!(readme.contains(&call), "README.md does not mention `{call}`");
    }
}

/// `code-like-this` in the list of troubles must be a reason.
#[test]
fn reasons_in_the_readme_exist() {
    let readme = read("README.md");
    let section = readme.split("\n## Troubleshooting\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let mut seen = 0;
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap();
        for code in cell.split('`').skip(1).step_by(2) {
            assert!(codes.contains(code), "README.md explains {code}, which is no reason");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} codes");
}

/// Relative links lead to files that are there.
#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in [
        "README.md",
        ".github/AIR-GAP.md",
        ".github/CONTRIBUTING.md",
        ".github/SECURITY.md",
        "CHANGELOG.md",
    ] {
        let text = read(path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap();
            let target = root.join(path).parent().unwrap().join(file);
            assert!(target.exists(), "{path} links to {}, which is absent", target.display());
        }
    }
}

/// What the README shows to be copied is a policy, once it stands in one.
#[test]
fn policies_in_the_readme_compile() {
    let readme = read("README.md");
    let blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let root = Arc::new(TrustRoot::public_good());
    let mut whole = BTreeSet::new();
    let mut seen = 0;
    for block in blocks.filter(|block| block.contains("authorities:\n")) {
        let folder = tempfile::tempdir().unwrap();
        let policy = match block.contains("kind: ") {
            true => block.to_owned(),
            false => {
                let spec = block.lines().map(|line| format!("  {line}\n")).collect::<String>();
                let head = "apiVersion: tegata.dev/v1alpha1\nkind: ClusterImagePolicy\n";
                format!("{head}metadata: {{name: x}}\nspec:\n  images: [{{glob: '**'}}]\n{spec}")
            }
        };
        fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        // The trust root that it names, of the example that shows it.
        if block.contains("trustRootRef: ") {
            let of = "examples/policies/private-sigstore.yaml";
            fs::write(folder.path().join("root.yaml"), read(of)).unwrap();
        }
        let loaded = files::load_strict(&[folder.path().to_owned()], &root);
        if let Err(problem) = loaded {
            panic!("{block}\n{problem}");
        }
        let words = [
            "githubWorkflow",
            "gitlabPipeline",
            "googleServiceAccount",
            "email",
            "key:",
            "trustRootRef",
            "url:",
            "slsaProvenance",
            "vulnerabilities",
            "certificate:",
            "threshold",
        ];
        whole.extend(words.into_iter().filter(|word| block.contains(word)));
        seen += 1;
    }
    assert!(seen >= 9 && whole.len() == 11, "{seen} policies, of {whole:?}");
}

/// The values that examples show are values of the chart.
#[test]
fn values_in_examples_exist() {
    fn check(values: &Value, known: &Value, path: &str) {
        let (Some(values), Some(known)) = (values.as_object(), known.as_object()) else { return };
        // What the chart leaves empty takes any names: the server's own tests know them.
        for (name, value) in values.iter().filter(|_| !known.is_empty()) {
            let path = format!("{path}.{name}");
            let known = known.get(name).unwrap_or_else(|| panic!("the chart has no value {path}"));
            check(value, known, &path);
        }
    }
    let yaml = |path: &str| -> Value {
        serde_saphyr::from_str_with_options(&read(path), serde_saphyr::options! {}).unwrap()
    };
    let values = yaml("examples/air-gapped/values.yaml");
    check(&values, &yaml("charts/tegata/values.yaml"), "");
    assert_eq!(values["offline"], true);
}

/// Files and folders of this repository that the README's text and commands name.
#[test]
fn paths_in_the_readme_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = read("README.md");
    let mut seen = 0;
    for word in readme.split(|c: char| c.is_whitespace() || "`()|,;\"'".contains(c)) {
        let word = word.trim_start_matches("oci:").trim_end_matches(['.', ':']);
        let ours = ["examples/", "manifests/", "src/", "tests/", ".github/", ".ci/"];
        if !ours.iter().any(|folder| word.starts_with(folder)) {
            continue;
        }
        assert!(root.join(word).exists(), "README.md names {word}, which is absent");
        seen += 1;
    }
    assert!(seen >= 8, "{seen} paths");
}
