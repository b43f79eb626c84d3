//! Whom a search asks next: those who were named, then those drawn from the table.

use std::time::Instant;

use banyan_gossip::{PeerId, Role, Row, TrackEntry};

use crate::{
    Context, DetachReason, Event, MoveReason, Source, StuckReason, Tree,
    attempt::Phase,
    choice::{self, Chain, Query, Standing, Survey},
};

/// What is sought; see [`Query`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) source: Source,
    pub(crate) repair: bool,
    pub(crate) deepest: u8,
    pub(crate) avoid: Option<PeerId>,
    pub(crate) desperate: bool,
}

/// Candidates drawn from the table at a time.
const DRAWN: usize = 8;
/// Most candidates asked for a move that merely improves.
const MOVE_TRIES: u32 = 3;
/// Searches for a place for the whole subtree before it is shortened; about a second with the
/// usual backoff.
const TOO_TALL_AFTER: u32 = 3;

impl Tree {
    /// Whether a parent was lost, or is about to be: then slots kept for repairs may be taken.
    pub(crate) fn is_repair(&self, reason: MoveReason) -> bool {
        let lost = self.upstream.parent.is_none() && self.upstream.lost.is_some();
        lost || matches!(reason, MoveReason::ParentSilent | MoveReason::ParentGone | MoveReason::Shed)
    }

    /// Asks the next candidate, or waits.
    pub(crate) fn next_try(&mut self, now: Instant, cx: &mut Context<'_>) {
        loop {
            let Some(attempt) = self.upstream.attempt.as_ref() else {
                return;
            };
            let only_better = matches!(attempt.reason, MoveReason::MovedUp | MoveReason::Withheld);
            if attempt.burst >= if only_better { MOVE_TRIES } else { self.config.burst } {
                let reason = attempt.last_failure.unwrap_or(StuckReason::Unreachable);
                return self.rest(now, cx, reason);
            }
            let reason = match self.pick(now, cx) {
                Ok(peer) => return self.approach(now, cx, peer),
                Err(reason) => reason,
            };
            let Some(attempt) = self.upstream.attempt.as_mut() else {
                return;
            };
            if !attempt.behind || attempt.any_object || only_better {
                return self.rest(now, cx, reason);
            }
            // Nobody holds what this node needs: the best that is left is to go on with a gap.
            attempt.any_object = true;
            self.upstream.forgive_behind();
        }
    }

    /// Nobody can be asked now.
    fn rest(&mut self, now: Instant, cx: &mut Context<'_>, reason: StuckReason) {
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        if attempt.reason == MoveReason::MovedUp {
            self.upstream.attempt = None;
            return;
        }
        if attempt.reason == MoveReason::Withheld {
            return self.end_doubt(now, cx);
        }
        let (first, longest) = self.config.backoff;
        let full = first.saturating_mul(1 << self.upstream.failures.min(10)).min(longest);
        // Half fixed, half drawn: those who wait together do not come back together.
        let wait = full / 2 + full.mul_f64(self.rng.f64()) / 2;
        attempt.phase = Phase::Waiting { until: now + wait };
        attempt.drawn.clear();
        self.want_volunteer(now, reason);
        self.upstream.failures = self.upstream.failures.saturating_add(1);
        if self.upstream.parent.is_none() && self.upstream.stuck != Some(reason) {
            self.upstream.stuck = Some(reason);
            self.event(Event::Stuck { reason });
        }
        if reason == StuckReason::DepthLimit && self.upstream.failures >= TOO_TALL_AFTER {
            self.shorten(cx);
        }
    }

    /// No place is left for a subtree of this height: its deepest branches go their own way.
    fn shorten(&mut self, cx: &mut Context<'_>) {
        let height = self.height();
        if self.upstream.parent.is_some() || height == 0 {
            return;
        }
        let deepest = self.children.iter().filter(|(_, child)| child.height.saturating_add(1) == height);
        for peer in deepest.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.end_child(cx, peer, DetachReason::TooDeep, true);
        }
    }

    fn pick(&mut self, now: Instant, cx: &Context<'_>) -> Result<PeerId, StuckReason> {
        while let Some(peer) = self.next_hint(cx) {
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
            let own = self.own_slot(now, cx, &survey);
            let knock = own.or_else(|| self.may_displace(now, cx, &survey));
            return knock.ok_or_else(|| self.why_nobody(cx, &survey));
        }
        let peer = survey.drawn.remove(0);
        if let Some(attempt) = self.upstream.attempt.as_mut() {
            attempt.drawn = survey.drawn.into();
        }
        Ok(peer)
    }

    /// In a repair those that are linked come first: a dial takes longer than several questions.
    fn next_hint(&mut self, cx: &Context<'_>) -> Option<PeerId> {
        let repair = self.is_repair(self.upstream.attempt.as_ref()?.reason);
        let hints = &mut self.upstream.attempt.as_mut()?.hints;
        let warm = hints.iter().position(|peer| repair && cx.links.linked(peer));
        hints.remove(warm.unwrap_or(0))
    }

    /// The parent that was given up for its silence and is heard again, whose row counts this node's slot as taken.
    fn own_slot(&self, now: Instant, cx: &Context<'_>, survey: &Survey) -> Option<PeerId> {
        let (peer, _) = self.upstream.given_up?;
        (survey.origin_live && self.standing(now, cx, peer) == Standing::Open).then_some(peer)
    }

    /// When every slot is taken, one who feeds others may still be let in instead of one who cannot:
    /// the origin knows, or names those who may.
    fn may_displace(&self, now: Instant, cx: &Context<'_>, survey: &Survey) -> Option<PeerId> {
        let feeds = cx.slots.capacity() > 0 || !self.children.is_empty();
        let only_better = self.upstream.attempt.as_ref()?.reason == MoveReason::MovedUp;
        let origin = self.source?.origin;
        let open = origin != self.me && self.standing(now, cx, origin) == Standing::Open;
        let all_full = survey.attached && !(survey.used_up || survey.too_deep || survey.below);
        (feeds && open && !only_better && survey.origin_live && all_full).then_some(origin)
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

    pub(crate) fn standing(&self, now: Instant, cx: &Context<'_>, peer: PeerId) -> Standing {
        if self.children.contains_key(&peer) {
            Standing::Below
        } else if self.parent() == Some(peer) || self.upstream.is_spent(now, cx.peers, &peer) || cx.links.silent(&peer)
        {
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
        // Whose row says nothing of the track may have come to it after the row.
        let entry = row.tracks.get(&self.track);
        let depth = entry.and_then(|entry| entry.depth).unwrap_or(0);
        let fits = usize::from(depth) + 1 + usize::from(self.height()) <= usize::from(self.config.max_depth);
        let takes = |entry: &TrackEntry| entry.role == Role::Member || entry.free > 0 || row.free > 0;
        let hosts = row.capacity > 0 && entry.is_none_or(takes);
        let wish = Wish { source, repair: true, deepest: u8::MAX, avoid: None, desperate: true };
        let chain = self.with_query(now, cx, wish, |query| choice::chain(query, peer));
        fits && hosts && depth <= attempt.deepest && chain != Chain::Below
    }

    fn why_nobody(&self, cx: &Context<'_>, survey: &Survey) -> StuckReason {
        let attempt = self.upstream.attempt.as_ref();
        if !survey.origin_live && self.is_source_forbidden(cx) {
            StuckReason::OriginForbidden
        } else if !survey.origin_live {
            StuckReason::NoOrigin
        } else if !survey.attached {
            StuckReason::NobodyAttached
        } else if survey.used_up {
            attempt.and_then(|attempt| attempt.last_failure).unwrap_or(StuckReason::Unreachable)
        } else if survey.too_deep {
            StuckReason::DepthLimit
        } else if survey.below {
            StuckReason::OnlyDescendants
        } else {
            StuckReason::AllFull
        }
    }
}
