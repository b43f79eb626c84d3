//! No host ever feeds more children than it offered, however many ask at once (A3, A4).

use crate::world::World;

impl World {
    pub(super) fn check_slots(&mut self, host: u32) {
        let mesh = self.mesh(host).expect("it runs");
        let (used, capacity) = (mesh.slots().used(), mesh.slots().capacity());
        let held: usize = mesh.trees().map(|(_, tree)| tree.slots_held()).sum();
        let fed: usize = mesh.trees().map(|(_, tree)| tree.children().count()).sum();
        if held != usize::from(used) {
            self.violated(&format!("host {host} counts {used} slots and holds {held}"));
        }
        let before = self.checks.slots_used.insert(host, used).unwrap_or(0);
        // More than the capacity only while a lowered one is being enforced, and then never growing.
        if used > capacity.max(before) || fed > usize::from(used) {
            self.violated(&format!("host {host} feeds {fed} with {used} of {capacity} slots (A3)"));
        }
        for (track, child, ticket) in self.streams_fed(host) {
            let peer = self.peer(child);
            let tree = self.mesh(host).and_then(|mesh| mesh.tree(track));
            if !tree.is_some_and(|tree| tree.children().any(|session| session == (peer, ticket))) {
                self.violated(&format!("host {host} serves {child} in a session that there is not (A3, B11)"));
            }
        }
    }
}
