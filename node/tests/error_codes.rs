//! Every code that the API answers an error with: provoked here, or in a test that this one names. A code that is new
//! in the source and has no case makes the test fail.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use banyan_node::{Node, NodeError, PublishOptions, Rules, TrackName, admission::MeshKey};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use common::Served;

/// Time for anything to happen.
const LIMIT: Duration = Duration::from_secs(30);

/// Codes that other tests provoke, by their files.
const ELSEWHERE: &[(&str, &str)] = &[
    ("too_many_connections", "tests/api.rs"),
    ("foreign_host", "tests/http.rs"),
    ("foreign_origin", "tests/http.rs"),
    ("read_only", "tests/http.rs"),
    ("socket_only", "tests/http.rs"),
    ("timeout", "tests/insight.rs"),
    ("taken_over", "tests/error_codes.rs"),
    ("busy", "tests/library/fetching.rs"),
    ("cancelled", "tests/library/fetching.rs"),
    ("unavailable", "tests/library/fetching.rs"),
    ("push_failed", "tests/library/pushing.rs"),
    ("not_installed", "tests/library_cli.rs"),
    ("bad_root", "tests/library_cli.rs"),
    ("no_source", "tests/library_jobs.rs"),
    ("disk_full", "tests/library_jobs.rs"),
    ("bad_package", "tests/library_jobs.rs"),
];

/// Codes that no test can provoke through a node that runs, and why.
const NEVER: &[(&str, &str)] = &[
    ("stuck", "nothing from outside holds up the main loop"),
    ("io", "a disk that fails in other ways than being full"),
    ("not_owned", "the transactions' own tests have folders that others made"),
    ("pusher_gone", "the pushing peer has to vanish between the last piece and the activation of all"),
];

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The words in quotes that follow a status, and those of the library.
fn codes_in_the_source() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for file in fs::read_dir(source("src/api")).expect("it is there") {
        let path = file.expect("it is listed").path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let text = text.split("#[cfg(test)]").next().expect("there is a first part");
        for after in text.split("StatusCode::").skip(1) {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
            let quoted = rest.strip_prefix(',').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'));
            codes.extend(quoted.and_then(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    let library = fs::read_to_string(source("src/net/library/error.rs")).expect("it is there");
    let arms = library.split("fn code").nth(1).and_then(|rest| rest.split("fn hint").next()).expect("it has both");
    codes.extend(arms.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    assert!(codes.len() > 40, "the source is read as it is written: {codes:?}");
    codes
}

/// Asks, and gives what is wrong by its code.
struct Asking {
    path: PathBuf,
    codes: BTreeSet<String>,
}

impl Asking {
    async fn ask(&self, line: &str, body: &str) -> (String, Value) {
        let mut stream = UnixStream::connect(&self.path).await.expect("the node listens");
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nhost: banyan\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.expect("it is taken");
        let mut answer = Vec::new();
        timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("it ends in time").expect("it is answered");
        let answer = String::from_utf8(answer).expect("it is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let json = serde_json::from_str(body).unwrap_or_else(|error| panic!("{line}: {error}: {answer}"));
        (head.split(' ').nth(1).expect("a status").to_owned(), json)
    }

    /// An error of this code, with a message and a hint of one line each.
    async fn fails(&mut self, code: &str, line: &str, body: &str) {
        let (status, json) = self.ask(line, body).await;
        self.note(code, &status, &json, line);
    }

    fn note(&mut self, code: &str, status: &str, json: &Value, line: &str) {
        assert!(status.starts_with(['4', '5']), "{line}: {status} {json}");
        assert_eq!((&json["schema"], &json["data"]["code"]), (&"banyan.error/v1".into(), &code.into()), "{json}");
        for part in ["message", "hint"] {
            let text = json["data"][part].as_str().unwrap_or_default();
            assert!(!text.is_empty() && !text.contains('\n'), "{line}: {part} of {json}");
        }
        self.codes.insert(code.to_owned());
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn address(node: &Node) -> String {
    node.status().await.expect("it runs").addresses.first().expect("it listens").clone()
}

fn other() -> banyan_node::Builder {
    Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0")
}

#[tokio::test]
async fn every_code_is_provoked_or_named() {
    let served = Served::start().await;
    until("it listens", async || !served.node.status().await.expect("it runs").addresses.is_empty()).await;
    let mut asking = Asking { path: served.path.clone(), codes: BTreeSet::new() };

    asking.fails("unknown_route", "GET /v1/none", "").await;
    asking.fails("method_not_allowed", "DELETE /v1/status", "").await;
    asking.fails("invalid_name", "GET /v1/tracks/a..b/tree", "").await;
    asking.fails("invalid_argument", "GET /v1/status?x=1", "").await;
    asking.fails("body_too_large", "POST /v1/tags", &"x".repeat(100_000)).await;
    asking.fails("object_too_large", "PUT /v1/tracks/b/publish?framing=length", "\x7f\0\0\0x").await;
    asking.fails("truncated", "PUT /v1/tracks/c/publish?framing=length", "\0\0\0\x05ab").await;
    asking.fails("unknown_track", "GET /v1/tracks/none/tree", "").await;
    asking.fails("unknown_peer", "GET /v1/peers/none", "").await;
    asking.fails("not_found", "GET /v1/why/none", "").await;
    asking.fails("not_ready", "GET /readyz?min_peers=99", "").await;
    asking.fails("not_configurable", "PUT /v1/log", r#"{"filter":"debug"}"#).await;
    asking.fails("not_joined", "POST /v1/join", r#"{"address":"127.0.0.1:1"}"#).await;
    asking.fails("no_library", "GET /v1/library", "").await;
    let rules = Rules::new(vec!["closed/*: publish=none".parse().expect("valid")]).expect("one");
    served.node.set_rules(rules).await.expect("it runs");
    asking.fails("forbidden", "PUT /v1/tracks/closed/1/publish", "x").await;
    let event = r#"{"name":"a","payload":""}"#;
    until("there are too many events", async || asking.ask("POST /v1/events", event).await.0 == "429").await;
    asking.fails("too_many_events", "POST /v1/events", event).await;

    let mine = served.node.publish("mine".parse().expect("valid"), PublishOptions::default()).await.expect("publishes");
    asking.fails("already_published", "PUT /v1/tracks/mine/publish", "x").await;

    // Two nodes of one name, of which one publishes what this node publishes too, and something else.
    let [twin, sibling] = [other(), other()].map(|builder| builder.label("twin".parse().expect("valid")).start());
    let (twin, sibling) = (twin.await.expect("it starts"), sibling.await.expect("it starts"));
    until("they listen", async || {
        let listening = async |node: &Node| !node.status().await.expect("it runs").addresses.is_empty();
        listening(&twin).await && listening(&sibling).await
    })
    .await;
    let theirs = twin.publish("theirs".parse().expect("valid"), PublishOptions::default()).await.expect("publishes");
    // Of two publications begun apart one is followed, and the publisher of the other is told.
    let track: TrackName = "clash".parse().expect("valid");
    let mut clashing = Vec::new();
    for node in [&served.node, &twin] {
        clashing.push(node.publish(track.clone(), PublishOptions::default()).await.expect("publishes"));
    }
    for node in [&twin, &sibling] {
        served.node.join(&address(node).await).await.expect("it joins");
    }
    until("one of the two yields", async || {
        let mut yields = false;
        for publisher in &mut clashing {
            yields |= matches!(publisher.send("x".into()).await, Err(NodeError::TakenOver(_)));
        }
        yields
    })
    .await;
    until("both twins are known", async || served.node.status().await.expect("it runs").peers == 2).await;
    asking.fails("ambiguous", "GET /v1/peers/twin", "").await;
    asking.fails("conflict", "PUT /v1/tracks/theirs/publish", "x").await;

    let mut many = Vec::new();
    for nth in 0.. {
        let name = format!("{}/{nth}", "x".repeat(64));
        match served.node.publish(name.parse().expect("valid"), PublishOptions::default()).await {
            Ok(publisher) => many.push(publisher),
            Err(NodeError::TooManyTracks) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let more = format!("PUT /v1/tracks/{}/more/publish", "x".repeat(64));
    asking.fails("too_many_tracks", &more, "x").await;

    drop((mine, theirs, many));
    twin.shutdown().await;
    sibling.shutdown().await;
    served.node.shutdown().await;
    asking.fails("shutting_down", "GET /v1/status", "").await;
    served.stop().await;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let keys = folder.path().join("keys");
    let [key, another] = [1, 2].map(|byte| MeshKey::from_bytes([byte; 32]).to_text());
    fs::write(&keys, key).expect("it is written");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).expect("they are set");
    let keyed = Served::start_with(|builder| builder.key_file(&keys)).await;
    asking.path = keyed.path.clone();
    folder.close().expect("it is removed");
    asking.fails("unkept", "POST /v1/keys", &format!(r#"{{"key":"{another}"}}"#)).await;
    keyed.stop().await;

    let mut known = asking.codes;
    for (code, file) in ELSEWHERE {
        let text = fs::read_to_string(source(file)).expect("it is there").to_lowercase().replace('_', "");
        assert!(text.contains(&code.replace('_', "")), "{file} does not speak of {code}");
        known.insert((*code).to_owned());
    }
    known.extend(NEVER.iter().map(|(code, _)| (*code).to_owned()));
    assert_eq!(known, codes_in_the_source(), "each code has a case, and each case a code");
}
