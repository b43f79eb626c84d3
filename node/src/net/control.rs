//! The control stream of a link: the greeting, then messages both ways.
//!
//! A greeting is a 2-byte big-endian length and a [`Hello`] as CBOR; messages follow, each a 4-byte
//! big-endian length and a [`Control`] as CBOR. Nothing but the greeting is answered before both
//! greetings are in: this is the place where a peer is admitted or not.

use std::{io, sync::Arc, time::Duration};

use banyan_gossip::{MeshName, PeerId};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, io::WriteHalf};
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::timeout};

use super::{
    host::{ConnectionId, Host, Stream},
    meters::{Meters, Queued},
};
use crate::mesh::{Control, message::CONTROL_BYTES_MAX};

/// Version of the control and data protocols. Peers of another version are refused.
pub(crate) const PROTOCOL_VERSION: u16 = 2;
/// Longest greeting, in bytes.
const HELLO_BYTES_MAX: usize = 1024;
/// How long a greeting may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages waiting to be written to one peer. The worst case in memory is this times
/// [`CONTROL_BYTES_MAX`]; in practice a message has a few hundred bytes.
const OUTBOX_MESSAGES: usize = 256;
/// Most bytes put into one write.
const WRITE_BYTES: usize = 64 * 1024;
/// A write that makes no progress for this long ends the link.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is queued may take to be written when a link is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// What each end says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) mesh: MeshName,
    pub(crate) incarnation: u64,
    /// Drawn at each start: tells a second connection from a second life.
    pub(crate) instance: u64,
}

/// Why no link came of a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    #[error("the greeting broke off: {0}")]
    Io(#[from] io::Error),
    #[error("no greeting in time")]
    TimedOut,
    #[error("the greeting cannot be read")]
    Malformed,
    #[error("the peer speaks protocol version {0}, this node {PROTOCOL_VERSION}")]
    Version(u16),
    #[error("the peer belongs to mesh {0}")]
    OtherMesh(MeshName),
}

/// Says hello and hears it.
pub(crate) async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    own: &Hello,
) -> Result<Hello, GreetError> {
    let exchange = async {
        let mut cbor = Vec::new();
        ciborium::into_writer(own, &mut cbor).expect("writing to memory does not fail");
        let length = u16::try_from(cbor.len()).expect("a greeting is short");
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(&cbor).await?;
        stream.flush().await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > HELLO_BYTES_MAX {
            return Err(GreetError::Malformed);
        }
        let mut cbor = vec![0; length];
        stream.read_exact(&mut cbor).await?;
        let hello: Hello = ciborium::from_reader(&cbor[..]).map_err(|_| GreetError::Malformed)?;
        if hello.version != PROTOCOL_VERSION {
            return Err(GreetError::Version(hello.version));
        }
        if hello.mesh != own.mesh {
            return Err(GreetError::OtherMesh(hello.mesh));
        }
        Ok(hello)
    };
    timeout(HELLO_TIMEOUT, exchange).await.map_err(|_| GreetError::TimedOut)?
}

/// What a link's reader tells.
#[derive(Debug)]
pub(crate) struct FromLink {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    /// `None`: nothing more will come.
    pub(crate) message: Option<Control>,
}

/// The writing end of a link. Dropping it closes the link after what was queued is written.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: mpsc::Sender<(Bytes, Queued)>,
    meters: Arc<Meters>,
}

impl Outbox {
    /// Queues a message; `false` if the peer does not keep up.
    pub(crate) fn try_send(&self, message: &Control) -> bool {
        let bytes = Bytes::from(message.encode());
        let (length, queued) = (bytes.len(), self.meters.queued(bytes.len()));
        let taken = self.messages.try_send((bytes, queued)).is_ok();
        if taken {
            self.meters.on_sent(message, length);
        }
        taken
    }
}

/// Starts the tasks of a link that has been greeted.
pub(crate) fn run(
    stream: Stream,
    peer: PeerId,
    connection: ConnectionId,
    host: Host,
    inbox: mpsc::Sender<FromLink>,
    meters: Arc<Meters>,
) -> Outbox {
    let (reading, writing) = stream.split();
    let (messages, queue) = mpsc::channel(OUTBOX_MESSAGES);
    let counted = Arc::clone(&meters);
    let reader = tokio::spawn(async move {
        if let Err(error) = read_messages(reading, peer, connection, &inbox, &counted).await {
            tracing::debug!(%peer, %error, "link broke while reading");
        }
        let _ = inbox.send(FromLink { peer, connection, message: None }).await;
    });
    tokio::spawn(async move {
        match write_messages(writing, queue).await {
            // The peer closes its side when it has read everything; then nothing is cut off.
            Ok(()) => drop(timeout(CLOSE_TIMEOUT, reader).await),
            Err(error) => tracing::debug!(%peer, %error, "link broke while writing"),
        }
        host.close_link(peer, connection);
    });
    Outbox { messages, meters }
}

async fn write_messages(mut stream: WriteHalf<Stream>, mut queue: mpsc::Receiver<(Bytes, Queued)>) -> io::Result<()> {
    let mut bytes = BytesMut::new();
    while let Some((message, _)) = queue.recv().await {
        put(&mut bytes, &message);
        while bytes.len() < WRITE_BYTES {
            let Ok((message, _)) = queue.try_recv() else { break };
            put(&mut bytes, &message);
        }
        let write = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        let patience = if queue.is_closed() { CLOSE_TIMEOUT } else { WRITE_TIMEOUT };
        timeout(patience, write).await.map_err(|_| io::ErrorKind::TimedOut)??;
        bytes.clear();
    }
    timeout(CLOSE_TIMEOUT, stream.close()).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn put(bytes: &mut BytesMut, message: &[u8]) {
    bytes.put_u32(u32::try_from(message.len()).expect("messages are far below 4 GiB"));
    bytes.extend_from_slice(message);
}

async fn read_messages(
    mut stream: impl AsyncRead + Unpin,
    peer: PeerId,
    connection: ConnectionId,
    inbox: &mpsc::Sender<FromLink>,
    meters: &Meters,
) -> io::Result<()> {
    let mut stream = futures::io::BufReader::with_capacity(16 * 1024, &mut stream);
    let mut cbor = Vec::new();
    loop {
        let mut length = [0; 4];
        match stream.read_exact(&mut length).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > CONTROL_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message over the limit"));
        }
        cbor.clear();
        cbor.resize(length, 0);
        stream.read_exact(&mut cbor).await?;
        let message = Control::decode(&cbor).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        meters.on_received(&message, length);
        if inbox.send(FromLink { peer, connection, message: Some(message) }).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::net::host;

    fn meters() -> Arc<Meters> {
        Arc::new(Meters::new(Arc::default()))
    }

    #[test]
    fn what_waits_for_a_link_that_does_not_read_is_bounded() {
        let (messages, mut queue) = mpsc::channel(OUTBOX_MESSAGES);
        let outbox = Outbox { messages, meters: meters() };
        assert!((0..OUTBOX_MESSAGES).all(|_| outbox.try_send(&Control::Release)));
        assert!(!outbox.try_send(&Control::Release));
        queue.try_recv().expect("one is written");
        assert!(outbox.try_send(&Control::Release));
    }

    /// What the reader of a link makes of these bytes.
    async fn read(bytes: Vec<u8>) -> io::Result<()> {
        let (inbox, _from_links) = mpsc::channel(8);
        let peer = PeerId::from_key_bytes([1; 32]);
        read_messages(&bytes[..], peer, host::ConnectionId::new_unchecked(1), &inbox, &meters()).await
    }

    #[tokio::test]
    async fn a_message_is_read_up_to_the_bound_and_one_over_it_before_anything_is_kept_for_it() {
        let mut whole = BytesMut::new();
        put(&mut whole, &Control::Release.encode());
        read(whole.to_vec()).await.expect("it is a message");
        let zeros =
            |length: usize| [&u32::try_from(length).expect("short").to_be_bytes()[..], &vec![0; length]].concat();
        let said = |error: io::Error| error.to_string().contains("over the limit");
        assert!(!said(read(zeros(CONTROL_BYTES_MAX)).await.expect_err("it is no message")));
        assert!(said(read(zeros(CONTROL_BYTES_MAX + 1)).await.expect_err("it is too long")));
        // Nothing follows the length.
        assert!(said(read(u32::MAX.to_be_bytes().to_vec()).await.expect_err("it is too long")));
    }

    #[tokio::test]
    async fn a_greeting_has_at_most_1_kib() {
        let own = Hello { version: PROTOCOL_VERSION, mesh: "a".parse().expect("a name"), incarnation: 1, instance: 1 };
        let mut hello = Vec::new();
        ciborium::into_writer(&own, &mut hello).expect("it is written");
        for (length, taken) in [(HELLO_BYTES_MAX, true), (HELLO_BYTES_MAX + 1, false)] {
            let (near, mut far) = tokio::io::duplex(8 * 1024);
            let mut greeting = u16::try_from(length).expect("short").to_be_bytes().to_vec();
            // What follows the map is not read.
            greeting.extend([&hello[..], &vec![0; length - hello.len()]].concat());
            tokio::io::AsyncWriteExt::write_all(&mut far, &greeting).await.expect("there is room");
            assert_eq!(greet(&mut near.compat(), &own).await.is_ok(), taken, "{length}");
        }
    }
}
