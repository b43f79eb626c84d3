//! Routes that say why things are as they are: `/v1/repairs`, `/v1/why/…`, `/v1/peers/…`.

use axum::{Router, extract::State, http::Uri, response::Response, routing::get};

use super::{Shared, error::ApiError, query, route::percent_decode, shown, wait};

use crate::{logs, views::log::LogLines};

/// Longest name of a peer or track in a path, in bytes.
const NAME_BYTES_MAX: usize = 512;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/v1/repairs", get(repairs))
        .route("/v1/why/{*what}", get(why))
        .route("/v1/peers/{peer}", get(peer))
        .route("/v1/peers/{peer}/ping", get(ping))
        .route("/v1/wait/{condition}", get(wait::wait))
        .route("/v1/doctor", get(doctor))
        .route("/v1/log/lines", get(log_lines))
}

async fn repairs(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.repairs().await?))
}

async fn why(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.why(&name(&uri, "/v1/why/")?).await?))
}

async fn peer(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.peer_detail(&name(&uri, "/v1/peers/")?).await?))
}

async fn ping(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let name = name(&uri, "/v1/peers/")?;
    Ok(shown(shared.node.ping(name.strip_suffix("/ping").unwrap_or(&name)).await?))
}

async fn doctor(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(shared.node.checkup().await?))
}

async fn log_lines(uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(LogLines { lines: logs::lines() }))
}

/// What a path names after its beginning.
pub(super) fn name(uri: &Uri, beginning: &str) -> Result<String, ApiError> {
    let raw = uri.path().strip_prefix(beginning).ok_or_else(|| ApiError::unknown_route(uri.path()))?;
    let name = percent_decode(raw).ok_or_else(|| ApiError::bad_encoding(raw))?;
    if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return Err(ApiError::bad_argument("the name is too long or holds control characters", "write a short name"));
    }
    Ok(name)
}
