//! The tracks of this node as its tasks share them.
//!
//! A [`Line`] is one epoch of a track: the relay's pure state behind a lock, with two bells, one
//! for new objects and one for acknowledgements. Whoever publishes, pulls, feeds or subscribes
//! holds the line and touches it directly; the mesh task never sees an object. A [`SharedTrack`]
//! is a track over all its epochs, with its local subscribers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use banyan_gossip::TrackName;
use tokio::sync::watch;

use super::types::{End, From};
use crate::relay::{
    Start, Track,
    track::{ReaderId, ReaderKind},
};

/// Most epochs that a slow subscriber may have before it.
const LINES_MAX: usize = 4;

/// One epoch of a track.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) epoch: u64,
    track: Mutex<Track>,
    taken_over: AtomicBool,
    shut: AtomicBool,
    /// Rings when there is something new to read.
    pub(crate) data: watch::Sender<()>,
    /// Rings when readers have consumed something.
    pub(crate) acks: watch::Sender<()>,
}

impl Line {
    pub(crate) fn new(epoch: u64, track: Track) -> Self {
        Self {
            epoch,
            track: Mutex::new(track),
            taken_over: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            data: watch::Sender::new(()),
            acks: watch::Sender::new(()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another origin publishes the track now.
    pub(crate) fn take_over(&self) {
        self.taken_over.store(true, Ordering::Relaxed);
        self.acks.send_replace(());
    }

    /// The node shuts down: nobody looks after this line any more.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
        self.acks.send_replace(());
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::Relaxed)
    }
}

/// A local subscriber's place.
#[derive(Debug)]
pub(crate) struct Place {
    from: From,
    /// The epochs that it has yet to read, the current one last.
    pub(crate) lines: VecDeque<(Arc<Line>, ReaderId)>,
    pub(crate) told_lost: bool,
    /// Whether the subscriber has begun to read its first epoch.
    pub(crate) started: bool,
}

#[derive(Debug, Default)]
pub(crate) struct TrackState {
    pub(crate) line: Option<Arc<Line>>,
    /// The epoch that the tree follows: the only one that may begin.
    following: Option<u64>,
    pub(crate) places: BTreeMap<u64, Place>,
    next_place: u64,
    pub(crate) origin_lost: bool,
    pub(crate) closed: Option<End>,
}

impl TrackState {
    /// See [`SharedTrack::begin`].
    fn begin(&mut self, now: Instant, line: &Arc<Line>, newest: u64) {
        self.line = Some(Arc::clone(line));
        self.following = Some(line.epoch);
        self.origin_lost = false;
        for place in self.places.values_mut() {
            let start = match place.from {
                _ if !place.lines.is_empty() => Start::Oldest,
                From::Latest => Start::Id(newest),
                From::Oldest => Start::Oldest,
                From::Id(id) => Start::Id(id),
            };
            let (reader, _) = line.lock().open_reader(now, ReaderKind::Local, start);
            // The first is being read: the one after it gives way.
            if place.lines.len() == LINES_MAX
                && let Some((skipped, reader)) = place.lines.remove(1)
            {
                skipped.lock().close_reader(now, reader, false);
                skipped.acks.send_replace(());
            }
            place.lines.push_back((Arc::clone(line), reader));
        }
    }
}

/// A track over all its epochs.
#[derive(Debug)]
pub(crate) struct SharedTrack {
    pub(crate) name: TrackName,
    state: Mutex<TrackState>,
    /// Rings when an epoch begins, the origin goes or comes, or the track closes.
    pub(crate) changed: watch::Sender<()>,
}

impl SharedTrack {
    pub(crate) fn new(name: TrackName) -> Self {
        Self { name, state: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn line(&self) -> Option<Arc<Line>> {
        self.lock().line.clone()
    }

    /// Adds a local subscriber.
    pub(crate) fn join(&self, now: Instant, from: From) -> u64 {
        let mut state = self.lock();
        let mut place = Place { from, lines: VecDeque::new(), told_lost: false, started: false };
        if let Some(line) = state.line.clone() {
            let start = match from {
                From::Latest => Start::Latest,
                From::Oldest => Start::Oldest,
                From::Id(id) => Start::Id(id),
            };
            let (reader, _) = line.lock().open_reader(now, ReaderKind::Local, start);
            place.lines.push_back((line, reader));
        }
        let id = state.next_place;
        state.next_place += 1;
        state.places.insert(id, place);
        id
    }

    /// Removes a local subscriber.
    pub(crate) fn part(&self, now: Instant, id: u64) {
        let place = self.lock().places.remove(&id);
        for (line, reader) in place.into_iter().flat_map(|place| place.lines) {
            line.lock().close_reader(now, reader, false);
            line.acks.send_replace(());
        }
    }

    /// Where to begin with an epoch of which nothing is here: as early as the earliest of the
    /// local subscribers wants, and early enough to be of use to others.
    pub(crate) fn first_start(&self) -> Start {
        let state = self.lock();
        let wanted = state.places.values().map(|place| match place.from {
            // A subscriber that has seen an epoch wants the next one whole.
            _ if !place.lines.is_empty() => Start::Oldest,
            From::Latest => Start::Stable,
            From::Oldest => Start::Oldest,
            From::Id(id) => Start::Id(id),
        });
        wanted.reduce(earlier).unwrap_or(Start::Stable)
    }

    /// The tree follows this epoch now. It may be smaller than the one before, whose origin is gone.
    pub(crate) fn follow(&self, epoch: u64) {
        self.lock().following = Some(epoch);
    }

    /// The line of an epoch, begun if it is not there yet. `None`: another is followed meanwhile,
    /// and the pull that asks is about to be stopped.
    pub(crate) fn line_of(
        &self,
        now: Instant,
        epoch: u64,
        newest: u64,
        track: impl FnOnce() -> Track,
    ) -> Option<Arc<Line>> {
        let mut state = self.lock();
        if state.following != Some(epoch) {
            return None;
        }
        if let Some(line) = state.line.as_ref().filter(|line| line.epoch == epoch) {
            return Some(Arc::clone(line));
        }
        let line = Arc::new(Line::new(epoch, track()));
        state.begin(now, &line, newest);
        drop(state);
        self.changed.send_replace(());
        Some(line)
    }

    /// Begins an epoch; the local subscribers are put in their places at once, so that nothing
    /// passes them by. `newest` is where [`From::Latest`] starts.
    pub(crate) fn begin(&self, now: Instant, line: &Arc<Line>, newest: u64) {
        self.lock().begin(now, line, newest);
        self.changed.send_replace(());
    }

    /// Whether the origin is gone; told to subscribers.
    pub(crate) fn set_origin_lost(&self, lost: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.origin_lost, lost) != lost {
            drop(state);
            self.changed.send_replace(());
        }
    }

    /// Nothing follows for anybody.
    pub(crate) fn close(&self, end: End) {
        self.lock().closed.get_or_insert(end);
        self.changed.send_replace(());
    }
}

fn earlier(a: Start, b: Start) -> Start {
    match (a, b) {
        (Start::Oldest, _) | (_, Start::Oldest) => Start::Oldest,
        (Start::Id(a), Start::Id(b)) => Start::Id(a.min(b)),
        (Start::Id(id), _) | (_, Start::Id(id)) => Start::Id(id),
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::{Mode, TrackConfig};

    fn track() -> Track {
        Track::new(TrackConfig::default(), Mode::Reliable, 0)
    }

    fn shared() -> SharedTrack {
        SharedTrack::new(TrackName::new("feed").expect("valid"))
    }

    #[test]
    fn a_smaller_epoch_begins_if_it_is_followed_and_only_then() {
        let (now, shared) = (Instant::now(), shared());
        shared.follow(20);
        assert_eq!(shared.line_of(now, 20, 0, track).map(|line| line.epoch), Some(20));
        assert!(shared.line_of(now, 10, 0, track).is_none(), "a pull that was stopped comes late");
        shared.follow(10);
        assert_eq!(shared.line_of(now, 10, 0, track).map(|line| line.epoch), Some(10));
        assert!(shared.line_of(now, 20, 0, track).is_none());
        assert_eq!(shared.line().map(|line| line.epoch), Some(10));
    }

    #[test]
    fn two_pulls_of_an_epoch_share_one_line() {
        let (now, shared) = (Instant::now(), shared());
        let place = shared.join(now, From::Oldest);
        shared.follow(1);
        let lines = [(); 2].map(|()| shared.line_of(now, 1, 0, track).expect("is followed"));
        assert!(Arc::ptr_eq(&lines[0], &lines[1]));
        assert_eq!(shared.lock().places[&place].lines.len(), 1);
    }

    #[test]
    fn of_too_many_epochs_the_one_being_read_stays() {
        let (now, shared) = (Instant::now(), shared());
        let place = shared.join(now, From::Oldest);
        let lines: Vec<_> = (0..6).map(|epoch| Arc::new(Line::new(epoch, track()))).collect();
        lines.iter().for_each(|line| shared.begin(now, line, 0));
        let epochs: Vec<u64> = shared.lock().places[&place].lines.iter().map(|(line, _)| line.epoch).collect();
        assert_eq!(epochs, [0, 3, 4, 5]);
        let readers = |line: &Line| line.lock().readers(ReaderKind::Local);
        assert_eq!(lines.iter().map(|line| readers(line)).collect::<Vec<_>>(), [1, 0, 0, 1, 1, 1]);
        shared.part(now, place);
        assert!(lines.iter().all(|line| readers(line) == 0));
    }
}
