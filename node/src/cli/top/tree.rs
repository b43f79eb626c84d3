//! The tree of a track as rows that can be walked and folded.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cli::render::short,
    views::{TreeNode, TreeView},
};

/// One peer on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) peer: String,
    /// Who is drawn above it, if anybody.
    pub(super) parent: Option<String>,
    /// The branches left of it.
    pub(super) branch: String,
    /// Peers below it that are not shown.
    pub(super) hidden: usize,
    /// Peers drawn right below it, or hidden.
    pub(super) kids: usize,
}

/// What a peer is called.
pub(super) fn name(node: &TreeNode) -> &str {
    node.label.as_deref().unwrap_or(short(&node.peer_id))
}

/// Rows from the origin down, each peer once; what hangs in no tree, or seems to hang in a loop, follows.
pub(super) fn rows(view: &TreeView, folded: &BTreeSet<String>) -> Vec<Row> {
    let nodes: BTreeMap<&str, &TreeNode> = view.nodes.iter().map(|node| (&*node.peer_id, node)).collect();
    let mut kids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in &view.nodes {
        if let Some(parent) = node.parent.as_deref().filter(|parent| nodes.contains_key(parent)) {
            kids.entry(parent).or_default().push(&node.peer_id);
        }
    }
    let feeding: BTreeSet<&str> = kids.keys().copied().collect();
    for list in kids.values_mut() {
        // Relays first: what is below them is what people look for.
        list.sort_by_key(|peer| (!feeding.contains(peer), name(nodes[peer]), *peer));
    }
    let mut walk = Walk { kids: &kids, folded, seen: BTreeSet::new(), rows: Vec::new() };
    let origin = view.origin.as_deref().filter(|origin| nodes.contains_key(origin));
    let tops =
        view.nodes.iter().filter(|node| !node.parent.as_deref().is_some_and(|parent| nodes.contains_key(parent)));
    let rest = tops.chain(&view.nodes).map(|node| &*node.peer_id);
    for top in origin.into_iter().chain(rest) {
        if !walk.seen.contains(top) {
            walk.down(top, None, "", "", "");
        }
    }
    walk.rows
}

struct Walk<'a> {
    kids: &'a BTreeMap<&'a str, Vec<&'a str>>,
    folded: &'a BTreeSet<String>,
    seen: BTreeSet<&'a str>,
    rows: Vec<Row>,
}

impl<'a> Walk<'a> {
    fn down(&mut self, peer: &'a str, parent: Option<&str>, before: &str, branch: &str, below: &str) {
        self.seen.insert(peer);
        let kids: Vec<&str> = self.kids.get(peer).into_iter().flatten().copied().collect();
        let row = self.rows.len();
        self.rows.push(Row {
            peer: peer.to_owned(),
            parent: parent.map(str::to_owned),
            branch: format!("{before}{branch}"),
            hidden: 0,
            kids: kids.len(),
        });
        if self.folded.contains(peer) {
            let seen = self.seen.len();
            kids.iter().for_each(|kid| self.hide(kid));
            self.rows[row].hidden = self.seen.len() - seen;
            return;
        }
        let kids: Vec<&str> = kids.into_iter().filter(|kid| !self.seen.contains(kid)).collect();
        let before = format!("{before}{below}");
        for (index, kid) in kids.iter().enumerate() {
            if !self.seen.contains(kid) {
                let (branch, below) = if index + 1 == kids.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                self.down(kid, Some(peer), &before, branch, below);
            }
        }
    }

    fn hide(&mut self, peer: &'a str) {
        if self.seen.insert(peer) {
            let kids: Vec<&str> = self.kids.get(peer).into_iter().flatten().copied().collect();
            kids.iter().for_each(|kid| self.hide(kid));
        }
    }
}
