use std::{
    pin::Pin,
    task::{Context, Poll},
};

use banyan_gossip::{Ed25519Keys, MeshName, TrackName};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::relay::{Mode, frame};

const EPOCH: u64 = 9;

struct Told(Option<oneshot::Sender<()>>);

impl PullEvents for Told {
    async fn opened(&mut self, _begin: Begin) {
        if let Some(told) = self.0.take() {
            told.send(()).expect("it is waited for");
        }
    }

    fn gap(&mut self, _: u64, _: u64) {}
}

fn wanted(shared: &SharedTrack) -> Wanted {
    let keys = Ed25519Keys::from_seed(&[1; 32]);
    let (mesh, origin) = (MeshName::new("home").expect("valid"), keys.peer_id());
    let scope = Scope { mesh, track: shared.name.clone(), epoch: EPOCH, origin };
    let terms = Terms { mode: Mode::Reliable, integrity: Integrity::None };
    Wanted { ticket: 1, scope, terms, depth: 1, keys: Arc::new(keys) }
}

/// A child pulls three objects of a reliable track; then its stream ends by `end`. Returns why the parent's
/// end ended, and what counts as acknowledged of four objects. If it does not end, the fourth is published before.
async fn fed(
    end: impl FnOnce(oneshot::Sender<Option<u64>>, &tokio::task::JoinHandle<DataError>),
) -> (DataError, u64, bool) {
    let line = Arc::new(Line::new(EPOCH, Track::new_origin(TrackConfig::default(), Mode::Reliable)));
    for _ in 0..3 {
        line.lock().publish(Instant::now(), b"object");
    }
    let (up, down) = tokio::io::duplex(4096);
    let (mut up, activity) = (up.compat(), Arc::<Activity>::default());
    let shared = Arc::new(SharedTrack::new(TrackName::new("feed").expect("valid")));
    shared.lock().epochs.follow(EPOCH);
    let ((told, opened), (leave, left)) = (oneshot::channel(), oneshot::channel());
    let (config, wanted) = (TrackConfig::default(), wanted(&shared));
    let pulling =
        tokio::spawn(pull(shared, config, wanted, down.compat(), Arc::clone(&activity), left, Told(Some(told))));
    let opening = read_opening(&mut up, true).await.expect("is said");
    let child = Child::new(Arc::clone(&line), None, opening.from);
    let feeding = tokio::spawn(feed(child, up, activity, Arc::default(), SharedPace::new(Instant::now())));
    opened.await.expect("the stream works");
    loop {
        let times = line.acks.times();
        if line.lock().acked() >= 3 {
            break;
        }
        line.acks.rung_since(times).await;
    }
    end(leave, &pulling);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let waited = !feeding.is_finished();
    line.lock().publish(Instant::now(), b"object");
    line.announce(Instant::now());
    let error = feeding.await.expect("ends");
    let acked = line.lock().acked();
    (error, acked, waited)
}

#[tokio::test]
async fn a_child_that_is_gone_keeps_its_claim_and_one_that_leaves_does_not() {
    let (error, acked, waited) = fed(|_, pulling| pulling.abort()).await;
    assert!(!matches!(error, DataError::Left), "{error}");
    assert_eq!((acked, waited), (3, false), "it may be back elsewhere and need the fourth");
    let (error, acked, waited) = fed(|leave, _| leave.send(None).expect("the task runs")).await;
    assert!(matches!(error, DataError::Left), "{error}");
    assert_eq!((acked, waited), (4, false));
}

/// A stream that its remote has dropped after it had said something. That is met before what was said is read.
struct Dropped {
    said: futures::io::Cursor<Vec<u8>>,
    met: bool,
}

impl AsyncRead for Dropped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !self.met {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.said).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Dropped {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.met = true;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// On a fast track the parent is always writing, and finds the stream gone before it reads the farewell. If it kept the
/// claim then, everybody would wait for it.
#[tokio::test]
async fn the_farewell_of_a_child_counts_even_if_its_stream_is_gone_by_then() {
    let line = Arc::new(Line::new(EPOCH, Track::new_origin(TrackConfig::default(), Mode::Reliable)));
    let child = Child::new(Arc::clone(&line), None, OpeningFrom::Oldest);
    line.lock().publish(Instant::now(), b"object");
    let mut said = BytesMut::new();
    Frame::Leave.encode(&mut said);
    let stream = Dropped { said: futures::io::Cursor::new(said.to_vec()), met: false };
    let error = feed(child, stream, Arc::default(), Arc::default(), SharedPace::new(Instant::now())).await;
    assert!(matches!(error, DataError::Left), "{error}");
    assert_eq!(line.lock().stable(), 1, "nobody is waited for");
}

#[tokio::test]
async fn a_child_that_moves_leaves_when_it_has_consumed_what_the_next_parent_need_not_keep() {
    let (error, acked, waited) = fed(|leave, _| leave.send(Some(4)).expect("the task runs")).await;
    assert!(matches!(error, DataError::Left), "{error}");
    assert_eq!((acked, waited), (4, true));
}

#[tokio::test]
async fn a_parent_that_is_left_has_no_say_in_what_is_missing() {
    let (up, down) = tokio::io::duplex(4096);
    let (mut up, down) = (up.compat(), down.compat());
    let shared = Arc::new(SharedTrack::new(TrackName::new("feed").expect("valid")));
    shared.lock().epochs.follow(EPOCH);
    let ((told, opened), (leave, left)) = (oneshot::channel(), oneshot::channel());
    let (wanted, told) = (wanted(&shared), Told(Some(told)));
    let pulling =
        tokio::spawn(pull(Arc::clone(&shared), TrackConfig::default(), wanted, down, Arc::default(), left, told));
    read_opening(&mut up, true).await.expect("is said");
    let mut bytes = BytesMut::new();
    Frame::Start { from: 0, newest: 0, reliable: true, epoch: EPOCH }.encode(&mut bytes);
    frame::chunks(0, b"object").for_each(|chunk| bytes.extend_from_slice(&chunk.wire));
    up.write_all(&bytes.split()).await.expect("it reads");
    opened.await.expect("the stream works");
    leave.send(Some(9)).expect("the task runs");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    Frame::Gap { from: 1, to: 9 }.encode(&mut bytes);
    up.write_all(&bytes).await.expect("it reads");
    let error = pulling.await.expect("it does not panic");
    assert!(matches!(error, DataError::Closed), "{error}");
    assert_eq!(shared.line().expect("it has begun").lock().newest(), 1);
}
