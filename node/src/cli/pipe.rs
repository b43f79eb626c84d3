//! Standard input and output as bounded queues of chunks.
//!
//! Both are plain files to the kernel, which cannot be waited for like sockets; so a blocking thread
//! each moves the bytes, in large pieces and without a buffer of the standard library in between.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
};

/// Chunks that wait in a queue.
const CHUNKS: usize = 8;
/// Most bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// What standard input gives; the queue closes at its end. A failure to read is sent aside.
pub(crate) fn stdin() -> (mpsc::Receiver<Bytes>, oneshot::Receiver<io::Error>) {
    let (chunks, queue) = mpsc::channel(CHUNKS);
    let (failed, failure) = oneshot::channel();
    spawn_blocking(move || {
        if let Err(error) = read_all(&chunks) {
            let _ = failed.send(error);
        }
    });
    (queue, failure)
}

fn read_all(chunks: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                if chunks.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Stdout {
    chunks: mpsc::Sender<Bytes>,
    writer: JoinHandle<io::Result<()>>,
}

impl Stdout {
    pub(crate) fn new() -> Self {
        let (chunks, mut queue) = mpsc::channel::<Bytes>(CHUNKS);
        let writer = spawn_blocking(move || {
            let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            while let Some(chunk) = queue.blocking_recv() {
                output.write_all(&chunk)?;
            }
            Ok(())
        });
        Self { chunks, writer }
    }

    /// Queues a chunk; `false` when nothing can be written any more, and [`Stdout::finish`] says why.
    pub(crate) async fn write(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Waits until everything is written.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.chunks);
        self.writer.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
