//! Ops: what authors publish, signed once and passed on byte for byte.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Keys, MeshName, PeerId, Row, Signed,
    io::Reason,
    row::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, ROW_BYTES_MAX, TAGS_MAX, TRACKS_BUDGET_BYTES, TrackEntry, tag_fits},
};

/// Largest incarnation that a peer may give itself.
pub const INCARNATION_MAX: u64 = u64::MAX >> 1;
/// Largest incarnation that may be accused: far below [`INCARNATION_MAX`], so that whoever is
/// accused can rise above it, now and after every restart to come.
pub const ACCUSED_MAX: u64 = u64::MAX >> 2;
/// Longest name of a user event, in bytes.
pub const EVENT_NAME_BYTES_MAX: usize = 64;
/// Longest payload of a user event, in bytes.
pub const EVENT_PAYLOAD_BYTES_MAX: usize = 512;

/// Names an op: all ops of an author draw from one version counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpId {
    /// Who published it.
    pub author: PeerId,
    /// The author's incarnation.
    pub incarnation: u64,
    /// The author's counter within that incarnation.
    pub version: u64,
}

/// One published change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The author's row as it is now.
    #[serde(rename = "r")]
    Row(Row),
    /// The author has lost touch with a peer.
    #[serde(rename = "s")]
    Suspicion(Claim),
    /// The author has waited long enough for a refutation.
    #[serde(rename = "d")]
    Death(Claim),
    /// The author, or a person through it, tells the whole mesh something.
    #[serde(rename = "e")]
    UserEvent(UserEvent),
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

/// What a person tells the whole mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEvent {
    /// The op's id, by which it is told once only.
    #[serde(rename = "i")]
    pub id: OpId,
    /// What kind of event it is: 1 to [`EVENT_NAME_BYTES_MAX`] bytes.
    #[serde(rename = "n")]
    pub name: String,
    /// Anything more: at most [`EVENT_PAYLOAD_BYTES_MAX`] bytes.
    #[serde(rename = "p")]
    pub payload: String,
}

/// Why a user event was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserEventError {
    /// The name breaks the rule.
    #[error("an event's name has 1 to 64 bytes and no control characters")]
    Name,
    /// The payload is too long.
    #[error("an event's payload has at most 512 bytes")]
    Payload,
    /// This node has published too many of late.
    #[error("too many events: a node may publish 4 a second, and 32 at once")]
    TooMany,
}

impl UserEvent {
    /// Whether name and payload keep their bounds.
    ///
    /// # Errors
    /// [`UserEventError`] says which does not.
    pub fn check(name: &str, payload: &str) -> Result<(), UserEventError> {
        if name.is_empty() || name.len() > EVENT_NAME_BYTES_MAX || name.contains(char::is_control) {
            return Err(UserEventError::Name);
        }
        if payload.len() > EVENT_PAYLOAD_BYTES_MAX { Err(UserEventError::Payload) } else { Ok(()) }
    }
}

impl Op {
    /// The op's id.
    #[must_use]
    pub const fn id(&self) -> OpId {
        match self {
            Self::Row(row) => OpId { author: row.peer, incarnation: row.incarnation, version: row.version },
            Self::Suspicion(claim) | Self::Death(claim) => claim.id,
            Self::UserEvent(event) => event.id,
        }
    }

    /// Itself, if it keeps the bounds of its kind.
    fn within_bounds(self) -> Result<Self, Reason> {
        let within = match &self {
            Self::Row(row) => row_is_within_bounds(row),
            Self::Suspicion(claim) | Self::Death(claim) => {
                claim.id.incarnation <= INCARNATION_MAX
                    && claim.suspect_incarnation <= ACCUSED_MAX
                    && claim.suspect != claim.id.author
            }
            Self::UserEvent(event) => {
                event.id.incarnation <= INCARNATION_MAX && UserEvent::check(&event.name, &event.payload).is_ok()
            }
        };
        if within { Ok(self) } else { Err(Reason::OutOfBounds) }
    }
}

fn row_is_within_bounds(row: &Row) -> bool {
    row.incarnation <= INCARNATION_MAX
        && row.addresses.len() <= ADDRESSES_MAX
        && row.addresses.iter().all(|address| address.len() <= ADDRESS_BYTES_MAX)
        && row.tags.len() <= TAGS_MAX
        && row.tags.iter().all(|(key, value)| tag_fits(key, value))
        && row.tracks.keys().map(TrackEntry::budget).sum::<usize>() <= TRACKS_BUDGET_BYTES
}

/// An op with its author's signature, as it travels. Clones are one and the same, and the op is
/// decoded and checked once at most.
#[derive(Clone)]
pub struct SignedOp(Arc<Inner>);

struct Inner {
    bytes: Box<[u8]>,
    signature: [u8; 64],
    op: OnceLock<Result<Op, Reason>>,
}

impl SignedOp {
    /// An op with a signature made elsewhere.
    #[must_use]
    pub fn new(op: Op, signature: [u8; 64]) -> Self {
        let bytes = encode(&op);
        Self::decoded(bytes, signature, op)
    }

    /// Encodes and signs an op of this node.
    pub(crate) fn sign(op: Op, mesh: &MeshName, keys: &dyn Keys) -> Self {
        let bytes = encode(&op);
        let signature = keys.sign(&Signed::op(mesh, &bytes));
        Self::decoded(bytes, signature, op)
    }

    fn decoded(bytes: Vec<u8>, signature: [u8; 64], op: Op) -> Self {
        let op = if bytes.len() <= ROW_BYTES_MAX { op.within_bounds() } else { Err(Reason::Malformed) };
        Self(Arc::new(Inner { bytes: bytes.into(), signature, op: op.into() }))
    }

    /// The op, or why the bytes are none within the bounds. Nothing is said of the signature.
    pub(crate) fn read(&self) -> Result<&Op, Reason> {
        self.0.op.get_or_init(|| decode(&self.0.bytes)).as_ref().map_err(|reason| *reason)
    }

    /// The op, if it can be read.
    pub(crate) fn op(&self) -> Option<&Op> {
        self.read().ok()
    }

    /// The row, if it is one.
    pub(crate) fn row(&self) -> Option<&Row> {
        match self.op() {
            Some(Op::Row(row)) => Some(row),
            _ => None,
        }
    }

    /// Whether `author` signed it for this mesh.
    pub(crate) fn is_signed_by(&self, author: &PeerId, mesh: &MeshName, keys: &dyn Keys) -> bool {
        keys.verify(author, &Signed::op(mesh, &self.0.bytes), &self.0.signature)
    }

    /// Bytes that it takes in a message, about.
    pub(crate) fn wire_bytes(&self) -> usize {
        self.0.bytes.len() + 72
    }
}

impl std::fmt::Debug for SignedOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SignedOp").field(&self.op()).finish()
    }
}

impl PartialEq for SignedOp {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Inner, b: &Inner| a.bytes == b.bytes && a.signature == b.signature;
        Arc::ptr_eq(&self.0, &other.0) || same(&self.0, &other.0)
    }
}

impl Eq for SignedOp {}

/// The CBOR of an op.
pub(crate) fn encode(op: &Op) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    ciborium::into_writer(op, &mut bytes).expect("writing to memory does not fail");
    bytes
}

fn decode(mut bytes: &[u8]) -> Result<Op, Reason> {
    if bytes.len() > ROW_BYTES_MAX {
        return Err(Reason::Malformed);
    }
    let op: Op = ciborium::de::from_reader_with_recursion_limit(&mut bytes, 16).map_err(|_| Reason::Malformed)?;
    if bytes.is_empty() { op.within_bounds() } else { Err(Reason::Malformed) }
}

impl Serialize for SignedOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (serde_bytes::Bytes::new(&self.0.bytes), serde_bytes::Bytes::new(&self.0.signature)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedOp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, signature): (serde_bytes::ByteBuf, serde_bytes::ByteArray<64>) =
            Deserialize::deserialize(deserializer)?;
        let (bytes, signature) = (bytes.into_vec().into(), signature.into_array());
        Ok(Self(Arc::new(Inner { bytes, signature, op: OnceLock::new() })))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Presence, RelayPolicy, Role, TrackName};

    fn row() -> Row {
        Row {
            peer: PeerId::from_key_bytes([7; 32]),
            incarnation: 1,
            version: 1,
            presence: Presence::Alive,
            label: None,
            addresses: Vec::new(),
            tags: BTreeMap::new(),
            capacity: 1,
            free: 1,
            relay: RelayPolicy::default(),
            tracks: BTreeMap::new(),
            library: None,
        }
    }

    fn read(change: impl FnOnce(&mut Row)) -> Result<(), Reason> {
        let mut row = row();
        change(&mut row);
        SignedOp::new(Op::Row(row), [0; 64]).read().map(|_| ())
    }

    fn tags(count: usize, key: usize, value: usize) -> BTreeMap<String, String> {
        (0..count).map(|number| (format!("{number:k<key$}"), "v".repeat(value))).collect()
    }

    fn tracks(lengths: &[usize]) -> BTreeMap<TrackName, TrackEntry> {
        let entry = TrackEntry {
            role: Role::Origin,
            origin: Some(PeerId::from_key_bytes([7; 32])),
            epoch: 1,
            depth: Some(0),
            parent: None,
            children: 0,
            free: 0,
            volunteer: false,
        };
        let name = |(number, length): (usize, &usize)| format!("{number:x<length$}").parse().expect("a name");
        lengths.iter().enumerate().map(|named| (name(named), entry.clone())).collect()
    }

    #[test]
    fn a_row_is_taken_at_each_bound_and_refused_one_step_over_it_e3() {
        // Eight names of 96 bytes, with 160 each, are 2,048.
        type Change = fn(&mut Row);
        let cases: [(Change, Change); 6] = [
            (|row| row.addresses = vec!["a".to_owned(); 8], |row| row.addresses = vec!["a".to_owned(); 9]),
            (|row| row.addresses = vec!["a".repeat(128)], |row| row.addresses = vec!["a".repeat(129)]),
            (|row| row.tags = tags(16, 2, 1), |row| row.tags = tags(17, 2, 1)),
            (|row| row.tags = tags(1, 32, 64), |row| row.tags = tags(1, 33, 64)),
            (|row| row.tags = tags(1, 32, 64), |row| row.tags = tags(1, 32, 65)),
            (|row| row.tracks = tracks(&[96; 8]), |row| row.tracks = tracks(&[96, 96, 96, 96, 96, 96, 96, 97])),
        ];
        for (number, (at, over)) in cases.into_iter().enumerate() {
            assert_eq!((read(at), read(over)), (Ok(()), Err(Reason::OutOfBounds)), "{number}");
        }
    }

    #[test]
    fn an_op_has_at_most_4_kib_e3() {
        // Tags and tracks as large as they may be, and two addresses that are made to fit.
        let of = |bytes: usize| {
            let mut row = row();
            row.tags = tags(16, 32, 64);
            row.tracks = tracks(&[96; 8]);
            row.addresses = vec!["a".repeat(128); 6];
            row.addresses.extend([bytes.min(128), bytes.saturating_sub(128)].map(|bytes| "a".repeat(bytes)));
            row
        };
        let bytes = |length| encode(&Op::Row(of(length))).len();
        let fits = (0..=256).find(|length| bytes(*length) == ROW_BYTES_MAX).expect("a row of 4,096 bytes");
        let read = |length| SignedOp::new(Op::Row(of(length)), [0; 64]).read().map(|_| ());
        assert_eq!((read(fits), read(fits + 1)), (Ok(()), Err(Reason::Malformed)));
        let wire = |length| decode(&encode(&Op::Row(of(length)))).map(|_| ());
        assert_eq!((wire(fits), wire(fits + 1)), (Ok(()), Err(Reason::Malformed)));
    }
}
