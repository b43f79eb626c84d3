//! The child's side: the session with the parent, how it ends, and which publication is followed.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, table::PeerTable};

use crate::{
    Context, DetachReason, Event, LinkSettings, Message, MoveReason, Output, RefuseReason, Source, StuckReason, Tree,
    attempt::{Attempt, Phase},
    machine::Part,
    source::OriginAge,
};

/// Who feeds this node, and what it knows of those who could.
#[derive(Debug, Default)]
pub(crate) struct Upstream {
    pub(crate) parent: Option<Parent>,
    /// The search for a (better) parent.
    pub(crate) attempt: Option<Attempt>,
    /// The parent that was lost, until there is another.
    pub(crate) lost: Option<PeerId>,
    /// Its session, if it was merely silent for too long: once another feeds this node it is parted from on the stream, so
    /// that it keeps nothing if it was only slow.
    pub(crate) given_up: Option<(PeerId, u64)>,
    /// Depth when last attached.
    pub(crate) last_depth: Option<u8>,
    /// Peers not to be asked for now.
    pub(crate) spent: BTreeMap<PeerId, Spent>,
    /// Requests whose answers came too late, but may still come.
    pub(crate) late: VecDeque<(PeerId, u64)>,
    /// Searches through the table without anybody to ask; sets the backoff.
    pub(crate) failures: u32,
    /// Why there is no parent.
    pub(crate) stuck: Option<StuckReason>,
    /// Height that the parent was told last.
    pub(crate) told_height: u8,
}

/// The session with the parent.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) peer: PeerId,
    pub(crate) ticket: u64,
    /// Topmost ancestor first, the parent last.
    pub(crate) path: Vec<PeerId>,
    pub(crate) siblings: Vec<PeerId>,
    pub(crate) settings: LinkSettings,
    /// Nothing is heard of it at the moment.
    pub(crate) silent: bool,
    /// It wants this node to go.
    pub(crate) shed: bool,
}

/// Why a peer is not asked for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAsked {
    /// It refused.
    Refused(RefuseReason),
    /// It did not answer, or no link or stream to it came up.
    Unreachable,
    /// It was the parent until a moment ago.
    Lost(DetachReason),
    /// It would have fed this node, but in a place that this node cannot take.
    Unusable(DetachReason),
    /// It does not want to relay the track.
    Unwilling,
    /// It was found to pass on, or to promise, what the origin has not published.
    Lied,
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "it refused: {reason}"),
            Self::Unreachable => f.write_str("it did not answer, or cannot be reached"),
            Self::Lost(reason) => write!(f, "it was the parent until a moment ago: {reason}"),
            Self::Unusable(reason) => write!(f, "its place did not fit: {reason}"),
            Self::Unwilling => f.write_str("it does not want to relay the track"),
            Self::Lied => f.write_str("it was found to pass on what the origin has not published"),
        }
    }
}

/// Why and how long a peer is not asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    why: NotAsked,
    until: Instant,
    /// The row that the refusal is about: a newer one may say something else.
    row: Option<(u64, u64)>,
}

/// Most peers remembered as not to be asked, about 100 bytes each.
pub(crate) const SPENT_MAX: usize = 512;
/// How long a parent whose link or stream broke is left alone, unless it comes back by itself.
/// Others are preferred anyway; this is for meshes where there is nobody else.
const BROKEN_FOR: Duration = Duration::from_millis(200);
/// How long a peer that lied is left alone, whatever it does.
const LIED_FOR: Duration = Duration::from_secs(600);

impl Upstream {
    /// Not to be asked until its row changes, or for `period` at most.
    pub(crate) fn spend_row(&mut self, now: Instant, peers: &PeerTable, peer: PeerId, period: Duration, why: NotAsked) {
        let row = peers.row(&peer).map(|row| (row.incarnation, row.version));
        self.insert_spent(now, peer, Spent { why, until: now + period, row });
    }

    /// Not to be asked for `period`, whatever its row says.
    pub(crate) fn spend(&mut self, now: Instant, peer: PeerId, period: Duration, why: NotAsked) {
        self.insert_spent(now, peer, Spent { why, until: now + period, row: None });
    }

    fn insert_spent(&mut self, now: Instant, peer: PeerId, spent: Spent) {
        // Nothing that is less bad takes the place of a lie.
        if self.spent.get(&peer).is_some_and(|before| before.why == NotAsked::Lied && before.until > spent.until) {
            return;
        }
        if self.spent.len() >= SPENT_MAX {
            self.spent.retain(|_, spent| spent.until > now);
        }
        if self.spent.len() < SPENT_MAX || self.spent.contains_key(&peer) {
            self.spent.insert(peer, spent);
        }
    }

    pub(crate) fn is_spent(&self, now: Instant, peers: &PeerTable, peer: &PeerId) -> bool {
        self.not_asked(now, peers, peer).is_some()
    }

    /// Why a peer is not asked, and for how long yet.
    pub(crate) fn not_asked(&self, now: Instant, peers: &PeerTable, peer: &PeerId) -> Option<(NotAsked, Duration)> {
        let spent = self.spent.get(peer)?;
        let same_row = || peers.row(peer).map(|row| (row.incarnation, row.version)) == spent.row;
        let stands = now < spent.until && (spent.row.is_none() || same_row());
        stands.then(|| (spent.why, spent.until.saturating_duration_since(now)))
    }

    /// Peers that refused because they no longer hold what was asked for may be asked for less.
    pub(crate) fn forgive_behind(&mut self) {
        self.spent.retain(|_, spent| spent.why != NotAsked::Refused(RefuseReason::Behind));
    }
}

impl Tree {
    /// Ends a session in which nothing is left open. The parent is told on the stream alone, so that it does not hear
    /// of the end before it hears that it need not keep anything.
    pub(crate) fn part_from(&mut self, parent: PeerId, ticket: u64) {
        self.push(Output::Close { parent, ticket, owed: false });
    }

    /// Parts from the parent, or from the one that was given up: there are never both.
    pub(crate) fn part_from_parent(&mut self) {
        let session = self.upstream.parent.take().map(|parent| (parent.peer, parent.ticket));
        if let Some((parent, ticket)) = session.or_else(|| self.upstream.given_up.take()) {
            self.part_from(parent, ticket);
        }
    }

    /// Ends the session with a former parent, which keeps for a while what those here have not consumed.
    pub(crate) fn close_parent(&mut self, cx: &Context<'_>, parent: &Parent, reason: DetachReason) {
        self.push(Output::Close { parent: parent.peer, ticket: parent.ticket, owed: true });
        if cx.links.linked(&parent.peer) {
            self.send(parent.peer, Message::Detach { ticket: parent.ticket, reason });
        }
    }

    /// Ends the session with a parent that was silent, if it is this peer; by default whoever it is.
    pub(crate) fn close_given_up(&mut self, peer: Option<PeerId>) {
        let matches = |(given_up, _): &mut (PeerId, u64)| peer.is_none_or(|peer| peer == *given_up);
        if let Some((parent, ticket)) = self.upstream.given_up.take_if(matches) {
            self.push(Output::Close { parent, ticket, owed: true });
        }
    }

    /// Ends the session with the parent and looks for another at once. The children stay.
    pub(crate) fn lose_parent(&mut self, now: Instant, cx: &mut Context<'_>, detach: DetachReason, why: MoveReason) {
        let Some(parent) = self.upstream.parent.take() else {
            return;
        };
        if detach != DetachReason::Silent {
            self.close_parent(cx, &parent, detach);
        }
        self.event(Event::Detached { parent: parent.peer, reason: detach });
        self.upstream.lost = Some(parent.peer);
        match detach {
            DetachReason::Forged => {}
            DetachReason::LinkDown => self.upstream.spend(now, parent.peer, BROKEN_FOR, NotAsked::Lost(detach)),
            // Not asked while it is silent, and an ordinary peer once it is heard.
            DetachReason::Silent => self.upstream.given_up = Some((parent.peer, parent.ticket)),
            _ => self.upstream.spend_row(now, cx.peers, parent.peer, BROKEN_FOR, NotAsked::Lost(detach)),
        }
        self.seek(now, cx, why);
    }

    pub(crate) fn on_upstream_gone(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId, reason: DetachReason) {
        if self.parent() == Some(peer) {
            self.lose_parent(now, cx, reason, MoveReason::ParentLost);
        } else if reason != DetachReason::Silent {
            self.close_given_up(Some(peer));
        }
        if self.upstream.attempt.as_ref().and_then(|attempt| attempt.phase.peer()) == Some(peer) {
            self.fail_target(now, cx);
        }
    }

    pub(crate) fn on_link_up(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        let forgiven = |spent: &Spent| {
            let misbehaved = matches!(spent.why, NotAsked::Lied | NotAsked::Lost(DetachReason::Withheld));
            spent.row.is_none() && !misbehaved
        };
        if self.upstream.spent.get(&peer).is_some_and(forgiven) {
            self.upstream.spent.remove(&peer);
        }
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Connecting { peer: wanted, .. }) if *wanted == peer => self.ask(now, cx, peer),
            Some(Phase::Waiting { .. }) if cx.peers.live(&peer).is_some() => self.wake_attempt(now, cx),
            _ => {}
        }
    }

    pub(crate) fn on_silent(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        let Some(parent) = self.upstream.parent.as_mut().filter(|parent| parent.peer == peer) else {
            return;
        };
        parent.silent = true;
        if self.doubts() {
            self.cancel_attempt(cx);
        }
        if self.leaving.is_none() {
            self.seek(now, cx, MoveReason::ParentSilent);
        }
    }

    pub(crate) fn on_heard(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        let Some(parent) = self.upstream.parent.as_mut().filter(|parent| parent.peer == peer) else {
            return self.on_link_up(now, cx, peer);
        };
        parent.silent = false;
        let shed = parent.shed;
        if self.upstream.attempt.as_ref().is_some_and(|attempt| attempt.reason == MoveReason::ParentSilent) {
            self.cancel_attempt(cx);
            if shed {
                self.seek(now, cx, MoveReason::Shed);
            }
        }
    }

    pub(crate) fn on_parent_closed(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId, ticket: u64) {
        if self.is_session(peer, ticket) {
            self.lose_parent(now, cx, DetachReason::StreamClosed, MoveReason::ParentLost);
        } else if self.is_opening(peer, ticket) {
            self.fail_target(now, cx);
        }
    }

    /// A peer was found to lie. What it is to this node ends.
    pub(crate) fn on_lied(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        self.upstream.spend(now, peer, LIED_FOR, NotAsked::Lied);
        self.on_backup_lost(now, peer);
        self.on_upstream_gone(now, cx, peer, DetachReason::Forged);
    }

    pub(crate) fn on_detach(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        from: PeerId,
        ticket: u64,
        reason: DetachReason,
    ) {
        if self.children.get(&from).is_some_and(|child| child.ticket == ticket) {
            self.end_child(cx, from, reason, false);
        } else if self.is_session(from, ticket) {
            self.lose_parent(now, cx, reason, MoveReason::ParentLost);
        } else if self.is_opening(from, ticket) {
            self.fail_target(now, cx);
        }
    }

    fn is_session(&self, peer: PeerId, ticket: u64) -> bool {
        self.upstream.parent.as_ref().is_some_and(|parent| parent.peer == peer && parent.ticket == ticket)
    }

    pub(crate) fn on_shed(&mut self, now: Instant, cx: &mut Context<'_>, from: PeerId, try_instead: Vec<PeerId>) {
        let Some(parent) = self.upstream.parent.as_mut().filter(|parent| parent.peer == from) else {
            return;
        };
        parent.shed = true;
        if self.leaving.is_none() {
            self.seek_among(now, cx, MoveReason::Shed, try_instead);
        }
    }

    pub(crate) fn on_path(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        from: PeerId,
        path: Vec<PeerId>,
        source: Source,
        siblings: Vec<PeerId>,
    ) {
        // A parent that follows another publication ends the session by itself.
        if self.source != Some(source) {
            return;
        }
        let looped = path.contains(&self.me);
        let attached = path.first() == Some(&source.origin);
        let too_deep = attached && path.len() > usize::from(self.config.max_depth);
        if let Some(parent) = self.upstream.parent.as_mut().filter(|parent| parent.peer == from) {
            if looped {
                self.lose_parent(now, cx, DetachReason::Loop, MoveReason::Loop);
            } else if too_deep {
                self.lose_parent(now, cx, DetachReason::TooDeep, MoveReason::TooDeep);
            } else {
                if attached {
                    self.upstream.last_depth = u8::try_from(path.len()).ok();
                }
                (parent.path, parent.siblings) = (path, siblings);
            }
        } else if let Some(opening) = self.opening_mut().filter(|opening| opening.peer == from) {
            (opening.path, opening.siblings) = (path, siblings);
            if looped || too_deep || !attached {
                self.fail_target(now, cx);
            }
        }
    }

    pub(crate) fn on_pulse(&mut self, now: Instant, from: PeerId, age: OriginAge) {
        if self.parent() == Some(from) {
            self.age.get_or_insert(age).merge(now, age);
        } else if let Some(opening) = self.opening_mut().filter(|opening| opening.peer == from) {
            opening.age.merge(now, age);
        }
    }

    /// Tells the parent how many levels there are below.
    pub(crate) fn tell_parent(&mut self) {
        let height = self.height();
        if let Some(peer) = self.parent().filter(|_| self.upstream.told_height != height) {
            self.upstream.told_height = height;
            self.send(peer, Message::Height { height });
        }
    }

    /// Whether this node wants a parent.
    pub(crate) fn may_seek(&self) -> bool {
        self.part == Part::Member && self.leaving.is_none()
    }
}
