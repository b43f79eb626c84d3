//! What a network does.

use std::time::Duration;

use super::{Bench, Row, whole, within};
use crate::{lab::Done, stage::Stage, stream::Load, wire::Conditions};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Twelve nodes under a condition, which lasts for a while; what became of the stream, and moves a node a minute.
fn under(bench: &Bench<'_>, name: &str, conditions: Conditions) -> Done<[Row; 2]> {
    let stage = Stage::set(bench.banyan, 12, Load::VIDEO)?;
    stage.lab.conditions(conditions);
    stage.run(3.0);
    stage.got();
    stage.forget_pauses();
    let (before, seconds) = (stage.moves(), bench.args.seconds);
    stage.run(seconds);
    let moves = (stage.moves() - before) as f64 * 60.0 / seconds / 12.0;
    let (outcome, _lab) = stage.end()?;
    let moves = Row::new(name, "at most 1 voluntary move a node a minute", format!("{moves:.2}"), moves <= 1.0);
    Ok([whole(name, &outcome), moves])
}

pub(super) fn loss(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let mut rows = Vec::new();
    for percent in [1, 5, 10] {
        let name = format!("{percent} % of the packets lost, 20 ms delay");
        let found = under(
            bench,
            &name,
            Conditions { loss: f64::from(percent) / 100.0, delay: ms(20), ..Conditions::default() },
        )?;
        rows.extend(found);
    }
    // More than TCP can carry at this rate: what matters is that nothing is lost silently, and what comes after.
    let stage = Stage::set(bench.banyan, 12, Load::VIDEO)?;
    stage.lab.conditions(Conditions { loss: 0.3, delay: ms(20), ..Conditions::default() });
    stage.run(bench.args.seconds);
    stage.lab.conditions(Conditions::default());
    let fed = stage.everyone_gets_more(Duration::from_secs(30));
    let told: u64 = stage.lab.nodes.iter().filter_map(|node| node.here(stage.load.track)?["missing"].as_u64()).sum();
    let lost: u64 = stage.got().iter().map(|(_, got)| got.lost).sum();
    let doubled: u64 = stage.got().iter().map(|(_, got)| got.doubled).sum();
    let after = fed.map_or_else(|error| error.to_string(), |()| "all fed".to_owned());
    rows.push(Row::new(
        &format!("30 % of the packets lost, 20 ms delay, for {:.0} s", bench.args.seconds),
        "what is missing is told; everyone is fed 30 s after",
        format!("{lost} objects missing at subscribers, {told} told by their nodes, {doubled} doubled; {after}"),
        told >= lost && doubled == 0 && after == "all fed",
    ));
    Ok(rows)
}

pub(super) fn reorder(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let conditions = Conditions { delay: ms(10), jitter: ms(30), ..Conditions::default() };
    Ok(under(bench, "packets overtake one another: 10 to 40 ms, each drawn", conditions)?.into())
}

pub(super) fn rate(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let conditions = Conditions { rate: Some(10_000_000), delay: ms(2), ..Conditions::default() };
    Ok(under(bench, "every uplink limited to 10 Mbit/s, 3 children at most", conditions)?.into())
}

pub(super) fn cable(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let stage = Stage::set(bench.banyan, 12, Load::VIDEO)?;
    let relay = stage.relay()?;
    stage.forget_pauses();
    stage.lab.cable(relay, false)?;
    stage.these_get_more(Duration::from_secs(20), |host| host != relay)?;
    stage.run(1.5);
    let pause = stage.got().into_iter().filter(|(host, _)| *host != relay).map(|(_, got)| got.longest_pause).max();
    let pause = pause.unwrap_or_default();
    stage.lab.cable(relay, true)?;
    stage.everyone_gets_more(Duration::from_secs(30))?;
    let (outcome, _lab) = stage.end()?;
    let name = "the cable of a relay pulled for 2 s and put back";
    Ok(vec![whole(name, &outcome), within(name, "the others pause for less than 1.5 s", pause, ms(1_500))])
}

/// A relay still hears its parent, which hears nothing of it; and the other way round.
pub(super) fn one_way(bench: &Bench<'_>) -> Done<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, to_parent) in
        [("a relay's parent does not hear it for 8 s", true), ("a relay does not hear its parent for 8 s", false)]
    {
        let stage = Stage::set(bench.banyan, 12, Load::VIDEO)?;
        let relay = stage.relay()?;
        let here = stage.lab.nodes[usize::from(relay) - 1].here(stage.load.track).ok_or("the relay has no part")?;
        let parent = here["parent"].as_str().and_then(|peer| stage.host_of(peer)).ok_or("the relay has no parent")?;
        let (from, to) = if to_parent { (relay, parent) } else { (parent, relay) };
        stage.forget_pauses();
        stage.lab.wire.cut(from, to, true);
        stage.run(8.0);
        stage.lab.wire.cut(from, to, false);
        stage.everyone_gets_more(Duration::from_secs(30))?;
        let (outcome, _lab) = stage.end()?;
        rows.extend([whole(name, &outcome), within(name, "nobody pauses for 3 s", outcome.longest_pause, ms(3_000))]);
    }
    Ok(rows)
}
