//! The links of this node: how lively they are, and what they are used for.
//!
//! Liveness is local: both ends of a link watch it, and nothing of it goes into rows. Any byte from
//! a peer counts as a sign of life. A node that was itself starved of time does not blame its peers
//! (the self-awareness of Lifeguard, <https://arxiv.org/abs/1707.00788>): what its timers run late
//! is granted to everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

/// How links are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// Between pings to a parent.
    pub parent_ping: Duration,
    /// Between pings to anybody else.
    pub ping: Duration,
    /// A parent that is silent for this long gets a backup beside it.
    pub parent_silent: Duration,
    /// A parent that is silent for this long is lost.
    pub parent_lost: Duration,
    /// Anybody else who is silent for this long is lost.
    pub lost: Duration,
    /// A timer that runs later than this means that this node was starved.
    pub starved: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            parent_ping: Duration::from_millis(50),
            ping: Duration::from_secs(1),
            parent_silent: Duration::from_millis(150),
            parent_lost: Duration::from_millis(300),
            lost: Duration::from_millis(3_500),
            starved: Duration::from_millis(30),
        }
    }
}

/// One link.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whether this node dialled it.
    pub dialer: bool,
    /// When it came up.
    pub since: Instant,
    /// When it was last used by a tree.
    pub used: Instant,
    /// Whether the peer said that it closes the link on purpose.
    pub graceful: bool,
    heard: Instant,
    next_ping: Instant,
    ping: Option<(u32, Instant)>,
    rtt: Option<Duration>,
    silent: bool,
}

/// What the watch over the links found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Send this ping.
    Ping(PeerId, u32),
    /// A parent is silent.
    Silent(PeerId),
    /// The peer is lost.
    Lost(PeerId),
}

/// All links of this node.
#[derive(Debug)]
pub struct Links {
    config: LinkConfig,
    links: BTreeMap<PeerId, Link>,
    parents: BTreeSet<PeerId>,
    deadline: Option<Instant>,
    nonce: u32,
}

impl Links {
    pub(crate) const fn new(config: LinkConfig) -> Self {
        Self { config, links: BTreeMap::new(), parents: BTreeSet::new(), deadline: None, nonce: 0 }
    }

    /// The link to a peer.
    #[must_use]
    pub fn link(&self, peer: &PeerId) -> Option<&Link> {
        self.links.get(peer)
    }

    /// All links, in the order of the peers' ids.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Link)> {
        self.links.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub(crate) fn up(&mut self, now: Instant, peer: PeerId, dialer: bool) {
        let link = Link {
            dialer,
            since: now,
            used: now,
            graceful: false,
            heard: now,
            next_ping: now,
            ping: None,
            rtt: None,
            silent: false,
        };
        self.links.insert(peer, link);
    }

    pub(crate) fn down(&mut self, peer: &PeerId) -> Option<Link> {
        self.links.remove(peer)
    }

    pub(crate) fn link_mut(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.links.get_mut(peer)
    }

    /// Whose silence matters at once.
    pub(crate) fn set_parents(&mut self, now: Instant, parents: BTreeSet<PeerId>) {
        for peer in parents.difference(&self.parents) {
            if let Some(link) = self.links.get_mut(peer) {
                // It may have been pinged a second apart until now.
                link.heard = now;
                link.next_ping = now;
            }
        }
        self.parents = parents;
    }

    /// A sign of life. Says whether the peer was noted as silent.
    pub(crate) fn heard(&mut self, now: Instant, peer: &PeerId) -> bool {
        let Some(link) = self.links.get_mut(peer) else {
            return false;
        };
        link.heard = now;
        std::mem::take(&mut link.silent)
    }

    pub(crate) fn pong(&mut self, now: Instant, peer: &PeerId, nonce: u32) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        if let Some((_, sent)) = link.ping.take_if(|(expected, _)| *expected == nonce) {
            let sample = now.saturating_duration_since(sent);
            // As TCP smooths it (RFC 6298): an eighth of the news.
            link.rtt = Some(link.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        }
    }

    /// Looks after every link. Returns what to do, in the order of the peers' ids.
    pub(crate) fn watch(&mut self, now: Instant) -> Vec<Finding> {
        let late = self.deadline.map_or(Duration::ZERO, |deadline| now.saturating_duration_since(deadline));
        let grant = if late > self.config.starved { late } else { Duration::ZERO };
        let mut findings = Vec::new();
        for (peer, link) in &mut self.links {
            let parent = self.parents.contains(peer);
            link.heard = (link.heard + grant).min(now);
            let silence = now.saturating_duration_since(link.heard);
            let lost = if parent { self.config.parent_lost } else { self.config.lost };
            if silence >= lost {
                findings.push(Finding::Lost(*peer));
                continue;
            }
            if parent && silence >= self.config.parent_silent && !link.silent {
                link.silent = true;
                findings.push(Finding::Silent(*peer));
            }
            if now >= link.next_ping {
                let interval = if parent { self.config.parent_ping } else { self.config.ping };
                link.next_ping = now + interval;
                self.nonce = self.nonce.wrapping_add(1);
                // An answer still awaited is not replaced: it may be the one that measures.
                if link.ping.is_none_or(|(_, sent)| now.saturating_duration_since(sent) > self.config.lost) {
                    link.ping = Some((self.nonce, now));
                }
                findings.push(Finding::Ping(*peer, link.ping.map_or(self.nonce, |(nonce, _)| nonce)));
            }
        }
        self.schedule();
        findings
    }

    /// When [`Links::watch`] wants to be called next. Call after changes.
    pub(crate) fn schedule(&mut self) {
        let config = &self.config;
        let next = self.links.iter().map(|(peer, link)| {
            let patience = match (self.parents.contains(peer), link.silent) {
                (true, false) => config.parent_silent,
                (true, true) => config.parent_lost,
                (false, _) => config.lost,
            };
            link.next_ping.min(link.heard + patience)
        });
        self.deadline = next.min();
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

impl banyan_tree::Links for Links {
    fn linked(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }

    fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.links.get(peer)?.rtt
    }
}
