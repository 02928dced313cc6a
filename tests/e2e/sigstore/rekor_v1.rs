//! Rekor v1: a database, Trillian on it, and the server, which answers searches too.
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use serde_json::json;

use super::Sigstore;
use crate::parts;
use crate::pki::Pki;
use crate::process::Process;
use crate::process::Program;
use crate::process::run;

/// The server's address, as signers and trust roots name it.
pub const ADDRESS: &str = "127.0.0.1:3000";

/// The name in its checkpoints.
const NAME: &str = "rekor-v1.e2e.test";

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

const DATABASE: &str = "127.0.0.1:3306";
const LOG_SERVER: &str = "127.0.0.1:8090";
const LOG_SIGNER: &str = "127.0.0.1:8190";

/// The servers, running.
pub struct RekorV1 {
    _servers: [Process; 4],
}

impl RekorV1 {
    /// Starts them with an empty log, whose key is `rekor-v1.key`.
    pub async fn start(pki: &Pki, logs: &Path) -> Result<Self> {
        let folder = pki.path("database");
        std::fs::create_dir_all(&folder)?;
        let tables = std::fs::read_to_string(parts::path("trillian.sql")?)?;
        let tables =
            format!("CREATE DATABASE rekor;\nCREATE DATABASE trillian;\nUSE trillian;\n{tables}\n");
        run(database(&folder)?.args(["--bootstrap", "--skip-networking"]), &tables)
            .await?
            .success()?;
        let listen = ["--bind-address=127.0.0.1", "--port=3306"];
        let mut database = database(&folder)?.args(listen).start(logs)?;
        database.listens(DATABASE).await?;
        let mut log_server = trillian("trillian_log_server", LOG_SERVER)?.start(logs)?;
        let signer = trillian("trillian_log_signer", LOG_SIGNER)?;
        let signer = signer.args(["--force_master", "--sequencer_interval=100ms"]);
        let mut log_signer = signer.start(logs)?;
        log_server.listens(LOG_SERVER).await?;
        log_signer.listens(LOG_SIGNER).await?;
        let create = Program::part("createtree")?.args([format!("--admin_server={LOG_SERVER}")]);
        let tree = run(create, "").await?.success()?;
        let tree: u64 = tree.trim().parse().with_context(|| format!("createtree said {tree}"))?;
        let mut server = server(pki, tree)?.start(logs)?;
        server.listens(ADDRESS).await?;
        Ok(Self { _servers: [database, log_server, log_signer, server] })
    }
}

impl Sigstore {
    /// The bodies of the entries that Rekor v1 finds by a hash, `sha256:` and hexadecimal.
    pub async fn search_rekor_v1(&self, hash: &str) -> Result<Vec<Value>> {
        let entries = self.entries_in_rekor_v1(hash).await?;
        entries.iter().map(|(_, entry)| body(entry)).collect()
    }

    /// The entries that it finds, each with its identifier.
    pub async fn entries_in_rekor_v1(&self, hash: &str) -> Result<Vec<(String, Value)>> {
        let client = reqwest::Client::builder().timeout(ANSWER).build()?;
        let api = format!("http://{ADDRESS}/api/v1");
        let search = client.post(format!("{api}/index/retrieve")).json(&json!({ "hash": hash }));
        let found: Vec<String> = search.send().await?.error_for_status()?.json().await?;
        let mut entries = vec![];
        for entry in found {
            let answer = client.get(format!("{api}/log/entries/{entry}")).send().await?;
            let answer: Value = answer.error_for_status()?.json().await?;
            let found = answer.get(&entry).cloned().context("another entry came")?;
            entries.push((entry, found));
        }
        Ok(entries)
    }

    /// Promises by the key of Rekor v1 what an entry says now, without a proof: as a log would that
    /// lies.
    pub fn promise_anew(&self, entry: &mut Value) -> Result<()> {
        let promised = json!({
            "body": entry["body"],
            "integratedTime": entry["integratedTime"],
            "logID": entry["logID"],
            "logIndex": entry["logIndex"],
        });
        let promise = self.pki.sign("rekor-v1", promised.to_string().as_bytes())?;
        entry["verification"] = json!({ "signedEntryTimestamp": BASE64_STANDARD.encode(promise) });
        Ok(())
    }
}

/// What an entry is about.
pub fn body(entry: &Value) -> Result<Value> {
    let body = entry["body"].as_str().context("an entry has a body")?;
    Ok(serde_json::from_slice(&BASE64_STANDARD.decode(body)?)?)
}

/// MariaDB in a folder of its own, without users, of whom there is no need on this loopback device.
fn database(folder: &Path) -> Result<Program> {
    Ok(Program::part("mariadbd")?.args([
        "--no-defaults".to_owned(),
        "--user=root".into(),
        "--skip-grant-tables".into(),
        format!("--datadir={}", folder.display()),
        format!("--socket={}", folder.join("socket").display()),
        format!("--pid-file={}", folder.join("pid").display()),
        // What is written need not outlive the machine.
        "--innodb-flush-log-at-trx-commit=0".into(),
    ]))
}

fn trillian(name: &str, address: &str) -> Result<Program> {
    Ok(Program::part(name)?.args([
        "--storage_system=mysql".to_owned(),
        format!("--mysql_uri=root@tcp({DATABASE})/trillian"),
        "--quota_system=noop".into(),
        format!("--rpc_endpoint={address}"),
        "--http_endpoint=".into(),
        "--logtostderr".into(),
    ]))
}

fn server(pki: &Pki, tree: u64) -> Result<Program> {
    Ok(Program::part("rekor-v1-server")?.args([
        "serve".to_owned(),
        "--host=127.0.0.1".into(),
        "--port=3000".into(),
        "--rekor_server.address=127.0.0.1".into(),
        format!("--rekor_server.hostname={NAME}"),
        format!("--rekor_server.signer={}", pki.path("rekor-v1.key").display()),
        "--trillian_log_server.address=127.0.0.1".into(),
        "--trillian_log_server.port=8090".into(),
        format!("--trillian_log_server.tlog_id={tree}"),
        "--search_index.storage_provider=mysql".into(),
        format!("--search_index.mysql.dsn=root@tcp({DATABASE})/rekor"),
    ]))
}
