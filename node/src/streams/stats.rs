//! What a stream tells of itself.

use std::time::Instant;

/// Counters of one life of a stream, at this end. Cheap to take: one lock, no walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStats {
    /// The number of the next message sent; on a fire-and-forget stream those lost count too.
    pub tx_seq: u64,
    /// The number of the next message expected.
    pub rx_seq: u64,
    /// Messages that have come and wait to be read.
    pub rx_pending: usize,
    /// Their on-wire bytes, with those of a message that has come in part.
    pub rx_pending_bytes: u64,
    /// Messages of the other end that were lost.
    pub rx_missed: u64,
    /// When something was last sent, received or read.
    pub last_activity: Instant,
    /// How often a message found no credit.
    pub backpressure_events: u64,
    /// On-wire bytes that may be sent now.
    pub credit_left: u64,
    /// On-wire bytes that this end asked the other to hold for it: [`window`](super::StreamConfig::window).
    pub window: u32,
    /// On-wire bytes that the other end may have unread here; 0 until it opens its direction.
    pub rx_window: u64,
    /// Grants sent.
    pub grants_sent: u64,
    /// Grants received that granted something.
    pub grants_received: u64,
}
