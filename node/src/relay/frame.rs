//! Frames of a data stream: `[object_id: u64 BE][flags: u8][length: u32 BE][payload]`.
//!
//! An object travels as one or more chunk frames of at most [`CHUNK_BYTES_MAX`] payload bytes, so
//! that a large object is passed on while it arrives. The origin cuts the chunks; relays forward
//! the frame bytes as they came. Frames with the flag `CONTROL` carry no object: their kind stands
//! in the low bits, see the table in `docs/PROTOCOL.md`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{OBJECT_BYTES_MAX, ring::Position, seal::Seal};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 13;
/// Largest payload of one frame, in bytes.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Most chunks of one object that a receiver takes; an origin cuts full chunks.
pub const CHUNKS_MAX: u32 = (OBJECT_BYTES_MAX / CHUNK_BYTES_MAX) as u32;

const FIRST: u8 = 0x01;
const LAST: u8 = 0x02;
const CONTROL: u8 = 0x80;

/// Largest payload of a control frame, in bytes.
const CONTROL_BYTES_MAX: usize = 96;

/// Payload bytes of a seal.
const SEAL_BYTES: usize = 81;

/// One frame of a data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of an object.
    Chunk(Chunk),
    /// Parent to child, once, first: the stream carries `from..`; `newest` is the id that the
    /// parent expects next.
    Start {
        /// First object id that follows.
        from: u64,
        /// The id after the newest that the parent has begun.
        newest: u64,
        /// Whether the track is reliable.
        reliable: bool,
        /// The publishing epoch.
        epoch: u64,
    },
    /// Parent to child: the objects `from..to` will not come.
    Gap {
        /// First missing id.
        from: u64,
        /// First id after the missing ones.
        to: u64,
    },
    /// Parent to child: every subscriber in the tree has consumed the objects below this id.
    Stable(u64),
    /// Parent to child: the track ends before this id.
    End(u64),
    /// Parent to child: this child held up a reliable track for too long.
    CutOff,
    /// Child to parent: the child and all below it have consumed the objects below this id.
    Ack(u64),
    /// Child to parent, last: nothing is owed to the child any more.
    Leave,
    /// Parent to child: the origin's signature for the frames before it. Only on signed tracks.
    Seal(Seal),
    /// Parent to child: what was sent from this place on is void, and comes anew. Only on signed tracks.
    Retract(Position),
}

/// A piece of an object, with its bytes as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The object.
    pub id: u64,
    /// Whether it is the object's first chunk.
    pub first: bool,
    /// Whether it is the object's last chunk.
    pub last: bool,
    /// Header and payload.
    pub wire: Bytes,
}

impl Chunk {
    /// The payload.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.wire.slice(HEADER_BYTES..)
    }
}

/// Bytes that are no frame. The sender is at fault; the stream cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload is longer than its kind allows.
    #[error("frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// As announced.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// Flags that mean nothing.
    #[error("unknown frame flags {0:#04x}")]
    UnknownFlags(u8),
    /// A control frame whose payload has another length than its kind.
    #[error("control frame {flags:#04x} with {length} payload bytes")]
    BadControl {
        /// The flags.
        flags: u8,
        /// Payload bytes.
        length: usize,
    },
    /// A chunk that does not follow the one before it.
    #[error("chunk of object {id} is out of order")]
    OutOfOrder {
        /// The object.
        id: u64,
    },
    /// An object with more than [`CHUNKS_MAX`] chunks or [`OBJECT_BYTES_MAX`] bytes.
    #[error("object {id} is over the limit of 16 MiB")]
    ObjectTooLarge {
        /// The object.
        id: u64,
    },
}

impl Frame {
    /// Appends the frame's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Chunk(chunk) => out.extend_from_slice(&chunk.wire),
            Self::Start { from, newest, reliable, epoch } => {
                header(out, *from, CONTROL, 17);
                out.put_u64(*newest);
                out.put_u64(*epoch);
                out.put_u8(u8::from(*reliable));
            }
            Self::Gap { from, to } => {
                header(out, *from, CONTROL | 1, 8);
                out.put_u64(*to);
            }
            Self::Stable(id) => header(out, *id, CONTROL | 2, 0),
            Self::End(id) => header(out, *id, CONTROL | 3, 0),
            Self::CutOff => header(out, 0, CONTROL | 4, 0),
            Self::Ack(id) => header(out, *id, CONTROL | 5, 0),
            Self::Leave => header(out, 0, CONTROL | 6, 0),
            Self::Seal(seal) => {
                header(out, seal.from.id, CONTROL | 7, SEAL_BYTES as u32);
                out.put_u32(seal.from.chunk);
                out.put_u64(seal.upto.id);
                out.put_u32(seal.upto.chunk);
                out.put_u8(u8::from(seal.last));
                out.put_slice(&seal.signature);
            }
            Self::Retract(place) => {
                header(out, place.id, CONTROL | 8, 4);
                out.put_u32(place.chunk);
            }
        }
    }

    /// How many bytes [`Frame::encode`] appends.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.wire.len(),
            Self::Start { .. } => HEADER_BYTES + 17,
            Self::Gap { .. } => HEADER_BYTES + 8,
            Self::Seal(_) => HEADER_BYTES + SEAL_BYTES,
            Self::Retract(_) => HEADER_BYTES + 4,
            Self::Stable(_) | Self::End(_) | Self::CutOff | Self::Ack(_) | Self::Leave => HEADER_BYTES,
        }
    }

    fn decode_control(id: u64, flags: u8, mut payload: Bytes) -> Result<Self, FrameError> {
        let frame = match (flags, payload.len()) {
            (0x80, 17) => {
                let (newest, epoch, reliable) = (payload.get_u64(), payload.get_u64(), payload.get_u8() != 0);
                Self::Start { from: id, newest, reliable, epoch }
            }
            (0x81, 8) => Self::Gap { from: id, to: payload.get_u64() },
            (0x82, 0) => Self::Stable(id),
            (0x83, 0) => Self::End(id),
            (0x84, 0) => Self::CutOff,
            (0x85, 0) => Self::Ack(id),
            (0x86, 0) => Self::Leave,
            (0x87, SEAL_BYTES) => {
                let from = Position { id, chunk: payload.get_u32() };
                let upto = Position { id: payload.get_u64(), chunk: payload.get_u32() };
                let (last, mut signature) = (payload.get_u8() != 0, [0; 64]);
                payload.copy_to_slice(&mut signature);
                Self::Seal(Seal { from, upto, last, signature })
            }
            (0x88, 4) => {
                let place = Position { id, chunk: payload.get_u32() };
                if place.chunk >= CHUNKS_MAX {
                    return Err(FrameError::ObjectTooLarge { id });
                }
                Self::Retract(place)
            }
            (0x80..=0x88, length) => return Err(FrameError::BadControl { flags, length }),
            _ => return Err(FrameError::UnknownFlags(flags)),
        };
        Ok(frame)
    }
}

fn header(out: &mut BytesMut, id: u64, flags: u8, length: u32) {
    out.put_u64(id);
    out.put_u8(flags);
    out.put_u32(length);
}

/// Cuts an object into chunks, encoding each once. An empty object is one empty chunk.
pub fn chunks(id: u64, payload: &[u8]) -> impl Iterator<Item = Chunk> + '_ {
    let count = payload.len().div_ceil(CHUNK_BYTES_MAX).max(1);
    (0..count).map(move |index| {
        let start = index * CHUNK_BYTES_MAX;
        let piece = &payload[start..payload.len().min(start + CHUNK_BYTES_MAX)];
        let (first, last) = (index == 0, index + 1 == count);
        let mut wire = BytesMut::with_capacity(HEADER_BYTES + piece.len());
        let flags = if first { FIRST } else { 0 } | if last { LAST } else { 0 };
        header(&mut wire, id, flags, u32::try_from(piece.len()).expect("a chunk is at most 64 KiB"));
        wire.extend_from_slice(piece);
        Chunk { id, first, last, wire: wire.freeze() }
    })
}

/// Reads frames from the bytes of one stream and checks that chunks follow one another.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The object whose further chunks must come next, with the chunks and bytes seen of it.
    open: Option<(u64, u32, usize)>,
}

impl Decoder {
    /// Takes the next frame off the front of `buffer`; `None` means that more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]: the buffer is left as it was; close the stream.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(mut head) = buffer.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let (id, flags, length) = (head.get_u64(), head.get_u8(), head.get_u32() as usize);
        let limit = if flags & CONTROL == 0 { CHUNK_BYTES_MAX } else { CONTROL_BYTES_MAX };
        if length > limit {
            return Err(FrameError::TooLong { length, limit });
        }
        if flags & CONTROL == 0 && flags & !(FIRST | LAST) != 0 {
            return Err(FrameError::UnknownFlags(flags));
        }
        if buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        if flags & CONTROL != 0 {
            let frame =
                Frame::decode_control(id, flags, Bytes::copy_from_slice(&buffer[HEADER_BYTES..HEADER_BYTES + length]))?;
            // A gap, a new start or an end may cut an object short.
            match frame {
                Frame::Start { .. } | Frame::Gap { .. } | Frame::End(_) => self.open = None,
                // Chunks may begin anew in the middle of an object, whose bounds the first ones keep.
                Frame::Retract(place) => {
                    self.open =
                        (place.chunk > 0).then_some((place.id, place.chunk, place.chunk as usize * CHUNK_BYTES_MAX));
                }
                _ => {}
            }
            buffer.advance(HEADER_BYTES + length);
            return Ok(Some(frame));
        }
        let (first, last) = (flags & FIRST != 0, flags & LAST != 0);
        self.check_order(id, first, last, length)?;
        let wire = buffer.split_to(HEADER_BYTES + length).freeze();
        Ok(Some(Frame::Chunk(Chunk { id, first, last, wire })))
    }

    fn check_order(&mut self, id: u64, first: bool, last: bool, length: usize) -> Result<(), FrameError> {
        let (chunks, bytes) = match (first, self.open) {
            (true, None) => (1, length),
            (false, Some((open, chunks, bytes))) if open == id => (chunks + 1, bytes + length),
            _ => return Err(FrameError::OutOfOrder { id }),
        };
        if chunks > CHUNKS_MAX || bytes > OBJECT_BYTES_MAX {
            return Err(FrameError::ObjectTooLarge { id });
        }
        self.open = (!last).then_some((id, chunks, bytes));
        Ok(())
    }
}
