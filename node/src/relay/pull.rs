//! The child's side of a data stream: what comes from a parent, and when it is acknowledged.

use std::time::{Duration, Instant};

use banyan_gossip::Keys;

use super::{
    Frame, Integrity, Mode, Track, TrackConfig,
    ring::{Position, Push},
    seal::{Forged, Scope, Seal, TooMuch, Unsealed},
};

/// Acknowledgements wait this long for more, unless much has piled up.
const COALESCE: Duration = Duration::from_millis(10);
/// What counts as much.
const COALESCE_BYTES: usize = 1024 * 1024;
/// On a slow track they wait this long: one for each object would cost as much as the objects (at 200 objects/s
/// 30 % of the processor time).
const COALESCE_SLOW: Duration = Duration::from_millis(50);
/// A track is slow if less than this comes in that time.
const SLOW_BYTES: usize = 320 * 1024;

/// A stream that cannot go on; the frame that broke it changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The parent is at fault.
    #[error("the parent skipped objects without saying so")]
    Skipped,
    /// The parent is at fault, or follows another epoch.
    #[error("the parent does not begin with a start frame of the right epoch")]
    BadStart,
    /// The parent is at fault.
    #[error("the parent sent what only a child sends, or started twice")]
    Unexpected,
    /// The parent is at fault, and lies.
    #[error(transparent)]
    Forged(#[from] Forged),
    /// The parent is at fault, and lies.
    #[error("the parent sends objects without the origin's seals")]
    Unsealed,
    /// The parent keeps the seals back, or does not get them itself.
    #[error("no seal came in time for what the parent has sent")]
    Late,
    /// This node is.
    #[error("this node was cut off: it held up a reliable track for too long")]
    CutOff,
}

impl From<TooMuch> for PullError {
    fn from(_: TooMuch) -> Self {
        Self::Unsealed
    }
}

impl PullError {
    /// Whether only a parent that lies makes this happen: an honest one passes on no seal that it has not verified,
    /// and no more without a seal than it may.
    #[must_use]
    pub const fn is_lie(&self) -> bool {
        matches!(self, Self::Forged(_) | Self::Unsealed)
    }
}

/// The first frame of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The first object that comes.
    pub from: u64,
    /// The object after the newest that the parent has begun: where the new begins.
    pub newest: u64,
    /// What happens to subscribers that cannot keep up.
    pub mode: Mode,
}

impl Begin {
    /// Reads the first frame of a stream of this epoch.
    ///
    /// # Errors
    /// [`PullError`]: close the stream.
    pub fn read(frame: &Frame, epoch: u64) -> Result<Self, PullError> {
        match *frame {
            Frame::Start { from, newest, reliable, epoch: other } if other == epoch => {
                let mode = if reliable { Mode::Reliable } else { Mode::Live };
                Ok(Self { from, newest: newest.max(from), mode })
            }
            Frame::CutOff => Err(PullError::CutOff),
            _ => Err(PullError::BadStart),
        }
    }

    /// The track that this stream begins, if nothing of its epoch is here yet.
    #[must_use]
    pub fn track(&self, config: TrackConfig, integrity: Integrity) -> Track {
        match integrity {
            Integrity::Signed => Track::new_signed(config, self.mode, self.from),
            Integrity::None => Track::new(config, self.mode, self.from),
        }
    }
}

/// A stream from a parent, after its first frame, into a [`Track`], which is the same one in every
/// call.
#[derive(Debug)]
pub struct Pull {
    ticket: u64,
    /// Where the last chunk, or run, stood that the stream brought.
    position: Option<Position>,
    /// What waits for a seal, on a signed track.
    unsealed: Option<Unsealed>,
    /// The seal that was verified last, and not taken yet.
    verified: Option<Seal>,
}

impl Pull {
    /// A stream from the parent that gave this ticket.
    #[must_use]
    pub const fn new(ticket: u64) -> Self {
        Self { ticket, position: None, unsealed: None, verified: None }
    }

    /// The same of a signed track.
    #[must_use]
    pub fn new_signed(ticket: u64) -> Self {
        Self { unsealed: Some(Unsealed::default()), ..Self::new(ticket) }
    }

    /// Whether something came for which there is no seal yet.
    #[must_use]
    pub fn waits_for_seal(&self) -> bool {
        self.unsealed.as_ref().is_some_and(|unsealed| !unsealed.is_empty())
    }

    /// Verifies a seal, which is then to be taken. This is the part that takes time, and needs no track.
    ///
    /// # Errors
    /// [`PullError`]: close the stream.
    pub fn verify(&mut self, scope: &Scope, keys: &dyn Keys, seal: &Seal) -> Result<(), PullError> {
        let unsealed = self.unsealed.as_ref().ok_or(PullError::Unexpected)?;
        unsealed.verify(scope, keys, seal)?;
        self.verified = Some(*seal);
        Ok(())
    }

    /// Takes the next frame; a seal after [`Pull::verify`]. Returns the objects `from..to` of which it tells that
    /// they will not come, if there are any.
    ///
    /// # Errors
    /// [`PullError`]: close the stream.
    pub fn take(&mut self, now: Instant, track: &mut Track, frame: Frame) -> Result<Option<(u64, u64)>, PullError> {
        match frame {
            Frame::Chunk(chunk) => {
                let position = match self.position {
                    Some(position) if !chunk.first => Position { id: chunk.id, chunk: position.chunk + 1 },
                    _ => Position { id: chunk.id, chunk: 0 },
                };
                self.position = Some(position);
                if let Some(unsealed) = &mut self.unsealed {
                    unsealed.push(position, &chunk)?;
                }
                let pushed = match (track.push(now, self.ticket, position, chunk), &self.unsealed) {
                    // What this stream brought was dropped with what another did.
                    (Push::Skipped, Some(unsealed)) => unsealed.push_to(track, now, self.ticket),
                    (pushed, _) => pushed,
                };
                if pushed == Push::Skipped {
                    return Err(PullError::Skipped);
                }
            }
            Frame::Gap { from, to } => {
                if let Some(unsealed) = &mut self.unsealed {
                    unsealed.clear();
                    track.drop_tail();
                }
                return track.push_gap(now, from, to).map_err(|_| PullError::Skipped);
            }
            Frame::Stable(id) => track.set_stable(id),
            // The last seal has said so.
            Frame::End(id) if self.unsealed.is_some() && track.end() == Some(id) => {}
            Frame::End(_) if self.unsealed.is_some() => return Err(PullError::Unsealed),
            Frame::End(id) => track.set_end(id),
            Frame::Seal(seal) => {
                let unsealed = self.unsealed.as_mut().ok_or(PullError::Unexpected)?;
                if self.verified.take() != Some(seal) {
                    return Err(PullError::Unexpected);
                }
                track.seal(now, seal, unsealed.group(&seal)).map_err(|_| PullError::Skipped)?;
                unsealed.sealed(&seal);
            }
            Frame::Retract(place) => {
                let unsealed = self.unsealed.as_mut().ok_or(PullError::Unexpected)?;
                unsealed.retract(place)?;
                track.drop_from(place);
                self.position = place.chunk.checked_sub(1).map(|chunk| Position { id: place.id, chunk });
            }
            Frame::CutOff => return Err(PullError::CutOff),
            Frame::Start { .. } | Frame::Ack(_) | Frame::Leave => return Err(PullError::Unexpected),
        }
        Ok(None)
    }
}

/// When to tell the parent what everyone here and below has consumed. Poll when anybody has
/// consumed something, and when it asks for it.
#[derive(Debug, Default)]
pub struct Acks {
    told: Option<u64>,
    /// When that was.
    told_at: Option<Instant>,
    /// When what is to be told is sent, whatever else comes.
    due: Option<Instant>,
    slow: bool,
}

/// What to do about acknowledgements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckStep {
    /// Send this frame, and poll again.
    Send(Frame),
    /// Poll again then. Before it there is no need to.
    At(Instant),
    /// Nothing is to be told.
    Wait,
}

impl Acks {
    /// What to do now.
    pub fn poll(&mut self, now: Instant, track: &Track) -> AckStep {
        let acked = track.acked();
        if track.mode() == Mode::Live || self.told.is_some_and(|told| acked <= told) {
            self.due = None;
            return AckStep::Wait;
        }
        if let Some(told) = self.told {
            let piled_up = track.ring().bytes_from(told).saturating_sub(track.ring().bytes_from(acked));
            let due = *self.due.get_or_insert(now + if self.slow { COALESCE_SLOW } else { COALESCE });
            if piled_up < COALESCE_BYTES && now < due {
                return AckStep::At(due);
            }
            let elapsed = self.told_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
            self.slow = piled_up as f64 * COALESCE_SLOW.as_secs_f64() < SLOW_BYTES as f64 * elapsed.as_secs_f64();
        }
        (self.told, self.told_at, self.due) = (Some(acked), Some(now), None);
        AckStep::Send(Frame::Ack(acked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::frame;

    fn push(now: Instant, track: &mut Track, id: u64, length: usize) {
        let mut pull = Pull::new(1);
        for chunk in frame::chunks(id, &vec![0; length]) {
            assert_eq!(pull.take(now, track, Frame::Chunk(chunk)), Ok(None));
        }
    }

    #[test]
    fn acknowledgements_wait_for_more_but_neither_for_long_nor_for_much() {
        let now = Instant::now();
        let (mut acks, mut track) = (Acks::default(), Track::new(TrackConfig::default(), Mode::Reliable, 0));
        assert_eq!(acks.poll(now, &track), AckStep::Send(Frame::Ack(0)), "the first at once");
        assert_eq!(acks.poll(now, &track), AckStep::Wait);
        push(now, &mut track, 0, 10);
        assert_eq!(acks.poll(now, &track), AckStep::At(now + COALESCE));
        push(now, &mut track, 1, 10);
        assert_eq!(acks.poll(now + COALESCE / 2, &track), AckStep::At(now + COALESCE));
        assert_eq!(acks.poll(now + COALESCE, &track), AckStep::Send(Frame::Ack(2)));
        push(now, &mut track, 2, COALESCE_BYTES);
        assert_eq!(acks.poll(now + COALESCE, &track), AckStep::Send(Frame::Ack(3)));
        assert_eq!(acks.poll(now + COALESCE, &track), AckStep::Wait);
    }

    #[test]
    fn of_a_slow_track_several_objects_are_acknowledged_at_once() {
        let mut now = Instant::now();
        let (mut acks, mut track) = (Acks::default(), Track::new(TrackConfig::default(), Mode::Reliable, 0));
        assert_eq!(acks.poll(now, &track), AckStep::Send(Frame::Ack(0)));
        let mut sent = 0;
        // 200 objects of 1 KiB a second, then 10,000 of 64 KiB.
        for id in 0..200 {
            now += Duration::from_millis(5);
            push(now, &mut track, id, 1024);
            sent += u32::from(matches!(acks.poll(now, &track), AckStep::Send(_)));
        }
        assert!((15..=25).contains(&sent), "{sent}");
        let before = sent;
        for id in 200..1200 {
            now += Duration::from_micros(100);
            push(now, &mut track, id, 64 * 1024);
            sent += u32::from(matches!(acks.poll(now, &track), AckStep::Send(_)));
        }
        assert!((sent - before) as usize >= 1000 * 64 * 1024 / COALESCE_BYTES, "{}", sent - before);
    }

    #[test]
    fn a_live_track_is_not_acknowledged() {
        let track = Track::new(TrackConfig::default(), Mode::Live, 0);
        assert_eq!(Acks::default().poll(Instant::now(), &track), AckStep::Wait);
    }

    #[test]
    fn a_stream_begins_with_the_start_of_its_epoch_and_has_no_other() {
        let now = Instant::now();
        let start = Frame::Start { from: 4, newest: 2, reliable: true, epoch: 9 };
        assert_eq!(Begin::read(&start, 9), Ok(Begin { from: 4, newest: 4, mode: Mode::Reliable }));
        assert_eq!(Begin::read(&start, 8), Err(PullError::BadStart));
        assert_eq!(Begin::read(&Frame::CutOff, 9), Err(PullError::CutOff));
        let mut track = Track::new(TrackConfig::default(), Mode::Reliable, 4);
        let mut pull = Pull::new(1);
        assert_eq!(pull.take(now, &mut track, start), Err(PullError::Unexpected));
        assert_eq!(pull.take(now, &mut track, Frame::Gap { from: 6, to: 7 }), Err(PullError::Skipped));
        assert_eq!(pull.take(now, &mut track, Frame::Gap { from: 4, to: 7 }), Ok(Some((4, 7))));
    }
}
