//! Keys and certificates, by `openssl`, in a folder.
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

/// How long certificates hold.
const DAYS: &str = "30";

/// A folder of keys and certificates: `NAME.key`, `NAME.pub`, `NAME.crt`.
#[derive(Clone, Debug)]
pub struct Pki {
    folder: PathBuf,
}

impl Pki {
    /// In this folder, which is made.
    pub fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// A file of the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Makes a P-256 key, in the form that every program reads, and its public half.
    pub fn ec_key(&self, name: &str) -> Result<()> {
        let key = format!("{name}.key");
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key])?;
        self.openssl(&["ec", "-in", &key, "-pubout", "-out", &format!("{name}.pub")])
    }

    /// Makes an Ed25519 key, and its public half.
    pub fn ed25519_key(&self, name: &str) -> Result<()> {
        self.private_key(name, &["-algorithm", "ed25519"])
    }

    /// Makes a key by these options of `openssl genpkey`, and its public half.
    pub fn private_key(&self, name: &str, options: &[&str]) -> Result<()> {
        let key = format!("{name}.key");
        self.openssl(&[&["genpkey", "-out", &key], options].concat())?;
        self.openssl(&["pkey", "-in", &key, "-pubout", "-out", &format!("{name}.pub")])
    }

    /// Makes an authority that signs itself.
    pub fn authority(&self, name: &str) -> Result<()> {
        let extensions =
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
        self.certificate(name, &format!("/O=tegata-e2e/CN={name}"), None, extensions)
    }

    /// Makes a certificate with these extensions, one a line, signed by another or by itself.
    pub fn certificate(
        &self,
        name: &str,
        subject: &str,
        issuer: Option<&str>,
        extensions: &str,
    ) -> Result<()> {
        self.ec_key(name)?;
        let [key, request, certificate] =
            ["key", "csr", "crt"].map(|extension| format!("{name}.{extension}"));
        fs::write(self.path("extensions"), extensions)?;
        self.openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &request])?;
        let mut arguments = vec!["x509", "-req", "-in", &request, "-out", &certificate];
        arguments.extend(["-days", DAYS, "-sha256", "-extfile", "extensions"]);
        let [issuer_certificate, issuer_key] =
            ["crt", "key"].map(|extension| format!("{}.{extension}", issuer.unwrap_or(name)));
        match issuer {
            Some(_) => arguments.extend([
                "-CA",
                &issuer_certificate,
                "-CAkey",
                &issuer_key,
                "-CAcreateserial",
            ]),
            None => arguments.extend(["-key", &key]),
        }
        self.openssl(&arguments)
    }

    /// Signs bytes with a key, over their SHA-256.
    pub fn sign(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        fs::write(self.path("to-sign"), bytes)?;
        let key = format!("{name}.key");
        self.openssl(&["dgst", "-sha256", "-sign", &key, "-out", "signature", "to-sign"])?;
        Ok(fs::read(self.path("signature"))?)
    }

    /// Writes several certificates into one file.
    pub fn chain(&self, file: &str, names: &[&str]) -> Result<()> {
        let texts: Result<Vec<_>> =
            names.iter().map(|name| self.read(&format!("{name}.crt"))).collect();
        Ok(fs::write(self.path(file), texts?.concat())?)
    }

    /// A file's text.
    pub fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.path(file)).with_context(|| format!("cannot read {file}"))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let folder: &Path = &self.folder;
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(folder)
            .output()
            .context("cannot start `openssl`")?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {}: {error}", arguments.join(" "));
        Ok(())
    }
}
