//! How much is taken from whom: the generic cell rate algorithm (ITU-T I.371), which is a token
//! bucket that stores one instant and needs no refilling.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::PeerId;

/// A rate and how much of it may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units a second, on average; at least 1.
    pub per_second: u32,
    /// Units that may come at once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    fn time_of(&self, units: u32) -> Duration {
        Duration::from_secs(1) * units / self.per_second.max(1)
    }
}

/// How far ahead of its rate somebody is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// When everything taken so far has been paid for.
    paid_at: Option<Instant>,
}

impl Pace {
    /// Takes units if the rate allows it.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate, units: u32) -> bool {
        let allowed = self.ready_at(now, rate, units) <= now;
        if allowed {
            self.paid_at = Some(self.paid_at.map_or(now, |at| at.max(now)) + rate.time_of(units));
        }
        allowed
    }

    /// When so many units can be taken; `now` if they can be taken now.
    pub(crate) fn ready_at(&self, now: Instant, rate: Rate, units: u32) -> Instant {
        let Some(paid_at) = self.paid_at else {
            return now;
        };
        // More than the burst is let through from rest, or it would never be.
        let ahead_max = rate.time_of(rate.burst.max(units)) - rate.time_of(units);
        paid_at.checked_sub(ahead_max).map_or(now, |at| at.max(now))
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|at| at <= now)
    }
}

/// What an author publishes, for its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Its own row.
    Row,
    /// Suspicions and deaths of others; who is cut off accuses all of its neighbours at once.
    Accusation,
}

/// Most authors watched at a time, about 100 bytes each.
const AUTHORS_MAX: usize = 16_384;
/// Between two looks for authors who need no watching any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// What every author published lately.
#[derive(Debug, Default)]
pub(crate) struct Authors {
    paces: BTreeMap<PeerId, (Pace, Pace)>,
    sweep_at: Option<Instant>,
}

impl Authors {
    /// Takes an op of an author if the rate of its class allows it.
    pub(crate) fn take(&mut self, now: Instant, author: PeerId, class: Class, rate: Rate) -> bool {
        if self.paces.len() >= AUTHORS_MAX && !self.paces.contains_key(&author) {
            return false;
        }
        self.sweep_at.get_or_insert(now + SWEEP_INTERVAL);
        let (rows, accusations) = self.paces.entry(author).or_default();
        let pace = match class {
            Class::Row => rows,
            Class::Accusation => accusations,
        };
        pace.take(now, rate, 1)
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Forgets authors who are at rest. Costs no more than what they published since.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.paces.retain(|_, (rows, accusations)| !rows.is_at_rest(now) || !accusations.is_at_rest(now));
            self.sweep_at = (!self.paces.is_empty()).then(|| now + SWEEP_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };

    #[test]
    fn the_burst_passes_and_one_more_does_not_e3() {
        let now = Instant::now();
        let mut pace = Pace::default();
        assert!((0..5).all(|_| pace.take(now, RATE, 1)));
        assert!(!pace.take(now, RATE, 1));
        let ready = pace.ready_at(now, RATE, 1);
        assert_eq!(ready - now, Duration::from_millis(100));
        assert!(!pace.take(ready - Duration::from_millis(1), RATE, 1));
        assert!(pace.take(ready, RATE, 1));
    }

    #[test]
    fn in_the_long_run_the_rate_holds() {
        let now = Instant::now();
        let mut pace = Pace::default();
        let taken = (0..10_000).filter(|ms| pace.take(now + Duration::from_millis(*ms), RATE, 1)).count();
        assert!((100..=105).contains(&taken), "{taken}");
    }

    #[test]
    fn classes_and_authors_have_limits_of_their_own() {
        let now = Instant::now();
        let mut authors = Authors::default();
        let [a, b] = [1, 2].map(|byte| PeerId::from_key_bytes([byte; 32]));
        while authors.take(now, a, Class::Row, RATE) {}
        assert!(authors.take(now, a, Class::Accusation, RATE));
        assert!(authors.take(now, b, Class::Row, RATE));
        authors.sweep(now + SWEEP_INTERVAL);
        assert_eq!((authors.paces.len(), authors.deadline()), (0, None));
    }
}
