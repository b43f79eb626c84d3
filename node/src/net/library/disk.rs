//! The disk's side of a download: one thread that checks pieces, writes them and makes them durable.

use std::{
    sync::{Arc, mpsc as blocking},
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{LibraryError, Shared, held::Partial, lock};
use crate::{
    library::{
        download::Input,
        piece::Piece,
        transaction::{self, TransactionError},
    },
    net::fs_store::FsStore,
};

/// Words on pieces that wait for the job; the disk waits then.
const WRITTEN_MAX: usize = 256;

/// A download on this machine's disk.
pub(super) type DiskDownload = transaction::Download<FsStore>;

/// What is to be written. What waits is bounded by the planner's window.
type Write = (PeerId, Piece, Vec<u8>);

/// What became of a piece.
#[derive(Debug)]
pub(super) enum Written {
    Input(Input),
    /// Nothing can be written any more.
    Failed(LibraryError),
}

/// The thread.
#[derive(Debug)]
pub(super) struct Disk {
    writes: blocking::Sender<Write>,
    thread: JoinHandle<Result<DiskDownload, LibraryError>>,
}

impl Disk {
    pub(super) fn start(
        shared: &Arc<Shared>,
        download: DiskDownload,
        partial: Arc<Partial>,
    ) -> (Self, mpsc::Receiver<Written>) {
        let (writes, queue) = blocking::channel();
        let (written, done) = mpsc::channel(WRITTEN_MAX);
        let running = Arc::clone(shared);
        let thread = shared.spawn_blocking(move || run(&running, download, &partial, &queue, &written));
        (Self { writes, thread }, done)
    }

    /// Checks a piece and writes it.
    pub(super) fn write(&self, source: PeerId, piece: Piece, bytes: Vec<u8>) {
        // If the thread has ended it has said why.
        let _ = self.writes.send((source, piece, bytes));
    }

    /// Makes everything durable, and gives the download back.
    pub(super) async fn finish(self) -> Result<DiskDownload, LibraryError> {
        drop(self.writes);
        self.thread.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

fn run(
    shared: &Shared,
    mut download: DiskDownload,
    partial: &Partial,
    queue: &blocking::Receiver<Write>,
    written: &mpsc::Sender<Written>,
) -> Result<DiskDownload, LibraryError> {
    loop {
        let due = download.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        let write = match queue.recv_timeout(due.unwrap_or(Duration::from_secs(3600))) {
            Ok(write) => Some(write),
            Err(blocking::RecvTimeoutError::Timeout) => None,
            Err(blocking::RecvTimeoutError::Disconnected) => {
                download.checkpoint()?;
                return Ok(download);
            }
        };
        if let Some((source, piece, bytes)) = write {
            let input = match download.write_piece(Instant::now(), piece, &bytes) {
                Ok(_) => {
                    lock(&partial.have).insert(piece);
                    Input::Stored { source, piece }
                }
                Err(TransactionError::Piece(error)) => {
                    tracing::warn!(%source, %error, "a source sent a wrong piece");
                    Input::Corrupt { source, piece }
                }
                Err(error) => return fail(error.into(), written),
            };
            shared.buffers.give(bytes);
            let _ = written.blocking_send(Written::Input(input));
        }
        if download.is_checkpoint_due(Instant::now())
            && let Err(error) = download.checkpoint()
        {
            return fail(error.into(), written);
        }
    }
}

fn fail<T>(error: LibraryError, written: &mpsc::Sender<Written>) -> Result<T, LibraryError> {
    let _ = written.blocking_send(Written::Failed(error.clone()));
    Err(error)
}
