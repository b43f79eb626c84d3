//! The parent's side: one step from a request to a reserved slot or a refusal.

use std::time::Instant;

use banyan_gossip::PeerId;

use crate::{
    Context, DetachReason, Message, RefuseReason, Right, Source, Tree,
    attempt::Phase,
    children::{Child, Stage},
    machine::Part,
    message::{PATH_MAX, TRY_INSTEAD_MAX},
};

/// What a `Join` says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Join {
    pub(crate) request: u64,
    pub(crate) source: Option<Source>,
    pub(crate) height: u8,
    pub(crate) need: Option<u64>,
    pub(crate) repair: bool,
}

impl Tree {
    pub(crate) fn on_join(&mut self, now: Instant, cx: &mut Context<'_>, from: PeerId, join: Join) {
        // Whoever asks anew has given up its former session here (B11).
        self.end_child(cx, from, DetachReason::Superseded, false);
        let verdict = self.judge(now, cx, from, &join);
        let mut taken = verdict.and_then(|source| if cx.slots.take() { Ok(source) } else { Err(RefuseReason::Full) });
        if taken == Err(RefuseReason::Full)
            && let Some(source) = self.source
            && self.displace(cx, from, &join)
            && cx.slots.take()
        {
            taken = Ok(source);
        }
        match taken {
            Ok(source) => self.accept(now, from, &join, source),
            Err(reason) => {
                let try_instead = match reason {
                    RefuseReason::Full | RefuseReason::Leaving => self.try_instead(cx, from),
                    _ => Vec::new(),
                };
                self.send(from, Message::Refuse { request: join.request, reason, try_instead });
            }
        }
    }

    /// Whoever feeds others goes before whoever cannot: otherwise leaves that offer nothing could take
    /// every slot in reach, and those who would feed the rest stay outside with their own. A child
    /// without capacity goes, told to ask the newcomer; it displaces nobody in turn, so this ends.
    fn displace(&mut self, cx: &mut Context<'_>, newcomer: PeerId, join: &Join) -> bool {
        let offers = |peer: &PeerId| cx.peers.live(peer).is_some_and(|row| row.capacity > 0);
        if join.height == 0 && !offers(&newcomer) {
            return false;
        }
        let known = |peer: &PeerId| cx.peers.live(peer).is_some();
        let useless = |(peer, child): &(&PeerId, &Child)| {
            child.is_open() && child.height == 0 && child.shed.is_none() && known(peer) && !offers(peer)
        };
        let Some(leaf) = self.children.iter().find(useless).map(|(peer, _)| *peer) else {
            return false;
        };
        self.send(leaf, Message::Shed { try_instead: vec![newcomer] });
        self.end_child(cx, leaf, DetachReason::Shed, true);
        true
    }

    /// Decides everything but the slot itself.
    fn judge(&self, now: Instant, cx: &Context<'_>, from: PeerId, join: &Join) -> Result<Source, RefuseReason> {
        let source = self.source.filter(|_| self.part != Part::Idle).ok_or(RefuseReason::NotHere)?;
        if self.leaving.is_some() {
            return Err(RefuseReason::Leaving);
        }
        if !self.allows(cx, Right::Subscribe, &from) {
            return Err(RefuseReason::Forbidden);
        }
        if join.source > Some(source) {
            return Err(RefuseReason::OldSource);
        }
        let depth = self.root_path().len();
        if from == self.me || self.root_path().contains(&from) {
            return Err(RefuseReason::Ancestor);
        }
        if !self.is_attached() || !self.is_fresh(now) {
            return Err(RefuseReason::Detached);
        }
        self.judge_crossing(from)?;
        if depth + 1 + usize::from(join.height) > usize::from(self.config.max_depth).min(PATH_MAX) {
            return Err(RefuseReason::TooDeep);
        }
        let oldest = self.ring.map(|(oldest, _)| oldest);
        // Ids of another publication mean nothing here.
        let behind = match (join.need.filter(|_| join.source == Some(source)), oldest) {
            (None, _) => false,
            // A relay that has not received anything yet will begin where its own parent lets it.
            (Some(_), None) => self.part == Part::Member,
            (Some(need), Some(oldest)) => need < oldest,
        };
        if behind {
            return Err(RefuseReason::Behind);
        }
        if self.free_slots(cx, join.repair) == 0 { Err(RefuseReason::Full) } else { Ok(source) }
    }

    /// Two nodes must not move below each other at once. While the other's answer is awaited the
    /// lower id refuses; once it has accepted, it is as good as an ancestor.
    fn judge_crossing(&self, from: PeerId) -> Result<(), RefuseReason> {
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Asked { peer, .. }) if *peer == from && self.me < from => Err(RefuseReason::Crossing),
            Some(Phase::Opening(opening)) if opening.path.contains(&from) => Err(RefuseReason::Ancestor),
            _ => Ok(()),
        }
    }

    /// Slots of this track that a join could take now.
    pub(crate) fn free_slots(&self, cx: &Context<'_>, repair: bool) -> u16 {
        let free = if repair { cx.slots.free() } else { cx.slots.free_for_joins(self.config.repair_slots) };
        match self.part {
            Part::Idle => 0,
            Part::Member => free,
            Part::Origin { .. } => {
                let children = u16::try_from(self.children.len()).unwrap_or(u16::MAX);
                free.min(self.config.root_slots.saturating_sub(children))
            }
        }
    }

    fn accept(&mut self, now: Instant, from: PeerId, join: &Join, source: Source) {
        let ticket = self.rng.u64(1..);
        let stage = Stage::Reserved { until: now + self.config.reserve };
        let height = join.height;
        let backups = self.siblings_of(from);
        self.children.insert(from, Child { ticket, height, stage, shed: None });
        let message = Message::Accept {
            request: join.request,
            ticket,
            path: self.path_of_children(),
            source,
            origin_age_ms: self.origin_age_ms(now),
            backups,
            settings: self.config.settings,
        };
        self.send(from, message);
    }

    /// Whom else a peer may ask: children that are attached, rather those with free slots by their
    /// rows; for a node that leaves, whoever else it knows.
    pub(crate) fn try_instead(&mut self, cx: &Context<'_>, from: PeerId) -> Vec<PeerId> {
        if self.leaving.is_some() {
            let parent = self.upstream.parent.as_ref().map(|parent| parent.peer);
            let known = parent.into_iter().filter(|_| !self.is_origin()).chain(self.backups.list.iter().copied());
            return known.filter(|peer| *peer != from).take(TRY_INSTEAD_MAX).collect();
        }
        let mut ranked: Vec<(u8, u32, PeerId)> = Vec::new();
        for (peer, child) in self.children.iter().filter(|(peer, child)| **peer != from && child.shed.is_none()) {
            let entry = cx.peers.live(peer).and_then(|row| Some((row.free, row.tracks.get(&self.track)?)));
            let has_room = entry.is_none_or(|(free, entry)| free.min(entry.free) > 0);
            let rank = u8::from(!has_room) * 2 + u8::from(!child.is_open());
            ranked.push((rank, self.rng.u32(..), *peer));
        }
        ranked.sort_unstable();
        ranked.into_iter().take(TRY_INSTEAD_MAX).map(|(.., peer)| peer).collect()
    }

    /// A few other children, for a child to fall back on.
    pub(crate) fn siblings_of(&mut self, child: PeerId) -> Vec<PeerId> {
        let others = self.children.iter().filter(|(peer, other)| **peer != child && other.is_open());
        let mut others: Vec<PeerId> = others.map(|(peer, _)| *peer).collect();
        self.rng.shuffle(&mut others);
        others.truncate(usize::from(self.config.settings.backups).min(TRY_INSTEAD_MAX));
        others
    }
}
