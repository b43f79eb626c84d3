//! A client of a node's socket.

use std::{convert::Infallible, io, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Frame, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::exit::{Exit, Failure, Outcome};
use crate::{
    api::socket,
    views::{Envelope, ErrorView, Published, View},
};

/// Largest answer that is a view: a table of 4,096 full rows, in bytes.
const VIEW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time that a node may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most bytes that are read ahead of a stream.
const READ_BYTES_MAX: usize = 1024 * 1024;

type RequestBody = UnsyncBoxBody<Bytes, Infallible>;

/// A client of one node. Each request has a connection of its own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// An answer that goes on; dropping it closes its connection.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) body: Incoming,
    _connection: AbortOnDropHandle<()>,
}

/// A publication that is under way.
#[derive(Debug)]
pub(crate) struct Publication {
    /// Cancelled as soon as the node publishes the track.
    pub(crate) accepted: CancellationToken,
    answer: JoinHandle<Outcome<Published>>,
}

impl Publication {
    /// The answer, which comes when the stream of chunks has ended or the node refused it.
    /// Cancel-safe.
    pub(crate) async fn answer(&mut self) -> Outcome<Published> {
        (&mut self.answer).await.unwrap_or_else(|error| {
            Err(Failure::internal(format!("the publication failed: {error}"), "this is a bug; please report it"))
        })
    }
}

impl Client {
    pub(crate) fn new(socket: PathBuf) -> Outcome<Self> {
        socket::check_length(&socket)?;
        Ok(Self { socket })
    }

    /// Asks for a view.
    pub(crate) async fn view<T: View + DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.send(Method::GET, path, None::<&()>).await
    }

    /// Asks for a document as it is.
    pub(crate) async fn document(&self, path: &str) -> Outcome<serde_json::Value> {
        let answer = async {
            let (response, _connection) = self.request(request(Method::GET, path, Empty::new().boxed_unsync())).await?;
            if !response.status().is_success() {
                return Err(self.read_error(response).await);
            }
            serde_json::from_slice(&self.read(response).await?).map_err(|_| self.not_understood())
        };
        timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    /// Sends a document, or nothing, and reads the view that is the answer.
    pub(crate) async fn send<T: View + DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: Option<&impl Serialize>,
    ) -> Outcome<T> {
        let document = document.map(|document| serde_json::to_vec(document).expect("documents have text keys"));
        let body = Full::from(document.unwrap_or_default()).boxed_unsync();
        let answer = async {
            let (response, _connection) = self.request(request(method, path, body)).await?;
            self.read_view(response).await
        };
        timeout(ANSWER, answer).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    fn too_late(&self) -> Failure {
        let message = format!("the node on {} did not answer within 30 s", self.socket.display());
        Failure::new(Exit::Timeout, message, "is its machine overloaded? try again")
    }

    /// Asks for a stream.
    pub(crate) async fn stream(&self, path: &str) -> Outcome<Streamed> {
        let (response, connection) = self.request(request(Method::GET, path, Empty::new().boxed_unsync())).await?;
        if !response.status().is_success() {
            return Err(self.read_error(response).await);
        }
        Ok(Streamed { body: response.into_body(), _connection: connection })
    }

    /// Publishes what comes out of `chunks`; nothing is taken before the node has accepted.
    pub(crate) fn publish(&self, path: String, chunks: mpsc::Receiver<Bytes>) -> Publication {
        let accepted = CancellationToken::new();
        let gate = accepted.clone();
        let frames = stream::unfold((gate, chunks), |(gate, mut chunks)| async move {
            gate.cancelled().await;
            let chunk = chunks.recv().await?;
            Some((Ok(Frame::data(chunk)), (gate, chunks)))
        });
        let mut request = request(Method::PUT, &path, StreamBody::new(frames).boxed_unsync());
        request.headers_mut().insert(header::EXPECT, header::HeaderValue::from_static("100-continue"));
        let gate = accepted.clone();
        hyper::ext::on_informational(&mut request, move |_| gate.cancel());
        let client = self.clone();
        let answer = tokio::spawn(async move {
            let (response, _connection) = client.request(request).await?;
            client.read_view(response).await
        });
        Publication { accepted, answer }
    }

    /// That the node is gone, as far as this client can tell.
    pub(crate) fn lost(&self, error: &dyn std::error::Error) -> Failure {
        let message = format!("the node on {} went away: {error}", self.socket.display());
        Failure::new(Exit::Unreachable, message, "start it again with `banyan run`")
    }

    async fn request(&self, request: Request<RequestBody>) -> Outcome<(Response<Incoming>, AbortOnDropHandle<()>)> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let mut http = http1::Builder::new();
        http.max_buf_size(READ_BYTES_MAX);
        let (mut sender, connection) = http.handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(&error))?;
        // An error of the connection also reaches the request or its body.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(|error| self.lost(&error))?;
        Ok((response, connection))
    }

    async fn read_view<T: View + DeserializeOwned>(&self, response: Response<Incoming>) -> Outcome<T> {
        if !response.status().is_success() {
            return Err(self.read_error(response).await);
        }
        let bytes = self.read(response).await?;
        match serde_json::from_slice::<Envelope<T>>(&bytes) {
            Ok(envelope) if envelope.schema == T::SCHEMA => Ok(envelope.data),
            _ => Err(self.not_understood()),
        }
    }

    async fn read_error(&self, response: Response<Incoming>) -> Failure {
        let bytes = match self.read(response).await {
            Ok(bytes) => bytes,
            Err(failure) => return failure,
        };
        match serde_json::from_slice::<Envelope<ErrorView>>(&bytes) {
            Ok(envelope) => envelope.data.into(),
            Err(_) => self.not_understood(),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Outcome<Bytes> {
        match Limited::new(response.into_body(), VIEW_BYTES_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(self.not_understood()),
            Err(error) => Err(self.lost(&*error)),
        }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let path = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                let hint = "start one with `banyan run`, or name its --socket or --mesh";
                Failure::new(Exit::Unreachable, format!("no node answers on {path}"), hint)
            }
            io::ErrorKind::PermissionDenied => {
                let hint = "only the user who runs the node may talk to it";
                Failure::new(Exit::Denied, format!("access to {path} is denied"), hint)
            }
            _ => {
                let hint = "is this the socket of a node? see `banyan run --help`";
                Failure::new(Exit::Unreachable, format!("cannot reach a node on {path}: {error}"), hint)
            }
        }
    }

    fn not_understood(&self) -> Failure {
        let message = format!("the answer on {} is not one of a node that this program knows", self.socket.display());
        Failure::internal(message, "use the same version of banyan for both")
    }
}

fn request(method: Method, path: &str, body: RequestBody) -> Request<RequestBody> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "banyan")
        .header(header::TE, "trailers")
        .body(body)
        .expect("names and arguments are checked, so that paths need no escapes")
}
