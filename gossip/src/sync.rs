//! Anti-entropy: two tables find what one of them lacks.
//!
//! A small table is described entry by entry; a large one by a hash a bucket first, so that two
//! tables that are nearly equal exchange little more than the hashes. Tombstones are part of it
//! until half their life is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    PeerId,
    message::{BUCKETS, DIGEST_ENTRIES_MAX, Digest, DigestEntry, Message, OPS_BYTES_MAX, OPS_MAX},
    op::SignedOp,
    table::{Entry, PeerTable},
};

/// The table as it is shared.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    table: &'a PeerTable,
    now: Instant,
    /// How long tombstones are shared.
    shared_for: Duration,
}

impl<'a> Shared<'a> {
    pub(crate) const fn new(table: &'a PeerTable, now: Instant, shared_for: Duration) -> Self {
        Self { table, now, shared_for }
    }

    fn entries(&self) -> impl Iterator<Item = (&'a PeerId, &'a Entry)> {
        let (now, shared_for) = (self.now, self.shared_for);
        let fresh = move |entry: &Entry| entry.buried().is_none_or(|at| now.saturating_duration_since(at) < shared_for);
        self.table.entries().filter(move |(_, entry)| fresh(entry))
    }

    /// How to begin.
    pub(crate) fn opening(&self, full_max: usize) -> Message {
        if self.table.len() <= full_max {
            let entries = self.entries().map(digest_entry).collect();
            return Message::Digest(Digest { buckets: None, entries, reply: true });
        }
        Message::Buckets(self.hashes())
    }

    /// One number a bucket: the sum of the hashes of its entries, whatever their order.
    fn hashes(&self) -> Vec<u64> {
        let mut sums = vec![0u64; BUCKETS];
        for (peer, entry) in self.entries() {
            let (incarnation, version) = entry.row_version();
            let mut hasher = blake3::Hasher::new();
            hasher.update(peer.key_bytes()).update(&incarnation.to_be_bytes()).update(&version.to_be_bytes());
            if let Some(incarnation) = entry.death_incarnation() {
                hasher.update(&incarnation.to_be_bytes());
            }
            let hash = *hasher.finalize().as_bytes().first_chunk::<8>().expect("a hash has 32 bytes");
            let sum = &mut sums[usize::from(bucket(peer))];
            *sum = sum.wrapping_add(u64::from_be_bytes(hash));
        }
        sums
    }

    /// The answer to the other's hashes: digests of the buckets that differ.
    pub(crate) fn answer_buckets(&self, theirs: &[u64]) -> Vec<Message> {
        let differ = self.hashes().iter().zip(theirs).map(|(ours, theirs)| ours != theirs).collect::<Vec<_>>();
        let mut in_bucket: BTreeMap<u8, Vec<DigestEntry>> = (0..=u8::MAX)
            .filter(|bucket| differ.get(usize::from(*bucket)).copied().unwrap_or(false))
            .map(|bucket| (bucket, Vec::new()))
            .collect();
        for (peer, entry) in self.entries() {
            if let Some(entries) = in_bucket.get_mut(&bucket(peer)) {
                entries.push(digest_entry((peer, entry)));
            }
        }
        let mut digests = vec![Digest { buckets: Some(Vec::new()), entries: Vec::new(), reply: true }];
        for (bucket, mut entries) in in_bucket {
            entries.truncate(DIGEST_ENTRIES_MAX);
            let full = digests.last().is_some_and(|last| last.entries.len() + entries.len() > DIGEST_ENTRIES_MAX);
            if full {
                digests.push(Digest { buckets: Some(Vec::new()), entries: Vec::new(), reply: true });
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
        let shared = self.entries().filter(|(peer, _)| covers(peer) && !known.contains_key(peer));
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
            None => true,
        };
        if theirs.reply && theirs.entries.iter().any(lacks_here) {
            let entries =
                self.entries().filter(|(peer, _)| covers(peer)).map(digest_entry).take(DIGEST_ENTRIES_MAX).collect();
            messages.push(Message::Digest(Digest { buckets: theirs.buckets.clone(), entries, reply: false }));
        }
        messages
    }
}

fn digest_entry((peer, entry): (&PeerId, &Entry)) -> DigestEntry {
    DigestEntry(*peer, entry.row_version(), entry.death_incarnation())
}

fn bucket(peer: &PeerId) -> u8 {
    blake3::hash(peer.key_bytes()).as_bytes()[0]
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
