//! When bytes came from a peer on its data streams: written by their tasks, read by the core.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Signs of life of one peer.
#[derive(Debug)]
pub(crate) struct Activity {
    base: Instant,
    /// Microseconds from `base` to the last one.
    last: AtomicU64,
    times: AtomicU32,
}

impl Default for Activity {
    fn default() -> Self {
        Self { base: Instant::now(), last: AtomicU64::new(0), times: AtomicU32::new(0) }
    }
}

impl Activity {
    /// Bytes came.
    pub(crate) fn note(&self) {
        let micros = u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(micros, Ordering::Relaxed);
        self.times.fetch_add(1, Ordering::Release);
    }

    /// When bytes came last; when this was made if none did.
    pub(crate) fn last(&self) -> Instant {
        self.base + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    /// When bytes came last and how many times since the last call, if they did.
    pub(crate) fn take(&self) -> Option<(Instant, u32)> {
        let times = self.times.swap(0, Ordering::Acquire);
        let last = Duration::from_micros(self.last.load(Ordering::Relaxed));
        (times > 0).then(|| (self.base + last, times))
    }
}
