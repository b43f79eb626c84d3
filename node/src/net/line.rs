//! The tracks of this node as its tasks share them.
//!
//! A [`Line`] is one epoch of a track: the relay's pure state behind a lock, with two bells, one
//! for new objects and one for acknowledgements. Whoever publishes, pulls, feeds or subscribes
//! holds the line and touches it directly; the mesh task never sees an object. A [`SharedTrack`]
//! is a track over all its epochs, with its local subscribers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use banyan_gossip::TrackName;

use super::{
    bell::Bell,
    feeder::Offer,
    types::{End, From},
};
use crate::relay::{
    Epochs, Start, Track,
    epochs::{self, PlaceId},
    track::{ReaderId, ReaderKind},
};

/// One epoch of a track.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) epoch: u64,
    track: Mutex<Track>,
    taken_over: AtomicBool,
    shut: AtomicBool,
    /// In tests: what is sent to children is changed.
    #[cfg(test)]
    pub(crate) lies: AtomicBool,
    /// Rings for local subscribers when there is something new to read.
    pub(crate) data: Bell,
    /// The children.
    feeders: Mutex<Vec<Arc<dyn Offer>>>,
    /// Rings when readers have consumed something.
    pub(crate) acks: Bell,
}

impl Line {
    pub(crate) fn new(epoch: u64, track: Track) -> Self {
        Self {
            epoch,
            track: Mutex::new(track),
            taken_over: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            #[cfg(test)]
            lies: AtomicBool::new(false),
            data: Bell::default(),
            feeders: Mutex::default(),
            acks: Bell::default(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the track, and rings if everyone here and below has consumed more after it.
    pub(crate) fn acking<T>(&self, act: impl FnOnce(&mut Track) -> T) -> T {
        let mut track = self.lock();
        let before = track.acked();
        let result = act(&mut track);
        let moved = track.acked() != before;
        drop(track);
        if moved {
            self.acks.ring();
        }
        result
    }

    /// Tells children and subscribers that there is something new. Not to be called while the track is locked.
    pub(crate) fn announce(&self, now: Instant) {
        for feeder in self.feeders().iter() {
            feeder.offer(now, self);
        }
        self.data.ring();
    }

    fn feeders(&self) -> MutexGuard<'_, Vec<Arc<dyn Offer>>> {
        self.feeders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a child be told of what is new, until the result is dropped.
    pub(crate) fn offer_to(&self, feeder: Arc<dyn Offer>) -> Offered<'_> {
        self.feeders().push(Arc::clone(&feeder));
        Offered { line: self, feeder }
    }

    /// Another origin publishes the track now.
    pub(crate) fn take_over(&self) {
        self.taken_over.store(true, Ordering::Relaxed);
        self.acks.ring();
    }

    /// The node shuts down: nobody looks after this line any more.
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
        self.acks.ring();
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    pub(crate) fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::Relaxed)
    }
}

/// See [`Line::offer_to`].
#[derive(Debug)]
pub(crate) struct Offered<'a> {
    line: &'a Line,
    feeder: Arc<dyn Offer>,
}

impl Drop for Offered<'_> {
    fn drop(&mut self) {
        self.line.feeders().retain(|feeder| !Arc::ptr_eq(feeder, &self.feeder));
    }
}

impl epochs::Line for Arc<Line> {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn with<T>(&self, act: impl FnOnce(&mut Track) -> T) -> T {
        act(&mut self.lock())
    }

    fn open(&self, now: Instant, start: Start) -> ReaderId {
        self.lock().open_reader(now, ReaderKind::Local, start).0
    }

    fn close(&self, now: Instant, reader: ReaderId) {
        self.acking(|track| track.close_reader(now, reader, false));
    }
}

#[derive(Debug, Default)]
pub(crate) struct TrackState {
    pub(crate) epochs: Epochs<Arc<Line>>,
    pub(crate) origin_lost: bool,
    pub(crate) closed: Option<End>,
}

/// A track over all its epochs.
#[derive(Debug)]
pub(crate) struct SharedTrack {
    pub(crate) name: TrackName,
    state: Mutex<TrackState>,
    /// Rings when an epoch begins, the origin goes or comes, or the track closes.
    pub(crate) changed: Bell,
}

impl SharedTrack {
    pub(crate) fn new(name: TrackName) -> Self {
        Self { name, state: Mutex::default(), changed: Bell::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn line(&self) -> Option<Arc<Line>> {
        self.lock().epochs.line().cloned()
    }

    /// Adds a local subscriber.
    pub(crate) fn join(&self, now: Instant, from: From) -> PlaceId {
        let wants = match from {
            From::Latest => Start::Latest,
            From::Oldest => Start::Oldest,
            From::Id(id) => Start::Id(id),
        };
        self.lock().epochs.join(now, wants)
    }

    /// See [`Epochs::line_of`].
    pub(crate) fn line_of(
        &self,
        now: Instant,
        epoch: u64,
        newest: u64,
        track: impl FnOnce() -> Track,
    ) -> Option<Arc<Line>> {
        let (mut state, mut begun) = (self.lock(), false);
        let line = || {
            begun = true;
            Arc::new(Line::new(epoch, track()))
        };
        let line = state.epochs.line_of(now, epoch, newest, line).cloned();
        if begun {
            self.on_begun(state);
        }
        line
    }

    /// See [`Epochs::begin`].
    pub(crate) fn begin(&self, now: Instant, line: &Arc<Line>, newest: u64) {
        let mut state = self.lock();
        state.epochs.begin(now, Arc::clone(line), newest);
        self.on_begun(state);
    }

    fn on_begun(&self, mut state: MutexGuard<'_, TrackState>) {
        state.origin_lost = false;
        drop(state);
        self.changed.ring();
    }

    /// Whether the origin is gone; told to subscribers.
    pub(crate) fn set_origin_lost(&self, lost: bool) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.origin_lost, lost) != lost {
            drop(state);
            self.changed.ring();
        }
    }

    /// Nothing follows for anybody.
    pub(crate) fn close(&self, end: End) {
        self.lock().closed.get_or_insert(end);
        self.changed.ring();
    }
}
