//! A publisher and its subscribers, and what became of every object.

use std::{
    io::{self, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::node::read_or_end;

/// What is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) track: &'static str,
    pub(crate) reliable: bool,
    /// Whether its objects are signed.
    pub(crate) signed: bool,
    /// Objects per second.
    pub(crate) rate: u32,
    /// Bytes of each, at least 16.
    pub(crate) size: usize,
}

impl Load {
    /// 2 Mbit/s.
    pub(crate) const VIDEO: Self = Self { track: "video", reliable: true, signed: false, rate: 100, size: 2_500 };
    /// The same with signed objects.
    pub(crate) const SIGNED: Self = Self { signed: true, ..Self::VIDEO };
}

/// A publication, through the socket of a node.
#[derive(Debug)]
pub(crate) struct Publisher {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Publisher {
    /// Starts to publish. Objects carry the time since `epoch`.
    pub(crate) fn start(socket: &Path, load: Load, epoch: Instant) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        let mode = if load.reliable { "reliable" } else { "live" };
        let integrity = if load.signed { "signed" } else { "none" };
        write!(
            stream,
            "POST /v1/tracks/{}/publish?framing=length&mode={mode}&integrity={integrity} HTTP/1.1\r\nhost: banyan\r\ntransfer-encoding: chunked\r\n\r\n",
            load.track
        )?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let mut object = vec![0; 4 + load.size];
            object[..4].copy_from_slice(&u32::try_from(load.size).unwrap_or(u32::MAX).to_be_bytes());
            let start = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let number = counted.load(Ordering::Relaxed);
                let due = start + Duration::from_secs_f64(number as f64 / f64::from(load.rate));
                thread::park_timeout(due.saturating_duration_since(Instant::now()));
                if Instant::now() < due {
                    continue;
                }
                write_object(&mut object[4..], number, nanos(epoch.elapsed()));
                write!(stream, "{:x}\r\n", object.len())?;
                stream.write_all(&object)?;
                stream.write_all(b"\r\n")?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            stream.write_all(b"0\r\n\r\n")?;
            // The answer comes when everything was taken.
            stream.read_exact(&mut [0; 12])
        });
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Objects so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the track and waits until that was taken. Answers how many objects it had.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended?,
            _ => return Err(io::Error::other("the publisher broke off")),
        }
        Ok(self.sent())
    }
}

/// What a subscriber got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Got {
    /// Times that it began, each with what came next then.
    pub(crate) lives: u64,
    pub(crate) objects: u64,
    /// Objects that others follow and that did not come, within a life.
    pub(crate) lost: u64,
    /// Objects that came before, within a life.
    pub(crate) doubled: u64,
    /// Objects that are not what was published.
    pub(crate) altered: u64,
    /// The id that comes next.
    pub(crate) next: Option<u64>,
    pub(crate) longest_pause: Duration,
    last: Option<Instant>,
    /// How long objects took, in microseconds, since this was taken last.
    pub(crate) took_us: Vec<u32>,
    pub(crate) errors: Vec<String>,
}

/// What is kept of how long objects took.
const TIMES_MAX: usize = 1_000_000;

/// A subscriber, through the socket of a node. It begins anew whenever it is cut off, until it is stopped or the
/// track ends.
#[derive(Debug)]
pub(crate) struct Subscriber {
    got: Arc<Mutex<Got>>,
    stop: Arc<AtomicBool>,
}

impl Subscriber {
    pub(crate) fn start(socket: &Path, track: &'static str, epoch: Instant) -> Self {
        let subscriber = Self { got: Arc::default(), stop: Arc::default() };
        let (got, stop) = (Arc::clone(&subscriber.got), Arc::clone(&subscriber.stop));
        let socket = socket.to_owned();
        thread::spawn(move || {
            let mut from = "oldest";
            while !stop.load(Ordering::Relaxed) {
                match follow(&socket, track, from, epoch, &got, &stop) {
                    Ok(()) => {}
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                    Err(error) => {
                        let errors = &mut lock(&got).errors;
                        if errors.len() < 10 {
                            errors.push(error.to_string());
                        }
                    }
                }
                from = "latest";
                thread::park_timeout(Duration::from_millis(50));
            }
        });
        subscriber
    }

    /// What it got so far; the times are taken.
    pub(crate) fn take(&self) -> Got {
        let mut got = lock(&self.got);
        let took_us = std::mem::take(&mut got.took_us);
        Got { took_us, ..got.clone() }
    }

    /// What pauses there were is forgotten.
    pub(crate) fn forget_pauses(&self) {
        let mut got = lock(&self.got);
        (got.longest_pause, got.last) = (Duration::ZERO, None);
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Follows the track until it ends or the node is gone, which looks the same here.
fn follow(
    socket: &Path,
    track: &str,
    from: &str,
    epoch: Instant,
    got: &Mutex<Got>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    write!(stream, "GET /v1/tracks/{track}/subscribe?framing=length&from={from} HTTP/1.0\r\nhost: banyan\r\n\r\n")?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    skip_head(&mut stream)?;
    {
        let mut got = lock(got);
        got.lives += 1;
        got.last = None;
    }
    let mut expected = None;
    let (mut head, mut payload) = ([0; 12], Vec::new());
    while read_or_end(&mut stream, &mut head)? {
        let (id, length) = (u64_of(&head), u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
        payload.resize(length as usize, 0);
        if !read_or_end(&mut stream, &mut payload)? {
            break;
        }
        let (now, sent) = (Instant::now(), read_object(&payload, id));
        let mut got = lock(got);
        got.altered += u64::from(sent.is_none());
        match expected {
            Some(expected) if id < expected => got.doubled += 1,
            Some(expected) => got.lost += id - expected,
            // A life begins where it likes.
            None => {}
        }
        expected = expected.max(Some(id + 1));
        got.objects += 1;
        got.next = got.next.max(Some(id + 1));
        if let Some(last) = got.last.replace(now) {
            got.longest_pause = got.longest_pause.max(now - last);
        }
        if got.took_us.len() < TIMES_MAX {
            let took = nanos(epoch.elapsed()).saturating_sub(sent.unwrap_or(0)) / 1_000;
            got.took_us.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// Every byte of an object follows from its number and the time: the time, bytes of the number, and the time mixed with
/// the number.
fn write_object(object: &mut [u8], number: u64, time: u64) {
    object.fill(number as u8);
    object[..8].copy_from_slice(&time.to_be_bytes());
    let end = object.len() - 8;
    object[end..].copy_from_slice(&(time ^ number).to_be_bytes());
}

/// The time in an object of this number; `None` if it is not as it was written.
fn read_object(object: &[u8], number: u64) -> Option<u64> {
    let time = u64_of(object.get(..8).filter(|_| object.len() >= 16)?);
    let mut written = vec![0; object.len()];
    write_object(&mut written, number, time);
    (written == object).then_some(time)
}

fn skip_head(stream: &mut impl Read) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default();
    if line.contains(" 200 ") { Ok(()) } else { Err(io::Error::other(line.to_owned())) }
}

fn lock(got: &Mutex<Got>) -> MutexGuard<'_, Got> {
    got.lock().unwrap_or_else(PoisonError::into_inner)
}

fn u64_of(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A part of the times that is not exceeded, in milliseconds.
pub(crate) fn percentile_ms(took_us: &mut [u32], part: f64) -> f64 {
    if took_us.is_empty() {
        return 0.0;
    }
    let at = ((took_us.len() - 1) as f64 * part).round() as usize;
    f64::from(*took_us.select_nth_unstable(at).1) / 1e3
}
