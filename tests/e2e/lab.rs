//! Hosts on one segment: network namespaces, made here and removed at the end.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use super::{
    node::{Node, Spec},
    wire::{Conditions, Wire},
};

/// What goes wrong in a test.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;
/// And what goes well.
pub(crate) type Done<T = ()> = Result<T, Failed>;

/// Namespaces of this process, over all labs.
static LABS: AtomicU32 = AtomicU32::new(0);

/// The port that every node listens on.
pub(crate) const PORT: u16 = 4101;

/// Hosts 1, 2, …, each with a node, on a segment whose conditions can be changed.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) wire: Wire,
    /// Host `n` runs node `n - 1`.
    pub(crate) nodes: Vec<Node>,
    pub(crate) folder: TempDir,
    banyan: PathBuf,
    tag: String,
}

impl Lab {
    /// A segment with so many hosts, whose nodes are not started yet.
    pub(crate) fn new(banyan: &Path, hosts: u8) -> Done<Self> {
        let tag = format!("bt{}-{}", process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::Builder::new().prefix("banyan-e2e-").tempdir()?;
        let mut lab = Self { wire: Wire::new(), nodes: Vec::new(), folder, banyan: banyan.to_owned(), tag };
        for host in 1..=hosts {
            lab.add_host(host)?;
            lab.nodes.push(Node::new(lab.spec(host)));
        }
        Ok(lab)
    }

    /// As [`Lab::new`], and all nodes are started and know one another.
    pub(crate) fn started(banyan: &Path, hosts: u8) -> Done<Self> {
        let mut lab = Self::new(banyan, hosts)?;
        lab.start()?;
        Ok(lab)
    }

    /// Starts all nodes and waits until they know one another.
    pub(crate) fn start(&mut self) -> Done {
        for node in &mut self.nodes {
            node.start()?;
        }
        let others = self.nodes.len() - 1;
        for node in &self.nodes {
            node.knows(others)?;
        }
        Ok(())
    }

    fn spec(&self, host: u8) -> Spec {
        let at = |what: &str| self.folder.path().join(format!("h{host}{what}"));
        let mut spec = Spec::new(&self.banyan, &format!("h{host}"), at(""), at(".sock"));
        spec.before = ["ip", "netns", "exec", &self.namespace(host)].map(str::to_owned).to_vec();
        spec.listen(&format!("/ip4/{}/tcp/{PORT}", Self::address(host)));
        // Two that everybody starts by, so that one of them may be down.
        for first in [1, 2] {
            spec.args(&["--bootstrap", &format!("{}:{PORT}", Self::address(first))]);
        }
        spec.args(&["--capacity", "3", "--root-slots", "3"]);
        spec
    }

    /// Where a host is reached.
    pub(crate) fn address(host: u8) -> String {
        format!("10.78.0.{host}")
    }

    /// The network namespace of a host.
    pub(crate) fn namespace(&self, host: u8) -> String {
        format!("{}h{host}", self.tag)
    }

    /// Adds a host without a node.
    pub(crate) fn add_host(&self, host: u8) -> Done {
        let (namespace, device) = (self.namespace(host), format!("{}t{host}", self.tag.trim_start_matches("bt")));
        ip(&["netns", "add", &namespace])?;
        self.wire.plug(host, &device)?;
        ip(&[
            "link",
            "set",
            &device,
            "netns",
            &namespace,
            "name",
            "eth0",
            "address",
            &format!("02:00:00:00:00:{host:02x}"),
        ])?;
        ip(&["-n", &namespace, "address", "add", &format!("{}/24", Self::address(host)), "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])
    }

    /// Pulls the cable of a host, or puts it back.
    pub(crate) fn cable(&self, host: u8, up: bool) -> Done {
        ip(&["-n", &self.namespace(host), "link", "set", "eth0", if up { "up" } else { "down" }])
    }

    /// What happens from now on to everything that is sent.
    pub(crate) fn conditions(&self, conditions: Conditions) {
        for host in 1..=u8::try_from(self.nodes.len()).unwrap_or(u8::MAX) {
            self.wire.set(host, conditions);
        }
    }

    /// The node of a host.
    pub(crate) fn node(&mut self, host: u8) -> &mut Node {
        &mut self.nodes[usize::from(host) - 1]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Ends them: everything in these namespaces was started here.
        self.nodes.clear();
        let mine = format!("{}h", self.tag);
        let listed = Command::new("ip").args(["netns", "list"]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for namespace in listed.lines().filter_map(|line| line.split(' ').next()).filter(|name| name.starts_with(&mine))
        {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// Whether this process may make namespaces and TAP devices.
pub(crate) fn may_make_hosts() -> bool {
    let name = format!("bt{}-try", process::id());
    let made = ip(&["netns", "add", &name]).is_ok() && Wire::new().plug(1, &format!("{}-try", process::id())).is_ok();
    let _ = ip(&["netns", "del", &name]);
    made
}

fn ip(args: &[&str]) -> Done {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}
