//! The report: tables, plots, and what is needed to judge and repeat them.

mod machine;
mod plots;
mod summary;
mod tables;

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    matrix::Entry,
    system::{Failure, System},
    systems::SYSTEMS,
};

use self::{machine::Machine, summary::Summary};

/// Everything that was found in a run of the matrix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    runs: usize,
    machine: Machine,
    entries: Vec<Entry>,
}

impl Results {
    /// What these entries, found just now on this machine, come to.
    #[must_use]
    pub(crate) fn new(runs: usize, entries: Vec<Entry>) -> Self {
        Self { runs, machine: Machine::here(), entries }
    }

    fn systems(&self) -> Vec<&'static dyn System> {
        let measured: BTreeSet<&str> = self.entries.iter().map(|entry| entry.system.as_str()).collect();
        SYSTEMS.into_iter().filter(|system| measured.contains(system.name())).collect()
    }
}

/// The tables alone.
#[must_use]
pub(crate) fn tables(results: &Results) -> String {
    // Writing to a string does not fail.
    let mut text = String::new();
    let _ = tables::write(&mut text, &Summary::new(results));
    text
}

/// Writes `BENCHMARKS.md` and, in `benchmarks/`, the plots and the results themselves.
///
/// # Errors
/// What the disk or the plotting crate says.
pub(crate) fn write(results: &Results, out: &Path) -> Result<(), Failure> {
    let folder = out.join("benchmarks");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("results.json"), serde_json::to_string_pretty(results)?)?;
    let summary = Summary::new(results);
    let plots = plots::draw(&summary, &folder)?;
    let mut text = String::new();
    page(&mut text, results, &summary, &plots)?;
    fs::write(out.join("BENCHMARKS.md"), text)?;
    Ok(())
}

const INTRODUCTION: &str = "\
# Benchmarks

Banyan beside what else one could use, on the same work and in one run: one publisher, N receivers, every node with its own
sockets on the loopback interface of one machine. Each case runs in a process (and a network namespace) of its own; systems take
turns, and the figures are medians where a case was run more than once. The machine is small and shared: read the ratios, not the absolute values.

```sh
cargo run --release --manifest-path tests/bench/Cargo.toml -- run --out docs     # everything
cargo run --release --manifest-path tests/bench/Cargo.toml -- run --quick        # a look
cargo run --release --manifest-path tests/bench/Cargo.toml -- run --seconds 2 --budget 38 --out docs   # in less than 40 minutes
cargo run --release --manifest-path tests/bench/Cargo.toml -- stall              # one child stops reading
cargo run --release --manifest-path tests/bench/Cargo.toml -- case banyan sustained --receivers 16 --size 65536
```

`tls-tree` is the reference of all ratios: a relay tree built by hand over tokio and rustls, which knows its members beforehand,
finds nobody, repairs nothing and resumes nothing. `tcp-tree` is the same without encryption.
";

const HOW: &str = "\
## How it is measured

- **Sustained.** The publisher sends for the given time as fast as the system takes objects; the rate is what receivers got
  on average until the last object came. A system that does not hold back its publisher (iroh-gossip, gossipsub) gets a window of
  unacknowledged objects, counted inside the process at no cost: the best of 16 KiB to 16 MiB that loses at most 0.1 %, looked
  for in the first run of each case and kept for the others.
- **CPU** is the processor time of the process with all its nodes, the making of objects included, per GiB that receivers got.
  **Cores** says how many processors the process kept busy: where others use the machine as well, it is less than there are, a
  process with more threads gets a larger share, and CPU per GiB is the figure to compare. **Memory** is the peak of resident memory (VmHWM) of that process, all its nodes together. **Wire** is what the loopback
  interface of the namespace carried per byte delivered; its packets are large, so that headers weigh less than on Ethernet.
- **Latency** runs from just before the publisher's call to the receiver's callback, all receivers together.
- **Loss.** Every node is a process. After a quarter of the time, a node that feeds others is killed (SIGKILL) or frozen (SIGSTOP):
  in Banyan the child of the publisher that feeds most, in the hand-built trees a child of the publisher, elsewhere (where
  no node feeds more than others by design) one of the first three that joined. The gap is the longest time that any survivor
  had no new object; lost and doubled are deliveries, over all survivors.
- All systems run on one tokio runtime with a thread a core, except zenoh, which brings its own threads.

## Where the CPU goes

![relay-flame.svg](benchmarks/relay-flame.svg)

A relay with three children, fed 64 KiB objects as fast as its tree took them. Its three greatest costs: **writes to its children's
sockets** (43 %: the kernel copies, and delivers to the next node on the loopback interface within the call), **encryption** for each child
anew (19 %, half of it copying the plaintext to where it is encrypted: the first touch of memory that has left the cache) and the **copy of what
comes in to a block** of the ring (5 %). All copies, and what was done about them: [decision 9](decisions/0009-where-bytes-are-copied.md).
";

fn page(out: &mut String, results: &Results, summary: &Summary, plots: &[String]) -> fmt::Result {
    out.push_str(INTRODUCTION);
    writeln!(out, "\nMeasured on {}. Runs of each case: {}.\n", results.machine, results.runs)?;
    tables::write(out, summary)?;
    out.push_str("## Plots\n\n");
    for plot in plots {
        writeln!(out, "![{plot}](benchmarks/{plot})")?;
    }
    writeln!(out, "\nAll results: [`benchmarks/results.json`](benchmarks/results.json).\n")?;
    out.push_str(HOW);
    out.push_str("\n## Settings and versions\n\n| system | settings | versions |\n|---|---|---|\n");
    for system in results.systems() {
        let versions: Vec<_> = system.packages().iter().map(|package| machine::version(package)).collect();
        writeln!(out, "| {} | {} | {} |", system.name(), system.settings(), versions.join(", "))?;
    }
    Ok(())
}
