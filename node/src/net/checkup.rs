//! What a running node finds when it looks at itself and its mesh.

use std::path::PathBuf;

use banyan_gossip::MeshName;
use futures::future::join_all;

use super::{core::Answer, node::Node, types::NodeError};
use crate::views::{
    checkup::{Checkup, Finding, Level},
    peers::PeerName,
};

/// Linked peers that are asked for their clocks and versions.
const ASKED_MAX: usize = 8;

/// How many of them dial back.
const DIALLING_BACK_MAX: usize = 2;

/// A clock that is off by more is told, in milliseconds.
const CLOCK_WARN_MS: f64 = 2_000.0;

/// A clock that is off by more confuses people, logs and restarts of nodes.
const CLOCK_FAIL_MS: f64 = 60_000.0;

/// Less room on a disk than this is little, in bytes.
const ROOM_WARN: u64 = 1 << 30;

/// Less than this and nothing can be stored, in bytes.
const ROOM_FAIL: u64 = 16 << 20;

/// What the core knows.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) listens: usize,
    pub(crate) capacity: u16,
    pub(crate) peers: usize,
    /// Those that are linked.
    pub(crate) linked: Vec<PeerName>,
    pub(crate) mesh: MeshName,
    /// Why connections were refused in the greeting, and how often each.
    pub(crate) refusals: Vec<(String, u64)>,
    /// Peers that were met with two lives at the same time.
    pub(crate) twins: Vec<PeerName>,
    /// Tracks of which nobody feeds this node, and why.
    pub(crate) hungry: Vec<(String, String)>,
    pub(crate) data_dir: Option<PathBuf>,
}

impl Node {
    /// Looks at this node and what it sees of its mesh; asks a few peers. Takes up to 3 s.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn checkup(&self) -> Result<Checkup, NodeError> {
        let mut facts = self.facts().await?;
        let door = self.admission().view();
        if door.refused > 0 {
            facts.refusals.push(("of another mesh, or without a key of this one".to_owned(), door.refused));
        }
        let asked = facts.linked.iter().take(ASKED_MAX).enumerate();
        let answers = join_all(asked.map(|(index, peer)| self.probe(&peer.peer_id, index < DIALLING_BACK_MAX))).await;
        let answers: Vec<Answer> = answers.into_iter().flatten().collect();
        let mut findings = vec![node(&facts), peers(&facts), clock(&answers), version(&answers), reachable(&answers)];
        findings.extend([mesh(&facts), identity(&facts)]);
        findings.extend(tracks(&facts));
        findings.push(open_files());
        let roots = match self.library() {
            Some(library) => library.view().await.map(|view| view.roots).unwrap_or_default(),
            None => Vec::new(),
        };
        let roots = roots.into_iter().map(|root| PathBuf::from(root.path));
        findings.extend(facts.data_dir.into_iter().chain(roots).map(disk));
        Ok(Checkup::new(findings))
    }
}

fn node(facts: &Facts) -> Finding {
    if facts.listens == 0 {
        let next = "name an address of this machine: banyan run --listen /ip4/0.0.0.0/tcp/4001";
        return Finding::new("node", Level::Fail, "it listens nowhere, so that nobody can reach it", next);
    }
    let addresses = if facts.listens == 1 { "1 address".to_owned() } else { format!("{} addresses", facts.listens) };
    Finding::ok("node", format!("runs in mesh {}, listens on {addresses}, offers {} slots", facts.mesh, facts.capacity))
}

fn peers(facts: &Facts) -> Finding {
    let linked = facts.linked.len();
    match (facts.peers, linked) {
        (0, _) => {
            let next =
                "start another node of the same --mesh; where multicast does not pass, with --bootstrap HOST:PORT";
            Finding::new("peers", Level::Warn, "no other node is known", next)
        }
        (known, 0) => {
            let next = "is a firewall between them? see `banyan peers show PEER` for what a dial comes to";
            Finding::new("peers", Level::Fail, format!("{known} nodes are known, but none is linked"), next)
        }
        (known, linked) => Finding::ok("peers", format!("{known} other nodes are known, {linked} linked")),
    }
}

fn clock(answers: &[Answer]) -> Finding {
    let worst = answers.iter().max_by(|a, b| a.clock_ahead_ms.abs().total_cmp(&b.clock_ahead_ms.abs()));
    let Some(worst) = worst else {
        return Finding::new("clock", Level::Skipped, "no peer was there to compare with", "look again with peers");
    };
    let off = worst.clock_ahead_ms.abs() - worst.rtt.as_secs_f64() * 1e3;
    let way = if worst.clock_ahead_ms > 0.0 { "ahead of" } else { "behind" };
    let seen = format!(
        "of {} clocks the one of {} is the farthest off: {:.1} s {way} this one",
        answers.len(),
        called(&worst.peer),
        worst.clock_ahead_ms.abs() / 1e3
    );
    let next = "set the clocks by NTP: timedatectl set-ntp true. Banyan orders nothing by them, but people and logs do";
    match off {
        off if off > CLOCK_FAIL_MS => Finding::new("clock", Level::Fail, seen, next),
        off if off > CLOCK_WARN_MS => Finding::new("clock", Level::Warn, seen, next),
        _ => Finding::ok(
            "clock",
            format!("{} peers have the same time, within {:.0} ms", answers.len(), {
                worst.clock_ahead_ms.abs().max(worst.rtt.as_secs_f64() * 1e3).ceil()
            }),
        ),
    }
}

fn version(answers: &[Answer]) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let other: Vec<String> = answers
        .iter()
        .filter(|answer| answer.version != own)
        .map(|answer| format!("{} {}", called(&answer.peer), answer.version.chars().take(32).collect::<String>()))
        .collect();
    if answers.is_empty() {
        return Finding::new("version", Level::Skipped, "no peer was there to compare with", "look again with peers");
    }
    if other.is_empty() {
        return Finding::ok("version", format!("{} peers run {own} as well", answers.len()));
    }
    let seen = format!("this node runs {own}, others do not: {}", other.join(", "));
    Finding::new("version", Level::Warn, seen, "run the same version everywhere")
}

fn reachable(answers: &[Answer]) -> Finding {
    let dialled: Vec<(&PeerName, &(String, bool))> =
        answers.iter().flat_map(|answer| answer.reached.iter().map(move |reached| (&answer.peer, reached))).collect();
    let Some((peer, _)) = dialled.first() else {
        let seen = "no peer dialled a TCP address of this node back";
        return Finding::new("reachable", Level::Skipped, seen, "look again with peers; UDP is not checked");
    };
    let list = |wanted: bool| {
        let texts = dialled.iter().filter(|(_, (_, reached))| *reached == wanted).map(|(_, (text, _))| text.as_str());
        texts.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    if dialled.iter().all(|(_, (_, reached))| *reached) {
        return Finding::ok("reachable", format!("{} could dial {}", called(peer), list(true)));
    }
    let next = "open the port in the firewall, or listen on a fixed one: --listen /ip4/0.0.0.0/tcp/4001";
    if dialled.iter().any(|(_, (_, reached))| *reached) {
        let seen = format!("{} could dial {}, but not {}", called(peer), list(true), list(false));
        return Finding::new("reachable", Level::Warn, seen, next);
    }
    Finding::new("reachable", Level::Fail, format!("{} could not dial {}", called(peer), list(false)), next)
}

fn mesh(facts: &Facts) -> Finding {
    if facts.refusals.is_empty() {
        return Finding::ok("mesh", format!("no connection from outside {} was refused", facts.mesh));
    }
    let reasons = facts.refusals.iter().map(|(reason, times)| format!("{reason} ({times} times)"));
    let seen = format!("connections did not become links: {}", reasons.collect::<Vec<_>>().join("; "));
    let next = "fine if two meshes share this network; else give all nodes the same --mesh, key and version";
    Finding::new("mesh", Level::Warn, seen, next)
}

fn identity(facts: &Facts) -> Finding {
    if facts.twins.is_empty() {
        return Finding::ok("identity", "no peer was met in two places");
    }
    let twins = facts.twins.iter().map(called).collect::<Vec<_>>().join(", ");
    let seen = format!("two nodes at the same time say that they are {twins}");
    let next = "a data directory was copied: stop one of the two, remove its identity file, start it again";
    Finding::new("identity", Level::Fail, seen, next)
}

fn tracks(facts: &Facts) -> Vec<Finding> {
    if facts.hungry.is_empty() {
        return vec![Finding::ok("tracks", "every track that this node follows comes in")];
    }
    let finding = |(track, state): &(String, String)| {
        Finding::new("tracks", Level::Warn, format!("{track}: {state}"), format!("see banyan why {track}"))
    };
    facts.hungry.iter().take(8).map(finding).collect()
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    let seen = |limit: u64| format!("the node has {open} files open of {limit} that it may open");
    match limit {
        None => Finding::ok("open_files", format!("the node has {open} files open, and no limit")),
        Some(limit) if (open as u64) < limit / 4 * 3 => Finding::ok("open_files", seen(limit)),
        Some(limit) => {
            let next = "give it more: LimitNOFILE=65536 in the unit, or ulimit -n before the start";
            Finding::new("open_files", Level::Fail, seen(limit), next)
        }
    }
}

fn disk(path: PathBuf) -> Finding {
    let shown = path.display();
    match rustix::fs::statvfs(&path) {
        Err(error) => {
            let next = "is the disk mounted, and the folder yours?";
            Finding::new("disk", Level::Fail, format!("{shown} cannot be looked at: {error}"), next)
        }
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let seen = format!("{shown} has {} MiB free", free >> 20);
            match free {
                free if free < ROOM_FAIL => Finding::new("disk", Level::Fail, seen, "make room: nothing can be stored"),
                free if free < ROOM_WARN => Finding::new("disk", Level::Warn, seen, "make room before it is full"),
                _ => Finding::ok("disk", seen),
            }
        }
    }
}

fn called(peer: &PeerName) -> String {
    peer.label.clone().unwrap_or_else(|| peer.peer_id.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(ahead_ms: f64, version: &str, reached: &[bool]) -> Answer {
        Answer {
            peer: PeerName { peer_id: "p".to_owned(), label: Some("attic".to_owned()) },
            connect: None,
            rtt: Duration::from_millis(4),
            clock_ahead_ms: ahead_ms,
            version: version.to_owned(),
            reached: reached.iter().map(|reached| ("/ip4/10.0.0.1/tcp/1".to_owned(), *reached)).collect(),
        }
    }

    #[test]
    fn clocks_that_are_off_are_told_by_how_much() {
        let level = |ahead: f64| clock(&[answer(0.0, "1", &[]), answer(ahead, "1", &[])]).level;
        assert_eq!([1.0, -2_500.0, 2_500.0, -61_000.0].map(level), [Level::Ok, Level::Warn, Level::Warn, Level::Fail]);
        assert_eq!(clock(&[]).level, Level::Skipped);
        let seen = clock(&[answer(-61_000.0, "1", &[])]).seen;
        assert!(seen.contains("attic") && seen.contains("61.0 s behind"), "{seen}");
    }

    #[test]
    fn peers_that_cannot_dial_back_are_a_failure_and_some_that_can_a_warning() {
        let level = |reached: &[bool]| reachable(&[answer(0.0, "1", reached)]).level;
        assert_eq!(level(&[true, true]), Level::Ok);
        assert_eq!(level(&[true, false]), Level::Warn);
        assert_eq!(level(&[false]), Level::Fail);
        assert_eq!(level(&[]), Level::Skipped);
    }

    #[test]
    fn other_versions_are_named() {
        assert_eq!(version(&[answer(0.0, env!("CARGO_PKG_VERSION"), &[])]).level, Level::Ok);
        let finding = version(&[answer(0.0, "0.0.1", &[])]);
        assert!(finding.level == Level::Warn && finding.seen.contains("attic 0.0.1"), "{finding:?}");
    }
}
