//! `banyan top` in a real terminal against a real mesh.

#[path = "common/processes.rs"]
mod processes;

use std::{path::Path, process::Command};

use processes::{BANYAN, Fleet, eventually, has};

/// A terminal of 80 × 24.
struct Terminal {
    server: String,
}

impl Terminal {
    fn open(socket: &Path) -> Self {
        let terminal = Self { server: format!("banyan-{}", std::process::id()) };
        // A shell afterwards shows what `top` leaves behind.
        let line = format!(
            "{BANYAN} top --socket {}; stty -a | grep -o -e '-\\?icanon'; echo status $?; exec sleep 60",
            socket.display()
        );
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &line]);
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = Command::new("tmux").args(["-L", &self.server]).args(words).output().expect("tmux runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn shows(&self, what: &str) -> String {
        let mut screen = String::new();
        eventually(what, || {
            screen = self.screen();
            screen.contains(what).then_some(())
        });
        screen
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn top_shows_a_repair_obeys_keys_and_leaves_the_terminal_clean() {
    if !has("tmux") {
        return;
    }
    let mut fleet = Fleet::start(7);
    let terminal = Terminal::open(&fleet.socket(0));
    terminal.shows("cam/1 7/7");
    // Rows tell of new children up to four times a second.
    let before = terminal.shows("● n0 2/2 · this node");
    println!("{before}");
    assert!(before.contains("Peers 6 alive"), "{before}");

    terminal.press("Down");
    terminal.press("i");
    let peer = terminal.shows("fed by     n0");
    assert!(peer.contains("round trip") && peer.contains("/ip4/127.0.0.1/tcp/"), "{peer}");
    terminal.press("Escape");

    let (_, label) = fleet.kill_relay();
    let after = terminal.shows("cam/1 6/6");
    println!("{after}");
    terminal.press("BTab");
    terminal.shows(&format!("peer {label} is gone"));

    terminal.press("?");
    terminal.shows("the next pane, the one before");
    terminal.press("q");
    terminal.tmux(&["resize-window", "-x", "120", "-y", "40"]);
    terminal.press("t");
    terminal.shows("cam/1 · live · 5 members");
    terminal.press("Enter");
    terminal.press("q");
    let left = terminal.shows("status 0");
    assert!(!left.contains("Peers") && left.contains("icanon") && !left.contains("-icanon"), "{left}");
}
