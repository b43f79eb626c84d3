//! What changes the node: capacity, tags, events for everybody, joining, leaving, logging.

use std::{
    fmt,
    sync::{Arc, RwLock},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
    routing::{get, post, put},
};

use super::{Shared, body::read, error::ApiError, not_allowed, query, shown};
use crate::views::control::{
    Capacity, CapacityRequest, Config, JoinRequest, Joined, Left, Log, Tags, TagsRequest, TellRequest, Told,
};

/// Logs by another filter from now on, or says what is wrong with it.
pub type LogControl = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What the API can see and change of the program around the node.
#[derive(Clone, Default)]
pub struct Controls {
    /// What is logged.
    pub log: Option<LogControl>,
    /// The settings that the node was started with, as they are now.
    pub config: Option<Arc<RwLock<Config>>>,
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The routes; `POST /v1/events` is beside `GET`.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/capacity", put(capacity).fallback(async || not_allowed("PUT")))
        .route("/v1/tags", post(tags).fallback(async || not_allowed("POST")))
        .route("/v1/join", post(join).fallback(async || not_allowed("POST")))
        .route("/v1/leave", post(leave).fallback(async || not_allowed("POST")))
        .route("/v1/log", put(log).fallback(async || not_allowed("PUT")))
        .route("/v1/config", get(config))
}

type Answer = Result<Response, ApiError>;

async fn capacity(State(shared): State<Shared>, uri: Uri, body: Body) -> Answer {
    query::none(&uri)?;
    let CapacityRequest { capacity } = read(body, r#"{"capacity":4}"#).await?;
    shared.node.set_capacity(capacity).await?;
    let status = shared.node.status().await?;
    Ok(shown(Capacity { capacity: status.capacity, slots_free: status.slots_free }))
}

async fn tags(State(shared): State<Shared>, uri: Uri, body: Body) -> Answer {
    query::none(&uri)?;
    let TagsRequest { set, unset } = read(body, r#"{"set":{"site":"berlin"},"unset":["rack"]}"#).await?;
    Ok(shown(Tags { tags: shared.node.change_tags(set, unset).await? }))
}

/// `POST /v1/events`.
pub(super) async fn tell(State(shared): State<Shared>, uri: Uri, body: Body) -> Answer {
    query::none(&uri)?;
    let TellRequest { name, payload } = read(body, r#"{"name":"deploy","payload":"v2"}"#).await?;
    Ok(shown(Told { id: shared.node.tell(name, payload).await? }))
}

async fn join(State(shared): State<Shared>, uri: Uri, body: Body) -> Answer {
    query::none(&uri)?;
    let JoinRequest { address } = read(body, r#"{"address":"machine-a:4001"}"#).await?;
    Ok(shown(Joined { peer_id: shared.node.join(&address).await?.to_string() }))
}

async fn leave(State(shared): State<Shared>, uri: Uri) -> Answer {
    query::none(&uri)?;
    shared.node.shutdown().await;
    Ok(shown(Left { peer_id: shared.node.peer_id().to_string() }))
}

async fn log(State(shared): State<Shared>, uri: Uri, body: Body) -> Answer {
    query::none(&uri)?;
    let set = shared.controls.log.ok_or_else(|| not_configurable("what is logged"))?;
    let log: Log = read(body, r#"{"filter":"debug"}"#).await?;
    let hint = "write debug, or warn,banyan_node=debug";
    set(&log.filter).map_err(|message| ApiError::bad_argument(message, hint))?;
    Ok(shown(log))
}

async fn config(State(shared): State<Shared>, uri: Uri) -> Answer {
    query::none(&uri)?;
    let config = shared.controls.config.ok_or_else(|| not_configurable("the configuration"))?;
    let config = config.read().expect("nobody panics while writing it").clone();
    Ok(shown(config))
}

fn not_configurable(what: &str) -> ApiError {
    let message = format!("{what} is up to the program that this node is a part of");
    ApiError::new(StatusCode::CONFLICT, "not_configurable", message, "ask a node that `banyan run` started")
}
