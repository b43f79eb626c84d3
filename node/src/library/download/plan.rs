//! Who is asked for what: the part of [`Download`] that decides.

use std::time::{Duration, Instant};

use banyan_gossip::PeerId;

use super::{Download, Output, RequestId, source::Source};
use crate::library::{
    bitfield::PieceSet,
    piece::{PIECE_BYTES, Piece},
};

/// What is not begun is taken over if the other needs this many times as long, and a bit. Some of it may be on its way
/// all the same: when as much came twice as may, the other must need much longer.
const STEAL: (f64, Duration) = (1.5, Duration::from_millis(50));
const STEAL_LATE: (f64, Duration) = (2.0, Duration::from_millis(500));
/// What is begun is repeated if the other needs this many times as long, and a bit.
const REPEAT: (f64, Duration) = (2.0, Duration::from_millis(100));
/// A source that needs longer for a piece than the job will take gets none, unless it is this quick.
const WORTH: Duration = Duration::from_secs(1);

/// Silences in a row, each twice as long as the one before, after which a source is asked anew for what only it has.
const STALLS_MAX: u32 = 3;

/// A piece that another source was asked for.
#[derive(Clone, Copy)]
struct Prey {
    source: PeerId,
    request: RequestId,
    piece: u32,
    /// How long the other source needs for it.
    time: Duration,
}

impl Download {
    /// Fills the window: the sources with the least share of what should be asked of them come first.
    pub(super) fn plan(&mut self, now: Instant) {
        if self.paused || self.complete {
            return;
        }
        for (peer, target) in self.room() {
            // A source is asked when a span is due, not for each piece.
            while self.sources[&peer].outstanding < target && self.sources[&peer].is_ready() {
                let asked = self.ask(now, peer, target) || self.take_over(now, peer);
                if !asked && !self.repeat(now, peer) {
                    break;
                }
            }
        }
    }

    /// Sources that should be asked for more, with the bytes that should be asked of each. Together these are at
    /// most the window, but for sources that get a piece although their share is less.
    fn room(&self) -> Vec<(PeerId, u64)> {
        let ready = || self.sources.iter().filter(|(_, source)| source.is_ready());
        let wanted: u64 = ready().map(|(_, source)| source.target(&self.config)).sum();
        let scale = (self.config.window_bytes as f64 / wanted as f64).min(1.0);
        let mut room: Vec<(PeerId, u64, u64)> = ready()
            .map(|(peer, source)| {
                (*peer, source.outstanding, (source.target(&self.config) as f64 * scale).max(1.0) as u64)
            })
            .filter(|(_, outstanding, target)| *outstanding * u64::from(self.config.pipeline) <= *target)
            .collect();
        room.sort_by_key(|(_, outstanding, target)| outstanding * 1024 / target);
        room.into_iter().map(|(peer, _, target)| (peer, target)).collect()
    }

    /// Asks a source for a span that nobody was asked for. A span is at most what is due, or a piece.
    fn ask(&mut self, now: Instant, peer: PeerId, target: u64) -> bool {
        let source = &self.sources[&peer];
        let room = self.config.window_bytes - self.in_flight_bytes();
        let due = (target - source.outstanding).min(target.div_ceil(self.config.pipeline.into()));
        let pick = |bytes, rng: &mut _| self.pieces.pick(&source.have, bytes, source.next, rng);
        let mut rng = self.rng.fork();
        let picked = pick(due.min(room), &mut rng).or_else(|| {
            // The share may be less than a piece, of which a source always gets one.
            let picked = pick(room, &mut rng)?;
            Some(picked.start..picked.start + 1)
        });
        let Some(pieces) = picked.filter(|pieces| self.is_worth(peer, pieces.start)) else {
            return false;
        };
        let most = pieces.start.saturating_add(source.room() as u32);
        self.request(now, peer, pieces.start..pieces.end.min(most));
        true
    }

    /// Whether a source would bring a piece soon, or before the job is over, or before anybody else would.
    fn is_worth(&self, peer: PeerId, piece: u32) -> bool {
        let bytes = self.pieces.size(piece).into();
        let Some(time) = self.sources[&peer].time(bytes).filter(|time| *time > WORTH) else { return true };
        let ready = || self.sources.values().filter(|source| source.is_ready());
        let rate: f64 = ready().filter_map(|source| source.goodput.rate()).sum();
        let rest = (self.pieces.bytes() - self.pieces.stored_bytes() - self.pieces.arrived_bytes()) as f64;
        let mut faster = ready().filter(|source| source.time(bytes).is_some_and(|other| other < time));
        time.as_secs_f64() <= rest / rate || !faster.any(|source| source.have.contains(Piece(piece)))
    }

    /// Takes over a piece that another source has not begun and would bring much later.
    fn take_over(&mut self, now: Instant, thief: PeerId) -> bool {
        let prey = |source: PeerId, slow: &Source, have: &PieceSet| {
            let mut pieces = slow.waited_for().rev().take_while(|(_, _, got)| *got == 0);
            let (request, piece, _) = pieces.find(|(_, piece, _)| self.can_take(have, *piece))?;
            Some(Prey { source, request, piece, time: slow.time(0)? })
        };
        let steal = if self.affords_duplicate(PIECE_BYTES.into()) { STEAL } else { STEAL_LATE };
        let Some(prey) = self.slowest(thief, steal, prey) else { return false };
        self.give_up(now, prey.source, prey.request, prey.piece);
        self.request(now, thief, prey.piece..prey.piece + 1);
        true
    }

    /// At the end, asks a second source for a piece that the first has begun but would bring much later.
    fn repeat(&mut self, now: Instant, second: PeerId) -> bool {
        if !self.pieces.pool().is_empty() {
            return false;
        }
        let prey = |source: PeerId, slow: &Source, have: &PieceSet| {
            let (request, piece, got) = slow.waited_for().find(|(_, piece, _)| self.can_take(have, *piece))?;
            let time = slow.goodput.time(u64::from(self.pieces.size(piece) - got))?;
            Some(Prey { source, request, piece, time })
        };
        let Some(prey) = self.slowest(second, REPEAT, prey) else { return false };
        let bytes = u64::from(self.pieces.size(prey.piece));
        if self.in_flight_bytes() + bytes > self.config.window_bytes || !self.affords_duplicate(bytes) {
            return false;
        }
        self.request(now, second, prey.piece..prey.piece + 1);
        true
    }

    /// Whether a source that has these pieces could bring one that one other was asked for.
    fn can_take(&self, have: &PieceSet, piece: u32) -> bool {
        self.pieces.requests(piece) == 1 && have.contains(Piece(piece))
    }

    /// What the slowest of the others needs so many times as long for, and a bit, as this source.
    fn slowest(
        &self,
        thief: PeerId,
        (times, bit): (f64, Duration),
        prey: impl Fn(PeerId, &Source, &PieceSet) -> Option<Prey>,
    ) -> Option<Prey> {
        let quick = &self.sources[&thief];
        let much = |bytes| Some(quick.time(bytes)?.mul_f64(times) + bit);
        let least = much(0)?;
        let slow = self.sources.iter().filter(|(peer, source)| {
            **peer != thief && source.outstanding > 0 && source.time(0).is_some_and(|time| time > least)
        });
        let prey = slow.filter_map(|(peer, source)| prey(*peer, source, &quick.have)).max_by_key(|prey| prey.time)?;
        (prey.time > much(self.pieces.size(prey.piece).into())?).then_some(prey)
    }

    /// Whether the budget holds this duplicate, with all that may become one.
    fn affords_duplicate(&self, bytes: u64) -> bool {
        let slots = self.sources.values().flat_map(|source| source.waited_for());
        let repeated = slots.filter(|(_, piece, _)| self.pieces.requests(*piece) > 1);
        let open: u64 = repeated.map(|(_, piece, _)| u64::from(self.pieces.size(piece))).sum::<u64>() / 2;
        let budget = (self.pieces.bytes() / self.config.duplicates).max(bytes);
        self.duplicate_bytes + open + bytes <= budget
    }

    fn request(&mut self, now: Instant, peer: PeerId, pieces: std::ops::Range<u32>) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let source = self.sources.get_mut(&peer).expect("a source was chosen");
        for piece in pieces.clone() {
            let bytes = self.pieces.size(piece);
            source.on_requested(now, request, piece, bytes);
            self.pieces.on_requested(piece);
            self.asked_bytes += u64::from(bytes);
        }
        self.outputs.push_back(Output::Request { source: peer, request, pieces });
    }

    /// A source became slower: what it cannot bring soon goes to others.
    pub(super) fn shed_excess(&mut self, now: Instant) {
        let peers: Vec<PeerId> = self.sources.keys().copied().collect();
        for peer in peers {
            let source = &self.sources[&peer];
            let keep = 2 * source.target(&self.config);
            let mut excess = source.outstanding.saturating_sub(keep);
            let others_have = source.waited_for().rev().filter(|(_, piece, _)| !self.pieces.has_one_holder(*piece));
            let tail = others_have.take_while(|(_, piece, got)| {
                let bytes = u64::from(self.pieces.size(*piece));
                let shed = *got == 0 && bytes <= excess;
                excess = excess.saturating_sub(bytes);
                shed
            });
            // The piece that comes next stays.
            let first = source.waited_for().next();
            let tail: Vec<_> = tail.filter(|slot| Some(slot) != first.as_ref()).collect();
            for (request, piece, _) in tail {
                self.give_up(now, peer, request, piece);
            }
        }
    }

    /// A piece is not waited for any more from a source, which is told so.
    pub(super) fn give_up(&mut self, now: Instant, peer: PeerId, request: RequestId, piece: u32) {
        let Some(source) = self.sources.get_mut(&peer) else { return };
        let Some(slot) = source.slots.get_mut(&(request, piece)).filter(|slot| !slot.given_up) else { return };
        slot.given_up = true;
        let (size, got) = (self.pieces.size(piece), slot.got);
        source.on_less_outstanding(now, size - got);
        self.asked_bytes -= u64::from(size);
        self.duplicate_bytes += u64::from(got);
        self.pieces.on_request_over(piece);
        self.outputs.push_back(Output::Cancel { source: peer, request, piece: Piece(piece) });
    }

    /// A piece is here: whoever else was asked for it is told so.
    pub(super) fn give_up_others(&mut self, now: Instant, piece: u32) {
        let asked: Vec<(PeerId, RequestId)> = {
            let slots = self.sources.iter().flat_map(|(peer, source)| source.waited_for().map(|slot| (*peer, slot)));
            slots.filter(|(_, (_, other, _))| *other == piece).map(|(peer, (request, ..))| (peer, request)).collect()
        };
        asked.into_iter().for_each(|(peer, request)| self.give_up(now, peer, request, piece));
    }

    /// A source is silent: others are asked for what it owes. What nobody else has is asked of it again after some
    /// silences in a row only, for it may be on its way.
    pub(super) fn give_up_stalled(&mut self, now: Instant, peer: PeerId) {
        let Some(source) = self.sources.get(&peer) else { return };
        let all = source.stalls() >= STALLS_MAX;
        let slots = source.waited_for().filter(|(_, piece, _)| all || !self.pieces.has_one_holder(*piece));
        let slots: Vec<_> = slots.collect();
        slots.into_iter().for_each(|(request, piece, _)| self.give_up(now, peer, request, piece));
    }

    pub(super) fn give_up_all(&mut self, now: Instant, peer: PeerId) {
        let Some(source) = self.sources.get(&peer) else { return };
        let slots: Vec<_> = source.waited_for().collect();
        slots.into_iter().for_each(|(request, piece, _)| self.give_up(now, peer, request, piece));
    }
}
