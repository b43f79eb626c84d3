//! Frames between the two ends of a [`Link`](super::Link): `[kind: u8][body]`, numbers big-endian. The
//! table stands in `docs/PROTOCOL.md`.
//!
//! A direction of a stream is called by its sender's *channel*: the index of the stream at the sender in
//! the low 12 bits, and above them which life of that index it is. A frame of a former life names a
//! channel that its reader no longer knows.

use bytes::{Buf, BufMut, BytesMut};

use super::{STREAMS_MAX, StreamId};

/// Largest payload of one data frame, in bytes. A longer message is cut, so that it shares the link.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024;
/// Bytes before the payload of a data frame.
pub const DATA_HEADER_BYTES: usize = 11;

const FIRST: u8 = 0x01;
const LAST: u8 = 0x02;
const INDEX_BITS: u32 = 12;
const _: () = assert!(STREAMS_MAX == 1 << INDEX_BITS, "an index fills its bits");

/// A direction of one life of a stream, as its sender calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel(u32);

impl Channel {
    /// The channel of a life of an index below [`STREAMS_MAX`]. The life's upper bits are lost; by then
    /// both ends have long let go of the life with the same lower ones.
    #[expect(clippy::cast_possible_truncation, reason = "only the low bits fit")]
    pub(super) fn new(index: u16, life: u64) -> Self {
        Self(((life as u32) << INDEX_BITS) | u32::from(index))
    }

    /// Below [`STREAMS_MAX`].
    pub(super) const fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A piece of a message.
    Data {
        /// The direction.
        channel: Channel,
        /// The low bits of the message's number.
        seq: u32,
        /// Whether it is the message's first piece.
        first: bool,
        /// Whether it is the message's last piece.
        last: bool,
        /// At most [`CHUNK_BYTES_MAX`] bytes that follow the frame: take them off the buffer.
        length: usize,
    },
    /// A direction begins.
    Open {
        /// The direction.
        channel: Channel,
        /// The stream.
        id: StreamId,
        /// Whether it is reliable.
        reliable: bool,
        /// The window that its sender asks for.
        window: u32,
        /// How far it may be raised.
        window_max: u32,
    },
    /// So many on-wire bytes may be sent in the direction's life.
    Grant {
        /// The direction that may send.
        channel: Channel,
        /// The absolute number of bytes.
        limit: u64,
    },
    /// All that may be sent was sent; the sender wants to reach this number of bytes.
    Blocked {
        /// The direction.
        channel: Channel,
        /// The absolute number of bytes.
        wanted: u64,
    },
    /// The sender of this frame ends the stream, both directions.
    Close {
        /// The stream.
        id: StreamId,
        /// What came and is unread is to be dropped.
        drop: bool,
    },
    /// The answer to a close: the id is free again.
    Closed {
        /// The stream.
        id: StreamId,
    },
    /// The answer to an open: there is no room for the stream.
    Refuse {
        /// The direction that was opened.
        channel: Channel,
    },
}

/// Bytes that are no frame. The sender is at fault; the link cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that means nothing.
    #[error("unknown kind of frame {0:#04x}")]
    UnknownKind(u8),
    /// A payload over [`CHUNK_BYTES_MAX`].
    #[error("payload of {0} bytes is over the limit of 32 KiB")]
    TooLong(usize),
    /// A byte that is neither 0 nor 1.
    #[error("neither yes nor no: {0:#04x}")]
    NotABool(u8),
}

/// On-wire bytes of a message of this length, all its frames together.
#[must_use]
pub fn message_bytes(length: usize) -> u64 {
    (length + length.div_ceil(CHUNK_BYTES_MAX).max(1) * DATA_HEADER_BYTES) as u64
}

impl Frame {
    /// Takes the next frame off the front of `buffer`, of a data frame all but the payload; `None`: more bytes
    /// are needed, and nothing was taken. A data frame is taken only if its payload is there too.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let mut head = &buffer[..];
        let frame = Self::read(&mut head)?;
        if frame.is_some() {
            let taken = buffer.len() - head.len();
            buffer.advance(taken);
        }
        Ok(frame)
    }

    fn read(head: &mut &[u8]) -> Result<Option<Self>, FrameError> {
        let Ok(kind) = head.try_get_u8() else { return Ok(None) };
        let body_bytes = match kind {
            0..=3 => DATA_HEADER_BYTES - 1,
            0x80 => 21,
            0x81 | 0x82 => 12,
            0x83 => 9,
            0x84 => 8,
            0x85 => 4,
            _ => return Err(FrameError::UnknownKind(kind)),
        };
        if head.len() < body_bytes {
            return Ok(None);
        }
        let frame = match kind {
            0x80 => Self::Open {
                channel: Channel(head.get_u32()),
                id: StreamId(head.get_u64()),
                reliable: read_bool(head)?,
                window: head.get_u32(),
                window_max: head.get_u32(),
            },
            0x81 => Self::Grant { channel: Channel(head.get_u32()), limit: head.get_u64() },
            0x82 => Self::Blocked { channel: Channel(head.get_u32()), wanted: head.get_u64() },
            0x83 => Self::Close { id: StreamId(head.get_u64()), drop: read_bool(head)? },
            0x84 => Self::Closed { id: StreamId(head.get_u64()) },
            0x85 => Self::Refuse { channel: Channel(head.get_u32()) },
            _ => {
                let (channel, seq, length) = (Channel(head.get_u32()), head.get_u32(), usize::from(head.get_u16()));
                if length > CHUNK_BYTES_MAX {
                    return Err(FrameError::TooLong(length));
                }
                if head.len() < length {
                    return Ok(None);
                }
                Self::Data { channel, seq, first: kind & FIRST != 0, last: kind & LAST != 0, length }
            }
        };
        Ok(Some(frame))
    }

    /// Appends the frame, of a data frame all but the payload.
    pub fn encode(&self, out: &mut BytesMut) {
        match *self {
            Self::Data { channel, seq, first, last, length } => {
                out.put_u8(if first { FIRST } else { 0 } | if last { LAST } else { 0 });
                out.put_u32(channel.0);
                out.put_u32(seq);
                out.put_u16(u16::try_from(length).expect("a chunk is at most 32 KiB"));
            }
            Self::Open { channel, id, reliable, window, window_max } => {
                out.put_u8(0x80);
                out.put_u32(channel.0);
                out.put_u64(id.0);
                out.put_u8(u8::from(reliable));
                out.put_u32(window);
                out.put_u32(window_max);
            }
            Self::Grant { channel, limit } => {
                out.put_u8(0x81);
                out.put_u32(channel.0);
                out.put_u64(limit);
            }
            Self::Blocked { channel, wanted } => {
                out.put_u8(0x82);
                out.put_u32(channel.0);
                out.put_u64(wanted);
            }
            Self::Close { id, drop } => {
                out.put_u8(0x83);
                out.put_u64(id.0);
                out.put_u8(u8::from(drop));
            }
            Self::Closed { id } => {
                out.put_u8(0x84);
                out.put_u64(id.0);
            }
            Self::Refuse { channel } => {
                out.put_u8(0x85);
                out.put_u32(channel.0);
            }
        }
    }
}

fn read_bool(head: &mut &[u8]) -> Result<bool, FrameError> {
    match head.get_u8() {
        byte @ 0..=1 => Ok(byte == 1),
        other => Err(FrameError::NotABool(other)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::batch::{Batch, COPY_BELOW_BYTES};

    fn frames() -> Vec<Frame> {
        let (channel, id) = (Channel::new(4095, u64::MAX), StreamId(u64::MAX - 1));
        vec![
            Frame::Data { channel, seq: 7, first: true, last: false, length: 3 },
            Frame::Open { channel, id, reliable: true, window: 1, window_max: 2 },
            Frame::Grant { channel, limit: 1 << 40 },
            Frame::Blocked { channel, wanted: 1 << 41 },
            Frame::Close { id, drop: true },
            Frame::Closed { id },
            Frame::Refuse { channel },
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut() {
        for frame in frames() {
            let payload: &[u8] = if matches!(frame, Frame::Data { .. }) { b"abc" } else { b"" };
            let mut wire = BytesMut::new();
            frame.encode(&mut wire);
            wire.extend_from_slice(payload);
            for cut in 0..wire.len() {
                let mut part = BytesMut::from(&wire[..cut]);
                assert_eq!(Frame::decode(&mut part), Ok(None), "{frame:?} at {cut}");
                assert_eq!(part.len(), cut, "nothing is taken");
            }
            assert_eq!(Frame::decode(&mut wire), Ok(Some(frame)));
            assert_eq!(wire, payload);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = BytesMut::from_iter((0..rng.usize(..64)).map(|_| rng.u8(..)));
            if let Some(kind) = bytes.first_mut() {
                *kind &= 0x87;
            }
            while let Ok(Some(frame)) = Frame::decode(&mut bytes) {
                if let Frame::Data { length, .. } = frame {
                    bytes.advance(length);
                }
            }
        }
    }

    #[test]
    fn a_batch_holds_all_bytes_in_order_and_large_payloads_by_reference() {
        let mut batch = Batch::default();
        let large = Bytes::from(vec![9; COPY_BELOW_BYTES]);
        let channel = Channel::new(1, 1);
        for payload in [Bytes::from_static(b"small"), large.clone(), Bytes::new()] {
            let frame = Frame::Data { channel, seq: 0, first: true, last: true, length: payload.len() };
            batch.encode(|out| frame.encode(out));
            batch.push(&payload);
        }
        let bytes = batch.len();
        let parts = batch.take();
        assert!(batch.is_empty());
        assert_eq!(parts.iter().map(Bytes::len).sum::<usize>(), bytes);
        assert_eq!(parts[1].as_ptr(), large.as_ptr());
        assert_eq!(message_bytes(5) + message_bytes(COPY_BELOW_BYTES) + message_bytes(0), bytes as u64);
    }
}
