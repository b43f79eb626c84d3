//! What a signed track promises, over random schedules and with a relay that lies.

use std::cell::Cell;

use banyan_gossip::{Keys, MeshName, PeerId, Signed, TrackName};

use super::*;
use crate::relay::{
    frame::Chunk,
    pull::PullError,
    seal::{Forged, GROUP_BYTES_MAX, Group, Scope, TAIL_BYTES_MAX},
};

/// Keyed hashes instead of signatures: as good for a test, and much cheaper.
struct TestKeys(u8);

fn id(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

impl Keys for TestKeys {
    fn sign(&self, message: &Signed<'_>) -> [u8; 64] {
        let mut signature = [0; 64];
        let hash = blake3::keyed_hash(id(self.0).key_bytes(), &message.to_bytes());
        signature[..32].copy_from_slice(hash.as_bytes());
        signature
    }

    fn verify(&self, peer: &PeerId, message: &Signed<'_>, signature: &[u8; 64]) -> bool {
        blake3::keyed_hash(peer.key_bytes(), &message.to_bytes()).as_bytes() == &signature[..32]
    }
}

const ORIGIN: TestKeys = TestKeys(1);
const OTHER: TestKeys = TestKeys(2);

fn scope() -> Scope {
    let (mesh, track) = (MeshName::new("home").expect("valid"), TrackName::new("cam/1").expect("valid"));
    Scope { mesh, track, epoch: 9, origin: id(1) }
}

fn seal_all(now: Instant, track: &mut Track) {
    while let Some(group) = track.next_group() {
        let seal = scope().seal(&ORIGIN, &group);
        track.seal(now, seal, &group.chunks).expect("it follows");
    }
}

fn group(lengths: &[usize]) -> Group {
    let mut track = Track::new_signing_origin(TrackConfig::default(), Mode::Reliable);
    for (id, length) in (0..).zip(lengths) {
        track.publish(Instant::now(), &object(id, *length));
    }
    track.next_group().expect("something was published")
}

/// The same, changed in one place.
fn flipped(chunk: &Chunk, at: usize) -> Chunk {
    let mut wire = chunk.wire.to_vec();
    let at = HEADER_BYTES + at % (wire.len() - HEADER_BYTES).max(1);
    if let Some(byte) = wire.get_mut(at) {
        *byte ^= 1;
    }
    Chunk { wire: wire.into(), ..chunk.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_changed_in_a_group_is_noticed(
        lengths in prop::collection::vec(1usize..40_000, 3..12),
        what in 0u8..6,
        (at, other) in (any::<usize>(), any::<usize>()),
    ) {
        let group = group(&lengths);
        let seal = scope().seal(&ORIGIN, &group);
        prop_assert_eq!(scope().verify(&OTHER, &seal, &group.chunks), Ok(()));
        let (mut chunks, mut forged) = (group.chunks.clone(), seal);
        let (one, two) = (at % chunks.len(), other % chunks.len());
        match what {
            0 => chunks[one] = flipped(&chunks[one], other),
            1 => drop(chunks.remove(one)),
            2 => chunks.insert(one, chunks[two].clone()),
            3 => {
                let with = 1 + one % (chunks.len() - 1);
                chunks.swap(0, with);
            }
            4 => forged.signature[other % 32] ^= 1,
            _ => {
                // A byte moves from one object to the next.
                let [a, b] = [0, 1].map(|at: usize| chunks[at].wire.slice(frame::HEADER_BYTES..));
                let moved = [&a[a.len() - 1..], &b[..]].concat();
                chunks[0] = frame::chunks(0, &a[..a.len() - 1]).next().expect("one");
                chunks[1] = frame::chunks(1, &moved).next().expect("one");
            }
        }
        prop_assert_eq!(scope().verify(&OTHER, &forged, &chunks), Err(Forged));
    }
}

#[test]
fn a_seal_is_worth_nothing_in_another_mesh_track_epoch_or_place_or_of_another_origin() {
    let group = group(&[10, 20, 30]);
    let seal = scope().seal(&ORIGIN, &group);
    let others = [
        Scope { mesh: MeshName::new("work").expect("valid"), ..scope() },
        Scope { track: TrackName::new("cam/2").expect("valid"), ..scope() },
        Scope { epoch: 10, ..scope() },
        Scope { origin: id(2), ..scope() },
    ];
    for other in others {
        assert_eq!(other.verify(&OTHER, &seal, &group.chunks), Err(Forged));
    }
    assert_eq!(scope().verify(&OTHER, &scope().seal(&OTHER, &group), &group.chunks), Err(Forged));
    let place = Position { id: 1, chunk: 0 };
    assert_eq!(scope().verify(&OTHER, &Seal { from: place, ..seal }, &group.chunks), Err(Forged));
    assert_eq!(scope().verify(&OTHER, &Seal { upto: place, ..seal }, &group.chunks[..1]), Err(Forged));
    assert_eq!(scope().verify(&OTHER, &Seal { last: true, upto: seal.from, ..seal }, &[]), Err(Forged));
    let end = scope().seal_end(&ORIGIN, place);
    assert_eq!(scope().verify(&OTHER, &end, &[]), Ok(()));
    assert_eq!(scope().verify(&OTHER, &Seal { last: false, ..end }, &[]), Err(Forged));
}

#[test]
fn groups_hold_whole_objects_or_a_part_of_one() {
    let now = Instant::now();
    let mut track = Track::new_signing_origin(TrackConfig::default(), Mode::Live);
    for (id, length) in [(0, 100), (1, 2_500_000), (2, 10), (3, GROUP_BYTES_MAX), (4, 0)] {
        track.publish(now, &object(id, length));
    }
    let mut groups = Vec::new();
    while let Some(group) = track.next_group() {
        groups.push((group.from, group.upto));
        assert!(group.chunks.iter().map(|chunk| chunk.wire.len()).sum::<usize>() <= GROUP_BYTES_MAX);
        let seal = scope().seal(&ORIGIN, &group);
        track.seal(now, seal, &group.chunks).expect("it follows");
    }
    let at = |id, chunk| Position { id, chunk };
    let expected = [at(0, 0), at(1, 0), at(1, 16), at(1, 32), at(2, 0), at(3, 0), at(3, 16), at(4, 0), at(5, 0)];
    let pairs: Vec<_> = expected.windows(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(groups, pairs);
}

/// What a relay that lies does to what it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// It changes a byte of every so manyth chunk.
    Change(usize),
    /// It keeps the seals back.
    KeepSeals,
    /// It makes up seals of its own.
    SealItself,
    /// It says that the track is over.
    End,
}

/// Several nodes, of which number 1 lies if it has a lie.
struct World {
    nodes: Vec<Node>,
    lie: Option<Lie>,
    passed: Cell<usize>,
    /// Who found out whom.
    found: Vec<(usize, usize)>,
}

const LIAR: usize = 1;

impl World {
    fn new(count: usize, config: TrackConfig, mode: Mode, now: Instant) -> Self {
        let mut nodes = vec![Node::new(Track::new_signing_origin(config, mode), now, Start::Oldest)];
        nodes.extend((1..count).map(|_| Node::new(Track::new_signed(config, mode, 0), now, Start::Oldest)));
        Self { nodes, lie: None, passed: Cell::new(0), found: Vec::new() }
    }

    fn attach(&mut self, child: usize, parent: usize, now: Instant) {
        let start = Start::Id(self.nodes[child].track.ring().verified().id);
        let feed = Feed::new(now, &mut self.nodes[parent].track, 1, start);
        let pull = Pull::new_signed(self.nodes[child].streams.len() as u64);
        self.nodes[child].streams.push(Stream { parent, feed, pull, decoder: Decoder::default() });
    }

    /// What arrives of a frame that a parent sends.
    fn pass(&self, parent: usize, frame: Frame) -> Option<Frame> {
        let Some(lie) = self.lie.filter(|_| parent == LIAR) else {
            return Some(frame);
        };
        self.passed.set(self.passed.get() + 1);
        match (lie, frame) {
            (Lie::Change(every), Frame::Chunk(chunk))
                if self.passed.get().is_multiple_of(every) && chunk.wire.len() > HEADER_BYTES =>
            {
                Some(Frame::Chunk(flipped(&chunk, self.passed.get())))
            }
            (Lie::KeepSeals, Frame::Seal(_)) => None,
            (Lie::SealItself, Frame::Seal(seal)) => Some(Frame::Seal(Seal { signature: [7; 64], ..seal })),
            (Lie::End, Frame::Chunk(chunk)) => Some(Frame::End(chunk.id)),
            (_, frame) => Some(frame),
        }
    }

    /// Moves what comes next from a parent to a child and the child's acknowledgement back. Whoever is found out is
    /// left, for node 2.
    fn pump(&mut self, child: usize, stream: usize, now: Instant) -> bool {
        let mut streams = std::mem::take(&mut self.nodes[child].streams);
        let Stream { parent, feed, pull, .. } = &mut streams[stream];
        let (mut frames, mut moved, mut error) = (Vec::new(), false, None);
        feed.fill(&mut self.nodes[*parent].track, 1, |frame| frames.push(frame));
        let arrived: Vec<_> = frames.into_iter().filter_map(|frame| self.pass(*parent, frame)).collect();
        for frame in arrived {
            if matches!(frame, Frame::Start { .. }) {
                continue;
            }
            moved = true;
            let track = &mut self.nodes[child].track;
            let taken = match &frame {
                Frame::Seal(seal) => pull.verify(&scope(), &OTHER, seal).and_then(|()| pull.take(now, track, frame)),
                _ => pull.take(now, track, frame),
            };
            if let Err(failed) = taken {
                error = Some(failed);
                break;
            }
        }
        let acked = self.nodes[child].track.acked();
        self.nodes[*parent].track.ack(now, feed.reader(), acked);
        let parent = *parent;
        self.nodes[child].streams = streams;
        if let Some(error) = error {
            self.leave(child, stream, now, error);
            assert!(parent == LIAR && self.lie.is_some(), "{child} left {parent}, which is honest: {error}");
        }
        moved
    }

    fn leave(&mut self, child: usize, stream: usize, now: Instant, error: PullError) {
        let parent = self.nodes[child].streams[stream].parent;
        detach(&mut self.nodes, child, stream, now);
        if error.is_lie() {
            self.found.push((child, parent));
        }
        self.nodes[child].track.drop_tail();
        if self.nodes[child].streams.is_empty() {
            self.attach(child, 2, now);
        }
    }

    /// Lets everything flow. What waits for a seal that does not come is what a timeout is for.
    fn settle(&mut self, now: Instant) {
        loop {
            seal_all(now, &mut self.nodes[0].track);
            let mut moved = false;
            for child in 1..self.nodes.len() {
                for stream in (0..self.nodes[child].streams.len()).rev() {
                    moved |= self.pump(child, stream, now);
                }
            }
            for node in &mut self.nodes {
                moved |= node.consume(now);
            }
            if moved {
                continue;
            }
            // The one nearest to the origin gives up first; those below it are told.
            let waits = |stream: &Stream| stream.pull.waits_for_seal();
            let stuck = |node: usize| Some((node, self.nodes[node].streams.iter().position(waits)?));
            let Some((child, stream)) = (1..self.nodes.len()).find_map(stuck) else { return };
            let parent = self.nodes[child].streams[stream].parent;
            assert!(parent == LIAR && self.lie.is_some(), "{child} waits for a seal from {parent}, which is honest");
            self.leave(child, stream, now, PullError::Late);
        }
    }
}

fn lies() -> impl Strategy<Value = Option<Lie>> {
    prop_oneof![
        Just(None),
        (1usize..30).prop_map(|every| Some(Lie::Change(every))),
        Just(Some(Lie::KeepSeals)),
        Just(Some(Lie::SealItself)),
        Just(Some(Lie::End)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Origin 0 feeds 1 and 2; 3 and 4 hang below 1 or 2 and move at random, 5 hangs below 3. Node 1 may lie. The
    /// origin seals when it likes.
    #[test]
    fn a_signed_reliable_track_reaches_everyone_unaltered_whatever_a_relay_does(
        lie in lies(),
        steps in prop::collection::vec((0u8..12, 0usize..100_000), 50..300),
    ) {
        let base = Instant::now();
        // Who was lied to finds what it needs as long as rings keep it.
        let ring = RingConfig { bytes_max: 30_000_000, age_min: Duration::from_secs(60), ..RingConfig::default() };
        let config = TrackConfig { ring, window_bytes: 20_000_000, ..TrackConfig::default() };
        let mut world = World::new(6, config, Mode::Reliable, base);
        world.lie = lie;
        for (child, parent) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 3)] {
            world.attach(child, parent, base);
        }
        let mut sent = Vec::new();
        for (tick, (what, number)) in (0u64..).zip(steps) {
            let now = base + Duration::from_millis(tick);
            match what {
                0..=2 if world.nodes[0].track.may_publish(number) => {
                    let length = if number % 10 == 0 { 20 * number } else { number % 30_000 };
                    sent.push(object(sent.len() as u64, length));
                    world.nodes[0].track.publish(now, &sent[sent.len() - 1]);
                }
                3 => seal_all(now, &mut world.nodes[0].track),
                4..=8 => {
                    let child = 1 + number % 5;
                    for stream in (0..world.nodes[child].streams.len()).rev() {
                        world.pump(child, stream, now);
                    }
                }
                9 => {
                    let child = 3 + number % 2;
                    let parent = world.nodes[child].streams[0].parent;
                    let to = if parent == 1 || world.found.contains(&(child, 1)) { 2 } else { 1 };
                    if world.nodes[child].streams.len() > 1 {
                        detach(&mut world.nodes, child, number / 2 % 2, now);
                    } else if parent != to {
                        world.attach(child, to, now);
                    }
                }
                _ => {
                    world.nodes[number % 6].consume(now);
                }
            }
        }
        let now = base + Duration::from_secs(1);
        world.nodes[0].track.finish();
        seal_all(now, &mut world.nodes[0].track);
        let end = world.nodes[0].track.ring().verified();
        world.nodes[0].track.seal(now, scope().seal_end(&ORIGIN, end), &[]).expect("nothing is left");
        world.settle(now);
        for (number, node) in world.nodes.iter_mut().enumerate() {
            prop_assert_eq!(&node.gaps, &vec![], "at {}", number);
            prop_assert_eq!(node.got.len(), sent.len(), "at {}", number);
            prop_assert!(node.got.iter().zip(0..).all(|((id, got), index)| *id == index && *got == sent[index as usize]));
            let local = node.local;
            prop_assert_eq!(node.track.read(local), Read::Ended, "at {}", number);
        }
        prop_assert!(world.found.iter().all(|(_, liar)| *liar == LIAR && lie.is_some()));
    }

    /// A live reader below a relay that skips gets whole groups or gaps, and can verify all it gets.
    #[test]
    fn a_live_track_skips_by_whole_groups(steps in prop::collection::vec((0u8..6, 0usize..100_000), 20..300)) {
        let base = Instant::now();
        let mut world = World::new(3, small_config(), Mode::Live, base);
        world.attach(1, 0, base);
        world.attach(2, 1, base);
        let mut published = 0;
        for (tick, (what, number)) in (0u64..).zip(steps) {
            let now = base + Duration::from_millis(tick);
            match what {
                0..=2 if world.nodes[0].track.may_publish(number) => {
                    let length = if number % 7 == 0 { 3 * number } else { number % 20_000 };
                    world.nodes[0].track.publish(now, &object(published, length));
                    published += 1;
                }
                3 => seal_all(now, &mut world.nodes[0].track),
                4 => drop(world.pump(1 + number % 2, 0, now)),
                _ => drop(world.nodes[number % 3].consume(now)),
            }
        }
        world.settle(base + Duration::from_secs(1));
        for node in &world.nodes {
            let mut seen = vec![false; published as usize];
            for id in node.got.iter().map(|(id, _)| *id).chain(node.gaps.iter().flat_map(|(from, to)| *from..*to)) {
                prop_assert!(!std::mem::replace(&mut seen[id as usize], true), "{} twice", id);
            }
            prop_assert!(seen.iter().all(|seen| *seen));
        }
    }
}

#[test]
fn a_late_child_begins_with_a_whole_group_and_what_it_did_not_ask_for_is_no_gap_of_its_subscribers() {
    let now = Instant::now();
    let mut origin = Track::new_signing_origin(TrackConfig::default(), Mode::Reliable);
    for id in 0..10 {
        origin.publish(now, &object(id, 1_000));
        if id % 4 == 3 {
            seal_all(now, &mut origin);
        }
    }
    // Groups: 0..4, 4..8; 8 and 9 are not sealed.
    for (wanted, from) in [(2, 0), (4, 4), (7, 4), (8, 8), (9, 8), (20, 8)] {
        let mut feed = Feed::new(now, &mut origin, 1, Start::Id(wanted));
        let mut first = None;
        feed.fill(&mut origin, 1, |frame| first = first.take().or(Some(frame)));
        assert!(matches!(first, Some(Frame::Start { from: begins, .. }) if begins == from), "{wanted}: {first:?}");
        origin.close_reader(now, feed.reader(), false);
    }
    // What is wanted lies in a group that nobody knows yet.
    let mut child = Track::new_signed(TrackConfig::default(), Mode::Reliable, 8);
    let (local, _) = child.open_reader(now, ReaderKind::Local, Start::Id(10));
    let mut feed = Feed::new(now, &mut origin, 1, Start::Id(10));
    let mut pull = Pull::new_signed(1);
    let mut flow = |origin: &mut Track, child: &mut Track| {
        let mut frames = Vec::new();
        feed.fill(origin, 1_000_000, |frame| frames.push(frame));
        for frame in frames.into_iter().filter(|frame| !matches!(frame, Frame::Start { .. })) {
            if let Frame::Seal(seal) = &frame {
                pull.verify(&scope(), &OTHER, seal).expect("is the origin's");
            }
            pull.take(now, child, frame).expect("fits");
        }
    };
    flow(&mut origin, &mut child);
    assert_eq!(child.read(local), Read::Wait);
    seal_all(now, &mut origin);
    origin.publish(now, &object(10, 1_000));
    origin.publish(now, &object(11, 1_000));
    flow(&mut origin, &mut child);
    seal_all(now, &mut origin);
    flow(&mut origin, &mut child);
    assert!(matches!(child.read(local), Read::Frame(Frame::Chunk(chunk)) if chunk.id == 10));
}

#[test]
fn without_seals_no_more_is_sent_or_taken_than_a_bound() {
    let now = Instant::now();
    let mut origin = Track::new_signing_origin(TrackConfig::default(), Mode::Live);
    let mut published = 0;
    while origin.may_publish(60_000) {
        origin.publish(now, &object(published, 60_000));
        published += 1;
        assert!(published < 100, "no limit");
    }
    let mut feed = Feed::new(now, &mut origin, 1, Start::Oldest);
    let mut sent = 0;
    feed.fill(&mut origin, usize::MAX, |frame| sent += frame.wire_bytes());
    assert!((TAIL_BYTES_MAX..TAIL_BYTES_MAX + 70_000).contains(&sent), "{sent}");
    let (mut pull, mut child) = (Pull::new_signed(1), Track::new_signed(TrackConfig::default(), Mode::Live, 0));
    let mut taken = (0..).map(|id| {
        let chunk = frame::chunks(id, &object(id, 60_000)).next().expect("one");
        pull.take(now, &mut child, Frame::Chunk(chunk))
    });
    let count = taken.by_ref().take_while(Result::is_ok).count();
    assert_eq!(count, TAIL_BYTES_MAX.div_ceil(60_000 + HEADER_BYTES));
    assert_eq!(taken.next(), Some(Err(PullError::Unsealed)));
    assert_eq!(child.ring().next().id, count as u64, "what is too much is not passed on");
}
