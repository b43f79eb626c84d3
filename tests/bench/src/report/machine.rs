//! Where the benchmark ran, and with which packages.

use std::{fmt, fs};

use serde::{Deserialize, Serialize};

/// The lock file that this program was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// A machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    cores: usize,
    processor: String,
    kernel: String,
    memory_gib: u64,
}

impl Machine {
    /// This machine.
    pub(super) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':'))
                .map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let kibibytes = value(&memory, "MemTotal").split(' ').next().and_then(|number| number.parse::<u64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: value(&processors, "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_gib: kibibytes.unwrap_or(0).div_ceil(1 << 20),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, kernel, memory_gib } = self;
        write!(out, "{cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}")
    }
}

/// A package with its version.
pub(super) fn version(package: &str) -> String {
    let start = format!("name = \"{package}\"\nversion = \"");
    let version = LOCK.split_once(&start).and_then(|(_, rest)| rest.split('"').next());
    format!("{package} {}", version.unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::SYSTEMS;

    #[test]
    fn every_package_has_a_version() {
        for package in SYSTEMS.iter().flat_map(|system| system.packages()) {
            assert!(!version(package).ends_with('?'), "{package}");
        }
    }
}
