//! What a node relays for others, and what it does not.

use std::{sync::Arc, time::Duration};

use banyan_gossip::{PeerId, RelayPolicy, TrackName};
use banyan_tree::{Rules, Source, Unwilling};

use super::{World, track};
use crate::{mesh::Config, relay::Terms};

/// Node 0 publishes tracks, node 1 is asked to relay them.
fn world(configure: impl Fn(&mut Config)) -> World {
    let mut world = World::new(3, configure);
    world.run(Duration::from_secs(5));
    world
}

fn name(index: usize) -> TrackName {
    TrackName::new(&format!("t{index}")).expect("valid")
}

fn publish(world: &mut World, track: &TrackName) -> Source {
    let (now, origin) = (world.now, world.order[0]);
    let epoch = world.mesh(0).publish(now, track, Terms::default()).expect("publishes");
    world.collect();
    world.run(Duration::from_secs(1));
    Source { epoch, origin }
}

/// Node 2, or somebody else, asks node 1.
fn ask(world: &mut World, from: Option<PeerId>, track: &TrackName, source: Source) -> Result<(), Unwilling> {
    let (now, from) = (world.now, from.unwrap_or(world.order[2]));
    let answer = world.mesh(1).volunteer(now, from, track, source);
    world.collect();
    answer
}

#[test]
fn a_member_volunteers_for_a_track_that_is_published() {
    let mut world = world(|_| {});
    let source = publish(&mut world, &track());
    assert_eq!(ask(&mut world, None, &name(1), source), Err(Unwilling::NoOrigin));
    assert_eq!(ask(&mut world, None, &track(), source), Ok(()));
    world.run(Duration::from_secs(1));
    assert!(world.mesh(1).is_volunteer(&track()));
    assert_eq!(world.parent(1), Some(0));
    let row = |world: &mut World| {
        let volunteer = world.order[1];
        world.mesh(2).table().live(&volunteer).expect("known").tracks.get(&track()).map(|entry| entry.volunteer)
    };
    assert_eq!(row(&mut world), Some(true));
    world.run(Duration::from_secs(35));
    assert_eq!(row(&mut world), None, "nobody needed it");
}

#[test]
fn the_unwilling_the_full_and_the_unknown_are_refused_with_a_reason() {
    let mut world = world(|config| config.relay = RelayPolicy::Never);
    let source = publish(&mut world, &track());
    assert_eq!(ask(&mut world, None, &track(), source), Err(Unwilling::Never));
    let stranger = Some(PeerId::from_key_bytes([9; 32]));
    assert_eq!(ask(&mut world, stranger, &track(), source), Err(Unwilling::Stranger));
    let mut world = self::world(|config| config.capacity = Some(1));
    let source = publish(&mut world, &track());
    assert_eq!(ask(&mut world, None, &track(), source), Err(Unwilling::Full));
}

#[test]
fn questions_of_one_peer_are_counted() {
    let mut world = world(|config| config.capacity = Some(1));
    let source = publish(&mut world, &track());
    let answers: Vec<_> = (0..20).map(|_| ask(&mut world, None, &track(), source)).collect();
    let (judged, dropped) = answers.split_at(12);
    assert!(judged.iter().all(|answer| *answer == Err(Unwilling::Full)));
    assert!(dropped.iter().all(|answer| *answer == Err(Unwilling::TooOften)));
    let other = Some(world.order[0]);
    assert_eq!(ask(&mut world, other, &track(), source), Err(Unwilling::Full));
    world.run(Duration::from_secs(61));
    assert_eq!(ask(&mut world, None, &track(), source), Err(Unwilling::Full));
}

#[test]
fn tracks_relayed_for_others_are_few_and_make_room_for_the_nodes_own() {
    let mut world = world(|_| {});
    let sources: Vec<Source> = (0..9).map(|index| publish(&mut world, &name(index))).collect();
    for (index, source) in sources.iter().enumerate().take(8) {
        assert_eq!(ask(&mut world, None, &name(index), *source), Ok(()));
    }
    assert_eq!(ask(&mut world, None, &name(8), sources[8]), Err(Unwilling::TooManyTracks));
    let now = world.now;
    for index in 20..32 {
        world.mesh(1).subscribe(now, &name(index)).expect("the node's own come first");
    }
    assert!(world.mesh(1).subscribe(now, &name(33)).is_err(), "the row is full of the node's own");
    let volunteered = (0..8).filter(|index| world.mesh(1).is_volunteer(&name(*index))).count();
    assert_eq!(volunteered, 0);
}

#[test]
fn nobody_relays_what_its_rules_forbid() {
    let mut world = world(|_| {});
    let source = publish(&mut world, &track());
    let (me, now) = (world.order[1], world.now);
    let (own, none) = (format!("subscribe={me}"), "publish=none".to_owned());
    for (rights, answer) in [
        (own, Err(Unwilling::Forbidden)),
        (none, Err(Unwilling::Forbidden)),
        ("subscribe=none".to_owned(), Err(Unwilling::Forbidden)),
        ("subscribe=all".to_owned(), Ok(())),
    ] {
        let rules = Rules::new(vec![format!("*: {rights}").parse().expect("a rule")]).expect("one");
        world.mesh(1).set_rules(now, Arc::new(rules));
        assert_eq!(ask(&mut world, None, &track(), source), answer, "{rights}");
    }
}
