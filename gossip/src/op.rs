//! Ops: what authors publish, signed once and passed on byte for byte.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    Keys, MeshName, PeerId, Row,
    row::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, ROW_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, TRACKS_BUDGET_BYTES, TrackEntry},
};

/// Largest incarnation that a peer may give itself.
pub const INCARNATION_MAX: u64 = u64::MAX >> 1;
/// Largest incarnation that may be accused. Far below [`INCARNATION_MAX`], so that whoever is
/// accused can rise above it, now and after every restart to come.
pub const ACCUSED_MAX: u64 = u64::MAX >> 2;

/// Names an op: all ops of an author draw from one version counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// Who published it.
    #[serde(rename = "a")]
    pub author: PeerId,
    /// The author's incarnation.
    #[serde(rename = "i")]
    pub incarnation: u64,
    /// The author's counter within that incarnation.
    #[serde(rename = "v")]
    pub version: u64,
}

/// One published change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The author's row as it is now.
    #[serde(rename = "r", with = "shared_row")]
    Row(Arc<Row>),
    /// The author has lost touch with a peer.
    #[serde(rename = "s")]
    Suspicion(Claim),
    /// The author has waited long enough for a refutation.
    #[serde(rename = "d")]
    Death(Claim),
}

/// What a peer says of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The op's id; its author accuses.
    #[serde(rename = "i")]
    pub id: OpId,
    /// Whom it is about.
    #[serde(rename = "p")]
    pub suspect: PeerId,
    /// The claim holds for this incarnation and those before it.
    #[serde(rename = "n")]
    pub suspect_incarnation: u64,
}

impl Op {
    /// The op's id.
    #[must_use]
    pub fn id(&self) -> OpId {
        match self {
            Self::Row(row) => OpId { author: row.peer, incarnation: row.incarnation, version: row.version },
            Self::Suspicion(claim) | Self::Death(claim) => claim.id,
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> PeerId {
        match self {
            Self::Row(row) => row.peer,
            Self::Suspicion(claim) | Self::Death(claim) => claim.suspect,
        }
    }

    /// Whether it keeps the bounds of its kind.
    pub(crate) fn is_within_bounds(&self) -> bool {
        match self {
            Self::Row(row) => row_is_within_bounds(row),
            Self::Suspicion(claim) | Self::Death(claim) => {
                claim.id.incarnation <= INCARNATION_MAX
                    && claim.suspect_incarnation <= ACCUSED_MAX
                    && claim.suspect != claim.id.author
            }
        }
    }
}

fn row_is_within_bounds(row: &Row) -> bool {
    row.incarnation <= INCARNATION_MAX
        && row.addresses.len() <= ADDRESSES_MAX
        && row.addresses.iter().all(|address| address.len() <= ADDRESS_BYTES_MAX)
        && row.tags.len() <= TAGS_MAX
        && row.tags.iter().all(|(key, value)| key.len() <= TAG_BYTES_MAX && value.len() <= TAG_BYTES_MAX)
        && row.tracks.keys().map(TrackEntry::budget).sum::<usize>() <= TRACKS_BUDGET_BYTES
}

mod shared_row {
    use super::{Arc, Deserialize, Deserializer, Row, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(row: &Arc<Row>, serializer: S) -> Result<S::Ok, S::Error> {
        row.as_ref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Row>, D::Error> {
        Row::deserialize(deserializer).map(Arc::new)
    }
}

/// An op with its author's signature, as it travels. Clones share the bytes, and what was read of
/// them: in one process an op is decoded once, however many nodes hold it.
#[derive(Clone)]
pub struct SignedOp(Arc<Inner>);

struct Inner {
    bytes: Box<[u8]>,
    signature: [u8; 64],
    op: OnceLock<Option<Op>>,
    fingerprint: OnceLock<u64>,
}

impl SignedOp {
    fn new(bytes: Vec<u8>, signature: [u8; 64]) -> Self {
        let (op, fingerprint) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Inner { bytes: bytes.into(), signature, op, fingerprint }))
    }

    /// Encodes and signs an op of this node.
    pub(crate) fn sign(op: &Op, mesh: &MeshName, keys: &dyn Keys) -> Self {
        let bytes = encode(op);
        let signature = keys.sign(&signed_message(mesh, &bytes));
        Self::new(bytes, signature)
    }

    /// The op, if the bytes are exactly one within the size bound. Nothing is said of the signature.
    #[must_use]
    pub fn op(&self) -> Option<&Op> {
        let read = || {
            let mut bytes = &self.0.bytes[..];
            if bytes.len() > ROW_BYTES_MAX {
                return None;
            }
            let op = ciborium::de::from_reader_with_recursion_limit(&mut bytes, 16).ok()?;
            bytes.is_empty().then_some(op)
        };
        self.0.op.get_or_init(read).as_ref()
    }

    /// Whether `author` signed it for this mesh.
    pub(crate) fn is_signed_by(&self, author: &PeerId, mesh: &MeshName, keys: &dyn Keys) -> bool {
        keys.verify(author, &signed_message(mesh, &self.0.bytes), &self.0.signature)
    }

    /// Tells ops apart whose ids are the same: the first 8 bytes of BLAKE3 of the encoded op.
    pub(crate) fn fingerprint(&self) -> u64 {
        *self.0.fingerprint.get_or_init(|| {
            let hash = blake3::hash(&self.0.bytes);
            u64::from_be_bytes(*hash.as_bytes().first_chunk::<8>().expect("a hash has 32 bytes"))
        })
    }

    /// Bytes that it takes in a message, at most.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.0.bytes.len() + 72
    }
}

impl PartialEq for SignedOp {
    fn eq(&self, other: &Self) -> bool {
        self.0.bytes == other.0.bytes && self.0.signature == other.0.signature
    }
}

impl Eq for SignedOp {}

impl std::fmt::Debug for SignedOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SignedOp").field(&self.op()).finish()
    }
}

/// The CBOR of an op.
pub(crate) fn encode(op: &Op) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    ciborium::into_writer(op, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// What is signed says what it is and for which mesh, so that it means nothing anywhere else.
fn signed_message(mesh: &MeshName, op: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(op.len() + 96);
    message.extend_from_slice(b"banyan op 1\0");
    message.extend_from_slice(mesh.as_str().as_bytes());
    message.push(0);
    message.extend_from_slice(op);
    message
}

/// Two byte strings: the encoded op and the signature.
impl Serialize for SignedOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (serde_bytes::Bytes::new(&self.0.bytes), serde_bytes::Bytes::new(&self.0.signature)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedOp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, signature): (serde_bytes::ByteBuf, serde_bytes::ByteArray<64>) =
            Deserialize::deserialize(deserializer)?;
        if bytes.len() > ROW_BYTES_MAX {
            return Err(D::Error::custom("op too large"));
        }
        Ok(Self::new(bytes.into_vec(), signature.into_array()))
    }
}
