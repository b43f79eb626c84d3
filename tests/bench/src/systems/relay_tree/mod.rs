//! A relay tree built by hand over tokio: what the machine can do when nothing has to be decided.
//!
//! Every node reads frames from its parent and hands them to its children through bounded queues: no
//! discovery, no membership, no repair, no resume. With TLS it is what others are compared with.

mod children;
mod frame;
mod tls;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt, BufReader},
    net::{TcpListener, TcpStream},
};

use self::{children::Children, frame::READ_BYTES};
use crate::{
    inbox::Inbox,
    system::{Failure, Member, Receiver, Seat, System},
};

/// The tree, plain or encrypted.
#[derive(Debug)]
pub(super) struct RelayTree {
    /// Whether links are encrypted.
    pub(super) tls: bool,
}

struct Root {
    card: String,
    children: Arc<Children>,
}

impl Member for Root {
    fn card(&self) -> &str {
        &self.card
    }

    fn send(&mut self, object: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            self.children.send(&frame::encode(&object)?).await;
            Ok(())
        })
    }
}

impl System for RelayTree {
    fn name(&self) -> &'static str {
        if self.tls { "tls-tree" } else { "tcp-tree" }
    }

    fn settings(&self) -> &'static str {
        if self.tls {
            "the same over TLS 1.3: rustls with aws-lc-rs, AES-128-GCM, the parent authenticated by its certificate; \
             reads of 256 KiB below rustls, which by itself reads 4 KiB at a time"
        } else {
            "a complete 3-ary tree over TCP with TCP_NODELAY; length-prefixed frames, relayed in runs of whole frames that \
             are shared among children; queues of 4 MiB a child; vectored writes of all that is queued; no repair"
        }
    }

    fn packages(&self) -> &'static [&'static str] {
        if self.tls { &["tokio", "tokio-rustls", "rustls", "aws-lc-rs"] } else { &["tokio"] }
    }

    fn has_pressure(&self) -> bool {
        true
    }

    fn start(&self, seat: Seat) -> BoxFuture<'_, Result<Box<dyn Member>, Failure>> {
        let tls = self.tls;
        Box::pin(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let mut card = listener.local_addr()?.to_string();
            let children = Arc::new(Children::new(seat.size, seat.publishes()));
            let acceptor = if tls {
                let (acceptor, certificate) = tls::acceptor()?;
                card = format!("{card} {certificate}");
                Some(acceptor)
            } else {
                None
            };
            tokio::spawn(children::accept(listener, acceptor, Arc::clone(&children)));
            if let Some(parent) = seat.parent() {
                let (address, certificate) = parent.split_once(' ').unwrap_or((parent, ""));
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                if tls {
                    let stream = tls::connect(BufReader::with_capacity(READ_BYTES, stream), certificate).await?;
                    tokio::spawn(relay(stream, Arc::clone(&children), seat.inbox));
                } else {
                    tokio::spawn(relay(stream, Arc::clone(&children), seat.inbox));
                }
                return Ok(Box::new(Receiver::new(card, children)) as Box<dyn Member>);
            }
            Ok(Box::new(Root { card, children }) as Box<dyn Member>)
        })
    }
}

/// Passes on whatever comes from the parent, and delivers it here.
async fn relay(mut parent: impl AsyncRead + Unpin, children: Arc<Children>, inbox: Arc<Inbox>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(frame::missing(&buffer).max(READ_BYTES / 2));
        match parent.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let whole = frame::whole(&buffer);
        if whole > 0 {
            let frames = buffer.split_to(whole).freeze();
            children.send(&frames).await;
            frame::payloads(&frames, |payload| inbox.take(payload));
        }
    }
}
