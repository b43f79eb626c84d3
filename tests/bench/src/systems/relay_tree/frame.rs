//! Frames: a length of 4 bytes, and so many bytes.

use bytes::{BufMut, Bytes, BytesMut};

use crate::system::Failure;

/// Room made for a read.
pub(super) const READ_BYTES: usize = 256 * 1024;
const LENGTH_BYTES: usize = 4;

/// An object as it travels.
pub(super) fn encode(object: &[u8]) -> Result<Bytes, Failure> {
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + object.len());
    frame.put_u32(u32::try_from(object.len())?);
    frame.put_slice(object);
    Ok(frame.freeze())
}

/// Bytes of the frame that starts here, if its length is there.
fn length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<LENGTH_BYTES>()?;
    Some(LENGTH_BYTES + u32::from_be_bytes(*prefix) as usize)
}

/// Bytes of the whole frames at the front.
pub(super) fn whole(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(next) = length(&bytes[end..]).map(|length| end + length)
        && next <= bytes.len()
    {
        end = next;
    }
    end
}

/// Bytes that the frame at the front, which is not whole, lacks.
pub(super) fn missing(bytes: &[u8]) -> usize {
    length(bytes).map_or(0, |length| length.saturating_sub(bytes.len()))
}

/// Calls with the payload of each of these whole frames.
pub(super) fn payloads(mut frames: &[u8], mut take: impl FnMut(&[u8])) {
    while let Some((frame, rest)) = length(frames).and_then(|length| frames.split_at_checked(length)) {
        take(&frame[LENGTH_BYTES..]);
        frames = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_wherever_reads_end() {
        let bytes: Vec<u8> = [&b"one"[..], b"", b"three"].iter().flat_map(|o| encode(o).expect("short")).collect();
        assert_eq!((0..=bytes.len()).map(|end| whole(&bytes[..end])).max(), Some(bytes.len()));
        assert_eq!(whole(&bytes[..10]), 7);
        assert_eq!(missing(&bytes[11..14]), 0, "the length is not known yet");
        assert_eq!(missing(&bytes[11..16]), 4);
        let mut found = Vec::new();
        payloads(&bytes, |payload| found.push(payload.to_vec()));
        assert_eq!(found, [&b"one"[..], b"", b"three"]);
    }
}
