//! Relaying for others: whom a node asks that finds no slot, and how long a volunteer stays.

mod solo;

use std::collections::BTreeSet;

use banyan_gossip::{PeerId, RelayPolicy};
use banyan_tree::{Config, Input, Message, Output, State, StuckReason, Unwilling};
use solo::{SOURCE, Solo, ms, peer};

/// A node without slots that finds none.
fn starving() -> Solo {
    let mut solo = Solo::new(50, 0, Config::default());
    solo.row(SOURCE.origin, Some(0), None, 0);
    solo.input(Input::Subscribe);
    assert_eq!(solo.tree.state(), State::Seeking { reason: Some(StuckReason::AllFull) });
    solo
}

fn summoned(solo: &Solo) -> Vec<PeerId> {
    let to = |output: &Output| match output {
        Output::Send { to, message: Message::Summon { source } } if *source == SOURCE => Some(*to),
        _ => None,
    };
    solo.outputs.iter().filter_map(to).collect()
}

fn refuse(solo: &mut Solo, from: PeerId) {
    solo.message(from, Message::Summoned { refused: Some(Unwilling::Full) });
}

/// Peer 50, which relays for others, attached to the origin.
fn volunteer() -> Solo {
    let mut solo = Solo::new(50, 4, Config::default());
    solo.row(SOURCE.origin, Some(0), None, 1);
    solo.input(Input::Volunteer);
    solo.accepted_by(SOURCE.origin, &[SOURCE.origin], 7);
    assert!(solo.tree.is_volunteer() && solo.tree.entry().is_some_and(|entry| entry.volunteer));
    solo
}

#[test]
fn who_finds_every_slot_taken_asks_somebody_with_slots_to_spare_a13() {
    let mut solo = starving();
    solo.bystander(peer(60), 1, RelayPolicy::WhenAsked);
    solo.bystander(peer(120), 9, RelayPolicy::Never);
    solo.bystander(peer(200), 2, RelayPolicy::WhenAsked);
    solo.pass(ms(500));
    assert_eq!(summoned(&solo).first(), Some(&peer(200)));
    // There is room now: it is asked as anybody else.
    solo.row(peer(200), Some(1), Some(SOURCE.origin), 1);
    solo.input(Input::TableChanged);
    solo.accepted_by(peer(200), &[SOURCE.origin, peer(200)], 3);
    solo.outputs.clear();
    solo.pass_attached(ms(20_000));
    assert!(summoned(&solo).is_empty());
}

#[test]
fn the_always_willing_are_asked_first() {
    for _ in 0..20 {
        let mut solo = starving();
        for number in 60..70 {
            solo.bystander(peer(number), 30, RelayPolicy::WhenAsked);
        }
        solo.bystander(peer(130), 2, RelayPolicy::Always);
        solo.bystander(peer(200), 2, RelayPolicy::Always);
        solo.pass(ms(500));
        assert!(summoned(&solo)[0] >= peer(130));
    }
}

#[test]
fn a_refusal_leads_to_somebody_else_and_questions_become_rarer() {
    let mut solo = starving();
    for number in 60..80 {
        solo.bystander(peer(number), 4, RelayPolicy::WhenAsked);
    }
    let mut refused = BTreeSet::new();
    for _ in 0..5 {
        solo.outputs.clear();
        solo.pass(ms(500));
        let asked = summoned(&solo);
        assert!(!asked.is_empty() && asked.iter().all(|peer| !refused.contains(peer)), "{asked:?}");
        refuse(&mut solo, asked[asked.len() - 1]);
        refused.insert(asked[asked.len() - 1]);
    }
    solo.outputs.clear();
    // Nobody answers.
    solo.pass(ms(100_000));
    assert!((9..50).contains(&summoned(&solo).len()), "{}", summoned(&solo).len());
}

#[test]
fn an_answer_of_somebody_who_was_not_asked_changes_nothing() {
    let mut solo = starving();
    solo.bystander(peer(60), 4, RelayPolicy::WhenAsked);
    refuse(&mut solo, peer(60));
    solo.pass(ms(500));
    assert_eq!(summoned(&solo).first(), Some(&peer(60)));
}

#[test]
fn a_link_to_a_volunteer_is_made_if_need_be() {
    let mut solo = starving();
    solo.bystander(peer(60), 4, RelayPolicy::WhenAsked);
    solo.unlink(peer(60));
    solo.pass(ms(500));
    assert!(solo.outputs.contains(&Output::Connect { peer: peer(60) }) && summoned(&solo).is_empty());
    assert!(solo.tree.link_peers().contains(&peer(60)));
    solo.link(peer(60));
    solo.input(Input::LinkUp { peer: peer(60) });
    assert_eq!(summoned(&solo), [peer(60)]);
}

#[test]
fn volunteers_summon_nobody() {
    let mut solo = Solo::new(50, 4, Config::default());
    solo.row(SOURCE.origin, Some(0), None, 0);
    solo.bystander(peer(60), 9, RelayPolicy::Always);
    solo.input(Input::Volunteer);
    solo.pass(ms(20_000));
    assert!(summoned(&solo).is_empty());
}

#[test]
fn a_volunteer_stays_while_it_feeds_somebody_and_a_while_longer() {
    let mut solo = volunteer();
    solo.pass_attached(ms(20_000));
    let ticket = solo.take(peer(70));
    solo.pass_attached(ms(100_000));
    solo.input(Input::ChildClosed { peer: peer(70), ticket });
    solo.pass_attached(ms(29_000));
    solo.outputs.clear();
    solo.pass(ms(1_500));
    assert!(solo.outputs.contains(&Output::Left));
}

#[test]
fn a_volunteer_that_nobody_feeds_goes() {
    let mut solo = Solo::new(50, 4, Config::default());
    solo.input(Input::Volunteer);
    solo.pass(ms(31_000));
    assert!(solo.outputs.contains(&Output::Left));
}

#[test]
fn a_volunteer_that_subscribes_is_a_member_like_any_other() {
    let mut solo = volunteer();
    solo.input(Input::Subscribe);
    assert!(solo.tree.entry().is_some_and(|entry| !entry.volunteer));
    solo.pass_attached(ms(60_000));
    // And a member is not made a volunteer.
    solo.input(Input::Volunteer);
    assert!(!solo.tree.is_volunteer());
}
