//! What there is to measure, and what came out.

use clap::{Args, Subcommand, ValueEnum, builder::RangedU64ValueParser};
use serde::{Deserialize, Serialize};

use crate::system::ARITY;

/// One piece of work for every system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// Objects as fast as the system takes them.
    Sustained {
        #[command(flatten)]
        load: Load,
    },
    /// Objects at a fixed rate.
    Latency {
        #[command(flatten)]
        load: Load,
        /// Objects a second.
        #[arg(long, default_value_t = 200, value_parser = at_most::<u64>(1_000_000))]
        rate: u64,
    },
    /// Objects at a fixed rate, while a node that feeds others is lost after a quarter of the time.
    Loss {
        #[command(flatten)]
        load: Load,
        /// Objects a second.
        #[arg(long, default_value_t = 200, value_parser = at_most::<u64>(1_000_000))]
        rate: u64,
        /// What happens to the node.
        #[arg(long, default_value = "kill")]
        how: How,
        /// Which node, where the system cannot tell which feeds most.
        #[arg(long, default_value_t = 1, value_parser = at_most::<usize>(RECEIVERS_MAX))]
        victim: usize,
    },
}

/// Most receivers of one run.
pub(crate) const RECEIVERS_MAX: u64 = 256;
/// Largest object, in bytes.
pub(crate) const SIZE_MAX: u64 = 8 << 20;

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Args)]
pub(crate) struct Load {
    /// Number of receivers.
    #[arg(long, default_value_t = 16, value_parser = at_most::<usize>(RECEIVERS_MAX))]
    pub(crate) receivers: usize,
    /// Bytes of an object.
    #[arg(long, default_value_t = 1024, value_parser = at_most::<usize>(SIZE_MAX))]
    pub(crate) size: usize,
    /// How long to send.
    #[arg(long, default_value_t = 5, value_parser = at_most::<u64>(3_600))]
    pub(crate) seconds: u64,
}

/// Parses a number from 1.
#[must_use]
pub(crate) fn at_most<T>(max: u64) -> RangedU64ValueParser<T>
where
    T: TryFrom<u64> + Clone + Send + Sync,
    <T as TryFrom<u64>>::Error: std::error::Error + Send + Sync + 'static,
{
    RangedU64ValueParser::new().range(1..=max)
}

impl Work {
    /// How much there is to do.
    #[must_use]
    pub(crate) const fn load(&self) -> Load {
        match self {
            Self::Sustained { load } | Self::Latency { load, .. } | Self::Loss { load, .. } => *load,
        }
    }

    /// The arguments that give this piece of work.
    #[must_use]
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Load { receivers, size, seconds } = self.load();
        let load = format!("--receivers {receivers} --size {size} --seconds {seconds}");
        let line = match self {
            Self::Sustained { .. } => format!("sustained {load}"),
            Self::Latency { rate, .. } => format!("latency {load} --rate {rate}"),
            Self::Loss { rate, how, victim, .. } => {
                format!("loss {load} --rate {rate} --how {} --victim {victim}", how.name())
            }
        };
        line.split(' ').map(ToOwned::to_owned).collect()
    }

    /// The same work with another node lost in each run: 1, 2, 3, 1, …
    #[must_use]
    pub(crate) fn with_victim_of(self, run: usize) -> Self {
        match self {
            Self::Loss { load, rate, how, .. } => {
                Self::Loss { load, rate, how, victim: (1 + run % ARITY).min(load.receivers) }
            }
            other => other,
        }
    }

    /// The same work whichever node is lost, so that runs can be compared.
    #[must_use]
    pub(crate) const fn without_victim(self) -> Self {
        match self {
            Self::Loss { load, rate, how, .. } => Self::Loss { load, rate, how, victim: 0 },
            other => other,
        }
    }
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Its process is killed.
    Kill,
    /// Its process stands still, and its connections stay open.
    Freeze,
}

impl How {
    /// As an argument.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Freeze => "freeze",
        }
    }
}

/// What came out of a [`Work`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Of [`Work::Sustained`].
    Sustained(Sustained),
    /// Of [`Work::Latency`].
    Latency(Latency),
    /// Of [`Work::Loss`].
    Loss(Loss),
}

/// Rate and price.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sustained {
    /// Objects a second that each receiver got, on average.
    pub(crate) objects_per_s: f64,
    /// Payload a second that each receiver got, in 10⁶ bytes.
    pub(crate) megabytes_per_s: f64,
    /// Share of deliveries that did not happen.
    pub(crate) lost: f64,
    /// Deliveries that happened again.
    pub(crate) doubled: u64,
    /// Processor seconds per GiB of delivered payload.
    pub(crate) cpu_s_per_gib: f64,
    /// Processors that the process kept busy on average: far fewer than there are, and others were at work.
    pub(crate) cores: f64,
    /// Largest memory of the process with all its nodes, in MiB.
    pub(crate) peak_mib: f64,
    /// Bytes on the wire per byte delivered.
    pub(crate) wire_ratio: f64,
    /// Unacknowledged objects that the benchmark allowed, for systems that do not hold back by themselves.
    pub(crate) window: Option<u64>,
}

/// Time from the publisher to a receiver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Median, in µs.
    pub p50_us: f64,
    /// 99th percentile, in µs.
    pub p99_us: f64,
    /// Largest, in µs.
    pub(crate) max_us: f64,
    /// Share of deliveries that did not happen.
    pub(crate) lost: f64,
    /// Bytes on the wire per byte delivered.
    pub(crate) wire_ratio: f64,
}

/// What survivors saw of a loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loss {
    /// Longest time without a new object at any survivor, in ms.
    pub(crate) gap_ms: f64,
    /// Survivors that had no object for ten periods or more.
    pub(crate) hit: f64,
    /// Survivors that got nothing more until the end.
    pub(crate) stranded: f64,
    /// Deliveries to survivors that did not happen.
    pub(crate) lost: f64,
    /// Deliveries to survivors that happened again.
    pub(crate) doubled: f64,
}
