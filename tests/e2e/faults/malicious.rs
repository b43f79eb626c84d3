//! A member that has the key and means harm: the example `malicious` of `banyan-node`.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Bench, Row, network::WHOLE};
use crate::{
    lab::{Done, Lab, PORT},
    node::eventually,
    stage::Stage,
    stream::Load,
};

/// What it does, what kind of event names it, and what that says of it.
const DEEDS: [(&str, &str, Option<&str>); 7] = [
    ("withhold", "takes children and sends them nothing", Some("withheld")),
    ("mute", "takes children and does not begin their streams", None),
    ("capacity", "offers 65,535 slots and refuses everybody", None),
    ("replay", "replays old rows, all the time", None),
    ("flood", "makes 2,000 ops a second", Some("op_flood")),
    ("forge", "forges rows and certificates of others", Some("forged_op")),
    ("streams", "opens ten thousand streams", None),
];

/// Kinds of events that accuse somebody.
const NAMING: [&str; 3] = ["parent_lost", "parent_changed", "misbehaved"];

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
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.namespace(host)]).arg(program).args(["--mesh", "e2e", "--track", "video"]);
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
    for (deed, text, named) in DEEDS {
        rows.extend(member(bench, deed, text, named)?);
    }
    Ok(rows)
}

fn member(bench: &Bench<'_>, deed: &str, text: &str, named: Option<&str>) -> Done<Vec<Row>> {
    const HONEST: u8 = 19;
    let lab = Lab::started(bench.banyan, HONEST)?;
    lab.add_host(HONEST + 1)?;
    let mut stage = Stage::on(lab, Load::VIDEO)?;
    stage.forget_pauses();
    let (malicious, liar) = let_loose(bench, &stage.lab, HONEST + 1, deed)?;
    stage.run(2.0);
    // Places fall free, so that it gets children.
    let relay = stage.relay()?;
    stage.lab.node(relay).kill();
    let began = Instant::now();
    let mut naming = None;
    let mut accused = String::new();
    let _ = eventually(Duration::from_secs(12), || {
        for node in &stage.lab.nodes {
            let accusation = node.events(&NAMING).into_iter().find(|event| {
                let who = [&event["peer_id"], &event["from"]].into_iter().any(|peer| *peer == liar.as_str());
                let why = event["reason"].as_str().unwrap_or_default();
                who && named.is_none_or(|named| why == named)
            });
            if let Some(accusation) = accusation.filter(|_| naming.is_none()) {
                naming = Some(began.elapsed());
                accused = format!("{} as {} by {}", accusation["event"], accusation["reason"], node.spec.name);
            }
        }
        (naming.is_some() && began.elapsed() > Duration::from_secs(8)).then_some(())
    });
    stage.lab.node(relay).start()?;
    stage.everyone_gets_more(Duration::from_secs(30))?;
    drop(malicious);
    let (outcome, _lab) = stage.end()?;
    let name = format!("one of 20 {text}");
    let mut rows = vec![Row::new(&name, WHOLE, outcome.text(), outcome.whole())];
    if named.is_some() {
        let measured =
            naming.map_or("not named".to_owned(), |after| format!("{:.1} s: {accused}", after.as_secs_f64()));
        let kept = naming.is_some_and(|after| after < Duration::from_secs(5));
        rows.push(Row::new(&name, "it is named within 5 s", measured, kept));
    }
    Ok(rows)
}

/// Everything at once.
pub(super) fn many_at_once(bench: &Bench<'_>) -> Done<Vec<Row>> {
    if program(bench).is_none() {
        return Ok(Vec::new());
    }
    let deeds: Vec<&str> =
        DEEDS.iter().map(|(deed, ..)| *deed).filter(|deed| !["mute", "capacity"].contains(deed)).collect();
    member(bench, &deeds.join(","), "does all of that at once", None)
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
        Row::new(name, WHOLE, outcome.text(), outcome.whole()),
        Row::new(
            name,
            "it is refused, and doctor says why",
            if told.is_some() { "told" } else { "not told" },
            told.is_some(),
        ),
    ])
}
