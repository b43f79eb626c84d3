//! `GET /v1/wait/{condition}?timeout=S`: answers as soon as the condition is true, or when the time is over.

use std::time::Duration;

use axum::{extract::State, http::Uri, response::Response};
use tokio::time::{Instant, sleep};

use super::{Shared, error::ApiError, insight::name, query, shown};
use crate::{Node, NodeError, TrackName, views::checkup::Waited};

/// How often the node is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long a client waits unless it says so.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The node listens.
    Ready,
    /// So many other live peers are known.
    Peers(usize),
    /// A live peer publishes the track and this node, if it follows it, is fed.
    Track(TrackName),
}

/// `ready`, `peers=N` or `track=T`.
pub(crate) fn parse_condition(text: &str) -> Result<Condition, String> {
    match text.split_once('=') {
        None if text == "ready" => Ok(Condition::Ready),
        Some(("peers", count)) => count.parse().map(Condition::Peers).map_err(|_| "peers=N takes a number".to_owned()),
        Some(("track", track)) => TrackName::new(track).map(Condition::Track).map_err(|error| error.to_string()),
        _ => Err(format!(
            "{:?} is no condition: it is ready, peers=N or track=T",
            text.chars().take(64).collect::<String>()
        )),
    }
}

pub(super) async fn wait(State(shared): State<Shared>, uri: Uri) -> Result<Response, ApiError> {
    let text = name(&uri, "/v1/wait/")?;
    let condition = parse_condition(&text).map_err(|error| ApiError::bad_argument(error, "write /v1/wait/peers=3"))?;
    let deadline = Instant::now() + query::timeout(&uri)?.unwrap_or(TIMEOUT);
    loop {
        let missing = missing(&shared.node, &condition).await?;
        if missing.is_none() || Instant::now() >= deadline {
            return Ok(shown(Waited { condition: text, met: missing.is_none(), missing }));
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = shared.stopping.cancelled() => return Err(NodeError::Shutdown.into()),
        }
    }
}

/// What the condition lacks.
async fn missing(node: &Node, condition: &Condition) -> Result<Option<String>, NodeError> {
    Ok(match condition {
        Condition::Ready => {
            let listens = !node.status().await?.addresses.is_empty();
            (!listens).then(|| "the node does not listen anywhere yet".to_owned())
        }
        Condition::Peers(wanted) => {
            let known = node.status().await?.peers;
            (known < *wanted).then(|| format!("{known} of {wanted} peers are known"))
        }
        Condition::Track(name) => {
            let tracks = node.tracks().await?.tracks;
            let track = tracks.into_iter().find(|track| track.track == name.as_str());
            match track {
                None => Some(format!("nobody publishes or follows {name}")),
                Some(track) if track.state == "waiting" => Some(format!("nobody publishes {name}")),
                Some(track) => track
                    .here
                    .filter(|here| here.state != "attached" && here.state != "origin")
                    .map(|here| format!("this node is not fed: {}", here.state)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_understood_or_refused() {
        assert_eq!(parse_condition("ready"), Ok(Condition::Ready));
        assert_eq!(parse_condition("peers=3"), Ok(Condition::Peers(3)));
        assert_eq!(parse_condition("track=cam/1"), Ok(Condition::Track("cam/1".parse().expect("a name"))));
        for text in ["", "read", "peers", "peers=", "peers=-1", "track=", "track=a..b", "ready=1"] {
            assert!(parse_condition(text).is_err(), "{text}");
        }
    }
}
