//! Every way in which `cosign` signs and attests.
use anyhow::Result;

use super::FULCIO;
use super::REKOR;
use super::Sigstore;
use super::TIMESTAMPS;
use super::issuer::Identity;
use super::rekor_v1;
use crate::process::Done;
use crate::process::Program;
use crate::process::run;

/// The form in which a signature is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A Sigstore bundle, which refers to the image.
    Bundle,
    /// The classic one, found by its tag.
    Classic,
    /// The classic one, which refers to the image.
    ClassicReferrer,
}

/// The log that a signature is entered in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log {
    /// None.
    Nowhere,
    /// Rekor v1.
    V1,
    /// Rekor v2.
    V2,
}

/// What a signature comes with.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Its form.
    pub format: Format,
    /// Its log.
    pub log: Log,
    /// Whether it has an RFC 3161 timestamp.
    pub timestamp: bool,
}

/// Who signs.
#[derive(Clone, Debug)]
pub enum Signer {
    /// Somebody, keyless.
    Identity(Identity),
    /// The holder of a key of this name, which was made.
    Key(String),
}

/// A kind of key.
#[derive(Clone, Copy, Debug)]
pub enum KeyKind {
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519, with which `cosign` signs a hash (Ed25519ph) where there is no bundle.
    Ed25519,
    /// RSA of 3072 bits.
    Rsa,
}

impl Sigstore {
    /// Makes a key pair of a kind other than `cosign`'s own, and gives its public half as PEM.
    pub async fn key_of(&self, name: &str, kind: KeyKind) -> Result<String> {
        let raw = format!("raw-{name}");
        self.pki.private_key(
            &raw,
            match kind {
                KeyKind::EcdsaP384 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
                KeyKind::Ed25519 => &["-algorithm", "ed25519"],
                KeyKind::Rsa => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
            },
        )?;
        let raw = format!("{raw}.key");
        let import = ["import-key-pair", "--yes", "--key", &raw, "--output-key-prefix", name];
        self.cosign(&import).await?.success()?;
        self.public_key(name)
    }

    /// Signs an image. Rekor v1 must have been started where it is used.
    pub async fn sign(&self, image: &str, signer: &Signer, way: Way) -> Result<()> {
        self.sign_annotated(image, signer, way, &[]).await
    }

    /// Signs an image, with annotations of the form `name=value` in the signed payload.
    pub async fn sign_annotated(
        &self,
        image: &str,
        signer: &Signer,
        way: Way,
        annotations: &[&str],
    ) -> Result<()> {
        let program = self.signing("sign", signer, way).await?;
        let annotations = annotations.iter().map(|one| format!("--annotations={one}"));
        run(program.args(annotations).args([image]), "").await?.success().map(drop)
    }

    /// Signs an index and every image in it.
    pub async fn sign_recursively(&self, index: &str, signer: &Signer, way: Way) -> Result<()> {
        let program = self.signing("sign", signer, way).await?;
        run(program.args(["--recursive", index]), "").await?.success().map(drop)
    }

    /// Attaches an attestation about an image: a predicate of a type that `cosign` knows by name.
    pub async fn attest(
        &self,
        image: &str,
        signer: &Signer,
        way: Way,
        (kind, predicate): (&str, &str),
    ) -> Result<()> {
        let (file, program) =
            (self.pki.path(&format!("{kind}.json")), self.signing("attest", signer, way).await?);
        std::fs::write(&file, predicate)?;
        let predicate = format!("--predicate={}", file.display());
        let program = program.args([&format!("--type={kind}"), &predicate, image]);
        run(program, "").await?.success().map(drop)
    }

    /// Verifies by `cosign` what [`Self::attest`] attached.
    pub async fn verify_attestation(
        &self,
        image: &str,
        signer: &Signer,
        way: Way,
        kind: &str,
    ) -> Result<Done> {
        let mut arguments = vec!["verify-attestation".to_owned(), "--allow-http-registry".into()];
        arguments.push(format!("--type={kind}"));
        arguments.push(format!("--new-bundle-format={}", way.format == Format::Bundle));
        arguments.push(format!("--use-signed-timestamps={}", way.timestamp));
        arguments.push(format!("--insecure-ignore-tlog={}", way.log == Log::Nowhere));
        match signer {
            Signer::Identity(identity) => arguments.extend([
                format!("--certificate-oidc-issuer={}", self.issuer(identity)),
                format!("--certificate-identity={}", identity.subject()),
            ]),
            Signer::Key(name) => arguments.push(format!("--key={name}.pub")),
        }
        arguments.extend(["--trusted-root=trusted_root.json".into(), image.into()]);
        run(self.program()?.args(arguments), "").await
    }

    async fn signing(&self, command: &str, signer: &Signer, way: Way) -> Result<Program> {
        let program = self.program()?.args([command, "--yes", "--allow-http-registry"]);
        let program = match way.format {
            Format::Bundle => {
                let config = self.signing_config(way).await?;
                let root = "--trusted-root=trusted_root.json";
                program.args([&format!("--signing-config={config}"), root])
            }
            Format::Classic => program.args(classic(way)),
            Format::ClassicReferrer => program
                .args(classic(way))
                .args(["--registry-referrers-mode=oci-1-1"])
                .env("COSIGN_EXPERIMENTAL", "1"),
        };
        Ok(match signer {
            Signer::Identity(identity) => {
                program.env("SIGSTORE_ID_TOKEN", self.issuer.token(identity)?)
            }
            Signer::Key(name) => program.args([format!("--key={name}.key")]),
        })
    }

    /// The file that names the services of a way; made when it is not there.
    async fn signing_config(&self, Way { log, timestamp, .. }: Way) -> Result<String> {
        let name = format!("signing_config_{log:?}_{timestamp}.json");
        if self.pki.path(&name).exists() {
            return Ok(name);
        }
        let service = "start-time=2020-01-01T00:00:00Z,operator=e2e";
        let mut arguments = vec!["signing-config".to_owned(), "create".into()];
        arguments.push(format!("--fulcio=url=http://{FULCIO},api-version=1,{service}"));
        let rekor = match log {
            Log::Nowhere => None,
            Log::V1 => Some((rekor_v1::ADDRESS, 1)),
            Log::V2 => Some((REKOR, 2)),
        };
        if let Some((address, version)) = rekor {
            arguments.push(format!("--rekor=url=http://{address},api-version={version},{service}"));
            arguments.push("--rekor-config=ANY".into());
        }
        if timestamp {
            let url = format!("http://{TIMESTAMPS}/api/v1/timestamp");
            arguments.push(format!("--tsa=url={url},api-version=1,{service}"));
            arguments.push("--tsa-config=ANY".into());
        }
        arguments.push(format!("--out={name}"));
        run(self.program()?.args(arguments), "").await?.success()?;
        Ok(name)
    }
}

/// The services of a way as flags, which the classic formats go by.
fn classic(Way { log, timestamp, .. }: Way) -> Vec<String> {
    let mut arguments = vec![
        "--use-signing-config=false".to_owned(),
        "--new-bundle-format=false".into(),
        format!("--fulcio-url=http://{FULCIO}"),
    ];
    arguments.push(match log {
        Log::Nowhere => "--tlog-upload=false".into(),
        Log::V1 => format!("--rekor-url=http://{}", rekor_v1::ADDRESS),
        Log::V2 => format!("--rekor-url=http://{REKOR}"),
    });
    if timestamp {
        let url = format!("http://{TIMESTAMPS}/api/v1/timestamp");
        arguments.push(format!("--timestamp-server-url={url}"));
    }
    arguments
}
