//! The links of this node: how lively they are, and what they are used for.
//!
//! Liveness is local: both ends of a link watch it, and nothing of it goes into rows. Any byte from
//! a peer is a sign of life, so a ping is sent only when nothing came: a parent that pulses needs
//! none. A parent that is silent is left long before its link is given up: that it is of no use now
//! is no evidence that it is dead (see `docs/decisions/0002`).
//!
//! How soon a parent's silence is strange depends on what flows: one that sends an object every 5 ms is
//! asked after 20 ms, an idle one after its pulse is due. Whoever answers was only quiet, and is given
//! twice as long the next time.
//!
//! A node that was itself starved of time does not blame its peers (the self-awareness of Lifeguard,
//! <https://arxiv.org/abs/1707.00788>): what its timers run late is granted to everyone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

/// How links are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkConfig {
    /// A parent that is silent for this long is pinged: a little more than passes between its pulses.
    pub parent_ping: Duration,
    /// It is pinged after four times what passes between its objects, but not sooner than this.
    pub parent_ping_soonest: Duration,
    /// Between pings to a parent that stays silent.
    pub parent_ping_again: Duration,
    /// Anybody else who is silent for this long is pinged by the end that dialled, and then again and
    /// again; the other end leaves it a quarter more.
    pub ping: Duration,
    /// However talkative a peer is, it is pinged this often to measure the round-trip time.
    pub measure: Duration,
    /// A parent that does not answer a ping for this long, beside the round trip, gets a backup beside it.
    /// After a false alarm it is given twice as long, at most three times, for half a minute.
    pub parent_answer: Duration,
    /// A parent that is silent for this long is given up by the trees, but not yet its link.
    pub parent_lost: Duration,
    /// A link over which nothing came for this long after a ping is lost.
    pub lost: Duration,
    /// A timer that runs later than this means that this node was starved.
    pub starved: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            parent_ping: Duration::from_millis(110),
            parent_ping_soonest: Duration::from_millis(20),
            parent_ping_again: Duration::from_millis(50),
            ping: Duration::from_secs(1),
            measure: Duration::from_secs(30),
            parent_answer: Duration::from_millis(30),
            parent_lost: Duration::from_millis(300),
            lost: Duration::from_millis(3_200),
            starved: Duration::from_millis(15),
        }
    }
}

/// Objects of a parent that may fail to come before it is asked whether it is still there.
const PACES: u32 = 4;
/// A slower pace makes no difference.
const PACE_MAX: Duration = Duration::from_millis(100);
/// How long anybody but a parent may take to answer, beside the round trip.
const ANSWER: Duration = Duration::from_millis(200);
/// How long a false alarm makes patient.
const ALARM_EASE: Duration = Duration::from_secs(30);

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
    /// What passes between signs of life on data streams, smoothed.
    pace: Duration,
    /// The last false alarm, and how long an answer may take since then.
    alarmed: Option<(Instant, Duration)>,
    pinged: Option<Instant>,
    /// The first ping after which nothing was heard.
    unanswered: Option<Instant>,
    /// The ping whose answer measures the round-trip time.
    awaited: Option<(u32, Instant)>,
    rtt: Option<Duration>,
    silence: Silence,
}

/// What was made of a parent's silence so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Silence {
    None,
    /// It has a backup beside it.
    Noticed,
    /// It is no parent any more.
    GivenUp,
}

impl Link {
    /// When it was last heard of, or came up.
    #[must_use]
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// Its round-trip time, once it was measured.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// For how long nothing was heard of it, if it has not answered in time either.
    #[must_use]
    pub fn unanswered_for(&self, now: Instant) -> Option<Duration> {
        let due = self.unanswered? + ANSWER + self.rtt.unwrap_or_default();
        (due <= now).then(|| now.saturating_duration_since(self.heard))
    }

    fn hear(&mut self, now: Instant) {
        if self.unanswered.take().is_some() {
            self.pace = (self.pace * 2).min(PACE_MAX);
        }
        self.heard = self.heard.max(now);
    }

    /// Data came `times` times since it was heard last, at last `at`.
    fn hear_data(&mut self, at: Instant, times: u32) {
        let sample = at.saturating_duration_since(self.heard) / times.max(1);
        self.hear(at);
        self.pace = (self.pace + sample.min(PACE_MAX)) / 2;
    }

    /// How long it may be silent before it is pinged.
    fn quiet(&self, config: &LinkConfig, parent: bool) -> Duration {
        match (parent, self.dialer) {
            (true, _) => (self.pace * PACES).max(config.parent_ping_soonest).min(config.parent_ping),
            (false, true) => config.ping,
            // One ping with its answer is a sign of life for both ends.
            (false, false) => config.ping * 5 / 4,
        }
    }

    fn next_ping(&self, config: &LinkConfig, parent: bool) -> Instant {
        let Some(pinged) = self.pinged else {
            return self.since;
        };
        let again = if parent { config.parent_ping_again } else { config.ping };
        let due = if self.unanswered.is_some() { pinged + again } else { self.heard + self.quiet(config, parent) };
        due.min(pinged + config.measure)
    }

    /// Until when its silence means nothing.
    fn patience(&self, config: &LinkConfig) -> Option<Instant> {
        let asked = self.unanswered?.max(self.heard + self.quiet(config, true));
        Some(asked + self.answer(config, asked) + self.rtt.unwrap_or_default())
    }

    /// How long an answer may take.
    fn answer(&self, config: &LinkConfig, now: Instant) -> Duration {
        let lately = self.alarmed.filter(|(at, _)| now.saturating_duration_since(*at) < ALARM_EASE);
        lately.map_or(config.parent_answer, |(_, answer)| answer)
    }

    /// It was only late. Busy machines are, again and again.
    fn note_false_alarm(&mut self, config: &LinkConfig) {
        let answer = 2 * self.answer(config, self.heard);
        self.alarmed = Some((self.heard, answer.min(3 * config.parent_answer)));
    }

    fn deadline(&self, config: &LinkConfig, parent: bool) -> Instant {
        let left = match (parent, self.silence) {
            (true, Silence::None) => self.patience(config),
            (true, Silence::Noticed) => Some(self.heard + config.parent_lost),
            (true, Silence::GivenUp) | (false, _) => None,
        };
        let lost = self.unanswered.map(|pinged| pinged + config.lost);
        left.into_iter().chain(lost).fold(self.next_ping(config, parent), Instant::min)
    }
}

/// What the watch over the links found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Send this ping.
    Ping(PeerId, u32),
    /// A parent is silent.
    Silent(PeerId),
    /// A parent was silent for so long that it is of no use.
    GivenUp(PeerId),
    /// The link is lost.
    Lost(PeerId),
}

/// All links of this node.
#[derive(Debug)]
pub struct Links {
    config: LinkConfig,
    links: BTreeMap<PeerId, Link>,
    parents: BTreeSet<PeerId>,
    /// When a link has to be looked after, or earlier.
    next: Option<Instant>,
    /// `next` has to be sought anew.
    stale: bool,
    nonce: u32,
}

impl Links {
    pub(crate) const fn new(config: LinkConfig) -> Self {
        Self { config, links: BTreeMap::new(), parents: BTreeSet::new(), next: None, stale: false, nonce: 0 }
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
            pace: PACE_MAX,
            alarmed: None,
            pinged: None,
            unanswered: None,
            awaited: None,
            rtt: None,
            silence: Silence::None,
        };
        self.links.insert(peer, link);
        self.stale = true;
    }

    pub(crate) fn down(&mut self, peer: &PeerId) -> Option<Link> {
        self.stale = true;
        self.links.remove(peer)
    }

    pub(crate) fn link_mut(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.links.get_mut(peer)
    }

    /// Whose silence matters at once.
    pub(crate) fn set_parents(&mut self, now: Instant, parents: BTreeSet<PeerId>) {
        for peer in parents.difference(&self.parents) {
            if let Some(link) = self.links.get_mut(peer) {
                // It may have had nothing to say for a second until now.
                link.hear(now);
            }
        }
        self.parents = parents;
        self.stale = true;
    }

    /// A sign of life. Says whether the peer was noted as silent.
    pub(crate) fn heard(&mut self, now: Instant, peer: &PeerId) -> bool {
        self.note(peer, |link| link.hear(now))
    }

    /// As [`Links::heard`], of data streams.
    pub(crate) fn heard_data(&mut self, at: Instant, times: u32, peer: &PeerId) -> bool {
        self.note(peer, |link| link.hear_data(at, times))
    }

    fn note(&mut self, peer: &PeerId, hear: impl FnOnce(&mut Link)) -> bool {
        let Some(link) = self.links.get_mut(peer) else {
            return false;
        };
        // It only puts off what is due, as a rule: [`Links::watch`] may be called too early for once.
        let before = link.quiet(&self.config, true);
        hear(link);
        self.stale |= link.quiet(&self.config, true) < before;
        let silence = std::mem::replace(&mut link.silence, Silence::None);
        if silence == Silence::Noticed {
            link.note_false_alarm(&self.config);
        }
        silence != Silence::None
    }

    pub(crate) fn pong(&mut self, now: Instant, peer: &PeerId, nonce: u32) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        if let Some((_, sent)) = link.awaited.take_if(|(expected, _)| *expected == nonce) {
            let sample = now.saturating_duration_since(sent);
            // As TCP smooths it (RFC 6298): an eighth of the news.
            link.rtt = Some(link.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
        }
    }

    /// Looks after every link. Returns what to do, in the order of the peers' ids.
    pub(crate) fn watch(&mut self, now: Instant) -> Vec<Finding> {
        let late = self.deadline().map_or(Duration::ZERO, |deadline| now.saturating_duration_since(deadline));
        let grant = if late > self.config.starved { late } else { Duration::ZERO };
        let config = &self.config;
        let mut findings = Vec::new();
        for (peer, link) in &mut self.links {
            let parent = self.parents.contains(peer);
            link.heard = (link.heard + grant).min(now);
            link.unanswered = link.unanswered.map(|pinged| (pinged + grant).min(now));
            if link.unanswered.is_some_and(|pinged| now.saturating_duration_since(pinged) >= config.lost) {
                findings.push(Finding::Lost(*peer));
                continue;
            }
            let silence = now.saturating_duration_since(link.heard);
            if parent && silence >= config.parent_lost && link.silence < Silence::GivenUp {
                link.silence = Silence::GivenUp;
                findings.push(Finding::GivenUp(*peer));
            } else if parent && link.silence < Silence::Noticed && link.patience(config).is_some_and(|at| at <= now) {
                link.silence = Silence::Noticed;
                findings.push(Finding::Silent(*peer));
            }
            if now >= link.next_ping(config, parent) {
                link.pinged = Some(now);
                link.unanswered.get_or_insert(now);
                self.nonce = self.nonce.wrapping_add(1);
                // An answer still awaited is not replaced: it may be the one that measures.
                if link.awaited.is_none_or(|(_, sent)| now.saturating_duration_since(sent) > config.lost) {
                    link.awaited = Some((self.nonce, now));
                }
                findings.push(Finding::Ping(*peer, link.awaited.map_or(self.nonce, |(nonce, _)| nonce)));
            }
        }
        self.stale = true;
        self.schedule();
        findings
    }

    /// Settles when [`Links::watch`] wants to be called next. Call after changes.
    pub(crate) fn schedule(&mut self) {
        if std::mem::take(&mut self.stale) {
            let deadlines =
                self.links.iter().map(|(peer, link)| link.deadline(&self.config, self.parents.contains(peer)));
            self.next = deadlines.min();
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

impl banyan_tree::Links for Links {
    fn linked(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }

    fn silent(&self, peer: &PeerId) -> bool {
        self.links.get(peer).is_some_and(|link| link.silence == Silence::GivenUp)
    }

    fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.links.get(peer)?.rtt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: PeerId = PeerId::from_key_bytes([1; 32]);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A link to a parent whose first ping was answered.
    fn linked(now: Instant) -> Links {
        let mut links = Links::new(LinkConfig::default());
        links.up(now, PARENT, true);
        links.set_parents(now, BTreeSet::from([PARENT]));
        assert!(matches!(links.watch(now)[..], [Finding::Ping(..)]));
        links.heard(now, &PARENT);
        links
    }

    /// What is found next, and when, if nothing is heard; the watch is called when it wants to be, and `late`.
    fn next(links: &mut Links, late: Duration) -> (Instant, Finding) {
        loop {
            links.schedule();
            let now = links.deadline().expect("a link is watched") + late;
            if let Some(finding) = links.watch(now).first() {
                return (now, *finding);
            }
        }
    }

    fn stream(links: &mut Links, from: Instant, pace: Duration, times: u32) -> Instant {
        let at = |time: u32| from + pace * time;
        for now in (1..=times).map(at) {
            links.heard_data(now, 1, &PARENT);
            links.schedule();
            if links.deadline().is_some_and(|due| due <= now) {
                // Now and then the round trip is measured.
                let findings = links.watch(now);
                assert!(matches!(findings[..], [] | [Finding::Ping(..)]), "data is a sign of life: {findings:?}");
            }
        }
        at(times)
    }

    #[test]
    fn how_soon_a_silence_is_strange_depends_on_what_flows() {
        for (pace, asked) in [(1, 20), (5, 20), (10, 40), (20, 80), (60, 110)] {
            let start = Instant::now();
            let mut links = linked(start);
            let last = stream(&mut links, start, ms(pace), 20);
            let (at, finding) = next(&mut links, Duration::ZERO);
            assert!(matches!(finding, Finding::Ping(..)));
            let off = (at - last).abs_diff(ms(asked));
            assert!(off < ms(2), "pace {pace}: {:?}", at - last);
            let (silent, finding) = next(&mut links, Duration::ZERO);
            assert_eq!((silent - at, finding), (ms(30), Finding::Silent(PARENT)));
        }
    }

    #[test]
    fn a_parent_that_answers_was_only_quiet_and_gets_twice_as_long() {
        let start = Instant::now();
        let mut links = linked(start);
        let mut last = stream(&mut links, start, ms(5), 20);
        let mut pings = 0;
        for _ in 0..20 {
            let (at, finding) = next(&mut links, Duration::ZERO);
            assert!(matches!(finding, Finding::Ping(..)), "{finding:?}");
            pings += 1;
            links.heard(at, &PARENT);
            last = at;
        }
        assert_eq!(pings, 20);
        let (at, _) = next(&mut links, Duration::ZERO);
        assert_eq!(at - last, ms(110), "as an idle parent, whose pulses come in time");
    }

    #[test]
    fn a_false_alarm_makes_patient_for_a_while() {
        let start = Instant::now();
        let mut links = linked(start);
        let mut now = start;
        for answer in [30, 60, 90, 90] {
            stream(&mut links, now, ms(5), 40);
            let (at, _) = next(&mut links, Duration::ZERO);
            let mut found = next(&mut links, Duration::ZERO);
            while found.1 != Finding::Silent(PARENT) {
                found = next(&mut links, Duration::ZERO);
            }
            assert_eq!(found.0 - at, ms(answer));
            now = found.0;
            assert!(links.heard(now, &PARENT));
        }
        stream(&mut links, now, ms(5), 8_000);
        let (at, _) = next(&mut links, Duration::ZERO);
        assert!(matches!(next(&mut links, Duration::ZERO), (silent, Finding::Silent(_)) if silent - at == ms(30)));
    }

    /// For a child, which is asked after a second of silence.
    #[test]
    fn only_who_does_not_answer_a_ping_in_time_counts_as_unresponsive() {
        let start = Instant::now();
        let mut links = linked(start);
        links.set_parents(start, BTreeSet::new());
        let (asked, finding) = next(&mut links, Duration::ZERO);
        assert!(matches!(finding, Finding::Ping(..)));
        let silence = |links: &Links, now| links.link(&PARENT).expect("linked").unanswered_for(now);
        assert_eq!(silence(&links, asked + ANSWER - ms(1)), None);
        assert_eq!(silence(&links, asked + ANSWER), Some(asked + ANSWER - start));
        links.heard(asked + ANSWER, &PARENT);
        assert_eq!(silence(&links, asked + 2 * ANSWER), None);
    }

    #[test]
    fn a_node_that_was_starved_does_not_blame_its_parent() {
        let start = Instant::now();
        let mut links = linked(start);
        stream(&mut links, start, ms(5), 20);
        for _ in 0..3 {
            let (at, finding) = next(&mut links, ms(400));
            assert!(matches!(finding, Finding::Ping(..)), "{finding:?}");
            links.heard(at, &PARENT);
        }
    }
}
