//! Byte credit. A grant names the absolute number of on-wire bytes that a sender may have sent in the
//! stream's life, so that a repeated, late or lost one does no harm.

/// What a sender may send.
#[derive(Debug)]
pub(super) struct SendCredit {
    /// Bytes of all messages taken, ever.
    taken: u64,
    /// Bytes that may be taken, ever.
    limit: u64,
    /// No honest reader grants further than this beyond what was sent.
    window_max: u64,
}

impl SendCredit {
    pub(super) fn new(initial: u32, window_max: u32) -> Self {
        Self { taken: 0, limit: initial.into(), window_max: window_max.into() }
    }

    pub(super) const fn left(&self) -> u64 {
        self.limit - self.taken
    }

    /// How far a message of this size would reach.
    pub(super) const fn reach(&self, bytes: u64) -> u64 {
        self.taken.saturating_add(bytes)
    }

    /// Takes credit for a message; `false` and nothing if there is not enough.
    pub(super) const fn take(&mut self, bytes: u64) -> bool {
        if bytes > self.left() {
            return false;
        }
        self.taken += bytes;
        true
    }

    /// Takes a grant in; says whether it grants more than before. One that is stale grants nothing, and
    /// neither does one that no honest reader could give.
    pub(super) const fn grant(&mut self, limit: u64) -> bool {
        if limit <= self.limit || limit - self.taken > self.window_max {
            return false;
        }
        self.limit = limit;
        true
    }
}

/// What a reader has granted, got and read.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    base: u64,
    window: u64,
    window_max: u64,
    received: u64,
    read: u64,
    /// As the sender knows it, or soon will.
    limit: u64,
    /// The sender wants to reach this and was stopped.
    wanted: Option<u64>,
}

impl ReceiveWindow {
    pub(super) fn new(initial: u32, window_max: u32) -> Self {
        let window = initial.into();
        Self { base: window, window, window_max: window_max.into(), received: 0, read: 0, limit: window, wanted: None }
    }

    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    /// What it has grown by.
    pub(super) const fn grown(&self) -> u64 {
        self.window - self.base
    }

    /// Bytes came; `false`: more than were granted.
    #[must_use]
    pub(super) const fn receive(&mut self, bytes: u64) -> bool {
        self.received += bytes;
        self.wanted = None;
        self.received <= self.limit
    }

    /// The application has read these bytes, or they will never be read.
    pub(super) const fn consume(&mut self, bytes: u64) {
        self.read += bytes;
        debug_assert!(self.read <= self.received, "what is read has come before");
    }

    /// The sender has sent all it may and wants to reach `wanted`.
    pub(super) const fn on_blocked(&mut self, wanted: u64) {
        self.wanted = Some(wanted);
    }

    /// By how much to raise the window: the sender was stopped, and yet all that it sent is read. So the
    /// reader is not what holds the stream up.
    pub(super) fn wants_growth(&self) -> u64 {
        let Some(wanted) = self.wanted else { return 0 };
        let next = (2 * self.window).max(wanted.saturating_sub(self.read)).min(self.window_max);
        next.saturating_sub(self.window)
    }

    pub(super) const fn grow(&mut self, bytes: u64) {
        self.window += bytes;
        self.wanted = None;
    }

    /// Whether a grant is worth a frame: half the window was read since the last, or what was read lets a
    /// stopped sender go on.
    pub(super) fn grant_due(&self) -> bool {
        let next = self.read + self.window;
        let frees = self.wanted.is_some_and(|wanted| wanted > self.limit && wanted <= next);
        frees || 2 * (next - self.limit) >= self.window
    }

    /// The limit to grant now.
    pub(super) const fn grant(&mut self) -> u64 {
        self.limit = self.read + self.window;
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_repeated_and_hostile_grants_mint_nothing_b3() {
        let mut credit = SendCredit::new(100, 200);
        assert!(credit.take(60) && !credit.take(41));
        for mint in [0, 99, 100, 261, u64::MAX] {
            assert!(!credit.grant(mint), "{mint}");
            assert_eq!(credit.left(), 40);
        }
        assert!(credit.grant(160) && !credit.grant(160) && !credit.grant(130));
        assert_eq!(credit.left(), 100);
    }

    #[test]
    fn a_lost_grant_heals_with_the_next_b3() {
        let (mut credit, mut window) = (SendCredit::new(100, 100), ReceiveWindow::new(100, 100));
        for _ in 0..5 {
            assert!(credit.take(50) && window.receive(50));
            window.consume(50);
            assert!(window.grant_due());
            let lost = window.grant();
            assert!(credit.take(50) && window.receive(50));
            window.consume(50);
            let next = window.grant();
            assert!(next > lost && credit.grant(next));
            assert_eq!(credit.left(), 100);
        }
    }

    #[test]
    fn a_window_grows_only_for_a_reader_that_keeps_up_b4() {
        let mut window = ReceiveWindow::new(100, 350);
        assert!(window.receive(100));
        window.on_blocked(150);
        assert_eq!(window.wants_growth(), 100);
        window.consume(60);
        window.grant();
        assert!(window.receive(10));
        assert_eq!(window.wants_growth(), 0, "there was something to read all the time");
        window.on_blocked(1_000);
        assert_eq!(window.wants_growth(), 250, "up to the bound");
    }

    #[test]
    fn a_stopped_sender_need_not_wait_for_half_a_window_b5() {
        let mut window = ReceiveWindow::new(100, 100);
        assert!(window.receive(40));
        window.consume(40);
        assert!(!window.grant_due());
        window.on_blocked(120);
        assert!(window.grant_due());
        assert_eq!(window.grant(), 140);
        assert!(!window.grant_due());
    }

    #[test]
    fn more_than_was_granted_is_noticed_b3() {
        let mut window = ReceiveWindow::new(100, 100);
        assert!(window.receive(100));
        assert!(!window.receive(1));
    }
}
