//! `GET /v1/events`: what happens on the node, as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::query::Events;
use crate::{
    EventStream, Node,
    views::{EventView, View},
};

/// How often a silent stream says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Streams events until the server stops, or only those that have happened.
pub(super) fn events(node: &Node, wanted: Events, stopping: CancellationToken) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    let messages = messages(node.events_since(wanted.since), wanted.follow).take_until(stopping.cancelled_owned());
    Sse::new(messages).keep_alive(keep_alive).into_response()
}

fn messages(events: EventStream, follow: bool) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(events, move |mut events| async move {
        let view = if follow { events.next().await? } else { events.next_past()? };
        Some((Ok(message(view)), events))
    })
}

fn message(view: EventView) -> Event {
    let (id, kind) = (view.seq.to_string(), view.event.kind());
    let data = serde_json::to_string(&view.enveloped()).expect("views have text keys and finite numbers");
    Event::default().event(kind).id(id).data(data)
}
