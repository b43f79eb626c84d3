//! The local HTTP API of a node, over a unix socket, and to read over [TCP](http).
//!
//! | route | answer |
//! |---|---|
//! | `GET /` | a page for browsers |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /livez`, `/readyz?min_peers=` | [health](crate::views::Health), or an error with status 503 |
//! | `GET /v1/status`, `/v1/peers`, `/v1/tracks` | [views](crate::views) |
//! | `GET /v1/tracks/{track}/tree` | the tree of a track |
//! | `GET /v1/events?since=&follow=` | server-sent events, from an event's number or from so long ago |
//! | `GET /v1/why/{peer or track}` | why a peer, or this node's place in a track, is as it is |
//! | `GET /v1/peers/{peer}` | what is known of one peer: by id, part of an id, or label |
//! | `GET /v1/peers/{peer}/ping` | one round trip to it |
//! | `GET /v1/wait/{ready or peers=N or track=T}?timeout=` | answers when it is so, or when the time is over |
//! | `GET /v1/log/lines` | what the node logged last |
//! | `GET /v1/doctor` | what the node finds when it looks at itself and its mesh |
//! | `GET /v1/repairs` | how this node found other parents |
//! | `POST /v1/events` | tells the whole mesh: `{"name":…,"payload":…}` |
//! | `PUT /v1/capacity` | offers other slots: `{"capacity":…}` |
//! | `POST /v1/tags` | changes what the node says of itself: `{"set":{…},"unset":[…]}` |
//! | `POST /v1/join` | joins by an address: `{"address":…}` |
//! | `POST /v1/leave` | says goodbye and ends the node |
//! | `PUT /v1/log` | logs by another filter: `{"filter":…}` |
//! | `GET /v1/openapi.json` | all of this as an OpenAPI document |
//! | `GET /v1/config` | the settings, and where each comes from |
//! | `PUT` or `POST /v1/tracks/{track}/publish?framing=&mode=&object_size=` | the body becomes the track |
//! | `GET /v1/tracks/{track}/subscribe?from=&framing=&timeout=` | the track becomes the body |
//! | `GET /v1/library` | the [library](crate::views::library): what the mesh has |
//! | `GET /v1/library/packages/{package}` | one package: name, name@version, or the first digits of its id |
//! | `GET /v1/library/jobs`, `/v1/library/jobs/{id}`, `/v1/library/jobs/{id}/explain` | what is being done |
//! | `POST /v1/library/get`, `install`, `update`, `uninstall`, `remove`, `verify`, `push` | starts a job: `{"package":…}` |
//! | `POST /v1/library/jobs/{id}/cancel` | stops a job |
//! | `POST` or `DELETE /v1/library/roots` | shares a folder, or no longer: `{"path":…}` |
//! | `GET` or `POST /v1/keys` | the mesh keys by their fingerprints; accepts one more: `{"key":…}` |
//! | `POST /v1/keys/{fingerprint}/use`, `DELETE /v1/keys/{fingerprint}` | uses a key; no longer accepts it |
//! | `POST /v1/invitations` | an invitation: `{"expires_s":…,"uses":…}` |
//!
//! Every answer but the page, the metrics and streams is `{"schema":"banyan.<thing>/v1","data":…}`, errors
//! included.

mod body;
pub mod control;
mod error;
mod events;
pub mod framing;
mod health;
pub mod http;
mod insight;
mod keys;
pub(crate) mod library;
mod metrics;
pub mod openapi;
mod page;
mod publish;
pub(crate) mod query;
mod route;
mod server;
pub mod socket;
pub mod subscribe;
pub(crate) mod wait;

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};

use tokio_util::sync::CancellationToken;

use self::{control::Controls, error::ApiError, route::Action};
use crate::{Node, views::View};

pub use server::{serve, serve_http, serve_with};

/// What the routes work with.
#[derive(Debug, Clone)]
struct Shared {
    node: Node,
    /// Cancelled when the server stops.
    stopping: CancellationToken,
    controls: Controls,
}

fn router(shared: Shared) -> Router {
    page::routes()
        .route("/metrics", get(metrics::metrics))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/v1/status", get(status))
        .route("/v1/peers", get(peers))
        .route("/v1/tracks", get(tracks))
        .route("/v1/events", get(stream_events).post(control::tell).fallback(async || not_allowed("GET, POST")))
        .merge(control::routes())
        .route("/v1/openapi.json", get(describe))
        .route("/v1/tracks/{*rest}", any(track))
        .merge(insight::routes())
        .merge(keys::routes())
        .route("/v1/library", any(library::answer))
        .route("/v1/library/{*rest}", any(library::answer))
        .fallback(async |uri: Uri| ApiError::unknown_route(uri.path()))
        .method_not_allowed_fallback(async || not_allowed("GET"))
        .with_state(shared)
}

async fn status(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.status().await?))
}

async fn peers(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.peers().await?))
}

async fn tracks(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.tracks().await?))
}

async fn stream_events(State(shared): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, ApiError> {
    let wanted = query::events(&uri, &headers)?;
    Ok(events::events(&shared.node, wanted, shared.stopping))
}

async fn describe(uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(Json(openapi::document()).into_response())
}

async fn track(State(shared): State<Shared>, method: Method, uri: Uri, body: Body) -> Result<Response, ApiError> {
    let (track, action) = route::parse(uri.path())?;
    match (action, method) {
        (Action::Tree, Method::GET | Method::HEAD) => {
            query::none(&uri)?;
            Ok(shown(shared.node.tree(&track).await?))
        }
        (Action::Offload, Method::GET | Method::HEAD) => {
            query::none(&uri)?;
            Ok(shown(shared.node.offload(&track).await?))
        }
        (Action::Subscribe, Method::GET) => subscribe::subscribe(&shared.node, track, &uri).await,
        (Action::Publish, Method::PUT | Method::POST) => Ok(publish::publish(&shared.node, track, &uri, body).await),
        (Action::Tree | Action::Offload | Action::Subscribe, _) => Ok(not_allowed("GET")),
        (Action::Publish, _) => Ok(not_allowed("PUT, POST")),
    }
}

fn shown(view: impl View) -> Response {
    Json(view.enveloped()).into_response()
}

fn not_allowed(methods: &'static str) -> Response {
    ([(header::ALLOW, methods)], ApiError::method_not_allowed(methods)).into_response()
}
