//! The task that carries one session: batches out, large reads in.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};

use super::session::Session;
use crate::net::{
    activity::Activity,
    writing::{BATCH_BYTES, WriteError, write_batch},
};
use crate::streams::{Batch, LinkError};

/// Least and most bytes asked for by one read.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// How late an idle stream may be noticed.
const SWEEP: Duration = Duration::from_secs(30);
/// How long the opening may take.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("timed out")]
    TimedOut,
    #[error("the peer broke the protocol: {0}")]
    Link(#[from] LinkError),
    #[error("the peer closed the connection")]
    Closed,
}

impl From<WriteError> for SessionError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => error.into(),
            WriteError::TimedOut => Self::TimedOut,
            WriteError::Closed => Self::Closed,
        }
    }
}

/// What whoever opens a session says first: its incarnation, and a number that it never used before in that.
/// The greater pair is the later session.
pub(crate) type SessionId = (u64, u64);

pub(crate) async fn write_opening(
    stream: &mut (impl AsyncWrite + Unpin),
    (incarnation, number): SessionId,
) -> Result<(), SessionError> {
    stream.write_all(&incarnation.to_be_bytes()).await?;
    stream.write_all(&number.to_be_bytes()).await?;
    Ok(stream.flush().await?)
}

pub(crate) async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<SessionId, SessionError> {
    let mut halves = [[0; 8]; 2];
    let read = async {
        for half in &mut halves {
            stream.read_exact(half).await?;
        }
        Ok::<_, io::Error>(())
    };
    timeout(OPENING_TIMEOUT, read).await.map_err(|_| SessionError::TimedOut)??;
    Ok(halves.map(u64::from_be_bytes).into())
}

/// Carries a session until its connection breaks. Cancel by dropping; the session is not told.
pub(crate) async fn run(
    session: &Arc<Session>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    activity: &Activity,
) -> SessionError {
    let (from_peer, to_peer) = stream.split();
    tokio::select! {
        Err(error) = write_frames(session, to_peer) => error,
        Err(error) = read_frames(session, from_peer, activity) => error,
        () = watch(session) => SessionError::Closed,
        else => SessionError::Closed,
    }
}

async fn write_frames(session: &Arc<Session>, mut stream: impl AsyncWrite + Unpin) -> Result<(), SessionError> {
    let mut batch = Batch::default();
    loop {
        session.act(|link| link.fill(BATCH_BYTES, &mut batch));
        if batch.is_empty() {
            session.work.notified().await;
            continue;
        }
        write_batch(&mut stream, &mut batch).await?;
    }
}

async fn read_frames(
    session: &Arc<Session>,
    mut stream: impl AsyncRead + Unpin,
    activity: &Activity,
) -> Result<(), SessionError> {
    let (mut buffer, mut room) = (BytesMut::new(), READ_BYTES_MIN);
    loop {
        // As much is asked for, and zeroed for it, as reads have lately filled.
        let filled = buffer.len();
        buffer.resize(filled + room, 0);
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(SessionError::Closed);
        }
        buffer.truncate(filled + read);
        if read == room {
            room = (2 * room).min(READ_BYTES_MAX);
        } else if read < room / 4 {
            room = (room / 2).max(READ_BYTES_MIN);
        }
        activity.note();
        session.act(|link| link.handle_bytes(Instant::now(), &mut buffer))?;
    }
}

async fn watch(session: &Arc<Session>) {
    loop {
        let soon = Instant::now() + SWEEP;
        let due = session.act(|link| link.poll_timeout()).map_or(soon, |at| at.min(soon));
        sleep_until(due.into()).await;
        session.act(|link| link.handle_timeout(Instant::now()));
    }
}
