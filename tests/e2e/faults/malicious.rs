//! A member that has the key and means harm: the example `malicious` of `banyan-node`.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Bench, Row, WHOLE, whole, within};
use crate::{
    lab::{Done, Failed, Lab, PORT},
    node::{Node, eventually, mortal},
    stage::Stage,
    stream::Load,
};

/// What it does, what that is, how it is named for it, and whether it needs children for that.
#[derive(Debug, Clone, Copy)]
struct Deed {
    name: &'static str,
    text: &'static str,
    named: Option<&'static str>,
    feeds: bool,
    load: Load,
}

const DEEDS: [Deed; 8] = [
    deed("withhold", "takes children and sends them nothing", Some("withheld"), true),
    Deed {
        load: Load::SIGNED,
        ..deed("corrupt", "alters the objects that it relays (signed)", Some("peer_lied"), true)
    },
    deed("mute", "takes children and does not begin their streams", None, false),
    deed("capacity", "offers 65,535 slots and refuses everybody", None, false),
    deed("replay", "replays old rows, all the time", None, false),
    deed("flood", "makes 2,000 ops a second", Some("op_flood"), false),
    deed("forge", "forges rows and certificates of others", Some("forged_op"), false),
    deed("streams", "opens ten thousand streams", None, false),
];

const fn deed(name: &'static str, text: &'static str, named: Option<&'static str>, feeds: bool) -> Deed {
    Deed { name, text, named, feeds, load: Load::VIDEO }
}

/// Kinds of events that accuse somebody, or tell of a new parent.
const KINDS: [&str; 4] = ["parent_lost", "parent_changed", "misbehaved", "peer_lied"];
/// How often a relay is killed until somebody takes the member as its parent.
const LURES: usize = 6;

struct Malicious(Child);

impl Drop for Malicious {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(bench: &Bench<'_>) -> Option<PathBuf> {
    let given = bench.args.malicious.clone();
    given.or_else(|| Some(bench.banyan.parent()?.join("examples/malicious"))).filter(|path| path.exists())
}

/// Starts it on a host of its own, among the others.
fn let_loose(bench: &Bench<'_>, lab: &Lab, host: u8, deeds: &str) -> Done<(Malicious, String)> {
    let program = program(bench).ok_or("no malicious member")?;
    let mut command = mortal();
    command
        .args(["ip", "netns", "exec", &lab.namespace(host)])
        .arg(program)
        .args(["--mesh", "e2e", "--track", "video"]);
    command.args(["--listen", &format!("/ip4/{}/tcp/{PORT}", Lab::address(host))]).args(["--deeds", deeds]);
    for other in 1..host {
        command.arg(format!("{}:{PORT}", Lab::address(other)));
    }
    let log = std::fs::File::create(lab.folder.path().join("malicious.log"))?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    let mut peer = String::new();
    let mut lines = std::io::BufReader::new(child.stdout.take().ok_or("its output is piped")?);
    std::io::BufRead::read_line(&mut lines, &mut peer)?;
    // It goes on reading what the member says, so that it never waits.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok((Malicious(child), peer.trim().to_owned()))
}

/// Nineteen honest members and one that is not, for each of its deeds.
pub(super) fn members(bench: &Bench<'_>) -> Done<Vec<Row>> {
    if program(bench).is_none() {
        let why = "build it: cargo build --release --example malicious";
        return Ok(vec![Row::skipped("a malicious member of 20", WHOLE, why)]);
    }
    let mut rows = Vec::new();
    let wanted = |deed: &Deed| bench.args.deeds.is_empty() || bench.args.deeds.iter().any(|name| name == deed.name);
    for deed in DEEDS.into_iter().filter(wanted) {
        let failed = |error: Failed| vec![Row::new(deed.text, "the test runs", error.to_string(), false)];
        let found = member(bench, deed).unwrap_or_else(failed);
        found.iter().for_each(|row| eprintln!("    {} | {} | {}", row.must, row.measured, row.word()));
        rows.extend(found);
    }
    Ok(rows)
}

fn member(bench: &Bench<'_>, deed: Deed) -> Done<Vec<Row>> {
    const HONEST: u8 = 19;
    let name = format!("one of 20 {}", deed.text);
    let lab = Lab::started(bench.banyan, HONEST)?;
    lab.add_host(HONEST + 1)?;
    let mut stage = Stage::on(lab, deed.load)?;
    stage.forget_pauses();
    let (malicious, liar) = let_loose(bench, &stage.lab, HONEST + 1, deed.name)?;
    let (fed, began) = if deed.feeds { lure(&mut stage, &liar)? } else { (false, Instant::now()) };
    let accusation = deed.named.and_then(|word| {
        eventually(Duration::from_secs(15), || accusations(&stage, word).find(|accusation| accusation.accused == liar))
    });
    let seen_after = began.elapsed();
    if !deed.feeds {
        fell_a_relay(&mut stage, |stage| stage.run(1.0))?;
    }
    stage.run(5.0);
    stage.everyone_gets_more(Duration::from_secs(30))?;
    let innocent: Vec<String> = deed.named.map_or_else(Vec::new, |word| {
        accusations(&stage, word).filter(|accusation| accusation.accused != liar).map(|other| other.text).collect()
    });
    drop(malicious);
    let (outcome, _lab) = stage.end()?;
    let mut rows = vec![whole(&name, &outcome)];
    if deed.feeds && !fed {
        rows.push(Row::new(&name, "it gets children", "none", false));
    } else if let (Some(_), Some(accusation)) = (deed.named, &accusation) {
        let after = accusation.after.unwrap_or(seen_after);
        let mut row = within(&name, "it is named within 5 s", after, Duration::from_secs(5));
        row.measured = format!("{}: {}", row.measured, accusation.text);
        rows.push(row);
    } else if deed.named.is_some() {
        rows.push(Row::new(&name, "it is named within 5 s", "not named", false));
    }
    if deed.named.is_some() {
        let measured = if innocent.is_empty() { "nobody".to_owned() } else { innocent.join("; ") };
        rows.push(Row::new(&name, "nobody else is named so", measured, innocent.is_empty()));
    }
    Ok(rows)
}

/// Ends a relay and starts it again after a while.
fn fell_a_relay(stage: &mut Stage, meanwhile: impl FnOnce(&Stage)) -> Done {
    let relay = stage.relay()?;
    stage.lab.node(relay).kill();
    meanwhile(stage);
    stage.lab.node(relay).start()
}

/// Makes places fall free until somebody takes the member as its parent. Answers whether anybody has, and when the last
/// place fell free.
fn lure(stage: &mut Stage, liar: &str) -> Done<(bool, Instant)> {
    stage.run(2.0);
    let mut began = Instant::now();
    for _ in 0..LURES {
        began = Instant::now();
        fell_a_relay(stage, |stage| {
            let _ = eventually(Duration::from_secs(5), || is_parent(stage, liar).then_some(()));
        })?;
        if is_parent(stage, liar) {
            return Ok((true, began));
        }
        stage.everyone_gets_more(Duration::from_secs(30))?;
    }
    Ok((false, began))
}

fn is_parent(stage: &Stage, liar: &str) -> bool {
    stage.lab.nodes.iter().any(|node| {
        let events = node.events(&KINDS);
        // It may have been left again, before it was anybody's parent.
        events.iter().any(|event| event["to"] == liar || (event["event"] == "peer_lied" && event["peer_id"] == liar))
    })
}

/// Somebody was named.
struct Accusation {
    accused: String,
    text: String,
    /// How long after the accuser had taken it as its parent, if it had.
    after: Option<Duration>,
}

/// Everybody who was named with this word, which is the kind of the event or the reason in it.
fn accusations(stage: &Stage, word: &str) -> impl Iterator<Item = Accusation> {
    stage.lab.nodes.iter().flat_map(move |node| accusations_of(node, word))
}

fn accusations_of(node: &Node, word: &str) -> Vec<Accusation> {
    let events = node.events(&KINDS);
    let ms = |event: &Value| event["at_ms"].as_u64().unwrap_or_default();
    let accuses = |event: &&Value| event["event"] == word || (event["reason"] == word && event["peer_id"].is_string());
    let accusation = |event: &Value| {
        let accused = event["peer_id"].as_str().unwrap_or_default().to_owned();
        let taken = events.iter().rfind(|taken| taken["to"] == accused.as_str() && ms(taken) <= ms(event));
        Accusation {
            text: format!("{} as {word} by {}", event["event"].as_str().unwrap_or_default(), node.spec.name),
            after: taken.map(|taken| Duration::from_millis(ms(event) - ms(taken))),
            accused,
        }
    };
    events.iter().filter(accuses).map(accusation).collect()
}

/// Everything at once.
pub(super) fn many_at_once(bench: &Bench<'_>) -> Done<Vec<Row>> {
    if program(bench).is_none() {
        return Ok(Vec::new());
    }
    member(bench, deed("withhold,replay,flood,forge,streams", "does all of that at once", None, true))
}

/// A node that speaks another version of the protocol.
pub(super) fn version(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let name = "a node of protocol version 3 among those of version 2";
    if program(bench).is_none() {
        return Ok(Vec::new());
    }
    let lab = Lab::started(bench.banyan, 4)?;
    lab.add_host(5)?;
    let stage = Stage::on(lab, Load::VIDEO)?;
    let (newer, _) = let_loose(bench, &stage.lab, 5, "version")?;
    let told = eventually(Duration::from_secs(10), || {
        let checkup = stage.lab.nodes[0].text("/v1/doctor").ok()?;
        checkup.contains("protocol version 3").then_some(())
    });
    stage.run(2.0);
    drop(newer);
    let (outcome, _lab) = stage.end()?;
    Ok(vec![
        whole(name, &outcome),
        Row::new(
            name,
            "it is refused, and doctor says why",
            if told.is_some() { "told" } else { "not told" },
            told.is_some(),
        ),
    ])
}
