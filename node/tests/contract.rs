//! The contract with scripts: every command in JSON against the checked-in schemas, every failure with its code and
//! hint, and documents that are current.

#[path = "common/process.rs"]
mod process;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use banyan_node::{api::openapi, views::schemas};
use process::{Process, banyan, next, until};
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Compares a file with what it should be, or writes it if `BANYAN_WRITE_SCHEMAS` is set.
fn is_current(path: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("it has text keys") + "\n";
    if env::var_os("BANYAN_WRITE_SCHEMAS").is_some() {
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let how = "run the test with BANYAN_WRITE_SCHEMAS=1";
    assert_eq!(found, text, "{} is not current: {how}", path.display());
}

fn schema_file(name: &str) -> PathBuf {
    docs().join("schemas").join(format!("{}.json", name.replace('/', ".")))
}

#[test]
fn schemas_and_openapi_are_current() {
    for named in schemas::ALL {
        is_current(&schema_file(named.name), &named.document());
    }
    is_current(&docs().join("openapi.json"), &openapi::document());
    let files = fs::read_dir(docs().join("schemas")).expect("it is there").count();
    assert_eq!(files, schemas::ALL.len(), "there is a file of a schema that is no more");
}

// --- Every command ---------------------------------------------------------------------------

/// What becomes of a command in the contract.
enum Case {
    /// These words print a document of this schema, and with `jsonl` items of that one.
    Shows(&'static [&'static str], &'static str, &'static str),
    /// It prints no document, or is tested elsewhere.
    Not(&'static str),
}

use Case::{Not, Shows};

const TREE: &str = "banyan.tree_node/v1";
const OFFLOAD: &str = "banyan.offload_peer/v1";

/// Every command, by the name of its manual page. Some twice.
const COMMANDS: &[(&str, Case)] = &[
    ("banyan", Not("it is the program itself")),
    ("banyan-run", Not("it runs until it is told to end")),
    ("banyan-publish", Not("its output is none")),
    ("banyan-subscribe", Not("its output is the track")),
    ("banyan-status", Shows(&["status"], "banyan.status/v1", "banyan.status/v1")),
    ("banyan-peers", Shows(&["peers"], "banyan.peers/v1", "banyan.peer/v1")),
    ("banyan-peers-show", Shows(&["peers", "show", "b"], "banyan.peer_detail/v1", "banyan.peer_detail/v1")),
    ("banyan-peers-ping", Shows(&["peers", "ping", "b", "--count", "1"], "banyan.ping/v1", "banyan.ping/v1")),
    ("banyan-peers-rtt", Shows(&["peers", "rtt"], "banyan.peers/v1", "banyan.peer/v1")),
    ("banyan-wait", Not("its answer is its exit code")),
    ("banyan-doctor", Not("it may find something; see below")),
    ("banyan-debug", Not("it has commands of its own")),
    ("banyan-debug-bundle", Not("its output is a file")),
    ("banyan-why", Shows(&["why", "cam/1"], "banyan.why/v1", "banyan.why/v1")),
    ("banyan-why", Shows(&["why", "peer:b"], "banyan.why/v1", "banyan.why/v1")),
    ("banyan-repairs", Shows(&["repairs"], "banyan.repairs/v1", "banyan.repair/v1")),
    ("banyan-tracks", Shows(&["tracks"], "banyan.tracks/v1", "banyan.track/v1")),
    ("banyan-tree", Shows(&["tree", "cam/1"], "banyan.tree/v1", TREE)),
    ("banyan-tree", Shows(&["tree", "cam/1", "--offload"], "banyan.offload/v1", OFFLOAD)),
    ("banyan-top", Not("it is for people; the tests of top read its screen")),
    ("banyan-events", Not("it goes on; see below")),
    ("banyan-event", Not("it has commands of its own")),
    ("banyan-event-send", Shows(&["event", "send", "a", "b"], "banyan.told/v1", "banyan.told/v1")),
    ("banyan-tags", Not("it has commands of its own")),
    ("banyan-tags-set", Shows(&["tags", "set", "a=b"], "banyan.tags/v1", "banyan.tags/v1")),
    ("banyan-tags-unset", Shows(&["tags", "unset", "a"], "banyan.tags/v1", "banyan.tags/v1")),
    ("banyan-capacity", Shows(&["capacity", "4"], "banyan.capacity/v1", "banyan.capacity/v1")),
    ("banyan-join", Shows(&["join", "ADDRESS"], "banyan.joined/v1", "banyan.joined/v1")),
    ("banyan-leave", Not("it comes last; see below")),
    ("banyan-log", Not("it has commands of its own")),
    ("banyan-log-level", Shows(&["log", "level", "warn"], "banyan.log/v1", "banyan.log/v1")),
    ("banyan-key", Not("it has commands of its own")),
    ("banyan-key-new", Not("its output is a key")),
    ("banyan-key-list", Shows(&["key", "list"], "banyan.keys/v1", "banyan.keys/v1")),
    ("banyan-key-install", Not("keys of real meshes are tested elsewhere")),
    ("banyan-key-use", Not("keys of real meshes are tested elsewhere")),
    ("banyan-key-remove", Not("keys of real meshes are tested elsewhere")),
    ("banyan-invite", Not("it needs a mesh key; tested elsewhere")),
    ("banyan-config", Not("it has commands of its own")),
    ("banyan-config-show", Shows(&["config", "show"], "banyan.config/v1", "banyan.setting/v1")),
    ("banyan-config-check", Not("it asks no node; see below")),
    ("banyan-config-init", Not("its output is a file")),
    ("banyan-library", Shows(&["library"], "banyan.library/v1", "banyan.title/v1")),
    ("banyan-library-list", Shows(&["library", "list"], "banyan.library/v1", "banyan.title/v1")),
    ("banyan-library-jobs", Shows(&["library", "jobs"], "banyan.jobs/v1", "banyan.job/v1")),
    ("banyan-library-show", Not("library_cli.rs has packages")),
    ("banyan-library-add", Not("library_cli.rs has packages")),
    ("banyan-library-remove-root", Not("library_cli.rs has packages")),
    ("banyan-library-push", Not("library_cli.rs has packages")),
    ("banyan-library-get", Not("library_cli.rs has packages")),
    ("banyan-library-install", Not("library_cli.rs has packages")),
    ("banyan-library-update", Not("library_cli.rs has packages")),
    ("banyan-library-uninstall", Not("library_cli.rs has packages")),
    ("banyan-library-remove", Not("library_cli.rs has packages")),
    ("banyan-library-verify", Not("library_cli.rs has packages")),
    ("banyan-library-explain", Not("library_cli.rs has packages")),
    ("banyan-library-cancel", Not("library_cli.rs has packages")),
    ("banyan-library-watch", Not("it goes on; library_cli.rs has packages")),
    ("banyan-demo", Not("it needs no node; see below")),
    ("banyan-bench", Not("it has commands of its own")),
    ("banyan-bench-fanout", Not("it needs no node; see below")),
    ("banyan-bench-publish", Not("it takes a track that is free; see below")),
    ("banyan-bench-subscribe", Not("it needs a bench that publishes; see below")),
    ("banyan-completions", Not("its output is a script")),
    ("banyan-man", Not("its output is a page")),
    ("banyan-version", Not("it asks no node; see below")),
];

#[test]
fn no_command_is_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pages = folder.path().to_str().expect("it is text");
    assert!(banyan(&["man", pages]).status().expect("it runs").success());
    let pages = fs::read_dir(folder.path()).expect("it is there").map(|page| {
        let name = page.expect("it is listed").file_name().into_string().expect("it is text");
        name.strip_suffix(".1").expect("it is a page of section 1").to_owned()
    });
    let known: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(pages.collect::<BTreeSet<_>>(), known, "COMMANDS names every command");
    assert!(COMMANDS.iter().all(|(_, case)| !matches!(case, Not(reason) if reason.is_empty())));
}

#[test]
fn every_command_shows_what_its_schema_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("library");
    fs::create_dir(&library).expect("it is made");
    let library = library.to_str().expect("it is text").to_owned();
    let a = Process::start(folder.path(), "a", &["--library", &library, "--tag", "site=berlin"]);
    let mut b = Process::start(folder.path(), "b", &[]);
    b.json(&["join", &a.address()]).expect("it joins");
    let (mut publisher, _output) = b.follow(&["bench", "publish", "cam/1", "--seconds", "60"]);
    let (mut subscriber, _output) = a.follow(&["subscribe", "cam/1"]);
    until("a is fed", || a.json(&["tree", "cam/1"]).is_some_and(|tree| tree["nodes"][1]["attached"] == true));

    for (_, case) in COMMANDS {
        let Shows(words, schema, item) = case else { continue };
        let words: Vec<String> = words.iter().map(|word| word.replace("ADDRESS", &b.address())).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = |format: &[&str]| {
            let output = a.run(&[&words, format].concat());
            let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{words:?}: {error}");
            assert!(!text.contains('\x1b'), "no colours in a pipe");
            text.into_owned()
        };
        conforms(&text(&["--format", "json"]), schema);
        for line in text(&["--format", "jsonl"]).lines() {
            conforms(line, item);
        }
        assert!(!text(&[]).is_empty(), "{words:?}");
    }

    conforms(&String::from_utf8_lossy(&a.run(&["doctor", "--format", "json"]).stdout), "banyan.checkup/v1");
    let (mut events, mut lines) = a.follow(&["events", "--format", "jsonl"]);
    let told = std::thread::scope(|scope| {
        let event = scope.spawn(|| next(&mut lines, |line| line["data"]["event"] == "user"));
        until("the reader of events is there", || {
            a.run(&["event", "send", "now"]);
            event.is_finished()
        });
        event.join().expect("it comes")
    });
    conforms(&told.to_string(), "banyan.event/v1");
    for child in [&mut events, &mut publisher, &mut subscriber] {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    let file = folder.path().join("c.toml");
    fs::write(&file, "capacity = 4").expect("it is written");
    let asks_nobody = |words: &[&str]| {
        let output = banyan(words).output().expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("it is text")
    };
    conforms(&asks_nobody(&["version", "--format", "json"]), "banyan.version/v1");
    conforms(&asks_nobody(&["config", "check", file.to_str().expect("text"), "--format", "json"]), "banyan.config/v1");
    conforms(&String::from_utf8_lossy(&b.run(&["leave", "--format", "json"]).stdout), "banyan.left/v1");
    assert_eq!(b.ended(), Some(0));
}

#[test]
fn reports_are_what_their_schemas_say() {
    let reports = |words: &[&str]| {
        let output = banyan(&[words, &["--format", "json"]].concat()).output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let a = Process::start(folder.path(), "a", &[]);
    std::thread::scope(|scope| {
        let received = scope.spawn(|| a.run(&["bench", "subscribe", "b", "--seconds", "1", "--format", "json"]));
        let sent = a.run(&["bench", "publish", "b", "--seconds", "2", "--rate", "50", "--format", "json"]);
        conforms(&String::from_utf8_lossy(&sent.stdout), "banyan.bench/v1");
        let received = received.join().expect("it ends");
        conforms(&String::from_utf8_lossy(&received.stdout), "banyan.bench/v1");
    });
    let fanout = ["bench", "fanout", "--nodes", "2", "--size", "64", "--rate", "50", "--seconds", "0.3"];
    conforms(&reports(&fanout), "banyan.bench/v1");
    let demo = ["demo", "--nodes", "4", "--kill", "1", "--seconds", "2"];
    conforms(&reports(&demo), "banyan.demo/v1");
}

#[test]
fn every_failure_has_a_code_and_a_hint() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let a = Process::start(folder.path(), "a", &["--max-depth", "4"]);
    for (words, exit, code) in [
        (&["tree", "none"][..], 3, "unknown_track"),
        (&["tree", "none", "--offload"], 3, "unknown_track"),
        (&["why", "none"], 3, "not_found"),
        (&["peers", "show", "none"], 3, "unknown_peer"),
        (&["tree", "a..b"], 2, "usage"),
        (&["status", "--mesh", "a/b"], 2, "usage"),
        (&["event", "send", ""], 2, "invalid_argument"),
        (&["tags", "set", "="], 2, "usage"),
        (&["join", "nowhere"], 2, "invalid_argument"),
        (&["join", "127.0.0.1:1"], 4, "not_joined"),
        (&["log", "level", "a=b=c"], 2, "invalid_argument"),
        (&["library"], 3, "no_library"),
        (&["library", "show", "a"], 3, "no_library"),
    ] {
        let output = a.run(&[words, &["--format", "json"]].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        let error: Value = serde_json::from_str(&stderr).unwrap_or_else(|_| panic!("{words:?}: {stderr}"));
        conforms(&stderr, "banyan.error/v1");
        assert_eq!((output.status.code(), error["data"]["code"].as_str()), (Some(exit), Some(code)), "{words:?}");
        assert!(error["data"]["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{words:?}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
    for (words, exit) in [
        (&["config", "check", "/nonexistent/x.toml"][..], 3),
        (&["run", "--config", "/nonexistent/x.toml"], 3),
        (&["completions", "tcsh"], 2),
        (&["man", "/dev/null/x"], 2),
        (&["config", "init", "/proc/none/x.toml"], 2),
    ] {
        let output = banyan(words).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {stderr}");
        assert!(stderr.contains("\nhint: "), "{words:?}: {stderr}");
    }
}

// --- Schemas ---------------------------------------------------------------------------------

/// Checks a document against the schema file of a name.
fn conforms(text: &str, name: &str) {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    let file = fs::read_to_string(schema_file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let root: Value = serde_json::from_str(&file).expect("it is JSON");
    if let Err(why) = check(&document, &root, &root, "") {
        panic!("{name}: {why}: {text}");
    }
}

/// As much of JSON Schema as the schemas of this project use.
fn check(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else {
        return if schema == &Value::Bool(false) { Err(format!("{at} must not be")) } else { Ok(()) };
    };
    for (keyword, rule) in schema {
        let list = || rule.as_array().map(Vec::as_slice).unwrap_or_default();
        let matching = || list().iter().filter(|schema| check(value, schema, root, at).is_ok()).count();
        let holds = match keyword.as_str() {
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).expect("it is within the document");
                check(value, root.pointer(path).expect("it leads somewhere"), root, at)?;
                true
            }
            "type" => {
                rule.as_str().into_iter().chain(list().iter().filter_map(Value::as_str)).any(|kind| is(value, kind))
            }
            "const" => value == rule,
            "enum" => list().contains(value),
            "required" => list().iter().filter_map(Value::as_str).all(|key| value.get(key).is_some()),
            "properties" => {
                for (key, schema) in rule.as_object().expect("it is an object") {
                    if let Some(value) = value.get(key) {
                        check(value, schema, root, &format!("{at}/{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (key, value) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(key)) {
                        check(value, rule, root, &format!("{at}/{key}"))?;
                    }
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(value, rule, root, &format!("{at}/{index}"))?;
                }
                true
            }
            "anyOf" => matching() > 0,
            "oneOf" => matching() == 1,
            "allOf" => matching() == list().len(),
            "minimum" => value.as_f64().zip(rule.as_f64()).is_none_or(|(value, least)| value >= least),
            "maximum" => value.as_f64().zip(rule.as_f64()).is_none_or(|(value, most)| value <= most),
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => true,
            _ => return Err(format!("the schema says {keyword}, which this test does not know")),
        };
        if !holds {
            return Err(format!("{at}: {keyword} {rule} does not hold"));
        }
    }
    Ok(())
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn the_check_itself_finds_what_is_wrong() {
    let bad = [
        r#"{"schema":"banyan.capacity/v1","data":{"capacity":"4","slots_free":1}}"#,
        r#"{"schema":"banyan.capacity/v1","data":{"capacity":4}}"#,
        r#"{"schema":"banyan.status/v1","data":{"capacity":4,"slots_free":1}}"#,
        r#"{"schema":"banyan.capacity/v1","data":{"capacity":70000,"slots_free":1}}"#,
        r#"{"schema":"banyan.capacity/v1"}"#,
    ];
    let root: Value =
        serde_json::from_str(&fs::read_to_string(schema_file("banyan.capacity/v1")).expect("it is there"))
            .expect("JSON");
    for text in bad {
        let document = serde_json::from_str(text).expect("it is JSON");
        assert!(check(&document, &root, &root, "").is_err(), "{text}");
    }
    conforms(r#"{"schema":"banyan.capacity/v1","data":{"capacity":4,"slots_free":1}}"#, "banyan.capacity/v1");
}
