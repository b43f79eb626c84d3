//! Sealing what this node publishes: at once where little comes, by a task of its own where much does.

use std::{
    sync::{
        Arc, Mutex, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use banyan_gossip::Keys;
use tokio::time::sleep_until;

use super::{bell::Bell, line::Line};
use crate::relay::seal::{Pace, Scope};

/// Seals the groups of one publication.
pub(crate) struct Sealer {
    line: Arc<Line>,
    scope: Scope,
    keys: Arc<dyn Keys>,
    /// Held while a group is sealed: one after the other.
    pace: Mutex<Pace>,
    closed: AtomicBool,
    /// Rings when something waits to be sealed.
    published: Bell,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals a publication until [`Sealer::close`].
    pub(crate) fn start(line: Arc<Line>, scope: Scope, keys: Arc<dyn Keys>) -> Arc<Self> {
        let (pace, closed) = (Mutex::default(), AtomicBool::new(false));
        let sealer = Arc::new(Self { line, scope, keys, pace, closed, published: Bell::default() });
        tokio::spawn(run(Arc::clone(&sealer)));
        sealer
    }

    /// Something was published: seals it if that is due.
    pub(crate) fn published(&self, now: Instant) {
        if self.seal_due(now).is_some() {
            self.published.ring();
        }
    }

    /// Nothing more is published: seals the rest, and the end if the track has come to it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.published.ring();
    }

    /// Seals what is due. Returns when the rest will be.
    fn seal_due(&self, now: Instant) -> Option<Instant> {
        let mut pace = match self.pace.try_lock() {
            Ok(pace) => pace,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another is at it, and looks again.
            Err(TryLockError::WouldBlock) => return Some(now),
        };
        let closed = self.closed.load(Ordering::Relaxed);
        loop {
            let track = self.line.lock();
            let tail = track.ring().tail_bytes();
            if tail == 0 {
                let (end, at) = (track.end(), track.ring().verified());
                drop(track);
                if end.is_some() && closed {
                    let seal = self.scope.seal_end(&*self.keys, at);
                    let _ = self.line.acking(|track| track.seal(now, seal, &[]));
                }
                return None;
            }
            let due = pace.due(now, tail);
            if due > now && !closed {
                return Some(due);
            }
            let group = track.next_group()?;
            drop(track);
            let seal = self.scope.seal(&*self.keys, &group);
            pace.sealed(now);
            // It follows what was sealed last: nobody else seals this track.
            self.line.acking(|track| track.seal(now, seal, &group.chunks)).ok()?;
        }
    }
}

async fn run(sealer: Arc<Sealer>) {
    loop {
        let times = sealer.published.times();
        let sealed = sealer.line.lock().ring().tail_bytes();
        let due = sealer.seal_due(Instant::now());
        if sealed > 0 || sealer.closed.load(Ordering::Relaxed) {
            sealer.line.announce(Instant::now());
            sealer.line.acks.ring();
        }
        match due {
            Some(due) => sleep_until(due.into()).await,
            None if sealer.closed.load(Ordering::Relaxed) => return,
            None => sealer.published.rung_since(times).await,
        }
    }
}
