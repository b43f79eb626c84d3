//! Frames of a data stream: `[object_id: u64 BE][flags: u8][length: u32 BE][payload]`.
//!
//! An object travels as one or more chunk frames of at most [`CHUNK_BYTES_MAX`] payload bytes, so
//! that a large object is passed on while it arrives. The origin cuts the chunks; relays forward
//! the frame bytes as they came. Frames with the flag `CONTROL` carry no object: their kind stands
//! in the low bits, see the table in `docs/PROTOCOL.md`.
//!
//! Small objects that arrive together stay together: a receiver may take a *run* of them as one [`Chunk`], whose
//! frames lie one after another as they came. So what each of them costs at a relay is paid once for all. On the wire
//! there are no runs.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{OBJECT_BYTES_MAX, ring::Position, seal::Seal};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 13;
/// Largest payload of one frame, in bytes.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a run, headers included. An object larger than that stands alone.
pub const RUN_BYTES_MAX: usize = 64 * 1024;
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
    /// A piece of an object, or a run of whole ones.
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

/// A piece of an object, or a run of objects of one piece each, with its bytes as they travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The object; the first one of a run.
    pub id: u64,
    /// How many objects it is of, whose ids follow one another. More than one only if each is whole.
    pub count: u32,
    /// Whether it is the object's first chunk.
    pub first: bool,
    /// Whether it is the object's last chunk.
    pub last: bool,
    /// Header and payload, of each object.
    pub wire: Bytes,
}

impl Chunk {
    /// The id after its last object; the last id of all has none after it.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.id.saturating_add(self.count as u64)
    }

    /// Payload bytes of all its objects.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.wire.len() - self.count as usize * HEADER_BYTES
    }

    /// How many objects begin with it.
    #[must_use]
    pub const fn begun(&self) -> u32 {
        if self.first { self.count } else { 0 }
    }

    /// How many objects are complete with it.
    #[must_use]
    pub const fn completed(&self) -> u32 {
        if self.last { self.count } else { 0 }
    }

    /// The ids and payloads of its objects, or of the piece that it is.
    pub fn payloads(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let mut offset = 0;
        (0..self.count).map(move |index| {
            let end = self.frame_end(offset);
            let payload = self.wire.slice(offset + HEADER_BYTES..end);
            offset = end;
            (self.id + u64::from(index), payload)
        })
    }

    /// Its objects one by one.
    pub fn singles(&self) -> impl Iterator<Item = Self> + '_ {
        let mut offset = 0;
        (0..self.count).map(move |_| {
            let single = self.single_at(offset);
            offset += single.wire.len();
            single
        })
    }

    /// The object whose frame begins at this offset.
    pub(super) fn single_at(&self, offset: usize) -> Self {
        if self.count == 1 {
            return self.clone();
        }
        let wire = self.wire.slice(offset..self.frame_end(offset));
        Self { id: self.id_at(offset), count: 1, first: self.first, last: self.last, wire }
    }

    /// Where object `id` of a run begins, searched for from the frame at `offset` on.
    pub(super) fn offset_of(&self, id: u64, offset: usize) -> usize {
        if self.count == 1 {
            return if self.id < id { self.wire.len() } else { offset };
        }
        offset_of(&self.wire, id, offset)
    }

    /// What is left of a run from object `id` on, which is one of it. What is not a run, or begins there, is left whole.
    pub(super) fn starting_with(&self, id: u64) -> Self {
        if id <= self.id || id >= self.end() {
            return self.clone();
        }
        let wire = self.wire.slice(self.offset_of(id, 0)..);
        let before = u32::try_from(id - self.id).expect("it is less than the count");
        Self { id, count: self.count - before, wire, ..*self }
    }

    /// Takes off the first objects that have no more than so many bytes together, but one at least and all but one at most.
    pub(super) fn split_front(&mut self, bytes_max: usize) -> Self {
        let (mut count, mut offset) = (1, self.frame_end(0));
        while count + 1 < self.count {
            let end = self.frame_end(offset);
            if end > bytes_max {
                break;
            }
            (count, offset) = (count + 1, end);
        }
        let front = Self { count, wire: self.wire.split_to(offset), ..*self };
        (self.id, self.count) = (self.id + u64::from(count), self.count - count);
        front
    }

    /// Whose frame begins at this offset.
    fn id_at(&self, offset: usize) -> u64 {
        read_header(&self.wire[offset..]).expect("whole frames").0
    }

    /// Where the frame ends that begins at this offset.
    fn frame_end(&self, offset: usize) -> usize {
        if self.count == 1 {
            return self.wire.len();
        }
        offset + HEADER_BYTES + read_header(&self.wire[offset..]).expect("whole frames").2
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

fn header(out: &mut impl BufMut, id: u64, flags: u8, length: u32) {
    out.put_u64(id);
    out.put_u8(flags);
    out.put_u32(length);
}

/// Id, flags and payload bytes of the frame that begins here; `None`: not all of its header is there.
fn read_header(bytes: &[u8]) -> Option<(u64, u8, usize)> {
    let mut header = bytes.get(..HEADER_BYTES)?;
    Some((header.get_u64(), header.get_u8(), header.get_u32() as usize))
}

/// Where object `id` begins in whole frames that lie one after another, searched for from the frame at `offset` on.
pub(super) fn offset_of(frames: &[u8], id: u64, mut offset: usize) -> usize {
    while let Some((_, _, length)) = read_header(&frames[offset..]).filter(|(at, ..)| *at < id) {
        offset += HEADER_BYTES + length;
    }
    offset
}

/// Appends the frame of an object that is a single chunk.
pub(super) fn encode_whole(out: &mut Vec<u8>, id: u64, payload: &[u8]) {
    header(out, id, FIRST | LAST, u32::try_from(payload.len()).expect("a chunk is at most 64 KiB"));
    out.extend_from_slice(payload);
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
        Chunk { id, count: 1, first, last, wire: wire.freeze() }
    })
}

/// Reads frames from the bytes of one stream and checks that chunks follow one another.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The object whose further chunks must come next, with the chunks and bytes seen of it.
    open: Option<(u64, u32, usize)>,
    runs: bool,
}

impl Decoder {
    /// A decoder that takes whole small objects which lie one after another together. By default each comes for itself.
    #[must_use]
    pub const fn with_runs() -> Self {
        Self { open: None, runs: true }
    }

    /// Takes the next frame, or run, off the front of `buffer`; `None` means that more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]: the buffer is left as it was; close the stream.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((id, flags, length)) = read_header(buffer) else {
            return Ok(None);
        };
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
        let (mut count, mut bytes) = (1, HEADER_BYTES + length);
        if self.runs && first && last {
            (count, bytes) = run(buffer, id, bytes);
        }
        let wire = buffer.split_to(bytes).freeze();
        Ok(Some(Frame::Chunk(Chunk { id, count, first, last, wire })))
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

/// How many objects the run has that begins with object `id`, whose frame ends at `end`, and where it ends. What does not
/// belong to it is left to be looked at for itself, so nothing is in a run that would not be taken alone.
fn run(buffer: &[u8], id: u64, mut end: usize) -> (u32, usize) {
    let mut count = 1;
    while let Some((next, flags, length)) = read_header(&buffer[end..]) {
        let next_end = end + HEADER_BYTES + length;
        // The last id of all has none after it, and stands alone.
        let follows = next != u64::MAX && id.checked_add(u64::from(count)) == Some(next);
        let whole = flags == FIRST | LAST && length <= CHUNK_BYTES_MAX && next_end <= buffer.len();
        if !follows || !whole || next_end > RUN_BYTES_MAX {
            break;
        }
        (count, end) = (count + 1, next_end);
    }
    (count, end)
}
