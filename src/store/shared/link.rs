//! The one connection to the server, made when it is needed and dropped when it fails.
//!
//! A connection is made in the background, for as long as [`CONNECT_TIME`]: whoever needs it waits
//! for a shorter time, and a handshake that takes longer is of use to the next.
use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::AsyncConnectionConfig;
use redis::Cmd;
use redis::FromRedisValue;
use redis::ProtocolVersion;
use redis::RedisConnectionInfo;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::MAX_READS;
use super::MAX_RECORD_BYTES;
use super::options::Address;
use super::options::SharedError;
use super::stream::Bounded;
use super::stream::Received;

/// Time for connecting, with the handshake and the password.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Largest password, in bytes. Cloud tokens take some 3 KiB.
const MAX_PASSWORD_BYTES: u64 = 8 << 10;

/// What an answer takes besides the record, in bytes: its length, or an error's text.
const MAX_REPLY_OVERHEAD: usize = 16 << 10;

/// Most bytes that may come without a good answer: as many records as are asked for at a time.
const MAX_RECEIVED: usize = MAX_READS * (MAX_RECORD_BYTES + 1 + MAX_REPLY_OVERHEAD);

/// Why the server did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("cannot connect")]
    Connect(#[source] Arc<io::Error>),
    #[error("cannot read the password from {}", path.display())]
    Password {
        path: PathBuf,
        #[source]
        source: Arc<io::Error>,
    },
    #[error("cannot use the server")]
    Server(#[from] RedisError),
    #[error("no answer in time")]
    TimedOut,
    #[error("something else than a text is under the key")]
    WrongType,
}

impl Problem {
    /// Whether the connection was closed, as servers do with one that was not used for long.
    fn is_closed(&self) -> bool {
        match self {
            Self::Server(error) => error.is_io_error() && !error.is_timeout(),
            Self::Connect(_) | Self::Password { .. } | Self::TimedOut | Self::WrongType => false,
        }
    }
}

type Connecting = futures::future::Shared<BoxFuture<'static, Result<Connection, Problem>>>;

/// The connection, or none.
pub(super) struct Link {
    maker: Arc<Maker>,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    /// Of the connection: who finds it broken drops this one and no later one.
    number: u64,
    connection: Option<Connecting>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { maker, slot: _ } = self;
        f.debug_struct("Link").field("maker", maker).finish_non_exhaustive()
    }
}

/// One use of the connection.
struct Use {
    number: u64,
    /// Whether it is made for this use.
    new: bool,
    connection: Connecting,
}

impl Link {
    pub(super) fn new(
        url: &str,
        password: Option<PathBuf>,
        ca_pem: Option<&str>,
    ) -> Result<Self, SharedError> {
        let address = Address::parse(url)?;
        let tls = if address.tls { Some(connector(ca_pem)?) } else { None };
        let maker = Arc::new(Maker { address, password, tls });
        Ok(Self { maker, slot: Mutex::default() })
    }

    /// What is under `name`, of which no more is asked for than one byte beyond what a record may
    /// have; nothing where nothing is there.
    pub(super) async fn read(&self, name: &str, deadline: Instant) -> Result<Vec<u8>, Problem> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(name).arg(0).arg(MAX_RECORD_BYTES);
        self.ask(&command, deadline).await
    }

    pub(super) async fn write(
        &self,
        name: &str,
        record: Vec<u8>,
        life: Duration,
        deadline: Instant,
    ) -> Result<(), Problem> {
        let mut command = redis::cmd("SET");
        command.arg(name).arg(record).arg("EX").arg(life.as_secs());
        self.ask(&command, deadline).await
    }

    /// Once more where the connection turns out closed.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd, deadline: Instant) -> Result<T, Problem> {
        let using = self.connection();
        match self.ask_over(&using, command, deadline).await {
            Err(problem) if problem.is_closed() && !using.new => {
                self.ask_over(&self.connection(), command, deadline).await
            }
            answer => answer,
        }
    }

    async fn ask_over<T: FromRedisValue>(
        &self,
        using: &Use,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<T, Problem> {
        let asked = async {
            let connection = using.connection.clone().await?;
            connection.ask(command).await
        };
        let answer = timeout_at(deadline, asked).await.unwrap_or(Err(Problem::TimedOut));
        match &answer {
            Ok(_) | Err(Problem::WrongType) => {}
            // It may still be of use to the next.
            Err(Problem::TimedOut) if using.connection.peek().is_none() => {}
            Err(_) => self.abandon(using.number),
        }
        answer
    }

    fn connection(&self) -> Use {
        let mut slot = self.slot();
        if let Some(connection) = &slot.connection {
            return Use { number: slot.number, new: false, connection: connection.clone() };
        }
        let maker = Arc::clone(&self.maker);
        let connecting = async move {
            timeout(CONNECT_TIME, maker.connect()).await.unwrap_or(Err(Problem::TimedOut))
        };
        let connection = connecting.boxed().shared();
        tokio::spawn(connection.clone().map(drop));
        slot.number += 1;
        slot.connection = Some(connection.clone());
        Use { number: slot.number, new: true, connection }
    }

    fn abandon(&self, number: u64) {
        let mut slot = self.slot();
        if slot.number == number {
            slot.connection = None;
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is ready. It is closed when the last clone is dropped.
#[derive(Clone)]
struct Connection {
    commands: MultiplexedConnection,
    received: Received,
    _driver: Arc<Driver>,
}

struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    async fn ask<T: FromRedisValue>(mut self, command: &Cmd) -> Result<T, Problem> {
        match command.query_async(&mut self.commands).await {
            Ok(answer) => {
                self.received.forget();
                Ok(answer)
            }
            Err(error) if error.code() == Some("WRONGTYPE") => {
                self.received.forget();
                Err(Problem::WrongType)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Makes connections.
struct Maker {
    address: Address,
    password: Option<PathBuf>,
    tls: Option<TlsConnector>,
}

impl fmt::Debug for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, password, tls: _ } = self;
        f.debug_struct("Maker").field("address", address).field("password", password).finish()
    }
}

impl Maker {
    async fn connect(&self) -> Result<Connection, Problem> {
        let Address { tls: _, host, port, database, user } = &self.address;
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_db((*database).into())
            .set_skip_set_lib_name();
        if let Some(user) = user {
            info = info.set_username(user);
        }
        if let Some(path) = &self.password {
            info = info.set_password(password(path).await?);
        }
        let failed = |error| Problem::Connect(Arc::new(error));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.tls else { return ready(&info, stream).await };
        let name = ServerName::try_from(host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        ready(&info, tls.connect(name, stream).await.map_err(failed)?).await
    }
}

/// Shows the password over the stream, and has the connection driven.
async fn ready<S>(info: &RedisConnectionInfo, stream: S) -> Result<Connection, Problem>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let received = Received::default();
    let stream = Bounded::new(stream, received.clone(), MAX_RECEIVED);
    // Whoever asks waits as long as they like.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (commands, driver) = MultiplexedConnection::new_with_config(info, stream, config).await?;
    let driver = Arc::new(Driver(spawn(driver)));
    received.forget();
    Ok(Connection { commands, received, _driver: driver })
}

fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(driver).abort_handle()
}

/// The password in the file, without the line's end.
async fn password(path: &Path) -> Result<String, Problem> {
    let read = async {
        let mut text = String::new();
        let file = tokio::fs::File::open(path).await?;
        file.take(MAX_PASSWORD_BYTES).read_to_string(&mut text).await?;
        Ok(text)
    };
    let text = read.await.map_err(|error: io::Error| Problem::Password {
        path: path.to_owned(),
        source: Arc::new(error),
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What speaks TLS to a server that these authorities vouch for, or those of the system.
fn connector(ca_pem: Option<&str>) -> Result<TlsConnector, SharedError> {
    const WANTED: &str = "certificates in PEM";
    let error = |found: &dyn fmt::Display| SharedError::new("caPem", found, WANTED);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|problem| error(&problem))?;
    let Some(pem) = ca_pem else {
        let builder = builder.with_platform_verifier().map_err(|problem| error(&problem))?;
        return Ok(TlsConnector::from(Arc::new(builder.with_no_client_auth())));
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|problem| error(&problem))?;
        roots.add(certificate).map_err(|problem| error(&problem))?;
    }
    if roots.is_empty() {
        return Err(error(&"none"));
    }
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
