//! What goes into a download and what comes out, and its numbers.

use std::{ops::Range, time::Duration};

use banyan_gossip::PeerId;

use crate::library::{bitfield::PieceSet, piece::Piece};

/// The numbers of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A span takes a source about this long.
    pub span: Duration,
    /// Spans asked of a source at a time; at least 2, or it waits for each request.
    pub pipeline: u32,
    /// Most bytes asked for or waiting for the disk; at least a piece.
    pub window_bytes: u64,
    /// Bytes asked of a source whose rate is not known.
    pub first_bytes: u64,
    /// Duplicates may be one part in this many of the package; a piece at least.
    pub duplicates: u64,
    /// How often sources are looked at while something is on its way.
    pub tick: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            span: Duration::from_millis(250),
            pipeline: 2,
            window_bytes: 64 * 1024 * 1024,
            first_bytes: 4 * 1024 * 1024,
            duplicates: 100,
            tick: Duration::from_millis(50),
        }
    }
}

/// Names a request of a job; grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A peer can be asked. Known peers are replaced, unless they were left out.
    SourceUp {
        /// Who.
        source: PeerId,
        /// What it has.
        have: PieceSet,
    },
    /// A source has more pieces than before.
    SourceHas {
        /// Who.
        source: PeerId,
        /// Which; those that are known or do not exist are left out.
        pieces: Range<u32>,
    },
    /// A source is gone, with all that it owes.
    SourceDown {
        /// Who.
        source: PeerId,
    },
    /// Some bytes of a piece came; they are held until an output says what becomes of the piece.
    Received {
        /// From whom.
        source: PeerId,
        /// By which request.
        request: RequestId,
        /// Of which piece.
        piece: Piece,
        /// How many more.
        bytes: u32,
    },
    /// Nothing more comes by a request.
    Ended {
        /// From whom.
        source: PeerId,
        /// Which.
        request: RequestId,
        /// Why.
        end: End,
    },
    /// A source broke the protocol in a way that the shell sees; it is left out.
    Misbehaved {
        /// Who.
        source: PeerId,
    },
    /// A piece was checked and written, after [`Output::Store`].
    Stored {
        /// From whom it was.
        source: PeerId,
        /// Which.
        piece: Piece,
    },
    /// A piece does not match its hash and was dropped, after [`Output::Store`].
    Corrupt {
        /// From whom it was.
        source: PeerId,
        /// Which.
        piece: Piece,
    },
    /// A piece could not be written and was dropped, after [`Output::Store`]. Nothing is asked for until
    /// [`Input::Resume`].
    StoreFailed {
        /// Which.
        piece: Piece,
    },
    /// Gives up all that is asked for; nothing is asked for until [`Input::Resume`].
    Pause,
    /// Goes on.
    Resume,
}

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All that it asked for was sent, but for what was cancelled. What is missing all the same the source does
    /// not have.
    Sent,
    /// The source has too much to do, and wants to be asked again after this long.
    Busy(Duration),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask a source for pieces, which come in order.
    Request {
        /// Whom.
        source: PeerId,
        /// Names the request.
        request: RequestId,
        /// Which pieces, one or more.
        pieces: Range<u32>,
    },
    /// Tell a source that a piece need not be sent, or not to its end.
    Cancel {
        /// Whom.
        source: PeerId,
        /// By which request it was asked for.
        request: RequestId,
        /// Which piece.
        piece: Piece,
    },
    /// Check this piece, which is complete, and write it.
    Store {
        /// From whom it is.
        source: PeerId,
        /// By which request.
        request: RequestId,
        /// Which.
        piece: Piece,
    },
    /// Drop this piece, which is complete, but here already.
    Discard {
        /// From whom it is.
        source: PeerId,
        /// By which request.
        request: RequestId,
        /// Which.
        piece: Piece,
    },
    /// Break off with a source; it is left out for the rest of the job.
    Quarantine {
        /// Whom.
        source: PeerId,
        /// What it did.
        fault: Fault,
    },
    /// All pieces are stored.
    Complete,
}

/// What a source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It sent [`CORRUPT_MAX`](super::CORRUPT_MAX) pieces that do not match their hash.
    #[error("it sent pieces that do not match their hash")]
    Corrupt,
    /// It sent a piece that was not asked for.
    #[error("it sent what was not asked for")]
    Unasked,
    /// It sent more bytes than the piece has.
    #[error("it sent more bytes than a piece has")]
    Oversent,
    /// It broke the protocol.
    #[error("it broke the protocol")]
    Protocol,
}
