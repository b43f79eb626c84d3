//! `banyan library` as users run it, against real nodes.

mod common;

use std::{
    fs,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use common::Served;

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(180);

/// Makes a package: its sentinel last, as whoever copies one by hand should.
fn package(root: &Path, folder: &str, version: &str, bytes: usize) {
    let folder = root.join(folder);
    fs::create_dir_all(folder.join("data")).expect("makes it");
    fs::write(folder.join("data/big"), vec![version.len() as u8; bytes]).expect("writes");
    fs::write(folder.join("read me"), version).expect("writes");
    fs::write(folder.join("version.ini"), format!("name=Big Tools\nversion={version}\n")).expect("writes");
}

/// Two nodes: the first shares `Big Tools` 1.0, the second shares an empty folder.
struct Pair {
    folder: TempDir,
    source: Served,
    here: Served,
}

impl Pair {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir(&to).expect("makes it");
        package(&from, "tools", "1.0", 3 << 20);
        let source = Served::start_with(|builder| builder.library(from)).await;
        let address = source.node.status().await.expect("it runs").addresses[0].clone();
        let here = Served::start_with(|builder| builder.library(to).bootstrap(address)).await;
        Self { folder, source, here }
    }

    async fn run(&self, line: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        command.arg("library").args(line).env("BANYAN_SOCKET", &self.here.path).env_remove("BANYAN_MESH");
        command.stdin(Stdio::null()).kill_on_drop(true);
        timeout(LIMIT, command.output()).await.expect("it ends in time").expect("it starts")
    }

    /// What a command prints that ends well.
    async fn prints(&self, line: &[&str]) -> String {
        let output = self.run(line).await;
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }

    async fn json(&self, line: &[&str]) -> Value {
        let text = self.prints(&[line, &["--format", "json"]].concat()).await;
        serde_json::from_str::<Value>(&text).expect("one document")["data"].take()
    }

    /// Checks how a command fails: its exit code and the code of its error.
    async fn fails(&self, line: &[&str], exit: i32, code: &str) {
        let output = self.run(&[line, &["--format", "json"]].concat()).await;
        let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_default();
        assert_eq!(output.status.code(), Some(exit), "{line:?}: {error}");
        assert_eq!(error["data"]["code"], code, "{line:?}: {error}");
        assert!(error["data"]["hint"].is_string(), "{line:?}: {error}");
    }

    /// Waits until the mesh is known to have a version of the package.
    async fn until(&self, version: &str) {
        let look = async {
            loop {
                let library = self.json(&["list"]).await;
                let versions = library["titles"][0]["versions"].as_array().cloned().unwrap_or_default();
                if versions.iter().any(|found| found["version"] == version && found["peers"] != Value::Array(vec![])) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, look).await.expect("the catalog arrives");
    }

    async fn stop(self) {
        self.here.stop().await;
        self.source.stop().await;
    }
}

#[tokio::test]
async fn package_is_fetched_installed_updated_and_removed_d3_d5_d8_d12() {
    let pair = Pair::start().await;
    pair.until("1.0").await;
    let text = pair.prints(&[]).await;
    assert!(text.contains("Big Tools  1.0      3.0 MiB  1      -"), "{text}");
    let text = pair.prints(&["list", "tool"]).await;
    assert!(text.starts_with("NAME       VERSION  PACKAGE") && text.contains("Big Tools"), "{text}");

    let text = pair.prints(&["get", "Big Tools"]).await;
    assert!(text.starts_with("fetched Big Tools 1.0 in "), "{text}");
    let shown = pair.json(&["show", "Big Tools@1.0"]).await;
    assert_eq!((&shown["here"], &shown["files"]), (&"complete".into(), &3.into()));
    let path = shown["path"].as_str().expect("it is here").to_owned();
    assert_eq!(fs::read(format!("{path}/data/big")).expect("reads"), vec![3; 3 << 20]);
    let id = shown["package"].as_str().expect("an id")[..8].to_owned();

    let job = pair.json(&["verify", &id]).await;
    assert_eq!((&job["kind"], &job["state"]), (&"verify".into(), &"done".into()));
    pair.fails(&["uninstall", "Big Tools"], 7, "not_installed").await;
    let text = pair.prints(&["install", "Big Tools"]).await;
    assert!(text.starts_with("installed Big Tools 1.0 in "), "{text}");
    assert_eq!(fs::read_to_string(format!("{path}/local/read me")).expect("reads"), "1.0");

    package(&pair.folder.path().join("from"), "tools", "1.1", 2 << 20);
    pair.until("1.1").await;
    let text = pair.prints(&["update", "Big Tools"]).await;
    assert!(text.starts_with("updated to Big Tools 1.1 in "), "{text}");
    assert_eq!(fs::read_to_string(format!("{path}/local/read me")).expect("reads"), "1.1");

    pair.prints(&["uninstall", "Big Tools"]).await;
    assert!(!Path::new(&format!("{path}/local")).exists());
    pair.prints(&["remove", "Big Tools"]).await;
    assert!(!Path::new(&path).exists());
    let jobs = pair.json(&["jobs"]).await;
    let kinds: Vec<&str> =
        jobs["jobs"].as_array().expect("a list").iter().filter_map(|job| job["kind"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"remove"), "the newest first: {kinds:?}");
    pair.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_its_exit_code() {
    let pair = Pair::start().await;
    pair.until("1.0").await;
    pair.fails(&["show", "nothing"], 3, "not_found").await;
    pair.fails(&["get", "Big Tools@7"], 3, "not_found").await;
    pair.fails(&["jobs", "999"], 3, "not_found").await;
    pair.fails(&["cancel", "999"], 3, "not_found").await;
    pair.fails(&["explain", "999"], 3, "not_found").await;
    pair.fails(&["add", "/nonexistent/library"], 2, "bad_root").await;
    pair.fails(&["remove-root", "/nonexistent/library"], 3, "not_found").await;
    pair.stop().await;
}

#[tokio::test]
async fn detached_job_goes_on_and_is_shown_d12() {
    let pair = Pair::start().await;
    pair.until("1.0").await;
    let job = pair.json(&["get", "Big Tools", "--install", "--detach"]).await;
    let id = job["id"].to_string();
    let look = async {
        loop {
            let job = pair.json(&["jobs", &id]).await;
            if job["state"] == "done" {
                return job;
            }
            assert!(matches!(job["state"].as_str(), Some("running" | "waiting")), "{job}");
            sleep(Duration::from_millis(20)).await;
        }
    };
    let job = timeout(LIMIT, look).await.expect("it ends");
    assert_eq!(job["bytes"], job["bytes_total"]);
    let explained = pair.json(&["explain", &id]).await;
    assert_eq!((explained["id"].to_string(), &explained["why"]), (id.clone(), &"done".into()));
    assert_eq!(pair.json(&["show", "Big Tools"]).await["here"], "installed");
    pair.stop().await;
}

#[tokio::test]
async fn roots_come_and_go_while_the_node_runs_d2() {
    let pair = Pair::start().await;
    let other = pair.folder.path().join("other");
    package(&other, "more", "9", 1000);
    let path = other.to_str().expect("it is text");
    pair.prints(&["add", path]).await;
    let look = async {
        while pair.run(&["show", "Big Tools@9"]).await.status.code() != Some(0) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, look).await.expect("it is found");
    let library = pair.json(&["remove-root", path]).await;
    assert_eq!(library["roots"].as_array().map(Vec::len), Some(1), "{library}");
    assert!(other.join("more/version.ini").exists(), "nothing is touched");
    pair.stop().await;
}

#[tokio::test]
async fn node_without_a_library_says_how_to_get_one() {
    let served = Served::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
        command.arg("library").args(args).env("BANYAN_SOCKET", &served.path).stdin(Stdio::null());
        let output = timeout(LIMIT, command.output()).await.expect("it ends in time").expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, stderr) = run(&["list"]).await;
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("no library") && stderr.contains("banyan library add DIR"), "{stderr}");
    assert!(served.node.library().is_none());
    let (code, stderr) = run(&["add", folder.path().to_str().expect("it is text")]).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(run(&["list"]).await.0, Some(0));
    assert!(served.node.library().is_some());
    served.stop().await;
}
