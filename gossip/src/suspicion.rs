//! Suspicions: peers with whom somebody has lost touch, and how long they have to refute.
//!
//! The time shrinks with the number of independent accusers, as in Lifeguard
//! (<https://arxiv.org/abs/1707.00788>): with none but the first it is the longest, and it falls
//! with the logarithm of the confirmations to the shortest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    PeerId,
    op::{Claim, SignedOp},
};

/// Most suspects at a time.
const SUSPECTS_MAX: usize = 4096;

/// How long suspects have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspicionConfig {
    /// With enough confirmations.
    pub min: Duration,
    /// With none.
    pub max: Duration,
    /// Confirmations that bring the time down to `min`; more are not passed on.
    pub confirmations: u32,
    /// What those wait longer who only heard of it, drawn between this and twice as long: were it
    /// the same for all, the whole mesh would certify the death at once.
    pub hearsay: Duration,
}

impl SuspicionConfig {
    /// The times of a node that is `factor` times slower than it should be.
    pub(crate) fn slowed(self, factor: u32) -> Self {
        Self { min: self.min * factor, max: self.max * factor, hearsay: self.hearsay * factor, ..self }
    }
}

impl Default for SuspicionConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(4),
            confirmations: 2,
            hearsay: Duration::from_secs(1),
        }
    }
}

#[derive(Debug)]
struct Suspicion {
    incarnation: u64,
    accusers: BTreeSet<PeerId>,
    /// What the first of them said, for the suspect to hear.
    accusation: SignedOp,
    /// Whether this node lost touch itself.
    own: bool,
    /// Direct evidence has shown that the suspect is there; kept so that the same accusation does
    /// not raise it again.
    cleared: bool,
    since: Instant,
    /// What this node waits longer if it only heard of it.
    hearsay: Duration,
    deadline: Instant,
}

/// A peer under suspicion, to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspected {
    /// Who lost touch with it; a few of them.
    pub accusers: Vec<PeerId>,
    /// When this node heard of it first.
    pub since: Instant,
    /// When it is declared dead.
    pub deadline: Instant,
}

/// What an accusation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accused {
    /// The peer is under suspicion and was not before.
    pub(crate) raised: bool,
    /// Others should know: those who said so before were too few.
    pub(crate) news: bool,
}

/// All suspicions of a node.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    suspects: BTreeMap<PeerId, Suspicion>,
    deadlines: BTreeSet<(Instant, PeerId)>,
}

impl Suspicions {
    /// Somebody has lost touch with an incarnation of a peer; `own`: this node itself.
    pub(crate) fn accuse(
        &mut self,
        now: Instant,
        config: &SuspicionConfig,
        claim: &Claim,
        signed: &SignedOp,
        own: bool,
        rng: &mut fastrand::Rng,
    ) -> Accused {
        let Claim { id, suspect: peer, suspect_incarnation: incarnation } = *claim;
        if self.suspects.get(&peer).is_some_and(|suspicion| suspicion.incarnation < incarnation) {
            self.forget(&peer);
        }
        let first = !self.suspects.contains_key(&peer);
        if first && self.suspects.len() >= SUSPECTS_MAX {
            return Accused::default();
        }
        let suspicion = self.suspects.entry(peer).or_insert_with(|| Suspicion {
            incarnation,
            accusers: BTreeSet::new(),
            accusation: signed.clone(),
            own,
            cleared: false,
            since: now,
            hearsay: config.hearsay.mul_f64(1.0 + rng.f64()),
            deadline: now,
        });
        let enough = suspicion.accusers.len() > config.confirmations as usize;
        let known = suspicion.accusers.contains(&id.author);
        if suspicion.incarnation > incarnation || ((known || enough) && !own) {
            return Accused::default();
        }
        let raised = first || (own && std::mem::take(&mut suspicion.cleared));
        if raised {
            suspicion.since = now;
        }
        if !enough {
            suspicion.accusers.insert(id.author);
        }
        suspicion.own |= own;
        if !suspicion.cleared {
            self.deadlines.remove(&(suspicion.deadline, peer));
            suspicion.deadline = suspicion.since + patience(config, suspicion);
            self.deadlines.insert((suspicion.deadline, peer));
        }
        Accused { raised, news: !enough && (raised || !known) }
    }

    /// The suspicion under which a peer is.
    pub(crate) fn of(&self, peer: &PeerId) -> Option<Suspected> {
        let suspicion = self.suspects.get(peer).filter(|suspicion| !suspicion.cleared)?;
        let accusers = suspicion.accusers.iter().copied().collect();
        Some(Suspected { accusers, since: suspicion.since, deadline: suspicion.deadline })
    }

    /// What is said of a peer, cleared or not.
    pub(crate) fn accusation(&self, peer: &PeerId) -> Option<&SignedOp> {
        self.suspects.get(peer).map(|suspicion| &suspicion.accusation)
    }

    /// The peer is there after all. Returns whether it was under suspicion.
    pub(crate) fn clear(&mut self, now: Instant, config: &SuspicionConfig, peer: &PeerId) -> bool {
        let Some(suspicion) = self.suspects.get_mut(peer).filter(|suspicion| !suspicion.cleared) else {
            return false;
        };
        suspicion.cleared = true;
        suspicion.own = false;
        self.deadlines.remove(&(suspicion.deadline, *peer));
        // Long enough for the accusation to have gone round.
        suspicion.deadline = now + 4 * config.max;
        self.deadlines.insert((suspicion.deadline, *peer));
        true
    }

    /// Forgets a suspicion, for it is settled.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if let Some(suspicion) = self.suspects.remove(peer) {
            self.deadlines.remove(&(suspicion.deadline, *peer));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes a suspicion whose time is over: the peer, its incarnation, and whether it is to be
    /// declared dead.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(PeerId, u64, bool)> {
        let (at, peer) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.remove(&(at, peer));
        let suspicion = self.suspects.remove(&peer)?;
        Some((peer, suspicion.incarnation, !suspicion.cleared))
    }

    /// Grants every suspect more time: this node was not listening.
    pub(crate) fn extend(&mut self, by: Duration) {
        self.deadlines.clear();
        for (peer, suspicion) in &mut self.suspects {
            suspicion.since += by;
            suspicion.deadline += by;
            self.deadlines.insert((suspicion.deadline, *peer));
        }
    }
}

fn patience(config: &SuspicionConfig, suspicion: &Suspicion) -> Duration {
    let confirmed = suspicion.accusers.len().saturating_sub(1) as f64;
    let share = ((confirmed + 1.0).ln() / (f64::from(config.confirmations) + 1.0).ln()).min(1.0);
    let waited = config.max - (config.max - config.min).mul_f64(share);
    if suspicion.own { waited } else { waited + suspicion.hearsay }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Op, OpId};

    #[test]
    fn suspicions_are_bounded_and_one_that_ends_makes_room_e3() {
        let (now, config) = (Instant::now(), SuspicionConfig::default());
        let (mut suspicions, mut rng) = (Suspicions::default(), fastrand::Rng::with_seed(1));
        let suspect = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            PeerId::from_key_bytes(key)
        };
        let id = OpId { author: PeerId::from_key_bytes([255; 32]), incarnation: 1, version: 1 };
        let mut accuse = |suspicions: &mut Suspicions, number| {
            let claim = Claim { id, suspect: suspect(number), suspect_incarnation: 1 };
            let signed = SignedOp::new(Op::Suspicion(claim), [0; 64]);
            suspicions.accuse(now, &config, &claim, &signed, false, &mut rng).raised
        };
        let most = u32::try_from(SUSPECTS_MAX).expect("few");
        assert!((0..most).all(|number| accuse(&mut suspicions, number)));
        assert!(!accuse(&mut suspicions, most), "there is no room");
        suspicions.forget(&suspect(0));
        assert!(accuse(&mut suspicions, most));
    }
}
