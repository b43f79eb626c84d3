//! How `banyan library` waits for jobs: against something that answers like a node, one step at a time.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Answers each request with the next step of a job; the last one again and again.
struct Script {
    folder: tempfile::TempDir,
    asked: Arc<AtomicU32>,
}

fn job(state: &str, bytes: u64) -> Value {
    json!({
        "id": 7, "kind": "get", "name": "tools", "version": "1.4", "package": "00", "state": state, "phase": "fetching",
        "bytes": bytes, "bytes_total": 4 << 20, "rate": 1048576.0, "eta_s": 3.0, "took_s": 4.0, "error": null, "sources": [],
    })
}

fn failed(code: &str) -> Value {
    let mut job = job("failed", 1 << 20);
    job["error"] = json!({ "code": code, "message": "it did not work", "hint": "try again" });
    job
}

impl Script {
    fn new(steps: Vec<Value>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = UnixListener::bind(folder.path().join("s")).expect("it is free");
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let step = count.fetch_add(1, Ordering::SeqCst) as usize;
                // The client may be gone already.
                let _ = answer(stream, steps.get(step).or(steps.last()).expect("there is a step"));
            }
        });
        Self { folder, asked }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn start(&self, line: &str) -> Child {
        let mut command = Command::new("timeout");
        command.args(["60", env!("CARGO_BIN_EXE_banyan"), "library"]).args(line.split(' '));
        command.env("BANYAN_SOCKET", self.socket()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }

    fn run(&self, line: &str) -> (Option<i32>, String, String) {
        outcome(self.start(line).wait_with_output().expect("it ends"))
    }
}

fn outcome(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn answer(stream: UnixStream, job: &Value) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let body = json!({ "schema": "banyan.job/v1", "data": job }).to_string();
    write!(&stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn job_is_waited_for_and_its_outcome_printed_d12() {
    let steps = || vec![job("running", 0), job("running", 1 << 20), job("waiting", 2 << 20), job("done", 4 << 20)];
    let (code, stdout, stderr) = Script::new(steps()).run("get tools");
    assert_eq!((code, stdout.as_str()), (Some(0), "fetched tools 1.4 in 4.0 s, 4.0 MiB, 1.0 MiB/s\n"));
    assert_eq!(stderr, "get tools 1.4: 50 %, waiting, 2.0 MiB of 4.0 MiB, 1.0 MiB/s, 3.0 s to go\n");
    let (code, stdout, stderr) = Script::new(steps()).run("get tools --format json");
    let document: Value = serde_json::from_str(&stdout).expect("one document");
    assert_eq!((code, &document["data"]["state"], stderr.as_str()), (Some(0), &json!("done"), ""));
    let (code, stdout, _) = Script::new(steps()).run("get tools --format jsonl");
    let states = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("a document")["data"].take());
    let states: Vec<Value> = states.map(|mut job| job["state"].take()).collect();
    assert_eq!((code, states), (Some(0), vec![json!("running"), json!("waiting"), json!("done")]));
}

#[test]
fn failed_and_cancelled_jobs_have_their_exit_codes() {
    for (last, exit, message) in [
        (failed("disk_full"), 9, "it did not work"),
        (failed("no_source"), 3, "it did not work"),
        (failed("bad_package"), 8, "it did not work"),
        (job("cancelled", 0), 9, "job 7 was cancelled"),
    ] {
        let (code, stdout, stderr) = Script::new(vec![job("running", 0), last]).run("update tools");
        assert_eq!((code, stdout.as_str()), (Some(exit), ""), "{stderr}");
        assert!(stderr.starts_with(&format!("error: {message}\nhint: ")), "{stderr}");
    }
}

#[test]
fn interrupted_waiting_says_that_the_job_goes_on() {
    let script = Script::new(vec![job("running", 0)]);
    let child = script.start("install tools");
    // It waits for the job as soon as it has asked a second time.
    while script.asked.load(Ordering::SeqCst) < 2 {
        thread::yield_now();
    }
    // Which `timeout` passes on.
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let (code, stdout, stderr) = outcome(child.wait_with_output().expect("it ends"));
    assert_eq!((code, stdout.as_str()), (Some(9), ""), "{stderr}");
    assert!(stderr.contains("job 7 goes on") && stderr.contains("banyan library cancel 7"), "{stderr}");
}

#[test]
fn detached_command_does_not_wait() {
    let script = Script::new(vec![job("running", 0)]);
    let (code, stdout, _) = script.run("get tools --detach");
    assert_eq!((code, stdout.as_str()), (Some(0), "job 7 has begun: see `banyan library jobs 7`\n"));
    assert_eq!(script.asked.load(Ordering::SeqCst), 1);
}
