//! A ring that is fed with runs is the ring that is fed object by object.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{open::OPEN_OBJECT_BYTES_MAX, *};
use crate::relay::frame::{self, RUN_BYTES_MAX};

/// A second; what is older than this may go by age.
const TICK: Duration = Duration::from_secs(1);

/// Object `id` of a length that follows from it, mostly small.
fn object(id: u64) -> Vec<u8> {
    let length = if id % 41 == 40 { frame::CHUNK_BYTES_MAX + 100 } else { (id as usize * 37) % 300 };
    (0..length).map(|index| (id as usize * 31 + index) as u8).collect()
}

/// The objects `ids` as a parent may send them: those of one piece in runs, the others piece by piece.
fn chunks(ids: std::ops::Range<u64>) -> Vec<(Position, Chunk)> {
    let mut chunks: Vec<(Position, Chunk)> = Vec::new();
    for (id, object) in ids.map(|id| (id, object(id))) {
        for (index, piece) in (0..).zip(frame::chunks(id, &object)) {
            match chunks.last_mut() {
                Some((_, run)) if run.first && run.last && piece.first && piece.last => {
                    run.count += 1;
                    run.wire = [&run.wire[..], &piece.wire[..]].concat().into();
                }
                _ => chunks.push((Position { id, chunk: index }, piece)),
            }
        }
    }
    chunks
}

/// What a reader was given, piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Piece(Chunk),
    Gap(u64, u64),
}

struct Reader {
    cursor: Cursor,
    single: bool,
    start: u64,
    got: Vec<Got>,
}

impl Reader {
    fn new(ring: &Ring, single: bool, id: u64) -> Self {
        Self { cursor: ring.cursor(id), single, start: id, got: Vec::new() }
    }

    fn read(&mut self, ring: &mut Ring) -> bool {
        let read = if self.single { ring.read_single(&mut self.cursor) } else { ring.read(&mut self.cursor) };
        let more = read.is_some();
        match read {
            Some(Frame::Chunk(chunk)) => {
                assert!(!self.single || chunk.count == 1);
                self.got.extend(chunk.singles().map(Got::Piece));
            }
            Some(Frame::Gap { from, to }) => self.got.push(Got::Gap(from, to)),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
        more
    }

    /// That it got everything from its start up to `next` once and in order, and as it was pushed.
    fn check(&self, next: u64, missing: &BTreeMap<u64, u64>) {
        let mut place = Position { id: self.start, chunk: 0 };
        for got in &self.got {
            match got {
                Got::Piece(piece) => {
                    assert_eq!(piece.id, place.id);
                    let sent = frame::chunks(piece.id, &object(piece.id)).nth(place.chunk as usize).expect("a piece");
                    assert_eq!(piece, &sent);
                    let gap = missing.range(..=piece.id).next_back();
                    assert!(gap.is_none_or(|(_, to)| *to <= piece.id), "object {} never came", piece.id);
                    place = place.after(piece);
                }
                // An object of which the rest was evicted or never came is missing too.
                Got::Gap(from, to) => {
                    assert!(*from == place.id && to > from);
                    place = Position { id: *to, chunk: 0 };
                }
            }
        }
        assert_eq!(place, Position { id: next.max(self.start), chunk: 0 });
    }
}

/// A ring that takes runs, and one that takes objects one by one.
struct Pair {
    runs: Ring,
    singles: Ring,
    /// Beside each other, the readers of both.
    readers: Vec<(Reader, Reader)>,
    missing: BTreeMap<u64, u64>,
}

impl Pair {
    fn new(config: RingConfig) -> Self {
        let (runs, singles) = (Ring::new(config, 0), Ring::new(config, 0));
        Self { runs, singles, readers: Vec::new(), missing: BTreeMap::new() }
    }

    fn push(&mut self, now: Instant, from: u64, count: u64) {
        for (position, chunk) in chunks(from..from + count) {
            let mut stored = false;
            for single in chunk.singles() {
                let position = Position { id: single.id, ..position };
                stored |= self.singles.push(now, position, single) == Push::Stored;
            }
            let pushed = self.runs.push(now, position, chunk);
            assert_eq!(pushed, if stored { Push::Stored } else { Push::Duplicate });
        }
    }

    fn publish(&mut self, now: Instant, count: u64) {
        for id in (self.runs.next().id..).take(count as usize) {
            self.runs.publish(now, &object(id));
            for (index, piece) in (0..).zip(frame::chunks(id, &object(id))) {
                assert_eq!(self.singles.push(now, Position { id, chunk: index }, piece), Push::Stored);
            }
        }
    }

    fn push_gap(&mut self, now: Instant, from: u64, to: u64) {
        let gap = self.runs.push_gap(now, from, to);
        assert_eq!(gap, self.singles.push_gap(now, from, to));
        if let Ok(Some((from, to))) = gap {
            self.missing.insert(from, to);
        }
    }

    fn open(&mut self, single: bool, id: u64) {
        self.readers.push((Reader::new(&self.runs, single, id), Reader::new(&self.singles, single, id)));
    }

    fn keep_from(&mut self, now: Instant, id: u64) {
        for ring in [&mut self.runs, &mut self.singles] {
            ring.keep_from(id);
            ring.evict(now);
        }
    }

    /// The first object from `id` on that is not missing.
    fn first_from(&self, id: u64) -> u64 {
        let gap = self.missing.range(..=id).next_back();
        gap.map_or(id, |(_, to)| id.max(*to))
    }

    /// Counts agree with what is held.
    fn check_counts(&self) {
        let ring = &self.runs;
        assert_eq!(ring.bytes(), ring.entries.iter().map(|entry| entry.what.size().0).sum::<usize>());
        assert_eq!(ring.objects, ring.entries.iter().map(|entry| entry.what.size().1).sum::<usize>());
        assert_eq!(ring.bytes_from(0), ring.bytes());
        assert_eq!(ring.next(), self.singles.next());
        assert_eq!(ring.appended(), self.singles.appended());
        let oldest = ring.oldest().max(self.singles.oldest());
        for id in (oldest..ring.newest() + 3).step_by(3) {
            assert_eq!(ring.bytes_from(id), self.singles.bytes_from(id), "from {id}");
        }
    }

    fn finish(&mut self, equal: bool) {
        for (runs, singles) in &mut self.readers {
            while runs.read(&mut self.runs) {}
            while singles.read(&mut self.singles) {}
            runs.check(self.runs.newest(), &self.missing);
            singles.check(self.singles.newest(), &self.missing);
            assert!(!equal || runs.got == singles.got);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// So many objects, beginning so far below what comes next.
    Push(u64, u64),
    /// So many objects of this node's own.
    Publish(u64),
    /// As a push, of what is missing.
    Gap(u64, u64),
    /// A reader, of single objects or not, at so far below what comes next, or beyond it.
    Open(bool, i64),
    /// A reader reads so many times.
    Read(usize, usize),
    /// What is so far below what comes next is owed.
    Keep(u64),
    /// Nothing is owed.
    KeepNothing,
    /// Time passes.
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop_oneof![Just(0u64), 0u64..30], 1u64..50).prop_map(|(below, count)| Step::Push(below, count)),
        4 => (1u64..20).prop_map(Step::Publish),
        1 => (0u64..5, 1u64..9).prop_map(|(below, count)| Step::Gap(below, count)),
        2 => (any::<bool>(), -10i64..80).prop_map(|(single, below)| Step::Open(single, below)),
        4 => (any::<usize>(), 1usize..20).prop_map(|(reader, times)| Step::Read(reader, times)),
        1 => (0u64..60).prop_map(Step::Keep),
        1 => Just(Step::KeepNothing),
        1 => Just(Step::Wait),
    ]
}

fn ring_config() -> impl Strategy<Value = RingConfig> {
    let bytes_max = prop_oneof![Just(usize::MAX / 4), 2_000usize..300_000];
    (prop_oneof![Just(TICK), Just(1_000 * TICK)], prop_oneof![Just(usize::MAX), 0usize..100], bytes_max)
        .prop_map(|(age_min, objects_min, bytes_max)| RingConfig { age_min, objects_min, bytes_max })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_ring_of_runs_gives_every_reader_what_one_of_single_objects_gives(
        config in ring_config(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let (mut pair, mut now, mut kept) = (Pair::new(config), Instant::now(), u64::MAX);
        for step in steps {
            let (next, oldest) = (pair.runs.next().id, pair.runs.oldest());
            match step {
                Step::Push(below, count) => pair.push(now, next.saturating_sub(below), count),
                Step::Publish(count) => pair.publish(now, count),
                Step::Gap(below, count) => {
                    let from = next.saturating_sub(below);
                    pair.push_gap(now, from, from + count);
                }
                Step::Open(single, below) => pair.open(single, next.saturating_add_signed(-below)),
                Step::Read(reader, times) if !pair.readers.is_empty() => {
                    let reader = reader % pair.readers.len();
                    let (runs, singles) = &mut pair.readers[reader];
                    (0..times).for_each(|_| {
                        runs.read(&mut pair.runs);
                        singles.read(&mut pair.singles);
                    });
                }
                Step::Keep(below) => {
                    kept = next.saturating_sub(below);
                    pair.keep_from(now, kept);
                }
                Step::KeepNothing => {
                    kept = u64::MAX;
                    pair.keep_from(now, kept);
                }
                Step::Wait => {
                    now += 2 * TICK;
                    pair.keep_from(now, kept);
                }
                Step::Read(..) => {}
            }
            pair.check_counts();
            let (ring, kept) = (&pair.runs, pair.first_from(kept));
            prop_assert!(ring.bytes() <= config.bytes_hard_max());
            prop_assert!(ring.oldest() <= oldest.max(kept), "what is owed was evicted");
            // Beyond the limit is only what is owed, and what is of one entry with it.
            let unowed = ring.bytes() - ring.bytes_from(kept);
            prop_assert!(ring.bytes() <= config.bytes_max || unowed <= config.bytes_max / RUN_PART || ring.entries.len() == 1);
            // No more goes than has to, but for what is of one entry with it.
            let largest = (config.bytes_max / RUN_PART).max(object(40).len() + 2 * HEADER_BYTES);
            let by_bytes = ring.bytes() + largest > config.bytes_max;
            prop_assert!(ring.oldest() == oldest || by_bytes || ring.objects >= config.objects_min);
        }
        let equal = pair.runs.evicted == 0 && pair.singles.evicted == 0;
        pair.finish(equal);
    }
}

#[test]
fn what_is_published_is_a_run_until_it_is_read() {
    let (now, mut ring) = (Instant::now(), Ring::new(RingConfig::default(), 0));
    let mut reader = ring.cursor(1);
    for _ in 0..3 {
        ring.publish(now, &[7; 100]);
    }
    assert_eq!(ring.bytes_from(2), 100 + HEADER_BYTES, "in its middle");
    let Some(Frame::Chunk(run)) = ring.read(&mut reader) else { panic!("there is one") };
    assert_eq!((run.id, run.count), (1, 2));
    ring.publish(now, &[7; 100]);
    let Some(Frame::Chunk(run)) = ring.read(&mut reader) else { panic!("there is one") };
    assert_eq!((run.id, run.count), (3, 1), "what was read grows no more");
    // Nothing that is large waits for others, and no run is longer than one that comes from a parent.
    for length in [OPEN_OBJECT_BYTES_MAX, 1, 1] {
        ring.publish(now, &vec![7; length]);
    }
    let counts: Vec<u32> = std::iter::from_fn(|| match ring.read(&mut reader) {
        Some(Frame::Chunk(run)) => Some(run.count),
        _ => None,
    })
    .collect();
    assert_eq!(counts, [1, 2]);
    for _ in 0..2 * RUN_BYTES_MAX / 1_000 {
        ring.publish(now, &[7; 1_000 - HEADER_BYTES]);
    }
    while let Some(Frame::Chunk(run)) = ring.read(&mut reader) {
        assert!(run.wire.len() <= RUN_BYTES_MAX && (run.count > 60 || run.end() == ring.next().id));
    }
}

#[test]
fn a_reader_waits_for_what_a_run_of_the_origin_has_yet_to_grow_to() {
    let (now, mut ring) = (Instant::now(), Ring::new(RingConfig::default(), 0));
    let publish = |ring: &mut Ring, count| (0..count).for_each(|_| ring.publish(now, b"x"));
    publish(&mut ring, 2);
    let [mut next, mut later] = [2, 4].map(|id| ring.cursor(id));
    assert_eq!(ring.read(&mut next), None);
    publish(&mut ring, 3);
    assert!(matches!(ring.read_single(&mut later), Some(Frame::Chunk(one)) if (one.id, one.count) == (4, 1)));
    assert!(matches!(ring.read(&mut next), Some(Frame::Chunk(run)) if (run.id, run.count) == (2, 3)));
    assert_eq!((ring.read(&mut next), ring.read_single(&mut later)), (None, None));
    publish(&mut ring, 2);
    for cursor in [&mut next, &mut later] {
        assert!(matches!(ring.read(cursor), Some(Frame::Chunk(run)) if (run.id, run.count) == (5, 2)));
    }
}

#[test]
fn a_run_of_the_origin_is_as_young_as_its_newest_object() {
    let (mut now, config) = (Instant::now(), RingConfig { age_min: TICK, objects_min: 0, ..RingConfig::default() });
    let mut ring = Ring::new(config, 0);
    ring.publish(now, b"x");
    now += 2 * TICK;
    ring.publish(now, b"x");
    assert_eq!(ring.oldest(), 0);
    ring.evict(now + 2 * TICK);
    assert_eq!((ring.oldest(), ring.bytes()), (2, 0));
}

#[test]
fn a_run_of_which_the_first_objects_are_here_gives_the_rest() {
    let (now, config) = (Instant::now(), RingConfig::default());
    let mut pair = Pair::new(config);
    pair.open(true, 0);
    pair.open(false, 3);
    pair.push(now, 0, 10);
    pair.push(now, 5, 10);
    assert_eq!((pair.runs.next().id, pair.runs.objects), (15, 15));
    let Some((_, again)) = chunks(2..15).pop() else { panic!("a run") };
    assert_eq!(pair.runs.push(now, Position { id: 2, chunk: 0 }, again), Push::Duplicate);
    let Some((position, beyond)) = chunks(16..20).pop() else { panic!("a run") };
    assert_eq!(pair.runs.push(now, position, beyond), Push::Skipped);
    pair.check_counts();
    pair.finish(true);
}

#[test]
fn a_run_says_nothing_of_an_object_of_which_the_end_is_missing() {
    let (now, mut ring) = (Instant::now(), Ring::new(RingConfig::default(), 39));
    for (position, chunk) in chunks(39..41).into_iter().take(2) {
        assert_eq!(ring.push(now, position, chunk), Push::Stored);
    }
    assert_eq!(ring.next(), Position { id: 40, chunk: 1 });
    let run = |ids: std::ops::Range<u64>| {
        let wire: Vec<u8> = ids.clone().flat_map(|id| frame::chunks(id, b"x").flat_map(|one| one.wire)).collect();
        Chunk { id: ids.start, count: (ids.end - ids.start) as u32, first: true, last: true, wire: wire.into() }
    };
    assert_eq!(ring.push(now, Position { id: 38, chunk: 0 }, run(38..41)), Push::Duplicate);
    assert_eq!(ring.push(now, Position { id: 38, chunk: 0 }, run(38..42)), Push::Skipped);
    assert_eq!(ring.next(), Position { id: 40, chunk: 1 });
}
