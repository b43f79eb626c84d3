//! Volunteers: nodes that relay a track which they do not follow, as long as somebody needs them.
//!
//! The seeker: when every slot among those who follow the track is taken, it asks one member that has
//! slots to spare, and after a while another. Of two drawn at random the one with more slots is asked
//! (the power of two choices). Nobody announces that it asks; that many seekers do not summon as many
//! volunteers is left to chance in time: each waits a random while first, and the row of a volunteer
//! says within moments that there is room.
//!
//! The volunteer: it takes part like any other member. As it feeds others, a leaf without capacity
//! makes room for it. It leaves when it had nothing to do for [`Config::volunteer_patience`](crate::Config).

use std::time::{Duration, Instant};

use banyan_gossip::{PeerId, RelayPolicy, Row};

use crate::{
    Context, Message, MoveReason, Output, StuckReason, Tree, Unwilling,
    choice::{SAMPLES, Standing},
    machine::Part,
    upstream::NotAsked,
};

/// Free slots that a volunteer must have: it takes one itself.
pub const VOLUNTEER_SLOTS_MIN: u16 = 2;

/// The search for a volunteer. Forgotten when this node is fed.
#[derive(Debug, Default)]
pub(crate) struct Summons {
    /// When the next one is asked.
    pub(crate) at: Option<Instant>,
    /// Who is being asked, or linked with to be asked.
    pub(crate) asked: Option<PeerId>,
    /// Whether the link to it is awaited.
    connecting: bool,
    /// How many were asked; sets the backoff.
    count: u32,
}

impl Tree {
    // --- The seeker --------------------------------------------------------------------------

    /// A search found nobody to ask, for this reason.
    pub(crate) fn want_volunteer(&mut self, now: Instant, reason: StuckReason) {
        if reason != StuckReason::AllFull || self.volunteer {
            self.summons.at = None;
        } else if self.summons.at.is_none() {
            self.summons.at = Some(now + self.summon_wait(self.summons.count));
        }
    }

    /// Mostly drawn, so that those who wait together do not ask together.
    fn summon_wait(&mut self, count: u32) -> Duration {
        let (first, longest) = self.config.summon_backoff;
        let full = first.saturating_mul(1 << count.min(10)).min(longest);
        full / 4 + full.mul_f64(self.rng.f64()) * 3 / 4
    }

    /// Whether a search goes on because this node is fed by nobody, or will not be for long.
    fn is_starving(&self) -> bool {
        let seeks = self.upstream.attempt.as_ref().is_some_and(|attempt| attempt.reason != MoveReason::MovedUp);
        seeks && self.upstream.parent.as_ref().is_none_or(|parent| parent.shed)
    }

    pub(crate) fn on_volunteer_timeout(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.summons.at.is_some_and(|at| at <= now) {
            self.summons.at = None;
            if self.is_starving() {
                self.summon(now, cx);
            }
        }
        if self.idle_until.is_some_and(|at| at <= now) {
            self.begin_leaving(now, cx);
        }
    }

    fn summon(&mut self, now: Instant, cx: &Context<'_>) {
        self.summons.count += 1;
        self.summons.at = Some(now + self.summon_wait(self.summons.count));
        self.summons.asked = self.draw_volunteer(now, cx);
        let Some(peer) = self.summons.asked else {
            return;
        };
        self.summons.connecting = !cx.links.linked(&peer);
        if self.summons.connecting {
            self.push(Output::Connect { peer });
        } else {
            self.send_summon(peer);
        }
    }

    fn send_summon(&mut self, peer: PeerId) {
        if let Some(source) = self.source {
            self.send(peer, Message::Summon { source });
        }
    }

    /// Those that are always willing come first.
    fn draw_volunteer(&mut self, now: Instant, cx: &Context<'_>) -> Option<PeerId> {
        let mut rng = self.rng.fork();
        let fits = |row: &&Row| {
            row.peer != self.me
                && row.relay != RelayPolicy::Never
                && row.believed_free() >= VOLUNTEER_SLOTS_MIN
                && !row.tracks.contains_key(&self.track)
                && self.standing(now, cx, row.peer) == Standing::Open
        };
        let drawn: Vec<&Row> = (0..SAMPLES).filter_map(|_| cx.peers.sample_live(&mut rng)).filter(fits).collect();
        let most = drawn.iter().map(|row| row.relay).max()?;
        let two = drawn.into_iter().filter(|row| row.relay == most).take(2);
        two.max_by_key(|row| row.believed_free()).map(|row| row.peer)
    }

    pub(crate) fn on_volunteer_linked(&mut self, peer: PeerId) {
        if self.summons.asked == Some(peer) && std::mem::take(&mut self.summons.connecting) {
            self.send_summon(peer);
        }
    }

    pub(crate) fn on_summoned(&mut self, now: Instant, from: PeerId, refused: Option<Unwilling>) {
        if refused.is_some() {
            self.on_summons_failed(now, from);
        }
    }

    /// Somebody else is asked soon.
    pub(crate) fn on_summons_failed(&mut self, now: Instant, peer: PeerId) {
        if self.summons.asked == Some(peer) {
            (self.summons.asked, self.summons.connecting) = (None, false);
            self.upstream.spend(now, peer, self.config.refused_for, NotAsked::Unwilling);
            let soon = now + self.summon_wait(0);
            self.summons.at = self.summons.at.map(|at| at.min(soon));
        }
    }

    // --- The volunteer -----------------------------------------------------------------------

    /// This node has a part in the track; whether there is room its row says.
    pub(crate) fn on_summon(&mut self, from: PeerId) {
        let coming = self.volunteer && self.leaving.is_none();
        let refused = if coming { None } else { Some(Unwilling::Inside) };
        self.send(from, Message::Summoned { refused });
    }

    /// A volunteer without children goes after a while, and so does one that has nothing to give.
    pub(crate) fn watch_need(&mut self, now: Instant) {
        let idle = self.children.is_empty() || !self.is_attached();
        let watched = self.volunteer && self.part == Part::Member && self.leaving.is_none() && idle;
        self.idle_until = watched.then(|| self.idle_until.unwrap_or(now + self.config.volunteer_patience));
    }
}
