//! Taking leave of clients that keep connections.
use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::Version;
use axum::http::header;
use axum::middleware;
use axum::middleware::Next;
use axum::response::Response;

use super::health::Readiness;

/// The same router, which asks clients to close the connection after each answer once `readiness`
/// drains.
///
/// An API server keeps connections, and goes on using them after the Service has forgotten this
/// replica; a request that it sends just when they are closed for it is lost. Over HTTP/2 a server
/// announces the end itself (RFC 9113, section 6.8).
pub fn closing(router: Router, readiness: Readiness) -> Router {
    router.layer(middleware::from_fn_with_state(readiness, close))
}

async fn close(State(readiness): State<Readiness>, request: Request, next: Next) -> Response {
    let keeps = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if keeps && readiness.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
