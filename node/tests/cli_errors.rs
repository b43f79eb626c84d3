//! What the program says to bad input: an exit code, one line of error, one of hint, and no panic.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixListener,
    process::{Command, Output, Stdio},
};

fn banyan(line: &str) -> Output {
    // A node that starts against expectation must not hold up the test: 124 is the exit code then.
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_banyan")]).args(line.split_whitespace()).stdin(Stdio::null());
    for variable in ["BANYAN_SOCKET", "BANYAN_MESH", "BANYAN_LOG", "XDG_RUNTIME_DIR"] {
        command.env_remove(variable);
    }
    command.output().expect("the program starts")
}

/// Checks exit code and shape of an error; returns its two lines.
fn fails(line: &str, exit: i32) -> (String, String) {
    let output = banyan(line);
    let stderr = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(exit), "{line}: {stderr}");
    assert!(output.stdout.is_empty(), "{line}: nothing but errors is printed");
    let lines: Vec<&str> = stderr.lines().collect();
    let [error, hint] = lines[..] else { panic!("{line}: one line of error and one of hint, not:\n{stderr}") };
    let error = error.strip_prefix("error: ").unwrap_or_else(|| panic!("{line}: {stderr}"));
    let hint = hint.strip_prefix("hint: ").unwrap_or_else(|| panic!("{line}: {stderr}"));
    assert!(!error.is_empty() && !hint.is_empty(), "{line}: {stderr}");
    (error.to_owned(), hint.to_owned())
}

#[test]
fn nonsense_is_wrong_usage_a15() {
    for line in [
        "fly",
        "publish",
        "publish a..b",
        "publish /a",
        "publish a//b",
        "subscribe a/",
        "subscribe ä",
        "tree a%2Fb",
        "publish a --framing words",
        "publish a --mode fast",
        "publish a --object-size 0",
        "publish a --object-size 16777217",
        "subscribe a --from yesterday",
        "subscribe a --from -1",
        "subscribe a --timeout 0",
        "status --format xml",
        "peers --mesh a/b",
        "run --label a.b",
        "run --capacity many",
        "run --rule cam/*",
        "run --rule cam/*:publish=everybody",
        "run --log-format xml",
        "demo --nodes 2",
        "demo --nodes 5 --kill 3",
        "demo --capacity 0",
        "demo --seconds 0",
        "bench fly",
        "bench fanout --nodes 0",
        "bench fanout --nodes 65",
        "bench fanout --nodes -3",
        "bench fanout --size 23",
        "bench fanout --size 17MiB",
        "bench fanout --size 1kb",
        "bench fanout --size -1",
        "bench fanout --seconds 0",
        "bench fanout --rate 0",
        "bench fanout --capacity 0",
        "bench fanout --mode live",
        "bench fanout --nodes 18 --capacity 1",
        "bench publish a..b",
        "bench publish a --mode live",
        "bench subscribe a --timeout 0",
        "bench subscribe a --format xml",
        "wait never",
        "wait peers=many",
        "wait ready --timeout 0",
        "events --since yesterday",
        "events --no-follow",
        "peers show",
        "peers ping a --count 0",
        "tree a --format svg",
        "repairs --last few",
        "debug fly",
        "library fly",
        "library get",
        "library cancel x",
        "library list --format xml",
        "library update a --install",
    ] {
        fails(line, 2);
    }
    let (error, _) = fails("publish a..b", 2);
    assert!(error.contains("track name \"a..b\" is not valid"), "{error}");
    let (error, _) = fails("publish a --framing words", 2);
    assert!(error.contains("bytes, lines or length"), "{error}");
    let (error, _) = fails("bench fanout --size 17MiB", 2);
    assert!(error.contains("24 to 16777216 bytes"), "{error}");
    let (_, hint) = fails("bench publish a --mode live", 2);
    assert!(hint.contains("--rate"), "{hint}");
}

#[test]
fn socket_that_nobody_answers_on_is_unreachable() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let nowhere = folder.path().join("no.sock");
    let stale = folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).expect("it is free"));
    for socket in [nowhere, stale] {
        let socket = socket.display();
        for command in [
            "status",
            "peers",
            "tracks",
            "events",
            "tree a",
            "subscribe a",
            "publish a",
            "bench publish a",
            "bench subscribe a",
            "library",
            "library show a",
            "library get a",
            "library remove-root a",
            "library jobs 1",
            "library watch",
        ] {
            let (error, hint) = fails(&format!("{command} --socket {socket}"), 4);
            assert!(error.contains("no node answers on"), "{error}");
            assert!(hint.contains("banyan run"), "{hint}");
        }
    }
}

#[test]
fn socket_path_that_cannot_be_is_wrong_usage() {
    let (error, _) = fails(&format!("status --socket /tmp/{}", "x".repeat(200)), 2);
    assert!(error.contains("at most 107"), "{error}");
}

#[test]
fn something_else_on_the_socket_is_no_node() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("other.sock");
    let listener = UnixListener::bind(&path).expect("it is free");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The request is read first: closing with something unread would reset the connection.
            let _ = stream.and_then(|mut stream| {
                let _request = stream.read(&mut [0; 1024])?;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            });
        }
    });
    fails(&format!("status --socket {}", path.display()), 1);
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let output = banyan("status --format json --socket /nonexistent/banyan.sock");
    assert_eq!(output.status.code(), Some(4));
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("it is one JSON document");
    assert_eq!(error["schema"], "banyan.error/v1");
    assert_eq!(error["data"]["code"], "unreachable");
    assert!(error["data"]["hint"].is_string());
    let output = banyan("status --format json --mesh a/b");
    assert_eq!(output.status.code(), Some(2));
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stderr).is_ok());
}

#[test]
fn run_says_why_it_does_not_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = |more: &str| format!("run --no-mdns --listen /ip4/127.0.0.1/tcp/0 {more}");

    fs::write(at("file"), "mine").expect("writes");
    fails(&run(&format!("--socket {} --data-dir {}", at("file"), at("d1"))), 7);
    assert_eq!(fs::read(at("file")).expect("reads"), b"mine");

    let _live = UnixListener::bind(at("live.sock")).expect("it is free");
    let (error, _) = fails(&run(&format!("--socket {} --data-dir {}", at("live.sock"), at("d1"))), 7);
    assert!(error.contains("already answers"), "{error}");

    fs::create_dir(at("d2")).expect("makes it");
    fs::write(at("d2/identity"), "garbage").expect("writes");
    let (error, _) = fails(&run(&format!("--socket {} --data-dir {}", at("s"), at("d2"))), 8);
    assert!(error.contains("identity"), "{error}");

    fails(&run(&format!("--socket {} --data-dir {}", at("s"), at("file"))), 1);
    fails(&run(&format!("--socket {} --data-dir {} --bootstrap not/an/address", at("s"), at("d3"))), 2);
    fails(&run(&format!("--socket {} --data-dir {} --log a=b=c", at("s"), at("d3"))), 2);
    let nowhere = format!("run --no-mdns --listen nonsense --socket {} --data-dir {}", at("s"), at("d4"));
    fails(&nowhere, 2);
    assert!(!folder.path().join("s").exists(), "no socket is left behind");
}

#[test]
fn help_is_no_error_and_has_examples() {
    for line in [
        "--help",
        "run --help",
        "publish --help",
        "demo --help",
        "tree --help",
        "bench --help",
        "bench fanout --help",
        "library --help",
        "library get --help",
    ] {
        let output = banyan(line);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("EXAMPLES"), "{line}");
    }
    assert!(banyan("--version").status.success());
    assert_eq!(banyan("").status.code(), Some(2));
}
