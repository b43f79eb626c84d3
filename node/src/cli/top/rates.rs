//! Rates from counters that are read again and again.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::views::Track;

/// Rates that are kept, about a second apart.
const POINTS_MAX: usize = 300;
/// Counters that are read sooner than this after one another give no rate.
const EVERY: Duration = Duration::from_millis(900);

/// Counters of a track in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counters {
    epoch: u64,
    /// Bytes in, bytes out, objects in.
    counts: [u64; 3],
}

/// What flows through the node, over all its tracks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    before: Option<(Instant, BTreeMap<String, Counters>)>,
    /// Bytes per second received or published, the oldest first.
    pub(super) bytes_in: VecDeque<u64>,
    /// Bytes per second sent to children.
    pub(super) bytes_out: VecDeque<u64>,
    /// Objects per second received or published at present.
    pub(super) objects_in: f64,
}

impl Rates {
    pub(super) fn take(&mut self, now: Instant, tracks: &[Track]) {
        if self.before.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < EVERY) {
            return;
        }
        let counters = |track: &Track| {
            let here = track.here.as_ref()?;
            let counts = [here.bytes, here.sent_bytes, here.objects];
            Some((track.track.clone(), Counters { epoch: track.epoch, counts }))
        };
        let counted: BTreeMap<String, Counters> = tracks.iter().filter_map(counters).collect();
        if let Some((at, before)) = &self.before {
            let took = now.saturating_duration_since(*at).as_secs_f64();
            let grown = counted.iter().filter_map(|(track, now)| {
                let before = before.get(track).filter(|before| before.epoch == now.epoch)?;
                Some([0, 1, 2].map(|which| now.counts[which].saturating_sub(before.counts[which])))
            });
            let sums = grown.fold([0; 3], |sums, more| [0, 1, 2].map(|which| sums[which] + more[which]));
            let [bytes_in, bytes_out, objects_in] = sums.map(|sum| sum as f64 / took);
            keep(&mut self.bytes_in, bytes_in as u64);
            keep(&mut self.bytes_out, bytes_out as u64);
            self.objects_in = objects_in;
        }
        self.before = Some((now, counted));
    }
}

fn keep(rates: &mut VecDeque<u64>, rate: u64) {
    if rates.len() == POINTS_MAX {
        rates.pop_front();
    }
    rates.push_back(rate);
}
