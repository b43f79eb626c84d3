//! What a node received.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    api::framing::ObjectReader,
    cli::{
        client::{Client, Streamed},
        exit::Outcome,
    },
};

/// The objects that a node delivered, counted by their ids.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Objects with an id not seen before.
    pub(super) objects: u64,
    /// Objects whose id came before.
    pub(super) duplicates: u64,
    /// Times that ids were skipped.
    pub(super) gaps: u64,
    /// The id after the greatest seen.
    next: u64,
    digest: Sha256,
    /// When an object came last.
    last: Option<Instant>,
    /// Longest time between two objects since it was last taken.
    pause: Duration,
    /// Whether the stream has ended, well or not.
    pub(super) ended: bool,
}

impl Tally {
    fn take(&mut self, now: Instant, id: u64, payload: &[u8]) {
        self.digest.update(payload);
        let before = self.last.replace(now).unwrap_or(now);
        self.pause = self.pause.max(now.saturating_duration_since(before));
        if id < self.next {
            self.duplicates += 1;
            return;
        }
        self.gaps += u64::from(id > self.next);
        self.objects += 1;
        self.next = id.saturating_add(1);
    }

    /// The longest time between two objects since the last call.
    pub(super) fn take_pause(&mut self) -> Duration {
        std::mem::take(&mut self.pause)
    }

    /// The digest of all payloads as they came.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }
}

/// A subscription that is being counted; dropping it ends it.
#[derive(Debug)]
pub(super) struct Receiver {
    tally: Arc<Mutex<Tally>>,
    _task: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Subscribes to a track from its start.
    pub(super) async fn start(client: &Client, track: &str) -> Outcome<Self> {
        let stream = client.stream(&format!("/v1/tracks/{track}/subscribe?from=oldest&framing=length")).await?;
        let tally = Arc::<Mutex<Tally>>::default();
        let task = tokio::spawn(receive(stream, Arc::clone(&tally)));
        Ok(Self { tally, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        lock(&self.tally)
    }
}

async fn receive(mut stream: Streamed, tally: Arc<Mutex<Tally>>) {
    let mut reader = ObjectReader::default();
    // An error is the end too: of a killed node it is expected, of another the digest will tell.
    while let Some(Ok(frame)) = stream.body.frame().await {
        let Some(chunk) = frame.data_ref() else { continue };
        reader.push(chunk);
        let mut tally = lock(&tally);
        while let Ok(Some((id, payload))) = reader.next_object() {
            tally.take(Instant::now(), id, &payload);
        }
    }
    lock(&tally).ended = true;
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().expect("counting does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_gaps_are_told_by_ids() {
        let mut tally = Tally::default();
        for id in [0, 1, 1, 4, 2, 5, 9] {
            tally.take(Instant::now(), id, b"x");
        }
        assert_eq!((tally.objects, tally.duplicates, tally.gaps), (5, 2, 2));
        assert_eq!(tally.sha256(), <[u8; 32]>::from(Sha256::digest(b"xxxxxxx")));
    }
}
