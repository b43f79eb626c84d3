//! Downloading a package: which piece is asked of whom, and when.
//!
//! [`Download`] is the machine of one job. Each source is asked for spans of pieces that it delivers in about a
//! quarter of a second at its own measured rate, two at a time, so that a fast source never waits for a slow one;
//! all that is asked for or waits for the disk fits into one window. Pieces that few sources have come first (Legout
//! and others, "Rarest first and choke algorithms are enough", 2006), the same as the piece before or at random
//! among equals. Near the end a source with nothing left to do takes over what others have not begun, and then
//! repeats what they have, within a budget of duplicates.
//!
//! A piece comes from one source as a whole, so a piece with a wrong hash names who sent it. A source that sends
//! two of them, or what it was not asked for, is left out; until a piece of it was right no more than two are asked
//! of it. One that stalls is noticed by its own rate, and what it owes is asked of others.
//!
//! # Driving it
//! After each call of [`handle_input`](Download::handle_input) and [`handle_timeout`](Download::handle_timeout)
//! carry out everything that [`poll_output`](Download::poll_output) gives, then wait until
//! [`poll_timeout`](Download::poll_timeout) or the next input. The shell holds the bytes of pieces on their way in:
//! at most [`Config::window_bytes`], and one piece a source that is being given up.

mod goodput;
mod io;
mod pieces;
mod plan;
mod progress;
mod source;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

use self::{
    goodput::Goodput,
    pieces::Pieces,
    source::{Backoff, Record, Slot, Source},
};
use super::{
    bitfield::PieceSet,
    piece::{PIECE_BYTES, Piece},
};
pub use io::{Config, End, Fault, Input, Output, RequestId};
pub use progress::{Progress, SourceProgress, SourceState, Why};

/// Most sources of a job, counting those left out; and most that are gone after a wrong piece.
pub const SOURCES_MAX: usize = 256;
/// Wrong pieces after which a source is left out.
pub const CORRUPT_MAX: u32 = 2;

/// A job that fetches one package. Takes about 12 bytes a piece, and a bit a piece for each source.
#[derive(Debug)]
pub struct Download {
    config: Config,
    rng: fastrand::Rng,
    pieces: Pieces,
    sources: BTreeMap<PeerId, Source>,
    /// Sources that are gone, and may have to be left out when they come back.
    gone: BTreeMap<PeerId, Record>,
    /// Bytes of pieces that are waited for, as a whole each, by each request.
    asked_bytes: u64,
    /// Bytes that came and were not needed.
    duplicate_bytes: u64,
    /// All that comes.
    goodput: Goodput,
    next_request: u64,
    paused: bool,
    complete: bool,
    /// Something happened since the last plan.
    stale: bool,
    ticked: Instant,
    outputs: VecDeque<Output>,
}

impl Download {
    /// A job for a package with pieces of these sizes, of which some are stored.
    ///
    /// # Panics
    /// If the set is that of another number of pieces.
    #[must_use]
    pub fn new(
        sizes: impl IntoIterator<Item = u32>,
        stored: PieceSet,
        config: Config,
        rng: fastrand::Rng,
        now: Instant,
    ) -> Self {
        let window_bytes = config.window_bytes.max(PIECE_BYTES.into());
        let mut download = Self {
            config: Config { window_bytes, pipeline: config.pipeline.max(2), ..config },
            rng,
            pieces: Pieces::new(sizes.into_iter().collect(), stored),
            sources: BTreeMap::new(),
            gone: BTreeMap::new(),
            asked_bytes: 0,
            duplicate_bytes: 0,
            goodput: Goodput::default(),
            next_request: 0,
            paused: false,
            complete: false,
            stale: true,
            ticked: now,
            outputs: VecDeque::new(),
        };
        download.goodput.settle(now, true);
        download.check_complete();
        download
    }

    /// Whether all pieces are stored.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The pieces that are stored.
    #[must_use]
    pub const fn stored(&self) -> &PieceSet {
        self.pieces.stored()
    }

    /// Bytes asked for, each piece counted as a whole until it is stored or given up; at most
    /// [`Config::window_bytes`].
    #[must_use]
    pub const fn in_flight_bytes(&self) -> u64 {
        self.asked_bytes + self.pieces.arrived_bytes()
    }

    /// Takes what happened. What a peer sends cannot make it fail: whatever does not fit is left out or held
    /// against the peer.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        // What happens most often seldom changes the plan.
        self.stale |= !matches!(input, Input::Received { .. } | Input::SourceHas { .. });
        match input {
            Input::SourceUp { source, have } => self.on_source_up(now, source, have),
            Input::SourceHas { source, pieces } => self.on_source_has(source, pieces),
            Input::SourceDown { source } => self.on_source_down(now, source),
            Input::Received { source, request, piece, bytes } => self.on_received(now, source, request, piece.0, bytes),
            Input::Ended { source, request, end } => self.on_ended(now, source, request, end),
            Input::Misbehaved { source } => self.quarantine(now, source, Fault::Protocol),
            Input::Stored { source, piece } => self.on_stored(source, piece),
            Input::Corrupt { source, piece } => self.on_corrupt(now, source, piece),
            Input::StoreFailed { piece } => {
                self.pieces.on_settled(piece.0, false);
                // That says nothing of who sent it.
                let records = self.sources.values_mut().map(|source| &mut source.record).chain(self.gone.values_mut());
                records.for_each(|record| record.unchecked = 0);
                self.gone.retain(|_, record| !record.is_clean());
                self.pause(now);
            }
            Input::Pause => self.pause(now),
            Input::Resume => self.paused = false,
        }
    }

    /// Looks at the sources; call it when [`poll_timeout`](Self::poll_timeout) is reached.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.stale = true;
        let late = now.saturating_duration_since(self.ticked + self.config.tick);
        self.ticked = now;
        self.goodput.settle(now, true);
        let peers: Vec<PeerId> = self.sources.keys().copied().collect();
        for peer in peers {
            let Some(source) = self.sources.get_mut(&peer) else { continue };
            source.goodput.settle(now, source.outstanding > 0);
            if late > self.config.tick {
                source.on_held_up(now, late);
            }
            if source.backoff.is_some_and(|until| until <= now) {
                source.backoff = None;
            }
            if source.is_stalled(now) {
                source.back_off(now, Backoff::Stalled, Duration::ZERO, &mut self.rng);
                self.give_up_stalled(now, peer);
            }
        }
        self.shed_excess(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.complete {
            return None;
        }
        let tick = (self.asked_bytes > 0).then_some(self.ticked + self.config.tick);
        self.sources.values().filter_map(|source| source.backoff).chain(tick).min()
    }

    /// What to do next. `now` is that of the input before.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if std::mem::take(&mut self.stale) {
            self.plan(now);
        }
        self.outputs.pop_front()
    }

    fn on_source_up(&mut self, now: Instant, peer: PeerId, have: PieceSet) {
        let quarantined = self.sources.get(&peer).is_some_and(|source| source.fault.is_some());
        if quarantined || have.len() != self.pieces.stored().len() {
            return;
        }
        self.on_source_down(now, peer);
        if self.sources.len() >= SOURCES_MAX || self.gone.len() >= SOURCES_MAX {
            return;
        }
        have.iter().for_each(|piece| self.pieces.on_holder(piece, true));
        self.add_source(now, peer, have);
    }

    fn add_source(&mut self, now: Instant, peer: PeerId, have: PieceSet) {
        let record = self.gone.remove(&peer).unwrap_or_default();
        self.sources.insert(peer, Source::new(have, record, RequestId(self.next_request), now));
    }

    fn on_source_has(&mut self, peer: PeerId, pieces: Range<u32>) {
        let Some(source) = self.sources.get_mut(&peer).filter(|source| source.fault.is_none()) else { return };
        for piece in (pieces.start..pieces.end.min(self.pieces.stored().len())).map(Piece) {
            if source.have.insert(piece) {
                self.pieces.on_holder(piece, true);
                self.stale |= self.pieces.pool().contains(piece);
            }
        }
    }

    /// What it sent in part is lost; that it was left out, or may have to be, is remembered.
    fn on_source_down(&mut self, now: Instant, peer: PeerId) {
        self.give_up_all(now, peer);
        if let Some(source) = self.sources.get_mut(&peer) {
            std::mem::replace(&mut source.have, PieceSet::empty(0))
                .iter()
                .for_each(|piece| self.pieces.on_holder(piece, false));
            let record = source.record;
            if source.fault.is_none() {
                self.sources.remove(&peer);
                self.gone.extend((!record.is_clean()).then_some((peer, record)));
            }
        }
    }

    fn on_received(&mut self, now: Instant, peer: PeerId, request: RequestId, piece: u32, bytes: u32) {
        if bytes == 0 {
            // It would pass for a sign of life.
            return;
        }
        // A source that is gone or left out may have sent this before it knew.
        let Some(source) = self.sources.get_mut(&peer).filter(|source| source.fault.is_none()) else { return };
        let Some(slot) = source.slots.get_mut(&(request, piece)) else {
            if request < source.since {
                return;
            }
            return self.quarantine(now, peer, Fault::Unasked);
        };
        let size = self.pieces.size(piece);
        let (got, given_up) = (slot.got.saturating_add(bytes), slot.given_up);
        if got > size {
            return self.quarantine(now, peer, Fault::Oversent);
        }
        if source.waited_for().next().is_some_and(|(first, number, _)| (first, number) < (request, piece)) {
            // It left out what was to come before.
            return self.quarantine(now, peer, Fault::Protocol);
        }
        let Some(slot) = source.slots.get_mut(&(request, piece)) else { return };
        slot.got = got;
        source.on_heard(now, bytes);
        self.goodput.add(bytes);
        if given_up {
            self.duplicate_bytes += u64::from(bytes);
        } else {
            source.on_less_outstanding(now, bytes);
        }
        if got == size {
            source.slots.remove(&(request, piece));
            source.on_piece();
            self.stale = true;
            self.on_piece(now, peer, request, piece, given_up);
        }
    }

    /// A piece came as a whole.
    fn on_piece(&mut self, now: Instant, source: PeerId, request: RequestId, number: u32, given_up: bool) {
        let piece = Piece(number);
        let bytes = u64::from(self.pieces.size(number));
        if !given_up {
            self.asked_bytes -= bytes;
        }
        let needed = !self.pieces.is_here(number) && self.in_flight_bytes() + bytes <= self.config.window_bytes;
        if needed {
            self.pieces.on_arrived(number);
            self.settle(source, |record| record.unchecked += 1);
            self.outputs.push_back(Output::Store { source, request, piece });
        } else {
            self.outputs.push_back(Output::Discard { source, request, piece });
        }
        if !given_up {
            self.pieces.on_request_over(number);
        }
        if given_up && needed {
            // It was counted as a duplicate while it came.
            self.duplicate_bytes -= bytes;
        }
        if needed && self.pieces.requests(number) > 0 {
            self.give_up_others(now, number);
        }
    }

    fn on_ended(&mut self, now: Instant, peer: PeerId, request: RequestId, end: End) {
        let Some(source) = self.sources.get_mut(&peer).filter(|source| source.fault.is_none()) else { return };
        let slots: Vec<(u32, Slot)> = {
            let slots = source.slots.range((request, 0)..=(request, u32::MAX));
            slots.map(|(&(_, piece), slot)| (piece, *slot)).collect()
        };
        let short = |slot: &Slot| end == End::Sent && !slot.given_up && slot.got > 0;
        if slots.iter().any(|(_, slot)| short(slot)) {
            return self.quarantine(now, peer, Fault::Protocol);
        }
        for (piece, slot) in slots {
            if !slot.given_up {
                self.give_up(now, peer, request, piece);
            }
            let Some(source) = self.sources.get_mut(&peer) else { return };
            source.slots.remove(&(request, piece));
            if end == End::Sent && !slot.given_up && source.have.remove(Piece(piece)) {
                self.pieces.on_holder(Piece(piece), false);
            }
        }
        if let (End::Busy(after), Some(source)) = (end, self.sources.get_mut(&peer))
            && source.backoff.is_none()
        {
            source.back_off(now, Backoff::Busy, after, &mut self.rng);
        }
    }

    /// Changes what is known of a source's pieces, also of one that is gone.
    fn settle(&mut self, peer: PeerId, change: impl FnOnce(&mut Record)) -> Record {
        if let Some(source) = self.sources.get_mut(&peer) {
            change(&mut source.record);
            return source.record;
        }
        let Some(record) = self.gone.get_mut(&peer) else { return Record::default() };
        change(record);
        let record = *record;
        if record.is_clean() {
            self.gone.remove(&peer);
        }
        record
    }

    fn on_stored(&mut self, source: PeerId, piece: Piece) {
        if self.pieces.on_settled(piece.0, true) {
            let bytes = u64::from(self.pieces.size(piece.0));
            self.settle(source, |record| {
                record.unchecked = record.unchecked.saturating_sub(1);
                record.stored_bytes += bytes;
            });
            self.check_complete();
        }
    }

    fn on_corrupt(&mut self, now: Instant, peer: PeerId, piece: Piece) {
        self.pieces.on_settled(piece.0, false);
        let record = self.settle(peer, |record| {
            record.unchecked = record.unchecked.saturating_sub(1);
            record.wrong += 1;
        });
        if record.wrong >= CORRUPT_MAX {
            self.quarantine(now, peer, Fault::Corrupt);
        } else if let Some(source) = self.sources.get_mut(&peer)
            && source.have.remove(piece)
        {
            self.pieces.on_holder(piece, false);
        }
    }

    fn check_complete(&mut self) {
        if self.pieces.stored().is_full() && !std::mem::replace(&mut self.complete, true) {
            self.outputs.push_back(Output::Complete);
        }
    }

    fn pause(&mut self, now: Instant) {
        self.paused = true;
        let peers: Vec<PeerId> = self.sources.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.give_up_all(now, peer));
    }

    /// Leaves a source out, whether it is there, is gone or never came.
    fn quarantine(&mut self, now: Instant, peer: PeerId, fault: Fault) {
        if !self.sources.contains_key(&peer) && self.sources.len() < SOURCES_MAX {
            self.add_source(now, peer, PieceSet::empty(0));
        }
        let Some(source) = self.sources.get_mut(&peer).filter(|source| source.fault.is_none()) else { return };
        source.fault = Some(fault);
        self.stale = true;
        self.on_source_down(now, peer);
        if let Some(source) = self.sources.get_mut(&peer) {
            source.slots = BTreeMap::new();
            source.backoff = None;
        }
        self.outputs.push_back(Output::Quarantine { source: peer, fault });
    }

    /// Checks that the counts are those of what is counted.
    #[cfg(test)]
    pub(crate) fn assert_invariants(&self) {
        let waited_for = || self.sources.values().flat_map(Source::waited_for);
        let asked: u64 = waited_for().map(|(_, piece, _)| u64::from(self.pieces.size(piece))).sum();
        assert_eq!(self.asked_bytes, asked, "bytes asked for are those of the pieces waited for");
        assert!(self.in_flight_bytes() <= self.config.window_bytes, "what is asked for fits the window");
        for source in self.sources.values() {
            let outstanding = source.waited_for().map(|(_, piece, got)| u64::from(self.pieces.size(piece) - got));
            assert_eq!(source.outstanding, outstanding.sum::<u64>(), "each source's count is its own");
            assert!(source.fault.is_none() || source.slots.is_empty(), "nothing is asked of who is left out");
        }
        for (_, piece, _) in waited_for() {
            assert!(!self.pieces.is_here(piece), "nothing is asked for that is here");
            assert!((1..=2).contains(&self.pieces.requests(piece)), "at most two are asked for a piece");
        }
    }
}
