//! Which publication of the track is followed.

use std::{sync::Arc, time::Instant};

use banyan_gossip::PeerId;

use crate::{
    Context, DetachReason, Event, MoveReason, Right, Rules, Source, Tree, choice, machine::Part, source::OriginAge,
    upstream::Upstream, volunteer::Summons,
};

impl Tree {
    /// Follows the greatest publication that a live peer offers who may. One that is still heard of is not
    /// given up for a smaller one because the table thinks its origin dead.
    pub(crate) fn follow_source(&mut self, now: Instant, cx: &mut Context<'_>) {
        let counts = |origin: &PeerId| *origin != self.me && self.allows(cx, Right::Publish, origin);
        let Some(best) = choice::greatest_source(cx.peers, &self.track, counts) else {
            return;
        };
        let follow = self.source.is_none_or(|current| {
            let gone = || !choice::is_published(cx.peers, &self.track, current) && !self.is_fresh(now);
            best > current || (best < current && gone())
        });
        if follow {
            self.adopt_source(now, cx, best, false);
        }
    }

    pub(crate) fn adopt_source(&mut self, now: Instant, cx: &mut Context<'_>, source: Source, keep_attempt: bool) {
        let first = self.source.is_none();
        self.abandon_source(cx, keep_attempt);
        self.source = Some(source);
        self.event(Event::OriginChanged { origin: source.origin, epoch: source.epoch });
        if !keep_attempt {
            self.seek(now, cx, if first { MoveReason::Joined } else { MoveReason::OriginChanged });
        }
    }

    /// Ends everything that belongs to the publication followed so far.
    pub(crate) fn abandon_source(&mut self, cx: &mut Context<'_>, keep_attempt: bool) {
        self.end_all_children(cx, DetachReason::OriginChanged);
        if !keep_attempt {
            self.cancel_attempt(cx);
        }
        if let Some(parent) = self.upstream.parent.take() {
            self.close_parent(cx, &parent, DetachReason::OriginChanged);
            self.event(Event::Detached { parent: parent.peer, reason: DetachReason::OriginChanged });
        }
        self.close_given_up(None);
        let attempt = self.upstream.attempt.take();
        self.upstream = Upstream { attempt, ..Default::default() };
        self.backups.list.clear();
        self.summons = Summons::default();
        self.ring = None;
        self.age = None;
    }

    /// Whether there are publications, and none that may be followed.
    pub(crate) fn is_source_forbidden(&self, cx: &Context<'_>) -> bool {
        let offered = |counts: &dyn Fn(&PeerId) -> bool| {
            choice::greatest_source(cx.peers, &self.track, |origin| *origin != self.me && counts(origin)).is_some()
        };
        offered(&|_| true) && !offered(&|origin| self.allows(cx, Right::Publish, origin))
    }

    /// Other rules hold: what they forbid ends.
    pub(crate) fn on_rules(&mut self, now: Instant, cx: &mut Context<'_>, rules: Arc<Rules>) {
        self.config.rules = rules;
        let forbidden = |child: &&PeerId| !self.allows(cx, Right::Subscribe, child);
        for child in self.children.keys().filter(forbidden).copied().collect::<Vec<_>>() {
            self.end_child(cx, child, DetachReason::Forbidden, true);
        }
        let other = self.source.filter(|source| source.origin != self.me);
        if other.is_some_and(|source| !self.allows(cx, Right::Publish, &source.origin)) {
            self.abandon_source(cx, false);
            self.source = None;
            self.look(now, cx);
            if self.upstream.attempt.is_none() {
                self.seek(now, cx, MoveReason::OriginChanged);
            }
        }
    }

    /// This node publishes the track: it follows itself.
    pub(crate) fn on_publish(&mut self, now: Instant, cx: &mut Context<'_>, epoch: u64) {
        let source = Source { epoch, origin: self.me };
        if !(self.is_origin() && self.source == Some(source)) {
            self.abandon_source(cx, false);
            self.source = Some(source);
            self.event(Event::OriginChanged { origin: self.me, epoch });
        }
        self.leaving = None;
        self.volunteer = false;
        self.part = Part::Origin { ended: false };
        self.age = Some(OriginAge::from_ms(now, 0));
    }
}
