//! What a person tells everybody arrives everywhere, once.

use std::time::Duration;

use banyan_gossip::{
    Applied, Message, Reason,
    op::{Op, OpId, SignedOp, UserEvent, UserEventError},
};

use crate::world::{World, peer};

const SOON: Duration = Duration::from_secs(2);
/// Every node is older than the time that events are kept.
const SETTLED: Duration = Duration::from_secs(60);

impl World {
    fn tell(&mut self, index: usize, name: &str, payload: &str) -> Result<UserEvent, UserEventError> {
        let now = self.now;
        let node = self.nodes.get_mut(&index).expect("it is there");
        let told = node.tell(now, name.to_owned(), payload.to_owned());
        self.collect();
        told
    }

    /// How often each machine heard it, in the order of the machines.
    fn heard(&self, event: &UserEvent) -> Vec<usize> {
        let times = |index| self.told.iter().filter(|(at, told)| at == index && told == event).count();
        self.nodes.keys().map(times).collect()
    }
}

#[test]
fn an_event_reaches_everybody_once_however_many_ways_there_are() {
    let mut world = World::linked(50);
    world.run(SETTLED);
    let event = world.tell(7, "deploy", "v2").expect("it is told");
    world.run(SOON);
    assert_eq!(world.heard(&event), vec![1; 50]);
    // Not a second time by all the comparisons and new links that follow.
    for index in 0..25 {
        world.link(index, index + 25);
    }
    world.run(SETTLED);
    assert_eq!(world.heard(&event), vec![1; 50]);
    assert_eq!(world.told.len(), 50);
}

#[test]
fn who_was_cut_off_for_a_moment_hears_of_it_later_but_old_news_dies() {
    let mut world = World::linked(10);
    world.run(SETTLED);
    for other in world.links_of(3) {
        world.unlink(3, other);
    }
    let event = world.tell(0, "deploy", "").expect("it is told");
    world.run(SOON);
    assert_eq!(world.heard(&event)[3], 0);
    world.link(3, 4);
    world.run(SOON);
    assert_eq!(world.heard(&event), vec![1; 10]);
    // After its time nobody gives it to a node that joins.
    world.run(SETTLED);
    world.crash(3);
    world.nodes.insert(3, crate::world::machine(3, 2, world.now));
    world.told.clear();
    world.link(3, 4);
    world.run(SETTLED);
    assert_eq!(world.told, []);
}

#[test]
fn names_payloads_and_rates_are_bounded_e3() {
    let mut world = World::linked(4);
    let long = |length| "x".repeat(length);
    assert_eq!(world.tell(0, "", ""), Err(UserEventError::Name));
    assert_eq!(world.tell(0, "a\nb", ""), Err(UserEventError::Name));
    assert_eq!(world.tell(0, &long(65), ""), Err(UserEventError::Name));
    assert_eq!(world.tell(0, "a", &long(513)), Err(UserEventError::Payload));
    assert_eq!(world.told, []);
    world.tell(0, &long(64), &long(512)).expect("that long is fine");
    let told = (0..100).filter(|_| world.tell(0, "again", "").is_ok()).count();
    assert_eq!((told, world.tell(0, "again", "")), (31, Err(UserEventError::TooMany)));
    world.run(SOON);
    assert_eq!(world.told.len(), 4 * 32, "nobody refuses what a node may tell");
    assert!(world.tell(0, "again", "").is_ok(), "a moment later there is room again");
}

#[test]
fn forged_and_oversized_events_are_refused_e3() {
    let mut world = World::linked(2);
    world.run(SOON);
    let id = OpId { author: peer(1), incarnation: 1, version: 99 };
    let forge = |name: &str| UserEvent { id, name: name.to_owned(), payload: String::new() };
    for (name, reason) in [("a", Reason::BadSignature), ("", Reason::OutOfBounds)] {
        let op = SignedOp::new(Op::UserEvent(forge(name)), [1; 64]);
        let node = world.nodes.get_mut(&0).expect("it is there");
        assert_eq!(node.apply(world.now, Some(peer(1)), op.clone()), Applied::Rejected(reason));
        let message = Message::Ops(vec![op]);
        world.input(0, banyan_gossip::Input::Message { from: peer(1), message });
    }
    assert_eq!(world.told, []);
}
