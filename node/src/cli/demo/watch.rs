//! Looks at the nodes while they work: their events, and samples of the tree.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::mpsc, time::interval};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cli::{client::Client, exit::Outcome, sse::Events},
    views::{EventView, TreeView},
};

/// Time between two samples of the tree.
const SAMPLE: Duration = Duration::from_millis(100);
/// Events that wait to be looked at.
const EVENTS: usize = 1024;

/// The events of all nodes, each with the number of its node. Dropping it stops looking.
#[derive(Debug)]
pub(super) struct Watch {
    queue: mpsc::Receiver<(usize, EventView)>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Watch {
    /// Starts looking at these nodes.
    pub(super) async fn start(clients: impl Iterator<Item = &Client>) -> Outcome<Self> {
        let (found, queue) = mpsc::channel(EVENTS);
        let mut tasks = Vec::new();
        for (index, client) in clients.enumerate() {
            let mut events = Events::open(client).await?;
            let found = found.clone();
            tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                while let Ok(Some(event)) = events.next().await {
                    if found.send((index, event)).await.is_err() {
                        break;
                    }
                }
            })));
        }
        Ok(Self { queue, _tasks: tasks })
    }

    /// Forgets what happened so far.
    pub(super) fn forget(&mut self) {
        while self.queue.try_recv().is_ok() {}
    }

    /// The next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> (usize, EventView) {
        match self.queue.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

/// The extremes that any sample showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extremes {
    pub(super) depth_max: u8,
    pub(super) children_max: u16,
}

impl Extremes {
    fn take(&mut self, tree: &TreeView) {
        let depth = tree.nodes.iter().filter_map(|node| node.depth).max().unwrap_or_default();
        let children = tree.nodes.iter().map(|node| node.children).max().unwrap_or_default();
        self.depth_max = self.depth_max.max(depth);
        self.children_max = self.children_max.max(children);
    }
}

/// Samples of the tree. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Sampler {
    extremes: Arc<Mutex<Extremes>>,
    _task: AbortOnDropHandle<()>,
}

impl Sampler {
    /// Starts sampling: at each turn the next of these nodes, as each knows best of itself.
    pub(super) fn start(clients: Vec<Client>, track: &str) -> Self {
        let extremes = Arc::<Mutex<Extremes>>::default();
        let (shared, path) = (Arc::clone(&extremes), format!("/v1/tracks/{track}/tree"));
        let task = tokio::spawn(async move {
            let mut turns = interval(SAMPLE / u32::try_from(clients.len().max(1)).unwrap_or(u32::MAX));
            for client in clients.iter().cycle() {
                turns.tick().await;
                // Killed nodes do not answer.
                if let Ok(tree) = client.view::<TreeView>(&path).await {
                    shared.lock().expect("comparing does not panic").take(&tree);
                }
            }
        });
        Self { extremes, _task: AbortOnDropHandle::new(task) }
    }

    pub(super) fn extremes(&self) -> Extremes {
        *self.extremes.lock().expect("comparing does not panic")
    }
}
