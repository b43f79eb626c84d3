//! Admission as users meet it: real processes, keys on disk, invitations (C7).

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(90);

fn banyan(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banyan"));
    command.args(line).stdin(Stdio::null()).kill_on_drop(true);
    for variable in ["BANYAN_MESH", "BANYAN_SOCKET", "BANYAN_KEY", "BANYAN_KEY_FILE", "BANYAN_JOIN"] {
        command.env_remove(variable);
    }
    command
}

async fn output(mut command: Command) -> Output {
    timeout(LIMIT, command.output()).await.expect("it ends in time").expect("it starts")
}

/// A node in a process of its own, with a folder of its own.
struct Running {
    process: Child,
    folder: PathBuf,
}

impl Running {
    fn start(folder: &Path, line: &[&str], env: &[(&str, &str)]) -> Self {
        fs::create_dir_all(folder).expect("makes it");
        let (socket, data) = (folder.join("socket"), folder.join("data"));
        let mut command = banyan(&["run", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--log", "error"]);
        command.args(line).arg("--data-dir").arg(data).arg("--socket").arg(socket);
        command.envs(env.iter().copied()).stdout(Stdio::null());
        Self { process: command.spawn().expect("it starts"), folder: folder.to_owned() }
    }

    async fn asked(&self, line: &[&str]) -> Output {
        let mut command = banyan(line);
        command.arg("--socket").arg(self.folder.join("socket"));
        output(command).await
    }

    /// The data of what a command shows, as soon as the node answers and it is as wanted.
    async fn until(&self, line: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let shown = async {
            loop {
                let output = self.asked(&[line, &["--format", "json"]].concat()).await;
                let data = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()["data"].take();
                if output.status.success() && wanted(&data) {
                    return data;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, shown).await.expect("in time")
    }

    async fn address(&self) -> String {
        let status = self.until(&["status"], |status| !status["addresses"][0].is_null()).await;
        status["addresses"][0].as_str().expect("an address").to_owned()
    }

    async fn stop(mut self) {
        self.process.kill().await.expect("it ran");
    }
}

fn linked(status: &Value) -> bool {
    status["links"] == 1
}

#[tokio::test]
async fn the_key_admits_from_a_file_or_the_environment_and_strangers_are_counted_c7() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("mesh.key");
    let path = file.to_str().expect("text");
    assert!(output(banyan(&["key", "new", path])).await.status.success());
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let again = output(banyan(&["key", "new", path])).await;
    assert_eq!(again.status.code(), Some(7), "a key is never overwritten");

    let origin = Running::start(&folder.path().join("a"), &["--key-file", path], &[]);
    let address = origin.address().await;
    let text = fs::read_to_string(&file).expect("it is there");
    let key = text.lines().find(|line| line.starts_with("bnyk")).expect("a key");
    let member = Running::start(&folder.path().join("b"), &["--bootstrap", &address], &[("BANYAN_KEY", key)]);
    member.until(&["status"], linked).await;
    let stranger = Running::start(&folder.path().join("c"), &["--bootstrap", &address], &[]);
    let keys = origin.until(&["key", "list"], |keys| keys["refused"].as_u64() > Some(0)).await;
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1));
    assert!(!keys.to_string().contains(key) && keys["keys"][0]["in_use"] == true, "{keys}");
    assert_eq!(stranger.until(&["status"], |_| true).await["peers"], 0);
    for node in [origin, member, stranger] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_key_file_that_others_may_read_or_that_is_missing_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("mesh.key");
    let path = file.to_str().expect("text");
    let run = async || {
        let mut command = banyan(&["run", "--no-mdns", "--key-file", path]);
        command.arg("--data-dir").arg(folder.path().join("data")).arg("--socket").arg(folder.path().join("socket"));
        let output = output(command).await;
        assert_eq!(output.status.code(), Some(5));
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(run().await.contains("No such file"));
    assert!(output(banyan(&["key", "new", path])).await.status.success());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(run().await.contains("chmod 600"));
}

#[tokio::test]
async fn keys_are_changed_under_running_nodes_and_the_change_lasts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (old, new) = (folder.path().join("old.key"), folder.path().join("new.key"));
    for file in [&old, &new] {
        assert!(output(banyan(&["key", "new", file.to_str().expect("text")])).await.status.success());
    }
    let node = Running::start(&folder.path().join("a"), &["--key-file", old.to_str().expect("text")], &[]);
    let before = node.until(&["key", "list"], |_| true).await;
    let was = before["keys"][0]["key"].as_str().expect("a fingerprint").to_owned();
    let installed = node.until(&["key", "install", new.to_str().expect("text")], |_| true).await;
    let is = installed["keys"][1]["key"].as_str().expect("a fingerprint").to_owned();
    for (line, exit) in [(["remove", &was], 7), (["use", "00000000"], 3), (["use", &is], 0), (["remove", &was], 0)] {
        let answer = node.asked(&[&["key"], &line[..]].concat()).await;
        assert_eq!(answer.status.code(), Some(exit), "{line:?}");
    }
    node.stop().await;
    let kept = fs::read_to_string(&old).expect("it is there");
    let now = fs::read_to_string(&new).expect("it is there");
    assert_eq!(kept, now, "the file holds the new key alone");
}

#[tokio::test]
async fn an_invitation_leads_a_new_node_into_the_mesh_and_back_c7() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("mesh.key");
    let path = key.to_str().expect("text");
    assert!(output(banyan(&["key", "new", path])).await.status.success());
    let host = Running::start(&folder.path().join("a"), &["--mesh", "lab", "--key-file", path], &[]);
    host.address().await;
    let invitation = host.until(&["invite", "--expires", "1h"], |_| true).await;
    let token = invitation["token"].as_str().expect("a token").to_owned();
    let guest = Running::start(&folder.path().join("b"), &["--join", &token], &[]);
    assert_eq!(guest.until(&["status"], linked).await["mesh"], "lab");
    // Used up: another machine is told so.
    let mut late = banyan(&["run", "--no-mdns", "--join", &token, "--log", "error", "--data-dir"]);
    late.arg(folder.path().join("c/data")).arg("--socket").arg(folder.path().join("c.socket"));
    let late = output(late).await;
    assert_eq!(late.status.code(), Some(5), "{}", String::from_utf8_lossy(&late.stderr));
    // The guest keeps what it got: it comes back without the token.
    guest.stop().await;
    let guest = Running::start(&folder.path().join("b"), &["--mesh", "lab"], &[]);
    guest.until(&["status"], linked).await;
    host.stop().await;
    guest.stop().await;
}
