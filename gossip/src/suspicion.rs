//! Suspicions: peers with whom somebody has lost touch, and how long they have to refute.
//!
//! The time shrinks with the number of independent accusers, as in Lifeguard
//! (<https://arxiv.org/abs/1707.00788>): with none but the first it is the longest, and it falls
//! with the logarithm of the confirmations to the shortest.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::PeerId;

/// Most accusers remembered a suspect.
const ACCUSERS_MAX: usize = 8;
/// Most suspects at a time.
const SUSPECTS_MAX: usize = 4096;

/// How long suspects have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspicionConfig {
    /// With enough confirmations.
    pub min: Duration,
    /// With none.
    pub max: Duration,
    /// Confirmations that bring the time down to `min`.
    pub confirmations: u32,
    /// What those wait longer who only heard of it.
    pub hearsay: Duration,
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
    /// Whether this node lost touch itself.
    own: bool,
    /// Direct evidence has shown that the suspect is there; kept so that the same accusation does
    /// not raise it again.
    cleared: bool,
    since: Instant,
    deadline: Instant,
}

/// What an accusation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accused {
    /// The peer was not suspected before.
    First,
    /// Somebody else says so too.
    Confirmed,
    /// Nothing new.
    Known,
}

/// All suspicions of a node.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    suspects: BTreeMap<PeerId, Suspicion>,
    deadlines: BTreeSet<(Instant, PeerId)>,
}

impl Suspicions {
    /// Somebody has lost touch with an incarnation of a peer.
    pub(crate) fn accuse(
        &mut self,
        now: Instant,
        config: &SuspicionConfig,
        peer: PeerId,
        incarnation: u64,
        accuser: PeerId,
        own: bool,
    ) -> Accused {
        if self.suspects.get(&peer).is_some_and(|suspicion| suspicion.incarnation < incarnation) {
            self.forget(&peer);
        }
        let full = self.suspects.len() >= SUSPECTS_MAX;
        let Some(suspicion) = self.suspects.get_mut(&peer) else {
            if full {
                return Accused::Known;
            }
            let accusers = BTreeSet::from([accuser]);
            let mut suspicion = Suspicion { incarnation, accusers, own, cleared: false, since: now, deadline: now };
            suspicion.deadline = now + patience(config, &suspicion);
            self.deadlines.insert((suspicion.deadline, peer));
            self.suspects.insert(peer, suspicion);
            return Accused::First;
        };
        let known = suspicion.accusers.contains(&accuser) || suspicion.accusers.len() == ACCUSERS_MAX;
        if suspicion.incarnation > incarnation || (known && !own) {
            return Accused::Known;
        }
        suspicion.accusers.insert(accuser);
        let raised = own && std::mem::take(&mut suspicion.cleared);
        if raised {
            suspicion.since = now;
        }
        suspicion.own |= own;
        let deadline = suspicion.since + patience(config, suspicion);
        self.deadlines.remove(&(suspicion.deadline, peer));
        suspicion.deadline = deadline;
        self.deadlines.insert((deadline, peer));
        match (suspicion.cleared, raised, known) {
            (false, true, _) => Accused::First,
            (_, _, true) => Accused::Known,
            _ => Accused::Confirmed,
        }
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
    if suspicion.own { waited } else { waited + config.hearsay }
}
