//! All systems on all work, in turns, each case in a process (and, if possible, a network) of its own.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::timeout};

use crate::{
    outcome::{Outcome, Sustained, Work},
    system::{Failure, System},
};

/// Time that a case may take beyond what it sends.
const SPARE: Duration = Duration::from_secs(150);
/// Brings up the loopback interface of a new network namespace, then becomes the command that follows.
const LOOPBACK_UP: &str = r#"ip link set lo up && exec "$0" "$@""#;

/// One case of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Name of the system.
    pub(crate) system: String,
    /// What there was to do.
    pub(crate) work: Work,
    /// What came out, or why nothing did.
    pub(crate) outcome: Result<Outcome, String>,
}

/// Runs every system on every piece of work, `runs` times. Systems take turns, and another one begins
/// each time, so that noise hits all alike. No case begins after `budget`.
pub(crate) async fn run(systems: &[&'static dyn System], works: &[Work], runs: usize, budget: Duration) -> Vec<Entry> {
    let start = Instant::now();
    let isolated = isolates().await;
    if !isolated {
        eprintln!("no network namespaces here: bytes on the wire include whatever else uses the loopback interface");
    }
    let cases = runs * works.len() * systems.len();
    let mut entries = Vec::with_capacity(cases);
    for run in 0..runs {
        for work in works.iter().map(|work| work.with_victim_of(run)) {
            for turn in 0..systems.len() {
                if start.elapsed() > budget {
                    eprintln!("the time is up: {} of {cases} cases were run", entries.len());
                    return entries;
                }
                let system = systems[(turn + run) % systems.len()];
                let outcome = case(system, work, window(&entries, system, work), isolated)
                    .await
                    .map_err(|failure| failure.to_string());
                let entry = Entry { system: system.name().to_owned(), work, outcome };
                entries.push(entry);
                let Some(Entry { outcome, .. }) = entries.last() else { continue };
                let said = match outcome {
                    Ok(outcome) => serde_json::to_string(outcome).unwrap_or_default(),
                    Err(failure) => format!("failed: {failure}"),
                };
                eprintln!("{}/{cases} {} {}: {said}", entries.len(), system.name(), work.arguments().join(" "));
            }
        }
    }
    entries
}

/// The window that was found for this work before.
fn window(entries: &[Entry], system: &dyn System, work: Work) -> Option<u64> {
    entries.iter().find_map(|entry| match &entry.outcome {
        Ok(Outcome::Sustained(Sustained { window, .. })) if entry.system == system.name() && entry.work == work => {
            *window
        }
        _ => None,
    })
}

/// Whether processes can have a network of their own here.
async fn isolates() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", LOOPBACK_UP, "true"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

async fn case(system: &dyn System, work: Work, window: Option<u64>, isolated: bool) -> Result<Outcome, Failure> {
    let program = std::env::current_exe()?;
    let mut command = if isolated {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", LOOPBACK_UP]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(["case", system.name()]);
    command.args(window.map(|window| format!("--window={window}"))).args(work.arguments());
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let limit = SPARE + Duration::from_secs(work.load().seconds);
    let output = timeout(limit, command.output()).await.map_err(|_| format!("not done after {limit:?}"))??;
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("it ended without a word").into())
}
