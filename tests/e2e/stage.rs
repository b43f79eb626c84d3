//! A lab with one stream: host 1 publishes, all others subscribe.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    lab::{Done, Lab},
    node::eventually,
    stream::{Got, Load, Publisher, Subscriber, percentile_ms},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) load: Load,
    pub(crate) publisher: Publisher,
    /// With the host of each.
    pub(crate) subscribers: Vec<(u8, Subscriber)>,
}

/// What all subscribers got together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) altered: u64,
    /// Subscribers that have not the last object.
    pub(crate) behind: Vec<String>,
    pub(crate) longest_pause: Duration,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Longest wait for everyone to have everything.
const CATCH_UP: Duration = Duration::from_secs(40);

impl Stage {
    /// Starts the hosts, publishes, and waits until everyone is fed.
    pub(crate) fn set(banyan: &Path, hosts: u8, load: Load) -> Done<Self> {
        Self::on(Lab::started(banyan, hosts)?, load)
    }

    /// The same on a lab that runs.
    pub(crate) fn on(lab: Lab, load: Load) -> Done<Self> {
        let epoch = Instant::now();
        let subscribers = (2..=u8::try_from(lab.nodes.len())?)
            .map(|host| (host, Subscriber::start(&lab.nodes[usize::from(host) - 1].spec.socket, load.track, epoch)));
        let subscribers: Vec<_> = subscribers.collect();
        let publisher = Publisher::start(&lab.nodes[0].spec.socket, load, epoch)?;
        let stage = Self { lab, load, publisher, subscribers };
        stage.everyone_gets_more(Duration::from_secs(60))?;
        Ok(stage)
    }

    /// Waits until every subscriber has another ten objects.
    pub(crate) fn everyone_gets_more(&self, patience: Duration) -> Done {
        self.these_get_more(patience, |_| true)
    }

    /// The same of some.
    pub(crate) fn these_get_more(&self, patience: Duration, which: impl Fn(u8) -> bool) -> Done {
        let deadline = Instant::now() + patience;
        for (host, subscriber) in self.subscribers.iter().filter(|(host, _)| which(*host)) {
            let before = subscriber.take().objects;
            let rest = deadline.saturating_duration_since(Instant::now());
            eventually(rest, || (subscriber.take().objects >= before + 10).then_some(()))
                .ok_or_else(|| format!("h{host} gets nothing"))?;
        }
        Ok(())
    }

    /// Lets time pass.
    pub(crate) fn run(&self, seconds: f64) {
        let _ = eventually(Duration::from_secs_f64(seconds), || None::<()>);
    }

    /// A host that is fed and feeds others, but does not publish; the one with the most children.
    pub(crate) fn relay(&self) -> Done<u8> {
        let children = |host: &u8| self.lab.nodes[usize::from(*host) - 1].children(self.load.track);
        let relay = self.subscribers.iter().map(|(host, _)| *host).max_by_key(children);
        relay.filter(|host| children(host) > 0).ok_or_else(|| "there is no relay".into())
    }

    /// Host of a peer id.
    pub(crate) fn host_of(&self, peer: &str) -> Option<u8> {
        let place = self.lab.nodes.iter().position(|node| node.peer_id().is_ok_and(|id| id == peer))?;
        u8::try_from(place + 1).ok()
    }

    pub(crate) fn forget_pauses(&self) {
        self.subscribers.iter().for_each(|(_, subscriber)| subscriber.forget_pauses());
    }

    /// Changes of parents that were a choice, not a loss, since the nodes started, over all of them.
    pub(crate) fn moves(&self) -> usize {
        self.changes_of_parents(&["moved_up", "parent_silent", "withheld"])
    }

    /// Changes of parents for these reasons.
    pub(crate) fn changes_of_parents(&self, reasons: &[&str]) -> usize {
        let events = self.lab.nodes.iter().flat_map(|node| node.events(&["parent_changed"]));
        events.filter(|event| event["reason"].as_str().is_some_and(|reason| reasons.contains(&reason))).count()
    }

    /// What everyone has at this moment.
    pub(crate) fn got(&self) -> Vec<(u8, Got)> {
        self.subscribers.iter().map(|(host, subscriber)| (*host, subscriber.take())).collect()
    }

    /// Ends the stream, waits until everyone whose node runs has all of it, and sums up.
    pub(crate) fn end(self) -> Done<(Outcome, Lab)> {
        let Self { lab, publisher, subscribers, .. } = self;
        let sent = publisher.end()?;
        let mut outcome = Outcome { sent, ..Outcome::default() };
        let deadline = Instant::now() + CATCH_UP;
        let mut took = Vec::new();
        for (host, subscriber) in &subscribers {
            let rest = deadline.saturating_duration_since(Instant::now());
            let mut got = Got::default();
            let running = lab.nodes[usize::from(*host) - 1].is_running();
            let all = eventually(rest, || {
                let latest = subscriber.take();
                took.extend_from_slice(&latest.took_us);
                got = latest;
                (got.next == Some(sent)).then_some(())
            });
            if all.is_none() && running {
                outcome.behind.push(format!("h{host} at {:?} {:?}", got.next, got.errors));
            }
            outcome.lost += got.lost;
            outcome.doubled += got.doubled;
            outcome.altered += got.altered;
            outcome.longest_pause = outcome.longest_pause.max(got.longest_pause);
        }
        (outcome.p50_ms, outcome.p99_ms) = (percentile_ms(&mut took, 0.5), percentile_ms(&mut took, 0.99));
        Ok((outcome, lab))
    }
}

impl Outcome {
    /// Nothing lost, doubled or altered, and everyone has the last object.
    pub(crate) fn whole(&self) -> bool {
        self.lost + self.doubled + self.altered == 0 && self.behind.is_empty() && self.sent > 0
    }

    pub(crate) fn text(&self) -> String {
        let behind =
            if self.behind.is_empty() { String::new() } else { format!(", behind: {}", self.behind.join("; ")) };
        format!(
            "{} objects: {} lost, {} doubled, {} altered{behind}; p50 {:.0} ms, p99 {:.0} ms, longest pause {:.0} ms",
            self.sent,
            self.lost,
            self.doubled,
            self.altered,
            self.p50_ms,
            self.p99_ms,
            self.longest_pause.as_secs_f64() * 1e3
        )
    }
}
