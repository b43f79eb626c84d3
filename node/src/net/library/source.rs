//! Asking a peer: one stream to each, shared by all jobs that fetch from it.

mod table;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use banyan_gossip::PeerId;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{Shared, buffers::Buffers, lock};
use crate::{
    library::{
        bitfield::PieceSet,
        download::{End, RequestId},
        manifest::{Manifest, PackageId},
        piece::Piece,
        wire::{
            Answer, Ask, BLOCK_HEAD_BYTES, Block, CHUNK_HEAD_BYTES, HEAD_BYTES, Head, Kind as Frame, Offer, PushState,
            WireError,
        },
    },
    net::activity::Activity,
};
use table::Table;

/// Commands that wait for one peer.
const COMMANDS_MAX: usize = 4096;
/// Questions to one peer that wait for an answer.
const QUESTIONS_MAX: usize = 64;
/// What one peer sends may wait for a job in so many messages.
pub(super) const INBOX_MESSAGES: usize = 256;
/// Nothing was asked for so long: the stream is closed and the link let go.
const IDLE: Duration = Duration::from_secs(10);
/// Between attempts to reach a peer that jobs need.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A peer reads what is asked at once; one that does not is broken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked of a peer.
#[derive(Debug)]
pub(super) enum Command {
    /// A job wants to know what the peer has of a package.
    Attach(u64, Attached),
    /// It wants nothing more.
    Detach(u64),
    /// It has left the peer out: what is on its way is not waited for.
    LeaveOut(u64),
    Pieces(u64, RequestId, Range<u32>),
    Cancel(u64, RequestId, Piece),
    /// What a job has pushed to the peer: everybody has it, it may be installed.
    Install(u64),
    /// It is not to be taken any more.
    Withdraw(u64),
    Question(Question),
}

/// Something that is fetched as a whole.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) what: What,
    /// An error if the peer broke the protocol before the answer was there.
    pub(super) answer: oneshot::Sender<Result<Vec<u8>, WireError>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Catalog([u8; 32]),
    Manifest(PackageId),
}

/// What a job is told.
#[derive(Debug)]
pub(super) enum FromSource {
    Up(PieceSet),
    /// Ranges, by the first piece and the one after the last.
    Has(Vec<(u32, u32)>),
    Down,
    /// Bytes of a piece; all of it with the last of them.
    Block {
        request: RequestId,
        piece: Piece,
        bytes: u32,
        whole: Option<Vec<u8>>,
    },
    Ended(RequestId, End),
    /// How far the peer is with what was pushed to it.
    Push(PushState),
    Misbehaved(String),
}

/// The peers that are asked.
#[derive(Debug, Default)]
pub(super) struct Sources(Mutex<BTreeMap<PeerId, mpsc::Sender<Command>>>);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer broke the protocol: {0}")]
    Wire(#[from] WireError),
    #[error("the peer does not read")]
    Stuck,
    #[error("nothing more to ask")]
    Idle,
    #[error("the peer was left out")]
    LeftOut,
}

impl Shared {
    /// Where to ask a peer.
    pub(super) fn source(self: &Arc<Self>, peer: PeerId) -> mpsc::Sender<Command> {
        let mut sources = lock(&self.sources.0);
        if let Some(source) = sources.get(&peer).filter(|source| !source.is_closed()) {
            return source.clone();
        }
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        sources.insert(peer, commands.clone());
        let shared = Arc::clone(self);
        let stop = self.stop.clone();
        self.spawn(async move {
            let mut asker = Asker { shared, peer, queue, jobs: BTreeMap::new(), questions: VecDeque::new() };
            tokio::select! {
                () = asker.run() => {}
                () = stop.cancelled() => {}
            }
        });
        commands
    }

    /// Fetches something from a peer as a whole; nothing if the peer does not have it or cannot be reached.
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub(super) async fn question(self: &Arc<Self>, peer: PeerId, what: What) -> Option<Result<Vec<u8>, WireError>> {
        let (answer, answered) = oneshot::channel();
        self.source(peer).send(Command::Question(Question { what, answer })).await.ok()?;
        answered.await.ok()
    }
}

struct Asker {
    shared: Arc<Shared>,
    peer: PeerId,
    queue: mpsc::Receiver<Command>,
    jobs: BTreeMap<u64, Attached>,
    /// Not asked yet.
    questions: VecDeque<Question>,
}

/// A job, as who asks a peer for it knows it.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    manifest: Arc<Manifest>,
    events: mpsc::Sender<(PeerId, FromSource)>,
    /// It does not fetch the package from the peer, but pushes it there.
    offer: Option<Arc<Offer>>,
}

impl Attached {
    pub(super) const fn new(manifest: Arc<Manifest>, events: mpsc::Sender<(PeerId, FromSource)>) -> Self {
        Self { manifest, events, offer: None }
    }

    pub(super) fn pushing(self, offer: Arc<Offer>) -> Self {
        Self { offer: Some(offer), ..self }
    }
}

impl Asker {
    async fn run(&mut self) {
        let mut wait = RETRY.0;
        loop {
            while self.jobs.is_empty() && self.questions.is_empty() {
                match timeout(IDLE, self.queue.recv()).await {
                    Ok(Some(command)) => self.note(command),
                    _ => {
                        let mut sources = lock(&self.shared.sources.0);
                        if self.queue.is_empty() {
                            self.queue.close();
                            sources.remove(&self.peer);
                            return;
                        }
                    }
                }
            }
            let error = match self.converse().await {
                Err(error) => error,
                Ok(asked) => {
                    wait = RETRY.0;
                    asked
                }
            };
            self.shared.port.let_go(self.peer).await;
            tracing::debug!(peer = %self.peer, error, "asked for packages");
            // Who waits for an answer asks somebody else.
            self.questions.clear();
            self.pause(wait).await;
            wait = (2 * wait).min(RETRY.1);
        }
    }

    /// Waits, and takes commands meanwhile.
    async fn pause(&mut self, time: Duration) {
        let mut over = std::pin::pin!(sleep(time));
        loop {
            tokio::select! {
                () = &mut over => return,
                Some(command) = self.queue.recv() => self.note(command),
            }
        }
    }

    /// Takes a command while there is no stream.
    fn note(&mut self, command: Command) {
        match command {
            Command::Attach(job, attached) => drop(self.jobs.insert(job, attached)),
            Command::Detach(job) | Command::LeaveOut(job) => drop(self.jobs.remove(&job)),
            Command::Question(question) if self.questions.len() < QUESTIONS_MAX => self.questions.push_back(question),
            // The job has been told that there is no stream, or will be.
            Command::Question(_)
            | Command::Pieces(..)
            | Command::Cancel(..)
            | Command::Install(_)
            | Command::Withdraw(_) => {}
        }
    }

    /// Opens a stream and asks until it breaks; `Err` if there was none.
    async fn converse(&mut self) -> Result<String, String> {
        let link = self.shared.port.link(self.peer).await.ok_or("there is no link")?;
        let stream = self.shared.port.open(self.peer, link.addresses).await.map_err(|error| error.to_string())?;
        let (from_peer, to_peer) = stream.split();
        let table = Mutex::new(Table::default());
        let error = {
            let (peer, shared) = (self.peer, Arc::clone(&self.shared));
            tokio::select! {
                Err(error) = read(peer, from_peer, &table, &link.activity, &shared.buffers) => error,
                Err(error) = self.ask(to_peer, &table) => error,
                else => StreamError::Idle,
            }
        };
        if let StreamError::Wire(error) = &error {
            let questions = std::mem::take(&mut lock(&table).questions).into_values();
            // Who does not listen any more has asked somebody else.
            questions.for_each(|(question, _)| drop(question.answer.send(Err(error.clone()))));
        }
        for attached in self.jobs.values() {
            let told = match &error {
                StreamError::Wire(error) => FromSource::Misbehaved(error.to_string()),
                _ => FromSource::Down,
            };
            let _ = attached.events.send((self.peer, told)).await;
        }
        Ok(error.to_string())
    }

    async fn ask(&mut self, mut stream: impl AsyncWrite + Unpin, table: &Mutex<Table>) -> Result<(), StreamError> {
        let mut out = Vec::new();
        for (job, attached) in &self.jobs {
            lock(table).attach(*job, attached.clone(), &mut out);
        }
        for question in self.questions.drain(..) {
            lock(table).question(question, &mut out);
        }
        loop {
            if !out.is_empty() {
                let write = async {
                    stream.write_all(&out).await?;
                    stream.flush().await
                };
                timeout(WRITE_TIMEOUT, write).await.map_err(|_| StreamError::Stuck)??;
                out.clear();
            }
            let command = match timeout(IDLE, self.queue.recv()).await {
                Ok(Some(command)) => command,
                Ok(None) => return Err(StreamError::Idle),
                Err(_) if self.jobs.is_empty() && !lock(table).has_questions() => return Err(StreamError::Idle),
                Err(_) => continue,
            };
            let mut leaves_out = matches!(command, Command::LeaveOut(_));
            self.carry_out(command, table, &mut out);
            while out.len() < 64 * 1024 {
                let Ok(command) = self.queue.try_recv() else { break };
                leaves_out |= matches!(command, Command::LeaveOut(_));
                self.carry_out(command, table, &mut out);
            }
            if leaves_out && self.jobs.is_empty() && !lock(table).has_questions() {
                return Err(StreamError::LeftOut);
            }
        }
    }

    fn carry_out(&mut self, command: Command, table: &Mutex<Table>, out: &mut Vec<u8>) {
        let mut table = lock(table);
        match command {
            Command::Attach(job, attached) => {
                self.jobs.insert(job, attached.clone());
                table.attach(job, attached, out);
            }
            Command::Detach(job) | Command::LeaveOut(job) => {
                self.jobs.remove(&job);
                table.detach(job, out);
            }
            Command::Pieces(job, request, pieces) => {
                if let Some(attached) = self.jobs.get(&job) {
                    table.pieces(job, attached, request, pieces, out);
                }
            }
            Command::Cancel(job, request, piece) => table.cancel(job, request, piece, out),
            Command::Install(job) => table.follow(job).map(Ask::Install).iter().for_each(|ask| ask.put(out)),
            Command::Withdraw(job) => table.follow(job).map(Ask::Withdraw).iter().for_each(|ask| ask.put(out)),
            Command::Question(question) => table.question(question, out),
        }
    }
}

/// A piece on its way.
#[derive(Default)]
struct Piecemeal {
    id: u64,
    piece: u32,
    bytes: Vec<u8>,
    filled: usize,
}

async fn read(
    peer: PeerId,
    mut stream: impl AsyncRead + Unpin,
    table: &Mutex<Table>,
    activity: &Activity,
    buffers: &Buffers,
) -> Result<(), StreamError> {
    let mut frame = Vec::new();
    let mut current = Piecemeal::default();
    loop {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let head = Head::decode(head)?;
        activity.note();
        let told = if matches!(head.kind, Frame::Block | Frame::Zeros) {
            Some(read_block(&mut stream, head, table, &mut current, buffers).await?)
        } else {
            frame.resize(head.bytes as usize, 0);
            stream.read_exact(&mut frame).await?;
            match (head.kind, frame.split_first_chunk::<CHUNK_HEAD_BYTES>()) {
                (Frame::Chunk, Some((id, bytes))) => lock(table).on_chunk(u64::from_be_bytes(*id), bytes)?,
                _ => lock(table).on_answer(Answer::decode(&frame)?)?,
            }
        };
        if let Some((attached, told)) = told {
            // A job that has ended hears nothing.
            let _ = attached.events.send((peer, told)).await;
        }
    }
}

/// Reads bytes of a piece to where they belong. Pieces come in order, so there is one at a time.
async fn read_block(
    stream: &mut (impl AsyncRead + Unpin),
    Head { kind, bytes }: Head,
    table: &Mutex<Table>,
    current: &mut Piecemeal,
    buffers: &Buffers,
) -> Result<(Attached, FromSource), StreamError> {
    let mut head = [0; BLOCK_HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let Block { id, piece, offset } = Block::decode(head);
    let mut bytes = bytes - BLOCK_HEAD_BYTES as u32;
    if kind == Frame::Zeros {
        let mut zeros = [0; 4];
        stream.read_exact(&mut zeros).await?;
        bytes = Block::zeros(zeros)?;
    }
    let asked = lock(table).requests.get(&id).map(|(_, request, attached, _)| (*request, attached.clone()));
    let (request, attached) = asked.ok_or(WireError::Unasked("bytes that were not asked for"))?;
    let at = attached.manifest.locate(Piece(piece)).ok_or(WireError::Unasked("a piece that does not exist"))?;
    if offset == 0 {
        // What was begun and given up is used again.
        buffers.give(std::mem::take(&mut current.bytes));
        *current = Piecemeal { id, piece, bytes: buffers.take(at.bytes as usize), filled: 0 };
    }
    let start = current.filled;
    if (current.id, current.piece, start) != (id, piece, offset as usize) {
        return Err(WireError::Unasked("bytes of a piece out of order").into());
    }
    let room = current.bytes.get_mut(start..start + bytes as usize);
    let room = room.ok_or(WireError::Unasked("more bytes than a piece has"))?;
    if kind == Frame::Zeros {
        room.fill(0);
    } else {
        stream.read_exact(room).await?;
    }
    current.filled += bytes as usize;
    let whole = (current.filled == at.bytes as usize).then(|| std::mem::take(current).bytes);
    Ok((attached, FromSource::Block { request, piece: Piece(piece), bytes, whole }))
}
