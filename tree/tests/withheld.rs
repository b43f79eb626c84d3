//! A parent that is there and brings nothing: it is told from one that has nothing to bring, and named.

mod solo;

use banyan_gossip::PeerId;
use banyan_tree::{Config, DetachReason, Event, Input, Message, MoveReason, Output, RefuseReason};
use solo::{SOURCE, Solo, ms, peer};

const PARENT: PeerId = PeerId::from_key_bytes([100; 32]);
const OTHER: PeerId = PeerId::from_key_bytes([60; 32]);

fn doubting() -> Config {
    Config { doubts: true, ..Config::default() }
}

/// A node at depth 2 that has objects up to 10; beside its parent, another peer has room.
fn fed() -> Solo {
    let mut solo = Solo::member(2, 3, doubting());
    solo.row(OTHER, Some(1), Some(SOURCE.origin), 5);
    solo.input(Input::TableChanged);
    solo.input(Input::Ring { oldest: 0, next: 10 });
    solo.pass_attached(ms(1_000));
    solo.outputs.clear();
    solo
}

/// The same a moment later: the other peer feeds it beside the parent.
fn on_trial() -> Solo {
    let mut solo = fed();
    solo.pass_attached(ms(600));
    assert_eq!(solo.all_asked(), [OTHER], "it is asked after a second and a quarter of one a level");
    solo.accepted_by(OTHER, &[SOURCE.origin, OTHER], 9);
    assert!(solo.tree.on_trial());
    assert_eq!(solo.tree.parent(), Some(PARENT));
    solo
}

fn events(solo: &Solo) -> Vec<&Event> {
    let mut events = Vec::new();
    for output in &solo.outputs {
        if let Output::Event(event) = output {
            events.push(event);
        }
    }
    events
}

#[test]
fn a_parent_that_keeps_what_another_brings_is_given_up_and_named() {
    let mut solo = on_trial();
    solo.input(Input::Brought { ticket: 9, next: 12 });
    solo.input(Input::Ring { oldest: 0, next: 12 });
    solo.pass(ms(299));
    assert_eq!(solo.tree.parent(), Some(PARENT), "it may be slower");
    solo.pass(ms(2));
    assert_eq!(solo.tree.parent(), Some(OTHER));
    let named = Event::Detached { parent: PARENT, reason: DetachReason::Withheld };
    assert!(events(&solo).contains(&&named));
    // It is parted from on the stream alone, so that it keeps nothing that holds up a track.
    assert!(solo.outputs.contains(&Output::Close { parent: PARENT, ticket: 7, owed: false }));
    assert!(!solo.sent(PARENT, Message::Detach { ticket: 7, reason: DetachReason::Moved }));
    let attached = |event: &&Event| matches!(event, Event::Attached { reason: MoveReason::Withheld, .. });
    assert!(events(&solo).iter().any(attached));
    assert!(solo.outputs.iter().all(|output| !matches!(output, Output::Close { parent: OTHER, .. })));
    // Nor does it come back as a new link, or by being the only one left.
    solo.outputs.clear();
    solo.unlink(PARENT);
    solo.input(Input::LinkDown { peer: PARENT });
    solo.link(PARENT);
    solo.input(Input::LinkUp { peer: PARENT });
    solo.input(Input::LinkDown { peer: OTHER });
    solo.pass(ms(60_000));
    assert!(!solo.all_asked().contains(&PARENT));
}

#[test]
fn a_parent_that_is_merely_slower_stays() {
    let mut solo = on_trial();
    solo.input(Input::Brought { ticket: 9, next: 12 });
    solo.pass(ms(250));
    solo.input(Input::Brought { ticket: 7, next: 11 });
    assert!(!solo.tree.on_trial());
    solo.pass_attached(ms(500));
    assert_eq!(solo.tree.parent(), Some(PARENT));
    assert!(solo.outputs.contains(&Output::Close { parent: OTHER, ticket: 9, owed: false }));
    assert_eq!(events(&solo), Vec::<&Event>::new());
}

#[test]
fn a_parent_that_has_nothing_to_bring_stays_and_is_doubted_less_and_less() {
    let mut solo = fed();
    let mut asked = 0;
    for _ in 0..600 {
        solo.outputs.clear();
        solo.pass_attached(ms(100));
        for to in solo.all_asked() {
            asked += 1;
            solo.accepted_by(to, &[SOURCE.origin, to], 9 + asked);
        }
    }
    assert_eq!(solo.tree.parent(), Some(PARENT));
    assert!((3..=5).contains(&asked), "{asked} trials in a minute");
}

#[test]
fn pauses_that_are_usual_raise_no_doubt() {
    let mut solo = fed();
    // Four times as long as those before.
    for (next, pause) in (11..).zip([400, 1_400, 1_400, 5_000, 5_000, 15_000, 15_000]) {
        solo.pass_attached(ms(pause));
        solo.input(Input::Ring { oldest: 0, next });
    }
    assert_eq!(solo.all_asked(), Vec::<PeerId>::new());
    solo.pass_attached(ms(61_000));
    assert_eq!(solo.all_asked(), [OTHER], "no pause of more than a minute is usual");
}

#[test]
fn the_further_down_the_later() {
    let mut waits = Vec::new();
    for depth in [1, 3, 6] {
        let mut solo = Solo::member(depth, 3, doubting());
        // No nearer to the origin than this node.
        solo.row(OTHER, Some(depth), None, 5);
        solo.input(Input::TableChanged);
        solo.input(Input::Ring { oldest: 0, next: 10 });
        let start = solo.now;
        while solo.all_asked().is_empty() && solo.now - start < ms(10_000) {
            solo.pass(ms(10));
            let parent = solo.tree.parent().expect("a parent");
            solo.message(parent, banyan_tree::Message::Pulse { origin_age_ms: 0 });
        }
        waits.push(solo.now - start);
    }
    assert!(waits.is_sorted() && waits[2] - waits[0] >= ms(1_000) && waits[2] < ms(4_000), "{waits:?}");
    assert_eq!(peer(60), OTHER);
}

/// How the session with the silent parent ends: says whether on the stream, if it ends.
fn ending(solo: &Solo) -> Option<bool> {
    let detach = |output: &Output| matches!(output, Output::Send { to: PARENT, message: Message::Detach { .. } });
    assert!(!solo.outputs.iter().any(detach));
    let mut endings = solo.outputs.iter().filter_map(|output| match output {
        Output::Close { parent: PARENT, ticket: 7, owed } => Some(!owed),
        _ => None,
    });
    let ending = endings.next();
    assert_eq!(endings.next(), None);
    ending
}

/// The parent is silent, and the other peer feeds the node beside it.
fn beside_silence() -> Solo {
    let mut solo = fed();
    solo.input(Input::Silent { peer: PARENT });
    assert_eq!(solo.all_asked(), [OTHER]);
    solo.accepted_by(OTHER, &[SOURCE.origin, OTHER], 9);
    assert_eq!(solo.tree.parent(), Some(PARENT), "it may speak up");
    solo
}

#[test]
fn a_parent_that_is_silent_gets_another_beside_it_and_is_parted_from_on_the_stream() {
    let mut solo = beside_silence();
    solo.pass(ms(2_100));
    assert_eq!((solo.tree.parent(), ending(&solo)), (Some(OTHER), Some(true)));
}

#[test]
fn a_parent_that_was_silent_for_too_long_hears_that_nothing_is_owed_once_another_feeds_this_node() {
    let mut solo = fed();
    solo.input(Input::Lost { peer: PARENT });
    assert_eq!((solo.tree.parent(), ending(&solo)), (None, None), "nobody else has what it may bring yet");
    assert_eq!(solo.all_asked(), [OTHER]);
    solo.accepted_by(OTHER, &[SOURCE.origin, OTHER], 9);
    assert_eq!((solo.tree.parent(), ending(&solo)), (Some(OTHER), Some(true)));
}

#[test]
fn the_session_with_a_parent_that_was_silent_for_too_long_ends_with_its_link_and_when_it_is_asked_anew() {
    let mut solo = fed();
    solo.input(Input::Lost { peer: PARENT });
    solo.unlink(PARENT);
    solo.input(Input::LinkDown { peer: PARENT });
    assert_eq!(ending(&solo), Some(false));

    let mut solo = fed();
    solo.input(Input::Lost { peer: PARENT });
    let request = solo.asked(OTHER).expect("asked").0;
    solo.message(OTHER, Message::Refuse { request, reason: RefuseReason::Full, try_instead: vec![PARENT] });
    assert!(solo.asked(PARENT).is_some());
    assert_eq!(ending(&solo), Some(false));
}

#[test]
fn a_parent_that_was_silent_is_lost_while_another_is_on_trial() {
    let mut solo = beside_silence();
    solo.input(Input::Lost { peer: PARENT });
    assert_eq!((solo.tree.parent(), ending(&solo)), (Some(OTHER), Some(true)));
}

/// Its row says that all its slots are taken: one of them is that of this node.
#[test]
fn a_parent_that_is_heard_again_is_asked_if_nobody_else_has_a_slot() {
    let mut solo = fed();
    for full in [PARENT, OTHER, SOURCE.origin] {
        solo.row(full, Some(u8::from(full != SOURCE.origin)), None, 0);
    }
    solo.input(Input::TableChanged);
    solo.give_up(PARENT);
    assert_eq!(solo.tree.parent(), None);
    for backup in [OTHER, SOURCE.origin] {
        assert_eq!(solo.all_asked().last(), Some(&backup));
        solo.refused_by(backup, RefuseReason::Full, &[]);
    }
    assert_eq!(solo.asked(PARENT), None);
    solo.hear(PARENT);
    assert!(solo.asked(PARENT).is_some());
    assert_eq!(ending(&solo), Some(false));
}

#[test]
fn whoever_leaves_alone_tells_a_parent_that_was_silent_too() {
    let mut solo = fed();
    solo.input(Input::Lost { peer: PARENT });
    solo.input(Input::Unsubscribe);
    assert_eq!(ending(&solo), Some(true));
}
