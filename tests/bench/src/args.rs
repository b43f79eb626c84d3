//! The arguments, parsed once into what they mean.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    outcome::{How, Load, RECEIVERS_MAX, SIZE_MAX, Work, at_most},
    system::System,
    systems::{SYSTEMS, find},
};

/// Banyan measured beside its peers, on the same work.
#[derive(Debug, Parser)]
#[command(name = "bench", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run all systems on all work, print the tables, write the report.
    Run(Run),
    /// Run one system on one piece of work, and print what came out as a line of JSON.
    Case {
        /// The system.
        #[arg(value_parser = system)]
        system: Chosen,
        /// Unacknowledged objects of a sustained run, for systems that do not hold back by themselves [default: looked for]
        #[arg(long, value_parser = at_most::<u64>(1 << 32))]
        window: Option<u64>,
        /// The work.
        #[command(subcommand)]
        work: Work,
    },
    /// Let one child of Banyan stop reading a live track, and print what that did to its siblings, to memory and to itself.
    Stall {
        #[command(flatten)]
        load: Load,
        /// Objects a second.
        #[arg(long, default_value_t = RATE, value_parser = at_most::<u64>(1_000_000))]
        rate: u64,
    },
    /// Write the report from results that were kept.
    Report {
        /// The file `results.json` of an earlier run.
        results: PathBuf,
        /// The folder for `BENCHMARKS.md` and `benchmarks/`.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Be one node of a run; reads commands from standard input.
    #[command(hide = true)]
    Node {
        /// The system.
        #[arg(value_parser = system)]
        system: Chosen,
        /// Place among the nodes; 0 publishes.
        #[arg(long)]
        index: usize,
        /// Bytes of an object.
        #[arg(long, value_parser = at_most::<usize>(SIZE_MAX))]
        size: usize,
        /// How the nodes before this one are reached.
        #[arg(long = "card")]
        cards: Vec<String>,
    },
}

/// A system that exists.
#[derive(Clone, Copy)]
pub(crate) struct Chosen(pub(crate) &'static dyn System);

impl std::fmt::Debug for Chosen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0.name())
    }
}

fn system(name: &str) -> Result<Chosen, String> {
    find(name).map(Chosen)
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    /// The highest rate.
    Sustained,
    /// Latency at a fixed rate.
    Latency,
    /// The loss of a node.
    Loss,
}

/// A run of the whole matrix.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// One receiver count, two sizes, short runs: for work on the code
    #[arg(long)]
    pub(crate) quick: bool,
    /// The systems [default: all]
    #[arg(long, value_delimiter = ',', value_parser = system)]
    pub(crate) systems: Vec<Chosen>,
    /// What to measure [default: all]
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Measure>,
    /// Receivers of the sustained runs [default: 8,16,32; quick: 16]
    #[arg(long, value_delimiter = ',', value_parser = at_most::<usize>(RECEIVERS_MAX))]
    pub(crate) receivers: Vec<usize>,
    /// Bytes of an object of the sustained runs [default: 1024,16384,65536,1048576; quick: 1024,65536]
    #[arg(long, value_delimiter = ',', value_parser = at_most::<usize>(SIZE_MAX))]
    pub(crate) sizes: Vec<usize>,
    /// How long to send in the sustained runs [default: 5; quick: 2]
    #[arg(long, value_parser = at_most::<u64>(3_600))]
    pub(crate) seconds: Option<u64>,
    /// How often to run everything; the median counts [default: 3; quick: 1]
    #[arg(long, value_parser = at_most::<usize>(100))]
    pub(crate) runs: Option<usize>,
    /// Begin no case after so many minutes; what is missing then is left out [default: no limit]
    #[arg(long, value_name = "MINUTES", value_parser = at_most::<u64>(1 << 20))]
    pub(crate) budget: Option<u64>,
    /// A folder for `BENCHMARKS.md` and `benchmarks/` [default: none, tables are only printed]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Receivers of the latency and loss runs.
const RECEIVERS: usize = 16;
/// Bytes of an object of the latency and loss runs.
const SIZE: usize = 1024;
/// Objects a second of the latency and loss runs.
const RATE: u64 = 200;

impl Run {
    /// The systems to measure.
    #[must_use]
    pub(crate) fn systems(&self) -> Vec<&'static dyn System> {
        if self.systems.is_empty() { SYSTEMS.to_vec() } else { self.systems.iter().map(|chosen| chosen.0).collect() }
    }

    /// How often to run everything.
    #[must_use]
    pub(crate) fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// How long cases may be begun.
    #[must_use]
    pub(crate) fn budget(&self) -> Duration {
        self.budget.map_or(Duration::MAX, |minutes| Duration::from_secs(60 * minutes))
    }

    /// The work to do.
    #[must_use]
    pub(crate) fn works(&self) -> Vec<Work> {
        let wants = |measure| self.only.is_empty() || self.only.contains(&measure);
        let or = |given: &Vec<usize>, full: &[usize], quick: &[usize]| match given.is_empty() {
            true if self.quick => quick.to_vec(),
            true => full.to_vec(),
            false => given.clone(),
        };
        let mut works = Vec::new();
        if wants(Measure::Sustained) {
            let seconds = self.seconds.unwrap_or(if self.quick { 2 } else { 5 });
            for receivers in or(&self.receivers, &[8, 16, 32], &[16]) {
                for size in or(&self.sizes, &[1 << 10, 16 << 10, 64 << 10, 1 << 20], &[1 << 10, 64 << 10]) {
                    works.push(Work::Sustained { load: Load { receivers, size, seconds } });
                }
            }
        }
        // A run that is to be shorter is shorter in everything.
        let load = |seconds: u64| {
            let seconds = self.seconds.map_or(seconds, |given| seconds.min(3 * given));
            Load { receivers: RECEIVERS, size: SIZE, seconds }
        };
        if wants(Measure::Latency) {
            works.push(Work::Latency { load: load(if self.quick { 3 } else { 10 }), rate: RATE });
        }
        if wants(Measure::Loss) {
            for how in [How::Kill, How::Freeze] {
                works.push(Work::Loss { load: load(if self.quick { 4 } else { 8 }), rate: RATE, how, victim: 1 });
            }
        }
        works
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_parsed_from_its_own_arguments() {
        let run = Cli::parse_from(["bench", "run"]);
        let Command::Run(run) = run.command else { panic!("it is a run") };
        assert_eq!(run.works().len(), 12 + 1 + 2);
        for work in run.works() {
            let arguments = ["bench", "case", "banyan"].map(ToOwned::to_owned).into_iter().chain(work.arguments());
            let Command::Case { work: parsed, .. } = Cli::parse_from(arguments).command else { panic!("a case") };
            assert_eq!(parsed, work);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for nonsense in ["run --systems x", "run --sizes 0", "case banyan sustained --receivers 0", "run --runs -1", ""]
        {
            assert!(Cli::try_parse_from(["bench"].into_iter().chain(nonsense.split(' '))).is_err(), "{nonsense}");
        }
    }
}
