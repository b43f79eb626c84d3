//! Worlds to begin with.

use banyan_gossip::TrackName;
use banyan_node::{mesh::Config, relay::Mode};

use super::Params;
use crate::{
    queue::{MS, Nanos, SECOND},
    world::World,
};

/// The track of most scenarios.
pub(super) fn track() -> TrackName {
    TrackName::new("feed").expect("valid")
}

/// Applies the parameters and a capacity to a node's settings.
pub(super) fn configure(params: &Params, capacity: u16) -> impl Fn(&mut Config) + use<> {
    let rows = params.table_rows;
    move |config| {
        config.capacity = Some(capacity);
        if let Some(rows) = rows {
            config.gossip.table_rows_max = rows;
        }
    }
}

/// Hosts that start one after another within `span` and join through two that run already.
pub(super) fn start_all(world: &mut World, count: usize, span: Nanos, configure: impl Fn(&mut Config)) {
    for index in 0..count {
        let host = world.add_host();
        let bootstraps = bootstraps(world, host);
        world.start(host, &bootstraps, &configure);
        if index + 1 < count {
            world.run(span / count as Nanos);
        }
    }
}

/// Two of the hosts before this one; any that ever ran will do.
pub(super) fn bootstraps(world: &mut World, host: u32) -> Vec<u32> {
    if host == 0 {
        return Vec::new();
    }
    (0..2).map(|_| world.rng.u32(..host)).collect()
}

/// A mesh in which everybody knows everybody.
pub(super) fn mesh(world: &mut World, params: &Params, capacity: u16) {
    let span = (params.nodes as Nanos * MS).clamp(SECOND / 10, 5 * SECOND);
    start_all(world, params.nodes, span, configure(params, capacity));
    let limit = 60 * SECOND;
    if !world.run_until(limit, |world| world.tables_equal().is_ok()) {
        let why = world.tables_equal().err().unwrap_or_default();
        world.violated(&format!("no common table {:.0} s after the start: {why}", limit as f64 / 1e9));
    }
}

/// As [`mesh`], with a track of host 0 that all others follow.
pub(super) fn tree(world: &mut World, params: &Params, capacity: u16, mode: Mode) -> TrackName {
    mesh(world, params, capacity);
    follow_all(world, mode, SECOND / 2);
    let track = track();
    world.settle(&track, 30 * SECOND);
    track
}

/// Host 0 publishes, all others subscribe within `span`.
pub(super) fn follow_all(world: &mut World, mode: Mode, span: Nanos) {
    let track = track();
    assert!(world.publish(0, &track, mode), "host 0 publishes");
    world.run(100 * MS);
    let count = world.hosts.len() as u32;
    let mut at: Vec<(Nanos, u32)> = (1..count).map(|host| (world.rng.u64(..span.max(1)), host)).collect();
    at.sort_unstable();
    let began = world.now();
    for (at, host) in at {
        let pause = (began + at).saturating_sub(world.now());
        world.run(pause);
        world.subscribe(host, &track);
    }
}

/// Hosts that run, feed somebody and are not the origin.
pub(super) fn relays(world: &World) -> Vec<u32> {
    let track = track();
    let feeds = |mesh: &banyan_node::mesh::Mesh| mesh.tree(&track).is_some_and(|tree| tree.children().next().is_some());
    world.running().filter(|(host, mesh)| *host != 0 && feeds(mesh)).map(|(host, _)| host).collect()
}

/// The host that feeds this one.
pub(super) fn parent(world: &World, host: u32) -> Option<u32> {
    let parent = world.mesh(host)?.tree(&track())?.parent()?;
    world.host_of(&parent)
}

/// Publishes objects for a while: `rate` a second, of `length` bytes.
pub(super) fn stream(world: &mut World, origin: u32, time: Nanos, rate: u64, length: usize) {
    let end = world.now() + time;
    while world.now() < end {
        world.publish_object(origin, &track(), length);
        world.run((SECOND / rate).min(end - world.now()));
    }
}
