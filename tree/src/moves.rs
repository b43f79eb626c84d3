//! Upkeep of a node that is attached: backups, better places, a parent that the table calls dead, a
//! fragment that finds no parent.
//!
//! All moves are make-before-break. Hysteresis: a gain of two levels at once, of one level only if it
//! lasts, and a pause after each move; so nobody flaps.

use std::time::{Duration, Instant};

use banyan_gossip::table::Status;

use crate::{Context, MoveReason, Source, State, Tree, choice, machine::Part, pick::Wish};

/// When to look for what.
#[derive(Debug)]
pub(crate) struct Moves {
    upkeep_at: Option<Instant>,
    last_upkeep: Option<Instant>,
    /// No move for a better place before then.
    not_before: Instant,
    /// Since when a move could gain one level, and when it is made.
    one_level: Option<Instant>,
    /// When a table that says that the parent is gone is believed.
    parent_gone: Option<Instant>,
    /// When a stalled node looks for a parent by itself.
    stalled: Option<Instant>,
}

/// How long the table must say that the parent is gone: rows may lag behind its acceptance.
const PARENT_GONE_PATIENCE: Duration = Duration::from_secs(1);

impl Moves {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { upkeep_at: None, last_upkeep: None, not_before: now, one_level: None, parent_gone: None, stalled: None }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.upkeep_at.into_iter().chain(self.stalled).min()
    }
}

impl Tree {
    /// Something changed: look after backups and better places soon.
    pub(crate) fn wake_upkeep(&mut self, now: Instant) {
        let pause = self.config.upkeep_pause;
        let earliest = self.moves.last_upkeep.map_or(now, |last| last + pause).max(now);
        if self.moves.upkeep_at.is_none_or(|at| at > earliest + pause) {
            // Those who saw the same change do not all act at the same instant.
            self.moves.upkeep_at = Some(earliest + pause.mul_f64(self.rng.f64() / 4.0));
        }
    }

    /// This node has a (new) parent.
    pub(crate) fn on_moved(&mut self, now: Instant, reason: MoveReason) {
        if reason == MoveReason::MovedUp {
            self.moves.not_before = now + self.config.move_pause;
        }
        self.moves.one_level = None;
        self.moves.parent_gone = None;
        // Backups at once: the new parent may be the next to go.
        self.moves.upkeep_at = Some(now);
    }

    pub(crate) fn on_moves_timeout(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.moves.upkeep_at.is_some_and(|at| at <= now) {
            self.moves.upkeep_at = None;
            self.moves.last_upkeep = Some(now);
            self.upkeep(now, cx);
        }
        if self.moves.stalled.is_some_and(|at| at <= now) {
            self.moves.stalled = Some(now + self.patience(self.config.stalled_patience));
            if self.upstream.attempt.is_none() && self.upstream.parent.is_some() {
                self.seek(now, cx, MoveReason::Stalled);
            }
        }
    }

    fn upkeep(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.part != Part::Member || self.leaving.is_some() || self.upstream.parent.is_none() {
            return;
        }
        self.refresh_backups(now, cx);
        self.doubt_parent(now, cx);
        if self.upstream.attempt.is_none() && self.is_attached() && self.is_fresh(now) {
            self.consider_moving_up(now, cx);
        }
    }

    /// The link is the better witness, but a table that insists is right: this node looks for
    /// another parent while it keeps the one it has.
    fn doubt_parent(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(parent) = self.parent() else {
            return;
        };
        let unlisted = || cx.peers.live(&parent).is_some_and(|row| !row.tracks.contains_key(&self.track));
        let gone = matches!(cx.peers.status(&parent), Some(Status::Dead | Status::Left)) || unlisted();
        let doubting = self.upstream.attempt.as_ref().is_some_and(|attempt| attempt.reason == MoveReason::ParentGone);
        match (gone, self.moves.parent_gone) {
            (false, _) => {
                self.moves.parent_gone = None;
                if doubting {
                    self.cancel_attempt(cx);
                }
            }
            (true, None) => {
                let at = now + PARENT_GONE_PATIENCE;
                self.moves.parent_gone = Some(at);
                self.wake_upkeep_at(at);
            }
            (true, Some(at)) if at <= now => {
                if self.upstream.attempt.is_none() {
                    self.seek(now, cx, MoveReason::ParentGone);
                }
            }
            (true, Some(at)) => self.wake_upkeep_at(at),
        }
    }

    fn consider_moving_up(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some((source, depth)) = self.source.zip(self.upstream.last_depth) else {
            return;
        };
        if now < self.moves.not_before {
            return self.wake_upkeep_at(self.moves.not_before);
        }
        // A new parent at `depth - 1 - gain` gains that many levels.
        let gaining = |gain: u8| depth.checked_sub(gain.saturating_add(1));
        if let Some(deepest) =
            gaining(self.config.move_gain).filter(|deepest| self.has_place(now, cx, source, *deepest))
        {
            self.moves.one_level = None;
            return self.begin_attempt(now, cx, MoveReason::MovedUp, deepest, Vec::new());
        }
        let Some(deepest) = gaining(1).filter(|deepest| self.has_place(now, cx, source, *deepest)) else {
            self.moves.one_level = None;
            return;
        };
        let at = match self.moves.one_level {
            Some(at) => at,
            None => now + self.patience(self.config.one_level_patience),
        };
        self.moves.one_level = Some(at);
        if at <= now {
            self.moves.one_level = None;
            self.begin_attempt(now, cx, MoveReason::MovedUp, deepest, Vec::new());
        } else {
            self.wake_upkeep_at(at);
        }
    }

    fn has_place(&self, now: Instant, cx: &Context<'_>, source: Source, deepest: u8) -> bool {
        let wish = Wish { source, repair: false, deepest, avoid: None, desperate: false };
        let mut rng = self.rng.clone();
        let ask = |query: &choice::Query<'_>| choice::survey(query, 1, &mut rng);
        !self.with_query(now, cx, wish, ask).drawn.is_empty()
    }

    /// Called after every step: a fragment whose top finds no parent is given up in the end.
    pub(crate) fn watch_stall(&mut self, now: Instant, cx: &Context<'_>) {
        let waits = self.part == Part::Member && self.leaving.is_none() && self.upstream.parent.is_some();
        let whole = self.state() == State::Attached && self.is_attached();
        if !waits || whole {
            self.moves.stalled = None;
            if whole && self.upstream.attempt.as_ref().is_some_and(|attempt| attempt.reason == MoveReason::Stalled) {
                self.cancel_attempt(cx);
            }
        } else if self.moves.stalled.is_none() {
            self.moves.stalled = Some(now + self.patience(self.config.stalled_patience));
        }
    }

    fn wake_upkeep_at(&mut self, at: Instant) {
        self.moves.upkeep_at = Some(self.moves.upkeep_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Between one and one and a half times the period.
    fn patience(&mut self, period: Duration) -> Duration {
        period + period.mul_f64(self.rng.f64() / 2.0)
    }
}
