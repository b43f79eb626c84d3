//! A connection and who drives it.
//!
//! libp2p polls each connection in a task of its own. Left at that, whatever is sent wakes that task, and whatever
//! comes wakes it before the task that reads: two more tasks a hop, with all of libp2p's bookkeeping each time. So a
//! stream that is written or read drives its connection itself, and the socket wakes a stream that reads [`driving`] in
//! place of the connection's task. What comes for that stream goes straight to whoever reads it, and what is
//! written straight to the socket: it lies in no buffer between.
//!
//! Reading never waits for writing: answers wait in a bounded queue. So two ends that are both full cannot wait for each
//! other.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
    time::Instant,
};

use futures::{
    io::{AsyncRead, AsyncWrite},
    task::AtomicWaker,
};

use super::{
    header::HEADER_BYTES,
    session::{Body, Session, StreamId},
};

/// Bytes that are read at a time if they are of a stream that is not the one being read, or that is gone.
const KEEP_BYTES: usize = 64 * 1024;
const SKIP_BYTES: usize = 4 * 1024;
/// Frames that are read in one go, before others have their turn.
const FRAMES_MAX: usize = 64;

thread_local! {
    static DRIVING: Cell<bool> = const { Cell::new(false) };
}

/// Reads a stream such that what comes for its connection wakes the reader directly. Until the stream is
/// dropped, its task must poll it soon whenever it is woken.
pub(in super::super) fn driving<T>(read: impl FnOnce() -> T) -> T {
    DRIVING.set(true);
    let result = read();
    DRIVING.set(false);
    result
}

/// Whether this is called from within [`driving`].
pub(super) fn is_driving() -> bool {
    DRIVING.get()
}

/// Whom the socket wakes when there is something to read.
#[derive(Debug)]
struct Readable {
    task: Arc<AtomicWaker>,
    /// Woken instead of the connection's task.
    driver: Mutex<Option<Waker>>,
}

/// Whom the socket wakes when it takes more.
#[derive(Debug)]
struct Writable {
    task: Arc<AtomicWaker>,
    /// There is something to be sent that is none of the writers'.
    is_owed: AtomicBool,
    writers: Mutex<Vec<Waker>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wake for Readable {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match &*locked(&self.driver) {
            Some(driver) => driver.wake_by_ref(),
            None => self.task.wake(),
        }
    }
}

impl Wake for Writable {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let writers = std::mem::take(&mut *locked(&self.writers));
        if writers.is_empty() || self.is_owed.swap(false, Ordering::Relaxed) {
            self.task.wake();
        }
        writers.into_iter().for_each(Waker::wake);
    }
}

/// A connection, shared by its muxer and its streams.
#[derive(Debug)]
pub(super) struct Shared<C> {
    state: Mutex<Connection<C>>,
    /// The connection's own task.
    pub(super) task: Arc<AtomicWaker>,
    readable: Arc<Readable>,
    writable: Arc<Writable>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Shared<C> {
    pub(super) fn new(io: C, dialled: bool) -> Arc<Self> {
        let task = Arc::new(AtomicWaker::new());
        let readable = Arc::new(Readable { task: Arc::clone(&task), driver: Mutex::default() });
        let writable =
            Arc::new(Writable { task: Arc::clone(&task), is_owed: AtomicBool::new(false), writers: Mutex::default() });
        let state = Connection {
            session: Session::new(dialled),
            io: Some(io),
            on_readable: Waker::from(Arc::clone(&readable)),
            on_writable: Waker::from(Arc::clone(&writable)),
            writable: Arc::clone(&writable),
            header: ([0; HEADER_BYTES], 0),
            body: None,
            rest: Vec::new(),
            flushed: true,
            failed: None,
        };
        Arc::new(Self { state: Mutex::new(state), task, readable, writable })
    }
}

impl<C> Shared<C> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Connection<C>> {
        locked(&self.state)
    }

    /// Whom the socket wakes from now on, every time, when there is something to read.
    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut driver = locked(&self.readable.driver);
        if driver.as_ref().is_some_and(|driver| driver.will_wake(waker)) {
            return;
        }
        let former = driver.replace(waker.clone());
        // A waker may hold more than itself: it is dropped outside of the lock.
        drop(driver);
        drop(former);
    }

    /// The connection's task looks after reading itself again.
    pub(super) fn take_back(&self) {
        let former = locked(&self.readable.driver).take();
        drop(former);
    }

    /// Who is to be woken when the socket takes more. It may have done so just before: look again after this.
    pub(super) fn wait_to_write(&self, waker: &Waker) {
        let mut writers = locked(&self.writable.writers);
        // One that wakes nobody must not keep the connection's task from being woken.
        let wakes = !waker.will_wake(Waker::noop());
        if wakes && !writers.iter().any(|writer| writer.will_wake(waker)) {
            writers.push(waker.clone());
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection<C> {
    pub(super) session: Session,
    /// Until it is closed.
    io: Option<C>,
    on_readable: Waker,
    on_writable: Waker,
    writable: Arc<Writable>,
    /// The header that comes, and how much of it has.
    header: ([u8; HEADER_BYTES], usize),
    /// The data that comes.
    body: Option<Body>,
    /// What is left of a frame of which the socket took only a part.
    rest: Vec<u8>,
    flushed: bool,
    failed: Option<io::ErrorKind>,
}

/// What there is of a stream to be read to a buffer.
pub(super) struct Direct<'a> {
    pub(super) stream: StreamId,
    pub(super) buffer: &'a mut [u8],
}

impl<C: AsyncRead + AsyncWrite + Unpin> Connection<C> {
    /// What the connection ended with, if it has.
    pub(super) fn failed(&self) -> Option<io::Error> {
        self.failed.map(io::Error::from)
    }

    fn fail(&mut self, kind: io::ErrorKind) {
        if self.failed.is_none() {
            self.failed = Some(kind);
            self.session.wake_all();
            self.writable.task.wake();
        }
    }

    /// Takes in what has come, but for the data of one stream if it is wanted directly: says how much of that there was.
    pub(super) fn take_in(&mut self, direct: Option<Direct<'_>>) -> usize {
        let opened = self.session.opened();
        let count = self.take_frames(direct);
        if self.session.opened() > opened {
            // Whoever reads here is not who accepts streams.
            self.writable.task.wake();
        }
        count
    }

    fn take_frames(&mut self, mut direct: Option<Direct<'_>>) -> usize {
        let (now, mut frames, mut count) = (Instant::now(), 0, 0);
        self.session.ping_if_due(now);
        while self.failed.is_none() && frames < FRAMES_MAX {
            let read = match &mut direct {
                Some(direct) if direct.buffer.len() == count => return count,
                Some(Direct { stream, buffer }) if self.is_direct(*stream) => {
                    let read = self.read_body(&mut buffer[count..]);
                    count += if let Poll::Ready(Ok(read)) = read { read } else { 0 };
                    read
                }
                _ if self.body.is_some() => self.read_for_others(),
                _ => {
                    frames += 1;
                    self.read_header(now)
                }
            };
            match read {
                Poll::Ready(Ok(0)) => self.fail(io::ErrorKind::ConnectionAborted),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a connection ends");
                    self.fail(error.kind());
                }
                Poll::Pending => return count,
            }
        }
        if self.failed.is_none() && count == 0 {
            // Others have their turn first.
            self.on_readable.wake_by_ref();
        }
        count
    }

    /// Whether the data that comes is this stream's, with nothing before it.
    fn is_direct(&mut self, stream: StreamId) -> bool {
        self.body.is_some_and(|body| body.stream == stream) && self.session.flow(stream).received.is_empty()
    }

    fn read_header(&mut self, now: Instant) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(0)) };
        let (header, filled) = &mut self.header;
        let read = ready!(Pin::new(io).poll_read(&mut Context::from_waker(&self.on_readable), &mut header[*filled..]))?;
        *filled += read;
        if *filled == HEADER_BYTES {
            *filled = 0;
            match self.session.on_header(now, header) {
                Ok(body) => self.body = body,
                Err(violation) => {
                    self.session.go_away(true);
                    // If the socket takes it: the connection ends anyway.
                    let _ = self.poll_out();
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
                }
            }
            if self.session.gone {
                self.fail(io::ErrorKind::ConnectionAborted);
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Reads some of the data that comes.
    fn read_body(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let (Some(io), Some(body)) = (&mut self.io, &mut self.body) else { return Poll::Ready(Ok(0)) };
        let most = buffer.len().min(body.left);
        let read = ready!(Pin::new(io).poll_read(&mut Context::from_waker(&self.on_readable), &mut buffer[..most]))?;
        body.left -= read;
        if body.left == 0 {
            let body = self.body.take().expect("it was just read");
            self.session.on_body_end(&body);
        }
        Poll::Ready(Ok(read))
    }

    /// Reads some of the data that comes for a stream that is not being read.
    fn read_for_others(&mut self) -> Poll<io::Result<usize>> {
        let Some(Body { stream, left, .. }) = self.body else { return Poll::Ready(Ok(0)) };
        let Some(mut kept) = self.session.take_received(stream) else { return self.read_body(&mut [0; SKIP_BYTES]) };
        let before = kept.len();
        kept.resize(before + left.min(KEEP_BYTES), 0);
        let read = self.read_body(&mut kept[before..]);
        kept.truncate(before + if let Poll::Ready(Ok(read)) = read { read } else { 0 });
        self.session.keep(stream, kept);
        read
    }

    /// Ready when the socket has taken all that was written, and takes more.
    pub(super) fn poll_drained(&mut self) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())) };
        let mut cx = Context::from_waker(&self.on_writable);
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut *io).poll_write(&mut cx, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.drain(..written);
        }
        if !self.flushed {
            ready!(Pin::new(io).poll_flush(&mut cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the frames that wait, and then the first `length` bytes of these parts as data of the stream. All
    /// that was written before must have been [taken](Self::poll_drained).
    pub(super) fn send_data(&mut self, id: StreamId, parts: &[IoSlice<'_>], length: usize) -> io::Result<()> {
        self.session.begin_data(id, length);
        self.write(parts, length)
    }

    /// Sends the frames that wait, as far as the socket takes them.
    pub(super) fn poll_out(&mut self) -> Poll<io::Result<()>> {
        let owed = !self.session.out.is_empty();
        if owed {
            // Until all has left: the wake of a writer need not lead back to this, since it may want nothing any more.
            self.writable.is_owed.store(true, Ordering::Relaxed);
            ready!(self.poll_drained())?;
            self.write(&[], 0)?;
        }
        ready!(self.poll_drained())?;
        if owed {
            self.writable.is_owed.store(false, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the frames that wait and the first `length` bytes of these parts; what the socket does not take at once is kept.
    fn write(&mut self, parts: &[IoSlice<'_>], length: usize) -> io::Result<()> {
        let Some(io) = &mut self.io else { return Err(io::ErrorKind::ConnectionAborted.into()) };
        let out = &mut self.session.out;
        let (mut slices, mut left) = (Vec::with_capacity(1 + parts.len()), length);
        slices.push(IoSlice::new(out));
        for part in parts {
            let taken = part.len().min(left);
            left -= taken;
            slices.push(IoSlice::new(&part[..taken]));
        }
        let total = out.len() + length;
        let mut written = match Pin::new(io).poll_write_vectored(&mut Context::from_waker(&self.on_writable), &slices) {
            Poll::Ready(result) => result?,
            Poll::Pending => 0,
        };
        let whole = written == total;
        if !whole {
            for slice in slices {
                let skipped = written.min(slice.len());
                written -= skipped;
                self.rest.extend_from_slice(&slice[skipped..]);
            }
        }
        out.clear();
        self.flushed = false;
        // As far as it goes now: unless it waits, nothing wakes anybody for the rest.
        if !whole && let Poll::Ready(result) = self.poll_drained() {
            return result;
        }
        Ok(())
    }

    /// Sends what waits without waiting for it: the connection's task goes on with it if need be.
    pub(super) fn send_out(&mut self) {
        if self.session.out.is_empty() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_out() {
            self.fail(error.kind());
        }
    }

    /// Closes the connection, after the remote was told.
    pub(super) fn poll_close(&mut self) -> Poll<io::Result<()>> {
        if self.failed.is_none() {
            self.session.go_away(false);
        }
        self.fail(io::ErrorKind::ConnectionAborted);
        ready!(self.poll_out())?;
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        Pin::new(io).poll_close(&mut Context::from_waker(&self.on_writable))
    }

    /// The connection goes, whoever still holds a stream.
    pub(super) fn shut(&mut self) -> Option<C> {
        self.fail(io::ErrorKind::ConnectionAborted);
        self.io.take()
    }
}
