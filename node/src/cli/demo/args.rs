//! The arguments of the demo.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::exit::{Failure, Outcome};

/// Most nodes: each is a process with sockets and threads of its own.
const NODES_MAX: i64 = 64;
/// Deepest level of a tree unless nodes are told otherwise.
const LEVELS: u16 = 16;
/// Nodes that are never killed: the publisher and two that receive.
const SPARED: u16 = 3;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many nodes to start
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u16).range(3..=NODES_MAX))]
    pub(super) nodes: u16,
    /// How many others each feeds at most
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) capacity: u16,
    /// How many relays to kill; from two on, the last is the bootstrap node
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(super) kill: u16,
    /// How they fail: killed with SIGKILL, or stopped with SIGSTOP, as if their hosts were cut off
    #[arg(long, value_name = "HOW", default_value = "kill")]
    pub(super) by: Blow,
    /// Objects generated a second
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "input", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) rate: u32,
    /// Bytes of an object
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(super) size: u32,
    /// What to stream [default: generated objects]
    #[arg(long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// How long to stream
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) seconds: u32,
    /// How to report
    #[arg(long, default_value = "text")]
    pub(super) format: ReportFormat,
    /// Keep the folder with the logs of the nodes
    #[arg(long, hide = true)]
    pub(super) keep: bool,
}

/// How a relay fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Blow {
    /// SIGKILL: the system closes its connections
    Kill,
    /// SIGSTOP: it falls silent, its connections stay
    Freeze,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people, with drawings
    Text,
    /// One document; what happens meanwhile goes to standard error
    Json,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan demo
  banyan demo --nodes 20 --capacity 3 --kill 5 --seconds 20
  banyan demo --nodes 16 --capacity 3 --kill 1 --by freeze --rate 200 --size 1024
  banyan demo --input video.ts --seconds 30
  banyan demo --kill 3 --format json | jq .data.repair_ms

EXIT CODES:
  0 every surviving node received every byte, 9 something is missing";

impl Args {
    /// Checks what the arguments say together.
    pub(super) fn check(&self) -> Outcome {
        let killable = self.nodes.saturating_sub(SPARED);
        if self.kill > killable {
            let message = format!("of {} nodes at most {killable} can be killed, not {}", self.nodes, self.kill);
            return Err(Failure::usage(message, "two must be left to receive: use more --nodes or less --kill"));
        }
        if self.capacity == 1 && self.nodes > LEVELS + 1 {
            let message = format!("with --capacity 1 the tree is a chain, which has at most {} nodes", LEVELS + 1);
            return Err(Failure::usage(message, "use --capacity 2 or more"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::args::{Cli, Command};

    fn accepted(line: &str) -> bool {
        let line = format!("banyan demo {line}");
        match Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command) {
            Ok(Command::Demo(args)) => args.check().is_ok(),
            _ => false,
        }
    }

    #[test]
    fn impossible_demos_are_refused_from_both_sides() {
        for possible in ["", "--nodes 3 --kill 0", "--nodes 12 --kill 9", "--nodes 17 --capacity 1", "--seconds 1"] {
            assert!(accepted(possible), "{possible}");
        }
        for impossible in ["--nodes 3", "--nodes 2 --kill 0", "--nodes 12 --kill 10", "--nodes 18 --capacity 1"] {
            assert!(!accepted(impossible), "{impossible}");
        }
        for impossible in ["--nodes 65", "--capacity 0", "--seconds 0", "--kill -1", "--format xml"] {
            assert!(!accepted(impossible), "{impossible}");
        }
    }
}
