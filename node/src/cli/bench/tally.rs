//! What a receiver got.

use super::{feed::Stamp, histogram::Histogram};

/// The objects that came, told by their stamps. The greatest number of a run counts; what is skipped is
/// lost, what is not above it came again, or late.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Objects, none twice.
    pub(super) objects: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Objects skipped since the first that came.
    pub(super) lost: u64,
    pub(super) doubled: u64,
    /// Objects whose stamp lies in the future: the clocks of the two ends differ.
    pub(super) early: u64,
    /// Nanoseconds under way.
    pub(super) latency: Histogram,
    /// When the first object came, if any did.
    pub(super) first_ns: Option<u64>,
    /// When the last object came.
    pub(super) last_ns: u64,
    /// The run that is counted and the number that comes next.
    pub(super) next: Option<(u32, u64)>,
}

impl Tally {
    /// Counts an object; `false` if it is none of a bench.
    pub(super) fn take(&mut self, now_ns: u64, object: &[u8]) -> bool {
        let Some(stamp) = Stamp::read(object) else { return false };
        let expected = self.next.filter(|(run, _)| *run == stamp.run).map_or(stamp.number, |(_, number)| number);
        if stamp.number < expected {
            self.doubled += 1;
            return true;
        }
        self.lost = self.lost.saturating_add(stamp.number - expected);
        self.next = Some((stamp.run, stamp.number.saturating_add(1)));
        self.objects += 1;
        self.bytes += object.len() as u64;
        self.early += u64::from(stamp.sent_ns > now_ns);
        self.latency.record(now_ns.saturating_sub(stamp.sent_ns));
        self.first_ns.get_or_insert(now_ns);
        self.last_ns = now_ns;
        true
    }

    /// Adds what another receiver has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.lost = self.lost.saturating_add(other.lost);
        self.doubled += other.doubled;
        self.early += other.early;
        self.latency.merge(&other.latency);
        self.first_ns = self.first_ns.into_iter().chain(other.first_ns).min();
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(run: u32, number: u64, sent_ns: u64) -> Vec<u8> {
        [&b"bnch"[..], &run.to_be_bytes(), &number.to_be_bytes(), &sent_ns.to_be_bytes(), &[0; 8]].concat()
    }

    #[test]
    fn lost_and_doubled_are_told_by_numbers() {
        let mut tally = Tally::default();
        for number in [3, 4, 4, 7, 5, 8] {
            assert!(tally.take(50, &object(1, number, 40)));
        }
        assert_eq!((tally.objects, tally.bytes, tally.lost, tally.doubled), (4, 128, 2, 2));
        assert_eq!(tally.latency.max(), Some(10));
        assert!(!tally.take(50, b"something else"));
        assert!(tally.take(60, &object(1, u64::MAX, 40)), "no number is too great");
    }

    #[test]
    fn numbers_of_another_run_start_anew() {
        let mut tally = Tally::default();
        for (run, number) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
            tally.take(5, &object(run, number, 5));
        }
        assert_eq!((tally.objects, tally.lost, tally.doubled), (4, 0, 0));
    }

    #[test]
    fn stamps_from_the_future_are_told() {
        let mut tally = Tally::default();
        tally.take(10, &object(1, 0, 20));
        tally.take(30, &object(1, 1, 20));
        assert_eq!((tally.early, tally.latency.max(), tally.first_ns, tally.last_ns), (1, Some(10), Some(10), 30));
    }
}
