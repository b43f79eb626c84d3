//! One epoch of a track at a host.

use std::{
    cell::{RefCell, RefMut},
    rc::Rc,
    time::Instant,
};

use banyan_node::relay::{
    Start, Track, epochs,
    track::{ReaderId, ReaderKind},
};

/// One epoch, shared by those who publish, pull, feed and read it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) epoch: u64,
    track: Rc<RefCell<Track>>,
}

impl Line {
    pub(super) fn new(epoch: u64, track: Track) -> Self {
        Self { epoch, track: Rc::new(RefCell::new(track)) }
    }

    pub(super) fn lock(&self) -> RefMut<'_, Track> {
        self.track.borrow_mut()
    }

    /// The oldest object that its ring holds, and the one after the newest.
    pub(super) fn bounds(&self) -> (u64, u64) {
        let track = self.lock();
        (track.ring().oldest(), track.ring().newest())
    }
}

impl epochs::Line for Line {
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
        self.lock().close_reader(now, reader, false);
    }
}
