//! One search for a parent: choose, connect, ask, open; next, if that fails.
//!
//! One request is outstanding at a time. The former parent, if it is still there, is given up only
//! when the stream of the new one works (A8).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, Role, Row};

use crate::{
    Context, DetachReason, Event, LinkSettings, Message, MoveReason, Output, RefuseReason, Source, StuckReason, Tree,
    choice::{self, Chain, Query, Standing, Survey},
    source::OriginAge,
    upstream::Parent,
};

/// A search for a parent.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) reason: MoveReason,
    pub(crate) phase: Phase,
    started: Instant,
    tries: u32,
    /// Tries since the last wait.
    burst: u32,
    /// Whom to ask first: who was named by others, backups.
    hints: VecDeque<PeerId>,
    /// Whom to ask then: drawn from the table.
    drawn: VecDeque<PeerId>,
    /// Greatest depth that the new parent may have.
    pub(crate) deepest: u8,
    /// Somebody no longer held what this node needs.
    behind: bool,
    /// Nobody held it: whatever comes will do, the gap is reported.
    any_object: bool,
    /// Why the last candidate could not be had.
    last_failure: Option<StuckReason>,
    /// Height that the peer being asked was told.
    told_height: u8,
}

/// How far a search has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nobody can be asked.
    Waiting { until: Instant },
    /// A link is awaited.
    Connecting { peer: PeerId, until: Instant },
    /// An answer is awaited.
    Asked { peer: PeerId, request: u64, until: Instant },
    /// A slot is reserved, the data stream is being opened.
    Opening(Box<Opening>),
}

/// The session-to-be with a parent that has accepted.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) peer: PeerId,
    pub(crate) ticket: u64,
    pub(crate) path: Vec<PeerId>,
    pub(crate) source: Source,
    pub(crate) age: OriginAge,
    pub(crate) siblings: Vec<PeerId>,
    pub(crate) settings: LinkSettings,
    pub(crate) deadline: Instant,
}

/// Candidates drawn from the table at a time.
const DRAWN: usize = 8;
/// Most hints kept.
const HINTS_MAX: usize = 16;
/// Most requests whose late answers are still welcome.
const LATE_MAX: usize = 4;
/// How long a peer that moves below this node is left alone.
const CROSSING_FOR: Duration = Duration::from_millis(500);
/// Most candidates asked for a move that merely improves.
const MOVE_TRIES: u32 = 3;
/// What a link without a measured round-trip time is granted.
const RTT_GRANT: Duration = Duration::from_millis(100);

/// What is sought; see [`Query`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) source: Source,
    pub(crate) repair: bool,
    pub(crate) deepest: u8,
    pub(crate) avoid: Option<PeerId>,
    pub(crate) desperate: bool,
}

/// Whether an answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Now,
    /// No more, but it is still welcome.
    Late,
    Not,
}

impl Phase {
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Self::Waiting { until } | Self::Connecting { until, .. } | Self::Asked { until, .. } => *until,
            Self::Opening(opening) => opening.deadline,
        }
    }

    /// Who is being asked.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Waiting { .. } => None,
            Self::Connecting { peer, .. } | Self::Asked { peer, .. } => Some(*peer),
            Self::Opening(opening) => Some(opening.peer),
        }
    }
}

impl Tree {
    // --- Begin and end -----------------------------------------------------------------------

    /// Looks for a parent, or goes on looking for a new reason.
    pub(crate) fn seek(&mut self, now: Instant, cx: &mut Context<'_>, reason: MoveReason) {
        self.seek_among(now, cx, reason, Vec::new());
    }

    /// As [`Tree::seek`], and asks these first.
    pub(crate) fn seek_among(&mut self, now: Instant, cx: &mut Context<'_>, reason: MoveReason, hints: Vec<PeerId>) {
        self.begin_attempt(now, cx, reason, u8::MAX, hints);
    }

    pub(crate) fn begin_attempt(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        reason: MoveReason,
        deepest: u8,
        mut hints: Vec<PeerId>,
    ) {
        if !self.may_seek() {
            return;
        }
        if self.is_repair(reason) {
            hints.extend(self.ranked_backups(cx));
        }
        hints.truncate(HINTS_MAX);
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            self.upstream.attempt = Some(Attempt {
                reason,
                phase: Phase::Waiting { until: now },
                started: now,
                tries: 0,
                burst: 0,
                hints: hints.into(),
                drawn: VecDeque::new(),
                deepest,
                behind: false,
                any_object: false,
                last_failure: None,
                told_height: 0,
            });
            return self.next_try(now, cx);
        };
        // A silent parent that is lost then: the search began with the silence.
        if attempt.reason != MoveReason::ParentSilent {
            attempt.started = now;
        }
        (attempt.reason, attempt.deepest, attempt.hints) = (reason, deepest, hints.into());
        attempt.drawn.clear();
        attempt.burst = 0;
        match &mut attempt.phase {
            Phase::Waiting { .. } => self.next_try(now, cx),
            Phase::Asked { until, .. } => *until = (*until).min(now + self.config.repair_timeout + RTT_GRANT),
            Phase::Connecting { .. } | Phase::Opening(_) => {}
        }
    }

    /// Gives a search up. What was promised to this node meanwhile is given back.
    pub(crate) fn cancel_attempt(&mut self, cx: &Context<'_>) {
        self.upstream.late.clear();
        if let Some(Attempt { phase: Phase::Opening(opening), .. }) = self.upstream.attempt.take() {
            self.give_back(cx, &opening);
        }
    }

    fn give_back(&mut self, cx: &Context<'_>, opening: &Opening) {
        self.push(Output::Close { parent: opening.peer, ticket: opening.ticket });
        self.decline(cx, opening, DetachReason::Cancelled);
    }

    fn decline(&mut self, cx: &Context<'_>, opening: &Opening, reason: DetachReason) {
        if cx.links.linked(&opening.peer) {
            self.send(opening.peer, Message::Detach { ticket: opening.ticket, reason });
        }
    }

    pub(crate) fn opening_mut(&mut self) -> Option<&mut Opening> {
        match self.upstream.attempt.as_mut().map(|attempt| &mut attempt.phase) {
            Some(Phase::Opening(opening)) => Some(opening),
            _ => None,
        }
    }

    pub(crate) fn is_opening(&self, peer: PeerId, ticket: u64) -> bool {
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Opening(opening)) => opening.peer == peer && opening.ticket == ticket,
            _ => false,
        }
    }

    // --- Choose ------------------------------------------------------------------------------

    /// Whether a parent was lost, or is about to be: then slots kept for repairs may be taken.
    fn is_repair(&self, reason: MoveReason) -> bool {
        let lost = self.upstream.parent.is_none() && self.upstream.lost.is_some();
        lost || matches!(reason, MoveReason::ParentSilent | MoveReason::ParentGone | MoveReason::Shed)
    }

    /// Asks the next candidate, or waits.
    pub(crate) fn next_try(&mut self, now: Instant, cx: &mut Context<'_>) {
        loop {
            let Some(attempt) = self.upstream.attempt.as_ref() else {
                return;
            };
            let only_better = attempt.reason == MoveReason::MovedUp;
            if attempt.burst >= if only_better { MOVE_TRIES } else { self.config.burst } {
                return self.rest(now, attempt.last_failure.unwrap_or(StuckReason::Unreachable));
            }
            let reason = match self.pick(now, cx) {
                Ok(peer) => return self.approach(now, cx, peer),
                Err(reason) => reason,
            };
            let Some(attempt) = self.upstream.attempt.as_mut() else {
                return;
            };
            if !attempt.behind || attempt.any_object || only_better {
                return self.rest(now, reason);
            }
            // Nobody holds what this node needs: the best that is left is to go on with a gap.
            attempt.any_object = true;
            self.upstream.forgive_behind();
        }
    }

    /// Nobody can be asked now.
    fn rest(&mut self, now: Instant, reason: StuckReason) {
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        if attempt.reason == MoveReason::MovedUp {
            self.upstream.attempt = None;
            return;
        }
        let (first, longest) = self.config.backoff;
        let full = first.saturating_mul(1 << self.upstream.failures.min(10)).min(longest);
        // Half fixed, half drawn: those who wait together do not come back together.
        let wait = full / 2 + full.mul_f64(self.rng.f64()) / 2;
        attempt.phase = Phase::Waiting { until: now + wait };
        attempt.drawn.clear();
        self.upstream.failures = self.upstream.failures.saturating_add(1);
        if self.upstream.parent.is_none() && self.upstream.stuck != Some(reason) {
            self.upstream.stuck = Some(reason);
            self.event(Event::Stuck { reason });
        }
    }

    fn pick(&mut self, now: Instant, cx: &Context<'_>) -> Result<PeerId, StuckReason> {
        while let Some(peer) = self.upstream.attempt.as_mut().and_then(|attempt| attempt.hints.pop_front()) {
            if self.may_ask(now, cx, peer) {
                return Ok(peer);
            }
        }
        while let Some(peer) = self.upstream.attempt.as_mut().and_then(|attempt| attempt.drawn.pop_front()) {
            if self.may_ask(now, cx, peer) {
                return Ok(peer);
            }
        }
        let mut survey = self.survey(now, cx);
        if survey.drawn.is_empty() {
            return Err(self.why_nobody(&survey));
        }
        let peer = survey.drawn.remove(0);
        if let Some(attempt) = self.upstream.attempt.as_mut() {
            attempt.drawn = survey.drawn.into();
        }
        Ok(peer)
    }

    fn survey(&mut self, now: Instant, cx: &Context<'_>) -> Survey {
        let (Some(source), Some(attempt)) = (self.source, self.upstream.attempt.as_ref()) else {
            return Survey::default();
        };
        let only_better = attempt.reason == MoveReason::MovedUp;
        let wish = Wish {
            source,
            repair: self.is_repair(attempt.reason),
            deepest: attempt.deepest,
            avoid: if only_better { None } else { self.parent().or(self.upstream.lost) },
            desperate: !only_better,
        };
        let mut rng = self.rng.fork();
        let survey = self.with_query(now, cx, wish, |query| choice::survey(query, DRAWN, &mut rng));
        // Nobody feeds anybody once the origin is gone.
        if survey.origin_live { survey } else { Survey::default() }
    }

    pub(crate) fn with_query<T>(
        &self,
        now: Instant,
        cx: &Context<'_>,
        wish: Wish,
        ask: impl FnOnce(&Query<'_>) -> T,
    ) -> T {
        let standing = |row: &Row| self.standing(now, cx, row.peer);
        ask(&Query {
            me: self.me,
            track: &self.track,
            config: &self.config,
            peers: cx.peers,
            links: cx.links,
            height: self.height(),
            source: wish.source,
            deepest: wish.deepest,
            repair: wish.repair,
            avoid: wish.avoid,
            desperate: wish.desperate,
            standing: &standing,
        })
    }

    fn standing(&self, now: Instant, cx: &Context<'_>, peer: PeerId) -> Standing {
        if self.children.contains_key(&peer) {
            Standing::Below
        } else if self.parent() == Some(peer) || self.upstream.is_spent(now, cx.peers, &peer) {
            Standing::UsedUp
        } else {
            Standing::Open
        }
    }

    /// Whether somebody named by others is worth a question. They may know more than the table.
    fn may_ask(&self, now: Instant, cx: &Context<'_>, peer: PeerId) -> bool {
        let Some((source, attempt)) = self.source.zip(self.upstream.attempt.as_ref()) else {
            return false;
        };
        if peer == self.me || self.standing(now, cx, peer) != Standing::Open || self.upstream.lost == Some(peer) {
            return false;
        }
        let Some(row) = cx.peers.live(&peer) else {
            return cx.links.linked(&peer);
        };
        let Some(entry) = row.tracks.get(&self.track) else {
            return false;
        };
        let depth = entry.depth.unwrap_or(0);
        let fits = usize::from(depth) + 1 + usize::from(self.height()) <= usize::from(self.config.max_depth);
        let hosts = row.capacity > 0 && (entry.role == Role::Member || entry.free > 0 || row.free > 0);
        let wish = Wish { source, repair: true, deepest: u8::MAX, avoid: None, desperate: true };
        let chain = self.with_query(now, cx, wish, |query| choice::chain(query, peer));
        fits && hosts && depth <= attempt.deepest && chain != Chain::Below
    }

    fn why_nobody(&self, survey: &Survey) -> StuckReason {
        let attempt = self.upstream.attempt.as_ref();
        if !survey.origin_live {
            StuckReason::NoOrigin
        } else if survey.attached == 0 {
            StuckReason::NobodyAttached
        } else if survey.used_up > 0 {
            attempt.and_then(|attempt| attempt.last_failure).unwrap_or(StuckReason::Unreachable)
        } else if survey.too_deep > 0 {
            StuckReason::DepthLimit
        } else if survey.below > 0 {
            StuckReason::OnlyDescendants
        } else {
            StuckReason::AllFull
        }
    }

    // --- Connect, ask ------------------------------------------------------------------------

    fn approach(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        attempt.burst += 1;
        if cx.links.linked(&peer) {
            return self.ask(now, cx, peer);
        }
        attempt.phase = Phase::Connecting { peer, until: now + self.config.connect_timeout };
        self.push(Output::Connect { peer });
    }

    pub(crate) fn ask(&mut self, now: Instant, cx: &Context<'_>, peer: PeerId) {
        let height = self.height();
        let need = self.ring.map(|(_, next)| next);
        let (source, request) = (self.source, self.rng.u64(1..));
        let Some(reason) = self.upstream.attempt.as_ref().map(|attempt| attempt.reason) else {
            return;
        };
        let repair = self.is_repair(reason);
        let rtt = cx.links.rtt(&peer).unwrap_or(RTT_GRANT);
        let patience = if repair { self.config.repair_timeout + rtt } else { self.config.join_timeout };
        self.upstream.late.retain(|(asked, _)| *asked != peer);
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        attempt.tries += 1;
        attempt.told_height = height;
        attempt.phase = Phase::Asked { peer, request, until: now + patience };
        let need = if attempt.any_object { None } else { need };
        self.send(peer, Message::Join { request, source, height, need, repair });
    }

    /// The peer being asked cannot be the parent now.
    pub(crate) fn fail_target(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        let phase = std::mem::replace(&mut attempt.phase, Phase::Waiting { until: now });
        if let Phase::Asked { peer, request, .. } = phase {
            self.upstream.late.push_back((peer, request));
            if self.upstream.late.len() > LATE_MAX {
                self.upstream.late.pop_front();
            }
        }
        if let Some(peer) = phase.peer() {
            attempt.last_failure = Some(StuckReason::Unreachable);
            self.upstream.spend(now, peer, self.config.refused_for);
        }
        if let Phase::Opening(opening) = phase {
            self.give_back(cx, &opening);
        }
        self.next_try(now, cx);
    }

    pub(crate) fn on_connect_failed(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Connecting { peer: wanted, .. }) if *wanted == peer => self.fail_target(now, cx),
            _ => {}
        }
    }

    pub(crate) fn on_attempt_timeout(&mut self, now: Instant, cx: &mut Context<'_>) {
        match self.upstream.attempt.as_mut() {
            Some(attempt) if attempt.phase.deadline() <= now => match attempt.phase {
                Phase::Waiting { .. } => self.wake_attempt(now, cx),
                _ => self.fail_target(now, cx),
            },
            _ => {}
        }
    }

    /// Whoever waits looks again.
    pub(crate) fn wake_attempt(&mut self, now: Instant, cx: &mut Context<'_>) {
        if let Some(attempt) = self.upstream.attempt.as_mut().filter(|a| matches!(a.phase, Phase::Waiting { .. })) {
            attempt.burst = 0;
            self.next_try(now, cx);
        }
    }

    // --- The answer --------------------------------------------------------------------------

    pub(crate) fn on_refuse(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        from: PeerId,
        request: u64,
        reason: RefuseReason,
        try_instead: Vec<PeerId>,
    ) {
        self.upstream.late.retain(|(peer, late)| (*peer, *late) != (from, request));
        let asked = matches!(self.upstream.attempt.as_ref().map(|attempt| &attempt.phase),
            Some(Phase::Asked { peer, request: asked, .. }) if *peer == from && *asked == request);
        let Some(attempt) = self.upstream.attempt.as_mut().filter(|_| asked) else {
            return;
        };
        attempt.last_failure = Some(match reason {
            // The rows just do not say so yet.
            RefuseReason::Full => StuckReason::AllFull,
            reason => StuckReason::Refused(reason),
        });
        attempt.behind |= reason == RefuseReason::Behind;
        for peer in try_instead.into_iter().rev() {
            attempt.hints.push_front(peer);
        }
        attempt.hints.truncate(HINTS_MAX);
        attempt.phase = Phase::Waiting { until: now };
        let period = if reason == RefuseReason::Crossing { CROSSING_FOR } else { self.config.refused_for };
        self.upstream.spend_row(now, cx.peers, from, period, reason == RefuseReason::Behind);
        self.next_try(now, cx);
    }

    pub(crate) fn on_accept(&mut self, now: Instant, cx: &mut Context<'_>, request: u64, opening: Opening) {
        let expected = self.expects(opening.peer, request);
        if expected == Expected::Not || self.parent() == Some(opening.peer) {
            return self.decline(cx, &opening, DetachReason::Cancelled);
        }
        let fits = opening.path.len() + usize::from(self.height()) <= usize::from(self.config.max_depth);
        let refused = match self.source {
            _ if opening.path.contains(&self.me) => Some(DetachReason::Loop),
            _ if !fits => Some(DetachReason::TooDeep),
            Some(source) if opening.source < source => Some(DetachReason::OriginChanged),
            _ => None,
        };
        if let Some(reason) = refused {
            self.decline(cx, &opening, reason);
            self.upstream.spend_row(now, cx.peers, opening.peer, self.config.refused_for, false);
            if expected == Expected::Now {
                self.resume(now, cx);
            }
            return;
        }
        if self.source != Some(opening.source) {
            self.adopt_source(now, cx, opening.source, true);
        }
        let Source { epoch, origin } = opening.source;
        let (parent, ticket, settings) = (opening.peer, opening.ticket, opening.settings);
        if let Some(attempt) = self.upstream.attempt.as_mut() {
            attempt.phase = Phase::Opening(Box::new(opening));
            self.push(Output::Open { parent, ticket, epoch, origin, settings });
        }
    }

    /// Whether this is the answer awaited, or one that is late but still welcome.
    fn expects(&mut self, from: PeerId, request: u64) -> Expected {
        let late = self.upstream.late.iter().position(|late| *late == (from, request));
        if let Some(index) = late {
            self.upstream.late.remove(index);
        }
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            None | Some(Phase::Opening(_)) => Expected::Not,
            Some(Phase::Asked { peer, request: asked, .. }) if *peer == from && *asked == request => Expected::Now,
            Some(_) if late.is_some() => Expected::Late,
            Some(_) => Expected::Not,
        }
    }

    /// Goes on after an answer that cannot be used.
    fn resume(&mut self, now: Instant, cx: &mut Context<'_>) {
        if let Some(attempt) = self.upstream.attempt.as_mut() {
            attempt.phase = Phase::Waiting { until: now };
            self.next_try(now, cx);
        }
    }

    pub(crate) fn on_parent_opened(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId, ticket: u64) {
        if !self.is_opening(peer, ticket) {
            return;
        }
        let Some(attempt) = self.upstream.attempt.take() else {
            return;
        };
        let Phase::Opening(opening) = attempt.phase else {
            return;
        };
        let fits = opening.path.len() + usize::from(self.height()) <= usize::from(self.config.max_depth);
        if !fits {
            self.upstream.attempt = Some(Attempt { phase: Phase::Opening(opening), ..attempt });
            return self.fail_target(now, cx);
        }
        let former = self.upstream.parent.take();
        if let Some(former) = &former {
            self.close_parent(cx, former, DetachReason::Moved);
        }
        // It came back as somebody who feeds this node, whatever it was before.
        self.end_child(cx, peer, DetachReason::Superseded, false);
        let depth = u8::try_from(opening.path.len()).unwrap_or(u8::MAX);
        self.age.get_or_insert(opening.age).merge(now, opening.age);
        self.upstream.parent = Some(Parent {
            peer,
            ticket,
            path: opening.path,
            siblings: opening.siblings,
            settings: opening.settings,
            silent: false,
            shed: false,
        });
        self.upstream.last_depth = Some(depth);
        self.upstream.told_height = attempt.told_height;
        (self.upstream.lost, self.upstream.stuck, self.upstream.failures) = (None, None, 0);
        self.upstream.late.clear();
        self.on_moved(now, attempt.reason);
        self.event(Event::Attached {
            parent: peer,
            from: former.map(|parent| parent.peer),
            depth,
            reason: attempt.reason,
            tries: attempt.tries,
            took: now.saturating_duration_since(attempt.started),
        });
    }
}
