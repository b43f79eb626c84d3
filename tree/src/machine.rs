//! The machine of one track: what it holds, what it is told, what it shows.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, TrackEntry, TrackName};

use crate::{
    Config, Context, DetachReason, Event, Input, Message, MoveReason, Output, Right, Source, State, StuckReason,
    admission::Join, backup::Backups, children::Child, explain::Recent, message::PATH_MAX, moves::Moves,
    source::OriginAge, upstream::Upstream, volunteer::Summons, withheld::Pauses,
};

/// The part of this node in the tree of one track.
///
/// Getters show how things stand after the last step; `handle_*` take steps; `poll_*` say what has
/// to be done and when. The [crate's documentation](crate) says in which order to call them.
#[derive(Debug)]
pub struct Tree {
    pub(crate) me: PeerId,
    pub(crate) track: TrackName,
    pub(crate) config: Config,
    pub(crate) rng: fastrand::Rng,
    pub(crate) part: Part,
    pub(crate) source: Option<Source>,
    pub(crate) age: Option<OriginAge>,
    /// What the ring can serve: `oldest..next`.
    pub(crate) ring: Option<(u64, u64)>,
    pub(crate) upstream: Upstream,
    pub(crate) children: BTreeMap<PeerId, Child>,
    pub(crate) backups: Backups,
    pub(crate) moves: Moves,
    pub(crate) pauses: Pauses,
    pub(crate) summons: Summons,
    /// Whether this node is a member for others' sake alone.
    pub(crate) volunteer: bool,
    /// When a volunteer leaves that nobody needs.
    pub(crate) idle_until: Option<Instant>,
    /// When the children get the next pulse.
    pub(crate) next_pulse: Option<Instant>,
    /// When this node leaves even if children are left.
    pub(crate) leaving: Option<Instant>,
    pub(crate) left: bool,
    look_at: Option<Instant>,
    last_look: Option<Instant>,
    pub(crate) malformed: u64,
    /// When the step began that is being taken.
    stepped: Instant,
    pub(crate) recent: Recent,
    outputs: VecDeque<Output>,
    // What the outside was told last.
    pub(crate) shown: Option<TrackEntry>,
    pub(crate) state: State,
    pushed: Option<(Source, Vec<PeerId>)>,
}

/// What this node does in the track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Nothing.
    Idle,
    /// It publishes.
    Origin {
        /// The publication is complete.
        ended: bool,
    },
    /// It subscribes.
    Member,
}

impl Tree {
    /// A node that has no part in the track yet.
    #[must_use]
    pub fn new(me: PeerId, track: TrackName, mut config: Config, rng: fastrand::Rng, now: Instant) -> Self {
        config.max_depth = config.max_depth.min(PATH_MAX as u8);
        Self {
            me,
            track,
            config,
            rng,
            part: Part::Idle,
            source: None,
            age: None,
            ring: None,
            upstream: Upstream::default(),
            children: BTreeMap::new(),
            backups: Backups::default(),
            moves: Moves::new(now),
            pauses: Pauses::new(now),
            summons: Summons::default(),
            volunteer: false,
            idle_until: None,
            next_pulse: None,
            leaving: None,
            left: false,
            look_at: None,
            last_look: None,
            malformed: 0,
            stepped: now,
            recent: Recent::default(),
            outputs: VecDeque::new(),
            shown: None,
            state: State::Idle,
            pushed: None,
        }
    }

    // --- Steps -------------------------------------------------------------------------------

    /// Tells the machine what happened.
    pub fn handle_input(&mut self, now: Instant, cx: &mut Context<'_>, input: Input) {
        if self.left {
            return;
        }
        self.stepped = now;
        match input {
            Input::Publish { epoch } => self.on_publish(now, cx, epoch),
            Input::EndPublish => {
                if let Part::Origin { ended } = &mut self.part {
                    *ended = true;
                }
            }
            Input::Subscribe => {
                self.volunteer = false;
                self.on_subscribe(now, cx);
            }
            Input::Volunteer if self.part == Part::Idle => {
                self.volunteer = true;
                self.on_subscribe(now, cx);
            }
            Input::Volunteer => {}
            Input::Unsubscribe if self.part == (Part::Origin { ended: false }) => {}
            Input::Unsubscribe | Input::Leave => self.begin_leaving(now, cx),
            Input::Ring { oldest, next } => self.on_ring(now, oldest, next),
            Input::Brought { ticket, next } => self.on_brought(now, cx, ticket, next),
            Input::Message { from, message } => match message.check(&from) {
                Ok(()) => self.on_message(now, cx, from, message),
                Err(_) => self.malformed += 1,
            },
            Input::LinkUp { peer } => {
                self.on_link_up(now, cx, peer);
                self.on_volunteer_linked(peer);
            }
            Input::LinkDown { peer } => {
                self.end_child(cx, peer, DetachReason::LinkDown, false);
                self.on_upstream_gone(now, cx, peer, DetachReason::LinkDown);
                self.on_backup_lost(now, peer);
            }
            Input::ConnectFailed { peer } => {
                self.on_backup_lost(now, peer);
                self.on_connect_failed(now, cx, peer);
                self.on_summons_failed(now, peer);
            }
            Input::Silent { peer } => self.on_silent(now, cx, peer),
            Input::Lost { peer } => {
                self.on_upstream_gone(now, cx, peer, DetachReason::Silent);
                self.on_backup_lost(now, peer);
            }
            Input::Heard { peer } => self.on_heard(now, cx, peer),
            Input::ChildOpened { peer, ticket } => self.on_child_opened(now, peer, ticket),
            Input::ChildClosed { peer, ticket } => self.on_child_closed(cx, peer, ticket),
            Input::ParentOpened { peer, ticket } => self.on_parent_opened(now, cx, peer, ticket),
            Input::ParentClosed { peer, ticket, .. } => self.on_parent_closed(now, cx, peer, ticket),
            Input::Lied { peer } => self.on_lied(now, cx, peer),
            Input::TableChanged => self.on_table_changed(now, cx),
            Input::CapacityChanged => self.on_capacity_changed(now, cx),
            Input::Rules(rules) => self.on_rules(now, cx, rules),
        }
        self.settle(now, cx);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.left {
            return;
        }
        self.stepped = now;
        self.expire_children(now, cx);
        if self.next_pulse.is_some_and(|at| at <= now) {
            self.pulse(now);
        }
        self.on_attempt_timeout(now, cx);
        self.on_volunteer_timeout(now, cx);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look(now, cx);
        }
        self.on_moves_timeout(now, cx);
        self.on_pause_timeout(now, cx);
        self.settle(now, cx);
    }

    /// When [`Tree::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        // Only a parent's pulses make an age; without a parent nothing depends on it.
        let stale_at =
            self.age.filter(|_| self.state == State::Attached).map(|age| age.reaches(self.config.origin_fresh));
        let attempt = self.upstream.attempt.as_ref().map(|attempt| attempt.phase.deadline());
        let own = [
            self.next_pulse,
            self.leaving,
            self.look_at,
            stale_at,
            attempt,
            self.moves.deadline(),
            self.pauses.at,
            self.summons.at,
            self.idle_until,
        ];
        own.into_iter().flatten().chain(self.children.values().filter_map(Child::deadline)).min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn on_message(&mut self, now: Instant, cx: &mut Context<'_>, from: PeerId, message: Message) {
        match message {
            Message::Join { request, source, height, need, repair } => {
                self.on_join(now, cx, from, Join { request, source, height, need, repair });
            }
            Message::Accept { request, ticket, path, source, origin_age_ms, backups, settings } => {
                let age = OriginAge::from_ms(now, origin_age_ms);
                let deadline = now + self.config.open_timeout;
                let opening = crate::attempt::Opening {
                    peer: from,
                    ticket,
                    path,
                    source,
                    age,
                    siblings: backups,
                    settings,
                    deadline,
                    trial: None,
                    known: 0,
                    brings: false,
                };
                self.on_accept(now, cx, request, opening);
            }
            Message::Refuse { request, reason, try_instead } => {
                self.on_refuse(now, cx, from, request, reason, try_instead);
            }
            Message::Path { path, source, backups } => self.on_path(now, cx, from, path, source, backups),
            Message::Pulse { origin_age_ms } => self.on_pulse(now, from, OriginAge::from_ms(now, origin_age_ms)),
            Message::Height { height } => {
                if let Some(child) = self.children.get_mut(&from) {
                    child.height = height;
                }
            }
            Message::Detach { ticket, reason } => self.on_detach(now, cx, from, ticket, reason),
            Message::Shed { try_instead } => self.on_shed(now, cx, from, try_instead),
            Message::Summon { .. } => self.on_summon(from),
            Message::Summoned { refused } => self.on_summoned(now, from, refused),
        }
    }

    fn on_subscribe(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.part == Part::Idle {
            self.part = Part::Member;
            self.look(now, cx);
            if self.upstream.attempt.is_none() && self.upstream.parent.is_none() {
                self.seek(now, cx, MoveReason::Joined);
            }
        } else if self.leaving.take().is_some() {
            // The children that were told to go may go; those that stay are welcome.
            for child in self.children.values_mut() {
                child.shed = child.shed.filter(|shed| shed.counted);
            }
            if self.upstream.parent.is_none() {
                self.seek(now, cx, MoveReason::Joined);
            }
        }
    }

    fn on_table_changed(&mut self, now: Instant, cx: &mut Context<'_>) {
        if self.part != Part::Member || self.leaving.is_some() {
            return;
        }
        self.wake_upkeep(now);
        let seeking = self.upstream.attempt.is_some();
        let pause = if seeking { self.config.look_pause } else { 4 * self.config.look_pause };
        let due = self.last_look.map_or(now, |last| last + pause);
        if due <= now {
            self.look(now, cx);
        } else {
            self.look_at = Some(self.look_at.map_or(due, |at| at.min(due)));
        }
    }

    /// Reads the table for what cannot wait: a newer publication, somebody to ask.
    pub(crate) fn look(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.look_at = None;
        self.last_look = Some(now);
        if self.part == Part::Member && self.leaving.is_none() {
            self.follow_source(now, cx);
            self.wake_attempt(now, cx);
        }
    }

    fn pulse(&mut self, now: Instant) {
        let origin_age_ms = self.origin_age_ms(now);
        for peer in self.open_children() {
            self.send(peer, Message::Pulse { origin_age_ms });
        }
        let interval = Duration::from_millis(u64::from(self.config.settings.heartbeat_ms.max(1)));
        self.next_pulse = Some(now + interval);
    }

    /// Ends every step: tells parent, children and the outside what is different now.
    fn settle(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.watch_need(now);
        self.leave_when_alone(now, cx);
        if self.left {
            self.state = State::Idle;
            if self.shown.take().is_some() {
                self.push(Output::RowChanged);
            }
            return self.push(Output::Left);
        }
        self.tell_children(cx);
        self.tell_parent();
        if !self.children.values().any(Child::is_open) {
            self.next_pulse = None;
        }
        let state = self.current_state(now);
        if state == State::Stalled && self.state != state {
            self.event(Event::Stuck { reason: StuckReason::OriginSilent });
            // A smaller publication, if there is one, is followed now that this one is silent.
            self.look_at = Some(now);
        }
        self.state = state;
        self.watch_stall(now, cx);
        self.watch_pause(cx);
        let entry = self.current_entry(now, cx);
        if entry != self.shown {
            self.shown = entry;
            self.push(Output::RowChanged);
        }
    }

    fn tell_children(&mut self, cx: &Context<'_>) {
        let Some(source) = self.source else {
            return;
        };
        let path = self.path_of_children();
        if self.pushed.as_ref().is_some_and(|(pushed, to)| *pushed == source && *to == path) {
            return;
        }
        // A path that grew beyond the bound can only be a loop in the making; the children hear of
        // it when it is gone.
        if path.len() <= PATH_MAX {
            for peer in self.children.keys().copied().collect::<Vec<_>>() {
                if cx.links.linked(&peer) {
                    let backups = self.siblings_of(peer);
                    self.send(peer, Message::Path { path: path.clone(), source, backups });
                }
            }
        }
        self.pushed = Some((source, path));
    }

    // --- What the parts share ----------------------------------------------------------------

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn send(&mut self, to: PeerId, message: Message) {
        self.push(Output::Send { to, message });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.recent.note(self.stepped, &event);
        self.push(Output::Event(event));
    }

    /// Whether a peer has a right to the track, by the tags in its row.
    pub(crate) fn allows(&self, cx: &Context<'_>, right: Right, peer: &PeerId) -> bool {
        let tags = cx.peers.row(peer).map(|row| &row.tags);
        self.config.rules.allow(right, &self.track, peer, tags)
    }

    pub(crate) const fn is_origin(&self) -> bool {
        matches!(self.part, Part::Origin { .. })
    }

    /// Whether the root path begins at the origin.
    pub(crate) fn is_attached(&self) -> bool {
        self.is_origin()
            || (self.source.is_some() && self.root_path().first() == self.source.map(|s| s.origin).as_ref())
    }

    /// Whether the origin was heard of lately.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.is_origin() || self.age.is_some_and(|age| age.at(now) < self.config.origin_fresh)
    }

    pub(crate) fn origin_age_ms(&self, now: Instant) -> u64 {
        if self.is_origin() {
            return 0;
        }
        let age = self.age.map_or(Duration::MAX, |age| age.at(now));
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn path_of_children(&self) -> Vec<PeerId> {
        let mut path = self.root_path().to_vec();
        path.push(self.me);
        path
    }

    fn open_children(&self) -> Vec<PeerId> {
        self.children.iter().filter(|(_, child)| child.is_open()).map(|(peer, _)| *peer).collect()
    }
}
