//! After healing, all tables say the same, within their bounds.

use std::collections::BTreeMap;

use banyan_gossip::{PeerId, Row};
use banyan_node::mesh::Mesh;

use crate::world::World;

impl World {
    /// What keeps the tables from being equal; `Ok` if nothing does. A node with more peers than its
    /// table holds has a part of them, each as it is now.
    pub fn tables_equal(&self) -> Result<(), String> {
        let own: BTreeMap<PeerId, (u64, u64)> = self
            .running()
            .filter_map(|(_, mesh)| {
                let row = mesh.table().row(&mesh.me())?;
                Some((row.peer, (row.incarnation, row.version)))
            })
            .collect();
        for (host, mesh) in self.running() {
            let row = mesh.table().row(&mesh.me());
            if !row.is_some_and(|row| says_what_is(row, mesh)) {
                return Err(format!("host {host} does not say what it is"));
            }
            let (table, most) = (mesh.table(), mesh.config().gossip.table_rows_max);
            let mut live = 0;
            for row in table.iter_live() {
                live += 1;
                let name = self.name(&row.peer);
                match own.get(&row.peer) {
                    None => return Err(format!("host {host} thinks that {name} is there")),
                    Some(current) if *current != (row.incarnation, row.version) => {
                        return Err(format!("host {host} has an old row of {name}"));
                    }
                    Some(_) => {}
                }
            }
            if live < own.len().min(most) {
                return Err(format!("host {host} knows {live} of {}", own.len()));
            }
        }
        Ok(())
    }

    /// Tables keep their bounds: so many live rows, and twice as many tombstones.
    pub fn check_bounds(&self) {
        for (host, mesh) in self.running() {
            let table = mesh.table();
            let (live, most) = (table.live_len(), mesh.config().gossip.table_rows_max);
            // Who is linked has a place in the fullest table.
            if live > most + 1 + mesh.links().len() {
                self.violated(&format!("host {host} holds {live} rows, {most} are allowed"));
            }
            let tombstones = table.len() - live;
            // The bound follows the live rows, which may have just shrunk.
            let allowed = 2 * self.hosts.len().min(most) + 64;
            if tombstones > allowed {
                self.violated(&format!("host {host} holds {tombstones} tombstones, {allowed} are allowed"));
            }
        }
    }
}

/// Whether the last change of a row went out (B10).
fn says_what_is(row: &Row, mesh: &Mesh) -> bool {
    let entries = mesh.trees().filter_map(|(track, tree)| Some((track, tree.entry()?)));
    (row.capacity, row.free) == (mesh.slots().capacity(), mesh.slots().free())
        && row.tracks.iter().map(|(track, entry)| (track, entry.clone())).eq(entries)
}
