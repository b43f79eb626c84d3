//! A real node: a process, its socket, and what the system says of it.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::lab::Done;

/// How a node is started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) banyan: PathBuf,
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) socket: PathBuf,
    /// What stands before the program on its command line.
    pub(crate) before: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Spec {
    pub(crate) fn new(banyan: &Path, name: &str, data_dir: PathBuf, socket: PathBuf) -> Self {
        let arguments = ["run", "--mesh", "e2e", "--no-mdns", "--label", name].map(str::to_owned).to_vec();
        Self {
            banyan: banyan.to_owned(),
            name: name.to_owned(),
            data_dir,
            socket,
            before: Vec::new(),
            environment: Vec::new(),
            arguments,
        }
    }

    pub(crate) fn listen(&mut self, address: &str) {
        self.args(&["--listen", address]);
    }

    pub(crate) fn args(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    }
}

/// A node; its process is ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) spec: Spec,
    process: Option<Child>,
}

/// Longest wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

impl Node {
    pub(crate) const fn new(spec: Spec) -> Self {
        Self { spec, process: None }
    }

    pub(crate) fn start(&mut self) -> Done {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = mortal();
        command
            .args(&self.spec.before)
            .arg(&self.spec.banyan)
            .args(&self.spec.arguments)
            .args(["--data-dir", path(&self.spec.data_dir)]);
        command.args(["--socket", path(&self.spec.socket)]).envs(self.spec.environment.iter().cloned());
        command.env_remove("BANYAN_SOCKET").env_remove("BANYAN_MESH").env("NO_COLOR", "1");
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.spec.data_dir.with_extension("log")
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&mut self) -> Done {
        self.signal(Signal::TERM)?;
        if let Some(mut process) = self.process.take() {
            process.wait()?;
        }
        Ok(())
    }

    /// Waits for its end, which comes by itself; answers its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut process = self.process.take()?;
        let ended = eventually(Duration::from_secs(20), || process.try_wait().ok().flatten());
        if ended.is_none() {
            self.process = Some(process);
        }
        ended?.code()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Done {
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)).ok_or("it does not run")?;
        Ok(kill_process(pid, signal)?)
    }

    // --- What it says ------------------------------------------------------------------------

    /// What is at a path of its API, as bytes.
    pub(crate) fn text(&self, path: &str) -> Done<String> {
        let mut stream = UnixStream::connect(&self.spec.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // Of this version the body ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nhost: banyan\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        match head.split(' ').nth(1) {
            Some("200") => Ok(body.to_owned()),
            _ => Err(format!("{path}: {body}").into()),
        }
    }

    /// What a view says.
    pub(crate) fn view(&self, path: &str) -> Done<Value> {
        Ok(serde_json::from_str::<Value>(&self.text(path)?)?["data"].take())
    }

    /// All events that it still knows, of these kinds.
    pub(crate) fn events(&self, kinds: &[&str]) -> Vec<Value> {
        let text = self.text("/v1/events?since=all&follow=false").unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data:")?).ok());
        let events = events.map(|mut event| event["data"].take());
        events.filter(|event| event["event"].as_str().is_some_and(|kind| kinds.contains(&kind))).collect()
    }

    /// A figure of `/metrics`, over all series whose names and labels begin so.
    pub(crate) fn figure(metrics: &str, series: &str) -> f64 {
        let figures = metrics.lines().filter_map(|line| line.strip_prefix(series)?.rsplit_once(' '));
        let whole = figures.filter(|(rest, _)| rest.is_empty() || rest.starts_with('{') || series.ends_with('}'));
        whole.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    pub(crate) fn peer_id(&self) -> Done<String> {
        Ok(self.view("/v1/status")?["peer_id"].as_str().ok_or("no peer id")?.to_owned())
    }

    /// Waits until it knows so many live peers.
    pub(crate) fn knows(&self, peers: usize) -> Done {
        let known = || self.view("/v1/status").ok()?["peers"].as_u64().filter(|known| *known >= peers as u64);
        match eventually(PATIENCE, known) {
            Some(_) => Ok(()),
            None => Err(format!("{} does not know {peers} peers after {PATIENCE:?}", self.spec.name).into()),
        }
    }

    /// Where it stands in the tree of a track.
    pub(crate) fn here(&self, track: &str) -> Option<Value> {
        let mut tracks = self.view("/v1/tracks").ok()?;
        let found = tracks["tracks"].as_array_mut()?.iter_mut().find(|shown| shown["track"] == track)?;
        Some(found["here"].take()).filter(Value::is_object)
    }

    /// How many it feeds.
    pub(crate) fn children(&self, track: &str) -> usize {
        self.here(track).and_then(|here| Some(here["children"].as_array()?.len())).unwrap_or(0)
    }

    // --- What the system says ----------------------------------------------------------------

    /// Memory in use, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = self.pid().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let line = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmRSS:")));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Open files.
    pub(crate) fn open_files(&self) -> usize {
        self.pid().and_then(|pid| Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())).unwrap_or(0)
    }

    /// Processor time used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.pid().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok()).unwrap_or_default();
        // The name, in brackets, may hold anything.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that is stopped does not end before it is killed, which it is.
        self.kill();
    }
}

/// A command that is ended when this process is, however that comes, and even if it is stopped then. Its words follow.
pub(crate) fn mortal() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command
}

/// Looks again and again until there is an answer, or the time is up.
pub(crate) fn eventually<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        thread::park_timeout(Duration::from_millis(50));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have names of UTF-8")
}

/// Reads exactly, or says that the stream has ended.
pub(crate) fn read_or_end(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match stream.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
