use std::time::{Duration, Instant};

use proptest::prelude::*;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{
    app::{App, Flow, Input, Over, Pane, Snapshot},
    draw::draw,
};
use crate::views::{Event, EventView, OffloadView, Peer, Peers, Status, Track, TrackHere, Tracks, TreeNode, TreeView};

fn id(name: &str) -> String {
    format!("12D3KooW{name:-<12}")
}

fn node(name: &str, parent: Option<&str>, depth: Option<u8>, children: u16) -> TreeNode {
    let role = match (depth, children) {
        (Some(0), _) => "origin",
        (_, 0) => "leaf",
        _ => "relay",
    };
    TreeNode {
        peer_id: id(name),
        label: Some(name.to_owned()),
        role: role.to_owned(),
        parent: parent.map(id),
        depth,
        children,
        capacity: 3,
        attached: depth.is_some(),
    }
}

fn peer(name: &str, state: &str) -> Peer {
    Peer {
        peer_id: id(name),
        label: Some(name.to_owned()),
        tags: Default::default(),
        state: state.to_owned(),
        addresses: vec!["/ip4/10.0.0.7/tcp/4001".to_owned()],
        capacity: 3,
        slots_free: 1,
        linked: true,
        rtt_ms: Some(1.25),
    }
}

fn track(name: &str, bytes: u64) -> Track {
    let here = TrackHere {
        role: "origin".to_owned(),
        state: "origin".to_owned(),
        parent: None,
        depth: Some(0),
        children: vec![id("attic")],
        mode: None,
        integrity: None,
        ring_oldest: 0,
        ring_next: 0,
        ring_bytes: 0,
        objects: bytes / 100,
        bytes,
        sent_objects: 2 * bytes / 100,
        sent_bytes: 2 * bytes,
        duplicates: 0,
        missing: 0,
        subscribers: 0,
    };
    let origin = Some(id("hall"));
    Track { track: name.to_owned(), origin, epoch: 1, state: "live".to_owned(), members: 4, here: Some(here) }
}

fn snapshot(tree: &str, nodes: Vec<TreeNode>, bytes: u64) -> Input {
    let status = Status {
        peer_id: id("hall"),
        label: Some("hall".to_owned()),
        tags: Default::default(),
        mesh: "lab".to_owned(),
        version: "1.2.3".to_owned(),
        addresses: Vec::new(),
        incarnation: 1,
        capacity: 3,
        slots_free: 1,
        relay: "always".to_owned(),
        links: 3,
        peers: 4,
        tracks: Vec::new(),
        uptime_s: 61,
    };
    let offload = OffloadView {
        track: tree.to_owned(),
        origin: Some(id("hall")),
        whole: true,
        intended_percent: Some(60.0),
        measured_percent: Some(58.0),
        objects: 1,
        bytes: 1,
        peers: Vec::new(),
    };
    Input::Snapshot(Box::new(Snapshot {
        status,
        peers: Peers { peers: vec![peer("porch", "dead"), peer("cellar", "alive"), peer("attic", "alive")] },
        tracks: Tracks { tracks: vec![track("cam/front", bytes), track("logs", 0)] },
        tree: Some(TreeView { track: tree.to_owned(), origin: Some(id("hall")), epoch: 1, nodes }),
        offload: Some(offload),
    }))
}

/// hall feeds attic and porch; attic feeds cellar and lab.
fn sample() -> Vec<TreeNode> {
    vec![
        node("hall", None, Some(0), 2),
        node("attic", Some("hall"), Some(1), 2),
        node("porch", Some("hall"), Some(1), 0),
        node("cellar", Some("attic"), Some(2), 0),
        node("lab", Some("attic"), Some(2), 0),
    ]
}

fn started(now: Instant) -> App {
    let mut app = App::new(false, Some("cam/front".to_owned()));
    assert_eq!(app.handle(now, snapshot("cam/front", sample(), 1000)), Flow::Stay);
    app
}

fn press(app: &mut App, keys: &[KeyCode]) -> Flow {
    let key = |code: &KeyCode| Input::Key(KeyEvent::new(*code, KeyModifiers::NONE));
    keys.iter().map(|code| app.handle(Instant::now(), key(code))).last().expect("there are keys")
}

fn screen(app: &mut App, now: Instant, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("it is in memory");
    terminal.draw(|frame| draw(app, now, frame)).expect("it is in memory");
    let buffer = terminal.backend().buffer();
    let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
    cells.chunks(columns.into()).map(|line| line.concat().trim_end().to_owned() + "\n").collect()
}

#[test]
fn all_panes_fit_80_by_24() {
    let now = Instant::now();
    let mut app = started(now);
    app.handle(now + Duration::from_secs(2), snapshot("cam/front", sample(), 3000));
    let event = Event::PeerLost { peer_id: id("porch") };
    app.handle(now, Input::Event(EventView { seq: 1, at_ms: 5, event }));
    let text = screen(&mut app, now + Duration::from_secs(7), 80, 24);
    let expected = "\u{20}● hall  mesh lab · 4 peers · 3 links · slots 2/3 · up 1 min 1 s · 1.2.3
▸ cam/front 5/5 · depth 2 · 58 % offload ───────  Rates 10.0 objects/s ─────────
 ● hall 2/3 · this node                                         █
 ├─ ◉ attic 2/3                                   in  1.0 KiB/s █
 │  ├─ ○ cellar                                                 █
 │  └─ ○ lab                                      out 2.0 KiB/s █
 └─ ○ porch                                       Tracks 2 ─────────────────────
                                                 ▪cam/front live 4
                                                  logs live 4
                                                  Peers 2 alive ────────────────
                                                  ● attic          2/3   1.2 ms
                                                  ● cellar         2/3   1.2 ms
                                                  ✗ porch          2/3   1.2 ms




 Events ────────────────────────────────────────────────────────────────────────
    7s peer porch is gone




 tab pane   ↑↓←→ walk   enter fold, inspect   t track   ? help   q quit
";
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn keys_walk_fold_and_inspect() {
    let now = Instant::now();
    let mut app = started(now);
    let marked = |app: &App| app.rows[app.marked[0]].peer.clone();
    press(&mut app, &[KeyCode::Down, KeyCode::Char('j')]);
    assert_eq!(marked(&app), id("cellar"));
    press(&mut app, &[KeyCode::Left]);
    assert_eq!(marked(&app), id("attic"), "a leaf leads to its parent");
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!((app.rows.len(), app.rows[1].hidden), (3, 2), "a relay is folded");
    assert!(screen(&mut app, now, 80, 24).contains("◉ attic 2/3 +2 below"));
    press(&mut app, &[KeyCode::Right, KeyCode::Right]);
    assert_eq!((app.rows.len(), marked(&app)), (5, id("cellar")), "unfolded, then to the first child");
    press(&mut app, &[KeyCode::Enter]);
    assert_eq!(app.over, Some(Over::Peer(id("cellar"))), "a leaf is inspected");
    let text = screen(&mut app, now, 80, 24);
    assert!(text.contains("fed by     attic") && text.contains("/ip4/10.0.0.7/tcp/4001"), "{text}");
    assert_eq!(press(&mut app, &[KeyCode::Char('q')]), Flow::Stay, "closes what lies over the panes");
    press(&mut app, &[KeyCode::End, KeyCode::Down]);
    assert_eq!(marked(&app), id("porch"));
    assert_eq!(press(&mut app, &[KeyCode::Char('q')]), Flow::Quit);
    assert_eq!(app.handle(now, Input::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))), Flow::Quit);
}

#[test]
fn track_is_chosen_by_itself_by_the_picker_or_in_its_pane() {
    let now = Instant::now();
    let mut app = App::new(true, None);
    let Input::Snapshot(mut first) = snapshot("", Vec::new(), 0) else { panic!("it is one") };
    first.tree = None;
    assert_eq!((app.handle(now, Input::Snapshot(first)), app.track()), (Flow::Track, Some("cam/front")));
    let flow = press(&mut app, &[KeyCode::Char('t'), KeyCode::Down, KeyCode::Enter]);
    assert_eq!((flow, app.track()), (Flow::Track, Some("logs")));
    app.handle(now, snapshot("cam/front", sample(), 0));
    assert!(app.rows.is_empty(), "what comes late is of another track");
    press(&mut app, &[KeyCode::Tab, KeyCode::Home]);
    assert_eq!(app.focus, Pane::Tracks);
    assert_eq!((press(&mut app, &[KeyCode::Enter]), app.track()), (Flow::Track, Some("cam/front")));
}

#[test]
fn moves_are_told_and_stand_out_for_a_while() {
    let now = Instant::now();
    let mut app = started(now);
    press(&mut app, &[KeyCode::End]);
    let mut after = sample();
    after[3] = node("cellar", Some("porch"), Some(2), 0);
    app.handle(now, snapshot("cam/front", after.clone(), 0));
    let text = screen(&mut app, now, 80, 24);
    assert!(text.contains("cam/front: cellar moved to porch, was below attic"), "{text}");
    assert!(text.contains("○ cellar ← moved"), "{text}");
    assert_eq!(app.rows[app.marked[0]].peer, id("porch"), "the mark stays with its peer");
    assert!(!screen(&mut app, now + Duration::from_secs(6), 80, 24).contains("← moved"));
}

#[test]
fn trouble_is_shown_until_the_node_answers() {
    let now = Instant::now();
    let mut app = started(now);
    app.handle(now, Input::Trouble("no node answers on /x.sock".to_owned()));
    assert!(screen(&mut app, now, 80, 24).starts_with(" no node answers on /x.sock; trying again"));
    app.handle(now, snapshot("cam/front", sample(), 0));
    assert!(screen(&mut app, now, 80, 24).starts_with(" ● hall"));
}

#[test]
fn reader_of_old_events_is_not_pushed_on() {
    let now = Instant::now();
    let mut app = started(now);
    let lose = |app: &mut App, name: &str| {
        let event = EventView { seq: 0, at_ms: 0, event: Event::PeerLost { peer_id: id(name) } };
        app.handle(now, Input::Event(event));
    };
    for name in ["attic", "porch", "lab"] {
        lose(&mut app, name);
    }
    press(&mut app, &[KeyCode::BackTab, KeyCode::Down]);
    assert_eq!((app.focus, app.marked[3]), (Pane::Events, 1));
    lose(&mut app, "hall");
    assert_eq!(app.marked[3], 2);
    let hostile = Event::LinkDown { peer_id: id("lab"), reason: "a\u{1b}[2Jb\nc".to_owned() };
    app.handle(now, Input::Event(EventView { seq: 0, at_ms: 0, event: hostile }));
    let text = screen(&mut app, now, 80, 24);
    assert!(!text.contains('\u{1b}') && text.contains("link to"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_size_any_tree_any_keys_draw_without_a_panic(
        columns in 1_u16..200, lines in 1_u16..80,
        parents in proptest::collection::vec(proptest::option::of(0_usize..12), 0..12),
        keys in proptest::collection::vec(0_usize..14, 0..30),
    ) {
        let now = Instant::now();
        let name = |at: usize| format!("n{at}");
        // Parents may be missing, and in loops.
        let nodes = parents.iter().enumerate().map(|(at, parent)| {
            node(&name(at), parent.map(name).as_deref(), parent.map(|_| 1), 1)
        });
        let nodes: Vec<_> = nodes.collect();
        let count = nodes.len();
        let mut app = App::new(true, Some("t".to_owned()));
        app.handle(now, snapshot("t", nodes, 0));
        prop_assert_eq!(app.rows.len(), count, "each peer is drawn once");
        let codes = [
            KeyCode::Tab, KeyCode::BackTab, KeyCode::Up, KeyCode::Down, KeyCode::Left, KeyCode::Right, KeyCode::Enter,
            KeyCode::Esc, KeyCode::Home, KeyCode::End, KeyCode::PageDown, KeyCode::Char('t'), KeyCode::Char('?'),
            KeyCode::Char('i'),
        ];
        for key in keys {
            press(&mut app, &[codes[key]]);
            screen(&mut app, now, columns, lines);
        }
    }
}

/// What it takes to take a snapshot in and draw it; the best of several.
fn frame_time(nodes: &[TreeNode]) -> Duration {
    let now = Instant::now();
    let mut app = started(now);
    let times = (1..=20).map(|nth| {
        let mut snapshot = snapshot("cam/front", nodes.to_vec(), 1000 * nth);
        if let Input::Snapshot(snapshot) = &mut snapshot {
            let peers = nodes.iter().map(|node| peer(node.label.as_deref().expect("it has one"), "alive"));
            snapshot.peers.peers = peers.collect();
        }
        let began = Instant::now();
        app.handle(now + Duration::from_secs(nth), snapshot);
        screen(&mut app, now + Duration::from_secs(nth), 80, 24);
        began.elapsed()
    });
    times.min().expect("there are some")
}

#[test]
fn a_mesh_of_two_hundred_costs_no_more_a_frame_than_its_peers_do() {
    let names: Vec<String> = (0..200).map(|nth| format!("n{nth}")).collect();
    let many: Vec<TreeNode> = (0..200)
        .map(|nth: usize| {
            let parent = nth.checked_sub(1).map(|above| &*names[above / 4]);
            node(&names[nth], parent, Some((nth + 1).ilog(4).try_into().expect("it is small")), 4)
        })
        .collect();
    let few = &many[..5];
    let (few, many) = (frame_time(few), frame_time(&many));
    println!("a frame of 5 peers takes {few:?}, one of 200 {many:?}");
    assert!(many < 100 * few, "{many:?} is more than peers in proportion cost: {few:?}");
}
