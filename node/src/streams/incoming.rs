//! What comes from the other end.

use std::time::Instant;

use bytes::{Buf, BytesMut};

use super::{
    CloseBehavior, Reliability, STREAMS_MAX, StreamConfig, StreamId, UNACCEPTED_MAX, WINDOW_BYTES,
    control::Control,
    frame::{Channel, Frame},
    link::{Event, Key, Link, LinkError},
    stream::{Rx, State, Stream},
};

/// Frames that may wait to be sent: every stream's own, and as many answers.
const CONTROL_MAX: usize = 8 * STREAMS_MAX;

impl Link {
    /// Takes all whole frames off the front of `buffer`.
    ///
    /// # Errors
    /// [`LinkError`]: close the connection, and [`disconnect`](Self::disconnect).
    pub fn handle_bytes(&mut self, now: Instant, buffer: &mut BytesMut) -> Result<(), LinkError> {
        while let Some(frame) = Frame::decode(buffer)? {
            match frame {
                Frame::Data { channel, seq, first, last, length } => {
                    self.on_data(now, channel, (seq, first, last), &buffer[..length])?;
                    buffer.advance(length);
                }
                Frame::Open { channel, id, reliable, window, window_max } => {
                    let reliability = if reliable { Reliability::Reliable } else { Reliability::FireAndForget };
                    let config = StreamConfig { reliability, window, window_max, weight: 1 }.normal();
                    self.on_open(now, channel, id, config)?;
                }
                Frame::Grant { channel, limit } => self.on_grant(now, channel, limit),
                Frame::Blocked { channel, wanted } => {
                    if let Some(key) = self.inbound_key(channel)
                        && let Some(rx) = self.get_mut(key).and_then(|stream| stream.rx.as_mut())
                    {
                        rx.window.on_blocked(wanted);
                        self.tend_window(key);
                    }
                }
                Frame::Close { id, drop } => {
                    let behavior = if drop { CloseBehavior::DropAndClose } else { CloseBehavior::DrainThenClose };
                    self.on_close(id, behavior);
                }
                Frame::Closed { id } => {
                    let closing = |key: &Key| self.get(*key).is_some_and(|stream| stream.state == State::Closing);
                    if let Some(key) = self.ids.get(&id).copied().filter(closing) {
                        self.remove(key);
                    }
                }
                Frame::Refuse { channel } => {
                    // One that is being closed waits for that to be answered.
                    let refused = |stream: &Stream| matches!(stream.state, State::Open | State::Draining);
                    if let Some(key) = self.outbound_key(channel).filter(|key| self.get(*key).is_some_and(refused)) {
                        self.remove(key);
                    }
                }
            }
            if self.control.len() > CONTROL_MAX {
                return Err(LinkError::TooManyAnswers);
            }
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        now: Instant,
        channel: Channel,
        (seq, first, last): (u32, bool, bool),
        piece: &[u8],
    ) -> Result<(), LinkError> {
        // Of a former life, or of a stream that was refused.
        let Some(key) = self.inbound_key(channel) else { return Ok(()) };
        let Some(stream) = self.get_mut(key) else { return Ok(()) };
        let Some(rx) = stream.rx.as_mut() else { return Ok(()) };
        if stream.state != State::Open {
            return Ok(rx.discard(piece.len())?);
        }
        rx.push(seq, first, last, piece)?;
        stream.last_activity = now;
        if last && std::mem::take(&mut stream.read_awaited) {
            self.events.push_back(Event::Readable(key));
        }
        Ok(())
    }

    fn on_open(&mut self, now: Instant, channel: Channel, id: StreamId, config: StreamConfig) -> Result<(), LinkError> {
        if self.inbound.len() <= channel.index() {
            self.inbound.resize(channel.index() + 1, None);
        }
        if self.inbound[channel.index()].is_some() {
            return Err(LinkError::OpenedTwice);
        }
        let key = match self.ids.get(&id) {
            Some(key) => *key,
            None => {
                let room = self.incoming.len() < UNACCEPTED_MAX;
                let Some(key) = room.then(|| self.insert(now, id, config)).flatten() else {
                    self.control.push_back(Control::Refuse(channel));
                    return Ok(());
                };
                self.incoming.push_back(key);
                self.events.push_back(Event::Incoming);
                key
            }
        };
        let extra = u64::from(config.window.saturating_sub(WINDOW_BYTES)).min(self.pool);
        let Some(stream) = self.get_mut(key) else { return Ok(()) };
        if stream.rx.is_some() {
            return Err(LinkError::OpenedTwice);
        }
        let rx = stream.rx.insert(Rx::new(channel, config));
        rx.window.grow(extra);
        rx.granting = extra > 0;
        self.inbound[channel.index()] = Some((channel, key));
        self.pool -= extra;
        if extra > 0 {
            self.control.push_back(Control::Grant(key));
        }
        Ok(())
    }

    fn on_grant(&mut self, now: Instant, channel: Channel, limit: u64) {
        let Some(key) = self.outbound_key(channel) else { return };
        let Some(stream) = self.get_mut(key) else { return };
        if stream.tx.on_grant(limit) {
            stream.last_activity = now;
            if std::mem::take(&mut stream.tx.awaited) {
                self.events.push_back(Event::Writable(key));
            }
        }
    }

    fn on_close(&mut self, id: StreamId, behavior: CloseBehavior) {
        self.control.push_back(Control::Closed(id));
        let Some(key) = self.ids.get(&id).copied() else { return };
        let Some(stream) = self.get_mut(key) else { return };
        match stream.state {
            State::Open => {
                stream.end(behavior);
                if !stream.accepted && stream.is_read() {
                    self.remove(key);
                    return;
                }
                self.release(key);
                self.events.extend([Event::Readable(key), Event::Writable(key)]);
            }
            // Nobody reads what is still queued here.
            State::Draining => self.remove(key),
            // The other end sends nothing more, but still has to answer this end's own close.
            State::Closing => self.unbind(key),
            State::Ended => {}
        }
    }

    /// The other end's channel leads to this life.
    fn inbound_key(&self, channel: Channel) -> Option<Key> {
        let (known, key) = (*self.inbound.get(channel.index())?)?;
        (known == channel).then_some(key)
    }

    /// This end's channel is that of this life.
    fn outbound_key(&self, channel: Channel) -> Option<Key> {
        self.key_at(channel.index()).filter(|key| key.channel() == channel)
    }

    /// The other end no longer speaks of this life.
    pub(super) fn release(&mut self, key: Key) {
        self.unbind(key);
        if let Some(id) = self.get(key).map(|stream| stream.id)
            && self.ids.get(&id) == Some(&key)
        {
            self.ids.remove(&id);
        }
    }

    fn unbind(&mut self, key: Key) {
        let channel = self.get(key).and_then(|stream| stream.rx.as_ref()).map(|rx| rx.channel);
        if let Some(entry) = channel.and_then(|channel| self.inbound.get_mut(channel.index()))
            && entry.is_some_and(|(_, bound)| bound == key)
        {
            *entry = None;
        }
    }

    /// What a window had grown by is there for others.
    pub(super) fn return_to_pool(&mut self, bytes: u64) {
        let was_short = self.pool < u64::from(WINDOW_BYTES);
        self.pool += bytes;
        if was_short && bytes > 0 {
            for key in self.keys() {
                self.tend_window(key);
            }
        }
    }
}
