//! Accepts connections and serves the routes on them.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Shared, control::Controls, error::ApiError, http::Http, router, socket::Socket};
use crate::Node;

/// Connections served at once; each may hold [`READ_BYTES_MAX`] and what its route says.
const CONNECTIONS_MAX: usize = 256;
/// Connections beyond that are told so, this many at a time; further ones are closed.
const REFUSALS_MAX: usize = 16;
/// Time to refuse a connection.
const REFUSAL: Duration = Duration::from_secs(1);
/// Most bytes of a request's head or body that are read ahead.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Time to send the head of a request, and time that an idle connection is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that open connections have to end when the server stops.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) trait Door {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The routes as they are served here.
    fn routes(&self, routes: Router) -> Router;
}

impl Door for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    fn routes(&self, routes: Router) -> Router {
        routes
    }
}

/// Serves the API of a node until `stop` completes; then open connections have 2 s to end. The
/// socket file is removed in the end.
pub async fn serve(node: Node, socket: Socket, stop: impl Future<Output = ()>) {
    serve_with(node, socket, Controls::default(), stop).await;
}

/// As [`serve`], with what the API can see and change of the program around the node.
pub async fn serve_with(node: Node, socket: Socket, controls: Controls, stop: impl Future<Output = ()>) {
    accept_all(node, socket, controls, stop).await;
}

/// Serves what can be read of the API until `stop` completes; then open connections have 2 s to end.
pub async fn serve_http(node: Node, http: Http, stop: impl Future<Output = ()>) {
    accept_all(node, http, Controls::default(), stop).await;
}

async fn accept_all(node: Node, door: impl Door, controls: Controls, stop: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
    let router = door.routes(router(Shared { node, stopping: stopping.clone(), controls }));
    let tasks = TaskTracker::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = door.accept() => accepted,
        };
        match accepted {
            Ok(stream) => match Arc::clone(&connections).try_acquire_owned() {
                Ok(permit) => {
                    let connection = connection(stream, router.clone(), permit, stopping.clone());
                    tasks.spawn(cut.clone().run_until_cancelled_owned(connection));
                }
                Err(_) => {
                    if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                        tasks.spawn(refuse(stream, permit));
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(door);
    stopping.cancel();
    tasks.close();
    if timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::debug!(connections = tasks.len(), "connections are cut off");
        cut.cancel();
        tasks.wait().await;
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(READ_BYTES_MAX);
    http
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    permit: OwnedSemaphorePermit,
    stopping: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let mut serving = std::pin::pin!(http().serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = &mut serving => served,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
    drop(permit);
}

async fn refuse(stream: impl AsyncRead + AsyncWrite + Unpin, permit: OwnedSemaphorePermit) {
    let service = service_fn(async |_: Request<Incoming>| -> Result<Response, Infallible> {
        Ok(ApiError::too_many_connections().into_response())
    });
    let mut http = http();
    let refusing = http.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    let _ = timeout(REFUSAL, refusing).await;
    drop(permit);
}
