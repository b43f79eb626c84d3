//! A local subscriber's side of a track.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    line::{Line, SharedTrack},
    types::{End, Item},
};
use crate::relay::{
    Frame, Mode,
    epochs::PlaceId,
    track::{Assembler, Read, ReaderId},
};

/// When no more of a reliable track is taken from the ring in one go, by number and bytes; a run is taken whole. A live
/// track's objects are taken one by one, since a subscriber that falls behind is to skip them.
const AHEAD_OBJECTS: usize = 64;
const AHEAD_BYTES: usize = 64 * 1024;
/// What was consumed of them is acknowledged when all are, or after this time.
const ACK_AFTER: Duration = Duration::from_millis(1);

/// Receives the objects of a track. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<SharedTrack>,
    place: PlaceId,
    /// Whether an epoch was read before.
    started: bool,
    told_lost: bool,
    current: Option<(Arc<Line>, ReaderId)>,
    assembler: Assembler,
    /// Taken from the ring, to be handed out. All of it is of the current line.
    ahead: VecDeque<Item>,
    /// The object handed out last is consumed when the next item is asked for.
    handed_out: Option<u64>,
    /// Consumed below this id, and not acknowledged yet.
    consumed: Option<u64>,
    /// When something was last acknowledged before all that was taken was consumed.
    told: Instant,
    ended: Option<End>,
}

impl Subscriber {
    pub(crate) fn new(shared: Arc<SharedTrack>, place: PlaceId) -> Self {
        Self {
            shared,
            place,
            started: false,
            told_lost: false,
            current: None,
            assembler: Assembler::default(),
            ahead: VecDeque::new(),
            handed_out: None,
            consumed: None,
            told: Instant::now(),
            ended: None,
        }
    }

    /// What it reads from, and others are fed from.
    #[cfg(test)]
    pub(crate) fn line(&self) -> Option<Arc<Line>> {
        self.shared.line()
    }

    /// The next item. Cancel-safe. After [`Item::End`], always `End` again.
    ///
    /// Asking for an item says that the one before is consumed: a reliable track lets its publisher
    /// go on by that much.
    pub async fn next(&mut self) -> Item {
        self.consume();
        loop {
            if let Some(item) = self.hand_out() {
                return item;
            }
            if let Some(end) = self.ended {
                return Item::End(end);
            }
            let changed = self.shared.changed.times();
            let data = self.current.as_ref().map(|(line, _)| line.data.times());
            if let Some(item) = self.step() {
                return item;
            }
            match (&self.current, data) {
                (Some((line, _)), Some(data)) => tokio::select! {
                    () = line.data.rung_since(data) => {}
                    () = self.shared.changed.rung_since(changed) => {}
                },
                // The line has just begun: look again, now that its bell is heard.
                (Some(_), None) => {}
                (None, _) => self.shared.changed.rung_since(changed).await,
            }
        }
    }

    fn consume(&mut self) {
        let Some(id) = self.handed_out.take() else {
            return;
        };
        self.consumed = Some(id + 1);
        // Otherwise reading the ring acknowledges it.
        if !self.ahead.is_empty() && self.told.elapsed() > ACK_AFTER {
            self.told = Instant::now();
            if let (Some((line, reader)), Some(id)) = (&self.current, self.consumed.take()) {
                line.acking(|track| track.ack(self.told, *reader, id));
            }
        }
    }

    fn hand_out(&mut self) -> Option<Item> {
        let item = self.ahead.pop_front()?;
        self.handed_out = match &item {
            Item::Object { id, .. } => Some(*id),
            Item::Gap { to, .. } => Some(to - 1),
            _ => None,
        };
        Some(item)
    }

    /// What can be said without waiting.
    fn step(&mut self) -> Option<Item> {
        if self.current.is_none()
            && let Some(item) = self.next_line()
        {
            return Some(item);
        }
        match self.read() {
            None => self.hand_out(),
            Some(Read::Wait) => {
                if self.is_last_line() {
                    return self.tidings();
                }
                // A newer epoch has begun, and this one gives nothing more.
                self.leave_line();
                self.step()
            }
            Some(Read::Ended) if self.is_last_line() => Some(self.end(End::Complete)),
            Some(Read::Ended) => {
                self.leave_line();
                self.step()
            }
            Some(Read::CutOff) => Some(self.end(End::TooSlow)),
            Some(Read::Frame(_)) => None,
        }
    }

    /// Acknowledges what was consumed and reads some of what there is. If there is nothing, says why.
    fn read(&mut self) -> Option<Read> {
        let Some((line, reader)) = &self.current else {
            return Some(Read::Wait);
        };
        let stopped = line.acking(|track| {
            if let Some(id) = self.consumed.take() {
                track.ack(Instant::now(), *reader, id);
            }
            let most = if track.mode() == Mode::Live { 1 } else { AHEAD_OBJECTS };
            let mut bytes = 0;
            loop {
                match track.read(*reader) {
                    Read::Frame(Frame::Chunk(chunk)) => {
                        bytes += chunk.wire.len();
                        let objects = self.assembler.take(&chunk);
                        self.ahead.extend(objects.map(|(id, payload)| Item::Object { id, payload }));
                    }
                    Read::Frame(Frame::Gap { from, to }) => self.ahead.push_back(Item::Gap { from, to }),
                    other => return other,
                }
                // An object may have more chunks than that.
                if self.ahead.len() >= most || bytes >= AHEAD_BYTES && !self.ahead.is_empty() {
                    return Read::Wait;
                }
            }
        });
        self.ahead.is_empty().then_some(stopped)
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
        let epoch = line.epoch;
        self.current = Some((line, reader));
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

#[cfg(test)]
mod tests {
    use banyan_gossip::TrackName;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        From,
        relay::{Track, TrackConfig},
    };

    #[tokio::test]
    async fn an_object_of_many_chunks_is_handed_out_without_another_ring_of_the_bell() {
        let shared = Arc::new(SharedTrack::new(TrackName::new("take").expect("valid")));
        let place = shared.join(Instant::now(), From::Oldest);
        let line = Arc::new(Line::new(1, Track::new_origin(TrackConfig::default(), Mode::Reliable)));
        shared.begin(Instant::now(), &line, 0);
        for length in [1, 1 << 20, 2] {
            line.lock().publish(Instant::now(), &vec![7; length]);
        }
        line.lock().finish();
        let (mut subscriber, mut lengths) = (Subscriber::new(shared, place), Vec::new());
        let taking = async {
            while let Item::Object { payload, .. } = subscriber.next().await {
                lengths.push(payload.len());
            }
        };
        timeout(Duration::from_secs(10), taking).await.expect("there is nothing to wait for");
        assert_eq!(lengths, [1, 1 << 20, 2]);
    }
}
