//! The nodes of the demo: processes of this same program on the loopback interface.
//!
//! They live in a temporary folder and hold the reading end of a pipe to this process, so that they
//! end with it however it ends.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

use super::args::{Args, Blow};
use crate::{
    cli::{
        client::Client,
        exit::{Exit, Failure, Outcome, one_line},
    },
    views::Status,
};

/// The node that the others join by.
pub(super) const BOOTSTRAP: usize = 0;
/// The node that publishes.
pub(super) const PUBLISHER: usize = 1;
/// Time for all nodes to answer.
const READY: Duration = Duration::from_secs(30);
/// Pause between two looks at something.
const POLL: Duration = Duration::from_millis(20);

/// One node.
#[derive(Debug)]
pub(super) struct Member {
    /// Its label.
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) peer_id: String,
    pub(super) alive: bool,
    process: Child,
    log: PathBuf,
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Cluster {
    folder: TempDir,
    pub(super) members: Vec<Member>,
}

impl Cluster {
    /// An empty cluster in a folder of its own.
    pub(super) fn new() -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("banyan-demo-").tempdir().map_err(|error| {
            Failure::internal(format!("cannot make a temporary folder: {error}"), "set TMPDIR to one with room")
        })?;
        Ok(Self { folder, members: Vec::new() })
    }

    /// Starts the nodes: first the one that the others join by.
    pub(super) async fn start(&mut self, args: &Args) -> Outcome {
        let deadline = Instant::now() + READY;
        let program = env::current_exe().map_err(|error| {
            Failure::internal(format!("cannot find this program: {error}"), "start it by its full path")
        })?;
        self.spawn(&program, args, None)?;
        let status = self.ready(BOOTSTRAP, deadline).await?;
        let address = status.addresses.iter().find(|address| address.contains("/tcp/")).ok_or_else(|| {
            Failure::internal("the first node does not listen", "is the loopback interface up? see `ip address`")
        })?;
        let id = format!("/p2p/{}", status.peer_id);
        let address = if address.ends_with(&id) { address.clone() } else { format!("{address}{id}") };
        for _ in 1..args.nodes {
            self.spawn(&program, args, Some(&address))?;
        }
        for index in 1..usize::from(args.nodes) {
            self.ready(index, deadline).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, program: &Path, args: &Args, bootstrap: Option<&str>) -> Outcome {
        let name = format!("n{}", self.members.len());
        let at = |what: &str| self.folder.path().join(format!("{name}{what}"));
        let capacity = args.capacity.to_string();
        let failed = |error| Failure::internal(format!("cannot start node {name}: {error}"), "use less --nodes");
        let log = fs::File::create(at(".log")).map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["run", "--mesh", "demo", "--label", &name, "--no-mdns", "--exit-with-stdin"])
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--capacity", &capacity, "--root-slots", &capacity])
            .arg("--data-dir")
            .arg(at(""))
            .arg("--socket")
            .arg(at(".sock"))
            .args(bootstrap.iter().flat_map(|address| ["--bootstrap", address]))
            .env_remove("BANYAN_SOCKET")
            .env_remove("BANYAN_MESH")
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo, which then ends its nodes.
            .process_group(0)
            .kill_on_drop(true);
        let process = command.spawn().map_err(failed)?;
        let client = Client::new(at(".sock")).map_err(|mut failure| {
            failure.view.hint = Some("set TMPDIR to a folder with a shorter path".to_owned());
            failure
        })?;
        let (log, peer_id) = (at(".log"), String::new());
        self.members.push(Member { name, client, peer_id, alive: true, process, log });
        Ok(())
    }

    /// Waits until a node answers and listens.
    async fn ready(&mut self, index: usize, deadline: Instant) -> Outcome<Status> {
        let member = &mut self.members[index];
        loop {
            match member.client.view::<Status>("/v1/status").await {
                Ok(status) if !status.addresses.is_empty() => {
                    member.peer_id.clone_from(&status.peer_id);
                    return Ok(status);
                }
                Err(failure) if failure.exit != Exit::Unreachable => return Err(failure),
                _ => {}
            }
            if let Ok(Some(status)) = member.process.try_wait() {
                let log = fs::read_to_string(&member.log).unwrap_or_default();
                let said = log.lines().rfind(|line| line.starts_with("error: ")).or(log.lines().last());
                let message = format!("node {} ended at once ({status}): {}", member.name, said.unwrap_or_default());
                return Err(Failure::internal(one_line(&message), "try `banyan run` by itself"));
            }
            if Instant::now() >= deadline {
                let message = format!("node {} was not ready within {} s", member.name, READY.as_secs());
                return Err(Failure::new(Exit::Timeout, message, "use less --nodes on a slow machine"));
            }
            sleep(POLL).await;
        }
    }

    /// The node that has this peer id.
    pub(super) fn index_of(&self, peer_id: &str) -> Option<usize> {
        self.members.iter().position(|member| member.peer_id == peer_id)
    }

    /// Ends a node with SIGKILL, or stops it with SIGSTOP for the rest of the demo.
    pub(super) fn strike(&mut self, index: usize, by: Blow) -> Outcome {
        let member = &mut self.members[index];
        member.alive = false;
        let struck = match by {
            Blow::Kill => member.process.start_kill(),
            Blow::Freeze => freeze(&member.process),
        };
        struck.map_err(|error| {
            Failure::internal(format!("cannot signal node {}: {error}", member.name), "did it end by itself?")
        })
    }

    /// Ends all nodes and removes their folder, unless it is to be kept; then says where it is.
    pub(super) async fn stop(mut self, keep: bool) -> Option<PathBuf> {
        for member in &mut self.members {
            // An error means that it ended already.
            let _ = member.process.start_kill();
        }
        for member in &mut self.members {
            let _ = member.process.wait().await;
        }
        keep.then(|| self.folder.keep())
    }
}

fn freeze(process: &Child) -> io::Result<()> {
    let id = process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).ok_or(io::ErrorKind::NotFound)?;
    Ok(kill_process(id, Signal::STOP)?)
}
