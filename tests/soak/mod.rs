//! Nodes that live for long while others die around them.
//!
//! All nodes run on the loopback interface. Every few seconds one is killed and started again a moment later; now and
//! then one is frozen, or leaves and comes back. Some, the *elders*, are never ended: whatever grows, grows there.

mod plot;
mod samples;

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    lab::Done,
    node::{Node, Spec, eventually},
    stream::{Load, Publisher, Subscriber},
    table::Row,
};
use samples::{Sample, Samples};

/// How long, how many, how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to run.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Nodes.
    #[arg(long, default_value_t = 30)]
    nodes: usize,
    /// Nodes of those that are never ended, the publisher among them.
    #[arg(long, default_value_t = 6)]
    elders: usize,
    /// Seconds between two kills.
    #[arg(long, default_value_t = 5.0)]
    kill_every: f64,
    /// Objects a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Bytes of each.
    #[arg(long, default_value_t = 1_000)]
    size: usize,
    /// Seconds between two samples.
    #[arg(long, default_value_t = 5.0)]
    sample_every: f64,
    /// The seed of what happens when to whom.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where soak.csv and soak.svg are written.
    #[arg(long, default_value = "target/soak")]
    out: PathBuf,
}

/// When what grows is measured first; half of the time, if that is shorter.
const SETTLED: Duration = Duration::from_secs(300);
/// How much of the run each of the two measurements takes.
const WINDOW: Duration = Duration::from_secs(60);
/// Longest time that a killed node stays away.
const AWAY_MAX_S: f64 = 4.0;
/// Longest time that a node is frozen: less than what rings hold.
const FROZEN_MAX_S: f64 = 2.5;
/// Freezes and farewells: one of each in so many kills.
const OTHER_EVERY: u64 = 4;
/// Longest wait for everyone to have everything.
const CATCH_UP: Duration = Duration::from_secs(60);

/// What is to be done to a node later.
#[derive(Debug, Clone, Copy)]
enum Later {
    Start,
    Thaw,
}

struct Soak {
    nodes: Vec<Node>,
    subscribers: Vec<Subscriber>,
    later: Vec<(Instant, usize, Later)>,
    rng: fastrand::Rng,
    elders: usize,
    kills: u64,
    freezes: u64,
    farewells: u64,
    _folder: TempDir,
}

/// Runs the soak and says what held.
pub(crate) fn run(banyan: &Path, args: &Args) -> Done<Vec<Row>> {
    if args.elders < 2 || args.elders >= args.nodes {
        return Err("at least two elders, and fewer than all nodes".into());
    }
    if args.size < 16 {
        return Err("objects have at least 16 bytes".into());
    }
    fs::create_dir_all(&args.out)?;
    let load = Load { track: "soak", reliable: true, signed: false, rate: args.rate, size: args.size };
    let epoch = Instant::now();
    let mut soak = Soak::start(banyan, args, load.track, epoch)?;
    let publisher = Publisher::start(&soak.nodes[0].spec.socket, load, epoch)?;
    let mut samples = Samples::create(&args.out.join("soak.csv"))?;
    let began = Instant::now();
    let ends = began + Duration::from_secs_f64(args.minutes * 60.0);
    let (kill_every, sample_every) =
        (Duration::from_secs_f64(args.kill_every), Duration::from_secs_f64(args.sample_every));
    let (mut next_kill, mut next_sample) = (began + kill_every, began + sample_every);
    while Instant::now() < ends {
        let now = Instant::now();
        soak.do_later(now)?;
        if now >= next_kill {
            soak.strike(now)?;
            next_kill += kill_every;
        }
        if now >= next_sample {
            let sample = soak.sample(began.elapsed(), publisher.sent());
            eprintln!("{}", sample.line());
            samples.add(sample)?;
            next_sample += sample_every;
        }
        let due = soak.later.iter().map(|(at, ..)| *at).chain([next_kill, next_sample, ends]).min();
        thread::park_timeout(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())));
    }
    soak.calm()?;
    let sent = publisher.end()?;
    let missing = soak.catch_up(sent);
    samples.add(soak.sample(began.elapsed(), sent))?;
    plot::draw(&args.out.join("soak.svg"), samples.all())?;
    Ok(soak.verdicts(args, &samples, sent, &missing))
}

impl Soak {
    fn start(banyan: &Path, args: &Args, track: &'static str, epoch: Instant) -> Done<Self> {
        let folder = tempfile::Builder::new().prefix("banyan-soak-").tempdir()?;
        let ports: Vec<u16> = free_ports(args.nodes)?;
        let mut nodes = Vec::new();
        for (place, port) in ports.iter().enumerate() {
            let at = |what: &str| folder.path().join(format!("n{place}{what}"));
            let mut spec = Spec::new(banyan, &format!("n{place}"), at(""), at(".sock"));
            spec.listen(&format!("/ip4/127.0.0.1/tcp/{port}"));
            spec.args(&["--capacity", "3", "--root-slots", "3"]);
            for elder in ports.iter().take(2) {
                spec.args(&["--bootstrap", &format!("127.0.0.1:{elder}")]);
            }
            let mut node = Node::new(spec);
            node.start()?;
            nodes.push(node);
        }
        for node in &nodes {
            node.knows(args.nodes - 1)?;
        }
        let subscribers = nodes.iter().map(|node| Subscriber::start(&node.spec.socket, track, epoch)).collect();
        let rng = fastrand::Rng::with_seed(args.seed);
        let (kills, freezes, farewells) = (0, 0, 0);
        let elders = args.elders;
        Ok(Self { nodes, subscribers, later: Vec::new(), rng, elders, kills, freezes, farewells, _folder: folder })
    }

    /// Somebody who is neither an elder nor away nor frozen.
    fn victim(&mut self) -> Option<usize> {
        let busy: Vec<usize> = self.later.iter().map(|(_, place, _)| *place).collect();
        let places = self.elders..self.nodes.len();
        let idle: Vec<usize> =
            places.filter(|place| self.nodes[*place].is_running() && !busy.contains(place)).collect();
        self.rng.choice(idle)
    }

    fn strike(&mut self, now: Instant) -> Done {
        if let Some(place) = self.victim() {
            self.kills += 1;
            self.nodes[place].kill();
            self.later.push((now + Duration::from_secs_f64(self.rng.f64() * AWAY_MAX_S), place, Later::Start));
        }
        if self.kills.is_multiple_of(OTHER_EVERY)
            && let Some(place) = self.victim()
        {
            self.freezes += 1;
            self.nodes[place].signal(Signal::STOP)?;
            self.later.push((now + Duration::from_secs_f64(self.rng.f64() * FROZEN_MAX_S), place, Later::Thaw));
        }
        if self.kills % OTHER_EVERY == 2
            && let Some(place) = self.victim()
        {
            self.farewells += 1;
            self.nodes[place].stop()?;
            self.later.push((now + Duration::from_secs_f64(self.rng.f64() * AWAY_MAX_S), place, Later::Start));
        }
        Ok(())
    }

    fn do_later(&mut self, now: Instant) -> Done {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, ..)| *at <= now);
        self.later = later;
        for (_, place, what) in due {
            match what {
                Later::Start => self.nodes[place].start()?,
                Later::Thaw => self.nodes[place].signal(Signal::CONT)?,
            }
        }
        Ok(())
    }

    /// Everybody is back, and fed.
    fn calm(&mut self) -> Done {
        self.do_later(Instant::now() + Duration::from_secs(3600))?;
        let before: Vec<u64> = self.subscribers.iter().map(|subscriber| subscriber.take().objects).collect();
        for (place, before) in before.into_iter().enumerate() {
            let more = || (self.subscribers[place].take().objects > before + 10).then_some(());
            eventually(CATCH_UP, more).ok_or_else(|| format!("n{place} gets nothing"))?;
        }
        Ok(())
    }

    /// Waits until everyone has everything; who has not?
    fn catch_up(&self, sent: u64) -> Vec<String> {
        let deadline = Instant::now() + CATCH_UP;
        let behind = self.subscribers.iter().enumerate().filter(|(_, subscriber)| {
            let rest = deadline.saturating_duration_since(Instant::now());
            eventually(rest, || (subscriber.take().next == Some(sent)).then_some(())).is_none()
        });
        behind.map(|(place, subscriber)| format!("n{place} at {:?}", subscriber.take().next)).collect()
    }

    fn sample(&self, at: Duration, sent: u64) -> Sample {
        let mut sample = Sample { seconds: at.as_secs_f64(), sent, ..Sample::default() };
        let mut took = Vec::new();
        for subscriber in &self.subscribers {
            let got = subscriber.take();
            sample.objects += got.objects;
            sample.lost += got.lost;
            sample.doubled += got.doubled;
            sample.lives += got.lives;
            took.extend(got.took_us);
        }
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            sample.up += 1;
            sample.rss_max = sample.rss_max.max(node.resident_bytes());
            sample.files_max = sample.files_max.max(node.open_files());
        }
        let elders = &self.nodes[..self.elders];
        for elder in elders {
            sample.rss_elders += elder.resident_bytes() / self.elders as u64;
            sample.files_elders += elder.open_files() as f64 / self.elders as f64;
            let figures = elder.text("/metrics").unwrap_or_default();
            let tombstones = |state| Node::figure(&figures, &format!("banyan_peers{{state=\"{state}\"}}"));
            sample.tombstones += (tombstones("dead") + tombstones("left")) / self.elders as f64;
            sample.queued += Node::figure(&figures, "banyan_control_queue_bytes");
            sample.ring = sample.ring.max(Node::figure(&figures, "banyan_track_ring_bytes"));
            sample.links += Node::figure(&figures, "banyan_links") / self.elders as f64;
            sample.cpu_s += elder.cpu().as_secs_f64() / self.elders as f64;
        }
        sample.latency(&mut took);
        sample
    }

    fn verdicts(&self, args: &Args, samples: &Samples, sent: u64, missing: &[String]) -> Vec<Row> {
        let total = Duration::from_secs_f64(args.minutes * 60.0);
        let settled = SETTLED.min(total / 2);
        let before = samples.between(settled.saturating_sub(WINDOW / 2), settled + WINDOW / 2);
        let after = samples.between(total.saturating_sub(WINDOW), total + CATCH_UP);
        let last = samples.all().last().cloned().unwrap_or_default();
        let name = format!(
            "{} min, {} nodes: {} killed, {} frozen, {} left and came back",
            args.minutes, args.nodes, self.kills, self.freezes, self.farewells
        );
        let mean = |of: &[Sample], what: fn(&Sample) -> f64| of.iter().map(what).sum::<f64>() / of.len().max(1) as f64;
        let rss = |of: &[Sample]| mean(of, |sample| sample.rss_elders as f64 / 1048576.0);
        let files = |of: &[Sample]| mean(of, |sample| sample.files_elders);
        let (rss_before, rss_after) = (rss(&before), rss(&after));
        let (files_before, files_after) = (files(&before), files(&after));
        let whole = last.lost == 0 && last.doubled == 0 && missing.is_empty() && sent > 0;
        vec![
            Row::new(
                &name,
                "0 lost, 0 doubled in any life, everyone has the last object",
                format!(
                    "{sent} sent, {} received in {} lives: {} lost, {} doubled {}",
                    last.objects,
                    last.lives,
                    last.lost,
                    last.doubled,
                    missing.join(", ")
                ),
                whole,
            ),
            Row::new(
                &name,
                format!("memory of the elders within 10 % of its value after {:.0} s", settled.as_secs_f64()),
                format!("{rss_before:.1} MiB, then {rss_after:.1} MiB"),
                rss_after <= 1.1 * rss_before,
            ),
            Row::new(
                &name,
                "open files of the elders within 10 % + 5",
                format!("{files_before:.1}, then {files_after:.1}"),
                files_after <= 1.1 * files_before + 5.0,
            ),
        ]
    }
}

/// Ports that nobody listens on.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
