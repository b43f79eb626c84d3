//! `PUT /v1/tracks/{track}/publish`: a request body becomes a track.
//!
//! The body is read no faster than the track takes it, so that a held-up track holds up the client.
//! The track ends with the body, however that ends: a client that is gone cannot go on, and its
//! subscribers should not wait for it.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    http::Uri,
    response::{IntoResponse, Response},
};
use banyan_gossip::TrackName;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::{error::ApiError, framing::Cutter, query};
use crate::{
    Node, PublishOptions, Publisher,
    views::{Published, View},
};

/// How long the rest of a body is read after it was refused, so that the client gets to read why.
const DRAIN: Duration = Duration::from_secs(2);

/// Publishes a request body.
pub(super) async fn publish(node: &Node, track: TrackName, uri: &Uri, mut body: Body) -> Response {
    match run(node, track, uri, &mut body).await {
        Ok(published) => Json(published.enveloped()).into_response(),
        Err(error) => {
            tokio::spawn(tokio::time::timeout(DRAIN, async move { while let Some(Ok(_)) = body.frame().await {} }));
            error.into_response()
        }
    }
}

async fn run(node: &Node, track: TrackName, uri: &Uri, body: &mut Body) -> Result<Published, ApiError> {
    let arguments = query::publish(uri)?;
    let options = PublishOptions { mode: arguments.mode, integrity: arguments.integrity };
    let mut publisher = node.publish(track.clone(), options).await?;
    let mut published = Published { track: track.to_string(), epoch: publisher.epoch(), objects: 0, bytes: 0 };
    let cutter = Cutter::new(arguments.framing, arguments.object_bytes);
    let sent = send_body(&mut publisher, cutter, body, &mut published).await;
    let finished = publisher.finish().await;
    sent.and_then(|()| finished.map_err(ApiError::from)).map_err(|error| error.after(published.objects))?;
    Ok(published)
}

async fn send_body(
    publisher: &mut Publisher,
    mut cutter: Cutter,
    body: &mut Body,
    published: &mut Published,
) -> Result<(), ApiError> {
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame else {
            tracing::info!(track = published.track, "a publishing client is gone without ending its stream");
            return Err(ApiError::bad_argument("the stream broke off", "end it cleanly"));
        };
        let Ok(chunk) = chunk.into_data() else { continue };
        cutter.push(chunk);
        while let Some(object) = cutter.next_object()? {
            send(publisher, object, published).await?;
        }
    }
    if let Some(object) = cutter.finish()? {
        send(publisher, object, published).await?;
    }
    Ok(())
}

async fn send(publisher: &mut Publisher, object: Bytes, published: &mut Published) -> Result<(), ApiError> {
    let length = object.len();
    publisher.send(object).await?;
    published.objects += 1;
    published.bytes += length as u64;
    Ok(())
}
