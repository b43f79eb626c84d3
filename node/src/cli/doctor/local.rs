//! What can be seen of this machine without a node.

use std::{fs, path::Path};

use tokio::task::spawn_blocking;

use super::multicast;
use crate::views::checkup::{Finding, Level};

/// UDP buffer that QUIC fills at 1 Gbit/s in about 20 ms, in bytes.
const UDP_BUFFER_BYTES: u64 = 2_500_000;

/// Files that a node with a few hundred links needs.
const OPEN_FILES: u64 = 4_096;

/// Least size of a packet that QUIC needs, with its headers.
const MTU_MIN: u64 = 1_280;

pub(super) async fn findings() -> Vec<Finding> {
    let multicast = spawn_blocking(multicast::findings).await.unwrap_or_default();
    multicast.into_iter().chain([udp_buffers(), mtu(), open_files()]).collect()
}

fn udp_buffers() -> Finding {
    let read = |name: &str| read_number(&Path::new("/proc/sys/net/core").join(name));
    let (Some(receive), Some(send)) = (read("rmem_max"), read("wmem_max")) else {
        let next = "on other systems than Linux, see how large a UDP buffer a program may ask for";
        return Finding::new("udp_buffers", Level::Skipped, "the limits cannot be read", next);
    };
    let seen = format!("a program may ask for {receive} bytes to receive and {send} to send");
    if receive.min(send) >= UDP_BUFFER_BYTES {
        return Finding::ok("udp_buffers", seen);
    }
    let next = format!(
        "matters for QUIC only; as root: sysctl -w net.core.rmem_max={UDP_BUFFER_BYTES} net.core.wmem_max={UDP_BUFFER_BYTES}"
    );
    Finding::new("udp_buffers", Level::Warn, seen, next)
}

fn mtu() -> Finding {
    let mut interfaces: Vec<(String, u64)> = fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_up(&entry.path()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, read_number(&entry.path().join("mtu"))?)))
        .filter(|(name, _)| name != "lo")
        .collect();
    interfaces.sort();
    let list = |interfaces: &[(String, u64)]| {
        interfaces.iter().map(|(name, mtu)| format!("{name} {mtu}")).collect::<Vec<_>>().join(", ")
    };
    if interfaces.is_empty() {
        let next = "connect a network, or run all nodes on this machine with --bootstrap";
        return Finding::new("mtu", Level::Warn, "no interface but the loopback is up", next);
    }
    let small: Vec<_> = interfaces.iter().filter(|(_, mtu)| *mtu < MTU_MIN).cloned().collect();
    if small.is_empty() {
        Finding::ok("mtu", list(&interfaces))
    } else {
        let next = format!("ip link set dev NAME mtu 1500; QUIC needs {MTU_MIN}, TCP does without");
        Finding::new("mtu", Level::Warn, format!("too small for QUIC: {}", list(&small)), next)
    }
}

fn is_up(interface: &Path) -> bool {
    let state = fs::read_to_string(interface.join("operstate")).unwrap_or_default();
    matches!(state.trim(), "up" | "unknown")
}

fn open_files() -> Finding {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let unlimited = |limit: Option<u64>| limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string());
    let seen = format!("a program started here may open {} files", unlimited(limits.current));
    if limits.current.is_none_or(|current| current >= OPEN_FILES) {
        return Finding::ok("open_files", seen);
    }
    let next = format!("ulimit -n {OPEN_FILES}, or LimitNOFILE= in the unit; each link takes 2 to 4 files");
    Finding::new("open_files", Level::Warn, seen, next)
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
