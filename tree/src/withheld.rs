//! A parent that is there, and brings nothing.
//!
//! A parent that pulses and answers, but keeps what it should pass on, cannot be told from one that has nothing to pass
//! on by looking at it alone. So when nothing has come for longer than usual, somebody else is opened beside it, on trial.
//! If that one brings something new and the parent does not bring it within [`GRACE`], the parent has withheld it: it is
//! given up, named, and not asked again for long. If nothing new comes, there was nothing to bring, and the next
//! trial waits twice as long.
//!
//! Nodes further down wait longer, so that whoever is fed by the one at fault finds it out first, and nobody accuses
//! the innocent in between. A trial takes a slot for a moment, and that is news for the whole mesh: after
//! [`TRIALS`] in a row that were in vain there are few, and the fewer the larger the mesh is.

use std::time::{Duration, Instant};

use crate::{Context, DetachReason, Event, MoveReason, State, Tree, upstream::NotAsked};

/// How long a parent may take to bring what another brought.
const GRACE: Duration = Duration::from_millis(300);
/// How long a trial waits for something new.
const TRIAL: Duration = Duration::from_secs(1);
/// What nobody is blamed for: pauses of this length, and so much more for each level.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_OF_LEVEL: Duration = Duration::from_millis(250);
/// Pauses are usual if they are no longer than so many of those before.
const USUAL: u32 = 4;
/// Longest pause that counts as usual.
const USUAL_MAX: Duration = Duration::from_secs(60);
/// Trials in vain after which there are few.
const TRIALS: u32 = 4;
/// Between those: for each live peer, and at least.
const RARE_OF_PEER: Duration = Duration::from_secs(4);
const RARE: Duration = Duration::from_secs(60);
/// How long a parent that withheld something is not asked.
const SHUNNED: Duration = Duration::from_secs(600);

/// What is known of the pauses.
#[derive(Debug)]
pub(crate) struct Pauses {
    /// When something came last, or the parent was taken.
    since: Instant,
    /// The longest pause lately.
    usual: Duration,
    /// Trials since then, all in vain, and when the last one ended.
    vain: u32,
    tried: Instant,
    /// When the parent is doubted.
    pub(crate) at: Option<Instant>,
}

impl Pauses {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { since: now, usual: Duration::ZERO, vain: 0, tried: now, at: None }
    }
}

impl Tree {
    /// What the ring holds has changed.
    pub(crate) fn on_ring(&mut self, now: Instant, oldest: u64, next: u64) {
        if self.ring.map_or(0, |(_, known)| known) != next {
            let pause = now.saturating_duration_since(self.pauses.since);
            self.pauses.usual = pause.max(self.pauses.usual.mul_f64(0.9)).min(USUAL_MAX);
            self.begin_pause(now);
        }
        self.ring = (next > 0).then_some((oldest, next));
    }

    /// Something came, or there is another parent.
    pub(crate) const fn begin_pause(&mut self, now: Instant) {
        (self.pauses.since, self.pauses.vain, self.pauses.at) = (now, 0, None);
    }

    /// Called after every step: settles when the parent is doubted.
    pub(crate) fn watch_pause(&mut self, cx: &Context<'_>) {
        let fed = self.upstream.parent.as_ref().is_some_and(|parent| !parent.silent && !parent.shed);
        if !self.config.doubts
            || !fed
            || self.upstream.attempt.is_some()
            || !self.may_seek()
            || self.state != State::Attached
        {
            self.pauses.at = None;
        } else if self.pauses.at.is_none() {
            let depth = u32::from(self.upstream.last_depth.unwrap_or(0));
            let usual = (PAUSE + PAUSE_OF_LEVEL * depth).max((USUAL * self.pauses.usual).min(USUAL_MAX));
            let patience = match self.pauses.vain {
                vain if vain < TRIALS => usual * (1 << vain),
                _ => RARE.max(RARE_OF_PEER * u32::try_from(cx.peers.len()).unwrap_or(u32::MAX)),
            };
            self.pauses.at = Some(match self.pauses.vain {
                0 => self.pauses.since + patience,
                // Those that wait together do not ask together.
                _ => self.pauses.tried + patience + patience.mul_f64(self.rng.f64() / 2.0),
            });
        }
    }

    pub(crate) fn on_pause_timeout(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.pauses.at.is_some_and(|at| at <= now) {
            self.pauses.at = None;
            self.seek(now, cx, MoveReason::Withheld);
        }
    }

    /// Whether somebody is tried beside a parent that brings nothing: then it matters what each brings.
    #[must_use]
    pub fn on_trial(&self) -> bool {
        self.doubts() && self.opening().is_some_and(|opening| opening.trial.is_some())
    }

    /// Whether the search is one for somebody who may bring what the parent does not.
    pub(crate) fn doubts(&self) -> bool {
        self.upstream.attempt.as_ref().is_some_and(|attempt| attempt.reason == MoveReason::Withheld)
    }

    /// Whoever was asked feeds this node beside its parent.
    pub(crate) fn begin_trial(&mut self, now: Instant) {
        let known = self.ring.map_or(0, |(_, next)| next);
        if let Some(opening) = self.opening_mut() {
            (opening.trial, opening.deadline, opening.known) = (Some(now), now + TRIAL, known);
        }
    }

    /// The stream of a ticket has brought objects up to `next`.
    pub(crate) fn on_brought(&mut self, now: Instant, cx: &Context<'_>, ticket: u64, next: u64) {
        let of_parent = self.upstream.parent.as_ref().is_some_and(|parent| parent.ticket == ticket);
        let Some(opening) = self.opening_mut().filter(|opening| opening.trial.is_some() && next > opening.known) else {
            return;
        };
        if opening.ticket == ticket && !opening.brings {
            (opening.brings, opening.deadline) = (true, now + GRACE);
        } else if of_parent && self.doubts() {
            self.end_doubt(now, cx);
        }
    }

    /// The time of the trial is up.
    pub(crate) fn judge_parent(&mut self, now: Instant, cx: &mut Context<'_>) {
        if !self.opening().is_some_and(|opening| opening.brings) {
            return self.end_doubt(now, cx);
        }
        if let Some(parent) = self.parent() {
            self.event(Event::Detached { parent, reason: DetachReason::Withheld });
            self.upstream.spend(now, parent, SHUNNED, NotAsked::Lost(DetachReason::Withheld));
        }
        self.adopt_parent(now, cx);
    }

    /// There was nothing to bring, or nobody to ask.
    pub(crate) fn end_doubt(&mut self, now: Instant, cx: &Context<'_>) {
        self.cancel_attempt(cx);
        self.pauses.vain = self.pauses.vain.saturating_add(1);
        self.pauses.tried = now;
    }
}
