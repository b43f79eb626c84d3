//! Who breaks the rules of gossip: told when it begins and now and then while it lasts, not once an op.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{PeerId, io::Offence};

/// How long an offence is remembered after it was last committed.
const MEMORY: Duration = Duration::from_secs(10);
/// Offenders that are remembered, about 100 bytes each; others pass unnoticed until there is room.
const OFFENDERS_MAX: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Offences(BTreeMap<(PeerId, Offence), Count>);

#[derive(Debug)]
struct Count {
    last: Instant,
    times: u32,
}

impl Offence {
    /// Times until it is told, and between two times that it is told.
    const fn every(self) -> u32 {
        match self {
            // No honest node passes on what it could not verify.
            Self::ForgedOp => 16,
            // An honest one may have much to say at once, and be heard late.
            Self::OpFlood => 400,
        }
    }
}

impl Offences {
    /// An offence was committed. Says whether to tell of it.
    pub(crate) fn note(&mut self, now: Instant, peer: PeerId, offence: Offence) -> bool {
        let fresh = |count: &Count| now.saturating_duration_since(count.last) < MEMORY;
        if self.0.len() >= OFFENDERS_MAX && !self.0.contains_key(&(peer, offence)) {
            self.0.retain(|_, count| fresh(count));
            if self.0.len() >= OFFENDERS_MAX {
                return false;
            }
        }
        let count = self.0.entry((peer, offence)).or_insert(Count { last: now, times: 0 });
        if !fresh(count) {
            count.times = 0;
        }
        count.last = now;
        count.times = count.times.saturating_add(1);
        let first = matches!(offence, Offence::ForgedOp) && count.times == 1;
        first || count.times.is_multiple_of(offence.every())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId::from_key_bytes([1; 32]);

    fn told(offences: &mut Offences, now: Instant, offence: Offence, times: u32) -> usize {
        (0..times).filter(|_| offences.note(now, PEER, offence)).count()
    }

    #[test]
    fn a_forgery_is_told_at_once_and_a_flood_when_it_is_one() {
        let (now, mut offences) = (Instant::now(), Offences::default());
        assert_eq!(told(&mut offences, now, Offence::ForgedOp, 1), 1);
        assert_eq!(told(&mut offences, now, Offence::ForgedOp, 63), 4);
        assert_eq!(told(&mut offences, now, Offence::OpFlood, 399), 0);
        assert_eq!(told(&mut offences, now, Offence::OpFlood, 1), 1);
        let later = now + MEMORY;
        assert_eq!(told(&mut offences, later, Offence::OpFlood, 399), 0, "long ago is forgotten");
        assert_eq!(told(&mut offences, later, Offence::ForgedOp, 1), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_ends() {
        let (now, mut offences) = (Instant::now(), Offences::default());
        let peer = |number: u16| PeerId::from_key_bytes(std::array::from_fn(|at| number.to_be_bytes()[at % 2]));
        let told = (0..1_000).filter(|number| offences.note(now, peer(*number), Offence::ForgedOp)).count();
        assert_eq!((told, offences.0.len()), (OFFENDERS_MAX, OFFENDERS_MAX));
        assert!(offences.note(now + MEMORY, peer(5_000), Offence::ForgedOp));
        assert_eq!(offences.0.len(), 1);
    }
}
