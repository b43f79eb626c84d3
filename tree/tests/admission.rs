//! The parent's side, one machine at a time: every limit from both sides (A2–A5, A7, A10, A16, B11).

mod solo;

use std::time::{Duration, Instant};

use banyan_gossip::{PeerId, TrackName, table::PeerTable};
use banyan_tree::{
    Config, Context, DetachReason, Event, Input, LinkSettings, Links, Message, Output, RefuseReason, SlotPool, Source,
    Tree,
};
use solo::{SOURCE, Solo, accept, join, path_message, peer};

struct NoLinks;

impl Links for NoLinks {
    fn linked(&self, _: &PeerId) -> bool {
        false
    }

    fn rtt(&self, _: &PeerId) -> Option<Duration> {
        None
    }
}

#[test]
fn slots_are_given_once_and_shared_by_all_tracks_a3_a10() {
    let now = Instant::now();
    let (table, mut slots) = (PeerTable::default(), SlotPool::new(3));
    let mut cx = Context { peers: &table, slots: &mut slots, links: &NoLinks };
    let mut trees = ["cam/1", "cam/2"].map(|track| {
        let track = TrackName::new(track).expect("a valid name");
        Tree::new(SOURCE.origin, track, Config::default(), fastrand::Rng::with_seed(1), now)
    });
    let mut accepted = Vec::new();
    for tree in &mut trees {
        tree.handle_input(now, &mut cx, Input::Publish { epoch: SOURCE.epoch });
        for number in [10, 11] {
            tree.handle_input(now, &mut cx, Input::Message { from: peer(number), message: join(1) });
        }
        while let Some(output) = tree.poll_output() {
            match output {
                Output::Send { message: Message::Accept { .. }, .. } => accepted.push(true),
                Output::Send { message: Message::Refuse { reason, .. }, .. } => {
                    assert_eq!(reason, RefuseReason::Full);
                    accepted.push(false);
                }
                _ => {}
            }
        }
    }
    assert_eq!(accepted, [true, true, true, false]);
    assert_eq!(trees.each_ref().map(Tree::slots_held), [2, 1]);
    trees[0].handle_input(now, &mut cx, Input::LinkDown { peer: peer(10) });
    trees[1].handle_input(now, &mut cx, Input::Message { from: peer(11), message: join(2) });
    assert_eq!(trees.each_ref().map(Tree::slots_held), [1, 2]);
}

#[test]
fn reservation_ends_when_it_is_not_used() {
    let mut solo = Solo::origin(1, Config::default());
    let ticket = solo.ask(peer(10), join(1)).expect("a free slot");
    solo.pass(Duration::from_millis(1_999));
    assert_eq!(solo.slots.used(), 1);
    solo.pass(Duration::from_millis(1));
    assert_eq!(solo.slots.used(), 0);
    solo.input(Input::ChildOpened { peer: peer(10), ticket });
    assert!(solo.outputs.contains(&Output::Reject { child: peer(10), ticket }));
}

#[test]
fn repair_slots_are_for_repairs_only() {
    let mut solo = Solo::origin(8, Config::default());
    for number in 10..16 {
        solo.take(peer(number));
    }
    assert_eq!(solo.ask(peer(20), join(1)), Err(RefuseReason::Full));
    let repair = |request| Message::Join { request, source: Some(SOURCE), height: 0, need: None, repair: true };
    assert!(solo.ask(peer(20), repair(2)).is_ok());
    assert!(solo.ask(peer(21), repair(3)).is_ok());
    assert_eq!(solo.ask(peer(22), repair(4)), Err(RefuseReason::Full));
}

#[test]
fn refusal_for_want_of_slots_names_others() {
    let mut solo = Solo::origin(3, Config::default());
    for number in 10..13 {
        solo.take(peer(number));
    }
    assert_eq!(solo.ask(peer(20), join(1)), Err(RefuseReason::Full));
    let Some(Output::Send { message: Message::Refuse { try_instead, .. }, .. }) = solo.outputs.first() else {
        panic!("{:?}", solo.outputs);
    };
    let mut named = try_instead.clone();
    named.sort_unstable();
    assert_eq!(named, [peer(10), peer(11), peer(12)]);
}

#[test]
fn root_slots_bound_the_origin_a2() {
    let mut solo = Solo::origin(10, Config { root_slots: 2, ..Config::default() });
    solo.take(peer(10));
    assert!(solo.ask(peer(11), join(1)).is_ok());
    assert_eq!(solo.ask(peer(12), join(2)), Err(RefuseReason::Full));
}

#[test]
fn whole_subtree_has_to_fit_a5() {
    let config = Config { max_depth: 6, ..Config::default() };
    let mut solo = Solo::member(3, 8, config);
    let tall = |height| Message::Join { request: 1, source: Some(SOURCE), height, need: None, repair: false };
    assert!(solo.ask(peer(10), tall(2)).is_ok());
    assert_eq!(solo.ask(peer(10), tall(3)), Err(RefuseReason::TooDeep));
    assert_eq!(solo.ask(peer(10), tall(u8::MAX)), Err(RefuseReason::TooDeep));
}

#[test]
fn ancestor_is_refused_by_the_current_path_a7() {
    let mut solo = Solo::member(3, 8, Config::default());
    for above in [SOURCE.origin, peer(100), peer(101), peer(50)] {
        assert_eq!(solo.ask(above, join(1)), Err(RefuseReason::Ancestor));
    }
    assert!(solo.ask(peer(60), join(1)).is_ok());
    let path = vec![SOURCE.origin, peer(60), peer(101)];
    solo.message(peer(101), path_message(&path));
    assert_eq!(solo.ask(peer(60), join(2)), Err(RefuseReason::Ancestor));
    assert!(solo.ask(peer(100), join(3)).is_ok(), "no longer above");
}

#[test]
fn node_that_sees_itself_in_its_path_detaches_at_once_a7() {
    let mut solo = Solo::member(3, 8, Config::default());
    let path = vec![SOURCE.origin, peer(50), peer(101)];
    solo.message(peer(101), path_message(&path));
    assert_eq!((solo.tree.parent(), solo.tree.depth()), (None, None));
    assert!(solo.outputs.contains(&Output::Close { parent: peer(101), ticket: 7, owed: true }));
    let detach = Message::Detach { ticket: 7, reason: DetachReason::Loop };
    assert!(solo.sent(peer(101), detach));
}

#[test]
fn node_below_the_limit_detaches_and_the_one_at_the_limit_stays_a5() {
    for (length, stays) in [(6_u8, true), (7, false)] {
        let mut solo = Solo::member(3, 8, Config { max_depth: 6, ..Config::default() });
        let above = (0..length - 2).map(|level| peer(120 + level));
        let path: Vec<PeerId> = [SOURCE.origin].into_iter().chain(above).chain([peer(101)]).collect();
        assert_eq!(path.len(), usize::from(length));
        solo.message(peer(101), path_message(&path));
        assert_eq!(solo.tree.parent().is_some(), stays);
    }
}

#[test]
fn detached_and_stale_nodes_accept_nobody() {
    let mut solo = Solo::member(2, 8, Config::default());
    solo.pass(Duration::from_millis(2_999));
    assert!(solo.ask(peer(10), join(1)).is_ok());
    solo.pass(Duration::from_millis(1));
    assert_eq!(solo.ask(peer(11), join(2)), Err(RefuseReason::Detached));
    assert_eq!(solo.tree.depth(), None);
    solo.message(peer(100), Message::Pulse { origin_age_ms: 100 });
    assert_eq!(solo.tree.depth(), Some(2));
    assert!(solo.ask(peer(11), join(3)).is_ok());
    // Its fragment's top has lost its parent.
    let path = vec![peer(100)];
    solo.message(peer(100), path_message(&path));
    assert_eq!(solo.ask(peer(12), join(4)), Err(RefuseReason::Detached));
}

#[test]
fn asker_is_refused_only_if_what_it_needs_is_gone() {
    let mut solo = Solo::member(2, 8, Config::default());
    let need = |need| Message::Join { request: 1, source: Some(SOURCE), height: 0, need, repair: false };
    assert_eq!(solo.ask(peer(10), need(Some(5))), Err(RefuseReason::Behind), "it holds nothing yet");
    solo.input(Input::Ring { oldest: 5, next: 9 });
    assert_eq!(solo.ask(peer(10), need(Some(4))), Err(RefuseReason::Behind));
    assert!(solo.ask(peer(10), need(Some(5))).is_ok());
    assert!(solo.ask(peer(11), need(None)).is_ok());
    assert!(solo.ask(peer(12), need(Some(100))).is_ok(), "it will come");
}

#[test]
fn asker_of_a_newer_publication_is_refused() {
    let mut solo = Solo::member(2, 8, Config::default());
    let of = |epoch| {
        let source = Some(Source { epoch, ..SOURCE });
        Message::Join { request: 1, source, height: 0, need: Some(0), repair: false }
    };
    assert_eq!(solo.ask(peer(10), of(SOURCE.epoch + 1)), Err(RefuseReason::OldSource));
    assert!(solo.ask(peer(10), of(SOURCE.epoch - 1)).is_ok(), "it learns of the newer one here");
}

#[test]
fn child_that_asks_anew_replaces_its_session_and_late_news_of_the_old_one_do_nothing_b11() {
    let mut solo = Solo::origin(1, Config::default());
    let old = solo.take(peer(10));
    let new = solo.ask(peer(10), join(2)).expect("its own slot");
    assert!(solo.outputs.contains(&Output::Drop { child: peer(10), ticket: old }));
    solo.input(Input::ChildClosed { peer: peer(10), ticket: old });
    solo.message(peer(10), Message::Detach { ticket: old, reason: DetachReason::Leaving });
    solo.input(Input::ChildOpened { peer: peer(10), ticket: old });
    assert!(solo.outputs.contains(&Output::Reject { child: peer(10), ticket: old }));
    solo.input(Input::ChildOpened { peer: peer(10), ticket: new });
    assert_eq!(solo.tree.children().collect::<Vec<_>>(), [(peer(10), new)]);
    assert_eq!(solo.slots.used(), 1);
}

#[test]
fn settings_of_the_parent_hold_for_the_child_a16() {
    let settings = LinkSettings { ring_objects: 1_000, heartbeat_ms: 50, ..LinkSettings::default() };
    let mut solo = Solo::origin(2, Config { settings, ..Config::default() });
    solo.take(peer(10));
    let handed = solo.outputs.iter().find_map(|output| match output {
        Output::Send { message: Message::Accept { settings, .. }, .. } => Some(*settings),
        _ => None,
    });
    assert_eq!(handed, Some(settings));
    solo.outputs.clear();
    solo.pass(Duration::from_millis(1_000));
    let is_pulse = |output: &&Output| matches!(output, Output::Send { message: Message::Pulse { .. }, .. });
    let pulses = solo.outputs.iter().filter(is_pulse).count();
    assert!((20..=21).contains(&pulses), "{pulses} pulses");
}

#[test]
fn lower_id_waits_when_two_move_below_each_other() {
    for (number, verdict) in [(40, false), (60, true)] {
        let mut solo = Solo::member(3, 8, Config::default());
        // It is asked to go, and asks this peer.
        let other = peer(number);
        solo.message(peer(101), Message::Shed { try_instead: vec![other] });
        assert!(solo.asked(other).is_some());
        let answer = solo.ask(other, join(1));
        // 50 is greater than 40 and lower than 60.
        assert_eq!(answer.err(), verdict.then_some(RefuseReason::Crossing));
    }
}

#[test]
fn malformed_messages_change_nothing_and_are_counted() {
    let mut solo = Solo::member(2, 8, Config::default());
    let circle = vec![SOURCE.origin, peer(9), peer(9), peer(100)];
    let long: Vec<PeerId> = (0..33).map(|number| peer(110 + number)).chain([peer(100)]).collect();
    for path in [Vec::new(), vec![peer(9)], circle, long] {
        let before = solo.tree.malformed();
        solo.message(peer(100), path_message(&path));
        assert_eq!(solo.tree.malformed(), before + 1);
    }
    let before = solo.tree.malformed();
    solo.message(peer(100), Message::Shed { try_instead: vec![peer(9); 4] });
    assert_eq!(solo.tree.malformed(), before + 1);
    assert_eq!(solo.tree.depth(), Some(2));
}

#[test]
fn strangers_cannot_move_this_node() {
    let mut solo = Solo::member(2, 8, Config::default());
    let child = solo.take(peer(10));
    let path = vec![SOURCE.origin, peer(50), peer(66)];
    solo.message(peer(66), path_message(&path));
    solo.message(peer(66), Message::Detach { ticket: 7, reason: DetachReason::Loop });
    solo.message(peer(66), Message::Detach { ticket: child, reason: DetachReason::Loop });
    solo.message(peer(66), Message::Shed { try_instead: Vec::new() });
    solo.message(peer(66), Message::Height { height: 200 });
    solo.message(peer(66), Message::Pulse { origin_age_ms: u64::MAX });
    solo.message(peer(66), accept(1, &[SOURCE.origin, peer(66)], 9));
    let declined = Message::Detach { ticket: 9, reason: DetachReason::Cancelled };
    assert!(solo.sent(peer(66), declined), "its slot is given back");
    assert_eq!((solo.tree.parent(), solo.tree.depth(), solo.tree.children().count()), (Some(peer(100)), Some(2), 1));
}

#[test]
fn newer_publication_of_the_same_origin_lets_all_children_go() {
    let mut solo = Solo::origin(4, Config::default());
    let ticket = solo.take(peer(10));
    solo.outputs.clear();
    solo.input(Input::Publish { epoch: SOURCE.epoch });
    assert_eq!(solo.tree.children().count(), 1, "the same publication goes on");
    solo.input(Input::Publish { epoch: SOURCE.epoch + 1 });
    assert_eq!((solo.tree.children().count(), solo.slots.used()), (0, 0));
    let left = Event::ChildLeft { child: peer(10), reason: DetachReason::OriginChanged };
    assert!(solo.outputs.contains(&Output::Event(left)));
    assert!(solo.outputs.contains(&Output::Drop { child: peer(10), ticket }));
}
