//! Whatever peers send, in whatever order: no panic, no slot too many, no broken invariant.

mod solo;

use banyan_gossip::PeerId;
use banyan_tree::{Config, DetachReason, Input, LinkSettings, Message, RefuseReason, Source};
use proptest::{collection::vec, prelude::*};
use solo::{SOURCE, Solo, ms, peer};

/// Few enough that they meet: the origin, the node itself, its parents, children and others.
fn any_peer() -> impl Strategy<Value = PeerId> {
    prop_oneof![Just(1), Just(50), Just(100), Just(101), 10..14_u8].prop_map(peer)
}

fn any_source() -> impl Strategy<Value = Source> {
    (2..5_u64, any_peer()).prop_map(|(epoch, origin)| Source { epoch, origin })
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![4 => Just(SOURCE), 1 => any_source()]
}

fn height() -> impl Strategy<Value = u8> {
    prop_oneof![0..4_u8, Just(u8::MAX)]
}

/// Tickets and requests of real sessions are put in place of these.
const OWN: u64 = 0;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(OWN), 1 => any::<u64>()]
}

fn message() -> impl Strategy<Value = Message> {
    let join = (any::<u64>(), prop::option::of(source()), height(), prop::option::of(0..9_u64), any::<bool>());
    let accept = (number(), 1..9_u64, vec(any_peer(), 0..5), source(), any::<u64>());
    let detach = prop_oneof![Just(DetachReason::Loop), Just(DetachReason::OriginChanged), Just(DetachReason::Shed)];
    let refuse = prop_oneof![Just(RefuseReason::Full), Just(RefuseReason::Behind), Just(RefuseReason::Crossing)];
    prop_oneof![
        join.prop_map(|(request, source, height, need, repair)| Message::Join {
            request,
            source,
            height,
            need,
            repair
        }),
        accept.prop_map(|(request, ticket, path, source, origin_age_ms)| Message::Accept {
            request,
            ticket,
            path,
            source,
            origin_age_ms,
            backups: Vec::new(),
            settings: LinkSettings::default(),
        }),
        (number(), refuse, vec(any_peer(), 0..4)).prop_map(|(request, reason, try_instead)| Message::Refuse {
            request,
            reason,
            try_instead
        }),
        (vec(any_peer(), 0..5), source(), vec(any_peer(), 0..6)).prop_map(|(path, source, backups)| Message::Path {
            path,
            source,
            backups
        }),
        any::<u64>().prop_map(|origin_age_ms| Message::Pulse { origin_age_ms }),
        height().prop_map(|height| Message::Height { height }),
        (number(), detach).prop_map(|(ticket, reason)| Message::Detach { ticket, reason }),
        vec(any_peer(), 0..4).prop_map(|try_instead| Message::Shed { try_instead }),
    ]
}

#[derive(Debug, Clone)]
enum Act {
    Input(Input),
    Pass(u64),
    Capacity(u16),
    Row(PeerId, Option<u8>, Option<PeerId>, u16),
    /// Opens whatever was promised last, on either side.
    Open(PeerId),
}

fn act() -> impl Strategy<Value = Act> {
    let ticket = || prop_oneof![1..9_u64, any::<u64>()];
    let input = prop_oneof![
        8 => (any_peer(), message()).prop_map(|(from, message)| Input::Message { from, message }),
        1 => (any_peer(), ticket()).prop_map(|(peer, ticket)| Input::ParentOpened { peer, ticket }),
        1 => (any_peer(), ticket()).prop_map(|(peer, ticket)| Input::ChildOpened { peer, ticket }),
        1 => (any_peer(), ticket())
            .prop_map(|(peer, ticket)| Input::ParentClosed { peer, ticket, reason: String::new() }),
        1 => any_peer().prop_map(|peer| Input::LinkDown { peer }),
        1 => any_peer().prop_map(|peer| Input::LinkUp { peer }),
        1 => any_peer().prop_map(|peer| Input::Silent { peer }),
        1 => any_peer().prop_map(|peer| Input::Lost { peer }),
        1 => any_peer().prop_map(|peer| Input::Heard { peer }),
        1 => (0..9_u64, 0..9_u64).prop_map(|(oldest, next)| Input::Ring { oldest, next }),
        1 => Just(Input::TableChanged),
        1 => prop_oneof![
            Just(Input::Subscribe),
            Just(Input::Unsubscribe),
            (2..6_u64).prop_map(|epoch| Input::Publish { epoch }),
            Just(Input::EndPublish),
        ],
    ];
    let row = (any_peer(), prop::option::of(0..5_u8), prop::option::of(any_peer()), 0..4_u16);
    prop_oneof![
        12 => input.prop_map(Act::Input),
        3 => (0..4_000_u64).prop_map(Act::Pass),
        1 => (0..6_u16).prop_map(Act::Capacity),
        2 => row.prop_map(|(peer, depth, parent, free)| Act::Row(peer, depth, parent, free)),
        4 => any_peer().prop_map(Act::Open),
    ]
}

fn perform(solo: &mut Solo, act: Act) {
    match act {
        Act::Input(Input::Message { from, message }) => {
            let request = solo.asked(from).map_or(1, |asked| asked.0);
            let ticket = solo.ticket_of(from).unwrap_or(7);
            let message = match message {
                Message::Accept { request: OWN, ticket, path, source, origin_age_ms, backups, settings } => {
                    Message::Accept { request, ticket, path, source, origin_age_ms, backups, settings }
                }
                Message::Refuse { request: OWN, reason, try_instead } => {
                    Message::Refuse { request, reason, try_instead }
                }
                Message::Detach { ticket: OWN, reason } => Message::Detach { ticket, reason },
                other => other,
            };
            solo.message(from, message);
        }
        Act::Input(input) => solo.input(input),
        Act::Pass(period) => solo.pass(ms(period)),
        Act::Capacity(capacity) => {
            solo.slots.set_capacity(capacity);
            solo.input(Input::CapacityChanged);
        }
        Act::Row(peer, depth, parent, free) => {
            solo.row(peer, depth, parent, free);
            solo.input(Input::TableChanged);
        }
        Act::Open(peer) => {
            if let Some(ticket) = solo.ticket_of(peer) {
                solo.input(Input::ChildOpened { peer, ticket });
                solo.input(Input::ParentOpened { peer, ticket });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_whatever_peers_send(as_origin in any::<bool>(), acts in vec(act(), 1..60)) {
        // `Solo` checks the invariants and the slots after every step.
        let mut solo = if as_origin { Solo::origin(3, Config::default()) } else { Solo::member(3, 3, Config::default()) };
        for act in acts {
            perform(&mut solo, act);
            solo.check_slots();
        }
    }
}
