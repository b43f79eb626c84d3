//! Who drives a connection.
//!
//! libp2p polls each connection in a task of its own. Left at that, whatever is sent wakes that task, and whatever
//! comes wakes it before the task that reads: two more tasks a hop, with all of libp2p's bookkeeping each time. So a
//! stream that is written or read drives its connection itself, and
//! the socket wakes a stream that reads [`driving`] in place of the connection's task.

use std::{
    cell::Cell,
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{
    io::{AsyncRead, AsyncWrite},
    task::AtomicWaker,
};

use super::unstick::Unstick;

/// Streams that the remote opened and nobody accepted yet; more are reset.
pub(super) const BACKLOG_MAX: usize = 128;

thread_local! {
    static DRIVING: Cell<bool> = const { Cell::new(false) };
}

/// Reads a stream such that what comes for its connection wakes the reader directly. Until the stream is
/// dropped, its task must poll it soon whenever it is woken.
pub(super) fn driving<T>(read: impl FnOnce() -> T) -> T {
    DRIVING.set(true);
    let result = read();
    DRIVING.set(false);
    result
}

/// Whether this is called from within [`driving`].
pub(super) fn is_driving() -> bool {
    DRIVING.get()
}

const HUSHED: u8 = 1;
const BLOWN: u8 = 2;

/// A waker that can be hushed: then it only notes that it was to wake somebody.
#[derive(Debug, Default)]
pub(super) struct Whistle {
    state: AtomicU8,
    task: AtomicWaker,
    /// Woken instead of the task.
    driver: Mutex<Option<Waker>>,
}

impl Whistle {
    /// Whom to wake.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Hushes it, or forgets what it noted.
    pub(super) fn hush(&self) {
        self.state.swap(HUSHED, Ordering::AcqRel);
    }

    /// Says whether anybody was to be woken meanwhile: then what it stands for must be looked at again.
    pub(super) fn unhush(&self) -> bool {
        self.state.swap(0, Ordering::AcqRel) & BLOWN != 0
    }

    fn driver(&self) -> MutexGuard<'_, Option<Waker>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to wake from now on, every time.
    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut driver = self.driver();
        if driver.as_ref().is_some_and(|driver| driver.will_wake(waker)) {
            return;
        }
        let former = driver.replace(waker.clone());
        // A waker may hold more than itself: it is dropped outside of the lock.
        drop(driver);
        drop(former);
    }

    /// The task looks after it itself again, beginning at once.
    pub(super) fn take_back(&self) {
        let former = self.driver().take();
        drop(former);
        self.task.wake();
    }
}

impl Wake for Whistle {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(BLOWN, Ordering::AcqRel) & HUSHED != 0 {
            return;
        }
        match &*self.driver() {
            Some(driver) => driver.wake_by_ref(),
            None => self.task.wake(),
        }
    }
}

/// A connection, shared by its muxer and its streams.
pub(super) struct Driven<C> {
    state: Mutex<State<C>>,
    pub(super) whistle: Arc<Whistle>,
    /// The whistle as all polls of the connection register it.
    waker: Waker,
}

pub(super) struct State<C> {
    /// Until the muxer is dropped.
    pub(super) connection: Option<yamux::Connection<Unstick<C>>>,
    /// Nobody but the muxer drives it any more.
    pub(super) closing: bool,
    /// What the connection ended with, until the muxer tells it.
    failed: Option<io::Error>,
    backlog: VecDeque<yamux::Stream>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Driven<C> {
    pub(super) fn new(connection: yamux::Connection<Unstick<C>>) -> Arc<Self> {
        let whistle = Arc::<Whistle>::default();
        let state = State { connection: Some(connection), closing: false, failed: None, backlog: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), waker: Waker::from(Arc::clone(&whistle)), whistle })
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drives the connection as far as it goes.
    pub(super) fn poll(&self, state: &mut State<C>) {
        let State { connection: Some(connection), closing: false, failed, backlog } = state else { return };
        let next = match connection.poll_next_inbound(&mut self.context()) {
            Poll::Pending => return,
            Poll::Ready(Some(Ok(stream))) => Ok(stream),
            Poll::Ready(Some(Err(error))) => Err(into_io(error)),
            Poll::Ready(None) => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        match next {
            Ok(stream) if backlog.len() < BACKLOG_MAX => backlog.push_back(stream),
            Ok(_) => tracing::debug!("too many streams wait to be accepted: one is reset"),
            Err(error) => *failed = Some(failed.take().unwrap_or(error)),
        }
        // There may be more, but first others have their turn.
        self.whistle.task.wake();
    }

    /// Drives the connection on behalf of a stream that does something, before if nothing can be done
    /// otherwise, and after if something was.
    pub(super) fn drive<T>(&self, sends: bool, mut act: impl FnMut() -> Poll<T>) -> Poll<T> {
        // Not only if it is free: whoever is at it may have looked already at what this task was woken for.
        let mut state = self.lock();
        self.whistle.hush();
        let mut result = act();
        if result.is_pending() || sends {
            self.whistle.hush();
            self.poll(&mut state);
            if result.is_pending() {
                result = act();
            }
        }
        if self.whistle.unhush() {
            self.poll(&mut state);
        }
        result
    }
}

impl<C> State<C> {
    /// The next stream that the remote opened, or the end.
    pub(super) fn next(&mut self) -> Poll<io::Result<yamux::Stream>> {
        match (self.backlog.pop_front(), self.failed.take()) {
            (Some(stream), failed) => {
                self.failed = failed;
                Poll::Ready(Ok(stream))
            }
            (None, Some(error)) => Poll::Ready(Err(error)),
            (None, None) => Poll::Pending,
        }
    }

    /// What the connection ended with, if it has.
    pub(super) fn take_failed(&mut self) -> Option<io::Error> {
        self.failed.take()
    }
}

pub(super) fn into_io(error: yamux::ConnectionError) -> io::Error {
    match error {
        yamux::ConnectionError::Io(error) => error,
        error => io::Error::other(error),
    }
}
