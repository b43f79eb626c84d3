//! The journal of a download: which pieces are on the disk for good (D7).
//!
//! A piece is written down only after its bytes are durable, so what the journal says need not be
//! hashed again. The file is a header that names the package, then records that are only appended:
//! the length of the payload (u32 LE), ranges of pieces (first, count: u32 LE each), and 16 bytes of
//! a hash over package, place and payload. Reading ends at the first record that is not whole.
//!
//! Each record tells of a piece that none before it told of, which bounds the file.

use std::time::{Duration, Instant};

use super::{bitfield::PieceSet, manifest::PackageId, piece::Piece};

/// Bytes after which what was written is made durable.
pub const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;
/// Time after which what was written is made durable.
pub const CHECKPOINT_AFTER: Duration = Duration::from_secs(2);

const MAGIC: &[u8; 8] = b"banyanJ1";
const HEADER_BYTES: usize = MAGIC.len() + 32;
const HASH_BYTES: usize = 16;
const RANGE_BYTES: usize = 8;

/// The start of a package's journal.
#[must_use]
pub fn header(package: PackageId) -> Vec<u8> {
    [&MAGIC[..], &package.0].concat()
}

/// Largest journal of a package with so many pieces, in bytes.
#[must_use]
pub fn bytes_max(pieces: u32) -> u64 {
    HEADER_BYTES as u64 + u64::from(pieces) * (4 + RANGE_BYTES + HASH_BYTES) as u64
}

/// The record that goes to `offset`. `pieces` are sorted; no record says nothing.
#[must_use]
pub fn record(package: PackageId, offset: u64, pieces: impl IntoIterator<Item = Piece>) -> Vec<u8> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for Piece(piece) in pieces {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == piece => *count += 1,
            _ => ranges.push((piece, 1)),
        }
    }
    if ranges.is_empty() {
        return Vec::new();
    }
    let payload: Vec<u8> =
        ranges.iter().flat_map(|(first, count)| [first.to_le_bytes(), count.to_le_bytes()].concat()).collect();
    let len = u32::try_from(payload.len()).expect("8 bytes a piece, and a package has fewer than 2^29");
    let hash = hash(package, offset, &payload);
    [&len.to_le_bytes()[..], &payload, &hash].concat()
}

/// The pieces that a journal tells of, as far as it is whole. One of another package tells of none.
#[must_use]
pub fn read(package: PackageId, pieces: u32, journal: &[u8]) -> PieceSet {
    let mut found = PieceSet::empty(pieces);
    let Some(mut rest) = journal.strip_prefix(&header(package)[..]) else { return found };
    while let Some((payload, next)) = next_record(package, (journal.len() - rest.len()) as u64, rest) {
        for range in payload.chunks_exact(RANGE_BYTES) {
            let number = |at: usize| u32::from_le_bytes(range[at..at + 4].try_into().expect("four bytes"));
            let (first, end) = (number(0), number(0).saturating_add(number(4)));
            for piece in first..end.min(pieces) {
                found.insert(Piece(piece));
            }
        }
        rest = next;
    }
    found
}

fn next_record(package: PackageId, offset: u64, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let (found, rest) = rest.split_first_chunk::<HASH_BYTES>()?;
    (!payload.is_empty() && *found == hash(package, offset, payload)).then_some((payload, rest))
}

fn hash(package: PackageId, offset: u64, payload: &[u8]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&package.0).update(&offset.to_le_bytes()).update(payload);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Says when what was written is to be made durable.
#[derive(Debug, Default)]
pub struct Checkpoint {
    bytes: u64,
    /// When the first of them was written.
    since: Option<Instant>,
}

impl Checkpoint {
    /// Nothing written.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: 0, since: None }
    }

    /// A piece was written.
    pub fn on_written(&mut self, now: Instant, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.since.get_or_insert(now);
    }

    /// All was made durable.
    pub const fn on_durable(&mut self) {
        *self = Self::new();
    }

    /// Whether it is time.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.bytes >= CHECKPOINT_BYTES || self.poll_timeout().is_some_and(|due| due <= now)
    }

    /// When it is time at the latest; `None`: there is nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.since.map(|since| since + CHECKPOINT_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PACKAGE: PackageId = PackageId([7; 32]);

    fn numbers(set: &PieceSet) -> Vec<u32> {
        set.iter().map(|piece| piece.0).collect()
    }

    proptest! {
        #[test]
        fn torn_or_spoilt_journal_tells_of_a_prefix_of_its_records_d7(
            records in prop::collection::vec(prop::collection::btree_set(0u32..200, 1..9), 0..9),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let mut journal = header(PACKAGE);
            let mut ends = vec![journal.len()];
            for pieces in &records {
                journal.extend(record(PACKAGE, journal.len() as u64, pieces.iter().map(|piece| Piece(*piece))));
                ends.push(journal.len());
            }
            prop_assert!(journal.len() as u64 <= bytes_max(records.iter().map(|r| r.len() as u32).sum()));
            let told = |whole: usize| {
                let all: std::collections::BTreeSet<u32> = records[..whole].iter().flatten().copied().collect();
                all.into_iter().collect::<Vec<_>>()
            };
            let read = |bytes: &[u8]| numbers(&read(PACKAGE, 200, bytes));
            prop_assert_eq!(read(&journal), told(records.len()));
            let cut = cut.index(journal.len() + 1);
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            prop_assert_eq!(read(&journal[..cut]), told(whole));
            let flip = flip.index(journal.len());
            let whole = ends.iter().filter(|end| **end <= flip).count().saturating_sub(1);
            journal[flip] ^= 0x10;
            prop_assert_eq!(read(&journal), told(whole));
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(PACKAGE, 10, &bytes);
            let _ = read(PACKAGE, 10, &[header(PACKAGE), bytes].concat());
        }
    }

    #[test]
    fn journal_of_another_package_or_place_tells_nothing() {
        let mut journal = header(PACKAGE);
        journal.extend(record(PACKAGE, 0, [Piece(1)]));
        assert!(read(PACKAGE, 9, &journal).is_empty(), "a record from another place");
        let mut journal = header(PackageId([8; 32]));
        journal.extend(record(PackageId([8; 32]), journal.len() as u64, [Piece(1)]));
        assert!(read(PACKAGE, 9, &journal).is_empty());
        assert_eq!(read(PackageId([8; 32]), 9, &journal).count(), 1);
        assert!(record(PACKAGE, 0, []).is_empty());
    }

    #[test]
    fn checkpoint_is_due_after_64_mib_or_2_s_d7() {
        let start = Instant::now();
        let mut checkpoint = Checkpoint::new();
        assert!(!checkpoint.is_due(start + Duration::from_secs(99)));
        checkpoint.on_written(start, CHECKPOINT_BYTES - 1);
        checkpoint.on_written(start + Duration::from_secs(1), 0);
        assert!(!checkpoint.is_due(start + Duration::from_millis(1999)));
        assert!(checkpoint.is_due(start + Duration::from_secs(2)));
        checkpoint.on_written(start, 1);
        assert!(checkpoint.is_due(start));
        checkpoint.on_durable();
        assert!(!checkpoint.is_due(start + Duration::from_secs(99)) && checkpoint.poll_timeout().is_none());
    }
}
