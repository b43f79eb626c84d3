//! A bell: whoever waits for it is woken, and ringing it costs next to nothing while nobody does.
//!
//! It is rung for every object and every acknowledgement, mostly while those who care are busy anyway and
//! look again by themselves. `tokio::sync::watch` passes through nine locks and counters each time.

use std::{
    pin::pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// See the module. To miss nothing, take [`Bell::times`] before looking at what the bell is rung for.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    times: AtomicU64,
    waiting: AtomicUsize,
    notify: Notify,
}

impl Bell {
    /// Wakes all who wait.
    pub(crate) fn ring(&self) {
        // One who begins to wait first says so and then looks at `times`: either it sees this, or is seen here.
        self.times.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.notify.notify_waiters();
        }
    }

    /// How many times it was rung.
    pub(crate) fn times(&self) -> u64 {
        self.times.load(Ordering::SeqCst)
    }

    /// Ends as soon as it was rung more often than that. Cancel-safe.
    pub(crate) async fn rung_since(&self, times: u64) {
        if self.times() != times {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        let mut notified = pin!(self.notify.notified());
        notified.as_mut().enable();
        if self.times() == times {
            notified.await;
        }
    }
}

/// One who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_ring_before_the_wait_ends_it_at_once() {
        let bell = Bell::default();
        let times = bell.times();
        bell.ring();
        bell.rung_since(times).await;
        assert_eq!(bell.waiting.load(Ordering::SeqCst), 0);
    }

    /// Two tasks on two threads ring for each other, each only when it was rung for.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_ring_is_missed() {
        const ROUNDS: u64 = 20_000;
        let bells = Arc::new([Bell::default(), Bell::default()]);
        let play = |mine: usize| {
            let bells = Arc::clone(&bells);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    bells[1 - mine].ring();
                    bells[mine].rung_since(round).await;
                }
            })
        };
        let both = async { tokio::join!(play(0), play(1)) };
        let (a, b) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("no ring is missed");
        a.and(b).expect("both ended");
    }
}
