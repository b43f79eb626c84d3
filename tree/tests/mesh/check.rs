//! The checkers: what must hold after every step, and what must hold when all is quiet.

use std::time::Duration;

use banyan_gossip::PeerId;
use banyan_tree::{Event, State};

use super::{World, number, s};

/// A loop of parents that lasts longer than this is one too many: whoever closes it learns of it by
/// the next path update.
const LOOP_TOLERANCE: Duration = Duration::from_millis(1_500);

impl World {
    pub(super) fn check_step(&mut self, at: PeerId) {
        let node = self.nodes.get_mut(&at).expect("a living node");
        node.tree.assert_invariants();
        let (used, capacity) = (node.slots.used(), node.slots.capacity());
        assert_eq!(usize::from(used), node.tree.slots_held(), "slots of {} are counted", number(at));
        assert!(used <= capacity.max(node.used_before), "{} has {used} of {capacity} slots taken", number(at));
        node.used_before = used;
        let children = node.tree.children().count();
        assert!(children <= usize::from(used), "children hold slots");
        let config = &self.configs[&at].0;
        if node.tree.state() == State::Origin {
            assert!(children <= usize::from(config.root_slots), "the origin feeds at most its root slots");
        }
        if let Some(depth) = self.nodes[&at].tree.depth() {
            assert!(depth <= config.max_depth, "{} is at depth {depth}", number(at));
        }
        let streams = self.fed_by(at);
        assert!(streams <= usize::from(used), "{} feeds {streams} with {used} slots", number(at));
        for peer in &self.never_starving {
            assert!(!self.feeders(*peer).is_empty(), "{} is not fed at {:?}", number(*peer), self.now - self.start);
        }
        self.check_loops(at);
    }

    /// Only a change of a node's parent closes a loop, and it closes it around that node.
    fn check_loops(&mut self, changed: PeerId) {
        if self.in_loop(changed) {
            self.loops.entry(changed).or_insert(self.now);
        }
        for (at, since) in std::mem::take(&mut self.loops) {
            if self.in_loop(at) {
                assert!(self.now - since < LOOP_TOLERANCE, "a loop lasts since {:?}", since - self.start);
                self.loops.insert(at, since);
            }
        }
    }

    fn in_loop(&self, start: PeerId) -> bool {
        let parent_of = |peer: PeerId| self.nodes.get(&peer).and_then(|node| node.tree.parent());
        let mut at = start;
        for _ in 0..self.nodes.len() {
            match parent_of(at) {
                Some(parent) if parent == start => return true,
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }

    /// What keeps this from being one tree with everybody in it; `Ok` if nothing does.
    pub fn one_tree(&self) -> Result<(), String> {
        for (peer, node) in self.nodes.iter().filter(|(_, node)| !node.left) {
            match node.tree.state() {
                State::Idle | State::Origin => continue,
                State::Attached => {}
                state => return Err(format!("{} is {state}", number(*peer))),
            }
            let parent = node.tree.parent().ok_or("attached without a parent")?;
            let path = node.tree.root_path();
            let source = node.tree.source().ok_or("attached to no source")?;
            if path.first() != Some(&source.origin) || path.last() != Some(&parent) {
                return Err(format!("path of {} does not lead from the origin to its parent", number(*peer)));
            }
            if node.tree.depth() != u8::try_from(path.len()).ok() {
                return Err(format!("depth of {} is not that of its path", number(*peer)));
            }
            let above = self.nodes.get(&parent).ok_or(format!("the parent of {} is dead", number(*peer)))?;
            if above.tree.root_path() != &path[..path.len() - 1] {
                return Err(format!("path of {} is not that of its parent", number(*peer)));
            }
            if !above.tree.children().any(|(child, _)| child == *peer) {
                return Err(format!("the parent of {} does not know it", number(*peer)));
            }
            if self.feeders(*peer) != [parent] {
                return Err(format!("{} is fed by {:?}", number(*peer), self.feeders(*peer).len()));
            }
        }
        Ok(())
    }

    /// Lets time pass until there is one tree, and a little longer: it has to stay, unless a fault
    /// that was under way breaks it once more.
    pub fn settle(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.run_until(end - self.now, |world| world.one_tree().is_ok()) {
            self.run(s(1));
            if self.one_tree().is_ok() {
                return;
            }
            if self.now >= end {
                break;
            }
        }
        self.describe();
        panic!("no tree after {limit:?}: {:?}", self.one_tree());
    }

    pub fn describe(&self) {
        for (peer, node) in &self.nodes {
            let tree = &node.tree;
            let path: Vec<u16> = tree.root_path().iter().map(|peer| number(*peer)).collect();
            let children: Vec<u16> = tree.children().map(|(child, _)| number(child)).collect();
            let slots = format!("{}/{}", node.slots.used(), node.slots.capacity());
            eprintln!("{:>3} {} path {path:?} children {children:?} slots {slots}", number(*peer), tree.state());
        }
    }

    pub fn depth(&self, number: u16) -> Option<u8> {
        self.tree(number).depth()
    }

    pub fn greatest_depth(&self) -> u8 {
        self.nodes.values().filter_map(|node| node.tree.depth()).max().unwrap_or(0)
    }

    pub fn parent(&self, number: u16) -> Option<u16> {
        self.tree(number).parent().map(super::number)
    }

    /// Events of a node since some time after the start.
    pub fn events_of(&self, number: u16, since: Duration) -> Vec<&Event> {
        self.events.iter().filter(|(at, node, _)| *node == number && *at >= since).map(|(.., event)| event).collect()
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}
