//! Objects as fast as the system takes them.

use std::time::{Duration, Instant};

use crate::{
    fleet::{Fleet, MEASURED},
    object::{STAMP_BYTES, cpu_ns, now_ns},
    outcome::{Load, Sustained},
    probe,
    system::{Failure, System},
};

/// Share of deliveries that may be lost where a window is looked for.
const LOST_MAX: f64 = 0.001;
/// Share of the best rate below which no larger window is tried.
const ENOUGH: f64 = 0.8;
/// How long a window is tried.
const TRIAL: Duration = Duration::from_millis(700);
/// Windows that are tried, in bytes; at least one object each.
const WINDOWS: [usize; 6] = [16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20];
const GIB: f64 = (1u64 << 30) as f64;

/// What a burst came to.
struct Burst {
    per_s: f64,
    took_s: f64,
    sent: u64,
    delivered: u64,
}

impl Burst {
    fn lost(&self, receivers: usize) -> f64 {
        1.0 - self.delivered as f64 / (self.sent * receivers as u64).max(1) as f64
    }
}

pub(super) async fn run(system: &dyn System, load: Load, known: Option<u64>) -> Result<Sustained, Failure> {
    let Load { receivers, size, seconds } = load;
    let size = size.max(STAMP_BYTES);
    let mut fleet = Fleet::start(system, receivers, size).await?;
    let mut phase = MEASURED;
    let window = match (system.has_pressure(), known) {
        (true, _) => None,
        (false, Some(window)) => Some(window),
        (false, None) => Some(best_window(&mut fleet, &mut phase, size).await?),
    };
    probe::reset_peak();
    let (cpu, wire) = (cpu_ns(), probe::wire_bytes());
    let burst = burst(&mut fleet, phase, window, Duration::from_secs(seconds)).await?;
    let (cpu, wire) = (cpu_ns() - cpu, probe::wire_bytes() - wire);
    let bytes = (burst.delivered * size as u64) as f64;
    if bytes == 0.0 {
        return Err("nothing was delivered".into());
    }
    Ok(Sustained {
        objects_per_s: burst.per_s,
        megabytes_per_s: burst.per_s * size as f64 / 1e6,
        lost: burst.lost(receivers),
        doubled: fleet.close().iter().map(|phase| phase.doubled).sum(),
        cpu_s_per_gib: cpu as f64 / 1e9 / (bytes / GIB),
        cores: cpu as f64 / 1e9 / burst.took_s,
        peak_mib: probe::peak_bytes() as f64 / f64::from(1 << 20),
        wire_ratio: wire as f64 / bytes,
        window,
    })
}

/// The window with the highest rate among those that lose next to nothing.
async fn best_window(fleet: &mut Fleet, phase: &mut u64, size: usize) -> Result<u64, Failure> {
    let mut windows: Vec<u64> = WINDOWS.iter().map(|bytes| (bytes / size).max(1) as u64).collect();
    windows.dedup();
    let (mut best, mut best_rate) = (windows[0], 0.0);
    for window in windows {
        let burst = burst(fleet, *phase, Some(window), TRIAL).await?;
        *phase += 1;
        // Beyond its best a system only fills its queues, which the next trial would have to wait for.
        if burst.lost(fleet.receivers()) > LOST_MAX || burst.per_s < ENOUGH * best_rate {
            break;
        }
        if burst.per_s > best_rate {
            (best, best_rate) = (window, burst.per_s);
        }
    }
    Ok(best)
}

/// Sends for a while, and waits for what is on its way.
async fn burst(fleet: &mut Fleet, phase: u64, window: Option<u64>, duration: Duration) -> Result<Burst, Failure> {
    fleet.open(phase, false);
    let (start, start_ns) = (Instant::now(), now_ns());
    // What is lost must not hold up the publisher for ever.
    let (mut sent, mut given_up) = (0u64, 0u64);
    while start.elapsed() < duration {
        if let Some(window) = window {
            let due = (sent + 1).saturating_sub(window + given_up);
            if due > fleet.slowest() && !fleet.reach(due).await {
                given_up = given_up.max(sent.saturating_sub(fleet.slowest()));
            }
        }
        fleet.send(phase, sent).await?;
        sent += 1;
    }
    fleet.reach(sent).await;
    let delivered = fleet.delivered();
    let took_s = fleet.last_ns().saturating_sub(start_ns).max(1) as f64 / 1e9;
    let per_s = delivered as f64 / fleet.receivers().max(1) as f64 / took_s;
    Ok(Burst { per_s, took_s, sent, delivered })
}
