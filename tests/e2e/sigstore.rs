//! A private Sigstore: an issuer of identity tokens, Fulcio, a certificate transparency log, Rekor
//! v2, Rekor v1 where a scenario asks for it, and a timestamp authority; and `cosign`, which signs
//! with it.
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;
use serde_json::json;

use super::pki::Pki;
use super::process::Done;
use super::process::Process;
use super::process::Program;
use super::process::run;
use super::registries::docker_config;

#[path = "sigstore/certificate.rs"]
mod certificate;
#[path = "sigstore/issuer.rs"]
mod issuer;
#[path = "sigstore/rekor_v1.rs"]
mod rekor_v1;
#[path = "sigstore/signing.rs"]
mod signing;

pub use certificate::damage_sct;
pub use issuer::Identity;
pub use rekor_v1::ADDRESS as REKOR_V1;
pub use rekor_v1::body as entry_body;
pub use signing::Format;
pub use signing::KeyKind;
pub use signing::Log;
pub use signing::Signer;
pub use signing::Way;

use issuer::Issuer;
use rekor_v1::RekorV1;

/// Fulcio's address.
const FULCIO: &str = "127.0.0.1:5555";

/// The address of the certificate transparency log.
const CT_LOG: &str = "127.0.0.1:6962";

/// Rekor's address, and the name that its checkpoints bear.
const REKOR: &str = "127.0.0.1:3003";
const REKOR_NAME: &str = "rekor.e2e.test";

/// The address of the timestamp authority.
const TIMESTAMPS: &str = "127.0.0.1:3400";

/// What the instance is described in.
const TRUSTED_ROOT: &str = "trusted_root.json";

/// From when the instance's keys hold.
const SINCE: &str = "start-time=2020-01-01T00:00:00Z";

/// The instance, running.
pub struct Sigstore {
    folder: PathBuf,
    logs: PathBuf,
    pki: Pki,
    issuer: Issuer,
    rekor_v1: Option<RekorV1>,
    _servers: Vec<Process>,
}

impl Sigstore {
    /// Starts it, and writes what `cosign` needs to know of it.
    pub async fn start(folder: &Path, logs: &Path) -> Result<Self> {
        let pki = Pki::new(folder.to_owned())?;
        keys(&pki)?;
        std::fs::create_dir_all(pki.path(".docker"))?;
        std::fs::write(pki.path(".docker/config.json"), docker_config().to_string())?;
        let issuer = Issuer::start().await?;
        // The comment keeps Fulcio from reading it as JSON, for which it has other names of fields.
        let settings = format!("# YAML\n{}\n", issuer::fulcio_settings());
        std::fs::write(pki.path("fulcio.yaml"), settings)?;
        let mut servers = vec![];
        for (program, address) in
            [(timestamps(&pki)?, TIMESTAMPS), (rekor(&pki)?, REKOR), (ct_log(&pki)?, CT_LOG)]
        {
            let mut server = program.start(logs)?;
            server.listens(address).await?;
            servers.push(server);
        }
        let mut fulcio = fulcio(&pki)?.start(logs)?;
        fulcio.listens(FULCIO).await?;
        servers.push(fulcio);
        let sigstore = Self {
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            pki,
            issuer,
            rekor_v1: None,
            _servers: servers,
        };
        sigstore.describe("fulcio-chain.pem", TRUSTED_ROOT).await?;
        Ok(sigstore)
    }

    /// Starts Rekor v1, unless it runs. The trusted root names it from the beginning.
    pub async fn start_rekor_v1(&mut self) -> Result<()> {
        if self.rekor_v1.is_none() {
            self.rekor_v1 = Some(RekorV1::start(&self.pki, &self.logs).await?);
        }
        Ok(())
    }

    /// The issuer of an identity, as certificates and policies name it.
    pub fn issuer(&self, identity: &Identity) -> String {
        issuer::url(identity)
    }

    /// The instance's `trusted_root.json`.
    pub fn trusted_root(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.pki.read(TRUSTED_ROOT)?)?)
    }

    /// The file that holds it.
    pub fn trusted_root_file(&self) -> PathBuf {
        self.pki.path(TRUSTED_ROOT)
    }

    /// A file that differs from it in the authority of certificates alone: this one issued none.
    pub async fn trusted_root_of_another_authority(&self) -> Result<PathBuf> {
        const FILE: &str = "trusted_root_of_another_authority.json";
        self.pki.authority("another-authority")?;
        self.describe("another-authority.crt", FILE).await?;
        Ok(self.pki.path(FILE))
    }

    /// Signs an image keyless, as somebody: a bundle with an entry in Rekor v2 and a timestamp.
    pub async fn sign_keyless(&self, image: &str, identity: &Identity) -> Result<()> {
        let way = Way { format: Format::Bundle, log: Log::V2, timestamp: true };
        self.sign(image, &Signer::Identity(identity.clone()), way).await
    }

    /// Makes a key pair, and gives its public half as PEM.
    pub async fn key(&self, name: &str) -> Result<String> {
        self.cosign(&["generate-key-pair", "--output-key-prefix", name]).await?.success()?;
        self.public_key(name)
    }

    /// The public half of a key pair that was made, as PEM.
    pub fn public_key(&self, name: &str) -> Result<String> {
        self.pki.read(&format!("{name}.pub"))
    }

    /// Signs an image with a key that was made: a bundle without log and timestamp.
    pub async fn sign_with_key(&self, image: &str, name: &str) -> Result<()> {
        let way = Way { format: Format::Bundle, log: Log::Nowhere, timestamp: false };
        self.sign(image, &Signer::Key(name.to_owned()), way).await
    }

    /// Verifies by `cosign` what [`Self::sign_keyless`] signed.
    pub async fn verify_keyless(&self, image: &str, identity: &Identity) -> Result<Done> {
        let issuer = format!("--certificate-oidc-issuer={}", self.issuer(identity));
        let subject = format!("--certificate-identity={}", identity.subject());
        let arguments = [
            "verify",
            "--allow-http-registry",
            "--trusted-root=trusted_root.json",
            "--use-signed-timestamps",
            &issuer,
            &subject,
            image,
        ];
        self.cosign(&arguments).await
    }

    /// Runs `cosign` in the folder of the keys.
    pub async fn cosign(&self, arguments: &[&str]) -> Result<Done> {
        run(self.program()?.args(arguments), "").await
    }

    /// The same, with the home of somebody else.
    pub async fn cosign_at(&self, home: &Path, arguments: &[&str]) -> Result<Done> {
        run(self.program()?.args(arguments).env("HOME", home.display()), "").await
    }

    fn program(&self) -> Result<Program> {
        let program = Program::part("cosign")?.folder(&self.folder);
        let file = |name: &str| self.pki.path(name).display().to_string();
        Ok(program
            .env("HOME", self.folder.display())
            .env("COSIGN_PASSWORD", "")
            // For the classic formats, which look at no trusted root when they sign.
            .env("SIGSTORE_ROOT_FILE", file("fulcio-chain.pem"))
            .env("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", file("ctlog.pub"))
            .env("SIGSTORE_REKOR_PUBLIC_KEY", file("rekor-v1.pub")))
    }

    /// Writes a trusted root, with the authority that this chain belongs to.
    async fn describe(&self, chain: &str, file: &str) -> Result<()> {
        let arguments = [
            "trusted-root".to_owned(),
            "create".into(),
            format!("--fulcio=url=http://{FULCIO},certificate-chain={chain}"),
            format!(
                "--rekor=url=http://{REKOR_NAME},public-key=rekor.pub,{SINCE},origin={REKOR_NAME}"
            ),
            format!("--rekor=url=http://{},public-key=rekor-v1.pub,{SINCE}", rekor_v1::ADDRESS),
            format!("--ctfe=url=http://{CT_LOG},public-key=ctlog.pub,{SINCE}"),
            format!(
                "--tsa=url=http://{TIMESTAMPS}/api/v1/timestamp,certificate-chain=timestamps-chain.pem"
            ),
            format!("--out={file}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.cosign(&arguments).await?.success().map(drop)
    }
}

fn keys(pki: &Pki) -> Result<()> {
    pki.authority("fulcio-root")?;
    let issuing = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                   extendedKeyUsage=codeSigning\n";
    pki.certificate("fulcio", "/O=tegata-e2e/CN=fulcio", Some("fulcio-root"), issuing)?;
    pki.chain("fulcio-chain.pem", &["fulcio", "fulcio-root"])?;
    pki.authority("timestamps-root")?;
    let stamping = "keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n";
    let subject = "/O=tegata-e2e/CN=timestamps";
    pki.certificate("timestamps", subject, Some("timestamps-root"), stamping)?;
    pki.chain("timestamps-chain.pem", &["timestamps", "timestamps-root"])?;
    pki.ec_key("ctlog")?;
    pki.ec_key("rekor-v1")?;
    pki.ed25519_key("rekor")
}

fn timestamps(pki: &Pki) -> Result<Program> {
    Ok(Program::part("timestamp-server")?.args([
        "serve".to_owned(),
        "--host=127.0.0.1".into(),
        "--port=3400".into(),
        "--timestamp-signer=file".into(),
        format!("--file-signer-key-path={}", pki.path("timestamps.key").display()),
        "--file-signer-passwd=".into(),
        format!("--certificate-chain-path={}", pki.path("timestamps-chain.pem").display()),
        "--disable-ntp-monitoring".into(),
    ]))
}

fn rekor(pki: &Pki) -> Result<Program> {
    Ok(Program::part("rekor-server")?.args([
        "serve".to_owned(),
        format!("--hostname={REKOR_NAME}"),
        format!("--signer-filepath={}", pki.path("rekor.key").display()),
        format!("--storage-dir={}", pki.path("rekor").display()),
        "--http-port=3003".into(),
        "--grpc-port=3004".into(),
        "--http-metrics-port=3005".into(),
        "--checkpoint-interval=500ms".into(),
    ]))
}

fn ct_log(pki: &Pki) -> Result<Program> {
    Ok(Program::part("ctlog")?.args([
        format!("-listen={CT_LOG}"),
        "-origin=ctlog.e2e.test".into(),
        format!("-roots={}", pki.path("fulcio-chain.pem").display()),
        format!("-key={}", pki.path("ctlog.key").display()),
        format!("-storage={}", pki.path("ctlog").display()),
    ]))
}

fn fulcio(pki: &Pki) -> Result<Program> {
    Ok(Program::part("fulcio")?.args([
        "serve".to_owned(),
        "--host=127.0.0.1".into(),
        "--port=5555".into(),
        "--grpc-host=127.0.0.1".into(),
        "--grpc-port=5554".into(),
        "--metrics-port=5553".into(),
        "--ca=fileca".into(),
        format!("--fileca-cert={}", pki.path("fulcio-chain.pem").display()),
        format!("--fileca-key={}", pki.path("fulcio.key").display()),
        "--fileca-key-passwd=".into(),
        format!("--config-path={}", pki.path("fulcio.yaml").display()),
        format!("--ct-log-url=http://{CT_LOG}"),
        format!("--ct-log-public-key-path={}", pki.path("ctlog.pub").display()),
    ]))
}

/// Services of a trusted root that a policy names, as a `TrustRoot`.
pub fn trust_root(name: &str, trusted_root: &Value) -> Value {
    json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": name },
        "spec": { "trustedRoot": trusted_root },
    })
}
