//! Objects at a fixed rate: how long each takes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{
    fleet::{Fleet, MEASURED},
    inbox::Phase,
    object::STAMP_BYTES,
    outcome::{Latency, Load},
    probe,
    system::{Failure, System},
};

pub(super) async fn run(system: &dyn System, load: Load, rate: u64) -> Result<Latency, Failure> {
    let Load { receivers, size, seconds } = load;
    let size = size.max(STAMP_BYTES);
    let mut fleet = Fleet::start(system, receivers, size).await?;
    fleet.open(MEASURED, true);
    let (wire, objects) = (probe::wire_bytes(), rate * seconds);
    let start = Instant::now();
    for id in 0..objects {
        sleep_until(start + Duration::from_secs_f64(id as f64 / rate as f64)).await;
        fleet.send(MEASURED, id).await?;
    }
    fleet.reach(objects).await;
    let wire = probe::wire_bytes() - wire;
    let found = fleet.close();
    let times = times_ns(&found);
    let at = |share: f64| at_us(&times, share);
    if times.is_empty() {
        return Err("nothing was delivered".into());
    }
    Ok(Latency {
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
        lost: 1.0 - times.len() as f64 / (objects * receivers as u64) as f64,
        wire_ratio: wire as f64 / (times.len() * size) as f64,
    })
}

/// How long each object took to each receiver, the shortest first.
pub(super) fn times_ns(found: &[Phase]) -> Vec<u64> {
    let receipts = found.iter().flat_map(|phase| &phase.receipts);
    let mut times: Vec<u64> = receipts.map(|receipt| receipt.at_ns.saturating_sub(receipt.sent_ns)).collect();
    times.sort_unstable();
    times
}

/// The time at this place of the order, in µs.
pub(super) fn at_us(times_ns: &[u64], share: f64) -> f64 {
    let place = (times_ns.len() as f64 * share) as usize;
    times_ns.get(place.min(times_ns.len().saturating_sub(1))).map_or(f64::NAN, |time| *time as f64 / 1e3)
}
