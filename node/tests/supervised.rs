//! A node under a supervisor that speaks sd_notify, such as systemd.

#[path = "common/process.rs"]
mod process;

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

use process::{LIMIT, Process, until};

/// How long a node may be silent before the supervisor gives it up.
const WATCHDOG: Duration = Duration::from_secs(2);

/// A node that is started again rejoins within so many times as long as it took to join.
const REJOINS_WITHIN: u32 = 8;

struct Supervisor {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Supervisor {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("it is free");
        socket.set_read_timeout(Some(LIMIT)).expect("it is set");
        Self { socket, path }
    }

    fn start(&self, folder: &Path, name: &str, more: &[&str]) -> Process {
        Process::spawn(folder, name, |command| {
            let usec = WATCHDOG.as_micros().to_string();
            command.args(more).env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", usec);
        })
    }

    fn next(&self) -> String {
        let mut message = [0; 256];
        let length = self.socket.recv(&mut message).expect("it comes in time");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }

    fn wait_for(&self, wanted: &str) {
        while self.next() != wanted {}
    }
}

#[test]
fn it_says_when_it_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let supervisor = Supervisor::new(folder.path());
    let mut node = supervisor.start(folder.path(), "a", &[]);
    supervisor.wait_for("READY=1");
    let mut last = None;
    for _ in 0..3 {
        supervisor.wait_for("WATCHDOG=1");
        let now = Instant::now();
        assert!(last.is_none_or(|last| now - last < WATCHDOG), "it beats in time");
        last = Some(now);
    }
    // A node that stands still says nothing.
    node.signal("STOP");
    supervisor.socket.set_read_timeout(Some(WATCHDOG)).expect("it is set");
    let mut message = [0; 64];
    while supervisor.socket.recv(&mut message).is_ok() {}
    supervisor.socket.set_read_timeout(Some(LIMIT)).expect("it is set");
    node.signal("CONT");
    supervisor.wait_for("WATCHDOG=1");
    node.signal("TERM");
    supervisor.wait_for("STOPPING=1");
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn killed_and_started_again_it_rejoins_as_who_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let supervisor = Supervisor::new(folder.path());
    let other = Process::start(folder.path(), "other", &[]);
    let bootstrap = ["--bootstrap", &other.address()];
    let started = Instant::now();
    let mut node = supervisor.start(folder.path(), "a", &bootstrap);
    supervisor.wait_for("READY=1");
    let joined = |node: &Process| node.json(&["status"]).is_some_and(|status| status["peers"] == 1);
    until("it joins", || joined(&node));
    let first = started.elapsed();
    let before = node.json(&["status"]).expect("it answers");
    node.child.kill().expect("it runs");
    node.child.wait().expect("it ends");

    let killed = Instant::now();
    let node = supervisor.start(folder.path(), "a", &bootstrap);
    supervisor.wait_for("READY=1");
    until("it rejoins", || joined(&node));
    let again = killed.elapsed();
    println!("joined {} ms after the start, and {} ms after the restart", first.as_millis(), again.as_millis());
    // Nobody waits until its former life is over. How long it takes without a debugger's build: tests/rejoin.sh.
    assert!(again < REJOINS_WITHIN * first, "{again:?} is much longer than {first:?}");
    let after = node.json(&["status"]).expect("it answers");
    assert_eq!(before["peer_id"], after["peer_id"]);
    assert!(before["incarnation"].as_u64() < after["incarnation"].as_u64());
    let alive = || {
        other.json(&["peers"]).is_some_and(|peers| {
            let peers = peers["peers"].as_array().cloned().unwrap_or_default();
            peers.len() == 1 && peers[0]["peer_id"] == after["peer_id"] && peers[0]["state"] == "alive"
        })
    };
    until("the other knows it under one name", alive);
}
