//! Counts of numbers in buckets whose width grows with the numbers: quantiles to 1.6 %, in 30 KiB.

/// Buckets for each doubling, as a power of two.
const BITS: u32 = 6;
/// Buckets for all numbers of 64 bits.
const BUCKETS: usize = (64 - BITS as usize + 1) << BITS;

/// A histogram.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// Adds what another has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The number that so many percent are not above, by nearest rank; `None` if nothing was recorded.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = u64::try_from((u128::from(self.total) * u128::from(percent)).div_ceil(100)).ok()?.max(1);
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(greatest(found).min(self.max))
    }

    /// The greatest number.
    pub(super) fn max(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }
}

fn bucket(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (value >> shift) as usize
}

/// The greatest number of a bucket.
fn greatest(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    let value = (bucket - (shift << BITS)) as u64;
    (value << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(50), histogram.max()), (None, None));
        for value in (1..=60).rev() {
            histogram.record(value);
        }
        assert_eq!([0, 50, 99, 100].map(|percent| histogram.percentile(percent)), [1, 30, 60, 60].map(Some));
        let mut other = Histogram::default();
        other.record(1_000_000);
        other.merge(&histogram);
        assert_eq!(
            (other.percentile(50), other.percentile(100), other.max()),
            (Some(31), Some(1_000_000), Some(1_000_000))
        );
    }

    proptest! {
        #[test]
        fn buckets_are_narrow_and_cover_every_number(value: u64) {
            let top = greatest(bucket(value));
            prop_assert!(bucket(value) < BUCKETS);
            prop_assert!(top >= value && top - value <= value >> BITS);
            prop_assert_eq!(bucket(top), bucket(value));
        }
    }

    #[test]
    fn ends_of_the_range_have_buckets() {
        assert_eq!((bucket(0), greatest(0)), (0, 0));
        assert_eq!((bucket(u64::MAX), greatest(BUCKETS - 1)), (BUCKETS - 1, u64::MAX));
    }
}
