//! `banyan bench`: how fast streams get through, in a mesh within this process or in one that runs.
//!
//! Objects are numbered and stamped with the time (see [`feed`]), so that whoever receives them can
//! count what is lost or doubled and how long each was under way.

mod args;
mod fanout;
mod feed;
mod histogram;
mod probe;
mod publish;
mod report;
mod subscribe;
mod tally;

use self::args::ReportFormat;
use super::{
    exit::{Exit, Failure, Outcome},
    render::style::Style,
    show::{document, print},
};
use crate::views::reports::{BenchReport, BenchResults};

pub(crate) use args::Bench;

/// Measures, and prints what was found.
pub(crate) async fn bench(bench: Bench) -> Outcome {
    match bench {
        Bench::Fanout(args) => fanout::fanout(args).await,
        Bench::Publish(args) => publish::publish(args).await,
        Bench::Subscribe(args) => subscribe::subscribe(args).await,
    }
}

fn show(format: ReportFormat, interrupted: bool, results: BenchResults) -> Outcome {
    let report = BenchReport { interrupted, results };
    match format {
        ReportFormat::Table => print(&report.text(Style::of_stdout())),
        ReportFormat::Json => print(&document(report)),
    }
}

/// What a bench comes to whose results are shown already.
fn verdict(lost: u64, doubled: u64) -> Outcome {
    if lost == 0 && doubled == 0 {
        return Ok(());
    }
    let message = format!("{lost} objects were lost, {doubled} came again or late");
    Err(Failure::new(Exit::Partial, message, "lower --rate, or use --mode reliable"))
}
