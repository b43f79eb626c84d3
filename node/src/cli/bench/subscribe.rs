//! `banyan bench subscribe`: track of a mesh that runs → what arrived, and when.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use tokio::time::{Instant, sleep, sleep_until};

use super::{args, feed::Clock, show, tally::Tally, verdict};
use crate::{
    api::framing::ObjectReader,
    cli::{
        client::{Client, Streamed},
        exit::{Exit, Failure, Outcome},
        signals::Signals,
        subscribe,
    },
    views::reports::{BenchResults, Delivery, Subscribe},
};

/// Pause before a track that has ended is looked at again.
const AGAIN: Duration = Duration::from_millis(100);

/// Why receiving ended.
enum Ended {
    /// The node ended the stream and said why.
    Stream(HeaderMap),
    Time,
    Signal,
}

pub(super) async fn subscribe(args: args::Subscribe) -> Outcome {
    let args::Subscribe { track, at, seconds, timeout, format } = args;
    let client = Client::new(at.path())?;
    let mut signals = Signals::listen()?;
    let give_up = Instant::now() + timeout;
    let wait = timeout.as_secs_f64();
    let path = format!("/v1/tracks/{track}/subscribe?from=latest&framing=length&timeout={wait}");
    let mut stream = client.stream(&path).await?;
    let clock = Clock::new();
    let mut tally = Tally::default();
    let mut objects = ObjectReader::default();
    let mut deadline = None;
    let ended = loop {
        let chunk = tokio::select! {
            chunk = next(&mut stream, &client) => chunk?,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break Ended::Time,
            () = signals.next() => break Ended::Signal,
        };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            // The track has ended before; whoever publishes it anew is waited for.
            Err(trailers) if tally.objects == 0 && subscribe::ended(&trailers).is_ok() && Instant::now() < give_up => {
                sleep(AGAIN).await;
                stream = client.stream(&path).await?;
                continue;
            }
            Err(trailers) => break Ended::Stream(trailers),
        };
        objects.push(&chunk);
        while let Some((_, object)) = objects.next_object().map_err(|error| {
            Failure::internal(format!("the node sends {error}"), "use the same version of banyan for both")
        })? {
            if !tally.take(clock.now_ns(), &object) {
                let message = format!("track {track} carries other objects than those of `banyan bench publish`");
                return Err(Failure::usage(message, "choose a track of its own, or use `banyan subscribe`"));
            }
            deadline.get_or_insert_with(|| Instant::now() + seconds);
        }
    };

    let end_ns = if matches!(ended, Ended::Stream(_)) { tally.last_ns } else { clock.now_ns() };
    let (interrupted, outcome) = match ended {
        Ended::Stream(trailers) => {
            // The last objects of a track may be missing too, after which no number comes.
            tally.lost = tally.lost.max(subscribe::missing(&trailers));
            (false, subscribe::ended(&trailers))
        }
        Ended::Time => (false, Ok(())),
        Ended::Signal => (true, Ok(())),
    };
    if tally.objects == 0 {
        outcome?;
        return Err(if interrupted {
            Failure::new(Exit::Partial, "interrupted before any object came", "let it receive")
        } else {
            let message = "the track has ended, and nobody published it anew in time";
            Failure::new(Exit::Timeout, message, "publish with `banyan bench publish`, or wait longer with --timeout")
        });
    }
    let seconds = end_ns.saturating_sub(tally.first_ns.unwrap_or(end_ns)) as f64 / 1e9;
    // The first object starts the clock; the rates are those of the others.
    let share = (tally.objects - 1) as f64 / tally.objects as f64;
    let delivery = Delivery::of(&tally, seconds, share);
    let found = Subscribe { track: track.to_string(), bytes: tally.bytes, early: tally.early, delivery };
    show(format, interrupted, BenchResults::Subscribe(found))?;
    outcome?;
    verdict(tally.lost, tally.doubled)
}

/// The next bytes of the stream, or its trailers at its end. Cancel-safe.
async fn next(stream: &mut Streamed, client: &Client) -> Outcome<Result<Bytes, HeaderMap>> {
    match stream.body.frame().await {
        Some(Ok(frame)) => Ok(frame.into_data().map_err(|frame| frame.into_trailers().unwrap_or_default())),
        Some(Err(error)) => Err(client.lost(&error)),
        None => Ok(Err(HeaderMap::new())),
    }
}
