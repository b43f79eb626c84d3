//! Pushing a package: offers it to others, follows how far they are, and lets them install it together.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    Job, Kind, LibraryError, Selector, Shared, lock,
    operations::find,
    source::{Attached, Command, FromSource, INBOX_MESSAGES},
};
use crate::{
    library::{
        bitfield::PieceSet,
        catalog::Holding,
        manifest::Manifest,
        push::{Offers, Targets, ahead_bytes},
        wire::{OFFER_PEERS_MAX, Offer, PushState},
    },
    views::library::{JobView, SourceView},
};

/// Peers that a package is pushed to at a time; each costs a link.
const TARGETS_MAX: usize = 256;
/// A target that cannot be reached for so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// How often progress is told.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What comes is handled in bursts of so much before more is offered.
const BURST: usize = 64;

impl Shared {
    pub(super) fn push(
        self: &Arc<Self>,
        selector: &Selector,
        to: &Targets,
        activate_when: Option<u8>,
    ) -> Result<JobView, LibraryError> {
        let complete = [Some(Holding::Complete), Some(Holding::Installed)];
        let found = find(&lock(&self.state), selector, |version| complete.contains(&version.here))?;
        let package = found.version.package;
        let (_, _, local) = self.here(package)?;
        let mut state = lock(&self.state);
        if state.announced.entry(package).is_none() {
            return Err(LibraryError::NotFound(format!(
                "{} is not offered to others: see --library-allow",
                found.name
            )));
        }
        let meant = state.members.iter().filter(|(peer, label)| to.matches(peer, label.as_deref()));
        let peers: Vec<PeerId> = meant.map(|(peer, _)| *peer).collect();
        if peers.is_empty() {
            return Err(LibraryError::NotFound("no other node that shares a folder is meant".to_owned()));
        }
        if peers.len() > TARGETS_MAX {
            let text = format!("{} nodes are meant: at most {TARGETS_MAX} at a time", peers.len());
            return Err(LibraryError::Busy(text));
        }
        let title = (&*local.title.name, &*local.title.version);
        let job = state.jobs.begin(Kind::Push, package, title, &self.port, None)?;
        let bytes = local.manifest.bytes();
        job.bytes(0, bytes * peers.len() as u64);
        let ahead = ahead_bytes(bytes, peers.len());
        state.pushes.insert(package, Offers::new(local.manifest.piece_sizes(), ahead, peers.iter().copied()));
        drop(state);
        let targets = peers.into_iter().map(|peer| (peer, Target::new())).collect();
        let (events, inbox) = mpsc::channel(INBOX_MESSAGES);
        let (shared, job_running) = (Arc::clone(self), Arc::clone(&job));
        let push = Push { shared, job: job_running, manifest: local.manifest, activate_when, targets, open: false };
        self.spawn(push.run(events, inbox));
        Ok(job.view())
    }

    /// The pieces that a peer may know of, of those that are here.
    pub(super) fn told(&self, peer: &PeerId, held: &super::Held) -> PieceSet {
        let state = lock(&self.state);
        let offers = state.pushes.get(&held.manifest().id());
        let known = offers.and_then(|offers| offers.known(peer)).cloned();
        drop(state);
        known.unwrap_or_else(|| held.pieces())
    }
}

struct Push {
    shared: Arc<Shared>,
    job: Arc<Job>,
    manifest: Arc<Manifest>,
    /// Percent of the targets.
    activate_when: Option<u8>,
    targets: BTreeMap<PeerId, Target>,
    /// Enough have it: whoever has it installs it.
    open: bool,
}

#[derive(Debug)]
struct Target {
    commands: Option<mpsc::Sender<Command>>,
    state: State,
    /// Nothing was heard since, because there is no stream.
    away: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Asked,
    Said(PushState),
    Lost,
    Misbehaved(String),
}

impl Target {
    fn new() -> Self {
        Self { commands: None, state: State::Asked, away: Some(Instant::now()) }
    }

    /// Whether it will have the package, or has it.
    const fn is_with_us(&self) -> bool {
        matches!(self.state, State::Asked | State::Said(PushState::Fetching | PushState::Ready | PushState::Done))
    }

    const fn is_done(&self) -> bool {
        matches!(self.state, State::Said(PushState::Done))
    }

    const fn is_ready(&self) -> bool {
        matches!(self.state, State::Said(PushState::Ready | PushState::Done))
    }

    fn word(&self) -> String {
        match &self.state {
            State::Asked => "asked".to_owned(),
            State::Said(PushState::Fetching) => "fetching".to_owned(),
            State::Said(PushState::Ready) => "ready".to_owned(),
            State::Said(PushState::Done) => "done".to_owned(),
            State::Said(PushState::Refused(reason)) => format!("refused: {reason}"),
            State::Said(PushState::Failed(reason)) => format!("failed: {reason}"),
            State::Lost => "lost".to_owned(),
            State::Misbehaved(reason) => format!("quarantined: {reason}"),
        }
    }
}

impl Push {
    async fn run(
        mut self,
        events: mpsc::Sender<(PeerId, FromSource)>,
        mut inbox: mpsc::Receiver<(PeerId, FromSource)>,
    ) {
        self.attach(&events);
        let result = self.follow(&mut inbox).await;
        let withdraw = result.is_err();
        for target in self.targets.values().filter(|target| withdraw && target.is_with_us()) {
            target.tell(Command::Withdraw(self.job.id));
        }
        self.targets.values().for_each(|target| target.tell(Command::Detach(self.job.id)));
        lock(&self.shared.state).pushes.remove(&self.job.package);
        self.tell_progress();
        self.job.end(result);
    }

    fn attach(&mut self, events: &mpsc::Sender<(PeerId, FromSource)>) {
        let all: Vec<PeerId> = self.targets.keys().copied().collect();
        for (at, (peer, target)) in self.targets.iter_mut().enumerate() {
            // Those that follow it around the circle, so that all are named about as often.
            let others = all[at + 1..].iter().chain(&all[..at]);
            let offer = Offer {
                package: self.job.package,
                name: self.job.name.clone(),
                version: self.job.version.clone(),
                install: self.activate_when.is_some(),
                peers: others.take(OFFER_PEERS_MAX).copied().collect(),
            };
            let attached = Attached::new(Arc::clone(&self.manifest), events.clone()).pushing(Arc::new(offer));
            let commands = self.shared.source(*peer);
            if commands.try_send(Command::Attach(self.job.id, attached)).is_ok() {
                target.commands = Some(commands);
            }
        }
    }

    async fn follow(&mut self, inbox: &mut mpsc::Receiver<(PeerId, FromSource)>) -> Result<(), LibraryError> {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.job.cancelled.cancelled() => return Err(LibraryError::Cancelled),
                () = self.shared.stop.cancelled() => return Err(LibraryError::Unavailable),
                Some((peer, event)) = inbox.recv() => {
                    self.on_event(peer, event);
                    for _ in 0..BURST {
                        let Ok((peer, event)) = inbox.try_recv() else { break };
                        self.on_event(peer, event);
                    }
                    self.offer();
                }
                _ = look.tick() => {
                    self.give_up_lost();
                    self.offer();
                    self.tell_progress();
                }
            }
            if let Some(result) = self.decide() {
                return result;
            }
        }
    }

    fn give_up_lost(&mut self) {
        let mut state = lock(&self.shared.state);
        let mut offers = state.pushes.get_mut(&self.job.package);
        for (peer, target) in self.targets.iter_mut().filter(|(_, target)| target.is_with_us() && !target.is_done()) {
            if target.away.is_some_and(|since| since.elapsed() > LOST_AFTER) {
                target.state = State::Lost;
                if let Some(offers) = &mut offers {
                    offers.handle_out(peer);
                }
            }
        }
    }

    /// Lets peers know of more pieces; they are told when they are told what is new.
    fn offer(&self) {
        let mut state = lock(&self.shared.state);
        if let Some(offers) = state.pushes.get_mut(&self.job.package) {
            while offers.poll_offer(Instant::now()).is_some() {}
        }
    }

    fn on_event(&mut self, peer: PeerId, event: FromSource) {
        let Some(target) = self.targets.get_mut(&peer) else { return };
        let mut state = lock(&self.shared.state);
        let Some(offers) = state.pushes.get_mut(&self.job.package) else { return };
        let now = Instant::now();
        match event {
            FromSource::Push(said) => {
                target.away = None;
                if matches!(said, PushState::Refused(_) | PushState::Failed(_)) {
                    offers.handle_out(&peer);
                } else if !offers.is_up(&peer) {
                    offers.handle_up(now, peer, PieceSet::empty(self.manifest.piece_count()));
                }
                if said == PushState::Ready && self.open {
                    target.tell(Command::Install(self.job.id));
                }
                target.state = State::Said(said);
            }
            FromSource::Has(ranges) => {
                if !offers.is_up(&peer) {
                    offers.handle_up(now, peer, PieceSet::empty(self.manifest.piece_count()));
                }
                ranges.into_iter().for_each(|(first, end)| offers.handle_has(now, &peer, first..end));
            }
            FromSource::Down => {
                target.away.get_or_insert_with(Instant::now);
                offers.handle_down(&peer);
            }
            FromSource::Misbehaved(reason) => {
                target.state = State::Misbehaved(reason);
                target.tell(Command::Detach(self.job.id));
                offers.handle_out(&peer);
            }
            // Nothing is fetched.
            FromSource::Up(_) | FromSource::Block { .. } | FromSource::Ended(..) => {}
        }
    }

    /// Opens the barrier when enough have all of it. Says when it is over.
    fn decide(&mut self) -> Option<Result<(), LibraryError>> {
        let all = self.targets.len();
        let count = |is: fn(&Target) -> bool| self.targets.values().filter(|target| is(target)).count();
        let needed = self.activate_when.map_or(all, |percent| (all * usize::from(percent)).div_ceil(100).max(1));
        let (with_us, done) = (count(Target::is_with_us), count(Target::is_done));
        if self.activate_when.is_some() && !self.open {
            if with_us < needed {
                let text = format!("only {with_us} of {all} can have it, {needed} must: nobody installs it");
                return Some(Err(self.failed(text)));
            }
            if count(Target::is_ready) >= needed {
                self.open = true;
                for target in self.targets.values().filter(|target| target.is_ready()) {
                    target.tell(Command::Install(self.job.id));
                }
            }
        }
        if with_us > done {
            return None;
        }
        Some(if done >= needed { Ok(()) } else { Err(self.failed(format!("{done} of {all} have it"))) })
    }

    fn failed(&self, what: String) -> LibraryError {
        let first = self.targets.iter().find(|(_, target)| !target.is_with_us());
        let why = first.map(|(peer, target)| format!("; {}: {}", self.name(peer), target.word()));
        LibraryError::PushFailed(what + &why.unwrap_or_default())
    }

    fn name(&self, peer: &PeerId) -> String {
        let label = lock(&self.shared.state).labels.get(&peer.to_string()).cloned();
        label.unwrap_or_else(|| peer.to_string())
    }

    fn tell_progress(&self) {
        let state = lock(&self.shared.state);
        let offers = state.pushes.get(&self.job.package);
        let whole = self.manifest.bytes();
        let view = |(peer, target): (&PeerId, &Target)| {
            let peer_id = peer.to_string();
            SourceView {
                label: state.labels.get(&peer_id).cloned(),
                peer_id,
                bytes: if target.is_ready() { whole } else { offers.map_or(0, |offers| offers.have_bytes(peer)) },
                rate: 0.0,
                state: target.word(),
            }
        };
        let targets: Vec<SourceView> = self.targets.iter().map(view).collect();
        drop(state);
        self.job.pushed(targets.iter().map(|target| target.bytes).sum(), targets);
    }
}

impl Target {
    fn tell(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // One that takes no more commands is not there.
            let _ = commands.try_send(command);
        }
    }
}
