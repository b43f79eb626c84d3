//! What changes nodes while they run: real processes, real sockets.

#[path = "common/process.rs"]
mod process;

use std::{
    fs,
    io::Read,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
};

use process::{Process, banyan, next, until};

fn pair(folder: &std::path::Path) -> (Process, Process) {
    let a = Process::start(folder, "a", &["--tag", "site=berlin"]);
    let b = Process::start(folder, "b", &[]);
    let joined = b.json(&["join", &a.address()]).expect("it joins");
    assert_eq!(joined["peer_id"], a.json(&["status"]).expect("it answers")["peer_id"]);
    until("they know each other", || a.json(&["status"]).is_some_and(|status| status["peers"] == 1));
    (a, b)
}

#[test]
fn everybody_sees_tags_and_capacity() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (a, b) = pair(folder.path());
    let seen = |key: &str| b.json(&["peers"]).expect("it answers")["peers"][0][key].clone();
    until("b sees the tags of a", || seen("tags") == serde_json::json!({"site": "berlin"}));
    a.json(&["tags", "set", "rack=7", "site=paris"]).expect("they are set");
    a.json(&["tags", "unset", "rack"]).expect("it is unset");
    until("b sees the change", || seen("tags") == serde_json::json!({"site": "paris"}));
    assert_eq!(a.json(&["capacity", "3"]).expect("it is set")["capacity"], 3);
    until("b sees the capacity", || seen("capacity") == 3);
    let many: Vec<String> = (0..17).map(|index| format!("k{index}=v")).collect();
    let many: Vec<&str> = ["tags", "set"].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_eq!(a.run(&many).status.code(), Some(2));
    assert_eq!(a.run(&["tags", "set", "novalue"]).status.code(), Some(2));
}

#[test]
fn an_event_is_told_once_to_everybody() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (a, b) = pair(folder.path());
    let follow = |node: &Process| node.follow(&["events", "--format", "jsonl"]);
    let (mut at_a, mut at_b) = (follow(&a), follow(&b));
    let told = |name: &str| a.json(&["event", "send", name, "v2"]).expect("it is told");
    // Events are followed from the moment that the reader is there.
    let is = |name: &'static str| {
        move |line: &serde_json::Value| line["data"]["event"] == "user" && line["data"]["name"] == name
    };
    let (there, tell) = (AtomicBool::new(false), || a.run(&["event", "send", "warm-up"]));
    std::thread::scope(|scope| {
        scope.spawn(|| until("both readers are there", || tell().status.success() && there.load(Ordering::Relaxed)));
        for (_, lines) in [&mut at_a, &mut at_b] {
            next(lines, is("warm-up"));
        }
        there.store(true, Ordering::Relaxed);
    });
    let id = told("deploy")["id"].clone();
    told("last");
    for lines in [&mut at_a.1, &mut at_b.1] {
        let event = next(lines, is("deploy"));
        assert_eq!((&event["data"]["id"], &event["data"]["payload"]), (&id, &serde_json::json!("v2")));
        let after = next(lines, |line| line["data"]["event"] == "user");
        assert_eq!(after["data"]["name"], "last", "the event before came once");
    }
    for (child, _) in [&mut at_a, &mut at_b] {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    let long = "x".repeat(513);
    assert_eq!(a.run(&["event", "send", "deploy", &long]).status.code(), Some(2));
    let refused = (0..64).map(|_| a.run(&["event", "send", "flood"]).status.code()).find(|code| *code != Some(0));
    assert_eq!(refused, Some(Some(7)), "there is a bound on events");
}

#[test]
fn leaving_ends_the_node_and_the_others_know() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (a, mut b) = pair(folder.path());
    assert!(b.json(&["leave"]).is_some());
    assert_eq!(b.ended(), Some(0));
    assert!(!b.socket.exists());
    until("a knows", || a.json(&["peers"]).is_some_and(|peers| peers["peers"][0]["state"] == "left"));
    assert_eq!(b.run(&["leave"]).status.code(), Some(4));
}

#[test]
fn joining_says_why_it_failed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let a = Process::start(folder.path(), "a", &[]);
    assert_eq!(a.run(&["join", "not an address"]).status.code(), Some(2));
    let nobody = a.run(&["join", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(4), "{}", String::from_utf8_lossy(&nobody.stderr));
    let own = a.run(&["join", &a.address()]);
    assert_eq!(own.status.code(), Some(4), "{}", String::from_utf8_lossy(&own.stderr));
}

#[test]
fn settings_come_from_flags_environment_and_file_and_sighup_reads_it_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("banyan.toml");
    let write = |text: &str| fs::write(&file, text).expect("it writes");
    write("capacity = 5\nmax-links = 3\nroot-slots = 7\ntag = [\"site=berlin\"]\n");
    let log = folder.path().join("log");
    let mut node = Process::spawn(folder.path(), "a", |command| {
        command.arg("--config").arg(&file).args(["--root-slots", "9"]).env("BANYAN_MAX_LINKS", "4");
        command.stderr(Stdio::from(fs::File::create(&log).expect("it writes")));
    });
    let setting = |node: &Process, key: &str| {
        let config = node.json(&["config", "show", "--origin"]).expect("it answers");
        let settings = config["settings"].as_array().expect("a list").clone();
        let setting = settings.into_iter().find(|setting| setting["key"] == key).expect("it is a setting");
        (setting["values"][0].as_str().unwrap_or("-").to_owned(), setting["origin"].as_str().expect("text").to_owned())
    };
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(setting(&node, "capacity"), is("5", "file"));
    assert_eq!(setting(&node, "max-links"), is("4", "environment"));
    assert_eq!(setting(&node, "root-slots"), is("9", "flag"));
    assert_eq!(setting(&node, "relay"), is("when-asked", "default"));
    assert_eq!(node.json(&["status"]).expect("it answers")["capacity"], 5);

    // What can change does, the rest is named.
    let rule = "rule = [\"cam/*: publish=none\"]";
    write(&format!("capacity = 6\nmax-links = 5\nroot-slots = 8\nlog = \"debug\"\nmax-depth = 4\n{rule}\n"));
    assert_eq!(node.run(&["publish", "cam/1"]).status.code(), Some(0));
    node.signal("HUP");
    until("the capacity changes", || node.json(&["status"]).is_some_and(|status| status["capacity"] == 6));
    until("the tags are gone", || node.json(&["status"]).is_some_and(|status| status["tags"] == serde_json::json!({})));
    until("the rule holds", || node.run(&["publish", "cam/2"]).status.code() == Some(5));
    until("the log level changes", || setting(&node, "log") == is("debug", "file"));
    assert_eq!(setting(&node, "max-depth"), is("-", "default"), "it takes a restart");
    let logged = || fs::read_to_string(&log).expect("it is text");
    until("it says so", || logged().contains("changes at the next start"));

    // A broken file keeps everything.
    write("capacity = 7\ncapcity = 8\n");
    node.signal("HUP");
    until("it says what is wrong", || logged().contains("unknown key"));
    assert_eq!(node.json(&["status"]).expect("it answers")["capacity"], 6);
    let check = banyan(&["config", "check", file.to_str().expect("text")]).output().expect("it runs");
    assert_eq!(check.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&check.stderr).contains("did you mean capacity?"));

    assert!(node.json(&["log", "level", "warn"]).is_some());
    assert_eq!(node.run(&["log", "level", "a=b=c"]).status.code(), Some(2));
    node.signal("TERM");
    assert_eq!(node.ended(), Some(0));
}

#[test]
fn watching_prints_what_changes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = Process::start(folder.path(), "a", &[]);
    let (mut child, mut lines) = node.follow(&["status", "--watch", "--format", "jsonl"]);
    assert_eq!(next(&mut lines, |_| true)["data"]["tags"], serde_json::json!({}));
    node.json(&["tags", "set", "a=b"]).expect("it is set");
    assert_eq!(next(&mut lines, |_| true)["data"]["tags"], serde_json::json!({"a": "b"}), "nothing came between");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).expect("it is text");
    assert_eq!(rest, "");
}

#[test]
fn a_configuration_file_is_written_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let init = |more: &[&str]| {
        let output = banyan(&[&["config", "init"], more].concat()).env("XDG_CONFIG_HOME", folder.path()).output();
        output.expect("it runs").status.code()
    };
    assert_eq!(init(&[]), Some(0));
    assert_eq!(init(&[]), Some(7));
    assert_eq!(init(&["--force"]), Some(0));
    let file = folder.path().join("banyan/default.toml");
    let check =
        banyan(&["config", "check", file.to_str().expect("text"), "--format", "json"]).output().expect("it runs");
    assert!(check.status.success());
}
