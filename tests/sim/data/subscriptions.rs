//! Local subscribers: what they read.

use banyan_gossip::TrackName;
use banyan_node::relay::{
    Start,
    epochs::PlaceId,
    frame::Frame,
    track::{Assembler, Read},
};

use crate::world::World;

/// A local subscriber.
#[derive(Debug)]
pub(super) struct Subscription {
    place: PlaceId,
    assembler: Assembler,
}

impl World {
    pub(crate) fn open_subscription(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        self.local(host, track);
        if let Some(local) = self.track(host, track).filter(|local| local.subscription.is_none()) {
            let place = local.epochs.join(now, Start::Latest);
            local.subscription = Some(Subscription { place, assembler: Assembler::default() });
        }
    }

    /// Gives a track up.
    pub fn unsubscribe(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        if let Some(local) = self.track(host, track)
            && let Some(subscription) = local.subscription.take()
        {
            local.epochs.part(now, subscription.place);
        }
        self.measure.died(host);
        self.checks.ledger.stopped(host, track);
        self.with_mesh(host, |mesh, now| mesh.unsubscribe(now, track));
    }

    pub(crate) fn is_subscribed(&self, host: u32, track: &TrackName) -> bool {
        let process = self.hosts[host as usize].process.as_ref();
        process.and_then(|process| process.tracks.get(track)).is_some_and(|local| local.subscription.is_some())
    }

    pub(super) fn read_locally(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        loop {
            let Some(local) = self.track(host, track) else {
                return;
            };
            let Some(Subscription { place, assembler }) = &mut local.subscription else {
                return;
            };
            let Some((line, reader)) = local.epochs.current(*place).cloned() else {
                return;
            };
            let read = line.lock().read(reader);
            match read {
                Read::Frame(Frame::Chunk(chunk)) => {
                    for (id, bytes) in assembler.take(&chunk) {
                        line.lock().ack(now, reader, id + 1);
                        self.on_object(host, track, line.epoch, id, &bytes);
                    }
                }
                Read::Frame(Frame::Gap { from, to }) => {
                    line.lock().ack(now, reader, to);
                    self.on_gap(host, track, line.epoch, from, to);
                }
                Read::Frame(_) => {}
                Read::Wait | Read::Ended if local.epochs.has_newer(*place) => local.epochs.leave(now, *place),
                Read::Wait | Read::Ended | Read::CutOff => return,
            }
        }
    }
}
