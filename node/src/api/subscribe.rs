//! `GET /v1/tracks/{track}/subscribe`: a track becomes a response body.
//!
//! How it ended is said by trailers, which only clients that send `TE: trailers` get:
//! `banyan-end: complete | origin-lost | timeout | too-slow | shutdown` and `banyan-missing: <objects>`.

use std::{convert::Infallible, future::pending, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use banyan_gossip::TrackName;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{FutureExt, Stream, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::time::{Instant, sleep_until};

use super::{
    error::ApiError,
    framing::{self, Framing},
    query,
};
use crate::{End, Item, Node, SubscribeOptions, Subscriber};

/// Says how a subscription ended.
pub const END_TRAILER: HeaderName = HeaderName::from_static("banyan-end");
/// Says how many objects were missing.
pub const MISSING_TRAILER: HeaderName = HeaderName::from_static("banyan-missing");

/// Objects that are there already are collected into one chunk up to this size, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// Payloads from this size on are passed on without being copied, in bytes.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// Subscribes to a track.
pub(super) async fn subscribe(node: &Node, track: TrackName, uri: &Uri) -> Result<Response, ApiError> {
    let query::Subscribe { from, framing, timeout } = query::subscribe(uri)?;
    let subscriber = node.subscribe(track, SubscribeOptions { from }).await?;
    let feed = Feed {
        subscriber,
        framing,
        timeout,
        since: Instant::now(),
        batch: BytesMut::new(),
        whole: [None, None],
        origin_lost: false,
        missing: 0,
        end: None,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::TRAILER, HeaderValue::from_static("banyan-end, banyan-missing")),
    ];
    Ok((headers, Body::new(StreamBody::new(feed.into_stream()))).into_response())
}

/// A subscription on its way into a body.
struct Feed {
    subscriber: Subscriber,
    framing: Framing,
    timeout: Option<Duration>,
    /// When the last object came, or the start.
    since: Instant,
    /// Bytes ready to go.
    batch: BytesMut,
    /// A payload that goes after the batch as it is, and what follows it.
    whole: [Option<Bytes>; 2],
    origin_lost: bool,
    missing: u64,
    end: Option<&'static str>,
}

impl Feed {
    fn into_stream(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        stream::unfold(Some(self), |feed| async move {
            let mut feed = feed?;
            match feed.next_chunk().await {
                Some(chunk) => Some((Ok(Frame::data(chunk)), Some(feed))),
                None => Some((Ok(Frame::trailers(feed.trailers())), None)),
            }
        })
    }

    /// The next bytes; `None` at the end.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if let Some(chunk) = self.ready() {
                return Some(chunk);
            }
            if self.end.is_some() {
                return None;
            }
            let item = tokio::select! {
                item = self.subscriber.next() => item,
                () = expiry(self.timeout.map(|timeout| self.since + timeout)) => {
                    self.end = Some(if self.origin_lost { "origin-lost" } else { "timeout" });
                    continue;
                }
            };
            self.take(item);
            while self.has_room() {
                let Some(item) = self.subscriber.next().now_or_never() else { break };
                self.take(item);
            }
        }
    }

    fn ready(&mut self) -> Option<Bytes> {
        if !self.batch.is_empty() {
            return Some(self.batch.split().freeze());
        }
        self.whole.iter_mut().find_map(Option::take)
    }

    fn has_room(&self) -> bool {
        self.end.is_none() && self.whole[0].is_none() && self.batch.len() < BATCH_BYTES
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Object { id, payload } => {
                self.since = Instant::now();
                self.origin_lost = false;
                self.write(id, payload);
            }
            Item::Gap { from, to } => self.missing = self.missing.saturating_add(to.saturating_sub(from)),
            Item::Epoch { .. } => {}
            Item::OriginLost(lost) => self.origin_lost = lost,
            Item::End(end) => {
                self.end = Some(match end {
                    End::Complete => "complete",
                    End::TooSlow => "too-slow",
                    End::Shutdown => "shutdown",
                });
            }
        }
    }

    fn write(&mut self, id: u64, payload: Bytes) {
        if self.framing == Framing::Length {
            self.batch.put_slice(&framing::head(id, payload.len()));
        }
        let newline = (self.framing == Framing::Lines).then(|| Bytes::from_static(b"\n"));
        if payload.len() > COPY_BYTES_MAX {
            self.whole = [Some(payload), newline];
        } else {
            self.batch.put_slice(&payload);
            self.batch.put_slice(newline.as_deref().unwrap_or_default());
        }
    }

    fn trailers(&self) -> HeaderMap {
        let end = HeaderValue::from_static(self.end.unwrap_or("shutdown"));
        HeaderMap::from_iter([(END_TRAILER, end), (MISSING_TRAILER, HeaderValue::from(self.missing))])
    }
}

async fn expiry(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
