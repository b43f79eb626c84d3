//! How far a node may trust its own judgement.
//!
//! Lifeguard (<https://arxiv.org/abs/1707.00788>, local health multiplier): whoever runs late, is
//! suspected, or suspected somebody wrongly, is likely the slow one, and gives others more time.

use std::time::{Duration, Instant};

/// Worst score; suspicions then last five times as long.
const SCORE_MAX: u32 = 4;
/// A quiet time of this length takes one off the score.
const RECOVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Health {
    /// When the score will be back at zero.
    well_at: Option<Instant>,
}

impl Health {
    /// A sign that this node is slow.
    pub(crate) fn worsen(&mut self, now: Instant) {
        let well_at = self.well_at.map_or(now, |at| at.max(now)) + RECOVERY;
        self.well_at = Some(well_at.min(now + RECOVERY * SCORE_MAX));
    }

    /// What to multiply a suspect's time by; 1 in good health.
    pub(crate) fn multiplier(&self, now: Instant) -> u32 {
        let ill_for = self.well_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let score = ill_for.as_secs_f64() / RECOVERY.as_secs_f64();
        1 + (score.ceil() as u32).min(SCORE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_worsens_to_a_bound_and_comes_back() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.multiplier(now), 1);
        health.worsen(now);
        assert_eq!(health.multiplier(now), 2);
        (0..100).for_each(|_| health.worsen(now));
        assert_eq!(health.multiplier(now), 1 + SCORE_MAX);
        assert_eq!(health.multiplier(now + RECOVERY), SCORE_MAX);
        assert_eq!(health.multiplier(now + RECOVERY * SCORE_MAX), 1);
    }
}
