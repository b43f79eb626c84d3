//! The streams of a connection, without its IO: who may send how much, what is to be answered, what has ended.
//!
//! Specification: <https://github.com/hashicorp/yamux/blob/master/spec.md>. Windows grow as those of QUIC do: doubled
//! when half of one was consumed within two round trips.

use std::{
    collections::{BTreeMap, VecDeque},
    io::IoSlice,
    task::Waker,
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};

use super::header::{ACK, BadHeader, FIN, HEADER_BYTES, Header, Kind, RST, SYN};

/// Most streams of a connection: the data streams of both directions, and some of libp2p's own.
pub(super) const STREAMS_MAX: usize = 192;
/// Streams that the remote opened and nobody accepted yet; more are reset.
pub(super) const BACKLOG_MAX: usize = 128;
/// What may be sent on a stream at first, either way.
pub(super) const WINDOW_BYTES: u32 = 256 * 1024;
/// Receive windows of a connection, in all: 48 MiB for the first windows of all streams, and what is left for those that
/// the path needs larger. The worst case of a connection's memory, reached only if all streams have stopped
/// being read.
pub(super) const WINDOWS_BYTES: usize = 64 * 1024 * 1024;
/// Frames of our own that wait to be sent. It takes a remote that makes us answer and does not read to pile them up: one that
/// reads has an answer for each window of data at most.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// The round trip is measured this often.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A window that is used up sooner than this grows, however short the round trip: the reader may be busy for a while.
const TURN: Duration = Duration::from_millis(10);

/// Names a stream of a connection.
pub(super) type StreamId = u32;

/// The remote breaks the protocol: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("the remote does not speak Yamux")]
    Header,
    #[error("the remote opened a stream under a wrong id")]
    StreamId,
    #[error("the remote opened more than {STREAMS_MAX} streams")]
    TooManyStreams,
    #[error("the remote sent more than it may on a stream")]
    Window,
    #[error("the remote asks for more than it reads")]
    Flood,
}

/// The data that follows a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body {
    /// To whom it belongs, while that is there.
    pub(super) stream: StreamId,
    pub(super) left: usize,
    /// The remote sends nothing after it.
    fin: bool,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Flow {
    /// What has come and was not read.
    pub(super) received: BytesMut,
    /// Nothing more comes.
    pub(super) read_closed: bool,
    /// Nothing more is sent.
    pub(super) write_closed: bool,
    /// Bytes that may still be sent.
    pub(super) credit: u32,
    /// Flags that the next frame has to carry.
    flags: u16,
    /// Bytes that the remote may still send.
    granted: u32,
    /// What it may send at most at a time.
    window: u32,
    /// Read since the remote was last allowed to send more, and when that was.
    consumed: u32,
    updated: Instant,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Flow {
    fn new(now: Instant, flags: u16, credit: u32) -> Self {
        Self {
            received: BytesMut::new(),
            read_closed: false,
            write_closed: false,
            credit,
            flags,
            granted: WINDOW_BYTES,
            window: WINDOW_BYTES,
            consumed: 0,
            updated: now,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }

    /// Takes what has come and was not read, as much as there is room for.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = self.received.len().min(buffer.len());
        self.received.copy_to_slice(&mut buffer[..count]);
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        count
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    next_id: StreamId,
    streams: BTreeMap<StreamId, Flow>,
    /// Opened by the remote, and not accepted yet.
    backlog: VecDeque<StreamId>,
    /// Frames without data, or with little, that are to be sent, in order.
    pub(super) out: Vec<u8>,
    /// By how much windows may still grow.
    spare: usize,
    /// The remote says that it closes the connection.
    pub(super) gone: bool,
    rtt: Option<Duration>,
    /// The number and the time of the last ping.
    ping: (u32, Option<Instant>),
}

impl Session {
    /// The two ends of a connection differ in who `dialled`.
    pub(super) fn new(dialled: bool) -> Self {
        Self {
            next_id: if dialled { 1 } else { 2 },
            streams: BTreeMap::new(),
            backlog: VecDeque::new(),
            out: Vec::new(),
            spare: WINDOWS_BYTES - STREAMS_MAX * WINDOW_BYTES as usize,
            gone: false,
            rtt: None,
            ping: (0, None),
        }
    }

    /// A stream that exists until it is [dropped](Session::drop_stream).
    pub(super) fn flow(&mut self, id: StreamId) -> &mut Flow {
        self.streams.get_mut(&id).expect("a stream exists as long as its handle")
    }

    /// Opens a stream. Nothing is sent before it is written to. `None`: there are too many.
    pub(super) fn open(&mut self, now: Instant) -> Option<StreamId> {
        let id = self.next_id;
        if self.streams.len() >= STREAMS_MAX {
            return None;
        }
        self.next_id = id.checked_add(2)?;
        self.streams.insert(id, Flow::new(now, SYN, WINDOW_BYTES));
        Some(id)
    }

    /// Streams that the remote opened and nobody has accepted.
    pub(super) fn opened(&self) -> usize {
        self.backlog.len()
    }

    /// The next stream that the remote opened.
    pub(super) fn accept(&mut self) -> Option<StreamId> {
        self.backlog.pop_front()
    }

    /// Takes a header that came. Says what data follows.
    ///
    /// # Errors
    /// [`Violation`].
    pub(super) fn on_header(&mut self, now: Instant, bytes: &[u8; HEADER_BYTES]) -> Result<Option<Body>, Violation> {
        let header = Header::decode(bytes).map_err(|BadHeader| Violation::Header)?;
        let body = match header.kind {
            Kind::Data | Kind::WindowUpdate => self.on_stream_header(now, header)?,
            Kind::Ping if header.has(ACK) => {
                self.on_pong(now, header.length);
                None
            }
            Kind::Ping => {
                self.send(Header { flags: ACK, ..header });
                None
            }
            Kind::GoAway => {
                self.gone = true;
                None
            }
        };
        if self.out.len() > OUT_BYTES_MAX { Err(Violation::Flood) } else { Ok(body) }
    }

    fn on_stream_header(&mut self, now: Instant, header: Header) -> Result<Option<Body>, Violation> {
        let id = header.stream;
        if header.has(SYN) && !header.has(RST) {
            self.on_opened(now, id)?;
        }
        let length = match header.kind {
            Kind::Data => header.length as usize,
            _ => 0,
        };
        let Some(flow) = self.streams.get_mut(&id) else {
            // It was dropped here; the remote may not know yet.
            return Ok((length > 0).then_some(Body { stream: id, left: length, fin: false }));
        };
        if header.has(RST) {
            (flow.read_closed, flow.write_closed) = (true, true);
            flow.wake();
        }
        if header.kind == Kind::WindowUpdate {
            flow.credit = flow.credit.checked_add(header.length).ok_or(Violation::Window)?;
            wake(&mut flow.writer);
        } else {
            flow.granted = flow.granted.checked_sub(header.length).ok_or(Violation::Window)?;
        }
        let body = Body { stream: id, left: length, fin: header.has(FIN) };
        if length == 0 {
            self.on_body_end(&body);
        }
        Ok((length > 0).then_some(body))
    }

    fn on_opened(&mut self, now: Instant, id: StreamId) -> Result<(), Violation> {
        if id == 0 || id % 2 == self.next_id % 2 || self.streams.contains_key(&id) {
            return Err(Violation::StreamId);
        }
        if self.streams.len() >= STREAMS_MAX {
            return Err(Violation::TooManyStreams);
        }
        if self.backlog.len() >= BACKLOG_MAX {
            tracing::debug!("too many streams wait to be accepted: one is reset");
            self.send(Header { kind: Kind::Data, flags: RST, stream: id, length: 0 });
            return Ok(());
        }
        self.streams.insert(id, Flow::new(now, ACK, WINDOW_BYTES));
        self.backlog.push_back(id);
        Ok(())
    }

    /// All data of a frame has come.
    pub(super) fn on_body_end(&mut self, body: &Body) {
        if let Some(flow) = self.streams.get_mut(&body.stream).filter(|_| body.fin) {
            flow.read_closed = true;
            wake(&mut flow.reader);
        }
    }

    /// What has come and was not read, to add to it.
    pub(super) fn take_received(&mut self, id: StreamId) -> Option<BytesMut> {
        self.streams.get_mut(&id).map(|flow| std::mem::take(&mut flow.received))
    }

    /// Puts it back.
    pub(super) fn keep(&mut self, id: StreamId, received: BytesMut) {
        if let Some(flow) = self.streams.get_mut(&id) {
            if !received.is_empty() {
                wake(&mut flow.reader);
            }
            flow.received = received;
        }
    }

    /// So many bytes of a stream were read.
    pub(super) fn on_read(&mut self, now: Instant, id: StreamId, length: usize) {
        let Self { streams, spare, rtt, .. } = self;
        let flow = streams.get_mut(&id).expect("a stream exists as long as its handle");
        flow.consumed += u32::try_from(length).expect("no more is granted");
        if flow.consumed < flow.window / 2 || flow.read_closed {
            return;
        }
        let took = now.saturating_duration_since(flow.updated);
        if took < rtt.map_or(TURN, |rtt| TURN.max(2 * rtt)) {
            let more = (flow.window as usize).min(*spare);
            let grown = u32::try_from(more).expect("windows are small");
            *spare -= more;
            flow.window += grown;
            flow.consumed += grown;
        }
        let length = std::mem::take(&mut flow.consumed);
        flow.granted += length;
        flow.updated = now;
        let flags = std::mem::take(&mut flow.flags);
        self.send(Header { kind: Kind::WindowUpdate, flags, stream: id, length });
    }

    /// Sends the header for so many bytes of data, which must follow.
    pub(super) fn begin_data(&mut self, id: StreamId, length: usize) {
        let length = u32::try_from(length).expect("frames are small");
        let flow = self.flow(id);
        flow.credit -= length;
        let flags = std::mem::take(&mut flow.flags);
        self.send(Header { kind: Kind::Data, flags, stream: id, length });
    }

    /// Sends the first `length` bytes of these parts together with the frames that wait.
    pub(super) fn gather(&mut self, id: StreamId, parts: &[IoSlice<'_>], length: usize) {
        self.begin_data(id, length);
        let end = self.out.len() + length;
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        self.out.truncate(end);
    }

    /// Nothing more is sent on a stream.
    pub(super) fn close_writing(&mut self, id: StreamId) {
        let flow = self.flow(id);
        if !std::mem::replace(&mut flow.write_closed, true) {
            let flags = FIN | std::mem::take(&mut flow.flags);
            self.send(Header { kind: Kind::Data, flags, stream: id, length: 0 });
        }
    }

    /// Nobody here has the stream any more.
    pub(super) fn drop_stream(&mut self, id: StreamId) {
        let Some(flow) = self.streams.remove(&id) else { return };
        self.spare += (flow.window - WINDOW_BYTES) as usize;
        let flags = match (flow.read_closed, flow.write_closed) {
            // The remote has never heard of it.
            _ if flow.flags & SYN != 0 => return,
            (true, true) => return,
            (true, false) => FIN,
            // Whatever is sent, nobody reads it.
            (false, _) => RST,
        };
        self.send(Header { kind: Kind::Data, flags: flags | flow.flags, stream: id, length: 0 });
    }

    /// Says that the connection ends, and whether the remote is at fault.
    pub(super) fn go_away(&mut self, at_fault: bool) {
        self.send(Header { kind: Kind::GoAway, flags: 0, stream: 0, length: at_fault.into() });
    }

    /// All who wait for anything are to look again.
    pub(super) fn wake_all(&mut self) {
        self.streams.values_mut().for_each(Flow::wake);
    }

    /// Measures the round trip now and then.
    pub(super) fn ping_if_due(&mut self, now: Instant) {
        let (number, sent) = &mut self.ping;
        if sent.is_none_or(|sent| now.saturating_duration_since(sent) >= PING_EVERY) {
            *sent = Some(now);
            *number = number.wrapping_add(1);
            let length = *number;
            self.send(Header { kind: Kind::Ping, flags: SYN, stream: 0, length });
        }
    }

    fn on_pong(&mut self, now: Instant, number: u32) {
        if let (expected, Some(sent)) = self.ping
            && number == expected
        {
            self.rtt = Some(now.saturating_duration_since(sent));
        }
    }

    fn send(&mut self, header: Header) {
        self.out.extend_from_slice(&header.encode());
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
