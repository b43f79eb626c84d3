//! A local subscriber's side of a track.

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;

use super::{
    line::{Line, SharedTrack},
    types::{End, Item},
};
use crate::relay::{
    Frame,
    epochs::PlaceId,
    track::{Assembler, Read, ReaderId},
};

/// Receives the objects of a track. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<SharedTrack>,
    changed: watch::Receiver<()>,
    place: PlaceId,
    /// Whether an epoch was read before.
    started: bool,
    told_lost: bool,
    current: Option<(Arc<Line>, ReaderId, watch::Receiver<()>)>,
    assembler: Assembler,
    /// The object handed out last is consumed when the next item is asked for.
    handed_out: Option<u64>,
    ended: Option<End>,
}

impl Subscriber {
    pub(crate) fn new(shared: Arc<SharedTrack>, place: PlaceId) -> Self {
        let changed = shared.changed.subscribe();
        Self {
            shared,
            changed,
            place,
            started: false,
            told_lost: false,
            current: None,
            assembler: Assembler::default(),
            handed_out: None,
            ended: None,
        }
    }

    /// The next item. Cancel-safe. After [`Item::End`], always `End` again.
    ///
    /// Asking for an item says that the one before is consumed: a reliable track lets its publisher
    /// go on by that much.
    pub async fn next(&mut self) -> Item {
        self.consume();
        loop {
            if let Some(end) = self.ended {
                return Item::End(end);
            }
            self.changed.borrow_and_update();
            if let Some(item) = self.step() {
                return item;
            }
            let Self { current, changed, .. } = self;
            // Neither bell can be gone while its owner is held here.
            match current {
                Some((_, _, data)) => tokio::select! {
                    _ = data.changed() => {}
                    _ = changed.changed() => {}
                },
                None => drop(changed.changed().await),
            }
        }
    }

    fn consume(&mut self) {
        let Some((line, reader, _)) = &self.current else {
            return;
        };
        if let Some(id) = self.handed_out.take() {
            line.lock().ack(Instant::now(), *reader, id + 1);
            line.acks.send_replace(());
        }
    }

    /// What can be said without waiting.
    fn step(&mut self) -> Option<Item> {
        if self.current.is_none()
            && let Some(item) = self.next_line()
        {
            return Some(item);
        }
        if let Some((_, _, data)) = &mut self.current {
            data.borrow_and_update();
        }
        match self.read() {
            Read::Wait => {
                if self.is_last_line() {
                    return self.tidings();
                }
                // A newer epoch has begun, and this one gives nothing more.
                self.leave_line();
                self.step()
            }
            Read::Ended if self.is_last_line() => Some(self.end(End::Complete)),
            Read::Ended => {
                self.leave_line();
                self.step()
            }
            Read::CutOff => Some(self.end(End::TooSlow)),
            Read::Frame(Frame::Gap { from, to }) => {
                self.handed_out = Some(to - 1);
                Some(Item::Gap { from, to })
            }
            Read::Frame(Frame::Chunk(chunk)) => {
                let (id, payload) = self.assembler.take(&chunk)?;
                self.handed_out = Some(id);
                Some(Item::Object { id, payload })
            }
            Read::Frame(_) => None,
        }
    }

    /// Reads up to the last chunk of an object, or whatever else comes first.
    fn read(&mut self) -> Read {
        let Some((line, reader, _)) = &self.current else {
            return Read::Wait;
        };
        let mut track = line.lock();
        loop {
            match track.read(*reader) {
                Read::Frame(Frame::Chunk(chunk)) if !chunk.last => drop(self.assembler.take(&chunk)),
                other => return other,
            }
        }
    }

    fn end(&mut self, end: End) -> Item {
        self.ended = Some(end);
        Item::End(end)
    }

    fn is_last_line(&self) -> bool {
        !self.shared.lock().epochs.has_newer(self.place)
    }

    fn leave_line(&mut self) {
        if self.current.take().is_some() {
            self.shared.lock().epochs.leave(Instant::now(), self.place);
        }
    }

    /// Goes to the next epoch, if there is one. Says so unless it is the first.
    fn next_line(&mut self) -> Option<Item> {
        let (line, reader) = self.shared.lock().epochs.current(self.place).cloned()?;
        let first = !std::mem::replace(&mut self.started, true);
        let (data, epoch) = (line.data.subscribe(), line.epoch);
        self.current = Some((line, reader, data));
        (!first).then_some(Item::Epoch { epoch })
    }

    /// Whether the origin went or came back, or nothing will come any more.
    fn tidings(&mut self) -> Option<Item> {
        let (lost, closed) = {
            let state = self.shared.lock();
            (state.origin_lost, state.closed)
        };
        if std::mem::replace(&mut self.told_lost, lost) != lost {
            return Some(Item::OriginLost(lost));
        }
        closed.map(|end| self.end(end))
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.lock().epochs.part(Instant::now(), self.place);
    }
}
