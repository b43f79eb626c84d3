//! All streams to one peer, over one pipe.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Batch, CloseBehavior, FrameError, IDLE_SECONDS, OpenError, Read, STREAMS_MAX, StreamConfig, StreamId, StreamStats,
    TrySendError, WINDOW_POOL_BYTES,
    control::Control,
    drr::Drr,
    frame::Channel,
    stream::{Rx, RxError, State, Stream, Tx},
};

/// Names one life of a stream at this end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub(super) index: u16,
    /// The epoch: +1 each time the index is used anew.
    pub(super) life: u64,
}

impl Key {
    /// Below [`STREAMS_MAX`]; used anew when the stream is gone.
    #[must_use]
    pub fn index(self) -> usize {
        self.index.into()
    }

    pub(super) fn channel(self) -> Channel {
        Channel::new(self.index, self.life)
    }
}

/// What came of an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The stream.
    pub key: Key,
    /// It was open already, with another configuration, which stays.
    pub config_ignored: bool,
}

/// Somebody who waits may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// There is something to read, or the stream has ended.
    Readable(Key),
    /// Credit came, or the stream has ended.
    Writable(Key),
    /// The stream is gone; its id and its index may be used anew.
    Gone(Key),
    /// The other end opened a stream that nobody has opened or accepted here.
    Incoming,
}

/// The peer broke the protocol; the link cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// More was sent than granted.
    #[error("more was sent on a stream than was granted")]
    Overrun,
    /// A message or a piece that does not follow the one before.
    #[error("a message on a stream does not follow the one before")]
    OutOfOrder,
    /// A direction was opened twice.
    #[error("a direction of a stream was opened twice")]
    OpenedTwice,
    /// Answers to the peer pile up, and it does not read them.
    #[error("too many requests that were not answered yet")]
    TooManyAnswers,
}

impl From<RxError> for LinkError {
    fn from(error: RxError) -> Self {
        match error {
            RxError::Overrun => Self::Overrun,
            RxError::OutOfOrder => Self::OutOfOrder,
        }
    }
}

/// All streams between this node and one peer, while one connection lasts.
///
/// - *Application:* [`open`](Self::open), [`accept`](Self::accept), [`try_send`](Self::try_send),
///   [`read`](Self::read), [`close`](Self::close), [`stats`](Self::stats). A [`Key`] of a former life finds
///   nothing.
/// - *Pipe:* hand what comes to [`handle_bytes`](Self::handle_bytes); take what goes from
///   [`fill`](Self::fill) until it is empty, and again after [`take_wake`](Self::take_wake) said so.
/// - *Time:* call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is due.
/// - After any of these, [`poll_event`](Self::poll_event) until it is empty.
/// - When the pipe breaks, [`disconnect`](Self::disconnect): nothing but reading what has come works then.
#[derive(Debug)]
pub struct Link {
    pub(super) slots: Vec<Slot>,
    /// Indices to use anew, the longest free first.
    free: VecDeque<u16>,
    /// The life of each id that the other end may speak of.
    pub(super) ids: BTreeMap<StreamId, Key>,
    /// The other end's channels, by their index.
    pub(super) inbound: Vec<Option<(Channel, Key)>>,
    pub(super) control: VecDeque<Control>,
    pub(super) ready: Drr<Key>,
    /// What windows may still grow by.
    pub(super) pool: u64,
    /// Streams to accept, the longest waiting first; some may be opened or gone meanwhile.
    pub(super) incoming: VecDeque<Key>,
    pub(super) events: VecDeque<Event>,
    disconnected: bool,
    /// The writer found nothing to write.
    idle: bool,
    next_sweep: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    life: u64,
    pub(super) stream: Option<Box<Stream>>,
}

const IDLE: Duration = Duration::from_secs(IDLE_SECONDS);

impl Default for Link {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: VecDeque::new(),
            ids: BTreeMap::new(),
            inbound: Vec::new(),
            control: VecDeque::new(),
            ready: Drr::default(),
            pool: WINDOW_POOL_BYTES as u64,
            incoming: VecDeque::new(),
            events: VecDeque::new(),
            disconnected: false,
            idle: true,
            next_sweep: None,
        }
    }
}

impl Link {
    // --- Application -------------------------------------------------------------------------

    /// Opens a stream, or finds the one that is open: then the first configuration stays.
    ///
    /// # Errors
    /// [`OpenError`]: nothing changed.
    pub fn open(&mut self, now: Instant, id: StreamId, config: StreamConfig) -> Result<Opened, OpenError> {
        if self.disconnected {
            return Err(OpenError::NotConnected);
        }
        let config = config.normal();
        // One that the other end opened and closed before anybody here took it comes first.
        let ended = || self.incoming.iter().find(|key| self.get(**key).is_some_and(|stream| stream.id == id));
        let Some(key) = self.ids.get(&id).or_else(ended).copied() else {
            let key = self.insert(now, id, config).ok_or(OpenError::TooMany)?;
            self.begin(now, key, config);
            return Ok(Opened { key, config_ignored: false });
        };
        let stream = self.get(key).ok_or(OpenError::NotConnected)?;
        match (stream.state, stream.accepted) {
            (State::Open, true) => Ok(Opened { key, config_ignored: stream.tx.config != config }),
            (State::Open | State::Ended, false) => {
                self.begin(now, key, config);
                Ok(Opened { key, config_ignored: false })
            }
            _ => Err(OpenError::Closing),
        }
    }

    /// Takes a stream that the other end opened and nobody here has opened yet. It is answered as it was
    /// opened, with a weight of 1.
    pub fn accept(&mut self, now: Instant) -> Option<(Key, StreamId)> {
        while let Some(key) = self.incoming.pop_front() {
            let stream = self.get(key).filter(|stream| matches!(stream.state, State::Open | State::Ended));
            if let Some((id, config)) = stream.map(|stream| (stream.id, stream.tx.config)) {
                self.begin(now, key, config);
                if !self.incoming.is_empty() {
                    self.events.push_back(Event::Incoming);
                }
                return Some((key, id));
            }
        }
        None
    }

    /// Enqueues a message if there is credit for it.
    ///
    /// # Errors
    /// [`TrySendError`]: nothing was enqueued.
    pub fn try_send(&mut self, now: Instant, key: Key, payload: &Bytes) -> Result<(), TrySendError> {
        self.send(now, key, payload, true, false)
    }

    /// As [`try_send`](Self::try_send), for a caller that tries again after [`Event::Writable`]. `first_try`: it
    /// has not tried this message before.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    pub fn send_or_wait(
        &mut self,
        now: Instant,
        key: Key,
        payload: &Bytes,
        first_try: bool,
    ) -> Result<(), TrySendError> {
        self.send(now, key, payload, first_try, true)
    }

    fn send(
        &mut self,
        now: Instant,
        key: Key,
        payload: &Bytes,
        first_try: bool,
        waits: bool,
    ) -> Result<(), TrySendError> {
        let open = self.get_mut(key).filter(|stream| stream.state == State::Open);
        let stream = open.ok_or(TrySendError::NotConnected)?;
        let sent = stream.tx.push(payload, first_try, waits);
        if sent.is_ok() {
            stream.last_activity = now;
            if !std::mem::replace(&mut stream.tx.scheduled, true) {
                let weight = stream.tx.config.weight;
                self.ready.push(key, weight);
            }
        } else {
            self.tell_blocked(key);
        }
        sent
    }

    /// Takes the next message. What is read becomes credit of the other end.
    pub fn read(&mut self, now: Instant, key: Key) -> Read {
        let disconnected = self.disconnected;
        let Some(stream) = self.get_mut(key) else { return Read::NotConnected };
        if let Some(message) = stream.rx.as_mut().and_then(Rx::pop) {
            stream.last_activity = now;
            self.tend_window(key);
            return Read::Message(message);
        }
        match stream.state {
            State::Ended => {
                self.remove(key);
                if disconnected { Read::NotConnected } else { Read::End }
            }
            State::Open => {
                stream.read_awaited = true;
                Read::Empty
            }
            State::Draining | State::Closing => Read::NotConnected,
        }
    }

    /// Closes a stream for both ends. Handles of this life get `NotConnected` from now on;
    /// [`Event::Gone`] tells when the other end has let go too. Says whether that is still to come.
    pub fn close(&mut self, key: Key, behavior: CloseBehavior) -> bool {
        let Some(stream) = self.get_mut(key) else { return false };
        let id = stream.id;
        match stream.state {
            State::Open => stream.close(behavior),
            State::Draining if behavior == CloseBehavior::DropAndClose => stream.close(behavior),
            State::Draining | State::Closing => return true,
            State::Ended => {
                self.remove(key);
                return false;
            }
        }
        if stream.state == State::Closing {
            self.control.push_back(Control::Close(id, behavior));
        }
        self.events.extend([Event::Readable(key), Event::Writable(key)]);
        true
    }

    /// The counters of a stream; `None`: that life is over.
    #[must_use]
    pub fn stats(&self, key: Key) -> Option<StreamStats> {
        self.get(key).map(Stream::stats)
    }

    /// Whether any stream is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.stream.is_none())
    }

    /// Whether the pipe still carries.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        !self.disconnected
    }

    // --- Pipe --------------------------------------------------------------------------------

    /// Adds frames to a batch until it holds `budget_bytes` or there are no more.
    pub fn fill(&mut self, budget_bytes: usize, batch: &mut Batch) {
        loop {
            while let Some(control) = self.control.pop_front() {
                if let Some(frame) = self.control_frame(control) {
                    batch.encode(|out| frame.encode(out));
                }
            }
            if batch.len() >= budget_bytes || !self.fill_data(batch) {
                break;
            }
        }
        self.idle = batch.is_empty();
    }

    /// Adds the data frame whose turn it is; `false`: there is none.
    fn fill_data(&mut self, batch: &mut Batch) -> bool {
        let slots = &mut self.slots;
        let next = self.ready.next(|key| {
            let tx = &mut find(slots, key)?.tx;
            let bytes = tx.next_bytes();
            tx.scheduled = bytes.is_some();
            bytes
        });
        let Some(key) = next else { return false };
        let Some(stream) = find(slots, key) else { return false };
        if let Some((frame, payload)) = stream.tx.pop(key.channel()) {
            batch.encode(|out| frame.encode(out));
            batch.push(&payload);
        }
        if !stream.tx.is_empty() {
            return true;
        }
        if stream.state == State::Draining {
            stream.state = State::Closing;
            self.control.push_back(Control::Close(stream.id, CloseBehavior::DrainThenClose));
        } else {
            self.tell_blocked(key);
        }
        true
    }

    /// Whether the writer, which found nothing to write, has something now. Says so once.
    pub fn take_wake(&mut self) -> bool {
        let work = !self.control.is_empty() || !self.ready.is_empty();
        work && std::mem::replace(&mut self.idle, false)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The pipe is broken: every stream is over.
    pub fn disconnect(&mut self) {
        self.disconnected = true;
        (self.control, self.ready, self.incoming) = Default::default();
        for key in self.keys() {
            match self.get_mut(key) {
                Some(stream) if stream.state == State::Open => {
                    stream.end(CloseBehavior::DrainThenClose);
                    self.events.extend([Event::Readable(key), Event::Writable(key)]);
                }
                // One that is being closed stays: its close was not answered, and never will be.
                _ => self.events.push_back(Event::Gone(key)),
            }
        }
        self.ids.clear();
    }

    // --- Time --------------------------------------------------------------------------------

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Closes what has been idle for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|at| now < at) {
            return;
        }
        let mut next = None::<Instant>;
        for key in self.keys() {
            let Some(stream) = self.get(key) else { continue };
            let due = stream.last_activity + IDLE;
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else if matches!(stream.state, State::Open | State::Ended) {
                self.close(key, CloseBehavior::DropAndClose);
            }
        }
        self.next_sweep = next;
    }

    // --- Streams -----------------------------------------------------------------------------

    pub(super) fn get(&self, key: Key) -> Option<&Stream> {
        let slot = self.slots.get(key.index()).filter(|slot| slot.life == key.life)?;
        slot.stream.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Stream> {
        find(&mut self.slots, key)
    }

    /// The life that an index has now.
    pub(super) fn key_at(&self, index: usize) -> Option<Key> {
        let slot = self.slots.get(index).filter(|slot| slot.stream.is_some())?;
        Some(Key { index: u16::try_from(index).ok()?, life: slot.life })
    }

    /// All lives that are there.
    pub(super) fn keys(&self) -> Vec<Key> {
        (0..self.slots.len()).filter_map(|index| self.key_at(index)).collect()
    }

    pub(super) fn insert(&mut self, now: Instant, id: StreamId, config: StreamConfig) -> Option<Key> {
        let index = match self.free.pop_front() {
            Some(index) => index,
            None if self.slots.len() < STREAMS_MAX => {
                self.slots.push(Slot::default());
                u16::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let slot = &mut self.slots[usize::from(index)];
        slot.life += 1;
        slot.stream = Some(Box::new(Stream::new(now, id, config)));
        let key = Key { index, life: slot.life };
        self.ids.insert(id, key);
        self.next_sweep.get_or_insert(now + IDLE);
        Some(key)
    }

    /// The application takes part: this end's direction begins.
    fn begin(&mut self, now: Instant, key: Key, config: StreamConfig) {
        self.incoming.retain(|incoming| *incoming != key);
        if let Some(stream) = self.get_mut(key) {
            (stream.accepted, stream.last_activity) = (true, now);
            stream.tx = Tx::new(config);
            self.control.push_back(Control::Open(key));
        }
    }

    /// Forgets a life.
    pub(super) fn remove(&mut self, key: Key) {
        self.release(key);
        let Some(slot) = self.slots.get_mut(key.index()).filter(|slot| slot.life == key.life) else { return };
        let Some(stream) = slot.stream.take() else { return };
        self.free.push_back(key.index);
        self.incoming.retain(|incoming| *incoming != key);
        self.events.extend([Event::Readable(key), Event::Writable(key), Event::Gone(key)]);
        self.return_to_pool(stream.rx.map_or(0, |rx| rx.window.grown()));
    }
}

fn find(slots: &mut [Slot], key: Key) -> Option<&mut Stream> {
    let slot = slots.get_mut(key.index()).filter(|slot| slot.life == key.life)?;
    slot.stream.as_deref_mut()
}
