//! How objects are cut from, and written to, a stream of bytes.
//!
//! | framing | publishing | subscribing |
//! |---|---|---|
//! | `bytes` | cut as it is read, never waiting for a full object | payloads, one after the other |
//! | `lines` | an object a line, without its newline; a last line needs none | payload and newline |
//! | `length` | `[length: u32 BE][payload]` | `[object id: u64 BE][length: u32 BE][payload]` |
//!
//! `lines` and `length` give the same objects however the stream is cut into chunks.

use std::{fmt, str::FromStr};

use bytes::{Buf, Bytes, BytesMut};

use crate::relay::OBJECT_BYTES_MAX;

/// Objects of `bytes` framing are at most this long unless told otherwise, in bytes.
pub const OBJECT_BYTES_DEFAULT: usize = 64 * 1024;
/// What stands before a payload in `length` framing when subscribing, in bytes.
pub const HEAD_BYTES: usize = 12;
/// What stands before a payload in `length` framing when publishing, in bytes.
const LENGTH_BYTES: usize = 4;

/// How objects are told apart in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// They are not: payloads follow each other.
    #[default]
    Bytes,
    /// A newline ends each.
    Lines,
    /// Their length stands before each.
    Length,
}

/// A word that is no framing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown framing {0:?}: it is bytes, lines or length")]
pub struct UnknownFraming(String);

impl Framing {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Lines => "lines",
            Self::Length => "length",
        }
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Framing {
    type Err = UnknownFraming;

    fn from_str(text: &str) -> Result<Self, UnknownFraming> {
        match text {
            "bytes" => Ok(Self::Bytes),
            "lines" => Ok(Self::Lines),
            "length" => Ok(Self::Length),
            _ => Err(UnknownFraming(text.chars().take(64).collect())),
        }
    }
}

/// A stream that cannot be cut into objects. The stream is at fault; what was cut before it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// An object is larger than [`OBJECT_BYTES_MAX`].
    #[error("an object of more than 16 MiB")]
    TooLarge,
    /// The stream ends within an object.
    #[error("the stream ends within an object: {missing} bytes are missing")]
    Truncated {
        /// Bytes that should have followed.
        missing: usize,
    },
}

/// Cuts a stream into objects. Holds at most one incomplete object and one chunk.
///
/// Give it a chunk with [`Cutter::push`], take objects with [`Cutter::next_object`] until there are none, and
/// at the end of the stream call [`Cutter::finish`].
#[derive(Debug)]
pub struct Cutter {
    framing: Framing,
    object_bytes: usize,
    /// The start of an object whose end has not been seen.
    held: BytesMut,
    chunk: Bytes,
}

impl Cutter {
    /// A cutter; `object_bytes` (at least 1) bounds the objects of `bytes` framing.
    #[must_use]
    pub fn new(framing: Framing, object_bytes: usize) -> Self {
        let object_bytes = object_bytes.clamp(1, OBJECT_BYTES_MAX);
        Self { framing, object_bytes, held: BytesMut::new(), chunk: Bytes::new() }
    }

    /// Takes the next chunk of the stream. The chunk before must have been used up.
    pub fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "objects are taken before the next chunk is given");
        self.chunk = chunk;
    }

    /// The next object that is complete.
    ///
    /// # Errors
    /// [`FramingError::TooLarge`]: nothing that follows can be cut.
    pub fn next_object(&mut self) -> Result<Option<Bytes>, FramingError> {
        match self.framing {
            Framing::Bytes => Ok(self.next_bytes()),
            Framing::Lines => self.next_line(),
            Framing::Length => self.next_length(),
        }
    }

    /// Ends the stream: the last line, if it has no newline.
    ///
    /// # Errors
    /// [`FramingError::Truncated`] if the stream ends within an object of `length` framing.
    pub fn finish(mut self) -> Result<Option<Bytes>, FramingError> {
        if self.held.is_empty() {
            return Ok(None);
        }
        match self.framing {
            Framing::Bytes | Framing::Lines => Ok(Some(self.held.split().freeze())),
            Framing::Length => {
                let wanted = self.held_length().map_or(LENGTH_BYTES, |length| LENGTH_BYTES + length);
                Err(FramingError::Truncated { missing: wanted.saturating_sub(self.held.len()) })
            }
        }
    }

    fn next_bytes(&mut self) -> Option<Bytes> {
        let length = self.chunk.len().min(self.object_bytes);
        (length > 0).then(|| self.chunk.split_to(length))
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, FramingError> {
        let end = self.chunk.iter().position(|byte| *byte == b'\n');
        let length = end.unwrap_or(self.chunk.len());
        if self.held.len() + length > OBJECT_BYTES_MAX {
            return Err(FramingError::TooLarge);
        }
        let part = self.chunk.split_to(length);
        if end.is_none() {
            self.held.extend_from_slice(&part);
            return Ok(None);
        }
        self.chunk.advance(1);
        if self.held.is_empty() {
            return Ok(Some(part));
        }
        self.held.extend_from_slice(&part);
        Ok(Some(self.held.split().freeze()))
    }

    fn next_length(&mut self) -> Result<Option<Bytes>, FramingError> {
        self.hold_up_to(LENGTH_BYTES);
        let Some(length) = self.held_length() else { return Ok(None) };
        if length > OBJECT_BYTES_MAX {
            return Err(FramingError::TooLarge);
        }
        if self.held.len() == LENGTH_BYTES && self.chunk.len() >= length {
            self.held.clear();
            return Ok(Some(self.chunk.split_to(length)));
        }
        self.hold_up_to(LENGTH_BYTES + length);
        if self.held.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let mut object = self.held.split().freeze();
        object.advance(LENGTH_BYTES);
        Ok(Some(object))
    }

    /// Moves bytes from the chunk until `length` of them are held.
    fn hold_up_to(&mut self, length: usize) {
        let part = length.saturating_sub(self.held.len()).min(self.chunk.len());
        let part = self.chunk.split_to(part);
        self.held.extend_from_slice(&part);
    }

    /// The length that the held bytes start with.
    fn held_length(&self) -> Option<usize> {
        let head = self.held.first_chunk::<LENGTH_BYTES>()?;
        Some(u32::from_be_bytes(*head) as usize)
    }
}

/// What stands before a payload in a subscription with `length` framing.
#[must_use]
pub fn head(object_id: u64, length: usize) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&object_id.to_be_bytes());
    let length = u32::try_from(length).expect("objects are at most 16 MiB");
    head[8..].copy_from_slice(&length.to_be_bytes());
    head
}

/// Reads a subscription with `length` framing. Holds at most one incomplete object and one chunk.
#[derive(Debug, Default)]
pub struct ObjectReader {
    buffer: BytesMut,
}

impl ObjectReader {
    /// Takes the next chunk of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next object that is complete, with its id.
    ///
    /// # Errors
    /// [`FramingError::TooLarge`]: nothing that follows can be read.
    pub fn next_object(&mut self) -> Result<Option<(u64, Bytes)>, FramingError> {
        let Some(head) = self.buffer.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let (id, length) = head.split_at(8);
        let id = u64::from_be_bytes(id.try_into().expect("eight bytes were split off"));
        let length = u32::from_be_bytes(length.try_into().expect("four bytes are left")) as usize;
        if length > OBJECT_BYTES_MAX {
            return Err(FramingError::TooLarge);
        }
        if self.buffer.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD_BYTES);
        Ok(Some((id, self.buffer.split_to(length).freeze())))
    }

    /// Whether the stream ends here without cutting an object short.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
