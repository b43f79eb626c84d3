//! The two directions of one life of a stream.

use std::{collections::VecDeque, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    CloseBehavior, Message, Reliability, StreamConfig, StreamId, StreamStats, TrySendError, WINDOW_BYTES,
    credit::{ReceiveWindow, SendCredit},
    frame::{CHUNK_BYTES_MAX, Channel, DATA_HEADER_BYTES, Frame, message_bytes},
};

/// While others wait to be read, small messages share blocks of this size.
const BLOCK_BYTES: usize = 16 * 1024;

/// One life of a stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) state: State,
    /// A handle was given to the application.
    pub(super) accepted: bool,
    /// Somebody waits for a message.
    pub(super) read_awaited: bool,
    pub(super) tx: Tx,
    pub(super) rx: Option<Rx>,
    pub(super) last_activity: Instant,
}

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Closed here; what is queued goes out first.
    Draining,
    /// Closed here; the other end has not answered yet.
    Closing,
    /// Closed by the other end; what came may be read.
    Ended,
}

impl Stream {
    pub(super) fn new(now: Instant, id: StreamId, config: StreamConfig) -> Self {
        Self {
            id,
            state: State::Open,
            accepted: false,
            read_awaited: false,
            tx: Tx::new(config),
            rx: None,
            last_activity: now,
        }
    }

    /// This end closes: nothing that comes matters any more.
    pub(super) fn close(&mut self, behavior: CloseBehavior) {
        if behavior == CloseBehavior::DropAndClose {
            self.tx.queue.clear();
        }
        if let Some(rx) = &mut self.rx {
            rx.clear();
        }
        self.state = if self.tx.queue.is_empty() { State::Closing } else { State::Draining };
    }

    /// The other end has closed: nothing that is queued matters any more.
    pub(super) fn end(&mut self, behavior: CloseBehavior) {
        self.tx.queue.clear();
        if behavior == CloseBehavior::DropAndClose
            && let Some(rx) = &mut self.rx
        {
            rx.clear();
        }
        self.state = State::Ended;
    }

    /// Whether there is nothing to read.
    pub(super) fn is_read(&self) -> bool {
        self.rx.as_ref().is_none_or(Rx::is_empty)
    }

    pub(super) fn stats(&self) -> StreamStats {
        let (tx, rx) = (&self.tx, self.rx.as_ref());
        StreamStats {
            tx_seq: tx.seq,
            rx_seq: rx.map_or(0, |rx| rx.seq),
            rx_pending: rx.map_or(0, |rx| rx.queue.len()),
            rx_pending_bytes: rx.map_or(0, |rx| rx.pending_bytes),
            rx_missed: rx.map_or(0, |rx| rx.missed),
            last_activity: self.last_activity,
            backpressure_events: tx.backpressure_events,
            credit_left: tx.credit.left(),
            window: tx.config.window,
            rx_window: rx.map_or(0, |rx| rx.window.window()),
            grants_sent: rx.map_or(0, |rx| rx.grants_sent),
            grants_received: tx.grants_received,
        }
    }
}

/// What this end sends. The queue holds only what has credit: at most the window.
#[derive(Debug)]
pub(super) struct Tx {
    pub(super) config: StreamConfig,
    pub(super) credit: SendCredit,
    queue: VecDeque<Message>,
    /// Bytes of the first message that are sent.
    sent: usize,
    seq: u64,
    /// The scheduler knows that there is something to send.
    pub(super) scheduled: bool,
    /// How far the last message that found no credit would have reached, until the next grant.
    wanted: Option<u64>,
    /// What of `wanted` the other end was told since a message was last taken.
    told: Option<u64>,
    /// It is about to be told.
    telling: bool,
    /// Somebody waits for credit.
    pub(super) awaited: bool,
    backpressure_events: u64,
    grants_received: u64,
}

impl Tx {
    pub(super) fn new(config: StreamConfig) -> Self {
        Self {
            config,
            credit: SendCredit::new(config.window.min(WINDOW_BYTES), config.window_max),
            queue: VecDeque::new(),
            sent: 0,
            seq: 0,
            scheduled: false,
            wanted: None,
            told: None,
            telling: false,
            awaited: false,
            backpressure_events: 0,
            grants_received: 0,
        }
    }

    /// Enqueues a message if there is credit for it. `first_try`: it has not been refused before.
    /// `waits`: a refused message will be tried again.
    pub(super) fn push(&mut self, payload: &Bytes, first_try: bool, waits: bool) -> Result<(), TrySendError> {
        let (bytes, limit) = (message_bytes(payload.len()), u64::from(self.config.window_max));
        if bytes > limit {
            return Err(TrySendError::TooLarge { bytes, limit });
        }
        if self.credit.take(bytes) {
            self.queue.push_back(Message { seq: self.seq, payload: payload.clone() });
            self.seq += 1;
            self.told = None;
            return Ok(());
        }
        self.wanted = Some(self.credit.reach(bytes));
        self.awaited |= waits;
        self.backpressure_events += u64::from(first_try);
        if !waits && self.config.reliability == Reliability::FireAndForget {
            self.seq += 1;
        }
        Err(TrySendError::Backpressure)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// On-wire bytes of the next frame.
    pub(super) fn next_bytes(&self) -> Option<usize> {
        let length = self.queue.front()?.payload.len() - self.sent;
        Some(length.min(CHUNK_BYTES_MAX) + DATA_HEADER_BYTES)
    }

    /// The next frame with its payload.
    #[expect(clippy::cast_possible_truncation, reason = "the low bits of the number are enough")]
    pub(super) fn pop(&mut self, channel: Channel) -> Option<(Frame, Bytes)> {
        let message = self.queue.front()?;
        let (seq, start) = (message.seq as u32, self.sent);
        let end = message.payload.len().min(start + CHUNK_BYTES_MAX);
        let (first, last) = (start == 0, end == message.payload.len());
        self.sent = if last { 0 } else { end };
        let payload = match (first, last) {
            (true, true) => self.queue.pop_front().map(|message| message.payload)?,
            (false, true) => self.queue.pop_front()?.payload.slice(start..),
            _ => message.payload.slice(start..end),
        };
        Some((Frame::Data { channel, seq, first, last, length: payload.len() }, payload))
    }

    /// Whether to tell the other end that a message found no credit: once, and when all before it is sent.
    pub(super) fn starts_telling(&mut self) -> bool {
        let news = self.wanted.is_some() && self.wanted != self.told;
        let starts = news && self.queue.is_empty() && !self.telling;
        self.telling |= starts;
        starts
    }

    pub(super) const fn tell(&mut self) -> Option<u64> {
        (self.told, self.telling) = (self.wanted, false);
        self.wanted
    }

    /// Says whether it grants something.
    pub(super) fn on_grant(&mut self, limit: u64) -> bool {
        let granted = self.credit.grant(limit);
        if granted {
            self.grants_received += 1;
            (self.wanted, self.told) = (None, None);
        }
        granted
    }
}

/// What the other end sends.
#[derive(Debug)]
pub(super) struct Rx {
    pub(super) channel: Channel,
    reliability: Reliability,
    pub(super) window: ReceiveWindow,
    queue: VecDeque<Message>,
    /// What has come of a message, in the block that is filled.
    partial: BytesMut,
    /// The number of the message that is coming in pieces.
    open: Option<u64>,
    /// The number of the next message.
    seq: u64,
    pending_bytes: u64,
    missed: u64,
    /// A grant waits to be sent.
    pub(super) granting: bool,
    grants_sent: u64,
}

/// The sender broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RxError {
    /// It sent more than it was granted.
    Overrun,
    /// A message does not follow the one before, or a piece the piece before, or it is cut otherwise than
    /// every [`CHUNK_BYTES_MAX`].
    OutOfOrder,
}

impl Rx {
    /// The sender asked for this.
    pub(super) fn new(channel: Channel, config: StreamConfig) -> Self {
        Self {
            channel,
            reliability: config.reliability,
            window: ReceiveWindow::new(config.window.min(WINDOW_BYTES), config.window_max),
            queue: VecDeque::new(),
            partial: BytesMut::new(),
            open: None,
            seq: 0,
            pending_bytes: 0,
            missed: 0,
            granting: false,
            grants_sent: 0,
        }
    }

    /// Takes a piece of a message. The bytes are copied: what waits to be read must not keep whole read
    /// buffers, which it shares with other streams, from being freed.
    pub(super) fn push(&mut self, seq: u32, first: bool, last: bool, piece: &[u8]) -> Result<(), RxError> {
        let bytes = (piece.len() + DATA_HEADER_BYTES) as u64;
        if !self.window.receive(bytes) {
            return Err(RxError::Overrun);
        }
        self.pending_bytes += bytes;
        let number = self.number(seq, first)?;
        if !last && piece.len() != CHUNK_BYTES_MAX {
            return Err(RxError::OutOfOrder);
        }
        let block = if self.queue.is_empty() { 0 } else { BLOCK_BYTES };
        if self.partial.capacity() - self.partial.len() < piece.len() {
            self.partial.reserve(piece.len().max(block));
        }
        self.partial.extend_from_slice(piece);
        self.open = Some(number);
        if last {
            self.open = None;
            self.seq = number + 1;
            self.queue.push_back(Message { seq: number, payload: self.partial.split().freeze() });
        }
        Ok(())
    }

    /// Takes a piece that nobody will read.
    pub(super) fn discard(&mut self, length: usize) -> Result<(), RxError> {
        let bytes = (length + DATA_HEADER_BYTES) as u64;
        if !self.window.receive(bytes) {
            return Err(RxError::Overrun);
        }
        self.window.consume(bytes);
        Ok(())
    }

    /// The whole number of a message whose low bits came.
    #[expect(clippy::cast_possible_truncation, reason = "compared with low bits")]
    fn number(&mut self, seq: u32, first: bool) -> Result<u64, RxError> {
        if let Some(open) = self.open {
            return if !first && seq == open as u32 { Ok(open) } else { Err(RxError::OutOfOrder) };
        }
        let skipped = seq.wrapping_sub(self.seq as u32);
        let may_skip = self.reliability == Reliability::FireAndForget && skipped < 1 << 31;
        if !first || (skipped > 0 && !may_skip) {
            return Err(RxError::OutOfOrder);
        }
        self.missed += u64::from(skipped);
        Ok(self.seq + u64::from(skipped))
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        let bytes = message_bytes(message.payload.len());
        self.pending_bytes -= bytes;
        self.window.consume(bytes);
        Some(message)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whoever was to read it is gone.
    pub(super) fn clear(&mut self) {
        self.window.consume(self.pending_bytes);
        (self.queue, self.partial) = (VecDeque::new(), BytesMut::new());
        self.pending_bytes = 0;
    }

    pub(super) fn grant(&mut self) -> Frame {
        (self.granting, self.grants_sent) = (false, self.grants_sent + 1);
        Frame::Grant { channel: self.channel, limit: self.window.grant() }
    }
}
