//! A source: what it has, what is asked of it, how fast it is, and whether it can be trusted.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{CORRUPT_MAX, Config, Fault, RequestId, goodput::Goodput};
use crate::library::bitfield::PieceSet;

/// Most pieces asked for and not answered, counting those given up that the source did not acknowledge.
const SLOTS_MAX: usize = 8192;
/// A source is stalled if nothing comes in the time of this many bytes at its own rate, within these bounds.
const STALL_BYTES: u64 = 256 * 1024;
const STALL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// The same of a source from which nothing came yet. It is twice as long after each stall in a row, so that a
/// source slower than that comes to its turn.
const STALL_NEW: Duration = Duration::from_secs(1);
/// A source that stalled or was busy is left alone for this long, twice as long each time in a row.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A piece that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) got: u32,
    /// It is not waited for any more, but may come.
    pub(super) given_up: bool,
}

/// What a source's pieces were like. Outlives the source while there is something to hold against it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Record {
    /// Bytes of pieces that were stored.
    pub(super) stored_bytes: u64,
    /// Pieces that wait for the disk.
    pub(super) unchecked: u32,
    /// Pieces that were not what they should be.
    pub(super) wrong: u32,
}

impl Record {
    pub(super) const fn is_clean(&self) -> bool {
        self.unchecked == 0 && self.wrong == 0
    }
}

#[derive(Debug)]
pub(super) struct Source {
    pub(super) have: PieceSet,
    /// The first request that could be made of it. Answers to earlier ones are from a life before.
    pub(super) since: RequestId,
    /// In the order in which they come.
    pub(super) slots: BTreeMap<(RequestId, u32), Slot>,
    /// Bytes waited for.
    pub(super) outstanding: u64,
    pub(super) goodput: Goodput,
    /// When bytes came, or something was asked for after nothing was.
    heard: Instant,
    /// How long it may be silent: by its rate when bytes came last, not as it fell since.
    patience: Duration,
    /// It is left alone until then.
    pub(super) backoff: Option<Instant>,
    /// What it did last instead of sending a whole piece.
    pub(super) failing: Option<Backoff>,
    /// Stalls and refusals in a row.
    failures: u32,
    pub(super) record: Record,
    pub(super) fault: Option<Fault>,
    /// The piece after the last that was asked for.
    pub(super) next: u32,
}

/// Why a source is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backoff {
    Busy,
    Stalled,
}

impl Source {
    pub(super) fn new(have: PieceSet, record: Record, since: RequestId, now: Instant) -> Self {
        Self {
            have,
            record,
            since,
            slots: BTreeMap::new(),
            outstanding: 0,
            goodput: Goodput::default(),
            heard: now,
            patience: STALL_NEW,
            backoff: None,
            failing: None,
            failures: 0,
            fault: None,
            next: u32::MAX,
        }
    }

    /// Whether it may be asked for something.
    pub(super) fn is_ready(&self) -> bool {
        self.fault.is_none() && self.backoff.is_none() && self.room() > 0
    }

    /// Pieces that it may be asked for. Until one of its pieces was right it gets no further than to be left out.
    pub(super) fn room(&self) -> usize {
        if self.record.stored_bytes > 0 {
            return SLOTS_MAX.saturating_sub(self.slots.len());
        }
        let doubtful = (self.record.unchecked + self.record.wrong) as usize + self.waited_for().count();
        (CORRUPT_MAX as usize).saturating_sub(doubtful).min(SLOTS_MAX.saturating_sub(self.slots.len()))
    }

    /// Bytes that should be asked of it, before all sources are scaled to the window.
    pub(super) fn target(&self, config: &Config) -> u64 {
        let bytes = match self.goodput.rate() {
            _ if self.failures > 0 => 0,
            None => config.first_bytes,
            Some(rate) => (rate * config.span.as_secs_f64()) as u64 * u64::from(config.pipeline),
        };
        bytes.clamp(1, config.window_bytes)
    }

    /// How long it takes until this many more bytes have come.
    pub(super) fn time(&self, bytes: u64) -> Option<Duration> {
        self.goodput.time(self.outstanding + bytes)
    }

    pub(super) fn on_requested(&mut self, now: Instant, request: RequestId, piece: u32, bytes: u32) {
        if self.outstanding == 0 {
            self.heard = now;
            self.goodput.settle(now, true);
        }
        self.slots.insert((request, piece), Slot { got: 0, given_up: false });
        self.outstanding += u64::from(bytes);
        self.next = piece + 1;
    }

    /// Bytes waited for are not waited for any more.
    pub(super) fn on_less_outstanding(&mut self, now: Instant, bytes: u32) {
        self.outstanding -= u64::from(bytes);
        if self.outstanding == 0 {
            self.goodput.settle(now, false);
        }
    }

    pub(super) fn on_heard(&mut self, now: Instant, bytes: u32) {
        self.heard = now;
        self.goodput.add(bytes);
        if let Some(time) = self.goodput.time(STALL_BYTES) {
            self.patience = time.clamp(STALL.0, STALL.1);
        }
    }

    /// A whole piece came: it works again.
    pub(super) fn on_piece(&mut self) {
        self.failures = 0;
        if self.failing.take() == Some(Backoff::Stalled) {
            self.backoff = None;
        }
    }

    /// It is left alone for a while, at least as long as it asks for.
    pub(super) fn back_off(&mut self, now: Instant, why: Backoff, after: Duration, rng: &mut fastrand::Rng) {
        let (least, most) = BACKOFF;
        let wait = least.saturating_mul(1 << self.failures.min(10)).max(after).min(most);
        self.failures = self.failures.saturating_add(1);
        self.backoff = Some(now + wait.mul_f64(1.0 + rng.f64() / 4.0));
        self.failing = Some(why);
    }

    /// This node itself was held up for this long: nothing could be heard.
    pub(super) fn on_held_up(&mut self, now: Instant, late: Duration) {
        self.heard = (self.heard + late).min(now);
    }

    /// Stalls and refusals in a row.
    pub(super) const fn stalls(&self) -> u32 {
        self.failures
    }

    /// Whether it owes something and nothing came for too long.
    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        let patience = self.patience.saturating_mul(1 << self.failures.min(5));
        self.outstanding > 0 && now.saturating_duration_since(self.heard) >= patience
    }

    /// The pieces waited for, in the order in which they come.
    pub(super) fn waited_for(&self) -> impl DoubleEndedIterator<Item = (RequestId, u32, u32)> {
        let waited_for = self.slots.iter().filter(|(_, slot)| !slot.given_up);
        waited_for.map(|(&(request, piece), slot)| (request, piece, slot.got))
    }
}
