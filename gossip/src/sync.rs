//! Anti-entropy: two tables find what one of them lacks.
//!
//! One sum says whether they differ at all, which is most often the end of it. Where they do, a
//! small table is described entry by entry; a large one by a sum a bucket first, so that two tables
//! that are nearly equal exchange little more than the sums. Tombstones are part of it until half
//! their life is over.
//!
//! Tables that are full hold different samples and never agree: each describes a slice, drawn at
//! random, and gets only what is newer of those whom both hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    PeerId,
    message::{DIGEST_ENTRIES_MAX, Digest, DigestEntry, Message, OPS_BYTES_MAX, OPS_MAX},
    op::SignedOp,
    table::{Entry, PeerTable, bucket},
};

/// The table as it is shared: [`PeerTable::hush`] was told the time.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    table: &'a PeerTable,
    /// A table up to this size is described entry by entry.
    full_max: usize,
    /// The first bucket of the slice that is described, if the table is full.
    slice: Option<u8>,
}

/// Buckets of a slice, of 256, and rows: whichever is more.
const SLICE: (usize, usize) = (32, 64);

impl<'a> Shared<'a> {
    pub(crate) const fn new(table: &'a PeerTable, full_max: usize) -> Self {
        Self { table, full_max, slice: None }
    }

    /// Of a table that is full only a slice is described, from this bucket on.
    pub(crate) const fn sliced(self, slice: Option<u8>) -> Self {
        Self { slice, ..self }
    }

    /// How to begin with somebody whose table is likely the same.
    pub(crate) fn root(&self) -> Message {
        self.slice_digest().unwrap_or_else(|| Message::Root(self.table.root()))
    }

    /// How to begin with somebody whose table is likely another.
    pub(crate) fn opening(&self) -> Message {
        if self.table.len() <= self.full_max { self.full_digest() } else { self.root() }
    }

    /// The answer to the other's sum.
    pub(crate) fn answer_root(&self, theirs: u64) -> Option<Message> {
        let sums = || Message::Buckets(self.table.bucket_sums().to_vec());
        let small = self.table.len() <= self.full_max;
        let description = || if small { self.full_digest() } else { self.slice_digest().unwrap_or_else(sums) };
        (theirs != self.table.root()).then(description)
    }

    fn full_digest(&self) -> Message {
        Message::Digest(self.digest(None, self.table.shared().map(digest_entry).collect(), true))
    }

    fn slice_digest(&self) -> Option<Message> {
        let first = self.slice?;
        let rows = 256 * SLICE.1 / self.table.len().max(1);
        let last = u8::try_from(rows.max(SLICE.0) - 1).unwrap_or(u8::MAX);
        let within = |(peer, _): &(&PeerId, &Entry)| bucket(peer).wrapping_sub(first) <= last;
        let entries = self.table.shared().filter(within).map(digest_entry).take(DIGEST_ENTRIES_MAX).collect();
        let buckets = (0..=last).map(|index| first.wrapping_add(index)).collect();
        Some(Message::Digest(self.digest(Some(buckets), entries, true)))
    }

    const fn digest(&self, buckets: Option<Vec<u8>>, entries: Vec<DigestEntry>, reply: bool) -> Digest {
        Digest { buckets, entries, reply, full: self.slice.is_some() }
    }

    /// The answer to the other's sums: digests of the buckets that differ.
    pub(crate) fn answer_buckets(&self, theirs: &[u64]) -> Vec<Message> {
        let sums = (0..=u8::MAX).zip(self.table.bucket_sums().iter().zip(theirs));
        let differ = sums.filter(|(_, (ours, theirs))| ours != theirs);
        let mut in_bucket: BTreeMap<u8, Vec<DigestEntry>> = differ.map(|(bucket, _)| (bucket, Vec::new())).collect();
        if in_bucket.is_empty() {
            return Vec::new();
        }
        for (peer, entry) in self.table.shared() {
            if let Some(entries) = in_bucket.get_mut(&bucket(peer)) {
                entries.push(digest_entry((peer, entry)));
            }
        }
        let mut digests = vec![self.digest(Some(Vec::new()), Vec::new(), true)];
        for (bucket, mut entries) in in_bucket {
            entries.truncate(DIGEST_ENTRIES_MAX);
            let full = digests.last().is_some_and(|last| last.entries.len() + entries.len() > DIGEST_ENTRIES_MAX);
            if full {
                digests.push(self.digest(Some(Vec::new()), Vec::new(), true));
            }
            let last = digests.last_mut().expect("there is one");
            last.buckets.get_or_insert_default().push(bucket);
            last.entries.extend(entries);
        }
        digests.retain(|digest| digest.buckets.as_ref().is_some_and(|buckets| !buckets.is_empty()));
        digests.into_iter().map(Message::Digest).collect()
    }

    /// The answer to the other's digest: what it lacks, and what we have if we lack something.
    pub(crate) fn answer_digest(&self, theirs: &Digest) -> Vec<Message> {
        let covered: Option<BTreeSet<u8>> = theirs.buckets.as_ref().map(|buckets| buckets.iter().copied().collect());
        let covers = |peer: &PeerId| covered.as_ref().is_none_or(|covered| covered.contains(&bucket(peer)));
        let known: BTreeMap<&PeerId, &DigestEntry> = theirs.entries.iter().map(|entry| (&entry.0, entry)).collect();
        let mut lacking_there = Vec::new();
        // Silent tombstones too if the other speaks of the peer: they contradict.
        let shared = self.table.shared().filter(|(peer, _)| !theirs.full && covers(peer) && !known.contains_key(peer));
        let named = known.keys().filter_map(|peer| Some((*peer, self.table.entry(peer)?)));
        for (peer, entry) in shared.chain(named) {
            let (row, death) = known.get(peer).map_or(((0, 0), None), |theirs| (theirs.1, theirs.2));
            if let Some(signed) = entry.signed_row().filter(|_| entry.row_version() > row) {
                lacking_there.push(signed.clone());
            }
            if let Some((_, signed)) = entry
                .death()
                .filter(|(claim, _)| Some(claim.suspect_incarnation) > death && claim.suspect_incarnation >= row.0)
            {
                lacking_there.push(signed.clone());
            }
        }
        let mut messages = ops_messages(lacking_there);
        let lacks_here = |entry: &DigestEntry| match self.table.entry(&entry.0) {
            Some(ours) => {
                let refuted = entry.2 < Some(ours.row_version().0);
                entry.1 > ours.row_version() || (entry.2 > ours.death_incarnation() && !refuted)
            }
            None => self.slice.is_none(),
        };
        if theirs.reply && theirs.entries.iter().any(lacks_here) {
            // What a full table does not name it does not hold, or will name another time.
            let mine =
                self.table.shared().filter(|(peer, _)| covers(peer) && (!theirs.full || known.contains_key(peer)));
            let entries = mine.map(digest_entry).take(DIGEST_ENTRIES_MAX).collect();
            messages.push(Message::Digest(self.digest(theirs.buckets.clone(), entries, false)));
        }
        messages
    }
}

fn digest_entry((peer, entry): (&PeerId, &Entry)) -> DigestEntry {
    DigestEntry(*peer, entry.row_version(), entry.death_incarnation())
}

/// Packs ops into messages within the bounds.
pub(crate) fn ops_messages(ops: Vec<SignedOp>) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for op in ops {
        let size = op.wire_bytes();
        if !batch.is_empty() && (bytes + size > OPS_BYTES_MAX || batch.len() == OPS_MAX) {
            messages.push(Message::Ops(std::mem::take(&mut batch)));
            bytes = 0;
        }
        bytes += size;
        batch.push(op);
    }
    if !batch.is_empty() {
        messages.push(Message::Ops(batch));
    }
    messages
}

#[cfg(test)]
mod tests;
