//! Routers on sockets, with bounds on connections and slow clients.
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::Server;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::metrics::Shed;

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections at once. Further ones are closed at once.
    pub connections: usize,
    /// Longest time for the TLS handshake, and again for the first request's headers.
    pub first_request: Duration,
    /// Longest time between an answer and the end of the next request's headers (HTTP/1.1), and
    /// between signs of life (HTTP/2).
    pub idle: Duration,
}

impl Default for ConnectionLimits {
    /// A cluster has few API servers, and each holds a handful of connections: 256 leave room for
    /// those that are just ending, at some 50 KiB each and at most 150. Handshake and first request
    /// take milliseconds between neighbours: ten seconds are for a machine under heavy load. Go's
    /// clients close idle connections after 90 s themselves; a shorter bound here would close
    /// connections that they are about to use.
    fn default() -> Self {
        Self {
            connections: 256,
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(100),
        }
    }
}

/// Most requests at once on one HTTP/2 connection. Go's clients open another connection beyond it.
const MAX_STREAMS: u32 = 64;

/// Most bytes of a request's headers. The API server sends some hundred.
const MAX_HEADERS: u32 = 8 << 10;

/// Most bytes that a client may send on one HTTP/2 connection, and on one stream of it, before they
/// are read. The usual megabyte, times the connections, would be more than the server may use; the
/// API server is near, so that little is on its way at a time.
const WINDOW: u32 = 64 << 10;

/// Serves `router` over TLS until `handle` stops it.
///
/// # Errors
/// When the listener cannot be used.
pub async fn tls(
    listener: TcpListener,
    config: RustlsConfig,
    router: Router,
    handle: Handle<SocketAddr>,
    limits: ConnectionLimits,
    metrics: Metrics,
) -> io::Result<()> {
    let bounded = Bounded::new(limits.connections, metrics);
    let acceptor =
        RustlsAcceptor::new(config).handshake_timeout(limits.first_request).acceptor(bounded);
    let server = axum_server::from_tcp(listener)?.acceptor(acceptor);
    configured(server, limits).handle(handle).serve(router.into_make_service()).await
}

/// Serves `router` without TLS until `handle` stops it.
///
/// # Errors
/// When the listener cannot be used.
pub async fn plain(
    listener: TcpListener,
    router: Router,
    handle: Handle<SocketAddr>,
    limits: ConnectionLimits,
    metrics: Metrics,
) -> io::Result<()> {
    let server =
        axum_server::from_tcp(listener)?.acceptor(Bounded::new(limits.connections, metrics));
    configured(server, limits).handle(handle).serve(router.into_make_service()).await
}

/// The same on a thread of its own, so that what keeps the others busy keeps nobody here waiting.
/// It ends when this future is dropped.
///
/// # Errors
/// As [`plain`], and when there can be no such thread.
pub async fn plain_apart(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    metrics: Metrics,
) -> io::Result<()> {
    let handle = Handle::new();
    let _stopping = Stopping(handle.clone());
    let (ended, ends) = oneshot::channel();
    std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime
            .and_then(|runtime| runtime.block_on(plain(listener, router, handle, limits, metrics)));
        // Whoever asked may have stopped waiting.
        let _ = ended.send(served);
    })?;
    ends.await.unwrap_or_else(|_| Err(io::Error::other("its thread panicked")))
}

/// Stops a server when dropped.
struct Stopping(Handle<SocketAddr>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}

fn configured<A>(server: Server<SocketAddr, A>, limits: ConnectionLimits) -> Server<SocketAddr, A> {
    let ConnectionLimits { connections: _, first_request, idle } = limits;
    let mut server = server
        .first_request_timeout(first_request)
        .accept_error_handler(|peer, error| tracing::debug!(?peer, %error, "Lost a connection"));
    let builder = server.http_builder();
    builder.http1().header_read_timeout(idle).max_buf_size(MAX_HEADERS as usize);
    builder
        .http2()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(idle)
        .keep_alive_timeout(first_request);
    server
}

/// Accepts connections up to a number.
#[derive(Clone, Debug)]
struct Bounded {
    places: Arc<Semaphore>,
    metrics: Metrics,
}

impl Bounded {
    fn new(connections: usize, metrics: Metrics) -> Self {
        let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { places, metrics }
    }
}

impl<S> Accept<TcpStream, S> for Bounded {
    type Stream = Connection;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                stream.set_nodelay(true).map(|()| (Connection { stream, _place: place }, service))
            }
            Err(_) => {
                self.metrics.shed(Shed::Connection);
                Err(io::Error::other("too many connections"))
            }
        };
        std::future::ready(accepted)
    }
}

/// A connection and its place among the most that are held.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
