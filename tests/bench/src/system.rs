//! What a system under test offers: nodes that join one another, one of which publishes.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::inbox::Inbox;

/// Anything that goes wrong, told to the person who runs the benchmark.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Children that a node feeds in every system that lets one choose.
pub(crate) const ARITY: usize = 3;

/// The place of a node among the others of its run.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    /// Its number; 0 publishes, all others receive.
    pub(crate) index: usize,
    /// Payload of the objects to come, in bytes.
    pub(crate) size: usize,
    /// What the nodes before this one said of how to reach them, by index.
    pub(crate) cards: Vec<String>,
    /// Where a receiver puts what it gets.
    pub(crate) inbox: Arc<Inbox>,
}

impl Seat {
    /// Whether this node publishes.
    #[must_use]
    pub(crate) const fn publishes(&self) -> bool {
        self.index == 0
    }

    /// The parent in a complete tree of [`ARITY`], for systems whose tree is built by hand.
    #[must_use]
    pub(crate) fn parent(&self) -> Option<&str> {
        self.cards.get(self.index.checked_sub(1)? / ARITY).map(String::as_str)
    }
}

/// A running node. Dropping it may or may not end it; the process ends with the run.
pub(crate) trait Member: Send {
    /// How others reach it.
    fn card(&self) -> &str;

    /// Publishes an object; waits while the system says that it takes no more.
    fn send(&mut self, object: Bytes) -> BoxFuture<'_, Result<(), Failure>>;

    /// Part of the card of a node that feeds many others, where the system can tell.
    fn interior(&mut self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async { None })
    }
}

/// A node that receives only.
pub(crate) struct Receiver<T> {
    card: String,
    _kept: T,
}

impl<T> Receiver<T> {
    /// Keeps whatever must live as long as the node.
    pub(crate) const fn new(card: String, kept: T) -> Self {
        Self { card, _kept: kept }
    }
}

impl<T: Send> Member for Receiver<T> {
    fn card(&self) -> &str {
        &self.card
    }

    fn send(&mut self, _: Bytes) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Err("this node does not publish".into()) })
    }
}

/// A system under test.
pub(crate) trait System: Sync {
    /// What it is called in arguments and tables.
    fn name(&self) -> &'static str;

    /// Its settings, in a sentence for the report.
    fn settings(&self) -> &'static str;

    /// Packages whose versions the report names.
    fn packages(&self) -> &'static [&'static str];

    /// Whether [`Member::send`] waits for slow receivers. If not, the benchmark looks for the number
    /// of unacknowledged objects that gives the highest rate.
    fn has_pressure(&self) -> bool;

    /// What has to be in the environment of a process with many nodes: a variable and its value.
    fn environment(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Starts a node. The nodes of a run are started in the order of their seats.
    fn start(&self, seat: Seat) -> BoxFuture<'_, Result<Box<dyn Member>, Failure>>;
}
