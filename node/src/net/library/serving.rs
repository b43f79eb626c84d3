//! Answering peers: one stream of each, served fairly.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::timeout,
};

use super::{
    Shared,
    batch::Batch,
    follows::{Follow, Follows, send_blob},
    held::Held,
    lock,
    port::Asking,
};
use crate::{
    library::{
        download::RequestId,
        manifest::{Manifest, PackageId},
        piece::Piece,
        serve::{BLOCK_BYTES, Output, Refused, Serve},
        store::{Access, Store, is_zero},
        wire::{Answer, Ask, Block, HEAD_BYTES, Head, Kind, WireError},
    },
    net::fs_store::FsFile,
};

/// Bytes that are read from the disk and written to a peer at a time; each peer takes three times as much memory.
const BATCH_BYTES: u64 = 512 * 1024;
/// A batch is smaller if the peer takes longer for it than this, and larger if it takes less than a quarter: what is
/// on its way to a peer comes even if it is cancelled.
const BATCH_TIME: Duration = Duration::from_millis(100);
/// Batches of a peer that are decided and not written yet; what is decided is no more shared fairly.
const DECIDED_BATCHES: u64 = 2;
/// Blocks of a peer that are decided and not written yet.
const DECIDED_BLOCKS: usize = 8192;
/// Messages to a peer that wait, of at most 128 KiB each.
const ANSWERS_MAX: usize = 16;
/// Reads from disks at a time.
const READS_MAX: usize = 4;
/// A peer that takes not a byte for this long is broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Those who ask.
#[derive(Debug)]
pub(super) struct Serving {
    /// Locked before `askers`.
    serve: Mutex<Serve>,
    askers: Mutex<BTreeMap<PeerId, Arc<Asker>>>,
    next: AtomicU64,
    reads: Semaphore,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            serve: Mutex::default(),
            askers: Mutex::default(),
            next: AtomicU64::new(0),
            reads: Semaphore::new(READS_MAX),
        }
    }
}

/// A stream that a peer asks on.
#[derive(Debug)]
struct Asker {
    peer: PeerId,
    number: u64,
    decided: Mutex<Decided>,
    /// Requests of which something could not be read, and whose end is not told any more.
    gone: Mutex<BTreeSet<u64>>,
    bell: Notify,
}

/// What goes to a peer next.
#[derive(Debug)]
struct Decided {
    parts: VecDeque<Part>,
    /// Bytes in `parts` and on their way to the stream.
    bytes: u64,
    batch_bytes: u64,
}

impl Default for Decided {
    fn default() -> Self {
        Self { parts: VecDeque::new(), bytes: 0, batch_bytes: BLOCK_BYTES.into() }
    }
}

impl Decided {
    const fn has_room(&self) -> bool {
        self.bytes < DECIDED_BATCHES * self.batch_bytes
    }

    /// Bytes were written, in this time.
    fn on_written(&mut self, bytes: u64, time: Duration) {
        self.bytes -= bytes;
        if time > BATCH_TIME {
            self.batch_bytes = (self.batch_bytes / 2).max(BLOCK_BYTES.into());
        } else if bytes >= self.batch_bytes && time < BATCH_TIME / 4 {
            self.batch_bytes = (self.batch_bytes * 2).min(BATCH_BYTES);
        }
    }

    /// Drops what was decided of a piece.
    fn cancel(&mut self, of: u64, cancelled: Piece) {
        self.parts.retain(|part| match part {
            Part::Block { request, piece, bytes, .. } if *request == of && *piece == cancelled => {
                self.bytes -= u64::from(*bytes);
                false
            }
            _ => true,
        });
    }
}

#[derive(Debug)]
enum Part {
    Block { request: u64, manifest: Arc<Manifest>, piece: Piece, offset: u32, bytes: u32 },
    End(u64),
}

/// Why a peer is not served any more.
#[derive(Debug, thiserror::Error)]
enum AskerError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it broke the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("it made an impossible request")]
    Invalid,
    #[error("it does not read")]
    Stuck,
    #[error("it asks on another stream")]
    Replaced,
}

impl Shared {
    /// Serves a peer until its stream ends; a stream that it had before is given up.
    pub(super) fn answer(self: &Arc<Self>, asking: Asking) {
        let Asking { peer, stream, activity } = asking;
        let number = self.serving.next.fetch_add(1, Ordering::Relaxed);
        let asker =
            Arc::new(Asker { peer, number, decided: Mutex::default(), gone: Mutex::default(), bell: Notify::new() });
        {
            let mut serve = lock(&self.serving.serve);
            serve.handle_down(peer);
            if let Some(before) = lock(&self.serving.askers).insert(peer, Arc::clone(&asker)) {
                before.bell.notify_one();
            }
        }
        let (shared, stop) = (Arc::clone(self), self.stop.clone());
        self.spawn(async move {
            let (from_peer, to_peer) = stream.split();
            let (answers, queue) = mpsc::channel(ANSWERS_MAX);
            let (blocks, read) = mpsc::channel(1);
            let follows = Mutex::new(Follows::default());
            let error = tokio::select! {
                () = stop.cancelled() => None,
                Err(error) = shared.read_asks(&asker, from_peer, &answers, &follows, &activity) => Some(error),
                Err(error) = shared.read_blocks(&asker, &blocks) => Some(error),
                Err(error) = shared.write_answers(&asker, to_peer, queue, read) => Some(error),
                () = shared.tell_followers(peer, &answers, &follows) => None,
                else => None,
            };
            if let Some(error) = error {
                tracing::debug!(%peer, %error, "serves a peer no more");
            }
            let (mut serve, mut askers) = (lock(&shared.serving.serve), lock(&shared.serving.askers));
            if askers.get(&peer).is_some_and(|current| current.number == number) {
                askers.remove(&peer);
                serve.handle_down(peer);
            }
        });
    }

    async fn read_asks(
        self: &Arc<Self>,
        asker: &Arc<Asker>,
        mut stream: impl AsyncRead + Unpin,
        answers: &mpsc::Sender<Vec<u8>>,
        follows: &Mutex<Follows>,
        activity: &crate::net::activity::Activity,
    ) -> Result<(), AskerError> {
        let mut frame = Vec::new();
        loop {
            let mut head = [0; HEAD_BYTES];
            stream.read_exact(&mut head).await?;
            let Head { kind, bytes } = Head::decode(head)?;
            if kind != Kind::Control {
                return Err(WireError::Unasked("bytes from who asks").into());
            }
            frame.resize(bytes as usize, 0);
            stream.read_exact(&mut frame).await?;
            activity.note();
            let mut out = Vec::new();
            match Ask::decode(&frame)? {
                Ask::Catalog(id, digest) => match self.own_catalog(digest) {
                    Some(bytes) => send_blob(id, &bytes, answers).await,
                    None => Answer::Gone(id).put(&mut out),
                },
                Ask::Manifest(id, package) => match self.held(package) {
                    Some(held) => {
                        let encode = move || held.manifest().encode();
                        let bytes = self.spawn_blocking(encode).await.map_err(io::Error::other)?;
                        send_blob(id, &bytes, answers).await;
                    }
                    None => Answer::Gone(id).put(&mut out),
                },
                Ask::Follow(id, package) => match self.held(package) {
                    Some(held) if !lock(follows).is_full() => {
                        let told = self.told(&asker.peer, &held);
                        send_blob(id, &told.to_bytes(), answers).await;
                        lock(follows).packages.insert(id, Follow { package, told });
                    }
                    _ => Answer::Gone(id).put(&mut out),
                },
                Ask::Unfollow(id) => {
                    let mut follows = lock(follows);
                    follows.packages.remove(&id);
                    follows.pushed.remove(&id);
                }
                Ask::Push(id, offer) => {
                    if lock(follows).is_full() {
                        Answer::Gone(id).put(&mut out);
                    } else {
                        let taken = self.take(asker.peer, offer);
                        lock(follows).pushed.insert(id, taken);
                    }
                }
                Ask::Install(id) => {
                    if let Some(taken) = lock(follows).pushed.get_mut(&id) {
                        self.install_taken(taken);
                    }
                }
                Ask::Withdraw(id) => {
                    if let Some(taken) = lock(follows).pushed.get(&id) {
                        self.withdraw(asker.peer, taken);
                    }
                }
                Ask::Pieces(id, package, first, count) => {
                    let end = first.checked_add(count).ok_or(AskerError::Invalid)?;
                    self.on_pieces(asker, id, package, first..end, &mut out)?;
                }
                Ask::Cancel(id, piece) => {
                    let mut serve = lock(&self.serving.serve);
                    serve.handle_cancel(asker.peer, RequestId(id), Piece(piece));
                    let mut decided = lock(&asker.decided);
                    decided.cancel(id, Piece(piece));
                    if decided.has_room() {
                        serve.handle_ready(asker.peer, true);
                    }
                }
            }
            self.decide();
            if !out.is_empty() && answers.send(out).await.is_err() {
                return Ok(());
            }
        }
    }

    fn on_pieces(
        &self,
        asker: &Asker,
        id: u64,
        package: PackageId,
        pieces: Range<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), AskerError> {
        let Some(held) = self.held(package).filter(|held| held.has(pieces.clone())) else {
            Answer::Gone(id).put(out);
            return Ok(());
        };
        let busy = lock(&asker.decided).parts.len() > DECIDED_BLOCKS;
        let refused = if busy {
            Err(Refused::Busy(Duration::from_millis(500)))
        } else {
            lock(&self.serving.serve).handle_request(asker.peer, RequestId(id), held.manifest(), pieces)
        };
        match refused {
            Ok(()) => {}
            Err(Refused::Busy(after)) => Answer::Busy(id, after.as_millis() as u32).put(out),
            Err(Refused::Invalid) => return Err(AskerError::Invalid),
        }
        Ok(())
    }

    /// Decides what goes to whom next.
    fn decide(&self) {
        let mut serve = lock(&self.serving.serve);
        while let Some(output) = serve.poll_output() {
            let (peer, part, bytes) = match output {
                Output::Block { peer, request, manifest, piece, offset, bytes } => {
                    (peer, Part::Block { request: request.0, manifest, piece, offset, bytes }, u64::from(bytes))
                }
                Output::End { peer, request } => (peer, Part::End(request.0), 0),
            };
            let Some(asker) = lock(&self.serving.askers).get(&peer).cloned() else { continue };
            let mut decided = lock(&asker.decided);
            decided.parts.push_back(part);
            decided.bytes += bytes;
            if !decided.has_room() {
                serve.handle_ready(peer, false);
            }
            drop(decided);
            asker.bell.notify_one();
        }
    }

    /// Reads from the disk what was decided, ahead of what is written.
    async fn read_blocks(
        self: &Arc<Self>,
        asker: &Arc<Asker>,
        blocks: &mpsc::Sender<(Batch, u64)>,
    ) -> Result<(), AskerError> {
        loop {
            if lock(&self.serving.askers).get(&asker.peer).is_none_or(|current| current.number != asker.number) {
                return Err(AskerError::Replaced);
            }
            let (parts, bytes) = asker.take();
            if parts.is_empty() {
                asker.bell.notified().await;
                continue;
            }
            let shared = Arc::clone(self);
            let permit = self.serving.reads.acquire().await.map_err(io::Error::other)?;
            let read = self
                .spawn_blocking({
                    let asker = Arc::clone(asker);
                    move || shared.read_parts(&asker, parts)
                })
                .await
                .map_err(io::Error::other)?;
            drop(permit);
            if blocks.send((read, bytes)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Blocks. A request of which something cannot be read is gone: a download that is just put in place is
    /// elsewhere a moment later, and may be asked for again.
    fn read_parts(&self, asker: &Asker, parts: Vec<Part>) -> Batch {
        let mut gone = lock(&asker.gone);
        let mut out = Batch::new(&self.buffers);
        let mut held: Option<Held> = None;
        let mut open: Option<(usize, FsFile)> = None;
        for part in parts {
            let (request, manifest, piece, offset, bytes) = match part {
                Part::End(request) => {
                    if !gone.remove(&request) {
                        out.put(|head| Answer::End(request).put(head));
                    }
                    continue;
                }
                Part::Block { request, .. } if gone.contains(&request) => continue,
                Part::Block { request, manifest, piece, offset, bytes } => (request, manifest, piece, offset, bytes),
            };
            if held.as_ref().is_none_or(|held| held.manifest().id() != manifest.id()) {
                (held, open) = (self.held(manifest.id()), None);
            }
            let place = held.as_ref().zip(manifest.locate(piece));
            let Some((held, at)) = place else {
                out.put(|head| Answer::Gone(request).put(head));
                gone.insert(request);
                continue;
            };
            let store = held.root().library.store();
            if open.as_ref().is_none_or(|(file, _)| *file != at.file) {
                let path = held.path(at.file);
                open = path.and_then(|path| Some((at.file, store.open(&path, Access::Read).ok()?)));
            }
            let start = out.filled;
            out.put(|head| Block { id: request, piece: piece.0, offset }.put(head, bytes));
            let (room, mut read) = (out.room(bytes as usize), 0);
            while read < room.len() {
                let place = at.offset + u64::from(offset) + read as u64;
                match open.as_ref().map(|(_, file)| store.read_at(file, place, &mut room[read..])) {
                    Some(Ok(more @ 1..)) => read += more,
                    _ => break,
                }
            }
            if read == bytes as usize && is_zero(room) {
                out.filled = start;
                out.put(|head| Block { id: request, piece: piece.0, offset }.put_zeros(head, bytes));
            } else if read < bytes as usize {
                out.filled = start;
                out.put(|head| Answer::Gone(request).put(head));
                gone.insert(request);
            }
        }
        out
    }

    async fn write_answers(
        &self,
        asker: &Asker,
        mut stream: impl AsyncWrite + Unpin,
        mut answers: mpsc::Receiver<Vec<u8>>,
        mut blocks: mpsc::Receiver<(Batch, u64)>,
    ) -> Result<(), AskerError> {
        loop {
            let (out, bytes) = tokio::select! {
                biased;
                Some(out) = answers.recv() => (Batch::from(out), None),
                Some((out, bytes)) = blocks.recv() => (out, Some(bytes)),
                else => return Ok(()),
            };
            let begun = Instant::now();
            if let Some(bytes) = bytes {
                self.pace.wait(bytes).await;
            }
            #[cfg(test)]
            let out = self.liar.change(out, &mut stream).await?;
            let mut rest = &out.bytes[..out.filled];
            while !rest.is_empty() {
                match timeout(STALL_TIMEOUT, stream.write(rest)).await.map_err(|_| AskerError::Stuck)?? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    written => rest = &rest[written..],
                }
            }
            timeout(STALL_TIMEOUT, stream.flush()).await.map_err(|_| AskerError::Stuck)??;
            if let Some(bytes) = bytes {
                self.buffers.give(out.bytes);
                let mut decided = lock(&asker.decided);
                decided.on_written(bytes, begun.elapsed());
                let room = decided.has_room();
                drop(decided);
                if room {
                    lock(&self.serving.serve).handle_ready(asker.peer, true);
                    self.decide();
                }
            }
        }
    }
}

impl Asker {
    /// What to read next, and its bytes.
    fn take(&self) -> (Vec<Part>, u64) {
        let mut decided = lock(&self.decided);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while bytes < decided.batch_bytes
            && let Some(part) = decided.parts.pop_front()
        {
            if let Part::Block { bytes: block, .. } = &part {
                bytes += u64::from(*block);
            }
            parts.push(part);
        }
        (parts, bytes)
    }
}
