//! Draws who forwards how much of a track.

use super::{
    amount, short,
    style::{Paint, Style},
    table::table,
};
use crate::views::{OffloadPeer, OffloadView};

/// The shares of all, then a row for everyone who feeds somebody or has.
pub(crate) fn offload(style: Style, view: &OffloadView) -> String {
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.1} %"));
    let scope = if view.whole { "" } else { " below this node" };
    let heading = format!(
        " · offload {} intended, {} measured · {} forwarded{scope}",
        percent(view.intended_percent),
        percent(view.measured_percent),
        amount(view.bytes),
    );
    let row = |peer: &OffloadPeer| {
        let share = (view.bytes > 0).then(|| 100.0 * peer.bytes as f64 / view.bytes as f64);
        vec![
            peer.label.clone().unwrap_or_else(|| short(&peer.peer_id).to_owned()),
            peer.role.clone(),
            peer.children.to_string(),
            peer.objects.to_string(),
            amount(peer.bytes),
            percent(share),
        ]
    };
    let feeding = view.peers.iter().filter(|peer| peer.children > 0 || peer.objects > 0);
    let rows: Vec<_> = feeding.map(row).collect();
    let heading = style.line(&[(Paint::Bold, view.track.clone()), (Paint::Dim, heading)]);
    format!("{heading}\n{}", table(style, &["PEER", "ROLE", "FEEDS", "OBJECTS", "BYTES", "SHARE"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_that_was_forwarded_a11() {
        let peer = |name: &str, children, objects| OffloadPeer {
            peer_id: format!("12D3KooW{name}"),
            label: Some(name.to_owned()),
            role: "relay".to_owned(),
            children,
            objects,
            bytes: 1024 * objects,
            to: Vec::new(),
        };
        let view = OffloadView {
            track: "cam/1".to_owned(),
            origin: None,
            whole: true,
            intended_percent: Some(66.66),
            measured_percent: None,
            objects: 4,
            bytes: 4096,
            peers: vec![peer("a", 2, 1), peer("b", 1, 3), peer("c", 0, 0)],
        };
        let expected = "\
cam/1 · offload 66.7 % intended, - measured · 4.0 KiB forwarded
PEER  ROLE   FEEDS  OBJECTS  BYTES    SHARE   \n\
a     relay  2      1        1.0 KiB  25.0 %  \n\
b     relay  1      3        3.0 KiB  75.0 %  \n";
        let text = offload(Style::PLAIN, &view);
        let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trimmed(&text), trimmed(expected));
    }
}
