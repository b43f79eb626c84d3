//! Medians over runs.

use std::collections::BTreeMap;

use super::Results;
use crate::outcome::{How, Latency, Loss, Outcome, Sustained, Work};

/// What every system came to on every piece of work.
pub(super) struct Summary {
    /// Names, in the order of the tables.
    pub(super) systems: Vec<&'static str>,
    cases: BTreeMap<(String, Work), Vec<Outcome>>,
}

impl Summary {
    pub(super) fn new(results: &Results) -> Self {
        let mut cases: BTreeMap<_, Vec<Outcome>> = BTreeMap::new();
        for entry in &results.entries {
            let outcomes = cases.entry((entry.system.clone(), entry.work.without_victim())).or_default();
            outcomes.extend(entry.outcome.clone().ok());
        }
        Self { systems: results.systems().iter().map(|system| system.name()).collect(), cases }
    }

    /// All pieces of work, in order.
    pub(super) fn works(&self) -> Vec<Work> {
        let mut works: Vec<Work> = self.cases.keys().map(|(_, work)| *work).collect();
        works.sort();
        works.dedup();
        works
    }

    /// Receiver counts of the sustained runs.
    pub(super) fn receivers(&self) -> Vec<usize> {
        let mut counts: Vec<usize> = self.sustained_works().map(|work| work.load().receivers).collect();
        counts.dedup();
        counts
    }

    /// The sustained runs with so many receivers, by size.
    pub(super) fn sizes(&self, receivers: usize) -> Vec<Work> {
        self.sustained_works().filter(|work| work.load().receivers == receivers).collect()
    }

    fn sustained_works(&self) -> impl Iterator<Item = Work> {
        self.works().into_iter().filter(|work| matches!(work, Work::Sustained { .. }))
    }

    /// The latency run, if there is one.
    pub(super) fn latency_work(&self) -> Option<Work> {
        self.works().into_iter().find(|work| matches!(work, Work::Latency { .. }))
    }

    /// The run in which a node is lost like this, if there is one.
    pub(super) fn loss_work(&self, wanted: How) -> Option<Work> {
        self.works().into_iter().find(|work| matches!(work, Work::Loss { how, .. } if *how == wanted))
    }

    fn outcomes<T>(&self, system: &str, work: Work, pick: impl Fn(&Outcome) -> Option<&T>) -> Vec<&T> {
        let outcomes = self.cases.get(&(system.to_owned(), work));
        outcomes.into_iter().flatten().filter_map(pick).collect()
    }

    pub(super) fn sustained(&self, system: &str, work: Work) -> Option<Sustained> {
        let found = self.outcomes(system, work, |outcome| match outcome {
            Outcome::Sustained(found) => Some(found),
            _ => None,
        });
        Some(Sustained {
            objects_per_s: median(&found, |one| one.objects_per_s)?,
            megabytes_per_s: median(&found, |one| one.megabytes_per_s)?,
            lost: median(&found, |one| one.lost)?,
            doubled: found.iter().map(|one| one.doubled).max()?,
            cpu_s_per_gib: median(&found, |one| one.cpu_s_per_gib)?,
            cores: median(&found, |one| one.cores)?,
            peak_mib: median(&found, |one| one.peak_mib)?,
            wire_ratio: median(&found, |one| one.wire_ratio)?,
            window: found.first()?.window,
        })
    }

    pub(super) fn latency(&self, system: &str) -> Option<Latency> {
        let found = self.outcomes(system, self.latency_work()?, |outcome| match outcome {
            Outcome::Latency(found) => Some(found),
            _ => None,
        });
        Some(Latency {
            p50_us: median(&found, |one| one.p50_us)?,
            p99_us: median(&found, |one| one.p99_us)?,
            max_us: median(&found, |one| one.max_us)?,
            lost: median(&found, |one| one.lost)?,
            wire_ratio: median(&found, |one| one.wire_ratio)?,
        })
    }

    /// The medians, and the longest gap of all runs.
    pub(super) fn loss(&self, system: &str, how: How) -> Option<(Loss, f64)> {
        let found = self.outcomes(system, self.loss_work(how)?, |outcome| match outcome {
            Outcome::Loss(found) => Some(found),
            _ => None,
        });
        let loss = Loss {
            gap_ms: median(&found, |one| one.gap_ms)?,
            hit: median(&found, |one| one.hit)?,
            stranded: median(&found, |one| one.stranded)?,
            lost: median(&found, |one| one.lost)?,
            doubled: median(&found, |one| one.doubled)?,
        };
        Some((loss, found.iter().map(|one| one.gap_ms).fold(0.0, f64::max)))
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median<T>(all: &[&T], value: impl Fn(&T) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = all.iter().map(|one| value(one)).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_in_the_middle() {
        let of = |values: &[f64]| median(&values.iter().collect::<Vec<_>>(), |value| *value);
        assert_eq!((of(&[]), of(&[3.0, 1.0, 2.0]), of(&[4.0, 1.0])), (None, Some(2.0), Some(2.5)));
    }
}
