//! Rules about the track: who may publish it and who may follow it.

mod solo;

use std::sync::Arc;

use banyan_gossip::{PeerId, Presence, Role, TrackEntry};
use banyan_tree::{
    Config, DetachReason, Event, Input, LinkSettings, Message, Output, RefuseReason, Rules, Source, State, StuckReason,
};
use solo::{SOURCE, Solo, join, ms, peer};

/// One rule about `cam/1`, the track of these tests.
fn rules(rights: &str) -> Arc<Rules> {
    let rule = format!("cam/*: {rights}").parse().expect("it is a rule");
    Arc::new(Rules::new(vec![rule]).expect("it is one"))
}

fn ruled(rights: &str) -> Config {
    Config { rules: rules(rights), ..Config::default() }
}

/// The row of a peer that publishes the track.
fn publishes(solo: &mut Solo, origin: PeerId, epoch: u64) {
    let entry = TrackEntry {
        role: Role::Origin,
        origin: Some(origin),
        epoch,
        depth: Some(0),
        parent: None,
        children: 0,
        free: 5,
        volunteer: false,
    };
    solo.any_row(origin, Presence::Alive, 5, Some(entry));
}

#[test]
fn child_that_may_not_follow_is_refused_and_one_that_may_is_taken() {
    let mut solo = Solo::origin(4, ruled(&format!("subscribe={}", peer(10))));
    assert!(solo.ask(peer(10), join(1)).is_ok());
    assert_eq!(solo.ask(peer(11), join(1)), Err(RefuseReason::Forbidden));
}

#[test]
fn publication_of_an_origin_that_may_not_publish_is_not_followed() {
    let mut solo = Solo::new(50, 4, ruled(&format!("publish={}", peer(2))));
    publishes(&mut solo, SOURCE.origin, SOURCE.epoch);
    solo.input(Input::Subscribe);
    assert_eq!(solo.tree.state(), State::Seeking { reason: Some(StuckReason::OriginForbidden) });
    assert_eq!((solo.tree.source(), solo.all_asked()), (None, Vec::new()));
    publishes(&mut solo, peer(2), SOURCE.epoch - 1);
    solo.input(Input::TableChanged);
    solo.pass(ms(500));
    assert_eq!(solo.tree.source(), Some(Source { epoch: SOURCE.epoch - 1, origin: peer(2) }));
    assert_eq!(solo.all_asked(), [peer(2)]);
}

#[test]
fn acceptance_below_an_origin_that_may_not_publish_is_given_back() {
    let mut solo = Solo::new(50, 4, ruled(&format!("publish={}", peer(2))));
    publishes(&mut solo, peer(2), SOURCE.epoch - 1);
    solo.input(Input::Subscribe);
    let (request, ..) = solo.asked(peer(2)).expect("it asks");
    // It follows the greater publication.
    let accept = Message::Accept {
        request,
        ticket: 7,
        path: vec![SOURCE.origin, peer(2)],
        source: SOURCE,
        origin_age_ms: 0,
        backups: Vec::new(),
        settings: LinkSettings::default(),
    };
    solo.message(peer(2), accept);
    assert!(solo.sent(peer(2), Message::Detach { ticket: 7, reason: DetachReason::Forbidden }));
    assert_eq!(solo.tree.source().map(|source| source.origin), Some(peer(2)));
    assert!(!solo.outputs.iter().any(|output| matches!(output, Output::Open { .. })));
}

#[test]
fn who_was_refused_by_a_rule_is_asked_again_in_a_moment() {
    let mut solo = Solo::new(50, 4, Config::default());
    publishes(&mut solo, SOURCE.origin, SOURCE.epoch);
    solo.input(Input::Subscribe);
    solo.refused_by(SOURCE.origin, RefuseReason::Forbidden, &[]);
    let stuck = StuckReason::Refused(RefuseReason::Forbidden);
    assert!(solo.outputs.contains(&Output::Event(Event::Stuck { reason: stuck })));
    solo.outputs.clear();
    solo.pass(ms(450));
    assert_eq!(solo.all_asked(), []);
    solo.pass(ms(1_000));
    assert_eq!(solo.all_asked(), [SOURCE.origin]);
}

#[test]
fn rules_that_come_later_end_what_they_forbid() {
    let mut solo = Solo::origin(4, Config::default());
    solo.take(peer(10));
    solo.take(peer(11));
    solo.outputs.clear();
    solo.input(Input::Rules(rules(&format!("subscribe={}", peer(10)))));
    assert_eq!(solo.tree.children().map(|(child, _)| child).collect::<Vec<_>>(), [peer(10)]);
    let left = Event::ChildLeft { child: peer(11), reason: DetachReason::Forbidden };
    assert!(solo.outputs.contains(&Output::Event(left)));

    let mut solo = Solo::member(2, 4, Config::default());
    solo.take(peer(10));
    solo.input(Input::Rules(rules("publish=none")));
    assert_eq!((solo.tree.parent(), solo.tree.source(), solo.tree.children().count()), (None, None, 0));
    assert_eq!(solo.tree.state(), State::Seeking { reason: Some(StuckReason::OriginForbidden) });
    solo.input(Input::Rules(rules("publish=all")));
    solo.input(Input::TableChanged);
    solo.pass(ms(1_000));
    assert_eq!(solo.tree.source(), Some(SOURCE));
}
