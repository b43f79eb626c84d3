//! What others push here: whether it is taken, and what they are told of it.

use std::{sync::Arc, time::Instant};

use banyan_gossip::PeerId;

use super::{Job, Kind, LibraryError, Selector, Shared, follows::put_more, held::Held, jobs::Pushed, lock};
use crate::library::{
    bitfield::PieceSet,
    catalog::Holding,
    sentinel::Title,
    wire::{Answer, Offer, PushState},
};

/// Longest reason that is told, in bytes.
const REASON_BYTES_MAX: usize = 300;

/// A package that a peer pushes here on its stream.
#[derive(Debug)]
pub(super) struct Taken {
    offer: Offer,
    job: Result<Bringing, String>,
    state: Option<PushState>,
    told: PieceSet,
}

/// A package that is taken.
#[derive(Debug)]
enum Bringing {
    /// It is here.
    Nothing,
    /// Another job on the title is about to end.
    Later,
    By(Arc<Job>),
}

impl Taken {
    const fn job(&self) -> Option<&Arc<Job>> {
        match &self.job {
            Ok(Bringing::By(job)) => Some(job),
            _ => None,
        }
    }
}

impl Shared {
    /// A peer pushes a package here.
    pub(super) fn take(self: &Arc<Self>, peer: PeerId, offer: Offer) -> Taken {
        let job = self.begin_pushed(peer, &offer);
        if let Err(reason) = &job {
            tracing::info!(%peer, name = offer.name, reason, "did not take a package that was pushed");
        }
        Taken { offer, job, state: None, told: PieceSet::empty(0) }
    }

    fn begin_pushed(self: &Arc<Self>, peer: PeerId, offer: &Offer) -> Result<Bringing, String> {
        if !self.accept.permits(&peer) {
            return Err("it takes no pushed packages; start it with --library-accept".to_owned());
        }
        let title = Title::new(&offer.name, &offer.version).map_err(|error| error.to_string())?;
        if self.holding(offer) > Some(Holding::Partial) {
            return Ok(Bringing::Nothing);
        }
        {
            let state = lock(&self.state);
            if let Some(job) = state.jobs.on_package(offer.package) {
                return Ok(Bringing::By(Arc::clone(job)));
            }
            if state.jobs.is_cancelling(&offer.name) {
                return Ok(Bringing::Later);
            }
        }
        let kind = if offer.install { Kind::Install } else { Kind::Get };
        let pushed = Pushed::new(peer, offer.peers.clone(), offer.install);
        let title = (&*title.name, &*title.version);
        let job = self.begin_fetch(kind, offer.package, title, offer.install, Some(pushed));
        job.map(Bringing::By).map_err(|error| error.to_string())
    }

    /// How much of what is offered is here.
    fn holding(&self, offer: &Offer) -> Option<Holding> {
        lock(&self.state).own.entry(offer.package).map(|entry| entry.holding)
    }

    /// Who pushed it says that it may be installed.
    pub(super) fn install_taken(self: &Arc<Self>, taken: &mut Taken) {
        if let Some(job) = taken.job().filter(|job| !job.is_over()) {
            if let Some(pushed) = &job.pushed {
                pushed.go.cancel();
            }
        } else if taken.job.is_ok() && taken.offer.install && self.holding(&taken.offer) == Some(Holding::Complete) {
            let package = Selector::from(&*taken.offer.package.to_string());
            let begun = self.get(Kind::Install, &package, true);
            let job = begun.map(|view| lock(&self.state).jobs.job(view.id).cloned());
            taken.job = match job {
                Ok(job) => Ok(job.map_or(Bringing::Nothing, Bringing::By)),
                Err(error) => Err(error.to_string()),
            };
        }
    }

    /// Who pushed it takes it back.
    pub(super) fn withdraw(&self, peer: PeerId, taken: &Taken) {
        if let Some(job) = taken.job()
            && job.pushed.as_ref().is_some_and(|pushed| pushed.by == peer)
        {
            job.cancel();
        }
    }

    /// Tells who pushes what has changed.
    pub(super) fn tell_pusher(self: &Arc<Self>, peer: PeerId, id: u64, taken: &mut Taken, out: &mut Vec<u8>) {
        if matches!(taken.job, Ok(Bringing::Later)) {
            taken.job = self.begin_pushed(peer, &taken.offer);
        }
        if let Some(job) = taken.job()
            && let Some(pushed) = &job.pushed
        {
            *lock(&pushed.heard) = Instant::now();
        }
        let held = lock(&self.state).held.get(&taken.offer.package).cloned();
        if let Some(have) = held.as_ref().filter(|_| taken.job.is_ok()).map(Held::pieces) {
            if taken.told.len() != have.len() {
                taken.told = PieceSet::empty(have.len());
            }
            put_more(id, &mut taken.told, have, out);
        }
        let state = self.push_state(taken);
        if taken.state.as_ref() != Some(&state) {
            Answer::Push(id, state.clone()).put(out);
            taken.state = Some(state);
        }
    }

    fn push_state(&self, taken: &Taken) -> PushState {
        let job = match &taken.job {
            Err(reason) => return PushState::Refused(shortened(reason.clone())),
            Ok(Bringing::Later) => return PushState::Fetching,
            Ok(_) => taken.job(),
        };
        let holding = self.holding(&taken.offer);
        match job.filter(|job| !job.is_over()) {
            Some(job) if job.is_holding() => PushState::Ready,
            Some(_) => PushState::Fetching,
            None => match (job.and_then(|job| job.error()), holding) {
                (Some(error), _) => PushState::Failed(shortened(error.to_string())),
                (None, Some(Holding::Installed)) => PushState::Done,
                (None, Some(Holding::Complete)) if taken.offer.install => PushState::Ready,
                (None, Some(Holding::Complete)) => PushState::Done,
                (None, _) => PushState::Failed(LibraryError::NotFound("it is not there any more".into()).to_string()),
            },
        }
    }
}

fn shortened(mut reason: String) -> String {
    while reason.len() > REASON_BYTES_MAX {
        reason.pop();
    }
    reason
}
