//! What one receiver got.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::Notify;

use crate::object::{Stamp, now_ns};

/// Wakes the publisher when a receiver gets on, if it waits for that.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    waiting: AtomicBool,
    rung: Notify,
}

impl Bell {
    /// Announces a wait, so that whatever happens from now on ends it.
    pub(crate) fn arm(&self) {
        self.waiting.store(true, Ordering::SeqCst);
    }

    /// Ends when it was rung since [`Bell::arm`].
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    fn ring(&self) {
        if self.waiting.load(Ordering::SeqCst) && self.waiting.swap(false, Ordering::SeqCst) {
            self.rung.notify_one();
        }
    }
}

/// One object that arrived for the first time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    /// Its number.
    pub(crate) id: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
    /// When it arrived.
    pub(crate) at_ns: u64,
}

/// What arrived in a phase.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    number: u64,
    keep: bool,
    seen: Vec<u64>,
    /// First arrivals, if they are kept.
    pub(crate) receipts: Vec<Receipt>,
    /// Objects that came again.
    pub(crate) doubled: u64,
    /// When the last new object came.
    pub(crate) last_ns: u64,
}

/// Largest number of an object that is believed: bounds [`Phase::seen`] to 16 MiB.
const ID_MAX: u64 = 1 << 27;

impl Phase {
    fn is_new(&mut self, id: u64) -> bool {
        let (word, bit) = (usize::try_from(id / 64).unwrap_or(usize::MAX), 1 << (id % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

/// Counts the objects of one phase at a time; all others are ignored.
#[derive(Debug)]
pub(crate) struct Inbox {
    bell: Arc<Bell>,
    unique: AtomicU64,
    phase: Mutex<Phase>,
}

impl Inbox {
    /// An inbox that rings this bell.
    #[must_use]
    pub(crate) fn new(bell: Arc<Bell>) -> Arc<Self> {
        Arc::new(Self { bell, unique: AtomicU64::new(0), phase: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts counting a phase. `keep` keeps a [`Receipt`] of each object.
    pub(crate) fn open(&self, number: u64, keep: bool) {
        let mut phase = self.lock();
        *phase = Phase { number, keep, ..Phase::default() };
        self.unique.store(0, Ordering::SeqCst);
    }

    /// Ends counting, and hands over what was found.
    #[must_use]
    pub(crate) fn close(&self) -> Phase {
        std::mem::take(&mut self.lock())
    }

    /// Different objects of the present phase so far.
    #[must_use]
    pub(crate) fn unique(&self) -> u64 {
        self.unique.load(Ordering::SeqCst)
    }

    /// When the last new object of the phase came.
    #[must_use]
    pub(crate) fn last_ns(&self) -> u64 {
        self.lock().last_ns
    }

    /// Takes an object that arrived.
    pub(crate) fn take(&self, object: &[u8]) {
        let Some(stamp) = Stamp::read(object).filter(|stamp| stamp.id < ID_MAX) else {
            return;
        };
        let mut phase = self.lock();
        if stamp.phase != phase.number {
            return;
        }
        if !phase.is_new(stamp.id) {
            phase.doubled += 1;
            return;
        }
        phase.last_ns = now_ns();
        if phase.keep {
            let receipt = Receipt { id: stamp.id, sent_ns: stamp.sent_ns, at_ns: phase.last_ns };
            phase.receipts.push(receipt);
        }
        drop(phase);
        self.unique.fetch_add(1, Ordering::SeqCst);
        self.bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Press;

    #[test]
    fn inbox_tells_new_from_doubled_and_ignores_other_phases() {
        let (inbox, press) = (Inbox::new(Arc::default()), Press::new(64));
        inbox.open(2, true);
        for (phase, id) in [(2, 0), (2, 5), (2, 0), (1, 1), (2, ID_MAX)] {
            inbox.take(&press.object(phase, id));
        }
        inbox.take(b"short");
        assert_eq!(inbox.unique(), 2);
        let found = inbox.close();
        assert_eq!(found.doubled, 1);
        assert_eq!(found.receipts.iter().map(|receipt| receipt.id).collect::<Vec<_>>(), [0, 5]);
    }
}
