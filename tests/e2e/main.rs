//! Faults on real processes: nodes in network namespaces, what is done to them, and what became of the stream.
//!
//! `e2e faults` runs all faults and prints a table; `e2e strangers` measures what those cost who may not get in;
//! `e2e soak` lets nodes die for as long as it is told. See `docs/FAULTS.md`.

mod faults;
mod lab;
mod node;
#[path = "../soak/mod.rs"]
mod soak;
mod stage;
mod strangers;
mod stream;
mod table;
mod wire;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// What a test ends with that cannot be run here.
const SKIPPED: u8 = 77;

/// Faults on real processes. Needs Linux, root (or CAP_NET_ADMIN and CAP_SYS_ADMIN) and iproute2; exits with 77 where
/// it may not make namespaces, with 1 if anything did not hold.
#[derive(Debug, Parser)]
#[command(name = "e2e", version)]
struct Args {
    /// The program to test.
    #[arg(long, global = true, default_value = "target/release/banyan")]
    banyan: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs the faults, and prints a table of Markdown.
    Faults(faults::Args),
    /// Measures what a thousand attempts a second to connect cost a node.
    Strangers(strangers::Args),
    /// Lets random nodes die while a stream flows.
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let banyan = match args.banyan.canonicalize() {
        Ok(banyan) => banyan,
        Err(error) => {
            eprintln!("{}: {error}; build it with cargo build --release", args.banyan.display());
            return ExitCode::from(2);
        }
    };
    if matches!(args.what, What::Faults(_)) && !lab::may_make_hosts() {
        eprintln!("cannot make network namespaces and TAP devices here; skipped");
        return ExitCode::from(SKIPPED);
    }
    let rows = match args.what {
        What::Faults(args) => faults::run(&banyan, &args),
        What::Strangers(args) => strangers::run(&banyan, &args),
        What::Soak(args) => soak::run(&banyan, &args),
    };
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    print!("\n{}", table::markdown(&rows));
    ExitCode::from(u8::from(rows.iter().any(|row| row.kept == Some(false))))
}
