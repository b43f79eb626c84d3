//! After healing, all tables say the same, within their bounds.

use banyan_gossip::Row;
use banyan_node::mesh::Mesh;

use crate::{host::Host, world::World};

/// One row in so many may be outdated in a table that holds a part of the mesh: two neighbours hold few
/// rows in common, so that what a push did not bring takes them long to find.
const OUTDATED: usize = 50;

impl World {
    /// What keeps the tables from being equal; `Ok` if nothing does. A node with more peers than its
    /// table holds has a part of them; all but one in fifty as they are now.
    pub fn tables_equal(&self) -> Result<(), String> {
        let version = |host: &Host| {
            let mesh = host.mesh()?;
            let row = mesh.table().row(&mesh.me())?;
            Some((row.incarnation, row.version))
        };
        let own: Vec<Option<(u64, u64)>> = self.hosts.iter().map(version).collect();
        let count = own.iter().flatten().count();
        // Where something was amiss the last time it is likely to be still.
        let first = self.checks.table_amiss.get();
        let after = self.running().filter(|(host, _)| *host >= first);
        for (host, mesh) in after.chain(self.running().take_while(|(host, _)| *host < first)) {
            self.checks.table_amiss.set(host);
            let row = mesh.table().row(&mesh.me());
            if !row.is_some_and(|row| says_what_is(row, mesh)) {
                return Err(format!("host {host} does not say what it is"));
            }
            let (table, most) = (mesh.table(), mesh.config().gossip.table_rows_max);
            let (mut live, mut outdated) = (0, 0);
            for row in table.iter_live() {
                live += 1;
                let current = self.host_of(&row.peer).and_then(|of| own[of as usize]);
                if current == Some((row.incarnation, row.version)) {
                    continue;
                }
                outdated += 1;
                if count <= most || outdated * OUTDATED > table.live_len() {
                    let what = if current.is_some() { "has an old row of" } else { "believes in" };
                    return Err(format!("host {host} {what} {}", self.name(&row.peer)));
                }
            }
            if live < count.min(most) {
                return Err(format!("host {host} knows {live} of {count}"));
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
