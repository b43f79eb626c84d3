//! What two nodes say to each other about their libraries: the protocol `library/1`.
//!
//! A stream belongs to the one that opened it: it asks, the other answers. A frame is its kind (a byte), the length
//! of what follows (u32 BE), and that:
//! - control: an [`Ask`] or an [`Answer`] as CBOR;
//! - chunk: the id of what it answers (u64 BE), then bytes of it, after [`Answer::Blob`] has said how many come;
//! - block: a [`Block`], then bytes of the piece, as they lie on the disk;
//! - zeros: a [`Block`], then how many bytes of the piece are zero (u32 BE), which are not sent.
//!
//! Ids are chosen by who asks, and grow. Requests for pieces are answered one after the other, and the pieces of
//! each in order. Every frame is bounded.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use banyan_gossip::PeerId;

use super::{manifest::PackageId, serve::BLOCK_BYTES};

/// Bytes before each frame.
pub const HEAD_BYTES: usize = 5;
/// Largest control frame.
pub const CONTROL_BYTES_MAX: u32 = 64 * 1024;
/// Largest chunk, without its id.
pub const CHUNK_BYTES: usize = 128 * 1024;
/// Most ranges of an [`Answer::Has`].
pub const RANGES_MAX: usize = 4096;
/// Most peers that an offer names.
pub const OFFER_PEERS_MAX: usize = 64;
/// Bytes of a block before those of the piece.
pub const BLOCK_HEAD_BYTES: usize = 16;
/// Bytes of a block of zeros.
pub const ZEROS_BYTES: usize = BLOCK_HEAD_BYTES + 4;
/// Bytes of a chunk before those of what it is a part of.
pub const CHUNK_HEAD_BYTES: usize = 8;

/// What the peer sent is not of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No kind of frame has this number.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// The frame is larger or smaller than its kind may be.
    #[error("a frame of {0} bytes")]
    Length(u32),
    /// A control frame cannot be read.
    #[error("a control frame that cannot be read: {0}")]
    Malformed(String),
    /// It answers what was not asked, or otherwise than what was asked.
    #[error("{0}")]
    Unasked(&'static str),
}

/// What follows in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Control,
    /// Bytes of something that was asked for.
    Chunk,
    /// Bytes of a piece.
    Block,
    /// How many bytes of a piece are zero.
    Zeros,
}

/// How a frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Bytes that follow.
    pub bytes: u32,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The catalog with this digest. Answered by a blob.
    Catalog(u64, #[serde(with = "serde_bytes")] [u8; 32]),
    /// The manifest of a package. Answered by a blob.
    Manifest(u64, PackageId),
    /// The pieces that are there of a package, now and as they come. Answered by a blob, a set of pieces, and then
    /// by [`Answer::Has`].
    Follow(u64, PackageId),
    /// No more of [`Ask::Follow`].
    Unfollow(u64),
    /// Pieces of a package: the first, and how many.
    Pieces(u64, PackageId, u32, u32),
    /// Not this piece of a request.
    Cancel(u64, u32),
    /// Take this package. Answered by [`Answer::Push`] whenever the state changes, and by [`Answer::Has`] as pieces
    /// come, until [`Ask::Unfollow`].
    Push(u64, Offer),
    /// Everybody is ready: install what was pushed.
    Install(u64),
    /// Do not take it any more, and remove what has come, unless it is in place.
    Withdraw(u64),
}

/// A package that is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Which.
    pub package: PackageId,
    /// What it is called.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether to install it, but not before [`Ask::Install`].
    pub install: bool,
    /// Others that it is pushed to, which have parts of it soon; at most [`OFFER_PEERS_MAX`].
    pub peers: Vec<PeerId>,
}

/// How far a peer is with what was pushed to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PushState {
    /// It fetches.
    Fetching,
    /// All is there, and waits for [`Ask::Install`].
    Ready,
    /// It is in place; installed, if it was to be.
    Done,
    /// It does not take it, and why.
    Refused(String),
    /// It could not be fetched or put in place, and why.
    Failed(String),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// So many bytes come in chunks.
    Blob(u64, u64),
    /// More pieces are there: ranges, by the first and the one after the last.
    Has(u64, Vec<(u32, u32)>),
    /// Nothing more comes by a request; what is missing is not there.
    End(u64),
    /// A request will not be served; ask again after so many milliseconds.
    Busy(u64, u32),
    /// What was asked for is not there, or no more.
    Gone(u64),
    /// How far it is with what was pushed.
    Push(u64, PushState),
}

/// How a block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The request.
    pub id: u64,
    /// The piece.
    pub piece: u32,
    /// Where the bytes begin in the piece.
    pub offset: u32,
}

impl Head {
    /// Reads the beginning of a frame.
    ///
    /// # Errors
    /// [`WireError::Kind`], [`WireError::Length`].
    pub const fn decode(bytes: [u8; HEAD_BYTES]) -> Result<Self, WireError> {
        let [kind, length @ ..] = bytes;
        let bytes = u32::from_be_bytes(length);
        let (kind, least, most) = match kind {
            0 => (Kind::Control, 1, CONTROL_BYTES_MAX),
            1 => (Kind::Chunk, CHUNK_HEAD_BYTES as u32 + 1, (CHUNK_HEAD_BYTES + CHUNK_BYTES) as u32),
            2 => (Kind::Block, BLOCK_HEAD_BYTES as u32 + 1, BLOCK_HEAD_BYTES as u32 + BLOCK_BYTES),
            3 => (Kind::Zeros, ZEROS_BYTES as u32, ZEROS_BYTES as u32),
            other => return Err(WireError::Kind(other)),
        };
        if bytes < least || bytes > most { Err(WireError::Length(bytes)) } else { Ok(Self { kind, bytes }) }
    }
}

fn put_head(out: &mut Vec<u8>, kind: Kind, bytes: usize) {
    out.push(kind as u8);
    out.extend_from_slice(&u32::try_from(bytes).expect("frames are small").to_be_bytes());
}

fn put_control(out: &mut Vec<u8>, message: &impl Serialize) {
    let start = out.len();
    put_head(out, Kind::Control, 0);
    ciborium::into_writer(message, &mut *out).expect("writing to memory does not fail");
    let bytes = u32::try_from(out.len() - start - HEAD_BYTES).expect("messages are small");
    out[start + 1..start + HEAD_BYTES].copy_from_slice(&bytes.to_be_bytes());
}

fn decode<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, WireError> {
    let message = ciborium::de::from_reader_with_recursion_limit(&mut bytes, 8)
        .map_err(|error| WireError::Malformed(error.to_string()))?;
    if bytes.is_empty() { Ok(message) } else { Err(WireError::Malformed("bytes follow it".to_owned())) }
}

impl Ask {
    /// Appends it as a frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_control(out, self);
    }

    /// Reads it from what follows the head of a frame.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match decode(bytes)? {
            Self::Push(_, offer) if offer.peers.len() > OFFER_PEERS_MAX => {
                Err(WireError::Malformed("too many peers".into()))
            }
            ask => Ok(ask),
        }
    }
}

impl Answer {
    /// Appends it as a frame.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_control(out, self);
    }

    /// Reads it from what follows the head of a frame.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match decode(bytes)? {
            Self::Has(_, ranges) if ranges.len() > RANGES_MAX => Err(WireError::Malformed("too many ranges".into())),
            answer => Ok(answer),
        }
    }
}

/// Appends a chunk of at most [`CHUNK_BYTES`] as a frame.
pub fn put_chunk(out: &mut Vec<u8>, id: u64, bytes: &[u8]) {
    put_head(out, Kind::Chunk, CHUNK_HEAD_BYTES + bytes.len());
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(bytes);
}

impl Block {
    /// Appends the beginning of a frame with so many bytes of a piece, at most [`BLOCK_BYTES`], which follow.
    pub fn put(&self, out: &mut Vec<u8>, bytes: u32) {
        put_head(out, Kind::Block, BLOCK_HEAD_BYTES + bytes as usize);
        self.put_fields(out);
    }

    /// Appends a frame that stands for so many bytes of a piece that are zero, at most [`BLOCK_BYTES`].
    pub fn put_zeros(&self, out: &mut Vec<u8>, bytes: u32) {
        put_head(out, Kind::Zeros, ZEROS_BYTES);
        self.put_fields(out);
        out.extend_from_slice(&bytes.to_be_bytes());
    }

    /// Reads how many bytes are zero.
    ///
    /// # Errors
    /// [`WireError::Length`].
    pub const fn zeros(bytes: [u8; 4]) -> Result<u32, WireError> {
        match u32::from_be_bytes(bytes) {
            bytes @ 1..=BLOCK_BYTES => Ok(bytes),
            bytes => Err(WireError::Length(bytes)),
        }
    }

    fn put_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.piece.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
    }

    /// Reads it.
    #[must_use]
    pub fn decode(bytes: [u8; BLOCK_HEAD_BYTES]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { id: (number >> 64) as u64, piece: (number >> 32) as u32, offset: number as u32 }
    }
}

/// Something that comes in chunks.
#[derive(Debug, Default)]
pub struct Blob {
    expected: Option<usize>,
    bytes: Vec<u8>,
}

impl Blob {
    /// So many bytes will come; `most` is what the thing may have.
    ///
    /// # Errors
    /// [`WireError::Unasked`]: it is too large, or was announced before.
    pub fn expect(&mut self, bytes: u64, most: usize) -> Result<(), WireError> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= most && self.expected.is_none());
        self.expected = Some(bytes.ok_or(WireError::Unasked("more than may come"))?);
        Ok(())
    }

    /// Some of them.
    ///
    /// # Errors
    /// [`WireError::Unasked`]: more than was said.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if self.bytes.len() + bytes.len() > self.expected.unwrap_or(0) {
            return Err(WireError::Unasked("more bytes than were announced"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// All of them, once they are there.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        (self.expected? == self.bytes.len()).then(|| std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(frame: &[u8]) -> Head {
        let head = Head::decode(*frame.first_chunk().expect("a head")).expect("valid");
        assert_eq!(frame.len(), HEAD_BYTES + head.bytes as usize);
        head
    }

    fn offer(peers: usize) -> Offer {
        let (name, version) = ("n".repeat(256), "v".repeat(128));
        let peers = vec![PeerId::from_key_bytes([1; 32]); peers];
        Offer { package: PackageId([7; 32]), name, version, install: true, peers }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let package = PackageId([7; 32]);
        for ask in [
            Ask::Catalog(1, [9; 32]),
            Ask::Manifest(2, package),
            Ask::Follow(3, package),
            Ask::Unfollow(3),
            Ask::Pieces(u64::MAX, package, 5, u32::MAX),
            Ask::Cancel(4, 5),
            Ask::Push(5, offer(OFFER_PEERS_MAX)),
            Ask::Install(5),
            Ask::Withdraw(5),
        ] {
            let mut frame = Vec::new();
            ask.put(&mut frame);
            assert_eq!(head(&frame).kind, Kind::Control);
            assert_eq!(Ask::decode(&frame[HEAD_BYTES..]), Ok(ask));
        }
        let most = vec![(u32::MAX, u32::MAX); RANGES_MAX];
        let refused = Answer::Push(6, PushState::Refused("no".to_owned()));
        for answer in [Answer::Blob(1, u64::MAX), Answer::Has(2, most), Answer::End(3), Answer::Busy(4, 5), refused] {
            let mut frame = Vec::new();
            answer.put(&mut frame);
            assert_eq!(head(&frame).kind, Kind::Control);
            assert_eq!(Answer::decode(&frame[HEAD_BYTES..]), Ok(answer));
        }
        let block = Block { id: u64::MAX - 1, piece: 7, offset: u32::MAX };
        let mut frame = Vec::new();
        block.put(&mut frame, 3);
        frame.extend_from_slice(b"abc");
        assert_eq!(head(&frame).kind, Kind::Block);
        assert_eq!(Block::decode(*frame[HEAD_BYTES..].first_chunk().expect("a head")), block);
        let mut frame = Vec::new();
        block.put_zeros(&mut frame, 9);
        assert_eq!(head(&frame).kind, Kind::Zeros);
        assert_eq!(Block::decode(*frame[HEAD_BYTES..].first_chunk().expect("a head")), block);
        assert_eq!(Block::zeros(*frame.last_chunk().expect("a number")), Ok(9));
    }

    #[test]
    fn frames_and_blobs_are_bounded_d5() {
        let mut frame = Vec::new();
        Ask::Push(1, offer(OFFER_PEERS_MAX + 1)).put(&mut frame);
        assert!(Ask::decode(&frame[HEAD_BYTES..]).is_err());
        let head = |kind, bytes: u32| {
            let mut head = [kind; HEAD_BYTES];
            head[1..].copy_from_slice(&bytes.to_be_bytes());
            Head::decode(head)
        };
        assert_eq!(head(4, 9), Err(WireError::Kind(4)));
        assert!(head(3, 20).is_ok() && head(3, 19).is_err() && head(3, 21).is_err());
        let zeros = |bytes: u32| Block::zeros(bytes.to_be_bytes());
        assert!(zeros(1).is_ok() && zeros(BLOCK_BYTES).is_ok() && zeros(0).is_err() && zeros(BLOCK_BYTES + 1).is_err());
        assert_eq!(head(0, CONTROL_BYTES_MAX + 1), Err(WireError::Length(CONTROL_BYTES_MAX + 1)));
        assert!(head(1, 128 * 1024 + 8).is_ok() && head(1, 128 * 1024 + 9).is_err() && head(1, 8).is_err());
        assert!(head(2, 128 * 1024 + 16).is_ok() && head(2, 128 * 1024 + 17).is_err() && head(2, 16).is_err());
        let mut blob = Blob::default();
        assert!(blob.push(b"a").is_err() && blob.expect(11, 10).is_err());
        assert_eq!(blob.expect(3, 10), Ok(()));
        assert!(blob.expect(3, 10).is_err());
        let mut blob = Blob::default();
        blob.expect(3, 10).expect("fits");
        blob.push(b"ab").expect("fits");
        assert_eq!(blob.take(), None);
        assert!(blob.push(b"cd").is_err());
        blob.push(b"c").expect("fits");
        assert_eq!(blob.take(), Some(b"abc".to_vec()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in any::<Vec<u8>>(), head in any::<[u8; HEAD_BYTES]>()) {
            let _ = (Ask::decode(&bytes), Answer::decode(&bytes), Head::decode(head));
        }
    }
}
