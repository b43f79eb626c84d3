//! What `top` holds: keys, snapshots and events in, what to draw out. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    rates::Rates,
    tree::{Row, name, rows},
};
use crate::{
    cli::render::{events::sentence_with, short},
    views::{EventView, OffloadView, Peer, Peers, Status, Track, Tracks, TreeNode, TreeView},
};

/// Lines of events that are kept.
const EVENTS_MAX: usize = 1000;
/// Moves of other peers that one snapshot tells of.
const MOVES_MAX: usize = 8;
/// How long a peer that moved stands out.
const MOVED: Duration = Duration::from_secs(5);

/// What comes in.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Snapshot(Box<Snapshot>),
    Event(EventView),
    /// The node could not be read.
    Trouble(String),
    /// Time has passed, or the terminal has another size.
    Tick,
}

/// What is to be done besides drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Stay,
    /// Another track is chosen.
    Track,
    Quit,
}

/// A node at a moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) peers: Peers,
    pub(super) tracks: Tracks,
    pub(super) tree: Option<TreeView>,
    pub(super) offload: Option<OffloadView>,
}

/// What the keys go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Tree,
    Tracks,
    Peers,
    Events,
}

/// What lies over the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    Help,
    /// The tracks to choose from, and the one that is marked.
    Pick(usize),
    /// A peer.
    Peer(String),
}

/// One line of the feed.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// How a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Good,
    Bad,
}

/// Everything that `top` shows.
#[derive(Debug)]
pub(super) struct App {
    pub(super) colours: bool,
    pub(super) focus: Pane,
    pub(super) over: Option<Over>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) rows: Vec<Row>,
    pub(super) rates: Rates,
    pub(super) events: VecDeque<Told>,
    pub(super) trouble: Option<String>,
    /// Marked lines of the tree, the tracks, the peers and the events.
    pub(super) marked: [usize; 4],
    /// First lines that are shown of each, kept by the drawing.
    pub(super) tops: [usize; 4],
    track: Option<String>,
    folded: BTreeSet<String>,
    moved: BTreeMap<String, Instant>,
}

impl App {
    pub(super) fn new(colours: bool, track: Option<String>) -> Self {
        Self {
            colours,
            focus: Pane::Tree,
            over: None,
            snapshot: None,
            rows: Vec::new(),
            rates: Rates::default(),
            events: VecDeque::new(),
            trouble: None,
            marked: [0; 4],
            tops: [0; 4],
            track,
            folded: BTreeSet::new(),
            moved: BTreeMap::new(),
        }
    }

    /// The track whose tree is shown.
    pub(super) fn track(&self) -> Option<&str> {
        self.track.as_deref()
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) -> Flow {
        match input {
            Input::Key(key) => self.on_key(key),
            Input::Snapshot(snapshot) => self.on_snapshot(now, *snapshot),
            Input::Event(event) => {
                self.on_event(now, &event);
                Flow::Stay
            }
            Input::Trouble(trouble) => {
                self.trouble = Some(trouble);
                Flow::Stay
            }
            Input::Tick => Flow::Stay,
        }
    }

    // --- What the node tells ---------------------------------------------------------------------

    fn on_snapshot(&mut self, now: Instant, mut snapshot: Snapshot) -> Flow {
        self.trouble = None;
        let rank = |state: &str| ["suspect", "alive", "dead"].iter().position(|known| *known == state).unwrap_or(3);
        snapshot.peers.peers.sort_by_cached_key(|peer| {
            let name = peer.label.as_deref().unwrap_or(short(&peer.peer_id));
            (rank(&peer.state), name.to_owned(), peer.peer_id.clone())
        });
        self.rates.take(now, &snapshot.tracks.tracks);
        // What was asked for before another track was chosen is of no use any more.
        let stale = snapshot.tree.as_ref().is_some_and(|tree| Some(&*tree.track) != self.track());
        if !stale {
            self.note_moves(now, &snapshot);
        }
        self.snapshot = Some(if stale { Snapshot { tree: None, offload: None, ..snapshot } } else { snapshot });
        self.moved.retain(|_, at| now.saturating_duration_since(*at) < MOVED);
        self.lay_out();
        match self.track {
            Some(_) => Flow::Stay,
            None => self.choose_first(),
        }
    }

    fn choose_first(&mut self) -> Flow {
        let tracks = self.tracks();
        let live = |track: &&Track| track.state == "live";
        let first = tracks.iter().filter(live).find(|track| track.here.is_some());
        let first = first.or_else(|| tracks.iter().find(live)).or(tracks.first());
        match first.map(|track| track.track.clone()) {
            Some(track) => self.choose(track),
            None => Flow::Stay,
        }
    }

    fn choose(&mut self, track: String) -> Flow {
        if self.track() == Some(&track) {
            return Flow::Stay;
        }
        self.track = Some(track);
        self.folded.clear();
        self.moved.clear();
        self.marked[Pane::Tree as usize] = 0;
        if let Some(snapshot) = &mut self.snapshot {
            (snapshot.tree, snapshot.offload) = (None, None);
        }
        self.lay_out();
        Flow::Track
    }

    /// Rows of the tree; the mark stays with its peer.
    fn lay_out(&mut self) {
        let marked = self.row().map(|row| row.peer.clone());
        let tree = self.snapshot.as_ref().and_then(|snapshot| snapshot.tree.as_ref());
        self.rows = tree.map(|tree| rows(tree, &self.folded)).unwrap_or_default();
        if let Some(at) = marked.and_then(|peer| self.rows.iter().position(|row| row.peer == peer)) {
            self.marked[Pane::Tree as usize] = at;
        }
        for pane in [Pane::Tree, Pane::Tracks, Pane::Peers, Pane::Events] {
            let last = self.len(pane).saturating_sub(1);
            let marked = &mut self.marked[pane as usize];
            *marked = last.min(*marked);
        }
    }

    fn note_moves(&mut self, now: Instant, snapshot: &Snapshot) {
        let before = self.snapshot.as_ref().and_then(|before| before.tree.as_ref());
        let (Some(before), Some(after)) = (before, &snapshot.tree) else { return };
        let parents: BTreeMap<&str, &TreeNode> = before.nodes.iter().map(|node| (&*node.peer_id, node)).collect();
        let moved = after.nodes.iter().filter(|node| {
            let known = parents.get(&*node.peer_id);
            node.parent.is_some() && known.is_some_and(|known| known.parent != node.parent)
        });
        let moved: Vec<&TreeNode> = moved.collect();
        let mut lines = Vec::new();
        for node in &moved {
            self.moved.insert(node.peer_id.clone(), now);
            // Of itself the node tells more in an event.
            if node.peer_id == snapshot.status.peer_id || lines.len() == MOVES_MAX {
                continue;
            }
            let called = |peer: &Option<String>| {
                let peer = peer.as_deref()?;
                let node = after.nodes.iter().chain(&before.nodes).find(|node| node.peer_id == peer);
                Some(node.map_or(short(peer), name).to_owned())
            };
            let to = called(&node.parent).unwrap_or_default();
            let from = parents.get(&*node.peer_id).and_then(|before| called(&before.parent));
            let from = from.map(|from| format!(", was below {from}")).unwrap_or_default();
            lines.push(format!("{}: {} moved to {to}{from}", after.track, name(node)));
        }
        for text in lines {
            self.tell(Told { at: now, kind: Kind::Plain, text });
        }
    }

    fn on_event(&mut self, now: Instant, event: &EventView) {
        let kind = match event.event.kind() {
            "repaired" | "parent_changed" | "peer_joined" => Kind::Good,
            "parent_lost" | "peer_lost" | "stuck" | "gap" | "missed" => Kind::Bad,
            _ => Kind::Plain,
        };
        let text = sentence_with(&event.event, |peer| self.name_of(peer).to_owned());
        self.tell(Told { at: now, kind, text });
    }

    fn tell(&mut self, told: Told) {
        self.events.push_front(told);
        self.events.truncate(EVENTS_MAX);
        let marked = &mut self.marked[Pane::Events as usize];
        // Whoever reads further down is not pushed on.
        if *marked > 0 {
            *marked = (*marked + 1).min(self.events.len() - 1);
        }
    }

    // --- Looking ---------------------------------------------------------------------------------

    pub(super) fn tracks(&self) -> &[Track] {
        self.snapshot.as_ref().map_or(&[], |snapshot| &snapshot.tracks.tracks)
    }

    pub(super) fn peers(&self) -> &[Peer] {
        self.snapshot.as_ref().map_or(&[], |snapshot| &snapshot.peers.peers)
    }

    pub(super) fn node(&self, peer: &str) -> Option<&TreeNode> {
        let tree = self.snapshot.as_ref()?.tree.as_ref()?;
        tree.nodes.iter().find(|node| node.peer_id == peer)
    }

    pub(super) fn has_moved(&self, now: Instant, peer: &str) -> bool {
        self.moved.get(peer).is_some_and(|at| now.saturating_duration_since(*at) < MOVED)
    }

    /// What a peer is called.
    pub(super) fn name_of<'a>(&'a self, peer: &'a str) -> &'a str {
        let known = self.peers().iter().find(|known| known.peer_id == peer).and_then(|known| known.label.as_deref());
        let own = self.snapshot.as_ref().map(|snapshot| &snapshot.status).filter(|status| status.peer_id == peer);
        known.or_else(|| own?.label.as_deref()).unwrap_or(short(peer))
    }

    fn row(&self) -> Option<&Row> {
        self.rows.get(self.marked[Pane::Tree as usize])
    }

    fn len(&self, pane: Pane) -> usize {
        match pane {
            Pane::Tree => self.rows.len(),
            Pane::Tracks => self.tracks().len(),
            Pane::Peers => self.peers().len(),
            Pane::Events => self.events.len(),
        }
    }

    // --- Keys ------------------------------------------------------------------------------------

    fn on_key(&mut self, key: KeyEvent) -> Flow {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match (key.code, self.over.clone()) {
            (KeyCode::Char('c'), _) if control => Flow::Quit,
            (KeyCode::Char('q'), None) => Flow::Quit,
            (code, Some(Over::Pick(marked))) => self.on_pick_key(code, marked),
            (KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?' | 'i' | ' '), Some(_)) => self.cover(None),
            (_, Some(_)) => Flow::Stay,
            (code, None) => self.on_pane_key(code),
        }
    }

    fn cover(&mut self, over: Option<Over>) -> Flow {
        self.over = over;
        Flow::Stay
    }

    fn on_pick_key(&mut self, code: KeyCode, marked: usize) -> Flow {
        let last = self.tracks().len().saturating_sub(1);
        match code {
            KeyCode::Up | KeyCode::Char('k') => self.cover(Some(Over::Pick(marked.saturating_sub(1)))),
            KeyCode::Down | KeyCode::Char('j') => self.cover(Some(Over::Pick((marked + 1).min(last)))),
            KeyCode::Enter => {
                self.over = None;
                let track = self.tracks().get(marked).map(|track| track.track.clone());
                track.map_or(Flow::Stay, |track| self.choose(track))
            }
            KeyCode::Esc | KeyCode::Char('q' | 't') => self.cover(None),
            _ => Flow::Stay,
        }
    }

    fn on_pane_key(&mut self, code: KeyCode) -> Flow {
        const PAGE: isize = 10;
        match code {
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(3),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Left | KeyCode::Char('h') if self.focus == Pane::Tree => self.ascend(),
            KeyCode::Right | KeyCode::Char('l') if self.focus == Pane::Tree => self.descend(),
            KeyCode::Char('t') => {
                let at = self.tracks().iter().position(|track| Some(&*track.track) == self.track());
                self.cover(Some(Over::Pick(at.unwrap_or_default())))
            }
            KeyCode::Char('?') => self.cover(Some(Over::Help)),
            KeyCode::Enter | KeyCode::Char(' ') => self.enter(),
            KeyCode::Char('i') => self.inspect(),
            _ => Flow::Stay,
        }
    }

    fn turn(&mut self, by: usize) -> Flow {
        let panes = [Pane::Tree, Pane::Tracks, Pane::Peers, Pane::Events];
        self.focus = panes[(self.focus as usize + by) % panes.len()];
        Flow::Stay
    }

    fn step(&mut self, by: isize) -> Flow {
        let last = self.len(self.focus).saturating_sub(1);
        let marked = &mut self.marked[self.focus as usize];
        *marked = marked.saturating_add_signed(by).min(last);
        Flow::Stay
    }

    /// To the parent, or folds what is open below.
    fn ascend(&mut self) -> Flow {
        let Some(row) = self.row().cloned() else { return Flow::Stay };
        if row.kids > 0 && !self.folded.contains(&row.peer) {
            return self.fold(&row.peer);
        }
        if let Some(at) = self.rows.iter().position(|other| Some(&other.peer) == row.parent.as_ref()) {
            self.marked[Pane::Tree as usize] = at;
        }
        Flow::Stay
    }

    /// Unfolds, or to the first child.
    fn descend(&mut self) -> Flow {
        let Some(row) = self.row().cloned() else { return Flow::Stay };
        if self.folded.contains(&row.peer) { self.fold(&row.peer) } else { self.step(isize::from(row.kids > 0)) }
    }

    fn fold(&mut self, peer: &str) -> Flow {
        if !self.folded.remove(peer) {
            self.folded.insert(peer.to_owned());
        }
        self.lay_out();
        Flow::Stay
    }

    fn enter(&mut self) -> Flow {
        match self.focus {
            Pane::Tree => match self.row().cloned() {
                Some(row) if row.kids > 0 => self.fold(&row.peer),
                _ => self.inspect(),
            },
            Pane::Tracks => {
                let track = self.tracks().get(self.marked[Pane::Tracks as usize]).map(|track| track.track.clone());
                track.map_or(Flow::Stay, |track| self.choose(track))
            }
            Pane::Peers => self.inspect(),
            Pane::Events => Flow::Stay,
        }
    }

    fn inspect(&mut self) -> Flow {
        let peer = match self.focus {
            Pane::Peers => self.peers().get(self.marked[Pane::Peers as usize]).map(|peer| peer.peer_id.clone()),
            _ => self.row().map(|row| row.peer.clone()),
        };
        if let Some(peer) = peer {
            self.over = Some(Over::Peer(peer));
        }
        Flow::Stay
    }
}
