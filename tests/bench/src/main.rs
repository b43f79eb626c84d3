//! Measures Banyan beside its peers, on the same work, on this machine.
//!
//! `bench run` runs each system on each piece of work in turns, each case in a process of its own
//! (`bench case`); where a node is to be lost, each node is a process too (`bench node`).

mod args;
mod cases;
mod fleet;
mod inbox;
mod matrix;
mod object;
mod outcome;
mod probe;
mod report;
mod system;
mod systems;

use std::{fs, process::ExitCode};

use clap::Parser;

use self::{
    args::{Chosen, Cli, Command},
    report::Results,
    system::Failure,
};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Case { system: Chosen(system), window, work } => {
            println!("{}", serde_json::to_string(&cases::run(system, work, window).await?)?);
            // Some systems take their time to close; nothing is left to lose.
            std::process::exit(0)
        }
        Command::Stall { load, rate } => {
            println!("{}", serde_json::to_string(&cases::stall(load, rate).await?)?);
            std::process::exit(0)
        }
        Command::Node { system: Chosen(system), index, size, cards } => {
            cases::node(system, index, size, cards).await?;
            std::process::exit(0)
        }
        Command::Run(run) => {
            let entries = matrix::run(&run.systems(), &run.works(), run.runs(), run.budget()).await;
            let results = Results::new(run.runs(), entries);
            println!("{}", report::tables(&results));
            if let Some(out) = &run.out {
                report::write(&results, out)?;
            }
            Ok(())
        }
        Command::Report { results, out } => report::write(&serde_json::from_slice(&fs::read(results)?)?, &out),
    }
}
