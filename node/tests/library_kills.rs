//! A node that is killed in the midst of whatever it does to a package, again and again.
//!
//! `BANYAN_KILLS=200 cargo test -p banyan-node --test library_kills -- --nocapture` kills it so often.

#![expect(clippy::disallowed_methods, reason = "a process is waited for on a thread that may block")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use banyan_node::Node;
use serde_json::Value;

/// How often, unless `BANYAN_KILLS` says otherwise.
const KILLS: usize = 10;
/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(120);

/// What a version of the package consists of, by path.
type Content = BTreeMap<PathBuf, Vec<u8>>;

fn write_version(folder: &Path, version: &str) -> Content {
    let mut content = Content::new();
    let bytes = |count: usize, seed: u8| (0..count).map(|at| (at / 3 + at / 70_000) as u8 ^ seed).collect();
    let seed = version.as_bytes()[0];
    content.insert("large.bin".into(), bytes(9 << 20, seed));
    content.insert("empty".into(), Vec::new());
    for number in 0..40 {
        content.insert(format!("many/{}/{number}", number % 3).into(), bytes(700 * number, seed));
    }
    content.insert("version.ini".into(), format!("name=set\nversion={version}\n").into_bytes());
    for (path, bytes) in &content {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("makes folders");
        fs::write(path, bytes).expect("writes");
    }
    content
}

/// All files of a folder, but those of the node itself and `local/`.
fn read_folder(folder: &Path) -> Content {
    let mut found = Content::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inside)).expect("lists").flatten() {
            let path = inside.join(entry.file_name());
            if path == Path::new("local") || entry.file_name().to_string_lossy().starts_with(".banyan") {
                continue;
            }
            if entry.path().is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(entry.path()).expect("reads"));
            }
        }
    }
    found
}

struct Target {
    folder: PathBuf,
    bootstrap: String,
    process: Option<Child>,
}

impl Target {
    fn library(&self) -> PathBuf {
        self.folder.join("library")
    }

    fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).expect("opens");
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        command.args(["run", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", &self.bootstrap]);
        command.arg("--data-dir").arg(self.folder.join("state")).arg("--socket").arg(self.folder.join("s"));
        command.arg("--library").arg(self.library()).arg("--exit-with-stdin");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("it starts"));
    }

    fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    /// What a command answers.
    fn ask(&self, line: &str) -> Option<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        command.arg("library").args(line.split(' ')).args(["--format", "json"]);
        let output = command.env("BANYAN_SOCKET", self.folder.join("s")).output().expect("it runs");
        let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        answer.map(|mut answer| answer["data"].take())
    }

    fn until<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = check() {
                return found;
            }
            assert!(start.elapsed() < LIMIT, "never: {what}\n{:?}\n{:?}", self.ask("jobs"), self.ask("list"));
            sleep(Duration::from_millis(20));
        }
    }

    /// The state of each version that is here, once both versions are known and nothing runs.
    fn states(&self) -> Vec<(String, String)> {
        self.until("it is at rest", || {
            let running = |job: &Value| job["state"] == "running" || job["state"] == "waiting";
            if self.ask("jobs")?["jobs"].as_array()?.iter().any(running) {
                return None;
            }
            let library = self.ask("list")?;
            if library["roots"][0]["scanning"] != false {
                return None;
            }
            let title = library["titles"].as_array()?.iter().find(|title| title["name"] == "set")?;
            let versions = title["versions"].as_array()?;
            let others = versions.iter().filter(|version| version["peers"].as_array().is_some_and(|it| it.len() == 1));
            if others.count() < 2 {
                return None;
            }
            let state =
                |version: &Value| Some((version["version"].as_str()?.to_owned(), version["here"].as_str()?.to_owned()));
            Some(versions.iter().filter_map(state).collect())
        })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What is in place is whole, whether a node looks after it or not; `true`: it is there.
fn check(folder: &Path, versions: &[Content]) -> bool {
    if !folder.join("version.ini").exists() {
        return false;
    }
    let found = read_folder(folder);
    assert!(versions.contains(&found), "{} is torn: {:?}", folder.display(), found.keys());
    true
}

fn is_whole(folder: &Path, versions: &[Content]) -> bool {
    folder.is_dir() && versions.contains(&read_folder(folder))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn node_killed_at_any_moment_leaves_whole_versions_d4_d7_d8() {
    let kills = env::var("BANYAN_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let versions = ["1", "2"].map(|version| write_version(&a.path().join(format!("set-{version}")), version));
    let source = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").library(a.path());
    let source = source.start().await.expect("it starts");
    let bootstrap = loop {
        match source.status().await.expect("it runs").addresses.into_iter().next() {
            Some(address) => break address,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let mut target = Target { folder: b.path().to_owned(), bootstrap, process: None };
    fs::create_dir(target.library()).expect("makes a folder");
    let test = move || {
        let package = target.library().join("set");
        let mut counts = BTreeMap::<String, usize>::new();
        let mut rng = fastrand::Rng::new();
        let (mut keeps, mut stays) = (false, false);
        for _ in 0..kills {
            target.start();
            let states = target.states();
            assert!(!keeps || !states.is_empty(), "it was there before the operation, and is gone");
            assert_eq!(check(&package, &versions), !states.is_empty(), "{states:?}");
            let installed = states.iter().any(|(_, state)| state == "installed");
            assert_eq!(check(&package.join("local"), &versions), installed, "{states:?}");
            assert!(!stays || installed, "it was installed before the update, and is not now: {states:?}");
            if let Some((version, _)) = states.first() {
                let job = target.ask(&format!("verify set@{version}")).expect("it answers");
                assert_eq!(job["state"], "done", "{job}");
            }
            let operations: &[&str] = match states.first().map(|(version, state)| (&**version, &**state)) {
                None => &["get set@1", "get set@1 --install", "install set@2"],
                Some(("1", "complete")) => &["install set@1", "update set", "remove set@1"],
                Some((_, "complete")) => &["install set@2", "remove set@2"],
                Some(("1", _)) => &["uninstall set@1", "update set", "update set", "remove set@1"],
                Some(_) => &["uninstall set@2", "remove set@2"],
            };
            let operation = operations[rng.usize(..operations.len())];
            target.ask(&format!("{operation} --detach")).expect("it begins");
            // Most end within half a second; a part is killed when all is over.
            sleep(Duration::from_millis(rng.u64(0..500)));
            target.kill();
            *counts.entry(operation.to_owned()).or_default() += 1;
            // Whoever looks now, without a node, finds no torn version either.
            let places = ["get/set/old", "do/set/old"].map(|old| target.library().join(".banyan").join(old));
            // What was replaced may be half removed.
            let there = check(&package, &versions) || places.iter().any(|place| is_whole(place, &versions));
            (keeps, stays) =
                (!states.is_empty() && !operation.starts_with("remove"), installed && operation == "update set");
            assert!(there || !keeps, "{operation}: nothing is left");
        }
        println!("{kills} kills: {counts:?}");
    };
    tokio::task::spawn_blocking(test).await.expect("all is whole");
    source.shutdown().await;
}
