//! Giving a track up without leaving anybody behind.

use std::time::Instant;

use banyan_gossip::PeerId;

use crate::{Context, DetachReason, Message, Tree, children::Shed, machine::Part};

impl Tree {
    /// Hands the children over, then leaves. An origin has nobody to hand them to.
    pub(crate) fn begin_leaving(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.leaving.is_some() {
            return;
        }
        let until = now + self.config.leave_patience;
        self.leaving = Some(until);
        self.cancel_attempt(cx);
        let unopened = self.children.iter().filter(|(_, child)| !child.is_open()).map(|(peer, _)| *peer);
        for peer in unopened.collect::<Vec<_>>() {
            self.end_child(cx, peer, DetachReason::Leaving, true);
        }
        if self.part != Part::Member {
            return self.finish_leaving(cx);
        }
        for peer in self.children.keys().copied().collect::<Vec<PeerId>>() {
            let try_instead = self.try_instead(cx, peer);
            if let Some(child) = self.children.get_mut(&peer) {
                let counted = child.shed.is_some_and(|shed| shed.counted);
                child.shed = Some(Shed { until, counted });
            }
            self.send(peer, Message::Shed { try_instead });
        }
        self.leave_when_alone(now, cx);
    }

    /// Called after every step: leaves once the last child is gone or patience is over.
    pub(crate) fn leave_when_alone(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.leaving.is_some_and(|until| self.children.is_empty() || until <= now) {
            self.finish_leaving(cx);
        }
    }

    fn finish_leaving(&mut self, cx: &mut Context<'_>) {
        let reason = if self.is_origin() { DetachReason::OriginLeft } else { DetachReason::Leaving };
        let alone = self.children.is_empty();
        self.end_all_children(cx, reason);
        self.cancel_attempt(cx);
        if alone {
            self.part_from_parent();
        }
        if let Some(parent) = self.upstream.parent.take() {
            self.close_parent(cx, &parent, DetachReason::Leaving);
        }
        self.close_given_up(None);
        self.part = Part::Idle;
        self.left = true;
    }
}
