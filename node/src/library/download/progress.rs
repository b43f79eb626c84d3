//! How far a job is, and why it is no faster (D12).

use std::time::Duration;

use banyan_gossip::PeerId;

use super::{Download, Fault, source::Backoff};

/// How far a job is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Bytes of the package.
    pub bytes: u64,
    /// Bytes that are stored.
    pub stored_bytes: u64,
    /// Bytes that came and wait for the disk.
    pub unstored_bytes: u64,
    /// Bytes that came and were not needed.
    pub duplicate_bytes: u64,
    /// Bytes a second that come.
    pub rate: f64,
    /// How long the rest takes at this rate; nothing if nothing comes.
    pub eta: Option<Duration>,
    /// Each source, by peer.
    pub sources: Vec<SourceProgress>,
}

/// What a source has to do with it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceProgress {
    /// Who.
    pub peer: PeerId,
    /// Bytes from it that are stored.
    pub stored_bytes: u64,
    /// Bytes a second while something was asked of it; 0 if that is not known.
    pub rate: f64,
    /// Bytes asked of it that did not come yet.
    pub outstanding_bytes: u64,
    /// How long these take; nothing if that is not known.
    pub eta: Option<Duration>,
    /// What it does.
    pub state: SourceState,
}

/// What a source does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// Something is asked of it.
    Sending,
    /// Nothing is asked of it.
    Idle,
    /// It said that it has too much to do, and is asked again later.
    Busy,
    /// It stopped sending, and is tried again with a piece now and then.
    Stalled,
    /// It is left out.
    Quarantined(Fault),
}

/// What a job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing: it is complete.
    #[error("it is complete")]
    Complete,
    /// Somebody to resume it.
    #[error("it is paused")]
    Paused,
    /// A source: none has what is missing.
    #[error("no source has what is missing")]
    NoSource,
    /// Sources that have too much to do.
    #[error("every source that has what is missing is busy")]
    PeersBusy,
    /// Sources that stopped sending.
    #[error("every source that has what is missing has stopped sending")]
    PeersStalled,
    /// The disk: most of the window waits for it.
    #[error("the disk is slower than the sources")]
    Disk,
    /// The window: the sources could bring more than is asked of them.
    #[error("the window is full: the sources could bring more than may be on its way")]
    Window,
    /// The sources, or the network to them.
    #[error("the sources bring no more")]
    Sources,
}

impl Download {
    /// How far the job is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (bytes, stored_bytes) = (self.pieces.bytes(), self.pieces.stored_bytes());
        let rate = self.goodput.rate().unwrap_or(0.0);
        let sources = self.sources.iter().map(|(peer, source)| SourceProgress {
            peer: *peer,
            stored_bytes: source.record.stored_bytes,
            rate: source.goodput.rate().unwrap_or(0.0),
            outstanding_bytes: source.outstanding,
            eta: source.time(0),
            state: match (source.fault, source.failing) {
                (Some(fault), _) => SourceState::Quarantined(fault),
                (_, Some(Backoff::Busy)) => SourceState::Busy,
                (_, Some(Backoff::Stalled)) => SourceState::Stalled,
                _ if source.outstanding > 0 => SourceState::Sending,
                _ => SourceState::Idle,
            },
        });
        Progress {
            bytes,
            stored_bytes,
            unstored_bytes: self.pieces.arrived_bytes(),
            duplicate_bytes: self.duplicate_bytes,
            rate,
            eta: (rate > 1.0).then(|| Duration::from_secs_f64((bytes - stored_bytes) as f64 / rate)),
            sources: sources.collect(),
        }
    }

    /// What the job waits for.
    #[must_use]
    pub fn explain(&self) -> Why {
        let window = self.config.window_bytes;
        let full = self.in_flight_bytes() + u64::from(crate::library::piece::PIECE_BYTES) > window;
        let useful =
            || self.sources.values().filter(|source| source.fault.is_none() && self.pieces.lacks_any(&source.have));
        let all = |why| useful().all(|source| source.failing == Some(why));
        if self.complete {
            Why::Complete
        } else if self.paused {
            Why::Paused
        } else if self.pieces.arrived_bytes() > window / 2 {
            Why::Disk
        } else if useful().next().is_none() {
            Why::NoSource
        } else if all(Backoff::Busy) {
            Why::PeersBusy
        } else if all(Backoff::Stalled) {
            Why::PeersStalled
        } else if full {
            Why::Window
        } else {
            Why::Sources
        }
    }
}
