//! The door of a host: the admission handshake on the first stream of each connection, and who is not
//! even listened to. The rules are in [`crate::admission`].

use std::{
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Instant,
};

use banyan_gossip::{MeshName, PeerId};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt};

use super::{
    super::{
        keys::KeyStore,
        system::{now_ms, random},
        types::KeyError,
    },
    transport::Refused,
};
use crate::admission::{
    ANSWER_BYTES, Admitted, Binding, Dialing, GRANT_BYTES, Gate, HELLO_BYTES, InviteId, Keyring, Listening, MeshKey,
    NotAdmitted, PROOF_BYTES, grant, read_grant,
};

/// What a host admits by; clones share it, and changes hold for the connections that come.
#[derive(Debug, Clone, Default)]
pub struct Door(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    keyring: Mutex<Keyring>,
    store: KeyStore,
    gate: Mutex<Gate>,
    refused: AtomicU64,
    ignored: AtomicU64,
}

/// Connections that did not get through the door, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refusals {
    /// Of another mesh, with another key, or without one; dialled or accepted.
    pub refused: u64,
    /// Dropped unheard, since too many from that host had failed.
    pub ignored: u64,
}

impl Door {
    /// A door that opens to these keys, and keeps changes in these files.
    #[must_use]
    pub fn new(keyring: Keyring, store: KeyStore) -> Self {
        Self(Arc::new(Shared { keyring: Mutex::new(keyring), store, ..Shared::default() }))
    }

    /// Where the keys are kept, if they are.
    #[must_use]
    pub fn kept_in(&self) -> Option<&Path> {
        self.0.store.keys.as_deref()
    }

    /// Changes the keys or invitations: on disk first, so that what holds also lasts.
    ///
    /// # Errors
    /// What the change says, or [`KeyError::File`]; then nothing has changed.
    pub fn change<E>(&self, change: impl FnOnce(&mut Keyring) -> Result<(), E>) -> Result<(), KeyError>
    where
        KeyError: From<E>,
    {
        let mut keyring = self.keyring();
        let mut changed = keyring.clone();
        change(&mut changed)?;
        self.0.store.save(&changed)?;
        *keyring = changed;
        Ok(())
    }

    /// The keys and invitations.
    pub(crate) fn keyring(&self) -> MutexGuard<'_, Keyring> {
        self.0.keyring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an incoming connection of a host is listened to.
    pub(super) fn hears(&self, host: Option<IpAddr>) -> bool {
        let heard = host.is_none_or(|host| self.gate().admits(Instant::now(), host));
        if !heard {
            self.0.ignored.fetch_add(1, Ordering::Relaxed);
        }
        heard
    }

    /// How an incoming connection of a host ended.
    pub(super) fn note(&self, host: IpAddr, admitted: bool) {
        let now = Instant::now();
        if admitted { self.gate().succeeded(now, host) } else { self.gate().failed(now, host) }
    }

    /// Who was turned away.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Refusals { refused: read(&self.0.refused), ignored: read(&self.0.ignored) }
    }

    /// The handshake of a connection that this host dialled.
    pub(super) async fn dial(&self, muxer: &mut StreamMuxerBox, binding: Binding) -> io::Result<()> {
        let done = self.try_dial(muxer, binding).await;
        self.settle(muxer, done).await
    }

    /// The handshake of a connection that was accepted.
    pub(super) async fn listen(&self, muxer: &mut StreamMuxerBox, binding: Binding) -> io::Result<()> {
        let done = self.try_listen(muxer, binding).await;
        self.settle(muxer, done).await
    }

    /// Who does not like what it hears closes the connection in order, which tells it from one that broke off.
    async fn settle(&self, muxer: &mut StreamMuxerBox, done: io::Result<()>) -> io::Result<()> {
        let Err(error) = done else { return Ok(()) };
        let refused = closed(&error);
        let refuses = error.get_ref().is_some_and(|error| error.is::<NotAdmitted>());
        if refuses || refused {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        }
        if refuses {
            let _ = poll_fn(|cx| muxer.poll_close_unpin(cx)).await; // at most a second
        }
        Err(if refuses || refused { io::Error::other(Refused::NotAdmitted) } else { error })
    }

    async fn try_dial(&self, muxer: &mut StreamMuxerBox, binding: Binding) -> io::Result<()> {
        let mut stream = poll_fn(|cx| with_muxer(muxer, cx, |muxer, cx| muxer.poll_outbound_unpin(cx))).await?;
        driven(muxer, async {
            let (dialing, hello) = Dialing::new(binding, random()?, None);
            let answer = say_hello(&mut stream, &hello).await?;
            let proof = dialing.answered(&answer, &self.keyring()).map_err(io::Error::other)?;
            stream.write_all(&proof).await?;
            stream.close().await
        })
        .await
    }

    async fn try_listen(&self, muxer: &mut StreamMuxerBox, binding: Binding) -> io::Result<()> {
        let mut stream = poll_fn(|cx| with_muxer(muxer, cx, |muxer, cx| muxer.poll_inbound_unpin(cx))).await?;
        driven(muxer, async {
            let mut hello = [0; HELLO_BYTES];
            stream.read_exact(&mut hello).await?;
            let heard = Listening::heard(binding, &hello, random()?, &self.keyring(), now_ms());
            let (listening, answer) = heard.map_err(io::Error::other)?;
            stream.write_all(&answer).await?;
            stream.flush().await?;
            let mut proof = [0; PROOF_BYTES];
            stream.read_exact(&mut proof).await?;
            let admitted = listening.proved(&proof, &self.keyring(), now_ms()).map_err(io::Error::other)?;
            if let Admitted::Invited(id) = admitted {
                self.change(|keyring| keyring.redeem(id, now_ms())).map_err(|error| {
                    tracing::warn!("an invited node was turned away: {error}");
                    io::Error::other(NotAdmitted)
                })?;
                let grant = grant(&self.keyring());
                stream.write_all(&grant).await?;
                stream.close().await?;
                // The guest closes once it has the key, and comes back as a member.
                let _ = stream.read(&mut [0]).await;
                return Err(io::Error::other(Refused::Granted));
            }
            stream.close().await
        })
        .await
    }
}

/// The handshake of a connection that was dialled with an invitation: the key, if the mesh has one.
pub(super) async fn redeem(
    muxer: &mut StreamMuxerBox,
    binding: Binding,
    id: InviteId,
    secret: &[u8; 32],
) -> io::Result<Option<MeshKey>> {
    let mut stream = poll_fn(|cx| with_muxer(muxer, cx, |muxer, cx| muxer.poll_outbound_unpin(cx))).await?;
    let granted = driven(muxer, async {
        let (dialing, hello) = Dialing::new(binding, random()?, Some((id, secret)));
        let answer = say_hello(&mut stream, &hello).await?;
        let proof = dialing.answered(&answer, &Keyring::default()).map_err(io::Error::other)?;
        stream.write_all(&proof).await?;
        stream.flush().await?;
        let mut grant = [0; GRANT_BYTES];
        stream.read_exact(&mut grant).await?;
        Ok(read_grant(&grant))
    });
    let granted = granted.await.map_err(|error| if closed(&error) { io::Error::other(NotAdmitted) } else { error });
    let _ = poll_fn(|cx| muxer.poll_close_unpin(cx)).await; // at most a second; there is nothing more to say
    granted
}

/// Whether the remote has closed the connection in order.
fn closed(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // A boxed muxer wraps the errors of its connection.
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()).unwrap_or(error);
    matches!(inner.kind(), Kind::UnexpectedEof | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::NotConnected)
}

async fn say_hello(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    hello: &[u8; HELLO_BYTES],
) -> io::Result<[u8; ANSWER_BYTES]> {
    stream.write_all(hello).await?;
    stream.flush().await?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// What both ends of a connection are, for its handshake.
pub(super) fn binding(mesh: &MeshName, dialer: PeerId, listener: PeerId) -> Binding {
    Binding { dialer, listener, mesh: mesh.clone() }
}

type Context<'a> = std::task::Context<'a>;

/// Polls for a stream, and drives the connection while there is none.
fn with_muxer<T>(
    muxer: &mut StreamMuxerBox,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut StreamMuxerBox, &mut Context<'_>) -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    loop {
        if let Poll::Ready(stream) = poll(muxer, cx) {
            return Poll::Ready(stream);
        }
        match muxer.poll_unpin(cx) {
            Poll::Ready(Ok(_moved)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Drives the connection while work on one of its streams goes on.
async fn driven<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| with_muxer(muxer, cx, |_, cx| work.as_mut().poll(cx))).await
}
