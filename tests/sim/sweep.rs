//! Sweeps over sizes: the tables and plots of `docs/SIMULATION.md`.

use std::{collections::BTreeMap, error::Error, fmt::Write, fs, ops::RangeInclusive, path::Path, time::Instant};

use crate::{
    measure::Report,
    plot::{self, Series},
    scenarios::{self, Params},
};

/// A scenario of the sweep with what is shown of it.
struct Part {
    scenario: &'static str,
    title: &'static str,
    kill: u32,
    /// Sizes beyond this are run with one seed only.
    few_seeds_above: usize,
    /// Sizes that it is run with.
    least: usize,
    most: usize,
    columns: &'static [(&'static str, &'static str)],
    plots: &'static [(&'static str, &'static str, &'static [&'static str])],
}

const PARTS: &[Part] = &[
    Part {
        scenario: "flash-crowd",
        title: "Flash crowd: everyone subscribes within 100 ms",
        kill: 30,
        few_seeds_above: 1_000,
        least: 2,
        most: usize::MAX,
        columns: &[
            ("attach_p50_ms", "attach p50, ms"),
            ("attach_p99_ms", "attach p99, ms"),
            ("tries_mean", "tries"),
            ("depth_max", "depth"),
            ("depth_optimum", "optimum"),
            ("busy_kbit_per_s", "busy, kbit/s"),
            ("busy_messages_per_s", "busy, msg/s"),
            ("memory_peak_mib", "memory, MiB"),
            ("wall_s", "run, s"),
        ],
        plots: &[
            ("attach", "ms", &["attach_p50_ms", "attach_p99_ms"]),
            ("depth", "levels", &["depth_max", "depth_optimum"]),
            ("memory", "MiB", &["memory_peak_mib"]),
        ],
    },
    Part {
        scenario: "kill-interior",
        title: "30 % of the relays die within a second, in the midst of a stream",
        kill: 30,
        few_seeds_above: 1_000,
        least: 30,
        most: 1_000,
        columns: REPAIR_COLUMNS,
        plots: &[("repair", "ms", &["repair_p50_ms", "repair_p99_ms"])],
    },
    Part {
        scenario: "kill-interior",
        title: "80 % of the relays die within a second, in the midst of a stream",
        kill: 80,
        few_seeds_above: 300,
        least: 30,
        most: 1_000,
        columns: REPAIR_COLUMNS,
        plots: &[],
    },
    Part {
        scenario: "quiet",
        title: "Idle, then one row changes, then one node crashes",
        kill: 30,
        few_seeds_above: 1_000,
        least: 10,
        most: 3_000,
        columns: &[
            ("idle_kbit_per_s", "idle, kbit/s"),
            ("idle_gossip_kbit_per_s", "of it gossip"),
            ("idle_messages_per_s", "idle, msg/s"),
            ("row_change_ms", "row change at 99.9 %, ms"),
            ("crash_known_ms", "crash known at 99.9 %, ms"),
        ],
        plots: &[
            ("idle", "kbit/s", &["idle_kbit_per_s", "idle_gossip_kbit_per_s"]),
            ("convergence", "ms", &["row_change_ms", "crash_known_ms"]),
        ],
    },
];

const REPAIR_COLUMNS: &[(&str, &str)] = &[
    ("killed", "killed"),
    ("repairs", "repairs"),
    ("repair_p50_ms", "p50, ms"),
    ("repair_p99_ms", "p99, ms"),
    ("repair_first_try", "first try"),
    ("settled_s", "all at rest, s"),
    ("missed", "objects missed"),
    ("duplicates_factor", "received ÷ needed"),
    ("depth_max", "depth"),
    ("busy_kbit_per_s", "busy, kbit/s"),
];

/// Runs all parts and writes what they show into the folder.
///
/// # Errors
/// A violation, or what the disk says.
pub fn run(
    folder: &Path,
    sizes: &[usize],
    seeds: RangeInclusive<u64>,
    table_rows: Option<usize>,
) -> Result<(), Box<dyn Error>> {
    let plots = folder.join("simulation");
    fs::create_dir_all(&plots)?;
    let mut text = String::new();
    for part in PARTS {
        writeln!(text, "### {}\n", part.title)?;
        let names: Vec<&str> = part.columns.iter().map(|(_, title)| *title).collect();
        writeln!(text, "| nodes | {} |", names.join(" | "))?;
        writeln!(text, "|---|{}", "---|".repeat(names.len()))?;
        let mut rows: Vec<(usize, BTreeMap<String, f64>)> = Vec::new();
        for nodes in sizes.iter().copied().filter(|nodes| (part.least..=part.most).contains(nodes)) {
            let few = nodes > part.few_seeds_above;
            let seeds = if few { *seeds.start()..=*seeds.start() } else { seeds.clone() };
            let median = median_of(part, nodes, seeds, table_rows)?;
            let cells: Vec<String> = part.columns.iter().map(|(key, _)| cell(median.get(*key))).collect();
            writeln!(text, "| {nodes}{} | {} |", if few { " (one seed)" } else { "" }, cells.join(" | "))?;
            rows.push((nodes, median));
        }
        for (name, unit, keys) in part.plots {
            let line = |key: &&str| Series {
                name: (*key).to_owned(),
                points: rows.iter().filter_map(|(nodes, values)| Some((*nodes as f64, *values.get(*key)?))).collect(),
            };
            let lines: Vec<Series> = keys.iter().map(line).collect();
            plot::over_nodes(&plots.join(format!("{name}.svg")), part.title, unit, &lines)?;
            write!(text, "\n![{name}](simulation/{name}.svg)")?;
        }
        writeln!(text, "\n")?;
    }
    insert(&folder.join("SIMULATION.md"), &text)
}

fn median_of(
    part: &Part,
    nodes: usize,
    seeds: RangeInclusive<u64>,
    table_rows: Option<usize>,
) -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let scenario = scenarios::find(part.scenario).expect("the parts name scenarios that there are");
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for seed in seeds {
        let began = Instant::now();
        let params = Params { kill: part.kill, table_rows, ..Params::new(nodes, seed) };
        let mut report: Report = scenario.run(&params)?;
        report.set("wall_s", began.elapsed().as_secs_f64());
        report.set_some("memory_peak_mib", peak_memory_mib());
        eprintln!("{} {nodes} seed {seed}: {:.1} s", part.scenario, began.elapsed().as_secs_f64());
        for (name, value) in report.values {
            all.entry(name).or_default().push(value);
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(all.into_iter().map(|(name, values)| (name, median(values))).collect())
}

fn cell(value: Option<&f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) if *value >= 100.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.2}"),
    }
}

/// Where the tables stand in the document.
const MARKS: [&str; 2] = ["<!-- sweep: written by the command above -->", "<!-- end of sweep -->"];

fn insert(file: &Path, tables: &str) -> Result<(), Box<dyn Error>> {
    let old = fs::read_to_string(file).unwrap_or_else(|_| format!("{}\n{}\n", MARKS[0], MARKS[1]));
    let (head, rest) = old.split_once(MARKS[0]).ok_or("the document has no place for the tables")?;
    let (_, tail) = rest.split_once(MARKS[1]).ok_or("the place for the tables has no end")?;
    Ok(fs::write(file, format!("{head}{}\n\n{}\n{}{tail}", MARKS[0], tables.trim_end(), MARKS[1]))?)
}

/// The most memory that this process ever had, where the system tells.
#[must_use]
pub fn peak_memory_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
