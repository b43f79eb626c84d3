//! Draws what [`App`] holds; usable from 80 × 24 on, and cut off below.

use std::time::{Duration, Instant};

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Clear, Padding, Paragraph, Sparkline, Wrap},
};

use super::{
    app::{App, Kind, Over, Pane},
    tree,
};
use crate::cli::render::{self, milliseconds};

/// From this width on, addresses and states have room.
const WIDE: u16 = 120;

pub(super) fn draw(app: &mut App, now: Instant, frame: &mut Frame<'_>) {
    let area = frame.area();
    let wide = area.width >= WIDE;
    let events = (area.height / 4).clamp(4, 14);
    let [head, body, feed, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(6),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(area);
    let side = if wide { 52 } else { 31 };
    let [left, _, right] =
        Layout::horizontal([Constraint::Min(30), Constraint::Length(1), Constraint::Length(side)]).areas(body);
    let tracks = u16::try_from(app.tracks().len()).unwrap_or(u16::MAX).min(right.height / 4).max(1) + 1;
    let [rates, tracks, peers] =
        Layout::vertical([Constraint::Length(5), Constraint::Length(tracks.max(3)), Constraint::Min(3)]).areas(right);
    let mut canvas = Canvas { app, now, frame };
    canvas.head(head);
    canvas.tree(left);
    canvas.rates(rates);
    canvas.tracks(tracks);
    canvas.peers(peers, wide);
    canvas.events(feed);
    canvas.foot(foot);
    match canvas.app.over.clone() {
        Some(Over::Help) => canvas.help(area),
        Some(Over::Pick(marked)) => canvas.pick(area, marked),
        Some(Over::Peer(peer)) => canvas.peer(area, &peer),
        None => {}
    }
}

struct Canvas<'a, 'b> {
    app: &'a mut App,
    now: Instant,
    frame: &'a mut Frame<'b>,
}

impl Canvas<'_, '_> {
    fn colour(&self, colour: Color) -> Style {
        if self.app.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(&self) -> Style {
        // Without colours nothing is dimmed: it may be unreadable.
        if self.app.colours { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
    }

    /// A line above a pane; answers the area below it.
    fn pane(&mut self, area: Rect, pane: Option<Pane>, title: &str, told: &str) -> Rect {
        let focused = pane.is_some_and(|pane| pane == self.app.focus);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let style = if focused { self.colour(Color::Green).add_modifier(Modifier::BOLD) } else { bold };
        let mark = if focused { "▸ " } else { " " };
        let mut title = vec![Span::styled(format!("{mark}{title} "), style)];
        if !told.is_empty() {
            title.push(Span::styled(format!("{told} "), self.dim()));
        }
        let line = if focused { self.colour(Color::Green) } else { self.dim() };
        let block = Block::new().borders(Borders::TOP).border_style(line).title(Line::from(title));
        let inner = block.inner(area);
        self.frame.render_widget(block, area);
        inner
    }

    /// The lines of a list that fit, with the marked one among them.
    fn list(&mut self, area: Rect, pane: Pane, len: usize, line: impl Fn(&Self, usize) -> Line<'static>) {
        let (height, which) = (usize::from(area.height), pane as usize);
        let marked = self.app.marked[which];
        let top = self.app.tops[which].min(marked).max((marked + 1).saturating_sub(height));
        self.app.tops[which] = top.min(len.saturating_sub(height));
        let top = self.app.tops[which];
        for at in top..len.min(top + height) {
            let mut line = line(self, at);
            if at == marked && self.app.focus == pane {
                line = line.patch_style(Style::new().add_modifier(Modifier::REVERSED));
            }
            let y = area.y + u16::try_from(at - top).expect("it is below the height");
            self.frame.render_widget(line, Rect { y, height: 1, ..area });
        }
        if len > height && height > 0 {
            let text = format!(" {}–{} of {len} ", top + 1, len.min(top + height));
            let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX).min(area.width);
            let corner = Rect { x: area.right() - width, y: area.y.saturating_sub(1), width, height: 1 };
            self.frame.render_widget(Line::styled(text, self.dim()), corner);
        }
    }

    fn head(&mut self, area: Rect) {
        let Some(status) = self.app.snapshot.as_ref().map(|snapshot| &snapshot.status) else { return };
        let name = status.label.clone().unwrap_or_else(|| render::short(&status.peer_id).to_owned());
        let used = status.capacity.saturating_sub(status.slots_free);
        let facts = format!(
            "  mesh {} · {} peers · {} links · slots {used}/{} · up {} · {}",
            status.mesh,
            status.peers,
            status.links,
            status.capacity,
            render::seconds(status.uptime_s),
            status.version
        );
        let line = match &self.app.trouble {
            Some(trouble) => {
                let style = self.colour(Color::Red).add_modifier(Modifier::BOLD);
                vec![Span::styled(format!(" {trouble}; trying again"), style)]
            }
            None => vec![
                Span::styled(" ● ", self.colour(Color::Green)),
                Span::styled(name, Style::new().add_modifier(Modifier::BOLD)),
                Span::styled(facts, self.dim()),
            ],
        };
        self.frame.render_widget(Line::from(line), area);
    }

    fn tree(&mut self, area: Rect) {
        let track = self.app.track().unwrap_or_default().to_owned();
        let told = self.told_of_tree();
        let title = if track.is_empty() { "Tree" } else { &track };
        let inner = self.pane(area, Some(Pane::Tree), title, &told);
        if self.app.rows.is_empty() {
            let text = if self.app.tracks().is_empty() {
                "Nothing is published or followed yet. Try, on any machine:\n\n  \
                 while date; do sleep 1; done |\n    banyan publish demo/clock --framing lines"
            } else if track.is_empty() {
                "Press t to choose a track."
            } else {
                "Nobody publishes or follows it at present. Press t for another track."
            };
            let block = Block::new().padding(Padding::new(1, 1, 1, 0));
            self.frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), inner);
            return;
        }
        self.list(inner, Pane::Tree, self.app.rows.len(), Self::tree_line);
    }

    fn told_of_tree(&self) -> String {
        let snapshot = self.app.snapshot.as_ref();
        let Some(tree) = snapshot.and_then(|snapshot| snapshot.tree.as_ref()) else { return String::new() };
        let attached = tree.nodes.iter().filter(|node| node.attached).count();
        let depth = tree.nodes.iter().filter_map(|node| node.depth).max().unwrap_or_default();
        let offload = snapshot.and_then(|snapshot| snapshot.offload.as_ref());
        let share = offload.and_then(|offload| offload.measured_percent.or(offload.intended_percent));
        let share = share.map(|share| format!(" · {share:.0} % offload")).unwrap_or_default();
        format!("{attached}/{} · depth {depth}{share}", tree.nodes.len())
    }

    fn tree_line(&self, at: usize) -> Line<'static> {
        let row = &self.app.rows[at];
        let Some(node) = self.app.node(&row.peer) else { return Line::default() };
        let (mark, style) = match node.role.as_str() {
            _ if !node.attached => ("◌", self.colour(Color::Yellow)),
            "origin" => ("●", self.colour(Color::Green)),
            "relay" => ("◉", self.colour(Color::Cyan)),
            "volunteer" => ("◎", self.colour(Color::Cyan)),
            _ => ("○", Style::new()),
        };
        let own = self.app.snapshot.as_ref().is_some_and(|snapshot| snapshot.status.peer_id == row.peer);
        let mut rest = if row.kids > 0 { format!(" {}/{}", node.children, node.capacity) } else { String::new() };
        if row.hidden > 0 {
            rest.push_str(&format!(" +{} below", row.hidden));
        }
        if own {
            rest.push_str(" · this node");
        }
        if !node.attached {
            rest.push_str(" · not attached");
        }
        let mut line = vec![
            Span::styled(format!(" {}", row.branch), self.dim()),
            Span::styled(format!("{mark} {}", tree::name(node)), style),
            Span::styled(rest, self.dim()),
        ];
        if self.app.has_moved(self.now, &row.peer) {
            line.push(Span::styled(" ← moved", self.colour(Color::Magenta)));
        }
        Line::from(line)
    }

    fn rates(&mut self, area: Rect) {
        let told = format!("{:.1} objects/s", self.app.rates.objects_in);
        let inner = self.pane(area, None, "Rates", &told);
        let rows: [Rect; 2] = Layout::vertical([Constraint::Length(2); 2]).areas(inner);
        for (row, what) in rows.into_iter().zip(["in ", "out"]) {
            let rates = &self.app.rates;
            let rates = if what == "out" { &rates.bytes_out } else { &rates.bytes_in };
            let now = rates.back().copied().unwrap_or_default();
            let [text, chart] = Layout::horizontal([Constraint::Length(15), Constraint::Min(0)]).areas(row);
            let skip = rates.len().saturating_sub(usize::from(chart.width));
            let points: Vec<u64> = rates.iter().skip(skip).copied().collect();
            let label = Line::from(vec![Span::styled(format!(" {what} "), self.dim()), Span::raw(rate(now))]);
            self.frame.render_widget(label, Rect { y: text.y + 1, height: 1, ..text }.intersection(text));
            self.frame.render_widget(Sparkline::default().data(points).style(self.colour(Color::Green)), chart);
        }
    }

    fn tracks(&mut self, area: Rect) {
        let count = self.app.tracks().len();
        let inner = self.pane(area, Some(Pane::Tracks), "Tracks", &count.to_string());
        self.list(inner, Pane::Tracks, count, |canvas, at| {
            let track = &canvas.app.tracks()[at];
            let shown = if Some(&*track.track) == canvas.app.track() { "▪" } else { " " };
            let paint = if track.state == "live" { Color::Green } else { Color::Yellow };
            let missing = track.here.as_ref().map_or(0, |here| here.missing);
            let mut line = vec![
                Span::raw(format!("{shown}{} ", track.track)),
                Span::styled(track.state.clone(), canvas.colour(paint)),
                Span::styled(format!(" {}", track.members), canvas.dim()),
            ];
            if missing > 0 {
                line.push(Span::styled(format!(" {missing} missing"), canvas.colour(Color::Red)));
            }
            Line::from(line)
        });
    }

    fn peers(&mut self, area: Rect, wide: bool) {
        let count = self.app.peers().len();
        let alive = self.app.peers().iter().filter(|peer| peer.state == "alive").count();
        let inner = self.pane(area, Some(Pane::Peers), "Peers", &format!("{alive} alive"));
        self.list(inner, Pane::Peers, count, |canvas, at| {
            let peer = &canvas.app.peers()[at];
            let paint = match peer.state.as_str() {
                "alive" => Color::Green,
                "suspect" => Color::Yellow,
                "dead" => Color::Red,
                _ => Color::DarkGray,
            };
            let mark = match peer.state.as_str() {
                "alive" if peer.linked => "●",
                "alive" => "○",
                "suspect" => "?",
                "dead" => "✗",
                _ => "·",
            };
            let used = peer.capacity.saturating_sub(peer.slots_free);
            let name: String = canvas.app.name_of(&peer.peer_id).chars().take(if wide { 24 } else { 12 }).collect();
            let rtt = peer.rtt_ms.map(milliseconds).unwrap_or_default();
            let slots = format!("{used}/{}", peer.capacity);
            let pad = if wide { 24 } else { 12 };
            let mut line = vec![
                Span::styled(format!(" {mark} "), canvas.colour(paint)),
                Span::raw(format!("{name:pad$}")),
                Span::styled(format!(" {slots:>5} {rtt:>8}"), canvas.dim()),
            ];
            if peer.state != "alive" && wide {
                line.push(Span::styled(format!(" {}", peer.state), canvas.colour(paint)));
            }
            Line::from(line)
        });
    }

    fn events(&mut self, area: Rect) {
        let inner = self.pane(area, Some(Pane::Events), "Events", "");
        if self.app.events.is_empty() {
            self.frame.render_widget(Line::styled("  Nothing has happened since.", self.dim()), inner);
        }
        self.list(inner, Pane::Events, self.app.events.len(), |canvas, at| {
            let told = &canvas.app.events[at];
            let style = match told.kind {
                Kind::Plain => Style::new(),
                Kind::Good => canvas.colour(Color::Green),
                Kind::Bad => canvas.colour(Color::Red),
            };
            let ago = age(canvas.now.saturating_duration_since(told.at));
            Line::from(vec![Span::styled(format!(" {ago:>5} "), canvas.dim()), Span::styled(told.text.clone(), style)])
        });
    }

    fn foot(&mut self, area: Rect) {
        let keys = [
            ("tab", "pane"),
            ("↑↓←→", "walk"),
            ("enter", "fold, inspect"),
            ("t", "track"),
            ("?", "help"),
            ("q", "quit"),
        ];
        let mut line = vec![Span::raw(" ")];
        for (key, what) in keys {
            line.push(Span::styled(key, Style::new().add_modifier(Modifier::BOLD)));
            line.push(Span::styled(format!(" {what}   "), self.dim()));
        }
        self.frame.render_widget(Line::from(line), area);
    }

    // --- Over the panes --------------------------------------------------------------------------

    fn over(&mut self, area: Rect, title: &str, lines: Vec<Line<'static>>, width: u16) {
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
        let width = width.min(area.width);
        let place =
            Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
        let title = Span::styled(format!(" {title} "), Style::new().add_modifier(Modifier::BOLD));
        let block = Block::bordered().border_style(self.colour(Color::Green)).title(title);
        let block = block.padding(Padding::horizontal(1));
        self.frame.render_widget(Clear, place);
        self.frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), place);
    }

    fn help(&mut self, area: Rect) {
        let lines = [
            ("tab, shift-tab", "the next pane, the one before"),
            ("↑ ↓, j k", "walk; pgup, pgdn, home, end too"),
            ("← →, h l", "fold or to the parent, unfold or to the child"),
            ("enter", "fold a relay, inspect a leaf, show a track's tree"),
            ("i", "inspect the peer"),
            ("t", "choose the track"),
            ("q, ctrl-c", "quit"),
            ("", ""),
            ("● ◉ ○", "origin, relay, leaf"),
            ("◎ ◌", "volunteer, not attached"),
            ("3/8", "children fed, slots offered"),
        ];
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let line = |(key, what): (&'static str, &'static str)| {
            Line::from(vec![Span::styled(format!("{key:<16}"), bold), Span::raw(what)])
        };
        self.over(area, "Keys", lines.map(line).to_vec(), 68);
    }

    fn pick(&mut self, area: Rect, marked: usize) {
        let height = usize::from(area.height.saturating_sub(4)).max(1);
        let top = (marked + 1).saturating_sub(height);
        let tracks = self.app.tracks().iter().enumerate().skip(top).take(height);
        let line = |(at, track): (usize, &crate::views::Track)| {
            let style = if at == marked { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            Line::styled(format!("{} · {} · {} members", track.track, track.state, track.members), style)
        };
        let mut lines: Vec<Line<'static>> = tracks.map(line).collect();
        if lines.is_empty() {
            lines.push(Line::raw("There is no track."));
        }
        self.over(area, "Track", lines, 60);
    }

    fn peer(&mut self, area: Rect, id: &str) {
        let app = &*self.app;
        let mut facts = vec![("peer", id.to_owned())];
        if let Some(node) = app.node(id) {
            let depth = node.depth.map_or("not attached".to_owned(), |depth| format!("depth {depth}"));
            facts.push(("role", format!("{}, {depth}", node.role)));
            if let Some(parent) = &node.parent {
                facts.push(("fed by", app.name_of(parent).to_owned()));
            }
            facts.push(("feeds", format!("{} on this track", node.children)));
        }
        if let Some(peer) = app.peers().iter().find(|peer| peer.peer_id == id) {
            facts.push(("state", peer.state.clone()));
            facts.push(("slots", format!("{} of {} free", peer.slots_free, peer.capacity)));
            let rtt = peer.rtt_ms.map_or("not linked to this node".to_owned(), milliseconds);
            facts.push(("round trip", rtt));
            facts.extend(peer.addresses.iter().take(6).map(|address| ("address", address.clone())));
        } else if let Some(snapshot) = &app.snapshot {
            facts.push(("state", "this node".to_owned()));
            facts.extend(snapshot.status.addresses.iter().take(6).map(|address| ("address", address.clone())));
        }
        let dim = self.dim();
        let line = |(what, fact)| Line::from(vec![Span::styled(format!("{what:<11}"), dim), Span::raw(fact)]);
        let lines = facts.into_iter().map(line).collect();
        let title = app.name_of(id).to_owned();
        self.over(area, &title, lines, 74);
    }
}

/// Bytes per second, in at most ten columns.
fn rate(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 999.5 && unit + 1 < units.len() {
        (amount, unit) = (amount / 1024.0, unit + 1);
    }
    let digits = usize::from(unit > 0 && amount < 99.95);
    format!("{amount:.digits$} {}/s", units[unit])
}

/// How long ago, in at most five columns.
fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}
