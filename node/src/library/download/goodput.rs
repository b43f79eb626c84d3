//! What a source delivers: bytes a second while something is asked of it.

use std::time::{Duration, Instant};

/// A sample takes this much busy time.
const SAMPLE: Duration = Duration::from_millis(100);
/// How fast the average follows a source that became faster, and one that became slower: what is asked of a
/// source that fails has to be taken back soon.
const RISE: Duration = Duration::from_millis(400);
const FALL: Duration = Duration::from_millis(200);

/// An exponentially weighted moving average.
#[derive(Debug, Clone, Default)]
pub(super) struct Goodput {
    rate: Option<f64>,
    sample_bytes: u64,
    sample_time: Duration,
    /// Since when time counts, while it does.
    busy_since: Option<Instant>,
}

impl Goodput {
    /// Bytes came.
    pub(super) const fn add(&mut self, bytes: u32) {
        self.sample_bytes += bytes as u64;
    }

    /// Time passed; from now on it counts or does not.
    pub(super) fn settle(&mut self, now: Instant, busy: bool) {
        if let Some(since) = self.busy_since {
            self.sample_time += now.saturating_duration_since(since);
        }
        self.busy_since = busy.then_some(now);
        if self.sample_time < SAMPLE {
            return;
        }
        let seconds = self.sample_time.as_secs_f64();
        let sample = self.sample_bytes as f64 / seconds;
        self.rate = Some(match self.rate {
            None => sample,
            Some(rate) => {
                let inertia = if sample > rate { RISE } else { FALL };
                sample + (rate - sample) * (-seconds / inertia.as_secs_f64()).exp()
            }
        });
        (self.sample_bytes, self.sample_time) = (0, Duration::ZERO);
    }

    /// Bytes a second, at least 1; nothing before the first sample.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.map(|rate| rate.max(1.0))
    }

    /// How long this many bytes take.
    pub(super) fn time(&self, bytes: u64) -> Option<Duration> {
        self.rate().map(|rate| Duration::from_secs_f64((bytes as f64 / rate).min(1e9)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_busy_time_counts_and_a_drop_shows_soon_d5() {
        let mut now = Instant::now();
        let mut goodput = Goodput::default();
        let mut step = |bytes: u32, busy| {
            goodput.add(bytes);
            now += Duration::from_millis(50);
            goodput.settle(now, busy);
            goodput.rate()
        };
        assert_eq!(step(0, true), None);
        assert_eq!(step(5_000, true), None);
        let near = |rate: Option<f64>, expected: f64| (rate.expect("measured") / expected - 1.0).abs() < 0.01;
        assert!(near(step(5_000, false), 100_000.0));
        // Idle.
        assert!(near(step(0, false), 100_000.0));
        assert!(near(step(0, true), 100_000.0));
        // A quarter of the rate is reached to a tenth within 0.7 s.
        for _ in 0..14 {
            step(1_250, true);
        }
        assert!(step(1_250, true).expect("measured") < 27_500.0);
        for _ in 0..100 {
            step(0, true);
        }
        assert_eq!(step(0, true), Some(1.0));
    }
}
