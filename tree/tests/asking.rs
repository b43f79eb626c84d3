//! The child's side, one machine at a time: whom it asks, when, and for what (A6, A8, A13).

mod solo;

use std::time::Duration;

use banyan_gossip::{PeerId, Presence};
use banyan_tree::{
    Config, DetachReason, Event, Input, LinkSettings, Message, MoveReason, Output, RefuseReason, Source, State,
    StuckReason,
};
use solo::{SOURCE, Solo, accept, join, ms, path_message, peer};

const ORIGIN: PeerId = SOURCE.origin;

/// Peer 50, which has just subscribed. The origin is full; these peers at depth 1 are not.
fn seeker(candidates: &[u8]) -> Solo {
    let mut solo = Solo::new(50, 4, Config::default());
    solo.row(ORIGIN, Some(0), None, 0);
    for number in candidates {
        solo.row(peer(*number), Some(1), Some(ORIGIN), 3);
    }
    solo.input(Input::Subscribe);
    solo
}

#[test]
fn one_request_is_outstanding_at_a_time() {
    let mut solo = seeker(&[10, 11, 12]);
    solo.pass(ms(999));
    solo.input(Input::TableChanged);
    solo.input(Input::LinkUp { peer: peer(11) });
    assert_eq!(solo.all_asked().len(), 1);
    solo.pass(ms(1));
    assert_eq!(solo.all_asked().len(), 2, "no answer within 1 s: the next one");
}

#[test]
fn refused_offer_is_used_up_until_the_row_changes_but_five_seconds_at_most_a13() {
    let mut solo = seeker(&[10]);
    solo.refused_by(peer(10), RefuseReason::Full, &[]);
    assert_eq!(solo.tree.state(), State::Seeking { reason: Some(StuckReason::AllFull) });
    solo.pass(ms(4_999));
    assert_eq!(solo.all_asked().len(), 1);
    // Then the next look, at most a backoff later.
    let limit = solo.now + ms(5_001);
    while solo.all_asked().len() == 1 {
        assert!(solo.now < limit);
        solo.pass(ms(10));
    }
    solo.refused_by(peer(10), RefuseReason::Full, &[]);
    solo.row(peer(10), Some(1), Some(ORIGIN), 2);
    solo.input(Input::TableChanged);
    solo.pass(ms(50));
    assert_eq!(solo.all_asked().len(), 3, "looks through the table are at least 50 ms apart");
}

#[test]
fn those_named_by_a_refusal_are_asked_next() {
    let mut solo = seeker(&[10, 11, 12, 13, 14]);
    let first = solo.all_asked()[0];
    // Their rows do not tell yet that they are attached.
    solo.row(peer(20), None, None, 4);
    solo.row(peer(21), None, None, 4);
    solo.refused_by(first, RefuseReason::Full, &[peer(20), peer(50), peer(21)]);
    solo.refused_by(peer(20), RefuseReason::Detached, &[]);
    assert_eq!(solo.all_asked()[1..], [peer(20), peer(21)]);
}

#[test]
fn storm_of_refusals_ends_in_a_pause() {
    let numbers: Vec<u8> = (60..100).collect();
    let mut solo = seeker(&numbers);
    while let Some(asked) = solo.all_asked().last().copied() {
        let before = solo.all_asked().len();
        solo.refused_by(asked, RefuseReason::Detached, &[]);
        if solo.all_asked().len() == before {
            break;
        }
    }
    assert_eq!(solo.all_asked().len(), 16);
    let reason = Some(StuckReason::Refused(RefuseReason::Detached));
    assert_eq!(solo.tree.state(), State::Seeking { reason });
    solo.pass(ms(200));
    assert_eq!(solo.all_asked().len(), 17);
}

#[test]
fn unlinked_candidate_is_connected_first() {
    let mut solo = Solo::new(50, 4, Config::default());
    solo.row(ORIGIN, Some(0), None, 5);
    solo.unlink(ORIGIN);
    solo.input(Input::Subscribe);
    assert!(solo.outputs.contains(&Output::Connect { peer: ORIGIN }));
    assert_eq!(solo.all_asked(), []);
    solo.input(Input::ConnectFailed { peer: ORIGIN });
    assert_eq!(solo.tree.state(), State::Seeking { reason: Some(StuckReason::Unreachable) });
    // It came up by itself.
    solo.link(ORIGIN);
    solo.input(Input::LinkUp { peer: ORIGIN });
    assert_eq!(solo.all_asked(), [ORIGIN]);
}

#[test]
fn late_acceptance_is_welcome_and_a_second_one_is_given_back() {
    let mut solo = seeker(&[10, 11]);
    let [first] = solo.all_asked()[..] else { panic!("one request") };
    let late = solo.asked(first).expect("asked").0;
    solo.pass(ms(1_000));
    let second = solo.all_asked()[1];
    let request = solo.asked(second).expect("asked").0;
    solo.message(first, accept(late, &[ORIGIN, first], 5));
    solo.message(second, accept(request, &[ORIGIN, second], 6));
    assert!(solo.sent(second, Message::Detach { ticket: 6, reason: DetachReason::Cancelled }));
    solo.input(Input::ParentOpened { peer: first, ticket: 5 });
    assert_eq!(solo.tree.parent(), Some(first));
}

#[test]
fn acceptance_below_oneself_or_of_an_older_publication_is_declined_a7() {
    let mut solo = seeker(&[10, 11]);
    let first = solo.all_asked()[0];
    let request = solo.asked(first).expect("asked").0;
    solo.message(first, accept(request, &[ORIGIN, peer(50), first], 5));
    assert!(solo.sent(first, Message::Detach { ticket: 5, reason: DetachReason::Loop }));
    let second = solo.all_asked()[1];
    let request = solo.asked(second).expect("asked").0;
    let older = Message::Accept {
        request,
        ticket: 6,
        path: vec![ORIGIN, second],
        source: Source { epoch: SOURCE.epoch - 1, ..SOURCE },
        origin_age_ms: 0,
        backups: Vec::new(),
        settings: LinkSettings::default(),
    };
    solo.message(second, older);
    assert!(solo.sent(second, Message::Detach { ticket: 6, reason: DetachReason::OriginChanged }));
    assert_eq!(solo.tree.parent(), None);
}

#[test]
fn stream_that_is_refused_gives_the_slot_back_and_the_next_one_is_asked() {
    let mut solo = seeker(&[10, 11]);
    let first = solo.all_asked()[0];
    let request = solo.asked(first).expect("asked").0;
    solo.message(first, accept(request, &[ORIGIN, first], 5));
    solo.input(Input::ParentClosed { peer: first, ticket: 5, reason: "refused".to_owned() });
    assert!(solo.sent(first, Message::Detach { ticket: 5, reason: DetachReason::Cancelled }));
    assert_eq!(solo.all_asked().len(), 2);
}

#[test]
fn what_was_received_is_asked_for_and_a_gap_is_better_than_nothing() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.input(Input::Ring { oldest: 3, next: 17 });
    solo.row(peer(10), Some(1), Some(ORIGIN), 3);
    solo.row(peer(11), Some(1), Some(ORIGIN), 3);
    solo.input(Input::LinkDown { peer: peer(100) });
    for _ in 0..2 {
        let asked = *solo.all_asked().last().expect("asked");
        let (_, _, need, repair) = solo.asked(asked).expect("asked");
        assert_eq!((need, repair), (Some(17), true));
        solo.refused_by(asked, RefuseReason::Behind, &[]);
    }
    // The origin has no free slot by its row; the two are asked again, for whatever they have.
    let asked = *solo.all_asked().last().expect("asked");
    assert_eq!((solo.all_asked().len(), solo.asked(asked).expect("asked").2), (3, None));
}

#[test]
fn backups_are_linked_in_advance_and_asked_at_once_a6() {
    let mut solo = Solo::member(3, 4, Config::default());
    for number in [10, 11] {
        solo.row(peer(number), Some(2), Some(peer(12)), 0);
        solo.unlink(peer(number));
    }
    solo.row(peer(12), Some(1), Some(ORIGIN), 0);
    solo.row(peer(100), Some(1), Some(ORIGIN), 2);
    // No backup: behind the parent, too deep, below this node.
    solo.row(peer(20), Some(3), Some(peer(101)), 3);
    solo.row(peer(21), Some(4), Some(peer(10)), 3);
    solo.row(peer(22), Some(3), Some(peer(50)), 3);
    solo.input(Input::TableChanged);
    solo.pass(ms(2_000));
    assert_eq!(solo.tree.backups(), [peer(100)], "the grandparent; nobody else has slots");
    for number in [10, 11] {
        solo.row(peer(number), Some(2), Some(peer(12)), 1);
    }
    solo.input(Input::TableChanged);
    solo.pass(ms(2_000));
    let mut backups = solo.tree.backups().to_vec();
    backups.sort_unstable();
    assert_eq!(backups, [peer(10), peer(11), peer(100)]);
    for number in [10, 11] {
        assert!(solo.outputs.contains(&Output::Connect { peer: peer(number) }));
        solo.link(peer(number));
        solo.input(Input::LinkUp { peer: peer(number) });
    }
    assert!(backups.iter().all(|peer| solo.tree.link_peers().contains(peer)));
    solo.outputs.clear();
    solo.input(Input::LinkDown { peer: peer(101) });
    let asked = solo.all_asked();
    assert!(asked.len() == 1 && backups.contains(&asked[0]), "{asked:?}");
    assert!(solo.asked(asked[0]).expect("asked").3, "it may take a repair slot");
    solo.pass(ms(61));
    assert_eq!(solo.all_asked().len(), 2, "no answer within 60 ms and the round trip: the next one");
}

#[test]
fn lost_backup_is_replaced() {
    let mut solo = Solo::member(3, 4, Config::default());
    solo.row(peer(100), Some(1), Some(ORIGIN), 2);
    solo.pass(ms(10));
    assert_eq!(solo.tree.backups(), [peer(100)]);
    solo.row(peer(10), Some(2), Some(peer(100)), 1);
    solo.unlink(peer(100));
    solo.input(Input::LinkDown { peer: peer(100) });
    solo.pass_attached(Duration::from_secs(2));
    assert_eq!(solo.tree.backups(), [peer(10)]);
}

#[test]
fn height_goes_up_when_it_changes_a5() {
    let mut solo = Solo::member(2, 8, Config::default());
    let child = solo.take(peer(10));
    assert!(solo.sent(peer(100), Message::Height { height: 1 }));
    solo.outputs.clear();
    solo.message(peer(10), Message::Height { height: 3 });
    assert!(solo.sent(peer(100), Message::Height { height: 4 }));
    solo.input(Input::Silent { peer: peer(100) });
    solo.row(peer(11), Some(1), Some(ORIGIN), 3);
    solo.pass(ms(5_000));
    assert_eq!(solo.asked(peer(11)).expect("asked").1, 4);
    solo.outputs.clear();
    solo.message(peer(10), Message::Detach { ticket: child, reason: DetachReason::Leaving });
    assert!(solo.sent(peer(100), Message::Height { height: 0 }));
    // The one that was asked believes the height of the question, and is told better.
    solo.accepted_later(peer(11), &[ORIGIN, peer(11)], 8);
    solo.input(Input::Lost { peer: peer(100) });
    assert!(solo.sent(peer(11), Message::Height { height: 0 }));
}

#[test]
fn parent_that_the_table_holds_for_dead_is_replaced_and_kept_until_then_a8() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.row(peer(10), Some(1), Some(ORIGIN), 3);
    solo.any_row(peer(100), Presence::Left, 0, None);
    solo.input(Input::TableChanged);
    solo.pass_attached(ms(900));
    assert_eq!(solo.all_asked(), []);
    solo.pass_attached(ms(2_000));
    assert_eq!(solo.all_asked()[0], peer(10));
    assert_eq!(solo.tree.parent(), Some(peer(100)));
}

#[test]
fn parent_that_the_table_takes_back_is_kept() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.row(peer(10), Some(1), Some(ORIGIN), 3);
    solo.any_row(peer(100), Presence::Left, 0, None);
    solo.input(Input::TableChanged);
    solo.pass_attached(ms(500));
    solo.row(peer(100), Some(1), Some(ORIGIN), 3);
    solo.input(Input::TableChanged);
    solo.pass_attached(ms(5_000));
    assert_eq!(solo.all_asked(), []);
}

#[test]
fn stalled_node_looks_for_itself_in_the_end_and_not_before() {
    let mut solo = Solo::member(3, 4, Config::default());
    solo.row(peer(10), Some(1), Some(ORIGIN), 3);
    solo.message(peer(101), path_message(&[peer(100), peer(101)]));
    solo.pass(Duration::from_secs(19));
    assert_eq!(solo.tree.state(), State::Stalled);
    assert_eq!(solo.all_asked(), []);
    solo.pass(Duration::from_secs(12));
    assert!(solo.all_asked().contains(&peer(10)));
    assert_eq!(solo.tree.parent(), Some(peer(101)), "kept until there is another");
    let request = solo.asked(peer(10)).expect("asked").0;
    solo.message(peer(10), accept(request, &[ORIGIN, peer(10)], 9));
    solo.input(Input::ParentOpened { peer: peer(10), ticket: 9 });
    let attached = solo.outputs.iter().rev().find_map(|output| match output {
        Output::Event(Event::Attached { reason, from, .. }) => Some((*reason, *from)),
        _ => None,
    });
    assert_eq!(attached, Some((MoveReason::Stalled, Some(peer(101)))));
}

#[test]
fn healthy_idle_node_survives_a_hundred_times_the_timeout_a9() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.pass_attached(Duration::from_secs(300));
    assert_eq!((solo.tree.state(), solo.tree.parent()), (State::Attached, Some(peer(100))));
    assert!(!solo.outputs.iter().any(|output| matches!(output, Output::Event(_))), "{:?}", solo.outputs);
}

#[test]
fn subscriber_that_changes_its_mind_stays() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.take(peer(10));
    solo.outputs.clear();
    solo.input(Input::Unsubscribe);
    assert!(solo.sent(peer(10), Message::Shed { try_instead: vec![peer(100)] }));
    assert_eq!(solo.ask(peer(11), join(3)), Err(RefuseReason::Leaving));
    solo.input(Input::Subscribe);
    solo.pass_attached(ms(5_000));
    assert_eq!(solo.tree.children().count(), 1);
    assert!(solo.ask(peer(11), join(4)).is_ok());
}

#[test]
fn subscriber_that_leaves_alone_leaves_at_once() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.input(Input::Unsubscribe);
    assert_eq!(solo.outputs.last(), Some(&Output::Left));
    // It hears on the stream that it need not keep anything, and not before that of the end.
    assert!(!solo.sent(peer(100), Message::Detach { ticket: 7, reason: DetachReason::Leaving }));
    assert!(solo.outputs.contains(&Output::Close { parent: peer(100), ticket: 7, owed: false }));
}

#[test]
fn subscriber_that_begins_to_publish_is_the_origin_then() {
    let mut solo = Solo::member(2, 4, Config::default());
    solo.input(Input::Publish { epoch: 9 });
    assert_eq!((solo.tree.state(), solo.tree.depth(), solo.tree.parent()), (State::Origin, Some(0), None));
    assert!(solo.sent(peer(100), Message::Detach { ticket: 7, reason: DetachReason::OriginChanged }));
    assert!(
        solo.ask(peer(100), Message::Join { request: 1, source: Some(SOURCE), height: 0, need: None, repair: false })
            .is_ok()
    );
}

#[test]
fn subtree_that_fits_nowhere_is_shortened_a5() {
    let mut solo = Solo::member(2, 8, Config::default());
    let (tall, low) = (solo.take(peer(10)), solo.take(peer(11)));
    solo.message(peer(10), Message::Height { height: 9 });
    // 8 + 1 + 10 is beyond the limit of 16.
    solo.row(peer(30), Some(8), Some(peer(31)), 3);
    solo.any_row(peer(100), Presence::Left, 0, None);
    solo.outputs.clear();
    solo.input(Input::LinkDown { peer: peer(100) });
    assert_eq!(solo.tree.state(), State::Seeking { reason: Some(StuckReason::DepthLimit) });
    assert_eq!(solo.tree.children().count(), 2, "not at once");
    solo.pass(ms(3_000));
    assert!(solo.sent(peer(10), Message::Detach { ticket: tall, reason: DetachReason::TooDeep }));
    assert_eq!(solo.tree.children().collect::<Vec<_>>(), [(peer(11), low)]);
    assert_eq!(solo.asked(peer(30)).expect("asked").1, 1);
}
