//! Real nodes in processes of their own, and the commands that talk to them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Time for anything to happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The program, away from what the environment sets.
pub(crate) fn banyan(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BANYAN_") || name == "NOTIFY_SOCKET") {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// A node, alone until it joins somebody.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) socket: PathBuf,
}

impl Process {
    /// A node named `name` whose files are in `folder`.
    pub(crate) fn start(folder: &Path, name: &str, more: &[&str]) -> Self {
        Self::spawn(folder, name, |command| {
            command.args(more);
        })
    }

    pub(crate) fn spawn(folder: &Path, name: &str, describe: impl FnOnce(&mut Command)) -> Self {
        let socket = folder.join(format!("{name}.sock"));
        let data_dir = folder.join(name);
        let paths = [&socket, &data_dir].map(|path| path.to_str().expect("it is text").to_owned());
        let mut command = banyan(&["run", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--label", name]);
        command.args(["--socket", &paths[0], "--data-dir", &paths[1]]).stdout(Stdio::null()).stderr(Stdio::null());
        describe(&mut command);
        let process = Self { child: command.spawn().expect("it starts"), socket };
        until("the node answers", || {
            process.json(&["status"]).is_some_and(|status| status["addresses"][0].is_string())
        });
        process
    }

    /// Runs a command against the node.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let socket = self.socket.to_str().expect("it is text");
        banyan(words).args(["--socket", socket]).output().expect("it runs")
    }

    /// The data that a command shows; `None` if it fails.
    pub(crate) fn json(&self, words: &[&str]) -> Option<Value> {
        let output = self.run(&[words, &["--format", "json"]].concat());
        let mut document: Value = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())?;
        Some(document["data"].take())
    }

    /// Where others reach it.
    pub(crate) fn address(&self) -> String {
        let status = self.json(&["status"]).expect("it answers");
        status["addresses"][0].as_str().expect("it listens").to_owned()
    }

    /// What a command goes on writing, line by line.
    pub(crate) fn follow(&self, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let socket = self.socket.to_str().expect("it is text");
        let mut child = banyan(words).args(["--socket", socket]).stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped"));
        (child, lines)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().expect("it runs");
        assert!(sent.success());
    }

    /// Waits until the node has ended, and says how.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("the node ends", || {
            status = self.child.try_wait().expect("it is ours");
            status.is_some()
        });
        status.expect("it has ended").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line that is wanted, as JSON.
pub(crate) fn next(lines: &mut impl BufRead, wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("it is text") > 0, "it ended before");
        let value: Value = serde_json::from_str(&line).expect("it is JSON");
        if wanted(&value) {
            return value;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it polls with a deadline")]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(50));
    }
}
