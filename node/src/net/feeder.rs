//! What a child is sent, by whoever is there to send it.
//!
//! Each child has a task. Under load it is busy anyway and sends what there is in large writes. On a quiet track
//! it would only be woken for each object, which costs as much as sending it: so whoever has brought the object
//! sends it to the children himself, if they have nothing else to be sent.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use futures::AsyncWrite;

use super::{
    bell::Bell,
    data::Sent,
    library::pace::SharedPace,
    line::Line,
    writing::{BATCH_BYTES, Parts, WriteError},
};
use crate::{
    batch::{Batch, COPY_BELOW_BYTES},
    relay::{Feed, Frame, feed::Filled},
};

/// What [`Feeder::fill`] found.
pub(super) enum Fill {
    /// Something is to be sent.
    Some,
    /// Nothing for now.
    None,
    /// The child was cut off, and nothing more will come.
    CutOff,
}

/// A child to which something was sent within this time is left to its task, which sends more at once.
const QUIET: Duration = Duration::from_millis(1);
/// Most bytes that are sent by others than the task.
const OFFER_BYTES: usize = 64 * 1024;

/// After a batch larger than this, the next one is made in a buffer that holds all of it.
const BUSY_BYTES: usize = BATCH_BYTES / 4;

/// One child, as those who have something for it see it.
pub(crate) trait Offer: fmt::Debug + Send + Sync {
    /// There is something new in the line.
    fn offer(&self, now: Instant, line: &Line);
}

/// See the module.
pub(super) struct Feeder<S> {
    sending: Mutex<Sending<S>>,
    /// Rings for the task when there is something to be sent.
    pub(super) bell: Bell,
}

struct Sending<S> {
    feed: Feed,
    stream: S,
    batch: Batch,
    /// Of the batch, what is not sent yet.
    parts: Parts,
    flushed: bool,
    filled: Instant,
    /// How many bytes it was then.
    filled_bytes: usize,
    sent: Arc<Sent>,
    /// Told how long each batch of a live track takes to be on its way.
    pace: Option<SharedPace>,
}

impl<S> fmt::Debug for Feeder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feeder")
    }
}

impl<S: AsyncWrite + Unpin> Feeder<S> {
    pub(super) fn new(feed: Feed, stream: S, sent: Arc<Sent>, pace: Option<SharedPace>) -> Self {
        let (batch, parts) = (Batch::default(), Parts::default());
        let sending =
            Sending { feed, stream, batch, parts, flushed: true, filled: Instant::now(), filled_bytes: 0, sent, pace };
        Self { sending: Mutex::new(sending), bell: Bell::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Sending<S>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what there is from the line, unless something is still to be sent.
    pub(super) fn fill(&self, line: &Line) -> Fill {
        let mut sending = self.lock();
        if !sending.is_idle() {
            return Fill::Some;
        }
        match sending.fill(Instant::now(), line, BATCH_BYTES) {
            (1.., _) => Fill::Some,
            (0, filled) if filled.cut_off => Fill::CutOff,
            (0, _) => Fill::None,
        }
    }

    /// Sends some of it; says whether nothing is left and all of it is on its way.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<Result<bool, WriteError>> {
        self.lock().poll_send(cx)
    }
}

impl<S: AsyncWrite + Unpin + Send> Offer for Feeder<S> {
    fn offer(&self, now: Instant, line: &Line) {
        let done = self.sending.try_lock().is_ok_and(|mut sending| {
            if !sending.is_idle() || now.saturating_duration_since(sending.filled) < QUIET {
                return false;
            }
            let (bytes, filled) = sending.fill(now, line, OFFER_BYTES);
            // If not all of it can be sent at once, the task goes on with it.
            let mut cx = Context::from_waker(Waker::noop());
            loop {
                match sending.poll_send(&mut cx) {
                    Poll::Ready(Ok(true)) => return bytes < OFFER_BYTES && !filled.cut_off,
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(Err(_)) | Poll::Pending => return false,
                }
            }
        });
        if !done {
            self.bell.ring();
        }
    }
}

impl<S: AsyncWrite + Unpin> Sending<S> {
    fn is_idle(&self) -> bool {
        self.parts.is_empty() && self.flushed
    }

    /// Says how many bytes there are to be sent.
    fn fill(&mut self, now: Instant, line: &Line, budget_bytes: usize) -> (usize, Filled) {
        let Self { feed, batch, parts, sent, .. } = self;
        if self.filled_bytes > BUSY_BYTES {
            batch.reserve(budget_bytes + COPY_BELOW_BYTES);
        }
        let filled = feed.fill(&mut line.lock(), budget_bytes, |frame| {
            sent.count(&frame);
            #[cfg(test)]
            let frame = super::data::liar::change(line, frame);
            match &frame {
                Frame::Chunk(chunk) => batch.push(&chunk.wire),
                frame => batch.encode(|out| frame.encode(out)),
            }
        });
        if filled.acked {
            line.acks.ring();
        }
        let bytes = batch.len();
        if bytes > 0 {
            parts.add(batch);
            (self.flushed, self.filled, self.filled_bytes) = (false, now, bytes);
        }
        (bytes, filled)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, WriteError>> {
        if !self.parts.is_empty() {
            ready!(self.parts.poll_write(&mut self.stream, cx))?;
        } else if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(WriteError::Io)?;
            self.flushed = true;
            if let Some(pace) = &self.pace {
                pace.note_live(self.filled.elapsed());
            }
        }
        Poll::Ready(Ok(self.is_idle()))
    }
}
