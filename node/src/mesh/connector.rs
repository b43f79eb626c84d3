//! Whom to dial: the bootstrap addresses, what discovery found, a few random members, old
//! acquaintances that may be back, and whoever a tree asks for (C1, C2, C10).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, table::PeerTable};

use super::Links;

/// How links are sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorConfig {
    /// Links kept to random members beside those that trees use; 0 switches them off.
    pub max_links: usize,
    /// First and longest wait after a failed dial.
    pub backoff: (Duration, Duration),
    /// Most dials under way at a time, those for trees not counted.
    pub dials_max: usize,
    /// Between dials of a random unlinked member to see whether it is there: ordinarily, and for
    /// `alarm` after somebody was declared dead. Links are watched by their two ends; only a probe
    /// notices the death of a node whose neighbours all died with it.
    pub probe: (Duration, Duration),
    /// See `probe`.
    pub alarm: Duration,
    /// Between dials of a member that is thought dead, and of an unlinked bootstrap address while
    /// there are other links.
    pub revisit: Duration,
}

impl Default for ConnectorConfig {
    fn default() -> Self {
        Self {
            max_links: 6,
            backoff: (Duration::from_secs(1), Duration::from_secs(30)),
            dials_max: 4,
            probe: (Duration::from_secs(30), Duration::from_millis(500)),
            alarm: Duration::from_secs(20),
            revisit: Duration::from_secs(2),
        }
    }
}

/// Most peers remembered from discovery that are not in the table, most backoffs, and most peers
/// remembered as dead.
const REMEMBERED_MAX: usize = 1024;
/// Draws from the table for each link that is wanted: those that are linked already do not count.
const DRAWS: usize = 4;
/// How long a member that is gone is looked for.
const LOST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Between a node's visits to a bootstrap address by which it has joined, in units of
/// [`ConnectorConfig::revisit`]: as many as it has peers, so that the bootstrap node of a large mesh is
/// visited no more often than that of a small one, but within these.
const VISIT_AFTER: (u32, u32) = (30, 300);
/// A dial that is not answered within this is forgotten.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
struct Backoff {
    failures: u32,
    until: Instant,
}

/// A member that is gone. The table forgets it when its tombstone's life is over; a partition may
/// last longer than that.
#[derive(Debug)]
struct Lost {
    addresses: Vec<String>,
    since: Instant,
    /// It said goodbye.
    left: bool,
}

#[derive(Debug, Clone)]
struct Bootstrap {
    peer: Option<PeerId>,
    dialling: bool,
    backoff: Option<Backoff>,
    next: Instant,
    /// The node has joined by it, and dials it to see whether another part of the mesh is there.
    visit: bool,
}

impl Bootstrap {
    const fn new(now: Instant) -> Self {
        Self { peer: None, dialling: false, backoff: None, next: now, visit: false }
    }
}

/// A dial to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dial {
    /// This peer at these addresses.
    Peer(PeerId, Vec<String>),
    /// The bootstrap address of this index.
    Bootstrap(usize),
}

/// Decides whom to dial.
#[derive(Debug)]
pub(crate) struct Connector {
    me: PeerId,
    config: ConnectorConfig,
    rng: fastrand::Rng,
    bootstraps: Vec<Bootstrap>,
    discovered: BTreeMap<PeerId, Vec<String>>,
    dialling: BTreeMap<PeerId, Instant>,
    backoffs: BTreeMap<PeerId, Backoff>,
    /// Members that are dead or have left, or were when they were put here.
    dead: BTreeMap<PeerId, Lost>,
    /// When a member that is thought dead may be dialled next.
    revisit_at: Instant,
    probe_at: Instant,
    alarmed_until: Instant,
    /// Dials under way that are probes.
    probes: BTreeSet<PeerId>,
    next_pass: Option<Instant>,
}

impl Connector {
    pub(crate) fn new(
        me: PeerId,
        config: ConnectorConfig,
        bootstraps: usize,
        rng: fastrand::Rng,
        now: Instant,
    ) -> Self {
        let bootstraps = vec![Bootstrap::new(now); bootstraps];
        Self {
            me,
            config,
            rng,
            bootstraps,
            discovered: BTreeMap::new(),
            dialling: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            dead: BTreeMap::new(),
            revisit_at: now,
            probe_at: now,
            alarmed_until: now,
            probes: BTreeSet::new(),
            next_pass: Some(now),
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next_pass
    }

    /// Something changed: look again soon.
    pub(crate) fn wake(&mut self, now: Instant) {
        self.next_pass = Some(self.next_pass.map_or(now, |at| at.min(now)));
    }

    pub(crate) fn discovered(&mut self, now: Instant, peer: PeerId, addresses: Vec<String>) {
        if peer == self.me || (self.discovered.len() >= REMEMBERED_MAX && !self.discovered.contains_key(&peer)) {
            return;
        }
        self.discovered.insert(peer, addresses);
        self.wake(now);
    }

    /// A tree wants this link now. `None`: no address is known.
    pub(crate) fn dial_now(&mut self, now: Instant, peers: &PeerTable, peer: PeerId) -> Option<Dial> {
        let addresses = self.addresses(peers, &peer)?;
        self.dialling.insert(peer, now);
        Some(Dial::Peer(peer, addresses))
    }

    pub(crate) fn is_dialling(&self, peer: &PeerId) -> bool {
        self.dialling.contains_key(peer)
    }

    /// Failed dials of a peer in a row, and how long it is not dialled yet.
    pub(crate) fn failures(&self, now: Instant, peer: &PeerId) -> (u32, Option<Duration>) {
        let backoff = self.backoffs.get(peer);
        let left = backoff.map(|backoff| backoff.until.saturating_duration_since(now));
        (backoff.map_or(0, |backoff| backoff.failures), left.filter(|left| !left.is_zero()))
    }

    /// A link is up. Says whether it was a mere probe, or a visit to somebody who was `known`.
    pub(crate) fn linked(&mut self, now: Instant, peer: PeerId, bootstrap: Option<usize>, known: bool) -> bool {
        self.dialling.remove(&peer);
        self.backoffs.remove(&peer);
        self.discovered.remove(&peer);
        let mut visit = false;
        if let Some(entry) = bootstrap.and_then(|index| self.bootstraps.get_mut(index)) {
            visit = entry.visit && known;
            *entry = Bootstrap { peer: Some(peer), ..Bootstrap::new(now) };
        }
        self.wake(now);
        self.probes.remove(&peer) || visit
    }

    /// Somebody said goodbye.
    pub(crate) fn departed(&mut self, now: Instant, peers: &PeerTable, peer: PeerId) {
        self.miss(now, peers, peer, true);
    }

    fn miss(&mut self, now: Instant, peers: &PeerTable, peer: PeerId, left: bool) {
        let addresses = peers.row(&peer).map(|row| row.addresses.clone()).unwrap_or_default();
        if self.dead.len() < REMEMBERED_MAX || self.dead.contains_key(&peer) {
            self.dead.insert(peer, Lost { addresses, since: now, left });
        }
    }

    /// Somebody was declared dead: see who else is gone, and now and then whether it is back.
    pub(crate) fn died(&mut self, now: Instant, peers: &PeerTable, peer: PeerId) {
        self.miss(now, peers, peer, false);
        if self.alarmed_until <= now {
            self.probe_at = now;
        }
        self.alarmed_until = now + self.config.alarm;
        self.wake(now);
    }

    pub(crate) fn unlinked(&mut self, now: Instant, peer: PeerId) {
        // Not at once: both ends would dial, and a peer that dies takes a moment to be gone.
        self.fail(now, peer);
        self.wake(now);
    }

    pub(crate) fn peer_failed(&mut self, now: Instant, peer: PeerId) {
        self.dialling.remove(&peer);
        self.probes.remove(&peer);
        self.discovered.remove(&peer);
        self.fail(now, peer);
        self.wake(now);
    }

    pub(crate) fn bootstrap_failed(&mut self, now: Instant, index: usize) {
        let Some(failures) = self.bootstraps.get(index).map(|entry| entry.backoff.map_or(0, |b| b.failures)) else {
            return;
        };
        let backoff = self.next_backoff(now, failures);
        let entry = &mut self.bootstraps[index];
        (entry.dialling, entry.backoff, entry.next) = (false, Some(backoff), backoff.until);
        self.wake(now);
    }

    /// There are so many other bootstrap addresses now; of dials of the former ones nothing will be heard.
    pub(crate) fn set_bootstraps(&mut self, now: Instant, bootstraps: usize) {
        self.bootstraps = vec![Bootstrap::new(now); bootstraps];
        self.wake(now);
    }

    /// The bootstrap address leads to this node itself: never dial it again.
    pub(crate) fn bootstrap_is_me(&mut self, index: usize) {
        if let Some(entry) = self.bootstraps.get_mut(index) {
            (entry.peer, entry.dialling) = (Some(self.me), false);
        }
    }

    fn fail(&mut self, now: Instant, peer: PeerId) {
        let failures = self.backoffs.get(&peer).map_or(0, |backoff| backoff.failures);
        let backoff = self.next_backoff(now, failures);
        if self.backoffs.len() >= REMEMBERED_MAX {
            self.backoffs.retain(|_, backoff| backoff.until > now);
        }
        if self.backoffs.len() < REMEMBERED_MAX {
            self.backoffs.insert(peer, backoff);
        }
    }

    fn next_backoff(&mut self, now: Instant, failures: u32) -> Backoff {
        let (first, longest) = self.config.backoff;
        let full = first.saturating_mul(1 << failures.min(10)).min(longest);
        // Half fixed, half drawn, so that nodes that failed together do not come back together.
        let wait = full / 2 + full.mul_f64(self.rng.f64()) / 2;
        Backoff { failures: failures + 1, until: now + wait }
    }

    fn addresses(&self, peers: &PeerTable, peer: &PeerId) -> Option<Vec<String>> {
        let row = peers.row(peer).map(|row| row.addresses.clone()).filter(|addresses| !addresses.is_empty());
        let known = || self.discovered.get(peer).or_else(|| self.dead.get(peer).map(|lost| &lost.addresses)).cloned();
        row.or_else(known).filter(|addresses| !addresses.is_empty())
    }

    /// One idempotent pass over everything: which dials to make now. `random` is the number of links
    /// that no tree uses. Never looks at all rows.
    pub(crate) fn reconcile(&mut self, now: Instant, peers: &PeerTable, links: &Links, random: usize) -> Vec<Dial> {
        self.dialling.retain(|_, since| now.saturating_duration_since(*since) < DIAL_TIMEOUT);
        self.probes.retain(|peer| self.dialling.contains_key(peer));
        let mut dials = Vec::new();
        self.dial_bootstraps(now, peers, links, &mut dials);
        self.dial_discovered(now, peers, links, &mut dials);
        self.dial_members(now, peers, links, random, &mut dials);
        self.dial_dead(now, peers, links, &mut dials);
        self.probe(now, peers, links, &mut dials);
        // Backoffs end and dials time out without an event of their own.
        let again = now + Duration::from_secs(1);
        let probes = self.config.max_links > 0;
        self.next_pass = Some(if probes { self.probe_at.clamp(now, again) } else { again });
        dials
    }

    fn dial_bootstraps(&mut self, now: Instant, peers: &PeerTable, links: &Links, dials: &mut Vec<Dial>) {
        let (least, most) = VISIT_AFTER;
        let pause = self.config.revisit * u32::try_from(peers.live_len()).unwrap_or(most).clamp(least, most);
        for (index, entry) in self.bootstraps.iter_mut().enumerate() {
            let there = entry.peer.is_some_and(|peer| peer == self.me || links.link(&peer).is_some());
            if there || entry.dialling || entry.next > now {
                continue;
            }
            // Once joined, the bootstrap node is one among many; its link is sought now and then only.
            if entry.peer.is_some() && !links.is_empty() {
                // Drawn, so that those who joined together do not come back together.
                entry.next = now + pause / 2 + pause.mul_f64(self.rng.f64());
                (entry.peer, entry.visit) = (None, true);
                continue;
            }
            entry.dialling = true;
            dials.push(Dial::Bootstrap(index));
        }
    }

    fn dial_discovered(&mut self, now: Instant, peers: &PeerTable, links: &Links, dials: &mut Vec<Dial>) {
        self.discovered.retain(|peer, _| peers.live(peer).is_none() && links.link(peer).is_none());
        let mut strangers: Vec<PeerId> = self.discovered.keys().copied().collect();
        self.rng.shuffle(&mut strangers);
        for peer in strangers {
            self.dial_if_due(now, peers, peer, dials);
        }
    }

    fn dial_members(&mut self, now: Instant, peers: &PeerTable, links: &Links, random: usize, dials: &mut Vec<Dial>) {
        let wanted = self.config.max_links.saturating_sub(random + self.dialling.len());
        let before = dials.len();
        for _ in 0..DRAWS * wanted {
            if dials.len() - before >= wanted {
                return;
            }
            if let Some(peer) = self.draw(peers, links) {
                self.dial_if_due(now, peers, peer, dials);
            }
        }
    }

    /// A live member without a link; a few draws in vain are no proof that there is none.
    fn draw(&mut self, peers: &PeerTable, links: &Links) -> Option<PeerId> {
        let peer = peers.sample_live(&mut self.rng)?.peer;
        (peer != self.me && links.link(&peer).is_none()).then_some(peer)
    }

    /// After a partition both sides think the other dead; somebody has to knock.
    fn dial_dead(&mut self, now: Instant, peers: &PeerTable, links: &Links, dials: &mut Vec<Dial>) {
        if self.config.max_links == 0 || now < self.revisit_at {
            return;
        }
        let jitter = self.config.revisit.mul_f64(self.rng.f64());
        self.revisit_at = now + self.config.revisit / 2 + jitter;
        self.dead.retain(|peer, lost| {
            let young = now.saturating_duration_since(lost.since) < LOST_LIFE;
            young && peers.live(peer).is_none()
        });
        // Who said goodbye is left alone, but not by a node that has nobody else: it may be back, and
        // know others.
        let alone = links.is_empty();
        let candidates = self.dead.iter().filter(|(_, lost)| alone || !lost.left).map(|(peer, _)| *peer);
        let peer = self.rng.choice(candidates.collect::<Vec<_>>());
        if let Some(peer) = peer.filter(|peer| links.link(peer).is_none()) {
            // One at a time, whoever it is: that is backoff enough.
            self.backoffs.remove(&peer);
            self.dial_if_due(now, peers, peer, dials);
        }
    }

    fn probe(&mut self, now: Instant, peers: &PeerTable, links: &Links, dials: &mut Vec<Dial>) {
        if self.config.max_links == 0 || now < self.probe_at {
            return;
        }
        let (calm, alarmed) = self.config.probe;
        let interval = if now < self.alarmed_until { alarmed } else { calm };
        self.probe_at = now + interval / 2 + interval.mul_f64(self.rng.f64());
        if let Some(peer) = (0..DRAWS).find_map(|_| self.draw(peers, links)) {
            let before = dials.len();
            self.dial_if_due(now, peers, peer, dials);
            if dials.len() > before {
                self.probes.insert(peer);
            }
        }
    }

    fn dial_if_due(&mut self, now: Instant, peers: &PeerTable, peer: PeerId, dials: &mut Vec<Dial>) {
        let waits = self.backoffs.get(&peer).is_some_and(|backoff| backoff.until > now);
        if waits || self.dialling.len() >= self.config.dials_max || self.dialling.contains_key(&peer) {
            return;
        }
        if let Some(addresses) = self.addresses(peers, &peer) {
            self.dialling.insert(peer, now);
            dials.push(Dial::Peer(peer, addresses));
        }
    }
}
