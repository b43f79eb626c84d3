//! Which publication of the track is followed.

use std::time::Instant;

use crate::{
    Context, DetachReason, Event, MoveReason, Source, Tree, choice, machine::Part, source::OriginAge,
    upstream::Upstream, volunteer::Summons,
};

impl Tree {
    /// Follows the greatest publication that a live peer offers. One that is still heard of is not
    /// given up for a smaller one because the table thinks its origin dead.
    pub(crate) fn follow_source(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(best) = choice::greatest_source(cx.peers, &self.track, self.me) else {
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
        let attempt = self.upstream.attempt.take();
        self.upstream = Upstream { attempt, ..Default::default() };
        self.backups.list.clear();
        self.summons = Summons::default();
        self.ring = None;
        self.age = None;
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
