//! What this process costs, and what it may have.

use std::fs;

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Seconds of processor time used so far, all threads together.
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Most memory that was resident at any time, in bytes; `None` where the system does not say.
pub(super) fn memory_peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Lets this process open as many files as the system allows at all: both ends of every connection are here.
pub(super) fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without it, fewer nodes work.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_grow() {
        let before = cpu_seconds();
        let memory = memory_peak_bytes();
        let sum = (0..1_000_000u64).map(std::hint::black_box).sum::<u64>();
        assert!(sum > 0 && cpu_seconds() > before);
        assert!(memory_peak_bytes() >= memory);
    }
}
