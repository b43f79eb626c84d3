//! Data streams: a child pulls, its parent feeds.
//!
//! The child opens the stream and says which track, which ticket and from where; the parent
//! answers with frames (see [`crate::relay::frame`]). Acknowledgements go the other way.

use std::{
    io,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use banyan_gossip::TrackName;
use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::line::{Line, SharedTrack};
use crate::relay::{
    Decoder, Frame, FrameError, Mode, Start, Track, TrackConfig,
    ring::{Position, Push},
    track::{Read, ReaderId, ReaderKind},
};

/// Longest opening message, in bytes.
const OPENING_BYTES_MAX: usize = 512;
/// How long an opening may take.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes written before the stream is flushed and the track looked at again. Measured on one core:
/// 16 KiB objects went at 205 MiB/s with one write an object, at ten times that in batches.
const BATCH_BYTES: usize = 256 * 1024;
/// Chunks smaller than this are copied together to one write.
const COPY_BELOW_BYTES: usize = 16 * 1024;
/// A data stream to a child that takes not a byte for this long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Least and most bytes asked for by one read.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// Acknowledgements and the stable mark wait this long for more, unless much has piled up.
const COALESCE: Duration = Duration::from_millis(2);
/// What counts as much.
const COALESCE_BYTES: usize = 512 * 1024;

/// What a child says first: a 2-byte big-endian length, then this as CBOR.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Opening {
    #[serde(rename = "n")]
    pub(crate) track: TrackName,
    #[serde(rename = "k")]
    pub(crate) ticket: u64,
    #[serde(rename = "e")]
    pub(crate) epoch: u64,
    #[serde(rename = "f")]
    pub(crate) from: OpeningFrom,
}

/// Where a child wants to start.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum OpeningFrom {
    #[serde(rename = "o")]
    Oldest,
    #[serde(rename = "s")]
    Stable,
    #[serde(rename = "i")]
    Id(u64),
}

/// Why a data stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("timed out")]
    TimedOut,
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the opening cannot be read")]
    BadOpening,
    #[error("the parent skipped objects without saying so")]
    Skipped,
    #[error("the parent does not begin with a start frame of the right epoch")]
    BadStart,
    #[error("this node follows another epoch meanwhile")]
    OtherEpoch,
    #[error("this node was cut off: it held up a reliable track for too long")]
    CutOff,
    #[error("the parent closed the stream")]
    Closed,
}

pub(crate) async fn write_opening(stream: &mut (impl AsyncWrite + Unpin), opening: &Opening) -> Result<(), DataError> {
    let mut cbor = Vec::new();
    ciborium::into_writer(opening, &mut cbor).expect("writing to memory does not fail");
    let length = u16::try_from(cbor.len()).expect("an opening is short: track names are");
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&cbor).await?;
    Ok(stream.flush().await?)
}

pub(crate) async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<Opening, DataError> {
    let read = async {
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > OPENING_BYTES_MAX {
            return Err(DataError::BadOpening);
        }
        let mut cbor = vec![0; length];
        stream.read_exact(&mut cbor).await?;
        ciborium::from_reader(&cbor[..]).map_err(|_| DataError::BadOpening)
    };
    timeout(OPENING_TIMEOUT, read).await.map_err(|_| DataError::TimedOut)?
}

// --- The parent's side -------------------------------------------------------------------------

/// Feeds a child until the stream breaks or the child is cut off. Cancel by dropping.
pub(crate) async fn feed(
    line: Arc<Line>,
    from: OpeningFrom,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    activity: Arc<AtomicBool>,
) -> DataError {
    let start = match from {
        OpeningFrom::Oldest => Start::Oldest,
        OpeningFrom::Stable => Start::Stable,
        OpeningFrom::Id(id) => Start::Id(id),
    };
    let (reader, start) = {
        let mut track = line.lock();
        let (name, from) = track.open_reader(Instant::now(), ReaderKind::Child, start);
        let (newest, reliable) = (track.ring().newest(), track.mode() == Mode::Reliable);
        (Reader { line: Arc::clone(&line), name }, Frame::Start { from, newest, reliable, epoch: line.epoch })
    };
    let (from_child, to_child) = stream.split();
    let writing = write_frames(&line, reader.name, start, to_child);
    let reading = read_acks(&line, reader.name, from_child, &activity);
    tokio::select! {
        Err(error) = writing => error,
        Err(error) = reading => error,
        else => DataError::Closed,
    }
}

/// A reader that gives up its place, but not at once its claim, when it is dropped.
struct Reader {
    line: Arc<Line>,
    name: ReaderId,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.line.lock().close_reader(Instant::now(), self.name, true);
        self.line.acks.send_replace(());
    }
}

async fn write_frames(
    line: &Line,
    reader: ReaderId,
    start: Frame,
    mut stream: impl AsyncWrite + Unpin,
) -> Result<(), DataError> {
    let mut data = line.data.subscribe();
    let mut batch = Batch::default();
    batch.push(&start);
    let mut told_stable = 0;
    loop {
        data.borrow_and_update();
        let state = batch.fill(line, reader, &mut told_stable);
        if batch.is_empty() {
            if state == Read::CutOff {
                return Err(DataError::CutOff);
            }
            // The error means that the line is gone, which this task holds.
            let _ = data.changed().await;
            continue;
        }
        for part in batch.take() {
            write_all(&mut stream, &part).await?;
        }
        timeout(STALL_TIMEOUT, stream.flush()).await.map_err(|_| DataError::TimedOut)??;
    }
}

/// A child reads whatever comes, so a stream that takes nothing for long is broken, even if the
/// link beside it lives: the child is told to look elsewhere.
async fn write_all(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> Result<(), DataError> {
    while !bytes.is_empty() {
        let written = timeout(STALL_TIMEOUT, stream.write(bytes)).await.map_err(|_| DataError::TimedOut)??;
        if written == 0 {
            return Err(DataError::Closed);
        }
        bytes = &bytes[written..];
    }
    Ok(())
}

/// What is written to a child in one go.
#[derive(Default)]
struct Batch {
    parts: Vec<Bytes>,
    /// Small frames, copied together.
    small: BytesMut,
    ended: bool,
}

impl Batch {
    fn push(&mut self, frame: &Frame) -> usize {
        match frame {
            Frame::Chunk(chunk) if chunk.wire.len() >= COPY_BELOW_BYTES => {
                self.cut();
                self.parts.push(chunk.wire.clone());
                chunk.wire.len()
            }
            frame => {
                let before = self.small.len();
                frame.encode(&mut self.small);
                self.small.len() - before
            }
        }
    }

    fn cut(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.small.is_empty()
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.cut();
        std::mem::take(&mut self.parts)
    }

    /// Takes what the reader may have now. Returns why it stopped.
    fn fill(&mut self, line: &Line, reader: ReaderId, told_stable: &mut u64) -> Read {
        let mut track = line.lock();
        let acked = track.acked();
        let mut bytes = 0;
        let stopped = loop {
            match track.read(reader) {
                Read::Frame(frame) => bytes += self.push(&frame),
                Read::Ended if !self.ended => {
                    self.ended = true;
                    self.push(&Frame::End(track.end().unwrap_or_default()));
                }
                Read::CutOff if !self.ended => {
                    self.ended = true;
                    self.push(&Frame::CutOff);
                }
                other => break other,
            }
            if bytes >= BATCH_BYTES {
                break Read::Wait;
            }
        };
        // Only a flowing track needs the mark: an idle one puts no pressure on anybody's ring.
        if bytes > 0 && track.mode() == Mode::Reliable && track.stable() > *told_stable {
            *told_stable = track.stable();
            self.push(&Frame::Stable(*told_stable));
        }
        // What the child had acknowledged before it was read here counts now.
        let acked = track.acked() != acked;
        drop(track);
        if acked {
            line.acks.send_replace(());
        }
        stopped
    }
}

async fn read_acks(
    line: &Line,
    reader: ReaderId,
    mut stream: impl AsyncRead + Unpin,
    activity: &AtomicBool,
) -> Result<(), DataError> {
    let mut decoder = Decoder::default();
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 1024];
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            return Err(DataError::Closed);
        }
        activity.store(true, Ordering::Relaxed);
        buffer.extend_from_slice(&chunk[..length]);
        let mut acked = None;
        while let Some(frame) = decoder.decode(&mut buffer)? {
            match frame {
                Frame::Ack(id) => acked = Some(id),
                _ => return Err(DataError::BadStart),
            }
        }
        if let Some(id) = acked {
            line.lock().ack(Instant::now(), reader, id);
            line.acks.send_replace(());
        }
    }
}

// --- The child's side --------------------------------------------------------------------------

/// What a pulling child tells the node.
pub(crate) trait PullEvents {
    /// The parent serves: the stream works.
    async fn opened(&mut self);
    /// Objects are missing.
    fn gap(&mut self, from: u64, to: u64);
}

/// Pulls a track from a parent until the stream breaks. Cancel by dropping.
pub(crate) async fn pull(
    shared: Arc<SharedTrack>,
    config: TrackConfig,
    opening: (u64, u64),
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    activity: Arc<AtomicBool>,
    events: impl PullEvents,
) -> DataError {
    let (ticket, epoch) = opening;
    let resume = shared.line().filter(|line| line.epoch == epoch).map(|line| line.lock().ring().next().id);
    let from = match resume.map_or_else(|| shared.first_start(), Start::Id) {
        Start::Oldest => OpeningFrom::Oldest,
        Start::Stable | Start::Latest => OpeningFrom::Stable,
        Start::Id(id) => OpeningFrom::Id(id),
    };
    let opening = Opening { track: shared.name.clone(), ticket, epoch, from };
    if let Err(error) = write_opening(&mut stream, &opening).await {
        return error;
    }
    let (from_parent, to_parent) = stream.split();
    let mut puller = Puller { shared, config, ticket, epoch, activity, events, position: None, room: READ_BYTES_MIN };
    match puller.run(from_parent, to_parent).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

enum Never {}

struct Puller<E> {
    shared: Arc<SharedTrack>,
    config: TrackConfig,
    ticket: u64,
    epoch: u64,
    activity: Arc<AtomicBool>,
    events: E,
    /// Where the stream is.
    position: Option<Position>,
    /// Bytes to ask for with the next read.
    room: usize,
}

impl<E: PullEvents> Puller<E> {
    async fn run(
        &mut self,
        mut stream: impl AsyncRead + Unpin,
        to_parent: impl AsyncWrite + Unpin,
    ) -> Result<Never, DataError> {
        let mut decoder = Decoder::default();
        let mut buffer = BytesMut::new();
        let start = timeout(OPENING_TIMEOUT, async {
            loop {
                self.read_some(&mut stream, &mut buffer).await?;
                if let Some(frame) = decoder.decode(&mut buffer)? {
                    return Ok::<_, DataError>(frame);
                }
            }
        });
        let line = match start.await.map_err(|_| DataError::TimedOut)?? {
            Frame::Start { from, newest, reliable, epoch } if epoch == self.epoch => {
                self.begin(from, newest, reliable)?
            }
            Frame::CutOff => return Err(DataError::CutOff),
            _ => return Err(DataError::BadStart),
        };
        self.events.opened().await;
        let reading = async {
            loop {
                while let Some(frame) = decoder.decode(&mut buffer)? {
                    self.take(&line, frame, &mut decoder, &mut buffer)?;
                }
                self.read_some(&mut stream, &mut buffer).await?;
            }
        };
        tokio::select! {
            result = reading => result,
            result = write_acks(&line, to_parent) => result,
        }
    }

    async fn read_some(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut BytesMut,
    ) -> Result<(), DataError> {
        // Space is allocated in large steps, so that the chunks cut from it share few allocations,
        // but only as much of it is zeroed for a read as reads have lately filled.
        let filled = buffer.len();
        if buffer.capacity() - filled < self.room {
            buffer.reserve(READ_BYTES_MAX);
        }
        buffer.resize(filled + self.room, 0);
        let read = stream.read(&mut buffer[filled..]).await;
        let length = *read.as_ref().unwrap_or(&0);
        buffer.truncate(filled + length);
        if length == self.room {
            self.room = (2 * self.room).min(READ_BYTES_MAX);
        } else if length < self.room / 4 {
            self.room = (self.room / 2).max(READ_BYTES_MIN);
        }
        if read? == 0 {
            return Err(DataError::Closed);
        }
        self.activity.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn begin(&mut self, from: u64, newest: u64, reliable: bool) -> Result<Arc<Line>, DataError> {
        let now = Instant::now();
        let mode = if reliable { Mode::Reliable } else { Mode::Live };
        let track = || Track::new(self.config, mode, from);
        self.shared.line_of(now, self.epoch, newest.max(from), track).ok_or(DataError::OtherEpoch)
    }

    /// Takes a frame and, under one lock, all that follow it in the buffer.
    fn take(
        &mut self,
        line: &Line,
        frame: Frame,
        decoder: &mut Decoder,
        buffer: &mut BytesMut,
    ) -> Result<(), DataError> {
        let now = Instant::now();
        let mut track = line.lock();
        let mut next = Some(frame);
        let result = loop {
            let Some(frame) = next else { break Ok(()) };
            match frame {
                Frame::Chunk(chunk) => {
                    let position = match self.position {
                        Some(position) if !chunk.first => Position { id: chunk.id, chunk: position.chunk + 1 },
                        _ => Position { id: chunk.id, chunk: 0 },
                    };
                    self.position = Some(position);
                    if track.push(now, self.ticket, position, chunk) == Push::Skipped {
                        break Err(DataError::Skipped);
                    }
                }
                Frame::Gap { from, to } => match track.push_gap(now, from, to) {
                    Ok(missing) => {
                        if let Some((from, to)) = missing {
                            self.events.gap(from, to);
                        }
                    }
                    Err(_) => break Err(DataError::Skipped),
                },
                Frame::Stable(id) => track.set_stable(id),
                Frame::End(id) => track.set_end(id),
                Frame::CutOff => break Err(DataError::CutOff),
                Frame::Start { .. } | Frame::Ack(_) => break Err(DataError::BadStart),
            }
            next = match decoder.decode(buffer) {
                Ok(next) => next,
                Err(error) => break Err(error.into()),
            };
        };
        drop(track);
        line.data.send_replace(());
        // A node that only relays has consumed what its children have; without any, what it holds.
        line.acks.send_replace(());
        result
    }
}

/// Tells the parent what everyone here and below has consumed.
async fn write_acks(line: &Line, mut stream: impl AsyncWrite + Unpin) -> Result<Never, DataError> {
    let mut acks = line.acks.subscribe();
    let mut told = None;
    let mut bytes = BytesMut::new();
    loop {
        acks.borrow_and_update();
        let (mode, acked, piled_up) = {
            let track = line.lock();
            let (acked, ring) = (track.acked(), track.ring());
            (track.mode(), acked, ring.bytes_from(told.unwrap_or(acked)).saturating_sub(ring.bytes_from(acked)))
        };
        if mode == Mode::Live || told.is_some_and(|told| acked <= told) {
            let _ = acks.changed().await;
            continue;
        }
        if piled_up < COALESCE_BYTES && told.is_some() {
            tokio::time::sleep(COALESCE).await;
        }
        let acked = line.lock().acked().max(acked);
        told = Some(acked);
        Frame::Ack(acked).encode(&mut bytes);
        stream.write_all(&bytes.split()).await?;
        stream.flush().await?;
    }
}
