//! Data streams: a child pulls, its parent feeds.
//!
//! The child opens the stream and says which track, which ticket and from where; the parent
//! answers with frames (see [`crate::relay::frame`]). Acknowledgements go the other way.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use banyan_gossip::Keys;
use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{sleep_until, timeout},
};

use super::{
    activity::Activity,
    feeder::{Feeder, Fill},
    frames::Frames,
    library::pace::SharedPace,
    line::{Line, SharedTrack},
    writing::{WriteError, unless_stalled},
};
use crate::mesh::offload::Volume;
use crate::relay::{
    Decoder, Feed, Frame, FrameError, Integrity, Mode, Opening, OpeningFrom, Pull, Terms, Track, TrackConfig,
    feed::{self, NotAnAck},
    opening::{OPENING_BYTES_MAX, OpeningError},
    pull::{AckStep, Acks, Begin, PullError},
    seal::Scope,
    track::{Owner, ReaderId},
};

/// How long an opening may take.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a parent that sends nothing may keep back the seal of what it has sent, and how much longer a level below.
/// So the first to give up is the one whose parent is at fault; those below it are told in time that what they have is
/// void. It need not be a lie: a packet may be lost again and again.
const SEAL_TIMEOUT: Duration = Duration::from_millis(2_000);
const SEAL_TIMEOUT_PER_LEVEL: Duration = Duration::from_millis(250);
/// How long a parent may take to hear that nothing is owed any more.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a data stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("timed out")]
    TimedOut,
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Opening(#[from] OpeningError),
    #[error(transparent)]
    Feed(#[from] NotAnAck),
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("the parent is not of this publication: it says another mode than the origin")]
    OtherTerms,
    #[error("this node follows another epoch meanwhile")]
    OtherEpoch,
    #[error("the child was cut off: it held up a reliable track for too long")]
    ChildCutOff,
    #[error("the parent closed the stream")]
    Closed,
    #[error("the child needs nothing more")]
    Left,
}

impl DataError {
    /// Whether only a parent that lies makes this happen.
    pub(crate) const fn is_lie(&self) -> bool {
        match self {
            Self::Pull(error) => error.is_lie(),
            Self::OtherTerms => true,
            _ => false,
        }
    }
}

impl From<WriteError> for DataError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => error.into(),
            WriteError::TimedOut => Self::TimedOut,
            WriteError::Closed => Self::Closed,
        }
    }
}

pub(crate) async fn write_opening(stream: &mut (impl AsyncWrite + Unpin), opening: &Opening) -> Result<(), DataError> {
    let cbor = opening.encode();
    let length = u16::try_from(cbor.len()).expect("an opening is short: track names are");
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&cbor).await?;
    Ok(stream.flush().await?)
}

/// Reads what a child says first. A patient reader waits for the first byte as long as the stream is there:
/// a child may open it long before it has anything to say.
pub(crate) async fn read_opening(stream: &mut (impl AsyncRead + Unpin), patient: bool) -> Result<Opening, DataError> {
    let mut length = [0; 2];
    if patient {
        stream.read_exact(&mut length[..1]).await?;
    }
    let read = async {
        stream.read_exact(&mut length[usize::from(patient)..]).await?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > OPENING_BYTES_MAX {
            return Err(OpeningError.into());
        }
        let mut cbor = vec![0; length];
        stream.read_exact(&mut cbor).await?;
        Ok(Opening::decode(&cbor)?)
    };
    timeout(OPENING_TIMEOUT, read).await.map_err(|_| DataError::TimedOut)?
}

// --- The parent's side -------------------------------------------------------------------------

/// A child that is to be fed: it has its place in the line.
pub(crate) struct Child {
    feed: Feed,
    reader: Reader,
}

impl Child {
    /// Gives a child a place, as long as the result lives.
    pub(crate) fn new(line: Arc<Line>, owner: Option<Owner>, from: OpeningFrom) -> Self {
        let feed = {
            let mut track = line.lock();
            let feed = Feed::new(Instant::now(), &mut track, line.epoch, from.into());
            if let Some(owner) = owner {
                track.set_owner(feed.reader(), owner);
            }
            feed
        };
        let reader = Reader { line, name: feed.reader(), hold: true };
        Self { feed, reader }
    }

    /// Its place.
    pub(crate) const fn reader(&self) -> ReaderId {
        self.reader.name
    }
}

/// Feeds a child until the stream breaks or the child is cut off. Cancel by dropping.
pub(crate) async fn feed(
    child: Child,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    activity: Arc<Activity>,
    sent: Arc<Sent>,
    pace: SharedPace,
) -> DataError {
    let Child { feed, mut reader } = child;
    let line = Arc::clone(&reader.line);
    let (from_child, to_child) = stream.split();
    let pace = (line.lock().mode() == Mode::Live).then_some(pace);
    let feeder = Arc::new(Feeder::new(feed, to_child, sent, pace));
    let _offered = line.offer_to(feeder.clone());
    let writing = write_frames(&line, &feeder);
    let mut reading = pin!(read_acks(&line, reader.name, from_child, &activity));
    let error = tokio::select! {
        Err(error) = &mut reading => error,
        // Whoever leaves drops the stream behind it: that may be met before what was said last is read.
        Err(error) = writing => match error {
            DataError::Io(_) | DataError::Closed => match timeout(LEAVE_TIMEOUT, reading).await {
                Ok(Err(DataError::Left)) => DataError::Left,
                _ => error,
            },
            error => error,
        },
        else => DataError::Closed,
    };
    reader.hold = !matches!(error, DataError::Left);
    error
}

/// What was sent to a child, over all its streams.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    objects: AtomicU64,
    bytes: AtomicU64,
}

impl Sent {
    pub(super) fn count(&self, frame: &Frame) {
        if let Frame::Chunk(chunk) = frame {
            self.objects.fetch_add(u64::from(chunk.completed()), Ordering::Relaxed);
            self.bytes.fetch_add(chunk.payload_bytes() as u64, Ordering::Relaxed);
        }
    }

    /// So far.
    pub(crate) fn volume(&self) -> Volume {
        Volume { objects: self.objects.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// A reader that gives up its place when it is dropped, but its claim only after a while if it may be
/// back elsewhere.
struct Reader {
    line: Arc<Line>,
    name: ReaderId,
    hold: bool,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.line.acking(|track| track.close_reader(Instant::now(), self.name, self.hold));
    }
}

async fn write_frames(line: &Line, feeder: &Feeder<impl AsyncWrite + Unpin>) -> Result<(), DataError> {
    loop {
        // Under load more is there when the others have had their turn, and one write takes all of it. On a quiet track
        // this task has nothing to do.
        yield_now().await;
        let times = feeder.bell.times();
        match feeder.fill(line) {
            Fill::Some => while !unless_stalled(poll_fn(|cx| feeder.poll_send(cx))).await? {},
            Fill::None => feeder.bell.rung_since(times).await,
            Fill::CutOff => return Err(DataError::ChildCutOff),
        }
    }
}

async fn read_acks(
    line: &Line,
    reader: ReaderId,
    mut stream: impl AsyncRead + Unpin,
    activity: &Activity,
) -> Result<(), DataError> {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 1024];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err(DataError::Closed);
        }
        activity.note();
        buffer.extend_from_slice(&chunk[..length]);
        let mut acked = None;
        while let Some(frame) = decoder.decode(&mut buffer)? {
            if frame == Frame::Leave {
                return Err(DataError::Left);
            }
            acked = Some(feed::take_ack(&frame)?);
        }
        if let Some(id) = acked {
            line.acking(|track| track.ack(Instant::now(), reader, id));
        }
    }
}

// --- The child's side --------------------------------------------------------------------------

/// What a pulling child tells the node.
pub(crate) trait PullEvents {
    /// The parent serves: the stream works.
    async fn opened(&mut self, begin: Begin);
    /// Objects are missing.
    fn gap(&mut self, from: u64, to: u64);
}

/// What is pulled, and what it is verified with.
pub(crate) struct Wanted {
    pub(crate) ticket: u64,
    pub(crate) scope: Scope,
    pub(crate) terms: Terms,
    /// Distance from the origin.
    pub(crate) depth: u8,
    pub(crate) keys: Arc<dyn Keys>,
}

/// Pulls a track from a parent until the stream breaks. Cancel by dropping, or `leave` the parent as soon as it need not
/// keep anything for those here and below: when they have consumed what is below this object, by default what there is.
pub(crate) async fn pull(
    shared: Arc<SharedTrack>,
    config: TrackConfig,
    wanted: Wanted,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    activity: Arc<Activity>,
    leave: oneshot::Receiver<Option<u64>>,
    events: impl PullEvents,
) -> DataError {
    match try_pull(&shared, config, &wanted, stream, activity, leave, events).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

enum Never {}

async fn try_pull(
    shared: &SharedTrack,
    config: TrackConfig,
    wanted: &Wanted,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    activity: Arc<Activity>,
    leave: oneshot::Receiver<Option<u64>>,
    mut events: impl PullEvents,
) -> Result<Never, DataError> {
    let (ticket, epoch) = (wanted.ticket, wanted.scope.epoch);
    let from = shared.lock().epochs.start_of(epoch).into();
    let opening = Opening { track: shared.name.clone(), ticket, epoch, from };
    write_opening(&mut stream, &opening).await?;
    let (from_parent, to_parent) = stream.split();
    let integrity = wanted.terms.integrity;
    // What is sealed is hashed frame by frame.
    let decoder = if integrity == Integrity::Signed { Decoder::default() } else { Decoder::with_runs() };
    let mut frames = Frames::new(from_parent, activity, decoder);
    let first = timeout(OPENING_TIMEOUT, frames.next()).await.map_err(|_| DataError::TimedOut)??;
    let begin = Begin::read(&first, epoch)?;
    if begin.mode != wanted.terms.mode {
        return Err(DataError::OtherTerms);
    }
    let line = shared.line_of(Instant::now(), epoch, begin.newest, || begin.track(config, integrity));
    let line = line.ok_or(DataError::OtherEpoch)?;
    events.opened(begin).await;
    let pull = if integrity == Integrity::Signed { Pull::new_signed(ticket) } else { Pull::new(ticket) };
    let leaving = AtomicBool::new(false);
    tokio::select! {
        result = read_frames(&line, pull, wanted, frames, events, &leaving) => result,
        result = write_acks(&line, to_parent, leave, config.hold, &leaving) => result,
    }
}

async fn read_frames<S: AsyncRead + Unpin>(
    line: &Line,
    pull: Pull,
    wanted: &Wanted,
    mut frames: Frames<S>,
    mut events: impl PullEvents,
    leaving: &AtomicBool,
) -> Result<Never, DataError> {
    let mut source = Source { line, pull };
    loop {
        let first = if source.pull.waits_for_seal() {
            let patience = SEAL_TIMEOUT + SEAL_TIMEOUT_PER_LEVEL * u32::from(wanted.depth);
            timeout(patience, frames.next()).await.unwrap_or(Err(PullError::Late.into()))
        } else {
            frames.next().await
        };
        let mut next = first.map(Some);
        while let Ok(Some(frame)) = next {
            // What a former parent misses, the next one may have.
            if matches!(frame, Frame::Gap { .. }) && leaving.load(Ordering::Relaxed) {
                next = Err(DataError::Closed);
                break;
            }
            next = take_frames(line, &mut source.pull, wanted, frame, &mut frames, &mut events);
        }
        line.announce(Instant::now());
        next?;
    }
}

/// A stream whose end, however it comes, takes back what it brought and nobody has sealed: those below would wait for
/// the seals, and hold this node to be one that keeps them back.
struct Source<'a> {
    line: &'a Line,
    pull: Pull,
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        if self.pull.waits_for_seal() {
            self.line.acking(Track::drop_tail);
            self.line.announce(Instant::now());
        }
    }
}

/// Takes a frame and, under one lock, all that have come with it, up to the next seal, since verifying that takes no lock,
/// or the next gap, which may not be believed. Nobody is told before that: who passes on the objects passes on their seal as
/// well, if it is there.
fn take_frames<S: AsyncRead + Unpin>(
    line: &Line,
    pull: &mut Pull,
    wanted: &Wanted,
    first: Frame,
    frames: &mut Frames<S>,
    events: &mut impl PullEvents,
) -> Result<Option<Frame>, DataError> {
    if let Frame::Seal(seal) = &first {
        pull.verify(&wanted.scope, &*wanted.keys, seal)?;
    }
    // A node that only relays has consumed what its children have; without any, what it holds.
    line.acking(|track| {
        let (now, mut next) = (Instant::now(), Some(first));
        while let Some(frame) = next {
            if let Some((from, to)) = pull.take(now, track, frame)? {
                events.gap(from, to);
            }
            next = frames.ready()?;
            if matches!(next, Some(Frame::Seal(_) | Frame::Gap { .. })) {
                break;
            }
        }
        Ok(next)
    })
}

/// Tells the parent what everyone here and below has consumed, and last that nothing is owed any more.
async fn write_acks(
    line: &Line,
    mut stream: impl AsyncWrite + Unpin,
    mut leave: oneshot::Receiver<Option<u64>>,
    patience: Duration,
    leaves: &AtomicBool,
) -> Result<Never, DataError> {
    let mut acks = Acks::default();
    let mut bytes = BytesMut::new();
    // What has to be consumed before this node leaves, and until when it waits for that.
    let mut leaving: Option<(u64, Instant)> = None;
    loop {
        let times = line.acks.times();
        let (step, settled) = {
            let track = line.lock();
            let settled = leaving.is_some_and(|(until, _)| track.has_consumed(until));
            (acks.poll(Instant::now(), &track), settled)
        };
        if settled {
            break;
        }
        let due = match step {
            AckStep::Send(ack) => {
                ack.encode(&mut bytes);
                let write = async {
                    stream.write_all(&bytes.split()).await.map_err(WriteError::Io)?;
                    stream.flush().await.map_err(WriteError::Io)
                };
                unless_stalled(write).await?;
                continue;
            }
            AckStep::At(due) => Some(due),
            AckStep::Wait => None,
        };
        let over = leaving.map(|(_, over)| over);
        if over.is_some_and(|over| over <= Instant::now()) {
            return Err(DataError::TimedOut);
        }
        let wake = due.into_iter().chain(over).min();
        tokio::select! {
            () = line.acks.rung_since(times) => {}
            () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            until = &mut leave, if leaving.is_none() => {
                let until = until.map_err(|_| DataError::Closed)?.unwrap_or_else(|| line.lock().newest());
                leaving = Some((until, Instant::now() + patience));
                leaves.store(true, Ordering::Relaxed);
            }
        }
    }
    Frame::Leave.encode(&mut bytes);
    let write = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    timeout(LEAVE_TIMEOUT, write).await.map_err(|_| DataError::TimedOut)??;
    Err(DataError::Left)
}

#[cfg(test)]
#[path = "data_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "liar_tests.rs"]
pub(super) mod liar;
