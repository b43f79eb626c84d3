//! Whom to kill.

use crate::views::{TreeNode, TreeView};

/// Who may be killed.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    /// Never killed.
    pub(super) publisher: &'a str,
    /// Killed when its time has come, or when no other relay is left.
    pub(super) bootstrap: &'a str,
    /// Who is still there.
    pub(super) alive: &'a [&'a str],
    /// Whether it is the bootstrap node's turn.
    pub(super) bootstrap_now: bool,
}

impl Choice<'_> {
    /// A relay that feeds living nodes, drawn at random; else a leaf. `None` if nobody is left.
    pub(super) fn draw(&self, tree: &TreeView, rng: &mut fastrand::Rng) -> Option<String> {
        let is_alive = |id: &str| self.alive.contains(&id);
        if self.bootstrap_now && is_alive(self.bootstrap) {
            return Some(self.bootstrap.to_owned());
        }
        let feeds =
            |id: &str| tree.nodes.iter().any(|node| is_alive(&node.peer_id) && node.parent.as_deref() == Some(id));
        let others = tree.nodes.iter().filter(|node| is_alive(&node.peer_id) && node.peer_id != self.publisher);
        let draw = |nodes: Vec<&TreeNode>, rng: &mut fastrand::Rng| rng.choice(nodes).map(|node| node.peer_id.clone());
        let (relays, leaves): (Vec<_>, Vec<_>) = others.partition(|node| feeds(&node.peer_id));
        let without_bootstrap = |nodes: &[_]| -> Vec<&TreeNode> {
            nodes.iter().copied().filter(|node: &&TreeNode| node.peer_id != self.bootstrap).collect()
        };
        draw(without_bootstrap(&relays), rng)
            .or_else(|| draw(relays, rng))
            .or_else(|| draw(without_bootstrap(&leaves), rng))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(parents: &[(&str, Option<&str>)]) -> TreeView {
        let node = |(id, parent): &(&str, Option<&str>)| TreeNode {
            peer_id: (*id).to_owned(),
            label: None,
            role: "relay".to_owned(),
            parent: parent.map(ToOwned::to_owned),
            depth: Some(1),
            children: 1,
            capacity: 2,
            attached: true,
        };
        TreeView { track: "t".to_owned(), origin: None, epoch: 1, nodes: parents.iter().map(node).collect() }
    }

    fn drawn(alive: &[&str], bootstrap_now: bool, parents: &[(&str, Option<&str>)]) -> Vec<String> {
        let choice = Choice { publisher: "p", bootstrap: "b", alive, bootstrap_now };
        let draws = (0..40).filter_map(|seed| choice.draw(&tree(parents), &mut fastrand::Rng::with_seed(seed)));
        let mut drawn: Vec<String> = draws.collect();
        drawn.sort();
        drawn.dedup();
        drawn
    }

    const PARENTS: &[(&str, Option<&str>)] =
        &[("p", None), ("b", Some("p")), ("r", Some("p")), ("s", Some("r")), ("x", Some("b")), ("y", Some("s"))];

    #[test]
    fn relays_are_killed_and_neither_publisher_nor_leaves() {
        assert_eq!(drawn(&["p", "b", "r", "s", "x", "y"], false, PARENTS), ["r", "s"]);
    }

    #[test]
    fn bootstrap_is_killed_in_its_turn_once() {
        assert_eq!(drawn(&["p", "b", "r", "s", "x", "y"], true, PARENTS), ["b"]);
        assert_eq!(drawn(&["p", "r", "s", "x", "y"], true, PARENTS), ["r", "s"]);
    }

    #[test]
    fn relay_of_the_dead_is_a_leaf_and_leaves_come_last() {
        assert_eq!(drawn(&["p", "b", "s", "x", "y"], false, PARENTS), ["s"]);
        assert_eq!(drawn(&["p", "b", "x", "s"], false, PARENTS), ["b"], "s feeds the dead only");
        assert_eq!(drawn(&["p", "x", "y"], false, PARENTS), ["x", "y"]);
        assert_eq!(drawn(&["p"], false, PARENTS), [""; 0]);
    }
}
