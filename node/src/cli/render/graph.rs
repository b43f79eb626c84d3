//! The tree of a track as a graph for other programs: Graphviz and Mermaid.

use std::{collections::BTreeMap, fmt::Write};

use super::short;
use crate::views::{TreeNode, TreeView};

/// As a document of Graphviz.
pub(crate) fn dot(view: &TreeView) -> String {
    let mut text = format!("digraph {} {{\n  node [shape=box, style=rounded];\n", quoted(&view.track));
    for node in &view.nodes {
        let look = match node.role.as_str() {
            _ if !node.attached => ", style=dashed",
            "origin" => ", style=bold",
            "volunteer" => ", style=\"rounded,dotted\"",
            _ => "",
        };
        let label = quoted(&format!("{}\n{}", called(node), facts(node)));
        let _ = writeln!(text, "  {} [label={label}{look}];", quoted(&node.peer_id));
    }
    for node in &view.nodes {
        if let Some(parent) = &node.parent {
            let _ = writeln!(text, "  {} -> {};", quoted(parent), quoted(&node.peer_id));
        }
    }
    text + "}\n"
}

/// As a flow chart of Mermaid.
pub(crate) fn mermaid(view: &TreeView) -> String {
    let names: BTreeMap<&str, String> =
        (0..).zip(&view.nodes).map(|(index, node)| (&*node.peer_id, format!("n{index}"))).collect();
    let mut text = "flowchart TD\n".to_owned();
    for node in &view.nodes {
        let label = entities(&format!("{} · {}", called(node), facts(node)));
        let _ = writeln!(text, "  {}[\"{label}\"]", names[&*node.peer_id]);
    }
    for node in &view.nodes {
        if let Some(parent) = node.parent.as_deref().and_then(|parent| names.get(parent)) {
            let _ = writeln!(text, "  {parent} --> {}", names[&*node.peer_id]);
        }
    }
    text
}

fn called(node: &TreeNode) -> &str {
    node.label.as_deref().unwrap_or_else(|| short(&node.peer_id))
}

fn facts(node: &TreeNode) -> String {
    let depth = node.depth.map_or_else(|| "not attached".to_owned(), |depth| format!("depth {depth}"));
    format!("{}, {depth}, {}/{}", node.role, node.children, node.capacity)
}

/// A string of Graphviz; peers may have put anything into what they say of themselves.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push('?'),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Text in which Mermaid sees no syntax.
fn entities(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            c if c.is_control() => out.push('?'),
            '"' | '#' | '&' | '<' | '>' | ';' | '`' => out.push_str(&format!("#{};", u32::from(c))),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> TreeView {
        let node = |id: &str, label: Option<&str>, parent: Option<&str>, depth| TreeNode {
            peer_id: id.to_owned(),
            label: label.map(str::to_owned),
            role: if depth == Some(0) { "origin" } else { "leaf" }.to_owned(),
            parent: parent.map(str::to_owned),
            depth,
            children: 1,
            capacity: 2,
            attached: depth.is_some(),
        };
        TreeView {
            track: "cam/1".to_owned(),
            origin: Some("p1".to_owned()),
            epoch: 1,
            nodes: vec![
                node("p1", Some("a\"];\\\u{1b}"), None, Some(0)),
                node("p2", None, Some("p1"), Some(1)),
                node("p3", Some("lost"), Some("gone"), None),
            ],
        }
    }

    #[test]
    fn labels_cannot_break_out_of_the_graph() {
        let expected = r#"digraph "cam/1" {
  node [shape=box, style=rounded];
  "p1" [label="a\"];\\?\norigin, depth 0, 1/2", style=bold];
  "p2" [label="p2\nleaf, depth 1, 1/2"];
  "p3" [label="lost\nleaf, not attached, 1/2", style=dashed];
  "p1" -> "p2";
  "gone" -> "p3";
}
"#;
        assert_eq!(dot(&view()), expected);
    }

    #[test]
    fn mermaid_has_a_node_for_each_peer_and_an_arrow_for_each_known_parent() {
        let expected = "\
flowchart TD
  n0[\"a#34;]#59;\\? · origin, depth 0, 1/2\"]
  n1[\"p2 · leaf, depth 1, 1/2\"]
  n2[\"lost · leaf, not attached, 1/2\"]
  n0 --> n1
";
        assert_eq!(mermaid(&view()), expected);
    }
}
