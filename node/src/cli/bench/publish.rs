//! `banyan bench publish`: numbered objects → track of a mesh that runs.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    args,
    feed::{Clock, Feed},
    report::{per_second, rounded},
    show,
};
use crate::{
    cli::{
        client::Client,
        exit::{Exit, Failure, Outcome},
        publish::mode_name,
        signals::Signals,
    },
    views::reports::{BenchResults, Publish},
};

/// Objects that are due are sent together up to this size, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// Time for the node to accept the publication.
const ACCEPTED: Duration = Duration::from_secs(30);

pub(super) async fn publish(args: args::Publish) -> Outcome {
    let args::Publish { track, at, load, format } = args;
    load.check()?;
    let client = Client::new(at.path())?;
    let mut signals = Signals::listen()?;
    let (chunks, queue) = mpsc::channel(2);
    let mode = mode_name(load.mode);
    let mut publication = client.publish(format!("/v1/tracks/{track}/publish?framing=length&mode={mode}"), queue);
    let accepted = publication.accepted.clone();
    tokio::select! {
        accepted = timeout(ACCEPTED, accepted.cancelled()) => accepted.map_err(|_| {
            Failure::new(Exit::Timeout, "the node did not accept the track in time", "is its machine overloaded? try again")
        })?,
        answer = publication.answer() => return Err(answer.err().unwrap_or_else(ended_early)),
        () = signals.next() => return Err(interrupted("before anything was published", "let it start")),
    }

    let start = Instant::now();
    let fed = feed(Feed::start(&load, Clock::new()), &chunks);
    let is_interrupted = tokio::select! {
        answer = publication.answer() => return Err(answer.err().unwrap_or_else(ended_early)),
        () = fed => false,
        () = signals.next() => true,
    };
    drop(chunks);
    let published = tokio::select! {
        answer = publication.answer() => answer?,
        () = signals.next() => {
            return Err(interrupted("before the node had taken everything", "wait, or interrupt once only"));
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let found = Publish {
        track: track.to_string(),
        mode: load.mode,
        size: load.size,
        rate: load.rate,
        sent: published.objects,
        seconds: rounded(seconds),
        objects_per_s: per_second(published.objects as f64, seconds),
        mb_per_s: per_second(published.bytes as f64 / 1e6, seconds),
    };
    show(format, is_interrupted, BenchResults::Publish(found))
}

/// Sends objects until the time is over, those that are due together.
async fn feed(mut feed: Feed, chunks: &mpsc::Sender<Bytes>) {
    let length = u32::try_from(feed.size()).expect("objects are at most 16 MiB");
    while feed.due().await {
        let mut chunk = BytesMut::new();
        loop {
            chunk.put_u32(length);
            feed.write(&mut chunk);
            if chunk.len() >= BATCH_BYTES || !feed.is_due() {
                break;
            }
        }
        if chunks.send(chunk.freeze()).await.is_err() {
            // The node refused what follows; its answer says why.
            return std::future::pending().await;
        }
    }
}

fn interrupted(when: &str, hint: &str) -> Failure {
    Failure::new(Exit::Partial, format!("interrupted {when}"), hint)
}

fn ended_early() -> Failure {
    Failure::internal("the publication ended before the stream did", "this is a bug; please report it")
}
