//! What is published: objects that say which run of the publisher they belong to, their number, and
//! when they were sent.

use bytes::{BufMut, Bytes, BytesMut};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of an object that the stamp takes.
pub(crate) const STAMP_BYTES: usize = 24;

/// The first bytes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The publisher's run; receivers count one at a time.
    pub(crate) phase: u64,
    /// Number within the phase, from 0, +1 each.
    pub(crate) id: u64,
    /// [`now_ns`] at the publisher.
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Reads it; `None` if the object is too short to have one.
    #[must_use]
    pub(crate) fn read(object: &[u8]) -> Option<Self> {
        let word = |index: usize| {
            let bytes = object.get(8 * index..8 * index + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        Some(Self { phase: word(0)?, id: word(1)?, sent_ns: word(2)? })
    }
}

/// Makes objects of one size, filled with noise that no system can compress.
#[derive(Debug)]
pub(crate) struct Press {
    filling: Vec<u8>,
}

impl Press {
    /// Objects of `size` bytes, at least a stamp.
    #[must_use]
    pub(crate) fn new(size: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_be_bytes()[0]
        });
        Self { filling: noise.take(size.saturating_sub(STAMP_BYTES)).collect() }
    }

    /// The next object, stamped with the present time.
    #[must_use]
    pub(crate) fn object(&self, phase: u64, id: u64) -> Bytes {
        let mut object = BytesMut::with_capacity(STAMP_BYTES + self.filling.len());
        object.put_u64(phase);
        object.put_u64(id);
        object.put_u64(now_ns());
        object.put_slice(&self.filling);
        object.freeze()
    }
}

/// Nanoseconds of a clock that all processes of this machine share.
#[must_use]
pub(crate) fn now_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds of processor time that this process used so far, all threads together.
#[must_use]
pub(crate) fn cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_is_read_back_and_short_objects_have_none() {
        let object = Press::new(100).object(3, 7);
        assert_eq!(object.len(), 100);
        let stamp = Stamp::read(&object).expect("it is long enough");
        assert_eq!((stamp.phase, stamp.id), (3, 7));
        assert_eq!(Stamp::read(&object[..23]), None);
        assert_eq!(Press::new(0).object(0, 0).len(), STAMP_BYTES);
    }
}
