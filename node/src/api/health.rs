//! `GET /livez`, `/readyz?min_peers=N`: for those who watch many nodes.

use std::time::{Duration, Instant};

use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use tokio::time::timeout;

use super::{Shared, error::ApiError, query, shown};
use crate::views::{Health, Status};

/// Time in which the main loop must turn.
const TURN: Duration = Duration::from_secs(1);

/// Whether the main loop turns.
pub(super) async fn livez(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    query::none(&uri)?;
    Ok(shown(look(&shared).await?.0))
}

/// Whether the node listens and knows enough live peers.
pub(super) async fn readyz(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    let min_peers = query::min_peers(&uri)?;
    let (health, status) = look(&shared).await?;
    if status.addresses.is_empty() {
        return Err(not_ready("the node does not listen yet".to_owned(), "wait a moment, then look at its log"));
    }
    if status.peers < min_peers {
        let message = format!("{} live peers are known, {min_peers} are wanted", status.peers);
        return Err(not_ready(message, "see `banyan peers`; is there a --bootstrap address, or multicast?"));
    }
    Ok(shown(health))
}

async fn look(shared: &Shared) -> Result<(Health, Status), ApiError> {
    let asked = Instant::now();
    // The answer comes from the main loop: what it says matters less than that it speaks.
    let status = timeout(TURN, shared.node.status()).await.map_err(|_| stuck())??;
    let turn_ms = (asked.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    Ok((Health { turn_ms, peers: status.peers, listening: !status.addresses.is_empty() }, status))
}

fn stuck() -> ApiError {
    let hint = "is the machine overloaded? if not, restart the node and report this";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stuck", "the main loop has not turned within 1 s", hint)
}

fn not_ready(message: String, hint: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message, hint)
}
