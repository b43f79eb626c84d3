//! `banyan demo`: real nodes on this machine, a stream to all of them, and kills while it flows.
//!
//! Node 0 is the one that the others join by, node 1 publishes, all others subscribe; so what is
//! shown are the real program, its sockets and its API, driven from outside as users would.

mod args;
mod cluster;
mod feed;
mod narrator;
mod report;
mod show;
mod tally;
mod victim;
mod watch;

use self::{args::ReportFormat, cluster::Cluster, narrator::Narrator, show::Show};
use super::{
    exit::{Exit, Failure, Outcome},
    show::{document, print},
    signals::Signals,
};

pub(crate) use args::Args;

/// Runs the demo; however it ends, no process and no file is left.
pub(crate) async fn demo(args: Args) -> Outcome {
    args.check()?;
    let mut signals = Signals::listen()?;
    let mut narrator = Narrator::new(args.format);
    let mut cluster = Cluster::new()?;
    let result = tokio::select! {
        result = Show::new(&args, &mut cluster, &mut narrator).run() => result,
        () = signals.next() => Err(Failure::new(Exit::Partial, "the demo was interrupted", "let it run to its end")),
    };
    if let Some(folder) = cluster.stop(args.keep).await {
        narrator.show(&format!("what the nodes left is kept in {}", folder.display()));
    }
    let report = result?;
    let complete = report.sha256_ok;
    match args.format {
        ReportFormat::Text => print(&format!("\n{}", report.text(narrator.style)))?,
        ReportFormat::Json => print(&document(report))?,
    }
    if complete {
        return Ok(());
    }
    let hint = "run it again with --format json and report it";
    Err(Failure::new(Exit::Partial, "not every surviving node received every byte", hint))
}
