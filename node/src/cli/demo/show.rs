//! The course of the demo.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval, sleep, sleep_until, timeout},
};

use super::{
    args::{Args, Blow},
    cluster::{BOOTSTRAP, Cluster, PUBLISHER},
    feed::{Feed, Sent},
    narrator::Narrator,
    tally::Receiver,
    victim::Choice,
    watch::{Sampler, Watch},
};
use crate::{
    cli::{
        client::Publication,
        exit::{Exit, Failure, Outcome},
        render::{self, milliseconds, style::Paint},
    },
    views::{
        Event, EventView, Tracks, TreeView,
        reports::{DemoReport, RepairMs},
    },
};

/// The track that is shown.
const TRACK: &str = "demo/stream";
/// Time for everyone to be attached.
const ATTACHED: Duration = Duration::from_secs(30);
/// Time for survivors to be attached again before the last drawing.
const SETTLED: Duration = Duration::from_secs(5);
/// Time for rows to say how many children their peers feed, which they do a little later.
const COUNTED: Duration = Duration::from_secs(2);
/// Time for survivors to receive the rest once everything is published.
const DELIVERED: Duration = Duration::from_secs(30);
/// Pause between two looks at something.
const POLL: Duration = Duration::from_millis(50);
/// Time between two looks at the progress.
const PROGRESS: Duration = Duration::from_millis(200);

/// A demo under way.
#[derive(Debug)]
pub(super) struct Show<'a> {
    args: &'a Args,
    cluster: &'a mut Cluster,
    narrator: &'a mut Narrator,
    /// By node; the publisher has none.
    receivers: Vec<Option<Receiver>>,
    repairs: Vec<f64>,
    /// For each failure, and first for the time before: the longest pause at each survivor.
    pauses: Vec<Vec<f64>>,
    killed: u16,
    rng: fastrand::Rng,
}

impl<'a> Show<'a> {
    pub(super) fn new(args: &'a Args, cluster: &'a mut Cluster, narrator: &'a mut Narrator) -> Self {
        let (receivers, repairs, pauses) = (Vec::new(), Vec::new(), Vec::new());
        Self { args, cluster, narrator, receivers, repairs, pauses, killed: 0, rng: fastrand::Rng::new() }
    }

    pub(super) async fn run(mut self) -> Outcome<DemoReport> {
        let feed = Feed::open(self.args).await?;
        self.narrator.say(Paint::Plain, &format!("starting {} nodes, joined through n{BOOTSTRAP}", self.args.nodes));
        self.cluster.start(self.args).await?;
        let mut watch = Watch::start(self.cluster.members.iter().map(|member| &member.client)).await?;
        for (index, member) in self.cluster.members.iter().enumerate() {
            let receives = index != PUBLISHER;
            let receiver = if receives { Some(Receiver::start(&member.client, TRACK).await?) } else { None };
            self.receivers.push(receiver);
        }
        let (chunks, mut publication) = self.publish().await?;
        let clients = self.cluster.members.iter().map(|member| member.client.clone()).collect();
        let sampler = Sampler::start(clients, TRACK);
        let before = self.wait_attached(ATTACHED).await?;
        self.narrator.show(&render::tree::tree(self.narrator.style, &before));

        // That nobody had a parent while nobody published is no news.
        watch.forget();
        let start = Instant::now();
        let sent = self.stream(feed, &chunks, &mut publication, &mut watch).await?;
        self.note_pauses();
        let after = match self.wait_attached(SETTLED).await {
            Ok(tree) => tree,
            Err(_) => self.tree().await?,
        };
        let dropped = self.dropped().await;
        // Only now the track ends: receivers that have everything leave the tree.
        drop(chunks);
        let published = timeout(DELIVERED, publication.answer()).await.unwrap_or_else(|_| {
            Err(Failure::new(Exit::Timeout, "the publishing node did not take the end of the stream", "try again"))
        })?;
        debug_assert_eq!(published.objects, sent.objects);
        self.narrator.show(&render::tree::tree(self.narrator.style, &after));
        self.wait_delivered(&sent, &mut watch).await;
        Ok(self.report(&sent, dropped, &sampler, start.elapsed()))
    }

    /// Makes node 1 the origin of the track. What goes into the queue is published.
    async fn publish(&mut self) -> Outcome<(mpsc::Sender<Bytes>, Publication)> {
        let (chunks, queue) = mpsc::channel(4);
        let path = format!("/v1/tracks/{TRACK}/publish?framing=length&mode=reliable");
        let mut publication = self.cluster.members[PUBLISHER].client.publish(path, queue);
        let accepted = publication.accepted.clone();
        tokio::select! {
            () = accepted.cancelled() => Ok((chunks, publication)),
            answer = publication.answer() => Err(answer.err().unwrap_or_else(ended_early)),
            () = sleep(ATTACHED) => {
                Err(Failure::new(Exit::Timeout, "the publishing node did not answer", "use less --nodes on a slow machine"))
            }
        }
    }

    async fn tree(&self) -> Outcome<TreeView> {
        self.cluster.members[PUBLISHER].client.view(&format!("/v1/tracks/{TRACK}/tree")).await
    }

    /// Waits until all nodes that live are in the tree, and attached.
    async fn wait_attached(&mut self, limit: Duration) -> Outcome<TreeView> {
        let start = Instant::now();
        loop {
            let tree = self.tree().await?;
            let is_attached = |id: &str| tree.nodes.iter().any(|node| node.peer_id == id && node.attached);
            let missing: Vec<&str> = self
                .cluster
                .members
                .iter()
                .filter(|member| member.alive && !is_attached(&member.peer_id))
                .map(|member| &*member.name)
                .collect();
            if missing.is_empty() && (counts_agree(&tree) || start.elapsed() >= limit.min(COUNTED)) {
                self.narrator.say(Paint::Plain, "everyone is attached");
                return Ok(tree);
            }
            if !missing.is_empty() && start.elapsed() >= limit {
                let message =
                    format!("{} did not find a place in the tree within {} s", missing.join(" "), limit.as_secs());
                return Err(Failure::new(Exit::Timeout, message, "use less --nodes or more --capacity"));
            }
            sleep(POLL).await;
        }
    }

    /// Streams everything, killing relays at moments spread evenly over it.
    async fn stream(
        &mut self,
        feed: Feed,
        chunks: &mpsc::Sender<Bytes>,
        publication: &mut Publication,
        watch: &mut Watch,
    ) -> Outcome<Sent> {
        let start = Instant::now();
        let total = feed.objects;
        let (count, counted) = watch::channel(0);
        let progress = |sent: &Sent| {
            count.send_replace(sent.objects);
        };
        let mut feeding = std::pin::pin!(feed.run(chunks, progress, self.args.input.as_deref()));
        let mut looks = interval(PROGRESS);
        let share = Duration::from_secs(self.args.seconds.into()) / (u32::from(self.args.kill) + 1);
        let mut kills = 0;
        loop {
            let kill_at = start + share * (kills + 1);
            tokio::select! {
                sent = &mut feeding => return sent,
                answer = publication.answer() => return Err(answer.err().unwrap_or_else(ended_early)),
                (index, event) = watch.next() => self.on_event(index, &event),
                _ = looks.tick() => self.tell_progress(*counted.borrow(), total),
                () = sleep_until(kill_at), if kills < u32::from(self.args.kill) => {
                    kills += 1;
                    self.kill(kills == u32::from(self.args.kill)).await?;
                }
            }
        }
    }

    async fn kill(&mut self, last: bool) -> Outcome {
        let tree = self.tree().await?;
        let members = &self.cluster.members;
        let alive: Vec<&str> = members.iter().filter(|member| member.alive).map(|member| &*member.peer_id).collect();
        let choice = Choice {
            publisher: &members[PUBLISHER].peer_id,
            bootstrap: &members[BOOTSTRAP].peer_id,
            alive: &alive,
            bootstrap_now: last && self.args.kill >= 2,
        };
        let Some(index) = choice.draw(&tree, &mut self.rng).and_then(|id| self.cluster.index_of(&id)) else {
            return Ok(());
        };
        let member = &self.cluster.members[index];
        let fed = tree.nodes.iter().filter(|node| node.parent.as_ref() == Some(&member.peer_id)).count();
        let role = if index == BOOTSTRAP { ", the bootstrap node," } else { "" };
        let doing = if self.args.by == Blow::Kill { "killing" } else { "freezing" };
        let text = format!("{doing} {}{role} which feeds {fed}", member.name);
        self.narrator.say(Paint::Yellow, &text);
        self.note_pauses();
        self.cluster.strike(index, self.args.by)?;
        self.killed += 1;
        Ok(())
    }

    fn on_event(&mut self, index: usize, event: &EventView) {
        let name = &self.cluster.members[index].name;
        match &event.event {
            Event::Repaired { track, reason, gap_ms, attach_ms } if track == TRACK => {
                self.repairs.push(*gap_ms);
                let (gap, attach) = (milliseconds(*gap_ms), milliseconds(*attach_ms));
                let text = format!("{name} goes on after {gap} ({reason}, attached in {attach})");
                self.narrator.say(Paint::Green, &text);
            }
            Event::Gap { track, from, to } if track == TRACK => {
                let text = format!("{name} misses {} objects from id {from}", to.saturating_sub(*from));
                self.narrator.say(Paint::Yellow, &text);
            }
            Event::Stuck { track, reason } if track == TRACK => {
                let text = format!("{name} finds no parent: {reason}");
                self.narrator.say(Paint::Yellow, &text);
            }
            _ => {}
        }
    }

    fn survivors(&self) -> impl Iterator<Item = &Receiver> {
        let members = self.cluster.members.iter().zip(&self.receivers);
        members.filter(|(member, _)| member.alive).filter_map(|(_, receiver)| receiver.as_ref())
    }

    /// Takes what was the longest pause at each survivor since the last failure.
    fn note_pauses(&mut self) {
        let pauses = self.survivors().map(|receiver| receiver.tally().take_pause().as_secs_f64() * 1e3).collect();
        self.pauses.push(pauses);
    }

    /// Objects that came to the nodes a second time, and that they dropped.
    async fn dropped(&self) -> u64 {
        let mut dropped = 0;
        for member in self.cluster.members.iter().filter(|member| member.alive) {
            let Ok(tracks) = member.client.view::<Tracks>("/v1/tracks").await else { continue };
            let here =
                tracks.tracks.iter().filter(|track| track.track == TRACK).filter_map(|track| track.here.as_ref());
            dropped += here.map(|here| here.duplicates).sum::<u64>();
        }
        dropped
    }

    fn tell_progress(&mut self, sent: u64, total: u64) {
        let received = || self.survivors().map(|receiver| receiver.tally().objects);
        let (least, most) = (received().min().unwrap_or_default(), received().max().unwrap_or_default());
        let text = format!(
            "{sent} of {total} objects sent, {least}–{most} received at {} nodes, {} repairs",
            received().count(),
            self.repairs.len()
        );
        self.narrator.progress(&text);
    }

    /// Waits until the streams of all survivors have ended.
    async fn wait_delivered(&mut self, sent: &Sent, watch: &mut Watch) {
        let deadline = Instant::now() + DELIVERED;
        let mut looks = interval(POLL);
        while !self.survivors().all(|receiver| receiver.tally().ended) && Instant::now() < deadline {
            tokio::select! {
                (index, event) = watch.next() => self.on_event(index, &event),
                _ = looks.tick() => {}
            }
        }
        self.tell_progress(sent.objects, sent.objects);
    }

    fn report(&self, sent: &Sent, dropped: u64, sampler: &Sampler, took: Duration) -> DemoReport {
        let mut report = DemoReport {
            nodes: self.args.nodes,
            killed: self.killed,
            objects: sent.objects,
            bytes: sent.bytes,
            lost: 0,
            duplicates: 0,
            dropped,
            gaps: 0,
            repairs: self.repairs.len(),
            repair_ms: RepairMs::of(self.repairs.clone()),
            calm_ms: RepairMs::of(self.pauses.first().cloned().unwrap_or_default()),
            gap_ms: RepairMs::of(self.pauses.iter().skip(1).flatten().copied().collect()),
            depth_max: sampler.extremes().depth_max,
            children_max: sampler.extremes().children_max,
            capacity: self.args.capacity,
            sha256_ok: true,
            seconds: (took.as_secs_f64() * 100.0).round() / 100.0,
        };
        for receiver in self.survivors() {
            let tally = receiver.tally();
            report.lost += sent.objects.saturating_sub(tally.objects);
            report.duplicates += tally.duplicates;
            report.gaps += tally.gaps;
            report.sha256_ok &= tally.sha256() == sent.sha256();
        }
        report
    }
}

/// Whether each parent counts as many children as name it.
fn counts_agree(tree: &TreeView) -> bool {
    let named = |id: &str| tree.nodes.iter().filter(|node| node.parent.as_deref() == Some(id)).count();
    tree.nodes.iter().all(|node| usize::from(node.children) == named(&node.peer_id))
}

fn ended_early() -> Failure {
    Failure::internal("the publication ended before the stream did", "this is a bug; please report it")
}
