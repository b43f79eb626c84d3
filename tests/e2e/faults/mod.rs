//! The faults, one function each.

mod malicious;
mod network;
mod processes;
mod system;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{lab::Done, stage::Outcome, table::Row};

/// Which faults, and with what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only faults whose names begin so.
    names: Vec<String>,
    /// Another build of the program, to upgrade from.
    #[arg(long)]
    other: Option<PathBuf>,
    /// The malicious member: the example `malicious` of `banyan-node`.
    #[arg(long)]
    malicious: Option<PathBuf>,
    /// Only these deeds of the malicious member.
    #[arg(long, value_delimiter = ',')]
    deeds: Vec<String>,
    /// Seconds that each condition of the network lasts.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
}

/// What a fault is tried with.
#[derive(Debug)]
struct Bench<'a> {
    banyan: &'a Path,
    args: &'a Args,
}

/// What every fault leaves whole.
const WHOLE: &str = "0 lost, 0 doubled, 0 altered, everyone has the last object";

/// Whether the stream stayed whole.
fn whole(fault: &str, outcome: &Outcome) -> Row {
    Row::new(fault, WHOLE, outcome.text(), outcome.whole())
}

/// Whether something took less than it may: up to five seconds shown in milliseconds.
fn within(fault: &str, must: &str, took: Duration, limit: Duration) -> Row {
    let seconds = took.as_secs_f64();
    let measured =
        if limit < Duration::from_secs(5) { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") };
    Row::new(fault, must, measured, took < limit)
}

type Fault = fn(&Bench<'_>) -> Done<Vec<Row>>;

const FAULTS: [(&str, Fault); 14] = [
    ("loss", network::loss),
    ("reorder", network::reorder),
    ("rate", network::rate),
    ("cable", network::cable),
    ("one-way", network::one_way),
    ("freeze", processes::freeze),
    ("storm", processes::storm),
    ("upgrade", processes::upgrade),
    ("version", malicious::version),
    ("clock", system::clock),
    ("disk", system::disk),
    ("files", system::files),
    ("members", malicious::members),
    ("many", malicious::many_at_once),
];

/// Runs those that were asked for.
pub(crate) fn run(banyan: &Path, args: &Args) -> Done<Vec<Row>> {
    let bench = Bench { banyan, args };
    let wanted = |name: &str| args.names.is_empty() || args.names.iter().any(|wanted| name.starts_with(wanted));
    let mut rows = Vec::new();
    for (name, fault) in FAULTS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("{name} …");
        let mut found =
            fault(&bench).unwrap_or_else(|error| vec![Row::new(name, "the test runs", error.to_string(), false)]);
        for row in &mut found {
            row.command = format!("`faults {name}`");
            eprintln!("  {} | {} | {} | {}", row.fault, row.must, row.measured, row.word());
        }
        rows.extend(found);
    }
    Ok(rows)
}
