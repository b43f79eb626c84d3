//! What happens to processes: frozen, killed, replaced by another build.

use std::time::Duration;

use rustix::process::Signal;

use super::{Bench, Row, WHOLE, whole, within};
use crate::{
    lab::{Done, Lab},
    node::eventually,
    stage::Stage,
    stream::Load,
};

pub(super) fn freeze(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let stage = Stage::set(bench.banyan, 12, Load::VIDEO)?;
    let relay = stage.relay()?;
    stage.forget_pauses();
    stage.lab.nodes[usize::from(relay) - 1].signal(Signal::STOP)?;
    stage.run(5.0);
    let pause = stage.got().into_iter().filter(|(host, _)| *host != relay).map(|(_, got)| got.longest_pause).max();
    let pause = pause.unwrap_or_default();
    stage.lab.nodes[usize::from(relay) - 1].signal(Signal::CONT)?;
    stage.everyone_gets_more(Duration::from_secs(20))?;
    let (outcome, _lab) = stage.end()?;
    let name = "a relay stopped (SIGSTOP) for 5 s";
    Ok(vec![whole(name, &outcome), within(name, "the others pause for less than 1 s", pause, Duration::from_secs(1))])
}

/// A third of the nodes at once, three times; those killed come back.
pub(super) fn storm(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let hosts = 16_u8;
    let mut stage = Stage::set(bench.banyan, hosts, Load::VIDEO)?;
    let mut rng = fastrand::Rng::with_seed(7);
    stage.forget_pauses();
    let (mut survivors_pause, mut slowest) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        let mut victims: Vec<u8> = (2..=hosts).collect();
        rng.shuffle(&mut victims);
        victims.truncate(5);
        for host in &victims {
            stage.lab.node(*host).kill();
        }
        stage.these_get_more(Duration::from_secs(20), |host| !victims.contains(&host))?;
        stage.run(1.0);
        let got = stage.got().into_iter().filter(|(host, _)| !victims.contains(host));
        survivors_pause = survivors_pause.max(got.map(|(_, got)| got.longest_pause).max().unwrap_or_default());
        let started = std::time::Instant::now();
        for host in &victims {
            stage.lab.node(*host).start()?;
        }
        stage.everyone_gets_more(Duration::from_secs(30))?;
        slowest = slowest.max(started.elapsed());
        stage.forget_pauses();
    }
    let (outcome, _lab) = stage.end()?;
    let name = "5 of 16 nodes killed (SIGKILL) at once, three times, and started again";
    Ok(vec![
        // Of those killed: of each life.
        whole(name, &outcome),
        within(name, "survivors pause for less than 2 s", survivors_pause, Duration::from_secs(2)),
        within(name, "those started are fed within 10 s", slowest, Duration::from_secs(10)),
    ])
}

/// One node after the other is stopped and started with another build.
pub(super) fn upgrade(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let name = "all nodes but the publisher's replaced by another build, one after the other";
    let Some(other) = &bench.args.other else {
        return Ok(vec![Row::skipped(name, WHOLE, "give another build with --other")]);
    };
    let hosts = 8_u8;
    let mut lab = Lab::new(bench.banyan, hosts)?;
    for node in &mut lab.nodes {
        node.spec.banyan = other.canonicalize()?;
    }
    lab.start()?;
    let mut stage = Stage::on(lab, Load::VIDEO)?;
    stage.forget_pauses();
    let mut slowest = Duration::ZERO;
    for host in 2..=hosts {
        let node = stage.lab.node(host);
        node.stop()?;
        node.spec.banyan = bench.banyan.to_owned();
        let started = std::time::Instant::now();
        node.start()?;
        stage.everyone_gets_more(Duration::from_secs(30))?;
        slowest = slowest.max(started.elapsed());
    }
    let mixed = stage.lab.nodes.iter().all(|node| node.knows(usize::from(hosts) - 1).is_ok());
    let tree = eventually(Duration::from_secs(10), || {
        let tree = stage.lab.nodes[0].view(&format!("/v1/tracks/{}/tree", stage.load.track)).ok()?;
        let attached = tree["nodes"].as_array()?.iter().filter(|node| node["attached"] == true).count();
        (attached == usize::from(hosts)).then_some(())
    });
    let (outcome, _lab) = stage.end()?;
    let together = mixed && tree.is_some();
    Ok(vec![
        whole(name, &outcome),
        Row::new(name, "both builds in one mesh and one tree", if together { "they are" } else { "not" }, together),
        within(name, "each new node is fed within 10 s", slowest, Duration::from_secs(10)),
    ])
}
