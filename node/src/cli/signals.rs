//! The signals that ask a program to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{Failure, Outcome};

/// Ctrl-C, SIGTERM and SIGHUP, which no longer end the program by themselves.
#[derive(Debug)]
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn listen() -> Outcome<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::internal(format!("cannot listen for signals: {error}"), "this is a bug; please report it")
            })
        };
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    /// The next of them. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
