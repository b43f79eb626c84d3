//! The main loop shows that it turns.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Something done by the main loop itself, as often as this.
#[derive(Clone)]
pub(crate) struct Heartbeat {
    interval: Duration,
    due: Instant,
    beat: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// The first beat is due at once.
    pub(crate) fn new(interval: Duration, beat: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { interval, due: Instant::now(), beat }
    }

    pub(super) const fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn beat_if_due(&mut self, now: Instant) {
        if self.due <= now {
            self.due = now + self.interval;
            (self.beat)();
        }
    }
}
