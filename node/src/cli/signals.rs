//! The signals that ask a program to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Failure, Outcome};

/// Ctrl-C, SIGTERM and SIGHUP, which no longer end the program by themselves.
#[derive(Debug)]
pub(crate) struct Signals([(SignalKind, Signal); 3]);

impl Signals {
    pub(crate) fn listen() -> Outcome<Self> {
        let listen = |kind| match signal(kind) {
            Ok(signal) => Ok((kind, signal)),
            Err(error) => {
                let message = format!("cannot listen for signals: {error}");
                Err(Failure::internal(message, "this is a bug; please report it"))
            }
        };
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    /// The next of them. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        self.next_kind().await;
    }

    /// The next of them, and which it is. Cancel-safe.
    pub(crate) async fn next_kind(&mut self) -> SignalKind {
        let [(first, interrupt), (second, terminate), (third, hangup)] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => *first,
            _ = terminate.recv() => *second,
            _ = hangup.recv() => *third,
        }
    }
}
