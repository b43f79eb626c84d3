//! One step of a node, what it asks for, and how rows spread.

use std::collections::BTreeMap;

use banyan_gossip::{PeerId, Presence, RelayPolicy, Row};
use banyan_tree::{Context, Input, Output};

use super::{Happening, World, ms_since, number, short, unsigned};

impl World {
    pub(super) fn step(&mut self, at: PeerId, input: Option<Input>) {
        let Some(node) = self.nodes.get_mut(&at).filter(|node| !node.left) else {
            return;
        };
        if self.trace && !matches!(input, None | Some(Input::TableChanged)) {
            eprintln!("{:>9.1} {:>3} <- {}", ms_since(self.start, self.now), number(at), short(&input));
        }
        if let Some(input) = &input {
            node.links.follow(input);
        }
        let mut cx = Context { peers: &node.table, slots: &mut node.slots, links: &node.links };
        match input {
            Some(input) => node.tree.handle_input(self.now, &mut cx, input),
            None => node.tree.handle_timeout(self.now, &mut cx),
        }
        if let Some(at_time) = node.wake.take() {
            self.wakes.remove(&(at_time, at));
        }
        node.wake = node.tree.poll_timeout().map(|due| due.max(self.now));
        if let Some(due) = node.wake {
            // A timer that is due after it was handled would never end.
            self.wakes.insert((due, at));
        }
        let mut outputs = Vec::new();
        while let Some(output) = self.nodes.get_mut(&at).and_then(|node| node.tree.poll_output()) {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out(at, output);
        }
        self.check_step(at);
    }

    pub(super) fn carry_out(&mut self, at: PeerId, output: Output) {
        if self.trace && !matches!(output, Output::RowChanged) {
            eprintln!("{:>9.1} {:>3} -> {}", ms_since(self.start, self.now), number(at), short(&output));
        }
        match output {
            Output::Send { to, message } => self.post(at, to, message),
            Output::Connect { peer } => {
                let delay = self.draw(self.delays.connect);
                let life = self.nodes[&at].life;
                self.later(delay, Happening::Connect { from: at, life, to: peer });
            }
            Output::Open { parent, ticket, .. } => {
                self.streams_opened += 1;
                let delay = self.draw(self.delays.open);
                self.streams.insert((at, parent, ticket), false);
                self.later(delay, Happening::StreamArrives { child: at, parent, ticket });
            }
            Output::Close { parent, ticket, .. } => self.end_stream(at, parent, ticket, false),
            Output::Serve { child, ticket } => {
                let delay = self.draw(self.delays.message);
                if let Some(serves @ false) = self.streams.get_mut(&(child, at, ticket)) {
                    *serves = true;
                    *self.served.entry(at).or_default() += 1;
                }
                self.later(delay, Happening::StreamWorks { child, parent: at, ticket });
            }
            Output::Reject { child, ticket } | Output::Drop { child, ticket } => {
                self.end_stream(child, at, ticket, true);
            }
            Output::RowChanged => self.row_changed(at),
            Output::Event(event) => self.events.push((self.now - self.start, number(at), event)),
            Output::Left => {
                self.nodes.get_mut(&at).expect("a living node").left = true;
            }
        }
    }

    pub(super) fn row_changed(&mut self, at: PeerId) {
        let node = self.nodes.get_mut(&at).expect("a living node");
        if !std::mem::replace(&mut node.publishing, true) {
            let life = node.life;
            self.later(self.delays.collect, Happening::Publish { at, life });
        }
    }

    pub(super) fn table_changed(&mut self, to: PeerId) {
        let node = self.nodes.get_mut(&to).expect("a living node");
        if !std::mem::replace(&mut node.telling, true) {
            let life = node.life;
            self.later(self.delays.collect / 10, Happening::TableChanged { to, life });
        }
    }

    /// Publishes a node's row: at once in its own table, later in everyone else's.
    pub(super) fn publish_row(&mut self, at: PeerId) {
        let node = self.nodes.get_mut(&at).expect("a living node");
        node.version += 1;
        let tracks = node.tree.entry().map(|entry| (self.track.clone(), entry)).into_iter().collect();
        let row = Row {
            peer: at,
            incarnation: node.incarnation,
            version: node.version,
            presence: Presence::Alive,
            label: None,
            addresses: Vec::new(),
            tags: BTreeMap::new(),
            capacity: node.slots.capacity(),
            free: node.slots.free(),
            relay: RelayPolicy::default(),
            tracks,
            library: None,
        };
        node.table.merge_row(self.now, unsigned(row.clone()));
        self.spread(row);
    }

    pub(super) fn spread(&mut self, row: Row) {
        for to in self.nodes.keys().copied().filter(|to| *to != row.peer).collect::<Vec<_>>() {
            let delay = self.draw(self.delays.gossip);
            let life = self.nodes[&to].life;
            self.later(delay, Happening::Row { to, life, row: Box::new(row.clone()) });
        }
        self.rows.insert(row.peer, row);
    }

    pub(super) fn row_arrives(&mut self, to: PeerId, row: Row) {
        if self.is_cut(to, row.peer) && row.presence == Presence::Alive {
            return;
        }
        let node = self.nodes.get_mut(&to).expect("a living node");
        if node.table.merge_row(self.now, unsigned(row)) {
            self.table_changed(to);
        }
    }
}
