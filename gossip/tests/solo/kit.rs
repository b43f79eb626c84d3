//! What tests of one or two machines need.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{
    Config, Event, Gossip, Input, LocalPeer, MeshName, Message, Output, PeerId, Presence, RelayPolicy, Row, RowBody,
    TrackEntry, TrackName,
    op::{Claim, Op, OpId, SignedOp},
};

use crate::keys::{TestKeys, tag};

pub(crate) fn peer(index: u16) -> PeerId {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&index.to_be_bytes());
    PeerId::from_key_bytes(key)
}

pub(crate) fn config() -> Config {
    Config::new(MeshName::new("test").expect("valid"))
}

pub(crate) fn machine_with(index: u16, incarnation: u64, config: Config, now: Instant) -> Gossip {
    let me = LocalPeer { peer: peer(index), incarnation };
    let rng = fastrand::Rng::with_seed(u64::from(index));
    let mut gossip = Gossip::new(me, config, Arc::new(TestKeys(me.peer)), rng, now);
    gossip.handle_input(now, Input::Update(RowBody { capacity: 9, free: 1, ..RowBody::default() }));
    gossip
}

pub(crate) fn machine(index: u16, now: Instant) -> Gossip {
    machine_with(index, 1, config(), now)
}

/// What an author with a mind of its own may sign.
pub(crate) fn signed(op: &Op) -> SignedOp {
    let mut bytes = Vec::new();
    ciborium::into_writer(op, &mut bytes).expect("writes");
    SignedOp::new(op.clone(), tag(&op.id().author, &[b"banyan op 1\0test\0", &bytes[..]].concat()))
}

pub(crate) fn row(index: u16, incarnation: u64, version: u64) -> SignedOp {
    row_with(index, incarnation, version, BTreeMap::new())
}

pub(crate) fn row_with(
    index: u16,
    incarnation: u64,
    version: u64,
    tracks: BTreeMap<TrackName, TrackEntry>,
) -> SignedOp {
    signed(&row_op(index, incarnation, version, tracks))
}

/// What its author has not signed.
pub(crate) fn forged(op: &Op) -> SignedOp {
    SignedOp::new(op.clone(), [0; 64])
}

pub(crate) fn row_op(index: u16, incarnation: u64, version: u64, tracks: BTreeMap<TrackName, TrackEntry>) -> Op {
    Op::Row(Row {
        peer: peer(index),
        incarnation,
        version,
        presence: Presence::Alive,
        label: None,
        addresses: Vec::new(),
        tags: BTreeMap::new(),
        capacity: 4,
        free: 4,
        relay: RelayPolicy::default(),
        tracks,
        library: None,
    })
}

pub(crate) fn claim(author: u16, version: u64, suspect: u16, suspect_incarnation: u64) -> Claim {
    let id = OpId { author: peer(author), incarnation: 1, version };
    Claim { id, suspect: peer(suspect), suspect_incarnation }
}

pub(crate) fn death(author: u16, version: u64, suspect: u16, incarnation: u64) -> SignedOp {
    signed(&Op::Death(claim(author, version, suspect, incarnation)))
}

pub(crate) fn outputs(gossip: &mut Gossip) -> Vec<Output> {
    std::iter::from_fn(|| gossip.poll_output()).collect()
}

/// Lets machines that are linked to one another, all of them, run for a while. Says what events
/// there were, and how many ops were sent.
pub(crate) fn run(
    machines: &mut [&mut Gossip],
    ids: &[u16],
    now: &mut Instant,
    time: Duration,
) -> (Vec<(u16, Event)>, usize) {
    let end = *now + time;
    let (mut events, mut ops) = (Vec::new(), 0);
    loop {
        let mut under_way = Vec::new();
        for (at, gossip) in machines.iter_mut().enumerate() {
            for output in outputs(gossip) {
                match output {
                    Output::Send { to, message } => under_way.push((ids[at], to, message)),
                    Output::Event(event) => events.push((ids[at], event)),
                    Output::PersistIncarnation(_) | Output::UserEvent(_) => {}
                }
            }
        }
        let quiet = under_way.is_empty();
        for (from, to, message) in under_way {
            if let Message::Ops(sent) = &message {
                ops += sent.len();
            }
            if let Some(at) = ids.iter().position(|index| peer(*index) == to) {
                machines[at].handle_input(*now, Input::Message { from: peer(from), message });
            }
        }
        if !quiet {
            continue;
        }
        let Some(next) = machines.iter().filter_map(|gossip| gossip.poll_timeout()).min().filter(|at| *at <= end)
        else {
            *now = end;
            return (events, ops);
        };
        *now = next.max(*now);
        for gossip in machines.iter_mut() {
            if gossip.poll_timeout().is_some_and(|at| at <= *now) {
                gossip.handle_timeout(*now);
            }
        }
    }
}

pub(crate) fn link(a: &mut Gossip, ia: u16, b: &mut Gossip, ib: u16, now: Instant) {
    a.handle_input(now, Input::LinkUp { peer: peer(ib) });
    b.handle_input(now, Input::LinkUp { peer: peer(ia) });
}

pub(crate) fn suspicion(author: u16, suspect: u16, incarnation: u64) -> SignedOp {
    signed(&Op::Suspicion(claim(author, 1, suspect, incarnation)))
}

/// How often an op was sent to a peer.
pub(crate) fn sent_to(outputs: &[Output], index: u16, op: &SignedOp) -> usize {
    let ops = |output: &Output| match output {
        Output::Send { to, message: Message::Ops(ops) } if *to == peer(index) => ops.clone(),
        _ => Vec::new(),
    };
    outputs.iter().flat_map(ops).filter(|sent| sent == op).count()
}
