//! What the gossip of two linked nodes says to each other.

use serde::{Deserialize, Serialize};

use crate::{PeerId, TrackName, op::SignedOp};

/// Buckets of the table for anti-entropy.
pub const BUCKETS: usize = 256;
/// Most entries of one digest.
pub const DIGEST_ENTRIES_MAX: usize = 2_000;
/// Most ops of one message.
pub const OPS_MAX: usize = 1_000;
/// Most tracks asked for in one message.
pub const WANTED_MAX: usize = 8;
/// Ops of one message take about this many bytes at most.
pub const OPS_BYTES_MAX: usize = 128 * 1024;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Ops, oldest first.
    #[serde(rename = "o")]
    Ops(Vec<SignedOp>),
    /// The sum over the table: answer with the buckets, or the digest of a small table, if yours differs.
    #[serde(rename = "r")]
    Root(u64),
    /// The sum of each bucket: answer with the digests of those that differ.
    #[serde(rename = "b")]
    Buckets(Vec<u64>),
    /// What the sender has.
    #[serde(rename = "d")]
    Digest(Digest),
    /// Do not push to the sender what others wrote: enough links bring it.
    #[serde(rename = "p")]
    Prune,
    /// Push everything to the sender again, and compare tables.
    #[serde(rename = "g")]
    Graft,
    /// The sender wants these tracks, and knows nobody who publishes them.
    #[serde(rename = "w")]
    Want(Vec<TrackName>),
}

/// What the sender has in some buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The buckets; `None` stands for all.
    #[serde(rename = "b")]
    pub buckets: Option<Vec<u8>>,
    /// Everything in them.
    #[serde(rename = "e")]
    pub entries: Vec<DigestEntry>,
    /// Whether the receiver is to say what it has there, if it lacks something.
    #[serde(rename = "r")]
    pub reply: bool,
    /// Whether the sender's table is full: it wants nothing of peers that are not named here.
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}

/// What the sender has of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEntry(
    /// The peer.
    pub PeerId,
    /// Incarnation and version of its row; zeros without one.
    pub (u64, u64),
    /// The incarnation that was certified dead.
    pub Option<u64>,
);

impl Message {
    /// Whether it keeps the bounds.
    pub(crate) fn is_within_bounds(&self) -> bool {
        match self {
            Self::Ops(ops) => ops.len() <= OPS_MAX,
            Self::Buckets(sums) => sums.len() == BUCKETS,
            Self::Digest(digest) => {
                digest.entries.len() <= DIGEST_ENTRIES_MAX
                    && digest.buckets.as_ref().is_none_or(|buckets| buckets.len() <= BUCKETS)
            }
            Self::Want(tracks) => tracks.len() <= WANTED_MAX,
            Self::Root(_) | Self::Prune | Self::Graft => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Op, OpId, UserEvent};

    #[test]
    fn messages_are_taken_at_their_bounds_and_refused_one_step_over_them_e3() {
        let peer = PeerId::from_key_bytes([1; 32]);
        let id = OpId { author: peer, incarnation: 1, version: 1 };
        let op = SignedOp::new(Op::UserEvent(UserEvent { id, name: "a".to_owned(), payload: String::new() }), [0; 64]);
        let ops = |count| Message::Ops(vec![op.clone(); count]).is_within_bounds();
        assert_eq!((ops(OPS_MAX), ops(OPS_MAX + 1)), (true, false));
        let digest = |entries, buckets| {
            let entries = vec![DigestEntry(peer, (1, 1), None); entries];
            let digest = Digest { buckets: Some(vec![0; buckets]), entries, reply: false, full: false };
            Message::Digest(digest).is_within_bounds()
        };
        assert_eq!((digest(DIGEST_ENTRIES_MAX, BUCKETS), digest(DIGEST_ENTRIES_MAX + 1, 1)), (true, false));
        assert!(!digest(1, BUCKETS + 1));
        let sums = |count| Message::Buckets(vec![0; count]).is_within_bounds();
        assert_eq!((sums(BUCKETS - 1), sums(BUCKETS), sums(BUCKETS + 1)), (false, true, false));
        let want = |count| Message::Want(vec![TrackName::new("a").expect("valid"); count]).is_within_bounds();
        assert_eq!((want(WANTED_MAX), want(WANTED_MAX + 1)), (true, false));
    }
}
