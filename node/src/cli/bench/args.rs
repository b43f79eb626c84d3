//! The arguments of the bench.

use std::time::Duration;

use banyan_gossip::TrackName;
use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::feed::STAMP_BYTES;
use crate::{
    api::query,
    cli::{
        args::At,
        exit::{Failure, Outcome},
    },
    relay::{Integrity, Mode, OBJECT_BYTES_MAX},
};

/// Most nodes: all their sockets belong to one process.
const NODES_MAX: i64 = 64;
/// Deepest level of a tree unless nodes are told otherwise.
const LEVELS: u16 = 16;
/// Most objects a second that can be asked for.
const RATE_MAX: i64 = 1_000_000;
/// Longest bench, in seconds.
const SECONDS_MAX: f64 = 3600.0;

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Bench {
    /// Start nodes within this process, publish at one and receive at all others.
    #[command(after_help = FANOUT_EXAMPLES)]
    Fanout(Fanout),
    /// Publish numbered objects through the node of this machine.
    #[command(after_help = PUBLISH_EXAMPLES)]
    Publish(Publish),
    /// Receive what `bench publish` publishes, through the node of this machine.
    #[command(after_help = SUBSCRIBE_EXAMPLES)]
    Subscribe(Subscribe),
}

/// What is published.
#[derive(Debug, Clone, Args)]
pub(super) struct Load {
    /// Size of an object: 24 to 16777216 bytes, or 1KiB, 64KiB, 1MiB
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = parse_size)]
    pub(super) size: usize,
    /// Objects a second [default: as fast as the track takes them]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=RATE_MAX))]
    pub(super) rate: Option<u32>,
    /// How long to publish
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    pub(super) seconds: Duration,
    /// What happens to subscribers that cannot keep up: they skip, or the publisher waits
    #[arg(long, value_name = "live|reliable", default_value = "reliable", value_parser = query::parse_mode)]
    pub(super) mode: Mode,
}

#[derive(Debug, Args)]
pub(crate) struct Fanout {
    /// How many nodes to start: one publishes, the others receive
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = value_parser!(u16).range(2..=NODES_MAX))]
    pub(super) nodes: u16,
    /// How many others each feeds at most
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u16).range(1..))]
    pub(super) capacity: u16,
    /// Whether the objects are signed
    #[arg(long, value_name = "signed|none", default_value = "none", value_parser = query::parse_integrity)]
    pub(super) integrity: Integrity,
    #[command(flatten)]
    pub(super) load: Load,
    /// How to report
    #[arg(long, default_value = "table")]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The track, which nobody publishes yet
    pub(super) track: TrackName,
    #[command(flatten)]
    pub(super) at: At,
    #[command(flatten)]
    pub(super) load: Load,
    /// How to report
    #[arg(long, default_value = "table")]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Subscribe {
    /// The track, which need not be published yet
    pub(super) track: TrackName,
    #[command(flatten)]
    pub(super) at: At,
    /// How long to receive, from the first object on
    #[arg(long, value_name = "S", default_value = "10", value_parser = parse_seconds)]
    pub(super) seconds: Duration,
    /// End when no object came for so many seconds
    #[arg(long, value_name = "S", default_value = "30", value_parser = query::parse_timeout)]
    pub(super) timeout: Duration,
    /// How to report
    #[arg(long, default_value = "table")]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people
    Table,
    /// One document
    Json,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan bench fanout                  what this machine can do, by itself
  banyan bench subscribe bench/1       in a mesh that runs: receive, on any machines,
  banyan bench publish bench/1         then publish, on one";

const FANOUT_EXAMPLES: &str = "EXAMPLES:
  banyan bench fanout --nodes 17 --size 64KiB --seconds 10
  banyan bench fanout --nodes 17 --size 1KiB --rate 200
  banyan bench fanout --size 1MiB --mode live --rate 30
  banyan bench fanout --format json | jq .data.latency_ms

All nodes share this process, its processors and its clock. Latency is from just before an object is
given to the publishing node until a receiver has it; without --rate the queues are full, and it says
how long they are. Rates are over the time from the first object sent to the last one received; MB are
10^6 bytes. Memory is the peak of the whole process. Ctrl-C ends it early, with the results so far.

EXIT CODES:
  0 every receiver got every object once, 9 something was lost or doubled";

const PUBLISH_EXAMPLES: &str = "EXAMPLES:
  banyan bench publish bench/1 --size 64KiB --seconds 10
  banyan bench publish bench/1 --size 1KiB --rate 200 --mode live
  banyan bench publish bench/1 --format json | jq .data.mb_per_s

The rate is what the node of this machine took; what arrives is said by `banyan bench subscribe`, which
is best started first. Ctrl-C ends the track early, with the results so far.";

const SUBSCRIBE_EXAMPLES: &str = "EXAMPLES:
  banyan bench subscribe bench/1 --seconds 10
  banyan bench subscribe bench/1 --timeout 5 --format json | jq .data.latency_ms

Between machines latency is only as good as their clocks agree: compare it where they are kept in step,
or run both ends on one machine. It ends with the track, after --seconds, or by Ctrl-C with the results
so far.

EXIT CODES:
  0 everything arrived once, 6 no object came within --timeout, 9 objects were lost or doubled, or the
  origin vanished";

impl Load {
    /// Checks what the arguments say together.
    pub(super) fn check(&self) -> Outcome {
        if self.mode == Mode::Live && self.rate.is_none() {
            let message = "a live track takes everything at once, and subscribers skip what they cannot follow";
            return Err(Failure::usage(message, "name a --rate, or use --mode reliable"));
        }
        Ok(())
    }
}

impl Fanout {
    /// Checks what the arguments say together.
    pub(super) fn check(&self) -> Outcome {
        if self.capacity == 1 && self.nodes > LEVELS + 1 {
            let message = format!("with --capacity 1 the tree is a chain, which has at most {} nodes", LEVELS + 1);
            return Err(Failure::usage(message, "use --capacity 2 or more"));
        }
        self.load.check()
    }
}

/// A size of objects: bytes, or `KiB` or `MiB`, from [`STAMP_BYTES`] to [`OBJECT_BYTES_MAX`].
fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = if let Some(number) = text.strip_suffix("KiB") {
        (number, 1024)
    } else if let Some(number) = text.strip_suffix("MiB") {
        (number, 1024 * 1024)
    } else {
        (text, 1)
    };
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    size.filter(|size| (STAMP_BYTES..=OBJECT_BYTES_MAX).contains(size))
        .ok_or_else(|| format!("it is {STAMP_BYTES} to {OBJECT_BYTES_MAX} bytes, written as 4096, 64KiB or 1MiB"))
}

/// Seconds, more than 0 and at most [`SECONDS_MAX`].
fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= SECONDS_MAX => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("it is a number of seconds, more than 0 and at most {SECONDS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn accepted(line: &str) -> bool {
        let line = format!("banyan bench {line}");
        match Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command) {
            Ok(Command::Bench(Bench::Fanout(args))) => args.check().is_ok(),
            Ok(Command::Bench(Bench::Publish(args))) => args.load.check().is_ok(),
            Ok(Command::Bench(Bench::Subscribe(_))) => true,
            _ => false,
        }
    }

    #[test]
    fn sizes_have_units_and_bounds() {
        for (text, size) in [("24", 24), ("1KiB", 1024), ("64KiB", 65536), ("16MiB", OBJECT_BYTES_MAX)] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "23", "0", "-1", "1.5KiB", "KiB", "1kb", "1 KiB", "17MiB", "16777217", "99999999999999999MiB"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_bounds() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_seconds("3600"), Ok(Duration::from_secs(3600)));
        for text in ["", "0", "-1", "3601", "NaN", "inf", "1s"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn impossible_benches_are_refused_from_both_sides() {
        for possible in [
            "fanout",
            "fanout --nodes 2",
            "fanout --nodes 64",
            "fanout --nodes 17 --capacity 1",
            "fanout --mode live --rate 1",
            "publish a",
            "publish a --rate 1000000",
            "subscribe a",
        ] {
            assert!(accepted(possible), "{possible}");
        }
        for impossible in [
            "",
            "fanout --nodes 1",
            "fanout --nodes 65",
            "fanout --nodes 18 --capacity 1",
            "fanout --capacity 0",
            "fanout --mode live",
            "publish a --mode live",
            "publish a --rate 0",
            "publish a --rate 1000001",
            "publish",
            "subscribe a --format jsonl",
        ] {
            assert!(!accepted(impossible), "{impossible}");
        }
    }
}
