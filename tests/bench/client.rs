//! An API server, as far as a webhook sees one: HTTP/1.1 over TLS on one connection that is kept.
//!
//! It blocks and is as lean as can be, so that what is measured is the server's work.
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use super::pods;
use super::pods::Review;

/// Longest wait for bytes: more than any deadline of a review.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom to ask, and whom to believe.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Peer {
    /// The server at `address`, whose authority this is in PEM.
    ///
    /// # Errors
    /// When that is no certificate.
    pub fn new(address: SocketAddr, authority: &[u8]) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority)?)?;
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, config: Arc::new(config) })
    }

    /// A connection.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn connect(&self) -> anyhow::Result<Client> {
        let socket = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost")?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(Client {
            stream: StreamOwned::new(connection, socket),
            received: Vec::new(),
            number: 0,
            constant: false,
        })
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
    /// That of the last review.
    number: u64,
    /// Whether all answers are to the review with the number 0: a constant.
    constant: bool,
}

impl Client {
    /// The same, of a server that answers a constant.
    #[must_use]
    pub fn of_constant(self) -> Self {
        Self { constant: true, ..self }
    }

    /// Sends a review and reads the whole answer; returns how long that took, to the last byte.
    /// [`Self::answer`] says what it was.
    ///
    /// # Errors
    /// When the connection breaks, or no answer comes.
    pub fn ask(&mut self, review: &Review) -> anyhow::Result<Duration> {
        self.number = review.number();
        let start = Instant::now();
        self.stream.write_all(review.bytes())?;
        self.stream.flush()?;
        self.received.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.received.len() < whole) {
            let have = self.received.len();
            self.received.resize(have + (16 << 10), 0);
            let read = self.stream.read(&mut self.received[have..])?;
            self.received.truncate(have + read);
            if read == 0 {
                bail!("the connection was closed before the answer was whole");
            }
            if whole.is_none() {
                whole = whole_length(&self.received)?;
            }
        }
        Ok(start.elapsed())
    }

    /// The last answer.
    ///
    /// # Errors
    /// When it is none to an AdmissionReview, or to another one than was sent.
    pub fn answer(&self) -> anyhow::Result<Answer> {
        let head = head_length(&self.received).context("no answer came")?;
        let (head, body) = self.received.split_at(head);
        if !head.starts_with(b"HTTP/1.1 200 ") {
            return Ok(Answer::Undecided(String::from_utf8_lossy(head).lines().take(1).collect()));
        }
        let body: Value = serde_json::from_slice(body).context("the answer is no JSON")?;
        let (found, wanted) =
            (&body["response"]["uid"], pods::uid(if self.constant { 0 } else { self.number }));
        if found.as_str() != Some(&wanted) {
            bail!("found an answer to {found}, wanted one to {wanted}");
        }
        Answer::parse(&body)
    }
}

/// What a review came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Every image was verified.
    Admitted,
    /// It is let in, although not every image was verified. Never right here.
    LetIn(String),
    /// Some image is not as the policies want it, and asking again is of no use.
    Rejected(String),
    /// It could not be told; a controller asks again.
    Undecided(String),
}

impl Answer {
    fn parse(review: &Value) -> anyhow::Result<Self> {
        let response = &review["response"];
        let verdict = response["auditAnnotations"]["verdict"].as_str().unwrap_or("none");
        let message = response["status"]["message"].as_str().unwrap_or_default().to_owned();
        match (response["allowed"].as_bool(), response["status"]["code"].as_u64()) {
            (Some(true), _) if verdict == "verified" => Ok(Self::Admitted),
            (Some(true), _) => Ok(Self::LetIn(verdict.to_owned())),
            (Some(false), Some(503)) => Ok(Self::Undecided(message)),
            (Some(false), Some(403)) => Ok(Self::Rejected(message)),
            (allowed, code) => bail!("found the answer {allowed:?} with code {code:?}"),
        }
    }
}

/// Where the answer's head ends.
fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|place| place + 4)
}

/// The length of the whole answer, once its head is there.
fn whole_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = head_length(bytes) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head])?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.context("the answer states no length")?.trim().parse::<usize>()?;
    Ok(Some(head + length))
}
