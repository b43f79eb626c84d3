//! The tracks of the node: publishing, subscribing, and what becomes of them in time.

mod streams;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, TrackName};
use banyan_tree::Tree;

pub(super) use self::streams::Publication;
use self::streams::{Feeding, Pulling};
use super::{Core, QUIET_TICK, TRACK_TICK};
use crate::{
    mesh::{self, RequestError, inspect, offload::Volume},
    net::{
        data::Sent,
        host::Stream,
        line::{Line, SharedTrack},
        node::Publisher,
        sealer::Sealer,
        subscriber::Subscriber,
        types::{End, From, NodeError},
    },
    relay::{Integrity, Mode, OpeningFrom, Terms, Track, pull::Begin, seal::Scope, track::Switch},
    views::{Event, Tracks, ms},
};

/// How long a node whose subscribers are done goes on feeding children that are not.
const LINGER: Duration = Duration::from_secs(5);
/// How long an ended track is served to latecomers.
const ENDED_LINGER: Duration = Duration::from_secs(60);

/// Between two questions to Kademlia for a track of which no origin is known.
const SEEK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two reports of what was forwarded.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Names a data stream: the peer at the other end and the parent's ticket.
type StreamKey = (PeerId, u64);

/// A track in which this node has a part.
#[derive(Debug)]
pub(super) struct LocalTrack {
    shared: Arc<SharedTrack>,
    /// What this node publishes.
    published: Option<Arc<Line>>,
    /// When this node's publication ended.
    ended: Option<Instant>,
    pulls: BTreeMap<StreamKey, Pulling>,
    feeds: BTreeMap<StreamKey, Feeding>,
    /// What was sent to each child.
    sent: BTreeMap<PeerId, Arc<Sent>>,
    /// What was sent to those that are fed no more.
    sent_before: Volume,
    /// When the tree was told of it.
    reported: Instant,
    /// Streams of children that the tree has not judged yet.
    waiting: BTreeMap<StreamKey, (Stream, OpeningFrom, u64)>,
    /// The epoch and the ring's bounds as the tree knows them.
    told: (u64, u64, u64),
    /// When the last local subscriber left.
    unused: Option<Instant>,
    leaving: bool,
    /// When Kademlia was last asked for the track.
    sought: Instant,
    pub(super) repair: Option<Repair>,
    switch: Option<Switch>,
}

/// A repair whose first object is awaited.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) ticket: u64,
    pub(super) reason: String,
    pub(super) attach: Duration,
}

impl LocalTrack {
    fn new(name: TrackName, now: Instant) -> Self {
        Self {
            shared: Arc::new(SharedTrack::new(name)),
            published: None,
            ended: None,
            pulls: BTreeMap::new(),
            feeds: BTreeMap::new(),
            sent: BTreeMap::new(),
            sent_before: Volume::default(),
            reported: now,
            waiting: BTreeMap::new(),
            told: (0, 0, 0),
            unused: None,
            leaving: false,
            // The table has a moment to know the origin first.
            sought: now,
            repair: None,
            switch: None,
        }
    }

    /// What was sent to all children ever, and to each that is fed now.
    fn forwarded(&mut self) -> (Volume, Vec<(PeerId, Volume)>) {
        let feeds = &self.feeds;
        let before = &mut self.sent_before;
        self.sent.retain(|child, sent| {
            let fed = feeds.keys().any(|(peer, _)| peer == child);
            // A feed that was told to end may still count.
            let kept = fed || Arc::strong_count(sent) > 1;
            *before = if kept { *before } else { before.plus(sent.volume()) };
            kept
        });
        let children: Vec<_> = self.sent.iter().map(|(child, sent)| (*child, sent.volume())).collect();
        (children.iter().fold(*before, |sum, (_, volume)| sum.plus(*volume)), children)
    }

    /// What the parent had already when the stream from it opened.
    pub(super) fn replayed(&self, parent: &PeerId) -> Option<u64> {
        let begin = self.pulls.get(&(*parent, self.ticket_of(parent)?))?.begin?;
        Some(begin.newest - begin.from)
    }

    pub(super) fn note_begin(&mut self, parent: PeerId, ticket: u64, begin: Begin) {
        if let Some(pulling) = self.pulls.get_mut(&(parent, ticket)) {
            pulling.begin = Some(begin);
        }
    }

    /// The ticket under which objects are pulled from a peer.
    pub(super) fn ticket_of(&self, parent: &PeerId) -> Option<u64> {
        self.pulls.keys().rev().find(|(peer, _)| peer == parent).map(|(_, ticket)| *ticket)
    }
}

impl Drop for LocalTrack {
    fn drop(&mut self) {
        for task in
            self.pulls.values().map(|pulling| &pulling.task).chain(self.feeds.values().map(|feeding| &feeding.task))
        {
            task.abort();
        }
    }
}

impl Core {
    fn local_track(&mut self, track: &TrackName) -> &mut LocalTrack {
        let now = Instant::now();
        self.next_tick.get_or_insert(now + TRACK_TICK);
        self.tracks.entry(track.clone()).or_insert_with(|| LocalTrack::new(track.clone(), now))
    }

    // --- Requests ----------------------------------------------------------------------------

    pub(super) fn publish(&mut self, track: TrackName, terms: Terms) -> Result<Publisher, NodeError> {
        let now = Instant::now();
        let epoch = self.mesh.publish(now, &track, terms).map_err(|error| node_error(error, &track))?;
        self.host.provide(track_key(&track));
        let signed = terms.integrity == Integrity::Signed;
        let new = if signed { Track::new_signing_origin } else { Track::new_origin };
        let line = Arc::new(Line::new(epoch, new(self.track_config, terms.mode)));
        let scope = self.scope(&track, epoch, self.mesh.me());
        let sealer = signed.then(|| Sealer::start(Arc::clone(&line), scope, Arc::clone(&self.keys)));
        let local = self.local_track(&track);
        local.shared.begin(now, &line, 0);
        local.published = Some(Arc::clone(&line));
        (local.ended, local.leaving) = (None, false);
        Ok(Publisher::new(track, line, sealer))
    }

    fn scope(&self, track: &TrackName, epoch: u64, origin: PeerId) -> Scope {
        Scope { mesh: self.mesh.config().mesh.clone(), track: track.clone(), epoch, origin }
    }

    pub(super) fn subscribe(&mut self, track: TrackName, from: From) -> Result<Subscriber, NodeError> {
        let now = Instant::now();
        // The place first: the tree may find a parent at once, and where the pull starts depends on it.
        let known = self.tracks.contains_key(&track);
        let shared = Arc::clone(&self.local_track(&track).shared);
        let place = shared.join(now, from);
        if let Err(error) = self.mesh.subscribe(now, &track) {
            shared.lock().epochs.part(now, place);
            if !known {
                self.tracks.remove(&track);
            }
            return Err(node_error(error, &track));
        }
        let local = self.local_track(&track);
        (local.unused, local.leaving) = (None, false);
        Ok(Subscriber::new(shared, place))
    }

    pub(super) fn close_tracks(&mut self) {
        for local in self.tracks.values() {
            local.shared.close(End::Shutdown);
            if let Some(line) = &local.published {
                line.shut();
            }
        }
    }

    pub(super) fn track_views(&mut self) -> Tracks {
        let mut views = inspect::tracks(&self.mesh);
        for view in &mut views.tracks {
            let local = view.track.parse().ok().and_then(|track: TrackName| self.tracks.get_mut(&track));
            let (Some(local), Some(here)) = (local, &mut view.here) else { continue };
            let (sent, _) = local.forwarded();
            (here.sent_objects, here.sent_bytes) = (sent.objects, sent.bytes);
            here.subscribers = local.shared.lock().epochs.subscribers();
            let Some(line) = local.shared.line() else { continue };
            let track = line.lock();
            here.mode = Some(if track.mode() == Mode::Live { "live" } else { "reliable" }.to_owned());
            let signed = track.integrity() == Integrity::Signed;
            here.integrity = Some(if signed { "signed" } else { "none" }.to_owned());
            (here.ring_oldest, here.ring_next) = (track.ring().oldest(), track.newest());
            here.ring_bytes = track.ring().bytes() as u64;
            let counters = track.counters();
            (here.objects, here.bytes) = (counters.objects, counters.bytes);
            (here.duplicates, here.missing) = (counters.duplicates, counters.missing);
        }
        views
    }

    // --- Time --------------------------------------------------------------------------------

    /// Looks after every track: tells the trees what the rings hold, ages the rings, notices what
    /// publishers and subscribers have dropped.
    pub(super) fn tend_tracks(&mut self, now: Instant) {
        let names: Vec<TrackName> = self.tracks.keys().cloned().collect();
        let mut quiet = true;
        for track in &names {
            quiet &= self.tend_track(now, track);
        }
        self.tend_spares(now);
        self.next_tick = (!self.tracks.is_empty()).then(|| now + if quiet { QUIET_TICK } else { TRACK_TICK });
    }

    /// Returns whether nothing happens on it: nothing has come or gone, and nobody is waited for.
    fn tend_track(&mut self, now: Instant, track: &TrackName) -> bool {
        let Some(local) = self.tracks.get_mut(track) else {
            return true;
        };
        for ((child, _), feeding) in &local.feeds {
            let silence = self.mesh.links().link(child).and_then(|link| link.unanswered_for(now));
            feeding.tend(silence.is_some_and(|silence| silence >= self.track_config.hold));
        }
        let (mut finished, mut quiet) = (false, local.repair.is_none());
        if let Some(line) = local.shared.line() {
            let mut state = line.lock();
            finished = state.end().is_some();
            local.switch = state.take_switch().or(local.switch);
            let news = state.handle_timeout(now);
            let bounds = (line.epoch, state.ring().oldest(), state.newest());
            quiet &= local.told == bounds && state.acked() >= state.newest();
            let trial = self.mesh.tree(track).is_some_and(Tree::on_trial);
            let brought: Vec<_> = if trial { state.brought().collect() } else { Vec::new() };
            drop(state);
            if news {
                line.announce(now);
                line.acks.ring();
            }
            for (ticket, next) in brought {
                self.mesh.handle_input(now, mesh::Input::Brought { track: track.clone(), ticket, next });
            }
            // The ring of the epoch before says nothing about the one that the tree looks for now.
            let followed =
                self.mesh.tree(track).and_then(Tree::source).is_some_and(|source| source.epoch == line.epoch);
            if followed && std::mem::replace(&mut local.told, bounds) != bounds {
                let (_, oldest, next) = bounds;
                self.mesh.handle_input(now, mesh::Input::Ring { track: track.clone(), oldest, next });
            }
        }
        self.report_forwarded(now, track);
        self.report_repair(track);
        self.yield_if_overtaken(now, track);
        self.close_if_done(now, track, finished);
        let lost = !inspect::has_origin(&self.mesh, track);
        if let Some(local) = self.tracks.get_mut(track) {
            if lost && now.saturating_duration_since(local.sought) >= SEEK_INTERVAL {
                local.sought = now;
                self.host.find_providers(track_key(track));
            }
            let known = local.shared.line().is_some();
            local.shared.set_origin_lost(lost && known && local.published.is_none() && !finished);
        }
        quiet
    }

    fn report_forwarded(&mut self, now: Instant, track: &TrackName) {
        let due = |local: &&mut LocalTrack| now.saturating_duration_since(local.reported) >= REPORT_INTERVAL;
        if let Some(local) = self.tracks.get_mut(track).filter(due) {
            local.reported = now;
            let (total, children) = local.forwarded();
            self.mesh.handle_input(now, mesh::Input::Forwarded { track: track.clone(), total, children });
        }
    }

    fn report_repair(&mut self, track: &TrackName) {
        let Some(local) = self.tracks.get_mut(track) else {
            return;
        };
        if let Some(switch) = local.switch
            && let Some((parent, _)) = local.pulls.keys().find(|(_, ticket)| *ticket == switch.ticket)
        {
            self.repairs.flows(track, *parent, switch.gap);
        }
        let matches = |repair: &mut Repair| local.switch.is_some_and(|switch| switch.ticket == repair.ticket);
        if let Some(repair) = local.repair.take_if(matches)
            && let Some(switch) = local.switch.take()
        {
            self.emit(Event::Repaired {
                track: track.to_string(),
                reason: repair.reason,
                gap_ms: ms(switch.gap),
                attach_ms: ms(repair.attach),
            });
        }
    }

    /// Of two origins the greater is followed by everyone; the other one's publisher is told, and its
    /// node takes part like any other.
    fn yield_if_overtaken(&mut self, now: Instant, track: &TrackName) {
        let Some(local) = self.tracks.get_mut(track).filter(|local| local.published.is_some()) else {
            return;
        };
        if !self.mesh.is_overtaken(track) {
            return;
        }
        if let Some(line) = local.published.take() {
            line.take_over();
        }
        local.leaving = true;
        self.host.stop_providing(track_key(track));
        self.mesh.end_publish(now, track);
        self.mesh.unsubscribe(now, track);
    }

    fn close_if_done(&mut self, now: Instant, track: &TrackName, finished: bool) {
        let Some(local) = self.tracks.get_mut(track).filter(|local| !local.leaving) else {
            return;
        };
        let fed = !local.feeds.is_empty();
        let done = if local.published.is_some() {
            if finished && local.ended.is_none() {
                local.ended = Some(now);
                self.mesh.end_publish(now, track);
            }
            let served = |at: Instant| now.saturating_duration_since(at) >= ENDED_LINGER;
            self.tracks.get(track).and_then(|local| local.ended).is_some_and(served) && !fed
        } else if self.mesh.is_volunteer(track) {
            // The tree knows when nobody needs it.
            false
        } else if local.shared.lock().epochs.subscribers() == 0 {
            let since = *local.unused.get_or_insert(now);
            // The leaves of an ended track go first, so that nobody has to look for a new parent.
            !(finished && fed && now.saturating_duration_since(since) < LINGER)
        } else {
            local.unused = None;
            false
        };
        if done && let Some(local) = self.tracks.get_mut(track) {
            local.leaving = true;
            if local.published.take().is_some() {
                self.host.stop_providing(track_key(track));
            }
            self.mesh.unsubscribe(now, track);
        }
    }

    /// The tree has let go of a track.
    pub(super) fn on_track_closed(&mut self, track: &TrackName) {
        let Some(local) = self.tracks.get(track) else {
            return;
        };
        let wanted = local.shared.lock().epochs.subscribers() > 0;
        if wanted && self.mesh.subscribe(Instant::now(), track).is_ok() {
            self.local_track(track).leaving = false;
        } else if let Some(local) = self.tracks.remove(track) {
            local.shared.close(End::Shutdown);
        }
    }
}

fn node_error(error: RequestError, track: &TrackName) -> NodeError {
    match error {
        RequestError::AlreadyPublished => NodeError::AlreadyPublished(track.clone()),
        RequestError::PublishedBy(origin) => NodeError::Conflict { track: track.clone(), origin },
        RequestError::TooManyTracks => NodeError::TooManyTracks,
        RequestError::Leaving => NodeError::Shutdown,
        RequestError::Forbidden(right) => NodeError::Forbidden { track: track.clone(), right },
    }
}

/// Under which Kademlia key the providers of a track are found.
fn track_key(track: &TrackName) -> [u8; 32] {
    *blake3::hash(track.as_str().as_bytes()).as_bytes()
}
