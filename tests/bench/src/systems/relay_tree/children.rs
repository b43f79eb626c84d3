//! The children of a node: a bounded queue and a writer each.

use std::{
    io::IoSlice,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::frame::READ_BYTES;

/// Bytes that wait for a child, about.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Runs of frames given to one write, at most.
const BATCH: usize = 64;

/// Where a node passes frames on.
pub(super) struct Children {
    capacity: usize,
    queues: Mutex<Arc<[mpsc::Sender<Bytes>]>>,
}

impl Children {
    /// `single`: frames come one by one and not in runs.
    pub(super) fn new(size: usize, single: bool) -> Self {
        let run = if single { size } else { size.max(READ_BYTES) };
        Self { capacity: (QUEUE_BYTES / run.max(1)).clamp(4, 4 * 1024), queues: Mutex::new(Arc::new([])) }
    }

    /// Hands frames to every child; waits for those whose queues are full.
    pub(super) async fn send(&self, frames: &Bytes) {
        let queues = Arc::clone(&self.queues.lock().unwrap_or_else(PoisonError::into_inner));
        for queue in queues.iter() {
            // A child that is gone stays gone: nothing repairs this tree.
            let _ = queue.send(frames.clone()).await;
        }
    }

    fn adopt(&self) -> mpsc::Receiver<Bytes> {
        let (queue, frames) = mpsc::channel(self.capacity);
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        *queues = queues.iter().cloned().chain([queue]).collect();
        frames
    }
}

/// Takes in whoever connects.
pub(super) async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, children: Arc<Children>) {
    while let Ok((stream, _)) = listener.accept().await {
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let frames = children.adopt();
        match acceptor.clone() {
            None => drop(tokio::spawn(write(stream, frames))),
            Some(acceptor) => drop(tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(BufReader::new(stream)).await {
                    stream.get_mut().1.set_buffer_limit(Some(READ_BYTES));
                    write(stream, frames).await;
                }
            })),
        }
    }
}

/// Writes what is queued, as much as possible at once.
async fn write(mut child: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) {
    let mut batch = Vec::with_capacity(BATCH);
    while frames.recv_many(&mut batch, BATCH).await > 0 {
        if write_all(&mut child, &batch).await.is_err() {
            return;
        }
        batch.clear();
    }
}

async fn write_all(child: &mut (impl AsyncWrite + Unpin), batch: &[Bytes]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|frames| IoSlice::new(frames)).collect();
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let written = child.write_vectored(rest).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    child.flush().await
}
