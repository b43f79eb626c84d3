//! `banyan bench fanout`: a mesh within this process, one publisher, all others receive.

use std::{
    io::{self, IsTerminal},
    pin::pin,
    time::Duration,
};

use banyan_gossip::{MeshName, TrackName};
use bytes::BytesMut;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    args,
    feed::{Clock, Feed},
    probe,
    report::{per_second, rounded},
    show,
    tally::Tally,
    verdict,
};
use crate::{
    From, Item, Node, NodeError, PublishOptions, Publisher, SubscribeOptions, Subscriber,
    cli::{
        exit::{Exit, Failure, Outcome},
        signals::Signals,
    },
    views::reports::{BenchResults, Delivery, Fanout},
};

/// Time for all nodes to be attached.
const ATTACHED: Duration = Duration::from_secs(60);
/// Time for the rest to arrive once everything is published.
const DELIVERED: Duration = Duration::from_secs(30);
/// Bytes of a GiB.
const GIB: f64 = (1u64 << 30) as f64;
/// Pause between two looks at something.
const POLL: Duration = Duration::from_millis(20);

pub(super) async fn fanout(args: args::Fanout) -> Outcome {
    args.check()?;
    let mut signals = Signals::listen()?;
    let clock = Clock::new();
    let mesh = tokio::select! {
        mesh = Mesh::start(&args, clock) => mesh?,
        () = signals.next() => {
            return Err(Failure::new(Exit::Partial, "interrupted before anything was published", "let it start"));
        }
    };
    if io::stderr().is_terminal() {
        eprintln!("{} nodes are attached; publishing for {} s", args.nodes, args.load.seconds.as_secs_f64());
    }
    let (interrupted, found) = mesh.run(&args, clock, &mut signals).await?;
    let (lost, doubled) = (found.delivery.lost, found.delivery.doubled);
    show(args.format, interrupted, BenchResults::Fanout(found))?;
    verdict(lost, doubled)
}

/// Nodes that are attached, and what they do.
struct Mesh {
    nodes: Vec<Node>,
    track: TrackName,
    publisher: Publisher,
    receivers: JoinSet<Tally>,
    /// Ends receivers that wait for what does not come.
    stop: CancellationToken,
}

impl Mesh {
    async fn start(args: &args::Fanout, clock: Clock) -> Outcome<Self> {
        probe::raise_file_limit();
        let deadline = Instant::now() + ATTACHED;
        let track = TrackName::new("bench").expect("it follows the rules");
        let mesh = MeshName::new("bench").expect("it follows the rules");
        let builder = Node::builder().mesh(mesh).mdns(false).listen("/ip4/127.0.0.1/tcp/0");
        let builder = builder.capacity(args.capacity).root_slots(args.capacity);
        let origin = builder.clone().start().await?;
        let address = listening(&origin, deadline).await?;
        let options = PublishOptions { mode: args.load.mode, integrity: args.integrity };
        let publisher = origin.publish(track.clone(), options).await.map_err(failed)?;
        let (mut nodes, mut receivers) = (vec![origin], JoinSet::new());
        let stop = CancellationToken::new();
        for _ in 1..args.nodes {
            let node = builder.clone().bootstrap(&address).start().await?;
            let options = SubscribeOptions { from: From::Oldest };
            let subscriber = node.subscribe(track.clone(), options).await.map_err(failed)?;
            receivers.spawn(receive(subscriber, clock, stop.clone()));
            nodes.push(node);
        }
        let mesh = Self { nodes, track, publisher, receivers, stop };
        while mesh.tree().await?.attached < mesh.nodes.len() {
            if Instant::now() >= deadline {
                return Err(late("did not all find a place in the tree"));
            }
            sleep(POLL).await;
        }
        Ok(mesh)
    }

    async fn tree(&self) -> Outcome<Tree> {
        let tree = self.nodes[0].tree(&self.track).await.map_err(failed)?;
        let attached = tree.nodes.iter().filter(|node| node.attached);
        Ok(Tree {
            attached: attached.clone().count(),
            depth: attached.filter_map(|node| node.depth).max().unwrap_or_default(),
        })
    }

    /// Publishes and waits until everything is delivered; a signal ends the one, a second the other.
    async fn run(mut self, args: &args::Fanout, clock: Clock, signals: &mut Signals) -> Outcome<(bool, Fanout)> {
        let cpu_before = probe::cpu_seconds();
        let start_ns = clock.now_ns();
        let mut sent = 0;
        let interrupted = tokio::select! {
            published = publish(&mut self.publisher, Feed::start(&args.load, clock), &mut sent) => {
                published.map_err(failed)?;
                false
            }
            () = signals.next() => true,
        };
        let depth = self.tree().await?.depth;
        self.publisher.finish().await.map_err(failed)?;

        let mut total = Tally::default();
        let mut late = pin!(async {
            tokio::select! {
                () = sleep(DELIVERED) => {}
                () = signals.next() => {}
            }
            self.stop.cancel();
        });
        let mut is_late = false;
        loop {
            tokio::select! {
                tally = self.receivers.join_next() => match tally {
                    Some(tally) => total.merge(&tally.map_err(|error| {
                        Failure::internal(format!("a receiver failed: {error}"), "this is a bug; please report it")
                    })?),
                    None => break,
                },
                () = &mut late, if !is_late => is_late = true,
            }
        }
        let cpu_s = probe::cpu_seconds() - cpu_before;
        let receivers = self.nodes.len() as u64 - 1;
        let seconds = total.last_ns.saturating_sub(start_ns) as f64 / 1e9;
        // Everyone was attached before the first object: what did not come is lost, at either end too.
        total.lost = (sent * receivers).saturating_sub(total.objects);
        let found = Fanout {
            nodes: args.nodes,
            capacity: args.capacity,
            depth,
            mode: args.load.mode,
            size: args.load.size,
            rate: args.load.rate,
            sent,
            delivery: Delivery::of(&total, seconds, 1.0 / receivers as f64),
            mb_per_s_all: per_second(total.bytes as f64 / 1e6, seconds),
            cpu_s: rounded(cpu_s),
            cpu_s_per_gib: (total.bytes > 0).then(|| rounded(cpu_s / (total.bytes as f64 / GIB))),
            memory_peak_bytes: probe::memory_peak_bytes(),
        };
        Ok((interrupted, found))
    }
}

/// The tree as the origin sees it.
struct Tree {
    attached: usize,
    depth: u8,
}

async fn publish(publisher: &mut Publisher, mut feed: Feed, sent: &mut u64) -> Result<(), NodeError> {
    while feed.due().await {
        let mut object = BytesMut::with_capacity(feed.size());
        feed.write(&mut object);
        publisher.send(object.freeze()).await?;
        *sent += 1;
    }
    Ok(())
}

async fn receive(mut subscriber: Subscriber, clock: Clock, stop: CancellationToken) -> Tally {
    let mut tally = Tally::default();
    let mut stopped = pin!(stop.cancelled());
    loop {
        let item = tokio::select! {
            biased;
            item = subscriber.next() => item,
            () = &mut stopped => return tally,
        };
        match item {
            Item::Object { payload, .. } => {
                let _ours = tally.take(clock.now_ns(), &payload);
            }
            Item::End(_) => return tally,
            _ => {}
        }
    }
}

/// The first address that a node listens on.
async fn listening(node: &Node, deadline: Instant) -> Outcome<String> {
    loop {
        let status = timeout(ATTACHED, node.status()).await.map_err(|_| late("did not answer"))?.map_err(failed)?;
        if let Some(address) = status.addresses.into_iter().next() {
            return Ok(address);
        }
        if Instant::now() >= deadline {
            return Err(late("did not listen"));
        }
        sleep(POLL).await;
    }
}

fn late(what: &str) -> Failure {
    let message = format!("the nodes {what} within {} s", ATTACHED.as_secs());
    Failure::new(Exit::Timeout, message, "use less --nodes or more --capacity")
}

fn failed(error: NodeError) -> Failure {
    Failure::internal(format!("a node failed: {error}"), "use less --nodes")
}
