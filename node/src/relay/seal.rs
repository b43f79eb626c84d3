//! Seals: what the origin of a signed track vouches for.
//!
//! The origin signs its objects in *groups*: a [`Seal`] is a signature over the mesh, the track, the epoch, the
//! places where the group begins and ends, and the BLAKE3 hash of all frames between. A group is verified by
//! itself, so a reader may begin with any of them and leave any out; that groups follow one another without a gap
//! is seen by their places.
//!
//! Relays pass frames on at once and a seal only after they have verified it. So whoever gets a seal that does not
//! fit the frames before it knows that it was its own parent who lied; and whoever passed on frames for which no seal
//! came, or a wrong one, takes them back ([`super::Frame::Retract`]). See `docs/decisions/0011-seals.md`.

use std::time::{Duration, Instant};

use banyan_gossip::{Keys, MeshName, PeerId, Signed, TrackName};
use blake3::Hasher;

use super::{
    Track,
    frame::{CHUNK_BYTES_MAX, Chunk, HEADER_BYTES},
    ring::{Position, Push},
};

/// Most bytes of a group, headers included.
pub const GROUP_BYTES_MAX: usize = 16 * (CHUNK_BYTES_MAX + HEADER_BYTES);
/// Bytes that may be on their way, or in a ring, without a seal; beyond it a parent sends nothing, and the origin
/// publishes nothing. A child takes one chunk more.
pub const TAIL_BYTES_MAX: usize = 2 * GROUP_BYTES_MAX;
/// As many times a parent may take something back without a seal between.
const RETRACTIONS_MAX: u32 = 16;

/// A tail below this is sealed soon after the last seal: the objects of a slow track wait for nothing.
const SMALL_BYTES: usize = 16 * 1024;
/// The least time between two seals of small tails.
const SMALL_PAUSE: Duration = Duration::from_millis(4);
/// The least time between two seals of groups that are not full. Each costs every node about 50 µs.
const PAUSE: Duration = Duration::from_millis(25);
/// Hashed in one go: enough for BLAKE3 to use wide registers.
const GATHER_BYTES: usize = 32 * 1024;

/// The origin's word for the frames from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Where the group begins.
    pub from: Position,
    /// Where it ends. The same place, if it is the last of all, which holds nothing.
    pub upto: Position,
    /// Whether the track ends here.
    pub last: bool,
    /// By the origin.
    pub signature: [u8; 64],
}

/// What is to be sealed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub upto: Position,
    /// What is between.
    pub chunks: Vec<Chunk>,
}

impl Group {
    /// As much of these chunks as makes a group. It holds whole objects, or a part of one: so every object is in
    /// one group or begins one, and whoever starts with an object can verify it.
    pub(super) fn first_of<'a>(from: Position, chunks: impl Iterator<Item = (u32, &'a Chunk)>) -> Option<Self> {
        let (mut taken, mut bytes, mut whole) = (Vec::new(), 0, 0);
        for (index, chunk) in chunks {
            bytes += chunk.wire.len();
            if bytes > GROUP_BYTES_MAX && !taken.is_empty() {
                break;
            }
            taken.push(chunk.clone());
            if chunk.last {
                whole = taken.len();
                if index as usize >= taken.len() {
                    // It ends an object that earlier groups began.
                    break;
                }
            }
        }
        taken.truncate(if whole > 0 { whole } else { taken.len() });
        let upto = taken.iter().fold(from, |position, chunk| position.after(chunk));
        (upto != from).then_some(Self { from, upto, chunks: taken })
    }
}

/// In which publication seals hold.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The mesh.
    pub mesh: MeshName,
    /// The track.
    pub track: TrackName,
    /// The epoch.
    pub epoch: u64,
    /// Who publishes it.
    pub origin: PeerId,
}

/// A seal that is not the origin's for these frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the seal is not the origin's for these objects")]
pub struct Forged;

impl Scope {
    /// Seals a group. Only the origin's own keys make a seal that others take.
    #[must_use]
    pub fn seal(&self, keys: &dyn Keys, group: &Group) -> Seal {
        self.sign(keys, group.from, group.upto, false, &group.chunks)
    }

    /// The last seal of all: the track ends here.
    #[must_use]
    pub fn seal_end(&self, keys: &dyn Keys, at: Position) -> Seal {
        self.sign(keys, at, at, true, &[])
    }

    fn sign(&self, keys: &dyn Keys, from: Position, upto: Position, last: bool, chunks: &[Chunk]) -> Seal {
        let digest = self.digest(from, upto, last, chunks);
        let signature = keys.sign(&Signed::seal(&self.mesh, &digest));
        Seal { from, upto, last, signature }
    }

    /// Whether the origin has sealed just these frames.
    ///
    /// # Errors
    /// [`Forged`]: whoever passed on frames and seal is at fault.
    pub fn verify(&self, keys: &dyn Keys, seal: &Seal, chunks: &[Chunk]) -> Result<(), Forged> {
        let mut position = seal.from;
        for chunk in chunks {
            if chunk.id != position.id || chunk.first != (position.chunk == 0) {
                return Err(Forged);
            }
            position = position.after(chunk);
        }
        let digest = self.digest(seal.from, seal.upto, seal.last, chunks);
        let signed = position == seal.upto
            && seal.last == chunks.is_empty()
            && keys.verify(&self.origin, &Signed::seal(&self.mesh, &digest), &seal.signature);
        if signed { Ok(()) } else { Err(Forged) }
    }

    fn digest(&self, from: Position, upto: Position, last: bool, chunks: &[Chunk]) -> [u8; 32] {
        let mut hasher = Hasher::new_derive_key("banyan seal v1");
        let name = self.track.as_str().as_bytes();
        hasher.update(&(name.len() as u64).to_be_bytes()).update(name);
        hasher.update(&self.epoch.to_be_bytes());
        for position in [from, upto] {
            hasher.update(&position.id.to_be_bytes()).update(&position.chunk.to_be_bytes());
        }
        hasher.update(&[u8::from(last)]);
        // The headers say where each payload ends.
        for chunk in chunks {
            hasher.update(&chunk.wire[..HEADER_BYTES]);
        }
        hasher.update(hash_payloads(chunks).as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// BLAKE3 of all payloads, one after the other. Small ones are gathered first: it is several times as fast on
/// much at a time.
fn hash_payloads(chunks: &[Chunk]) -> blake3::Hash {
    let (mut hasher, mut gathered) = (Hasher::new(), Vec::new());
    for chunk in chunks {
        let payload = &chunk.wire[HEADER_BYTES..];
        if gathered.is_empty() && payload.len() >= GATHER_BYTES / 2 {
            hasher.update(payload);
            continue;
        }
        let mut rest = payload;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(GATHER_BYTES - gathered.len()));
            gathered.extend_from_slice(now);
            rest = later;
            if gathered.len() == GATHER_BYTES {
                hasher.update(&gathered);
                gathered.clear();
            }
        }
    }
    hasher.update(&gathered).finalize()
}

/// When the origin seals.
#[derive(Debug, Default)]
pub struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// When a tail of so many bytes is to be sealed. A slow track's objects are sealed one by one and at once;
    /// what comes fast, in large groups.
    #[must_use]
    pub fn due(&self, now: Instant, tail_bytes: usize) -> Instant {
        let pause = if tail_bytes < SMALL_BYTES { SMALL_PAUSE } else { PAUSE };
        match self.last {
            Some(last) if tail_bytes < GROUP_BYTES_MAX => now.max(last + pause),
            _ => now,
        }
    }

    /// Something was sealed.
    pub fn sealed(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

/// What came on one stream since its last seal.
#[derive(Debug, Default)]
pub struct Unsealed {
    /// Where it begins, once that is known.
    begin: Option<Position>,
    chunks: Vec<Chunk>,
    bytes: usize,
    retractions: u32,
}

/// More came without a seal than any honest parent sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

impl Unsealed {
    /// Notes a chunk at its place. It follows the one before it: the ring sees to that.
    ///
    /// # Errors
    /// [`TooMuch`]: nothing was noted, and it is not to be passed on.
    pub fn push(&mut self, position: Position, chunk: &Chunk) -> Result<(), TooMuch> {
        if self.bytes >= TAIL_BYTES_MAX {
            return Err(TooMuch);
        }
        debug_assert_eq!(chunk.count, 1, "what is sealed is read frame by frame");
        self.begin.get_or_insert(position);
        self.bytes += chunk.wire.len();
        self.chunks.push(chunk.clone());
        Ok(())
    }

    /// Gives a track all that came since the last seal.
    pub(super) fn push_to(&self, track: &mut Track, now: Instant, ticket: u64) -> Push {
        let pushed = self.positions().zip(&self.chunks);
        pushed.map(|(position, chunk)| track.push(now, ticket, position, chunk.clone())).last().unwrap_or(Push::Skipped)
    }

    /// Whether anything waits for a seal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Nothing of it will be sealed on this stream.
    pub fn clear(&mut self) {
        (self.begin, self.bytes) = (None, 0);
        self.chunks.clear();
    }

    /// The parent takes back what it sent from this place on.
    ///
    /// # Errors
    /// [`TooMuch`]: too often.
    pub fn retract(&mut self, to: Position) -> Result<(), TooMuch> {
        self.retractions += 1;
        if self.retractions > RETRACTIONS_MAX {
            return Err(TooMuch);
        }
        let kept = self.positions().take_while(|position| *position < to).count();
        self.chunks.truncate(kept);
        self.bytes = self.chunks.iter().map(|chunk| chunk.wire.len()).sum();
        Ok(())
    }

    /// The place of each chunk.
    fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        let mut next = self.begin.unwrap_or(Position { id: 0, chunk: 0 });
        self.chunks.iter().map(move |chunk| {
            let after = next.after(chunk);
            std::mem::replace(&mut next, after)
        })
    }

    /// Verifies a seal for what came before it. This is the part that takes time.
    ///
    /// # Errors
    /// [`Forged`]: the parent is at fault.
    pub fn verify(&self, scope: &Scope, keys: &dyn Keys, seal: &Seal) -> Result<(), Forged> {
        let follows = self.begin.is_none_or(|begin| begin == seal.from);
        if follows { scope.verify(keys, seal, self.group(seal)) } else { Err(Forged) }
    }

    /// The chunks that a seal is for.
    #[must_use]
    pub fn group(&self, seal: &Seal) -> &[Chunk] {
        &self.chunks[..self.positions().take_while(|position| *position < seal.upto).count()]
    }

    /// Drops what a verified seal is for.
    pub fn sealed(&mut self, seal: &Seal) {
        let count = self.group(seal).len();
        self.bytes -= self.chunks.drain(..count).map(|chunk| chunk.wire.len()).sum::<usize>();
        (self.begin, self.retractions) = (Some(seal.upto), 0);
    }
}
