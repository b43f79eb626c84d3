//! `GET /v1/events`: what happens on the node, as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    EventStream, Node,
    views::{EventView, View},
};

/// How often a silent stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Streams events from now on, until the server stops.
pub(super) fn events(node: &Node, stopping: CancellationToken) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let messages = messages(node.events()).take_until(stopping.cancelled_owned());
    Sse::new(messages).keep_alive(keep_alive).into_response()
}

fn messages(events: EventStream) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(events, |mut events| async {
        let view = events.next().await?;
        Some((Ok(message(view)), events))
    })
}

fn message(view: EventView) -> Event {
    let (id, kind) = (view.seq.to_string(), view.event.kind());
    let data = serde_json::to_string(&view.enveloped()).expect("views have text keys and finite numbers");
    Event::default().event(kind).id(id).data(data)
}
