//! What survives of a host: only what was synced.

/// The one thing that a node has to keep: its incarnation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Disk {
    written: Option<u64>,
    synced: Option<u64>,
}

impl Disk {
    /// Writes without syncing.
    pub(crate) const fn write(&mut self, incarnation: u64) {
        self.written = Some(incarnation);
    }

    /// Makes what was written durable.
    pub(crate) const fn sync(&mut self) {
        self.synced = self.written;
    }

    /// The power goes: what was not synced is lost.
    pub(crate) const fn lose_power(&mut self) {
        self.written = self.synced;
    }

    /// What a process reads.
    #[must_use]
    pub(crate) const fn read(&self) -> Option<u64> {
        self.written
    }
}
