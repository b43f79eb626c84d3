//! What the gossip of two linked nodes says to each other. Every list has its bound, which holds
//! while it is read.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};

use crate::{PeerId, op::SignedOp};

/// Buckets of the table for anti-entropy.
pub const BUCKETS: usize = 256;
/// Most entries of one digest; one takes at most 72 bytes.
pub const DIGEST_ENTRIES_MAX: usize = 2_000;
/// Most ops of one message.
pub const OPS_MAX: usize = 1_000;
/// Most bytes that the ops of one message take, unless it is a single one.
pub const OPS_BYTES_MAX: usize = 128 * 1024;
/// Most peers of one request.
pub const REQUEST_MAX: usize = 1_000;

/// One message. Encoded it takes at most 256 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// News, passed on as it comes.
    #[serde(rename = "o")]
    Ops(#[serde(deserialize_with = "bounded::<_, _, OPS_MAX>")] Vec<SignedOp>),
    /// What the other lacks, or asked for.
    #[serde(rename = "a")]
    Answer(#[serde(deserialize_with = "bounded::<_, _, OPS_MAX>")] Vec<SignedOp>),
    /// A hash of the whole table: answer with a digest or with buckets if it differs.
    #[serde(rename = "h")]
    Summary(u64),
    /// A hash of each of the [`BUCKETS`]: answer with the digests of those that differ.
    #[serde(rename = "b")]
    Buckets(#[serde(deserialize_with = "bounded::<_, _, BUCKETS>")] Vec<u64>),
    /// What the sender has: answer with what it lacks, and ask for what you lack.
    #[serde(rename = "d")]
    Digest(Digest),
    /// Answer with what you have of these peers.
    #[serde(rename = "r")]
    Request(#[serde(deserialize_with = "bounded::<_, _, REQUEST_MAX>")] Vec<PeerId>),
}

/// What the sender has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The buckets of which `entries` holds everything; `None` stands for all. Of others it may
    /// hold something.
    #[serde(rename = "b", deserialize_with = "bounded_option::<_, _, BUCKETS>")]
    pub buckets: Option<Vec<u8>>,
    /// What the sender has, peer by peer.
    #[serde(rename = "e", deserialize_with = "bounded::<_, _, DIGEST_ENTRIES_MAX>")]
    pub entries: Vec<DigestEntry>,
}

/// What the sender has of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestEntry(
    /// The peer.
    pub PeerId,
    /// Its row: incarnation, version, and what tells it from another of the same version.
    pub Option<(u64, u64, u64)>,
    /// The incarnation that was certified dead.
    pub Option<u64>,
);

/// A list of at most `MAX` items; a longer one is an error before it takes memory.
fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

fn bounded_option<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct Present<T, const MAX: usize>(Vec<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Present<T, MAX> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            bounded::<D, T, MAX>(deserializer).map(Self)
        }
    }
    Ok(Option::<Present<T, MAX>>::deserialize(deserializer)?.map(|present| present.0))
}

struct Bounded<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom(format_args!("more than {MAX} items")));
            }
            list.push(item);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(message, &mut bytes).expect("writes");
        bytes
    }

    #[test]
    fn lists_at_the_bound_are_read_and_longer_ones_are_not_e3() {
        let request = |count| Message::Request(vec![PeerId::from_key_bytes([7; 32]); count]);
        let entries = |count| vec![DigestEntry(PeerId::from_key_bytes([7; 32]), Some((1, 2, 3)), None); count];
        let digest = |count| Message::Digest(Digest { buckets: None, entries: entries(count) });
        for (message, good) in [
            (request(REQUEST_MAX), true),
            (request(REQUEST_MAX + 1), false),
            (digest(DIGEST_ENTRIES_MAX), true),
            (digest(DIGEST_ENTRIES_MAX + 1), false),
            (Message::Buckets(vec![1; BUCKETS + 1]), false),
        ] {
            let read: Result<Message, _> = ciborium::from_reader(&encode(&message)[..]);
            assert_eq!(read.is_ok_and(|read| read == message), good);
        }
    }

    #[test]
    fn the_largest_messages_keep_to_256_kib() {
        let entry = DigestEntry(PeerId::from_key_bytes([7; 32]), Some((u64::MAX, u64::MAX, u64::MAX)), Some(u64::MAX));
        let buckets = Some((0..=u8::MAX).collect());
        let digest = Message::Digest(Digest { buckets, entries: vec![entry; DIGEST_ENTRIES_MAX] });
        for message in [digest, Message::Buckets(vec![u64::MAX; BUCKETS])] {
            let bytes = encode(&message);
            assert!(bytes.len() <= 256 * 1024, "{}", bytes.len());
            assert_eq!(ciborium::from_reader::<Message, _>(&bytes[..]).expect("reads"), message);
        }
    }
}
