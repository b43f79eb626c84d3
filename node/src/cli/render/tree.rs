//! Draws the tree of a track.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    names,
    style::{Line, Paint, Style},
};
use crate::views::{TreeNode, TreeView};

/// Terminals below this width get narrower branches, in columns.
const NARROW: usize = 60;

/// The tree as lines of text. What is not attached to the origin follows in a section of its own;
/// there, fragments are drawn below their tops.
///
/// The view is one node's table, which may be behind: a parent may be missing, and parents may
/// even seem to form a loop. Every peer is drawn exactly once all the same.
pub(crate) fn tree(style: Style, view: &TreeView) -> String {
    let mut drawing = Drawing::new(style, view);
    let attached = view.nodes.iter().filter(|node| node.attached).count();
    let depth = view.nodes.iter().filter_map(|node| node.depth).max().unwrap_or_default();
    let heading = format!(" · {attached} of {} attached · depth {depth} · children/capacity", view.nodes.len());
    drawing.line(&[(Paint::Bold, view.track.clone()), (Paint::Dim, heading)]);
    if let Some(origin) = view.nodes.iter().find(|node| view.origin.as_ref() == Some(&node.peer_id)) {
        drawing.node(origin, &mut Vec::new());
    } else {
        drawing.line(&[(Paint::Yellow, "no origin is known".to_owned())]);
    }
    drawing.fragments();
    drawing.text
}

struct Drawing<'a> {
    style: Style,
    nodes: &'a [TreeNode],
    names: BTreeMap<&'a str, &'a str>,
    /// By parent, in the order of names.
    children: BTreeMap<&'a str, Vec<&'a TreeNode>>,
    drawn: BTreeSet<&'a str>,
    text: String,
}

impl<'a> Drawing<'a> {
    fn new(style: Style, view: &'a TreeView) -> Self {
        let names = names(view);
        let mut children: BTreeMap<&str, Vec<&TreeNode>> = BTreeMap::new();
        for node in &view.nodes {
            if let Some(parent) = &node.parent {
                children.entry(parent).or_default().push(node);
            }
        }
        for siblings in children.values_mut() {
            siblings.sort_by_key(|node| (names.get(&*node.peer_id).copied(), &node.peer_id));
        }
        Self { style, nodes: &view.nodes, names, children, drawn: BTreeSet::new(), text: String::new() }
    }

    fn line(&mut self, pieces: &[(Paint, String)]) {
        self.text.push_str(&self.style.line(pieces));
        self.text.push('\n');
    }

    /// Draws a peer and those below it; `branches` says of each level whether it was the last there.
    fn node(&mut self, node: &'a TreeNode, branches: &mut Vec<bool>) {
        self.drawn.insert(&node.peer_id);
        let branch = self.branches(branches);
        let mut line: Line = vec![(Paint::Dim, branch)];
        line.extend(self.describe(node));
        self.line(&line);
        let children = self.children.get(&*node.peer_id).cloned().unwrap_or_default();
        let children: Vec<&TreeNode> =
            children.into_iter().filter(|child| !self.drawn.contains(&*child.peer_id)).collect();
        for (index, child) in children.iter().enumerate() {
            if self.drawn.contains(&*child.peer_id) {
                continue;
            }
            branches.push(index + 1 == children.len());
            self.node(child, branches);
            branches.pop();
        }
    }

    fn branches(&self, branches: &[bool]) -> String {
        let narrow = self.style.width.is_some_and(|width| width < NARROW);
        let [through, blank, fork, corner] =
            if narrow { ["│", " ", "├", "└"] } else { ["│  ", "   ", "├─ ", "└─ "] };
        let Some((own, above)) = branches.split_last() else { return String::new() };
        let above = above.iter().map(|last| if *last { blank } else { through });
        above.chain([if *own { corner } else { fork }]).collect()
    }

    fn describe(&self, node: &TreeNode) -> Line {
        let name = self.names.get(&*node.peer_id).copied().unwrap_or(&node.peer_id);
        let paint = match node.role.as_str() {
            _ if !node.attached => Paint::Yellow,
            "origin" => Paint::Green,
            "relay" | "volunteer" => Paint::Cyan,
            _ => Paint::Plain,
        };
        let role = match node.role.as_str() {
            "origin" => " origin",
            "volunteer" => " volunteer",
            _ => "",
        };
        let depth = node.depth.map(|depth| format!(" · depth {depth}")).unwrap_or_default();
        let rest = format!("{role}{depth} · {}/{}", node.children, node.capacity);
        vec![(paint, name.replace(char::is_control, "?")), (Paint::Dim, rest)]
    }

    /// Draws who was not reached from the origin, from the tops down.
    fn fragments(&mut self) {
        let is_known = |id: &String| self.nodes.iter().any(|node| node.peer_id == *id);
        let tops = self.nodes.iter().filter(|node| !node.parent.as_ref().is_some_and(is_known));
        // After the tops, whoever is left hangs in a loop.
        let rest: Vec<&TreeNode> = tops.chain(self.nodes).collect();
        if rest.iter().all(|node| self.drawn.contains(&*node.peer_id)) {
            return;
        }
        self.line(&[(Paint::Yellow, "not attached to the origin:".to_owned())]);
        for node in rest {
            if !self.drawn.contains(&*node.peer_id) {
                self.node(node, &mut vec![true]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, parent: Option<&str>, depth: Option<u8>, children: u16) -> TreeNode {
        let role = match (depth, children) {
            (Some(0), _) => "origin",
            (_, 0) => "leaf",
            _ => "relay",
        };
        TreeNode {
            peer_id: format!("12D3KooW{name:-<8}"),
            label: (name != "x").then(|| name.to_owned()),
            role: role.to_owned(),
            parent: parent.map(|parent| format!("12D3KooW{parent:-<8}")),
            depth,
            children,
            capacity: 2,
            attached: depth.is_some(),
        }
    }

    fn view(nodes: Vec<TreeNode>) -> TreeView {
        let origin = nodes.iter().find(|node| node.depth == Some(0)).map(|node| node.peer_id.clone());
        TreeView { track: "cam/1".to_owned(), origin, epoch: 3, nodes }
    }

    fn sample() -> TreeView {
        view(vec![
            node("o", None, Some(0), 2),
            node("b", Some("o"), Some(1), 0),
            node("a", Some("o"), Some(1), 2),
            node("x", Some("a"), Some(2), 0),
            node("c", Some("a"), Some(2), 1),
            node("d", Some("c"), Some(3), 0),
        ])
    }

    #[test]
    fn tree_is_drawn_from_the_origin_down() {
        let expected = "\
cam/1 · 6 of 6 attached · depth 3 · children/capacity
o origin · depth 0 · 2/2
├─ a · depth 1 · 2/2
│  ├─ c · depth 2 · 1/2
│  │  └─ d · depth 3 · 0/2
│  └─ x------- · depth 2 · 0/2
└─ b · depth 1 · 0/2
";
        assert_eq!(tree(Style::PLAIN, &sample()), expected);
    }

    #[test]
    fn narrow_terminals_get_narrow_branches_and_lines_that_fit() {
        let expected = "\
cam/1 · 6 of 6 …
o origin · dept…
├a · depth 1 · …
│├c · depth 2 ·…
││└d · depth 3 …
│└x------- · de…
└b · depth 1 · …
";
        assert_eq!(tree(Style { colours: false, width: Some(16) }, &sample()), expected);
    }

    #[test]
    fn fragments_and_loops_are_drawn_apart_and_once() {
        let view = view(vec![
            node("o", None, Some(0), 0),
            node("top", None, None, 1),
            node("low", Some("top"), None, 0),
            node("lost", Some("gone"), None, 0),
            node("l1", Some("l2"), Some(4), 1),
            node("l2", Some("l1"), Some(4), 1),
        ]);
        let expected = "\
cam/1 · 3 of 6 attached · depth 4 · children/capacity
o origin · depth 0 · 0/2
not attached to the origin:
└─ top · 1/2
   └─ low · 0/2
└─ lost · 0/2
└─ l1 · depth 4 · 1/2
   └─ l2 · depth 4 · 1/2
";
        assert_eq!(tree(Style::PLAIN, &view), expected);
    }

    #[test]
    fn tree_without_an_origin_says_so() {
        let text = tree(Style::PLAIN, &view(vec![node("a", None, None, 0)]));
        assert_eq!(
            text,
            "cam/1 · 0 of 1 attached · depth 0 · children/capacity\nno origin is known\nnot attached to the origin:\n└─ a · 0/2\n"
        );
    }

    #[test]
    fn peer_that_is_its_own_parent_is_drawn_once() {
        let text = tree(Style::PLAIN, &view(vec![node("a", Some("a"), Some(1), 1)]));
        assert_eq!(text.matches("a · depth 1").count(), 1, "{text}");
    }
}
