//! The parent's side, one machine at a time: every limit from both sides (A2–A5, A7, A10, A16, B11).

use std::time::{Duration, Instant};

use banyan_gossip::{PeerId, TrackName, table::PeerTable};
use banyan_tree::{
    Config, Context, DetachReason, Event, Input, LinkSettings, Links, Message, Output, RefuseReason, SlotPool, Source,
    Tree,
};

struct AllLinked;

impl Links for AllLinked {
    fn linked(&self, _: &PeerId) -> bool {
        true
    }

    fn rtt(&self, _: &PeerId) -> Option<Duration> {
        None
    }
}

fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

const SOURCE: Source = Source { epoch: 3, origin: PeerId::from_key_bytes([1; 32]) };

fn join(request: u64) -> Message {
    Message::Join { request, source: Some(SOURCE), height: 0, need: None, repair: false }
}

/// One machine, and what it said.
struct Solo {
    tree: Tree,
    table: PeerTable,
    now: Instant,
    outputs: Vec<Output>,
}

impl Solo {
    fn new(number: u8, track: &str, config: Config) -> Self {
        let now = Instant::now();
        let track = TrackName::new(track).expect("a valid name");
        let tree = Tree::new(peer(number), track, config, fastrand::Rng::with_seed(1), now);
        Self { tree, table: PeerTable::default(), now, outputs: Vec::new() }
    }

    fn origin(slots: &mut SlotPool, config: Config) -> Self {
        let mut solo = Self::new(1, "cam/1", config);
        solo.input(slots, Input::Publish { epoch: SOURCE.epoch });
        solo
    }

    /// A member at this depth: peers 100, 101, … are above it.
    fn member(slots: &mut SlotPool, depth: u8, config: Config) -> Self {
        let mut solo = Self::new(50, "cam/1", config);
        solo.join_below(slots, depth);
        solo
    }

    fn join_below(&mut self, slots: &mut SlotPool, depth: u8) {
        let above: Vec<PeerId> = (1..depth).map(|level| peer(99 + level)).collect();
        let path: Vec<PeerId> = [SOURCE.origin].into_iter().chain(above).collect();
        let parent = *path.last().expect("the origin at least");
        self.table = mesh_table(SOURCE.origin, self.tree.track(), parent, depth - 1);
        self.input(slots, Input::Subscribe);
        let request = self.asked(parent);
        let accept = Message::Accept {
            request,
            ticket: 7,
            path,
            source: SOURCE,
            origin_age_ms: 0,
            backups: Vec::new(),
            settings: LinkSettings::default(),
        };
        self.message(slots, parent, accept);
        self.input(slots, Input::ParentOpened { peer: parent, ticket: 7 });
        assert_eq!(self.tree.depth(), Some(depth));
        self.outputs.clear();
    }

    fn asked(&self, parent: PeerId) -> u64 {
        let asked = self.outputs.iter().rev().find_map(|output| match output {
            Output::Send { to, message: Message::Join { request, .. } } if *to == parent => Some(*request),
            _ => None,
        });
        asked.expect("it asks")
    }

    fn input(&mut self, slots: &mut SlotPool, input: Input) {
        let mut cx = Context { peers: &self.table, slots, links: &AllLinked };
        self.tree.handle_input(self.now, &mut cx, input);
        self.collect();
    }

    fn message(&mut self, slots: &mut SlotPool, from: PeerId, message: Message) {
        self.input(slots, Input::Message { from, message });
    }

    fn pass(&mut self, slots: &mut SlotPool, period: Duration) {
        let end = self.now + period;
        while let Some(at) = self.tree.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut cx = Context { peers: &self.table, slots, links: &AllLinked };
            self.tree.handle_timeout(self.now, &mut cx);
            self.collect();
        }
        self.now = end;
    }

    fn collect(&mut self) {
        while let Some(output) = self.tree.poll_output() {
            self.outputs.push(output);
        }
        self.tree.assert_invariants();
    }

    /// Asks for a slot: the ticket or the reason.
    fn ask(&mut self, slots: &mut SlotPool, from: PeerId, message: Message) -> Result<u64, RefuseReason> {
        self.outputs.clear();
        self.message(slots, from, message);
        let answer = self.outputs.iter().find_map(|output| match output {
            Output::Send { to, message: Message::Accept { ticket, .. } } if *to == from => Some(Ok(*ticket)),
            Output::Send { to, message: Message::Refuse { reason, .. } } if *to == from => Some(Err(*reason)),
            _ => None,
        });
        answer.expect("every request is answered")
    }

    /// Asks, and opens the stream.
    fn take(&mut self, slots: &mut SlotPool, from: PeerId) -> u64 {
        let ticket = self.ask(slots, from, join(1)).expect("a free slot");
        self.input(slots, Input::ChildOpened { peer: from, ticket });
        ticket
    }
}

/// A table with the origin and a parent at this depth.
fn mesh_table(origin: PeerId, track: &TrackName, parent: PeerId, depth: u8) -> PeerTable {
    use banyan_gossip::{Presence, Role, Row, TrackEntry, op::SignedOp};
    use serde::{Deserialize, de::value::SeqDeserializer};
    let mut table = PeerTable::default();
    for peer in [origin, parent] {
        let is_origin = peer == origin;
        let free = if peer == parent { 5 } else { 0 };
        let entry = TrackEntry {
            role: if is_origin { Role::Origin } else { Role::Member },
            origin: Some(origin),
            epoch: SOURCE.epoch,
            depth: Some(if is_origin { 0 } else { depth }),
            parent: (!is_origin).then_some(origin),
            children: 0,
            free,
        };
        let row = Row {
            peer,
            incarnation: 1,
            version: 1,
            presence: Presence::Alive,
            label: None,
            addresses: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            capacity: 5,
            free,
            tracks: [(track.clone(), entry)].into(),
            library: None,
        };
        let parts: [&[u8]; 2] = [&[], &[0; 64]];
        let signed = SignedOp::deserialize(SeqDeserializer::<_, serde::de::value::Error>::new(parts.into_iter()));
        table.merge_row(Instant::now(), row, signed.expect("an op"));
    }
    table
}

#[test]
fn slots_are_given_once_and_shared_by_all_tracks_a3_a10() {
    let mut slots = SlotPool::new(3);
    let mut one = Solo::origin(&mut slots, Config::default());
    let mut two = Solo::new(1, "cam/2", Config::default());
    two.input(&mut slots, Input::Publish { epoch: SOURCE.epoch });
    one.take(&mut slots, peer(10));
    two.take(&mut slots, peer(10));
    let last = one.ask(&mut slots, peer(11), join(2)).expect("the third slot");
    assert_eq!(two.ask(&mut slots, peer(12), join(3)), Err(RefuseReason::Full));
    assert_eq!((slots.used(), one.tree.slots_held(), two.tree.slots_held()), (3, 2, 1));
    one.message(&mut slots, peer(11), Message::Detach { ticket: last, reason: DetachReason::Cancelled });
    assert!(two.ask(&mut slots, peer(12), join(4)).is_ok());
}

#[test]
fn reservation_ends_when_it_is_not_used() {
    let mut slots = SlotPool::new(1);
    let mut solo = Solo::origin(&mut slots, Config::default());
    let ticket = solo.ask(&mut slots, peer(10), join(1)).expect("a free slot");
    solo.pass(&mut slots, Duration::from_millis(1_999));
    assert_eq!(slots.used(), 1);
    solo.pass(&mut slots, Duration::from_millis(1));
    assert_eq!(slots.used(), 0);
    solo.input(&mut slots, Input::ChildOpened { peer: peer(10), ticket });
    assert!(solo.outputs.contains(&Output::Reject { child: peer(10), ticket }));
}

#[test]
fn repair_slots_are_for_repairs_only() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::origin(&mut slots, Config::default());
    for number in 10..16 {
        solo.take(&mut slots, peer(number));
    }
    assert_eq!(solo.ask(&mut slots, peer(20), join(1)), Err(RefuseReason::Full));
    let repair = |request| Message::Join { request, source: Some(SOURCE), height: 0, need: None, repair: true };
    assert!(solo.ask(&mut slots, peer(20), repair(2)).is_ok());
    assert!(solo.ask(&mut slots, peer(21), repair(3)).is_ok());
    assert_eq!(solo.ask(&mut slots, peer(22), repair(4)), Err(RefuseReason::Full));
}

#[test]
fn refusal_for_want_of_slots_names_others() {
    let mut slots = SlotPool::new(3);
    let mut solo = Solo::origin(&mut slots, Config::default());
    for number in 10..13 {
        solo.take(&mut slots, peer(number));
    }
    assert_eq!(solo.ask(&mut slots, peer(20), join(1)), Err(RefuseReason::Full));
    let Some(Output::Send { message: Message::Refuse { try_instead, .. }, .. }) = solo.outputs.first() else {
        panic!("{:?}", solo.outputs);
    };
    let mut named = try_instead.clone();
    named.sort_unstable();
    assert_eq!(named, [peer(10), peer(11), peer(12)]);
}

#[test]
fn root_slots_bound_the_origin_a2() {
    let mut slots = SlotPool::new(10);
    let mut solo = Solo::origin(&mut slots, Config { root_slots: 2, ..Config::default() });
    solo.take(&mut slots, peer(10));
    assert!(solo.ask(&mut slots, peer(11), join(1)).is_ok());
    assert_eq!(solo.ask(&mut slots, peer(12), join(2)), Err(RefuseReason::Full));
}

#[test]
fn whole_subtree_has_to_fit_a5() {
    let mut slots = SlotPool::new(8);
    let config = Config { max_depth: 6, ..Config::default() };
    let mut solo = Solo::member(&mut slots, 3, config);
    let tall = |height| Message::Join { request: 1, source: Some(SOURCE), height, need: None, repair: false };
    assert!(solo.ask(&mut slots, peer(10), tall(2)).is_ok());
    assert_eq!(solo.ask(&mut slots, peer(10), tall(3)), Err(RefuseReason::TooDeep));
    assert_eq!(solo.ask(&mut slots, peer(10), tall(u8::MAX)), Err(RefuseReason::TooDeep));
}

#[test]
fn ancestor_is_refused_by_the_current_path_a7() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 3, Config::default());
    for above in [SOURCE.origin, peer(100), peer(101), peer(50)] {
        assert_eq!(solo.ask(&mut slots, above, join(1)), Err(RefuseReason::Ancestor));
    }
    assert!(solo.ask(&mut slots, peer(60), join(1)).is_ok());
    let path = vec![SOURCE.origin, peer(60), peer(101)];
    solo.message(&mut slots, peer(101), Message::Path { path, source: SOURCE, backups: Vec::new() });
    assert_eq!(solo.ask(&mut slots, peer(60), join(2)), Err(RefuseReason::Ancestor));
    assert!(solo.ask(&mut slots, peer(100), join(3)).is_ok(), "no longer above");
}

#[test]
fn node_that_sees_itself_in_its_path_detaches_at_once_a7() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 3, Config::default());
    let path = vec![SOURCE.origin, peer(50), peer(101)];
    solo.message(&mut slots, peer(101), Message::Path { path, source: SOURCE, backups: Vec::new() });
    assert_eq!((solo.tree.parent(), solo.tree.depth()), (None, None));
    assert!(solo.outputs.contains(&Output::Close { parent: peer(101), ticket: 7 }));
    let detach = Message::Detach { ticket: 7, reason: DetachReason::Loop };
    assert!(solo.outputs.contains(&Output::Send { to: peer(101), message: detach }));
}

#[test]
fn node_below_the_limit_detaches_and_the_one_at_the_limit_stays_a5() {
    for (length, stays) in [(6_u8, true), (7, false)] {
        let mut slots = SlotPool::new(8);
        let mut solo = Solo::member(&mut slots, 3, Config { max_depth: 6, ..Config::default() });
        let above = (0..length - 2).map(|level| peer(120 + level));
        let path: Vec<PeerId> = [SOURCE.origin].into_iter().chain(above).chain([peer(101)]).collect();
        assert_eq!(path.len(), usize::from(length));
        solo.message(&mut slots, peer(101), Message::Path { path, source: SOURCE, backups: Vec::new() });
        assert_eq!(solo.tree.parent().is_some(), stays);
    }
}

#[test]
fn detached_and_stale_nodes_accept_nobody() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 2, Config::default());
    solo.pass(&mut slots, Duration::from_millis(2_999));
    assert!(solo.ask(&mut slots, peer(10), join(1)).is_ok());
    solo.pass(&mut slots, Duration::from_millis(1));
    assert_eq!(solo.ask(&mut slots, peer(11), join(2)), Err(RefuseReason::Detached));
    assert_eq!(solo.tree.depth(), None);
    solo.message(&mut slots, peer(100), Message::Pulse { origin_age_ms: 100 });
    assert_eq!(solo.tree.depth(), Some(2));
    assert!(solo.ask(&mut slots, peer(11), join(3)).is_ok());
    // Its fragment's top has lost its parent.
    let path = vec![peer(100)];
    solo.message(&mut slots, peer(100), Message::Path { path, source: SOURCE, backups: Vec::new() });
    assert_eq!(solo.ask(&mut slots, peer(12), join(4)), Err(RefuseReason::Detached));
}

#[test]
fn asker_is_refused_only_if_what_it_needs_is_gone() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 2, Config::default());
    let need = |need| Message::Join { request: 1, source: Some(SOURCE), height: 0, need, repair: false };
    assert_eq!(solo.ask(&mut slots, peer(10), need(Some(5))), Err(RefuseReason::Behind), "it holds nothing yet");
    solo.input(&mut slots, Input::Ring { oldest: 5, next: 9 });
    assert_eq!(solo.ask(&mut slots, peer(10), need(Some(4))), Err(RefuseReason::Behind));
    assert!(solo.ask(&mut slots, peer(10), need(Some(5))).is_ok());
    assert!(solo.ask(&mut slots, peer(11), need(None)).is_ok());
    assert!(solo.ask(&mut slots, peer(12), need(Some(100))).is_ok(), "it will come");
}

#[test]
fn asker_of_a_newer_publication_is_refused() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 2, Config::default());
    let of = |epoch| {
        let source = Some(Source { epoch, ..SOURCE });
        Message::Join { request: 1, source, height: 0, need: Some(0), repair: false }
    };
    assert_eq!(solo.ask(&mut slots, peer(10), of(SOURCE.epoch + 1)), Err(RefuseReason::OldSource));
    assert!(solo.ask(&mut slots, peer(10), of(SOURCE.epoch - 1)).is_ok(), "it learns of the newer one here");
}

#[test]
fn child_that_asks_anew_replaces_its_session_and_late_news_of_the_old_one_do_nothing_b11() {
    let mut slots = SlotPool::new(1);
    let mut solo = Solo::origin(&mut slots, Config::default());
    let old = solo.take(&mut slots, peer(10));
    let new = solo.ask(&mut slots, peer(10), join(2)).expect("its own slot");
    assert!(solo.outputs.contains(&Output::Drop { child: peer(10), ticket: old }));
    solo.input(&mut slots, Input::ChildClosed { peer: peer(10), ticket: old });
    solo.message(&mut slots, peer(10), Message::Detach { ticket: old, reason: DetachReason::Leaving });
    solo.input(&mut slots, Input::ChildOpened { peer: peer(10), ticket: old });
    assert!(solo.outputs.contains(&Output::Reject { child: peer(10), ticket: old }));
    solo.input(&mut slots, Input::ChildOpened { peer: peer(10), ticket: new });
    assert_eq!(solo.tree.children().collect::<Vec<_>>(), [(peer(10), new)]);
    assert_eq!(slots.used(), 1);
}

#[test]
fn settings_of_the_parent_hold_for_the_child_a16() {
    let mut slots = SlotPool::new(2);
    let settings = LinkSettings { ring_objects: 1_000, heartbeat_ms: 50, ..LinkSettings::default() };
    let mut solo = Solo::origin(&mut slots, Config { settings, ..Config::default() });
    solo.take(&mut slots, peer(10));
    let handed = solo.outputs.iter().find_map(|output| match output {
        Output::Send { message: Message::Accept { settings, .. }, .. } => Some(*settings),
        _ => None,
    });
    assert_eq!(handed, Some(settings));
    solo.outputs.clear();
    solo.pass(&mut slots, Duration::from_millis(1_000));
    let is_pulse = |output: &&Output| matches!(output, Output::Send { message: Message::Pulse { .. }, .. });
    let pulses = solo.outputs.iter().filter(is_pulse).count();
    assert!((20..=21).contains(&pulses), "{pulses} pulses");
}

#[test]
fn lower_id_waits_when_two_move_below_each_other() {
    for (number, verdict) in [(40, false), (60, true)] {
        let mut slots = SlotPool::new(8);
        let mut solo = Solo::member(&mut slots, 3, Config::default());
        // It is asked to go, and asks this peer.
        let other = peer(number);
        solo.message(&mut slots, peer(101), Message::Shed { try_instead: vec![other] });
        solo.asked(other);
        let answer = solo.ask(&mut slots, other, join(1));
        // 50 is greater than 40 and lower than 60.
        assert_eq!(answer.err(), verdict.then_some(RefuseReason::Crossing));
    }
}

#[test]
fn malformed_messages_change_nothing_and_are_counted() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 2, Config::default());
    let circle = vec![SOURCE.origin, peer(9), peer(9), peer(100)];
    let long: Vec<PeerId> = (0..33).map(|number| peer(110 + number)).chain([peer(100)]).collect();
    for path in [Vec::new(), vec![peer(9)], circle, long] {
        let before = solo.tree.malformed();
        solo.message(&mut slots, peer(100), Message::Path { path, source: SOURCE, backups: Vec::new() });
        assert_eq!(solo.tree.malformed(), before + 1);
    }
    let before = solo.tree.malformed();
    solo.message(&mut slots, peer(100), Message::Shed { try_instead: vec![peer(9); 4] });
    assert_eq!(solo.tree.malformed(), before + 1);
    assert_eq!(solo.tree.depth(), Some(2));
}

#[test]
fn strangers_cannot_move_this_node() {
    let mut slots = SlotPool::new(8);
    let mut solo = Solo::member(&mut slots, 2, Config::default());
    let child = solo.take(&mut slots, peer(10));
    let path = vec![SOURCE.origin, peer(50), peer(66)];
    solo.message(&mut slots, peer(66), Message::Path { path, source: SOURCE, backups: Vec::new() });
    solo.message(&mut slots, peer(66), Message::Detach { ticket: 7, reason: DetachReason::Loop });
    solo.message(&mut slots, peer(66), Message::Detach { ticket: child, reason: DetachReason::Loop });
    solo.message(&mut slots, peer(66), Message::Shed { try_instead: Vec::new() });
    solo.message(&mut slots, peer(66), Message::Height { height: 200 });
    solo.message(&mut slots, peer(66), Message::Pulse { origin_age_ms: u64::MAX });
    let accept = Message::Accept {
        request: 1,
        ticket: 9,
        path: vec![SOURCE.origin, peer(66)],
        source: SOURCE,
        origin_age_ms: 0,
        backups: Vec::new(),
        settings: LinkSettings::default(),
    };
    solo.message(&mut slots, peer(66), accept);
    let declined = Message::Detach { ticket: 9, reason: DetachReason::Cancelled };
    assert!(solo.outputs.contains(&Output::Send { to: peer(66), message: declined }), "its slot is given back");
    assert_eq!((solo.tree.parent(), solo.tree.depth(), solo.tree.children().count()), (Some(peer(100)), Some(2), 1));
}

#[test]
fn newer_publication_of_the_same_origin_lets_all_children_go() {
    let mut slots = SlotPool::new(4);
    let mut solo = Solo::origin(&mut slots, Config::default());
    let ticket = solo.take(&mut slots, peer(10));
    solo.outputs.clear();
    solo.input(&mut slots, Input::Publish { epoch: SOURCE.epoch });
    assert_eq!(solo.tree.children().count(), 1, "the same publication goes on");
    solo.input(&mut slots, Input::Publish { epoch: SOURCE.epoch + 1 });
    assert_eq!((solo.tree.children().count(), slots.used()), (0, 0));
    let left = Event::ChildLeft { child: peer(10), reason: DetachReason::OriginChanged };
    assert!(solo.outputs.contains(&Output::Event(left)));
    assert!(solo.outputs.contains(&Output::Drop { child: peer(10), ticket }));
}
