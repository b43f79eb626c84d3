//! Typed streams between this node and one peer: credit, fairness, epochs, closing.
//!
//! [`Link`] is the machine: everything that two nodes say to each other over one ordered, lossless
//! pipe, from the moment it is there until it breaks. It knows neither sockets nor clocks. A stream
//! is named by an id that both ends chose beforehand; whoever opens the id first creates the stream,
//! the other end opens the same id or accepts what came. Messages travel in both directions.
//!
//! The pieces: [`frame`] is the codec; `credit` counts what may be sent and what may come;
//! [`drr`] decides whose turn it is; `stream` holds the two directions of one stream. The relay of
//! tracks stands beside it ([`crate::relay`]): its queue is a ring that many children read, here
//! each message has one reader. What both can use, the scheduler, knows nothing of streams.

mod control;
mod credit;
pub mod drr;
pub mod frame;
mod incoming;
mod link;
mod stats;
mod stream;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use crate::batch::Batch;
pub use frame::FrameError;
pub use link::{Event, Key, Link, LinkError, Opened};
pub use stats::StreamStats;

/// Names a stream between two peers; what it means is theirs to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The id that stands for a name: the first 8 bytes of its BLAKE3 hash, big-endian. It is the same on
/// every node and in every version.
#[must_use]
pub fn stream_id_from_key(key: &str) -> StreamId {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(key.as_bytes()).as_bytes();
    StreamId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// What a stream promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reliability {
    /// Messages are numbered and never reordered. One that `try_send` refuses for want of credit is
    /// lost: its number is skipped, so the reader sees the gap.
    FireAndForget,
    /// Every message arrives, in order.
    #[default]
    Reliable,
}

/// How this end sends on a stream. The other end has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamConfig {
    /// What the stream promises.
    pub reliability: Reliability,
    /// On-wire bytes that the other end's application may have left unread at first; 0 asks for the most
    /// that there is, [`WINDOW_BYTES_MAX`]. The other end grants at least the smaller of this and
    /// [`WINDOW_BYTES`], and more while its store for this peer lasts.
    pub window: u32,
    /// How far the other end may raise the window while its reader keeps up and the window is what holds
    /// the stream up. At least `window`, at most [`WINDOW_BYTES_MAX`]. Also bounds a message.
    pub window_max: u32,
    /// The stream's share of a busy link, 1–255 against those of the peer's other streams; 0 counts as 1.
    pub weight: u8,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { reliability: Reliability::default(), window: WINDOW_BYTES, window_max: WINDOW_BYTES_TUNED, weight: 1 }
    }
}

impl StreamConfig {
    /// A window that stays as it is: neither raised nor lowered.
    #[must_use]
    pub const fn fixed_window(self, bytes: u32) -> Self {
        Self { window: bytes, window_max: bytes, ..self }
    }

    /// With every number within its bounds.
    const fn normal(self) -> Self {
        let window = match self.window {
            0 | WINDOW_BYTES_MAX.. => WINDOW_BYTES_MAX,
            window => window,
        };
        let window_max = match self.window_max {
            max if max < window => window,
            WINDOW_BYTES_MAX.. => WINDOW_BYTES_MAX,
            max => max,
        };
        Self { window, window_max, weight: if self.weight == 0 { 1 } else { self.weight }, ..self }
    }
}

/// What becomes of messages that were sent but not yet delivered when a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseBehavior {
    /// They are delivered first.
    DrainThenClose,
    /// They are dropped, at this end and unread ones at the other.
    DropAndClose,
}

/// A message as its reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its number, from 0, +1 each. On a [`FireAndForget`](Reliability::FireAndForget) stream a number
    /// that is left out is a message that was lost.
    pub seq: u64,
    /// What was sent.
    pub payload: Bytes,
}

/// Why a message was not sent. Nothing was enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// The other end's application has not read enough yet.
    #[error("no credit: the reader has not caught up")]
    Backpressure,
    /// This life of the stream is over: closed by either end, evicted, or the connection broke.
    #[error("the stream is closed or the peer is not connected")]
    NotConnected,
    /// The message would not fit the stream's greatest window.
    #[error("message of {bytes} bytes on the wire is over the stream's greatest window of {limit}")]
    TooLarge {
        /// The message with its frame headers.
        bytes: u64,
        /// The bound, [`StreamConfig::window_max`].
        limit: u64,
    },
}

/// Why a stream was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// [`STREAMS_MAX`] streams to this peer are open.
    #[error("too many streams to this peer")]
    TooMany,
    /// The two ends have not yet let go of the id's former life; try again when they have.
    #[error("the stream's former life is still being closed")]
    Closing,
    /// The peer cannot be reached, or the connection broke.
    #[error("the peer is not connected")]
    NotConnected,
}

/// What a reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next message.
    Message(Message),
    /// Nothing yet.
    Empty,
    /// The other end closed the stream, and everything was read.
    End,
    /// This life of the stream is over.
    NotConnected,
}

/// Most streams open to one peer, whoever opened them.
pub const STREAMS_MAX: usize = 4096;
/// The window of a stream by default, in on-wire bytes, and what every stream is granted without question:
/// [`STREAMS_MAX`] of them, all accepted and none read, hold 256 MiB a peer.
pub const WINDOW_BYTES: u32 = 64 * 1024;
/// How far a window is raised by default, in on-wire bytes.
pub const WINDOW_BYTES_TUNED: u32 = 4 * 1024 * 1024;
/// The greatest window, in on-wire bytes.
pub const WINDOW_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// What all windows of one peer together may exceed [`WINDOW_BYTES`] by, in bytes.
pub const WINDOW_POOL_BYTES: usize = 64 * 1024 * 1024;
/// Most streams that a peer opened and nobody here has opened or accepted yet; more are refused. They hold
/// at most 64 MiB.
pub const UNACCEPTED_MAX: usize = 1024;
/// A stream on which nothing was sent, received or read for this long is closed, in seconds.
pub const IDLE_SECONDS: u64 = 300;
