//! A mesh of real processes of the program.

#![allow(dead_code, reason = "each test binary uses some of it")]

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const BANYAN: &str = env!("CARGO_BIN_EXE_banyan");
/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(40);

/// Node 0 publishes the track `cam/1` and shows itself on a TCP port; all others subscribe to it.
pub(crate) struct Fleet {
    folder: tempfile::TempDir,
    nodes: Vec<Child>,
    others: Vec<Child>,
}

impl Fleet {
    /// Nodes with two slots each, all attached.
    pub(crate) fn start(count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut fleet = Self { folder, nodes: Vec::new(), others: Vec::new() };
        fleet.run("--http 127.0.0.1:0 --root-slots 2");
        let address = eventually("an address", || Some(fleet.view(0, "status")?["addresses"][0].as_str()?.to_owned()));
        for _ in 1..count {
            fleet.run(&format!("--bootstrap {address}"));
        }
        eventually("everyone knows everyone", || {
            (0..count)
                .all(|at| fleet.view(at, "status").is_some_and(|status| status["peers"] == count - 1))
                .then_some(())
        });
        let mut publisher = fleet.command(0, "publish cam/1 --framing lines").stdin(Stdio::piped()).spawn();
        let mut lines = publisher.as_mut().expect("it runs").stdin.take().expect("it is piped");
        // Until the publisher is gone.
        thread::spawn(move || {
            while writeln!(lines, "one line of the stream").is_ok() {
                thread::park_timeout(Duration::from_millis(50));
            }
        });
        fleet.others.push(publisher.expect("it runs"));
        for at in 1..count {
            let subscriber = fleet.command(at, "subscribe cam/1").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            fleet.others.push(subscriber.expect("it runs"));
        }
        eventually("all are attached", || (fleet.attached() == count).then_some(()));
        fleet
    }

    /// Publishes a track on node 0 until `content` is through.
    pub(crate) fn publish(&self, track: &str, content: &[u8]) {
        let mut publisher =
            self.command(0, &format!("publish {track}")).stdin(Stdio::piped()).spawn().expect("it runs");
        publisher.stdin.take().expect("it is piped").write_all(content).expect("it is taken");
        assert!(publisher.wait().expect("it ends").success());
    }

    fn run(&mut self, rest: &str) {
        let at = self.nodes.len();
        let line = format!("run --no-mdns --label n{at} --listen /ip4/127.0.0.1/tcp/0 --capacity 2 --log off {rest}");
        let mut command = self.command(at, &line);
        let data = self.folder.path().join(format!("data-{at}"));
        let out = std::fs::File::create(self.folder.path().join(format!("out-{at}"))).expect("it is writable");
        command.arg("--data-dir").arg(data).stdin(Stdio::null()).stdout(out);
        self.nodes.push(command.spawn().expect("it runs"));
    }

    fn command(&self, at: usize, line: &str) -> Command {
        let mut command = Command::new(BANYAN);
        command.args(line.split(' ')).arg("--socket").arg(self.socket(at)).stderr(Stdio::null());
        command
    }

    pub(crate) fn socket(&self, at: usize) -> PathBuf {
        self.folder.path().join(format!("{at}.sock"))
    }

    /// Where node 0 shows itself.
    pub(crate) fn page(&self) -> String {
        eventually("the banner", || {
            let out = std::fs::read_to_string(self.folder.path().join("out-0")).ok()?;
            Some(out.lines().find_map(|line| line.strip_prefix("page       "))?.to_owned())
        })
    }

    /// What a node shows; nothing while it does not answer.
    pub(crate) fn view(&self, at: usize, what: &str) -> Option<Value> {
        let output = self.command(at, &format!("{what} --format json")).stdin(Stdio::null()).output().ok()?;
        Some(serde_json::from_slice::<Value>(&output.stdout).ok()?["data"].take())
    }

    fn attached(&self) -> usize {
        let tree = self.view(0, "tree cam/1").unwrap_or_default();
        tree["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["attached"] == true).count())
    }

    /// Kills a node that feeds others but is not the origin; answers its id, and its name.
    pub(crate) fn kill_relay(&mut self) -> (String, String) {
        let (peer, label) = eventually("a relay", || {
            let tree = self.view(0, "tree cam/1")?;
            let relay = tree["nodes"].as_array()?.iter().find(|node| node["role"] == "relay")?;
            Some((relay["peer_id"].as_str()?.to_owned(), relay["label"].as_str()?.to_owned()))
        });
        let at: usize = label[1..].parse().expect("nodes are called so");
        self.nodes[at].kill().expect("it runs");
        (peer, label)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.others.iter_mut().chain(&mut self.nodes) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Looks until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// Whether a program is there; says so if a test is skipped without it.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg(if program == "tmux" { "-V" } else { "--version" }).output().is_ok();
    if !found {
        eprintln!("SKIPPED: there is no {program} on this machine");
    }
    found
}
