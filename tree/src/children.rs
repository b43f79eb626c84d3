//! The children of a node, and how their sessions end.

use std::time::Instant;

use banyan_gossip::PeerId;

use crate::{Context, DetachReason, Event, Message, Output, Tree};

/// One child, or a slot reserved for one.
#[derive(Debug)]
pub(crate) struct Child {
    /// Names the session.
    pub(crate) ticket: u64,
    /// Levels below the child.
    pub(crate) height: u8,
    pub(crate) stage: Stage,
    pub(crate) shed: Option<Shed>,
}

/// How far a child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A slot is kept for it until then.
    Reserved { until: Instant },
    /// Its data stream is open.
    Open,
}

/// The child was told to go elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shed {
    /// When it is dropped.
    pub(crate) until: Instant,
    /// Whether the slot pool counts it: so it is if capacity was lowered.
    pub(crate) counted: bool,
}

impl Child {
    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let reserved = match self.stage {
            Stage::Reserved { until } => Some(until),
            Stage::Open => None,
        };
        reserved.into_iter().chain(self.shed.map(|shed| shed.until)).min()
    }
}

impl Tree {
    /// Levels below this node. Reservations count: their subtrees are as good as here.
    pub(crate) fn height(&self) -> u8 {
        self.children.values().map(|child| child.height.saturating_add(1)).max().unwrap_or(0)
    }

    /// Ends a child's session or reservation and gives its slot back.
    pub(crate) fn end_child(&mut self, cx: &mut Context<'_>, peer: PeerId, reason: DetachReason, tell: bool) {
        let Some(child) = self.children.remove(&peer) else {
            return;
        };
        cx.slots.release();
        if child.shed.is_some_and(|shed| shed.counted) {
            cx.slots.unshed();
        }
        if tell && cx.links.linked(&peer) {
            self.send(peer, Message::Detach { ticket: child.ticket, reason });
        }
        if child.is_open() {
            // Also when the stream is said to be closed: the child may have said so, and this end lives.
            self.push(Output::Drop { child: peer, ticket: child.ticket });
            self.event(Event::ChildLeft { child: peer, reason });
        }
    }

    pub(crate) fn end_all_children(&mut self, cx: &mut Context<'_>, reason: DetachReason) {
        for peer in self.children.keys().copied().collect::<Vec<_>>() {
            self.end_child(cx, peer, reason, true);
        }
    }

    pub(crate) fn on_child_opened(&mut self, now: Instant, peer: PeerId, ticket: u64) {
        let Some(child) = self.children.get_mut(&peer).filter(|child| child.ticket == ticket) else {
            self.push(Output::Reject { child: peer, ticket });
            return;
        };
        if child.is_open() {
            return;
        }
        child.stage = Stage::Open;
        self.next_pulse.get_or_insert(now);
        self.push(Output::Serve { child: peer, ticket });
        self.event(Event::ChildJoined { child: peer });
    }

    pub(crate) fn on_child_closed(&mut self, cx: &mut Context<'_>, peer: PeerId, ticket: u64) {
        if self.children.get(&peer).is_some_and(|child| child.ticket == ticket) {
            self.end_child(cx, peer, DetachReason::StreamClosed, true);
        }
    }

    /// Drops reservations that were not used and children that did not go.
    pub(crate) fn expire_children(&mut self, now: Instant, cx: &mut Context<'_>) {
        let due = self.children.iter().filter(|(_, child)| child.deadline().is_some_and(|at| at <= now));
        for (peer, open) in due.map(|(peer, child)| (*peer, child.is_open())).collect::<Vec<_>>() {
            let reason = if open { DetachReason::Shed } else { DetachReason::Cancelled };
            self.end_child(cx, peer, reason, true);
        }
    }

    /// Sheds children while capacity is lower than what is used, or takes that back (A4).
    pub(crate) fn on_capacity_changed(&mut self, now: Instant, cx: &mut Context<'_>) {
        let mut kept: Vec<(u8, PeerId)> =
            self.children.iter().filter(|(_, child)| child.shed.is_none()).map(|(peer, c)| (c.height, *peer)).collect();
        // The smallest subtrees go first: they disturb the fewest.
        kept.sort_unstable();
        let overflow = usize::from(cx.slots.overflow());
        for (_, peer) in kept.into_iter().take(overflow) {
            self.shed_child(now, cx, peer);
        }
        let shedding = self.children.iter_mut().filter(|(_, child)| child.shed.is_some_and(|shed| shed.counted));
        for (_, child) in shedding.take(usize::from(cx.slots.reprieve())) {
            child.shed = None;
            cx.slots.unshed();
        }
    }

    fn shed_child(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        let try_instead = self.try_instead(cx, peer);
        let shed = Shed { until: now + self.config.shed_patience, counted: true };
        let Some(child) = self.children.get_mut(&peer) else {
            return;
        };
        if !child.is_open() {
            self.end_child(cx, peer, DetachReason::Shed, true);
            return;
        }
        child.shed = Some(shed);
        cx.slots.shed();
        self.send(peer, Message::Shed { try_instead });
    }
}
