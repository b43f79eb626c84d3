//! Nobody is deeper than the limit (A5).

use crate::world::World;

impl World {
    pub(super) fn check_depth(&self, host: u32) {
        let mesh = self.mesh(host).expect("it runs");
        let limit = mesh.config().tree.max_depth;
        for (track, tree) in mesh.trees() {
            if let Some(depth) = tree.depth().filter(|depth| *depth > limit) {
                self.violated(&format!("host {host} is at depth {depth} of {track}, beyond {limit} (A5)"));
            }
        }
    }
}
