//! What the program does between its machine and the data streams: a host's tracks, and time.

mod feeds;
mod line;
mod publications;
mod pulls;
mod subscriptions;

use std::collections::BTreeMap;

use banyan_gossip::TrackName;
use banyan_node::{
    mesh::Input,
    relay::{Epochs, Opening},
};

use self::{feeds::Feeding, line::Line, pulls::Pulling, subscriptions::Subscription};
use crate::{
    conn::ConnId,
    host::Arrival,
    queue::{MS, Nanos},
    world::{Event, World},
};

/// A track in which a host has a part.
#[derive(Debug, Default)]
pub(crate) struct LocalTrack {
    epochs: Epochs<Line>,
    subscription: Option<Subscription>,
    published: bool,
    pulls: BTreeMap<(u32, u64), Pulling>,
    feeds: BTreeMap<(u32, u64), Feeding>,
    /// Streams of children that the tree has not judged yet.
    waiting: BTreeMap<(u32, u64), (ConnId, Opening)>,
    told: (u64, u64, u64),
}

/// How often tracks are looked after.
const TICK: Nanos = 50 * MS;

impl World {
    fn track(&mut self, host: u32, track: &TrackName) -> Option<&mut LocalTrack> {
        self.process(host)?.tracks.get_mut(track)
    }

    fn local(&mut self, host: u32, track: &TrackName) {
        let (now, life) = (self.now, self.hosts[host as usize].life);
        let Some(process) = self.process(host) else {
            return;
        };
        process.tracks.entry(track.clone()).or_default();
        if !std::mem::replace(&mut process.ticking, true) {
            self.queue.push(now + TICK, Event::Arrive { host, life, arrival: Arrival::Tick });
        }
    }

    /// The track of a host has something new: whoever reads it gets it.
    pub(crate) fn stir(&mut self, host: u32, track: &TrackName) {
        self.read_locally(host, track);
        let Some(local) = self.track(host, track) else {
            return;
        };
        for conn in local.feeds.values().map(|feeding| feeding.conn).collect::<Vec<_>>() {
            self.pump(host, conn);
        }
        self.poll_acks(host, track);
    }

    pub(crate) fn on_stream_closed(&mut self, host: u32, conn: ConnId) {
        if let Some((track, key)) = self.pull_of(host, conn) {
            self.end_pull(host, &track, key);
        } else if let Some((track, key)) = self.feed_of(host, conn) {
            self.end_feed(host, &track, key);
            let peer = self.peer(key.0);
            self.input(host, Input::ChildClosed { track, peer, ticket: key.1 });
        }
    }

    pub(crate) fn on_tick(&mut self, host: u32) {
        let (now, life) = (self.now, self.hosts[host as usize].life);
        let Some(process) = self.process(host) else {
            return;
        };
        let tracks: Vec<TrackName> = process.tracks.keys().cloned().collect();
        process.ticking = !tracks.is_empty();
        if process.ticking {
            self.queue.push(now + TICK, Event::Arrive { host, life, arrival: Arrival::Tick });
        }
        for track in tracks {
            self.tend(host, &track);
        }
    }

    fn tend(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        let Some(process) = self.process(host) else {
            return;
        };
        let followed = process.mesh.tree(track).and_then(banyan_tree::Tree::source).map(|source| source.epoch);
        let overtaken = process.mesh.is_overtaken(track);
        let trial = process.mesh.tree(track).is_some_and(banyan_tree::Tree::on_trial);
        let Some(local) = process.tracks.get_mut(track) else {
            return;
        };
        if let Some(line) = local.epochs.line() {
            let news = line.lock().handle_timeout(now);
            let (epoch, (oldest, next)) = (line.epoch, line.bounds());
            let brought: Vec<_> = if trial { line.lock().brought().collect() } else { Vec::new() };
            let bounds = (epoch, oldest, next);
            // The ring of the epoch before says nothing about the one that the tree looks for now.
            if followed == Some(epoch) && std::mem::replace(&mut local.told, bounds) != bounds {
                self.input(host, Input::Ring { track: track.clone(), oldest, next });
            }
            for (ticket, next) in brought {
                self.input(host, Input::Brought { track: track.clone(), ticket, next });
            }
            if news {
                self.stir(host, track);
            }
        }
        if let Some(local) = self.track(host, track).filter(|local| local.published && overtaken) {
            // Of two origins the greater is followed by everyone.
            local.published = false;
            self.with_mesh(host, |mesh, now| {
                mesh.end_publish(now, track);
                mesh.unsubscribe(now, track);
            });
        }
    }

    pub(crate) fn on_track_closed(&mut self, host: u32, track: &TrackName) {
        let Some(local) = self.track(host, track) else {
            return;
        };
        if local.subscription.is_some() {
            let now = self.instant();
            if let Some(process) = self.process(host) {
                // A node that is leaving takes part in nothing any more.
                let _ = process.mesh.subscribe(now, track);
            }
        } else if let Some(process) = self.process(host) {
            process.tracks.remove(track);
        }
    }
}
