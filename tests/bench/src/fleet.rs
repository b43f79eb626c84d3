//! A publisher and its receivers in this process, each a node with sockets of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use crate::{
    inbox::{Bell, Inbox, Phase},
    object::Press,
    system::{Failure, Member, Seat, System},
};

/// Phase of the objects that only show whether everybody is connected.
pub(crate) const WARM_UP: u64 = 1;
/// First phase that is free for measuring.
pub(crate) const MEASURED: u64 = 2;
/// Pause between objects of the warm-up.
pub(crate) const WARM_UP_PAUSE: Duration = Duration::from_millis(50);
/// Objects sent after everybody got one, so that trees and meshes take their shape.
const WARM_UP_MORE: u64 = 20;
/// Time for everybody to get the first object.
pub(crate) const WARM_UP_MAX: Duration = Duration::from_secs(60);
/// Rest before anything is measured.
pub(crate) const REST: Duration = Duration::from_secs(1);
/// Silence after which objects on their way are given up.
const SILENCE: Duration = Duration::from_secs(3);

/// A publisher and its receivers.
pub(crate) struct Fleet {
    publisher: Box<dyn Member>,
    _receivers: Vec<Box<dyn Member>>,
    inboxes: Vec<Arc<Inbox>>,
    bell: Arc<Bell>,
    press: Press,
}

impl Fleet {
    /// Starts the nodes and waits until objects reach all of them.
    ///
    /// # Errors
    /// What a node said when it did not start, or who got nothing.
    pub(crate) async fn start(system: &dyn System, receivers: usize, size: usize) -> Result<Self, Failure> {
        let bell = Arc::new(Bell::default());
        let mut members: Vec<Box<dyn Member>> = Vec::new();
        let mut inboxes = Vec::new();
        for index in 0..=receivers {
            let cards = members.iter().map(|member| member.card().to_owned()).collect();
            let inbox = Inbox::new(Arc::clone(&bell));
            members.push(system.start(Seat { index, size, cards, inbox: Arc::clone(&inbox) }).await?);
            inboxes.push(inbox);
        }
        inboxes.remove(0);
        let publisher = members.remove(0);
        let mut fleet = Self { publisher, _receivers: members, inboxes, bell, press: Press::new(size) };
        fleet.warm_up().await?;
        Ok(fleet)
    }

    async fn warm_up(&mut self) -> Result<(), Failure> {
        self.open(WARM_UP, false);
        let deadline = Instant::now() + WARM_UP_MAX;
        let (mut id, mut more) = (0, WARM_UP_MORE);
        while more > 0 {
            if self.slowest() > 0 {
                more -= 1;
            } else if Instant::now() > deadline {
                let silent = self.inboxes.iter().filter(|inbox| inbox.unique() == 0).count();
                return Err(format!("{silent} of {} receivers got nothing", self.inboxes.len()).into());
            }
            self.send(WARM_UP, id).await?;
            id += 1;
            sleep(WARM_UP_PAUSE).await;
        }
        sleep(REST).await;
        Ok(())
    }

    /// Number of receivers.
    #[must_use]
    pub(crate) fn receivers(&self) -> usize {
        self.inboxes.len()
    }

    /// Starts counting a phase at every receiver.
    pub(crate) fn open(&self, phase: u64, keep: bool) {
        for inbox in &self.inboxes {
            inbox.open(phase, keep);
        }
    }

    /// What every receiver found.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<Phase> {
        self.inboxes.iter().map(|inbox| inbox.close()).collect()
    }

    /// Sends an object.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) async fn send(&mut self, phase: u64, id: u64) -> Result<(), Failure> {
        self.publisher.send(self.press.object(phase, id)).await
    }

    /// Objects of this phase that every receiver has.
    #[must_use]
    pub(crate) fn slowest(&self) -> u64 {
        self.inboxes.iter().map(|inbox| inbox.unique()).min().unwrap_or(0)
    }

    /// Objects of this phase that receivers have, all together.
    #[must_use]
    pub(crate) fn delivered(&self) -> u64 {
        self.inboxes.iter().map(|inbox| inbox.unique()).sum()
    }

    /// When the last object of this phase came to anybody.
    #[must_use]
    pub(crate) fn last_ns(&self) -> u64 {
        self.inboxes.iter().map(|inbox| inbox.last_ns()).max().unwrap_or(0)
    }

    /// Waits until every receiver has so many objects of this phase. `false`: they went silent before.
    pub(crate) async fn reach(&self, objects: u64) -> bool {
        let mut progress = (self.delivered(), Instant::now());
        loop {
            self.bell.arm();
            if self.slowest() >= objects {
                return true;
            }
            // Whoever is ahead rings too: look again.
            let _ = timeout(SILENCE / 30, self.bell.rung()).await;
            let delivered = self.delivered();
            if delivered != progress.0 {
                progress = (delivered, Instant::now());
            } else if progress.1.elapsed() > SILENCE {
                return false;
            }
        }
    }
}
