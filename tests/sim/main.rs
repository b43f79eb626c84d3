//! Runs a scenario of the simulator, or sweeps over sizes and writes the tables of
//! `docs/SIMULATION.md`.

use std::{ops::RangeInclusive, path::PathBuf, process::ExitCode, time::Instant};

use banyan_sim::{
    measure::Report,
    scenarios::{self, Params, Scenario},
    sweep,
};
use clap::{Parser, ValueEnum};

/// Whole meshes in one thread of virtual time. The same seed gives the same run.
#[derive(Debug, Parser)]
#[command(name = "sim", version, after_help = "Scenarios:\n  see `sim list`; `sim sweep` writes docs/SIMULATION.md")]
struct Args {
    /// A scenario, `list`, or `sweep`.
    scenario: String,
    /// Hosts; what the tests use if not given.
    #[arg(long)]
    nodes: Option<usize>,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seeds A..B, both included, instead of one.
    #[arg(long, value_parser = parse_seeds)]
    seeds: Option<RangeInclusive<u64>>,
    /// Share of the interior that is killed, in percent, where a scenario kills.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100))]
    kill: u32,
    /// Rows that a table holds at most; the program's default if not given.
    #[arg(long)]
    table_rows: Option<usize>,
    /// Encode and decode every message.
    #[arg(long)]
    wire: bool,
    /// Check after every step also in worlds of more than a hundred hosts.
    #[arg(long)]
    strict: bool,
    /// Say what happens, on standard error.
    #[arg(long)]
    log: bool,
    /// How to say it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// With `sweep`: the folder for SIMULATION.md and its plots. Else: a file for a plot of the values
    /// over the seeds.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// With `sweep`: sizes, and seeds for each.
    #[arg(long, value_delimiter = ',', default_value = "10,30,100,300,1000,3000,10000")]
    sizes: Vec<usize>,
    /// Say nothing of runs that went well, only of how many there were.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn parse_seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = text.split_once("..").ok_or("write it as A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(first)?..=number(last)?)
}

fn main() -> ExitCode {
    let args = Args::parse();
    use_huge_pages();
    // A violation is one line; where in the simulator it was noticed helps nobody.
    std::panic::set_hook(Box::new(|_| {}));
    match args.scenario.as_str() {
        "list" => {
            for scenario in scenarios::ALL {
                println!("{:18} {}", scenario.name, scenario.claim);
            }
            ExitCode::SUCCESS
        }
        "sweep" => sweep(&args),
        name => match scenarios::find(name) {
            Some(scenario) => run(scenario, &args),
            None => {
                eprintln!("there is no scenario {name:?}; `sim list` names them");
                ExitCode::from(2)
            }
        },
    }
}

/// Begins anew with memory in huge pages, for what large meshes hold lies far apart. The system's allocator asks for
/// them only if it is told so when the process begins.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn use_huge_pages() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        use std::os::unix::process::CommandExt;
        let mut again = std::process::Command::new(program);
        // It returns only if there is no beginning anew; then small pages have to do.
        let _ = again.args(std::env::args_os().skip(1)).env(TUNABLES, "glibc.malloc.hugetlb=1").exec();
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn use_huge_pages() {}

fn run(scenario: &Scenario, args: &Args) -> ExitCode {
    let (mut done, mut failed) = (0_u64, 0_u64);
    let began = Instant::now();
    for seed in args.seeds.clone().unwrap_or(args.seed..=args.seed) {
        let params = Params {
            nodes: args.nodes.unwrap_or(scenario.nodes),
            seed,
            wire: args.wire,
            table_rows: args.table_rows,
            kill: args.kill,
            strict: args.strict,
            log: args.log,
        };
        let started = Instant::now();
        match scenario.run(&params) {
            Ok(_) if args.quiet => {}
            Ok(mut report) => {
                report.set("wall_s", started.elapsed().as_secs_f64());
                report.set_some("memory_peak_mib", sweep::peak_memory_mib());
                show(&report, args.format);
            }
            Err(line) => {
                failed += 1;
                eprintln!("VIOLATED {line}");
            }
        }
        done += 1;
        if args.quiet && done % 1000 == 0 {
            eprintln!("{done} runs, {failed} violations, {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    if args.quiet || done > 1 {
        println!("{done} runs of {}, {failed} violations, {:.1} s", scenario.name, began.elapsed().as_secs_f64());
    }
    if failed > 0 { ExitCode::from(8) } else { ExitCode::SUCCESS }
}

fn show(report: &Report, format: Format) {
    if format == Format::Json {
        println!("{}", serde_json::to_string(report).expect("numbers and names"));
        return;
    }
    println!(
        "{} nodes={} seed={} trace={} virtual={:.1}s",
        report.scenario, report.nodes, report.seed, report.trace, report.virtual_s
    );
    for (name, value) in &report.values {
        println!("  {name:28} {value}");
    }
}

fn sweep(args: &Args) -> ExitCode {
    let folder = args.plot.clone().unwrap_or_else(|| PathBuf::from("docs"));
    let seeds = args.seeds.clone().unwrap_or(1..=5);
    match sweep::run(&folder, &args.sizes, seeds, args.table_rows) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
