//! The parent's side of a data stream: what a child gets, and what it acknowledges.

use std::time::Instant;

use super::{
    Frame, Mode, Start, Track,
    track::{Read, ReaderId, ReaderKind},
};

/// A child that is fed from a [`Track`], which is the same one in every call.
///
/// 1. Call [`Feed::fill`] at once and whenever the track has something new, and send the frames;
/// 2. hand frames from the child to [`take_ack`];
/// 3. when the stream is gone, close the reader: [`Track::close_reader`] of [`Feed::reader`].
#[derive(Debug)]
pub struct Feed {
    reader: ReaderId,
    /// Until it is sent.
    start: Option<Frame>,
    told_stable: u64,
    /// The child knows that nothing follows.
    ended: bool,
}

/// What came of [`Feed::fill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// The child was cut off and told so: once no frame comes any more, close the stream.
    pub cut_off: bool,
    /// What the child had acknowledged before it was sent counts now: the publisher or the parent
    /// may want to know.
    pub acked: bool,
}

/// A child broke the protocol; close its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the child sent something other than an acknowledgement")]
pub struct NotAnAck;

impl Feed {
    /// Gives a child a place in the track of this epoch.
    pub fn new(now: Instant, track: &mut Track, epoch: u64, start: Start) -> Self {
        let (reader, from) = track.open_reader(now, ReaderKind::Child, start);
        let (newest, reliable) = (track.ring().newest(), track.mode() == Mode::Reliable);
        let start = Some(Frame::Start { from, newest, reliable, epoch });
        Self { reader, start, told_stable: 0, ended: false }
    }

    /// The child's place in the track.
    #[must_use]
    pub const fn reader(&self) -> ReaderId {
        self.reader
    }

    /// Gives `send` the frames that the child may have now, until they have `budget_bytes` or there
    /// are no more. The last frame or run may be beyond the budget. If any came, call again when they are on their way.
    pub fn fill(&mut self, track: &mut Track, budget_bytes: usize, mut send: impl FnMut(Frame)) -> Filled {
        self.start.take().into_iter().for_each(&mut send);
        let (acked, mut bytes, mut cut_off) = (track.acked(), 0, false);
        while bytes < budget_bytes {
            let (read, ended) = (track.read(self.reader), self.ended);
            cut_off = read == Read::CutOff;
            self.ended |= matches!(read, Read::Ended | Read::CutOff);
            match read {
                Read::Frame(frame) => {
                    bytes += frame.wire_bytes();
                    send(frame);
                    continue;
                }
                Read::Ended if !ended => send(Frame::End(track.end().unwrap_or_default())),
                Read::CutOff if !ended => send(Frame::CutOff),
                Read::Ended | Read::CutOff | Read::Wait => {}
            }
            break;
        }
        // Only a flowing track needs the mark: an idle one puts no pressure on anybody's ring.
        if bytes > 0 && track.mode() == Mode::Reliable && track.stable() > self.told_stable {
            self.told_stable = track.stable();
            send(Frame::Stable(self.told_stable));
        }
        Filled { cut_off, acked: track.acked() != acked }
    }
}

/// The id below which a child has consumed everything, for [`Track::ack`]. Of several
/// acknowledgements the last one says it all.
///
/// # Errors
/// [`NotAnAck`]: a child sends nothing else.
pub const fn take_ack(frame: &Frame) -> Result<u64, NotAnAck> {
    match frame {
        Frame::Ack(id) => Ok(*id),
        _ => Err(NotAnAck),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::TrackConfig;

    fn fill(feed: &mut Feed, track: &mut Track, budget_bytes: usize) -> (Vec<Frame>, Filled) {
        let mut frames = Vec::new();
        let filled = feed.fill(track, budget_bytes, |frame| frames.push(frame));
        (frames, filled)
    }

    #[test]
    fn a_child_gets_the_start_what_is_there_and_the_end_each_once() {
        let now = Instant::now();
        let mut track = Track::new_origin(TrackConfig::default(), Mode::Live);
        let large = [0; 10_000];
        track.publish(now, &large);
        track.publish(now, &large);
        track.finish();
        let mut feed = Feed::new(now, &mut track, 9, Start::Oldest);
        let (frames, _) = fill(&mut feed, &mut track, 1);
        assert_eq!(frames[0], Frame::Start { from: 0, newest: 2, reliable: false, epoch: 9 });
        assert!(matches!(frames[1..], [Frame::Chunk(_)]), "the budget is used up: {frames:?}");
        let (frames, _) = fill(&mut feed, &mut track, 20_000);
        assert!(matches!(frames[..], [Frame::Chunk(_), Frame::End(2)]), "{frames:?}");
        assert_eq!(fill(&mut feed, &mut track, 1_000), (vec![], Filled { cut_off: false, acked: false }));
    }

    #[test]
    fn a_child_that_is_cut_off_is_told_so_once() {
        let (now, config) = (Instant::now(), TrackConfig::default());
        let mut track = Track::new_origin(config, Mode::Reliable);
        let mut feed = Feed::new(now, &mut track, 9, Start::Oldest);
        track.publish(now, b"a");
        fill(&mut feed, &mut track, 1_000);
        track.handle_timeout(now + 3 * config.laggard);
        assert_eq!(fill(&mut feed, &mut track, 1_000), (vec![Frame::CutOff], Filled { cut_off: true, acked: false }));
        assert_eq!(fill(&mut feed, &mut track, 1_000), (vec![], Filled { cut_off: true, acked: false }));
    }
}
