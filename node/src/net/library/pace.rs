//! What live tracks and the library's serving have of each other.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::lock;
use crate::library::pace::Pace;

/// The pace of a node's packages; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct SharedPace(Arc<Mutex<Pace>>);

impl SharedPace {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Pace::new(now))))
    }

    /// Objects of a live track went on their way after so long.
    pub(crate) fn note_live(&self, waited: Duration) {
        lock(&self.0).handle_live(Instant::now(), waited);
    }

    /// Waits until these bytes of a package may go.
    pub(super) async fn wait(&self, bytes: u64) {
        let wait = lock(&self.0).handle_bulk(Instant::now(), bytes);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}
