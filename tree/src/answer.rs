//! What the peer that was asked says, and what becomes of it.

use std::time::{Duration, Instant};

use banyan_gossip::PeerId;

use crate::{
    Context, DetachReason, Event, MoveReason, Output, RefuseReason, Right, Source, StuckReason, Tree,
    attempt::{Attempt, HINTS_MAX, Opening, Phase},
    upstream::{NotAsked, Parent},
    volunteer::Summons,
};

/// Whether an answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Now,
    /// No more, but it is still welcome.
    Late,
    Not,
}

/// How long a peer is left alone that moves below this node, or whose rules forbid it: it may just not know yet what
/// this node says of itself.
const MOMENT: Duration = Duration::from_millis(500);

impl Tree {
    pub(crate) fn on_refuse(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        from: PeerId,
        request: u64,
        reason: RefuseReason,
        try_instead: Vec<PeerId>,
    ) {
        let period = match reason {
            RefuseReason::Crossing | RefuseReason::Forbidden => MOMENT,
            _ => self.config.refused_for,
        };
        let expected = self.expects(from, request);
        if expected != Expected::Not {
            self.upstream.spend_row(now, cx.peers, from, period, NotAsked::Refused(reason));
        }
        let Some(attempt) = self.upstream.attempt.as_mut().filter(|_| expected == Expected::Now) else {
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
            _ if !self.allows(cx, Right::Publish, &opening.source.origin) => Some(DetachReason::Forbidden),
            Some(source) if opening.source < source => Some(DetachReason::OriginChanged),
            _ => None,
        };
        if let Some(reason) = refused {
            self.decline(cx, &opening, reason);
            let why = NotAsked::Unusable(reason);
            self.upstream.spend_row(now, cx.peers, opening.peer, self.config.refused_for, why);
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
        let depth = u8::try_from(opening.path.len()).unwrap_or(u8::MAX);
        if let Some(attempt) = self.upstream.attempt.as_mut() {
            attempt.phase = Phase::Opening(Box::new(opening));
            self.push(Output::Open { parent, ticket, epoch, origin, depth, settings });
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
        let silent = self.upstream.attempt.as_ref().is_some_and(|attempt| attempt.reason == MoveReason::ParentSilent)
            && self.upstream.parent.is_some();
        if self.doubts() && self.upstream.parent.is_some() {
            return self.begin_trial(now);
        }
        let deadline = now + self.config.open_timeout;
        match self.opening_mut() {
            // Its silence may be that of a busy machine: it is heard again, or lost, within moments.
            Some(opening) if silent => {
                (opening.trial, opening.deadline) = (Some(now), deadline);
            }
            _ => self.adopt_parent(now, cx),
        }
    }

    /// Makes the peer whose stream works the parent; the former one is given up.
    pub(crate) fn adopt_parent(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(attempt) = self.upstream.attempt.take() else {
            return;
        };
        let Phase::Opening(opening) = attempt.phase else {
            self.upstream.attempt = Some(attempt);
            return;
        };
        let peer = opening.peer;
        let fits = opening.path.len() + usize::from(self.height()) <= usize::from(self.config.max_depth);
        if !fits {
            self.upstream.attempt = Some(Attempt { phase: Phase::Opening(opening), ..attempt });
            return self.fail_target(now, cx);
        }
        let former = self.parent();
        self.part_from_parent();
        // It came back as somebody who feeds this node, whatever it was before.
        self.end_child(cx, peer, DetachReason::Superseded, false);
        let depth = u8::try_from(opening.path.len()).unwrap_or(u8::MAX);
        self.age.get_or_insert(opening.age).merge(now, opening.age);
        self.upstream.parent = Some(Parent {
            peer,
            ticket: opening.ticket,
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
        self.summons = Summons::default();
        self.begin_pause(now);
        self.on_moved(now, attempt.reason);
        self.event(Event::Attached {
            parent: peer,
            from: former,
            depth,
            reason: attempt.reason,
            tries: attempt.tries,
            took: opening.trial.unwrap_or(now).saturating_duration_since(attempt.started),
        });
    }
}
