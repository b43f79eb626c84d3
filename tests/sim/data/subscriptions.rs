//! Local subscribers: what they read.

use banyan_gossip::TrackName;
use banyan_node::relay::{
    Start,
    frame::Frame,
    track::{Read, ReaderKind},
};

use crate::world::World;

impl World {
    pub(crate) fn open_subscription(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        self.local(host, track);
        let Some(local) = self.track(host, track).filter(|local| !local.subscribed) else {
            return;
        };
        (local.subscribed, local.leaving) = (true, false);
        if let Some(line) = &mut local.line {
            line.reader = Some(line.track.open_reader(now, ReaderKind::Local, Start::Latest).0);
        }
    }

    /// Gives a track up.
    pub fn unsubscribe(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        if let Some(local) = self.track(host, track) {
            (local.subscribed, local.leaving) = (false, true);
            if let Some(line) = &mut local.line
                && let Some(reader) = line.reader.take()
            {
                line.track.close_reader(now, reader, false);
            }
        }
        self.measure.died(host);
        self.checks.ledger.stopped(host, track);
        self.with_mesh(host, |mesh, now| mesh.unsubscribe(now, track));
    }

    pub(crate) fn is_subscribed(&self, host: u32, track: &TrackName) -> bool {
        let process = self.hosts[host as usize].process.as_ref();
        process.and_then(|process| process.tracks.get(track)).is_some_and(|local| local.subscribed)
    }

    pub(super) fn read_locally(&mut self, host: u32, track: &TrackName) {
        let now = self.instant();
        loop {
            let Some(line) = self.track(host, track).and_then(|local| local.line.as_mut()) else {
                return;
            };
            let (Some(reader), epoch) = (line.reader, line.epoch) else {
                return;
            };
            match line.track.read(reader) {
                Read::Frame(Frame::Chunk(chunk)) => {
                    if let Some((id, bytes)) = line.assembler.take(&chunk) {
                        line.track.ack(now, reader, id + 1);
                        self.on_object(host, track, epoch, id, &bytes);
                    }
                }
                Read::Frame(Frame::Gap { from, to }) => {
                    line.track.ack(now, reader, to);
                    self.on_gap(host, track, epoch, from, to);
                }
                Read::Frame(_) => {}
                Read::Wait | Read::Ended | Read::CutOff => return,
            }
        }
    }
}
