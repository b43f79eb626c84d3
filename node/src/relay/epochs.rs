//! The epochs of a track at one node: which one is held, where a pull of it starts, and which of
//! them local subscribers have yet to read.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{Start, Track, track::ReaderId};

/// Most epochs that a slow subscriber may have before it. Their rings are the worst case in memory.
const LINES_MAX: usize = 4;

/// One epoch of a track, shared by those who use it.
pub trait Line: Clone {
    /// Which.
    fn epoch(&self) -> u64;
    /// Uses its track.
    fn with<T>(&self, act: impl FnOnce(&mut Track) -> T) -> T;
    /// Adds a local reader.
    fn open(&self, now: Instant, start: Start) -> ReaderId;
    /// Removes a local reader; what is acknowledged may be more now.
    fn close(&self, now: Instant, reader: ReaderId);
}

/// Names a local subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlaceId(u64);

/// A local subscriber.
#[derive(Debug)]
struct Place<L> {
    wants: Start,
    /// The epochs that it has yet to read, the one being read first.
    lines: VecDeque<(L, ReaderId)>,
}

/// The epochs of a track at one node.
#[derive(Debug)]
pub struct Epochs<L> {
    line: Option<L>,
    /// The epoch that the tree follows: the only one that may begin.
    following: Option<u64>,
    places: BTreeMap<PlaceId, Place<L>>,
    next_place: u64,
}

impl<L> Default for Epochs<L> {
    fn default() -> Self {
        Self { line: None, following: None, places: BTreeMap::new(), next_place: 0 }
    }
}

impl<L: Line> Epochs<L> {
    /// The epoch that is held.
    #[must_use]
    pub const fn line(&self) -> Option<&L> {
        self.line.as_ref()
    }

    /// How many local subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.places.len()
    }

    // --- Epochs ------------------------------------------------------------------------------

    /// The tree follows this epoch now. It may be smaller than the one before, whose origin is gone.
    pub const fn follow(&mut self, epoch: u64) {
        self.following = Some(epoch);
    }

    /// Where to start a pull of this epoch: after what is here of it, or else as early as the
    /// earliest of the local subscribers wants, and early enough to be of use to others. A node that
    /// relays for others alone takes whatever is held: they may have lost a parent.
    #[must_use]
    pub fn start_of(&self, epoch: u64) -> Start {
        if let Some(line) = self.line.as_ref().filter(|line| line.epoch() == epoch) {
            // An object that is here in part comes again whole; what is here of it is dropped. So does what is not
            // sealed yet: another parent's seals are verified with what that one sent.
            return line.with(|track| Start::Id(track.ring().verified().id));
        }
        let wanted = self.places.values().map(|place| match place.wants {
            // A subscriber that has seen an epoch wants the next one whole.
            _ if !place.lines.is_empty() => Start::Oldest,
            Start::Latest => Start::Stable,
            wants => wants,
        });
        wanted.reduce(earlier).unwrap_or(Start::Oldest)
    }

    /// The line of an epoch, begun if it is not there yet; see [`Epochs::begin`]. `None`: another is
    /// followed meanwhile, and the pull that asks is about to be stopped.
    pub fn line_of(&mut self, now: Instant, epoch: u64, newest: u64, line: impl FnOnce() -> L) -> Option<&L> {
        if self.following != Some(epoch) {
            return None;
        }
        if self.line.as_ref().is_none_or(|line| line.epoch() != epoch) {
            self.begin(now, line(), newest);
        }
        self.line.as_ref()
    }

    /// Begins an epoch; the local subscribers are put in their places at once, so that nothing
    /// passes them by. `newest` is where [`Start::Latest`] is.
    pub fn begin(&mut self, now: Instant, line: L, newest: u64) {
        self.following = Some(line.epoch());
        for place in self.places.values_mut() {
            let start = match place.wants {
                _ if !place.lines.is_empty() => Start::Oldest,
                Start::Latest => Start::Id(newest),
                wants => wants,
            };
            // The first is being read: the one after it gives way.
            if place.lines.len() == LINES_MAX
                && let Some((skipped, reader)) = place.lines.remove(1)
            {
                skipped.close(now, reader);
            }
            place.lines.push_back((line.clone(), line.open(now, start)));
        }
        self.line = Some(line);
    }

    // --- Local subscribers -------------------------------------------------------------------

    /// Adds a local subscriber.
    pub fn join(&mut self, now: Instant, wants: Start) -> PlaceId {
        let lines = self.line.iter().map(|line| (line.clone(), line.open(now, wants))).collect();
        let id = PlaceId(self.next_place);
        self.next_place += 1;
        self.places.insert(id, Place { wants, lines });
        id
    }

    /// Removes a local subscriber.
    pub fn part(&mut self, now: Instant, id: PlaceId) {
        for (line, reader) in self.places.remove(&id).into_iter().flat_map(|place| place.lines) {
            line.close(now, reader);
        }
    }

    /// What a local subscriber reads now.
    #[must_use]
    pub fn current(&self, id: PlaceId) -> Option<&(L, ReaderId)> {
        self.places.get(&id)?.lines.front()
    }

    /// Whether a newer epoch waits for a local subscriber.
    #[must_use]
    pub fn has_newer(&self, id: PlaceId) -> bool {
        self.places.get(&id).is_some_and(|place| place.lines.len() > 1)
    }

    /// A local subscriber is done with what it reads now.
    pub fn leave(&mut self, now: Instant, id: PlaceId) {
        if let Some((line, reader)) = self.places.get_mut(&id).and_then(|place| place.lines.pop_front()) {
            line.close(now, reader);
        }
    }
}

const fn earlier(a: Start, b: Start) -> Start {
    match (a, b) {
        (Start::Oldest, _) | (_, Start::Oldest) => Start::Oldest,
        (Start::Id(a), Start::Id(b)) => Start::Id(if a < b { a } else { b }),
        (Start::Id(id), _) | (_, Start::Id(id)) => Start::Id(id),
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use crate::relay::{Mode, TrackConfig, track::ReaderKind};

    #[derive(Clone)]
    struct Shared(u64, Rc<RefCell<Track>>);

    impl Line for Shared {
        fn epoch(&self) -> u64 {
            self.0
        }

        fn with<T>(&self, act: impl FnOnce(&mut Track) -> T) -> T {
            act(&mut self.1.borrow_mut())
        }

        fn open(&self, now: Instant, start: Start) -> ReaderId {
            self.with(|track| track.open_reader(now, ReaderKind::Local, start).0)
        }

        fn close(&self, now: Instant, reader: ReaderId) {
            self.with(|track| track.close_reader(now, reader, false));
        }
    }

    fn line(epoch: u64) -> Shared {
        Shared(epoch, Rc::new(RefCell::new(Track::new(TrackConfig::default(), Mode::Reliable, 0))))
    }

    #[test]
    fn a_smaller_epoch_begins_if_it_is_followed_and_only_then() {
        let (now, mut epochs) = (Instant::now(), Epochs::default());
        epochs.follow(20);
        assert_eq!(epochs.line_of(now, 20, 0, || line(20)).map(Line::epoch), Some(20));
        assert!(epochs.line_of(now, 10, 0, || line(10)).is_none(), "a pull that was stopped comes late");
        epochs.follow(10);
        assert_eq!(epochs.line_of(now, 10, 0, || line(10)).map(Line::epoch), Some(10));
        assert!(epochs.line_of(now, 20, 0, || line(20)).is_none());
        assert_eq!(epochs.line().map(Line::epoch), Some(10));
    }

    #[test]
    fn two_pulls_of_an_epoch_share_one_line() {
        let (now, mut epochs) = (Instant::now(), Epochs::default());
        let place = epochs.join(now, Start::Oldest);
        epochs.follow(1);
        let lines = [(); 2].map(|()| epochs.line_of(now, 1, 0, || line(1)).expect("is followed").clone());
        assert!(Rc::ptr_eq(&lines[0].1, &lines[1].1));
        assert!(!epochs.has_newer(place));
    }

    #[test]
    fn of_too_many_epochs_the_one_being_read_stays() {
        let (now, mut epochs) = (Instant::now(), Epochs::default());
        let place = epochs.join(now, Start::Oldest);
        let lines: Vec<_> = (0..6).map(line).collect();
        lines.iter().for_each(|line| epochs.begin(now, line.clone(), 0));
        let readers =
            || lines.iter().map(|line| line.with(|track| track.readers(ReaderKind::Local))).collect::<Vec<_>>();
        assert_eq!(readers(), [1, 0, 0, 1, 1, 1]);
        assert_eq!(epochs.current(place).map(|(line, _)| line.0), Some(0));
        epochs.leave(now, place);
        assert_eq!(epochs.current(place).map(|(line, _)| line.0), Some(3));
        epochs.part(now, place);
        assert_eq!(readers(), [0; 6]);
    }

    #[test]
    fn a_pull_starts_where_the_earliest_subscriber_wants_and_goes_on_where_it_was() {
        let (now, mut epochs) = (Instant::now(), Epochs::default());
        assert_eq!(epochs.start_of(1), Start::Oldest, "a relay is of use to others");
        for (wants, start) in [
            (Start::Latest, Start::Stable),
            (Start::Id(7), Start::Id(7)),
            (Start::Id(9), Start::Id(7)),
            (Start::Oldest, Start::Oldest),
        ] {
            epochs.join(now, wants);
            assert_eq!(epochs.start_of(1), start);
        }
        epochs.begin(now, line(1), 0);
        assert_eq!((epochs.start_of(1), epochs.start_of(2)), (Start::Id(0), Start::Oldest));
    }
}
