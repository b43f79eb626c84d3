//! Tells a supervisor such as systemd that the node is ready and alive, as sd_notify(3) has it.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

/// The socket of the supervisor, if there is one.
#[derive(Debug)]
pub(super) struct Supervisor(Option<(UnixDatagram, SocketAddr)>);

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names.
    pub(super) fn from_environment() -> Self {
        let open = |name: String| -> io::Result<_> {
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        };
        Self(env::var("NOTIFY_SOCKET").ok().and_then(|name| open(name).ok()))
    }

    /// Tells it the state: `READY=1`, `WATCHDOG=1`, `STOPPING=1`, …
    pub(super) fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.0 {
            // A supervisor that does not listen is not waited for.
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }

    /// How often it wants to hear that the node is alive: twice in the time after which it gives up.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?;
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let usec = number("WATCHDOG_USEC").filter(|usec| meant && *usec > 0)?;
        Some(Duration::from_micros(usec / 2))
    }
}
