//! What the demo has shown.

use std::fmt::Write as _;

use crate::{
    cli::render::{
        amount, milliseconds,
        style::{Paint, Style},
    },
    views::reports::{DemoReport, RepairMs},
};

impl RepairMs {
    /// Percentiles by nearest rank.
    pub(super) fn of(mut repairs: Vec<f64>) -> Self {
        repairs.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let index = (repairs.len() * percent).div_ceil(100).checked_sub(1)?;
            repairs.get(index).map(|ms| (ms * 10.0).round() / 10.0)
        };
        Self { p50: rank(50), p99: rank(99), max: rank(100) }
    }
}

impl DemoReport {
    /// The report for people.
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let mut line =
            |pieces: &[(Paint, String)]| writeln!(text, "{}", style.line(pieces)).expect("a string takes all");
        let survivors = self.nodes - self.killed - 1;
        line(&[(
            Paint::Bold,
            format!(
                "{} nodes, {} killed · {} objects, {} in {:.1} s",
                self.nodes,
                self.killed,
                self.objects,
                amount(self.bytes),
                self.seconds
            ),
        )]);
        line(&[(
            if self.lost + self.duplicates + self.gaps == 0 { Paint::Plain } else { Paint::Yellow },
            format!("lost {} · duplicates {} · gaps {}", self.lost, self.duplicates, self.gaps),
        )]);
        if let RepairMs { p50: Some(p50), p99: Some(p99), max: Some(max) } = self.repair_ms {
            let [p50, p99, max] = [p50, p99, max].map(milliseconds);
            line(&[(Paint::Plain, format!("{} repairs: p50 {p50}, p99 {p99}, longest {max}", self.repairs))]);
        } else {
            line(&[(Paint::Plain, "no repair was needed".to_owned())]);
        }
        if let RepairMs { p50: Some(p50), max: Some(max), .. } = self.gap_ms {
            let [p50, max] = [p50, max].map(milliseconds);
            line(&[(Paint::Plain, format!("longest pause of a survivor after a failure: p50 {p50}, longest {max}"))]);
        }
        let (depth, children, capacity) = (self.depth_max, self.children_max, self.capacity);
        line(&[(Paint::Plain, format!("deepest level {depth} · most children {children} of {capacity}"))]);
        line(&[if self.sha256_ok {
            (Paint::Green, format!("SHA-256 of all {survivors} receivers that live is that of what was sent"))
        } else {
            (Paint::Yellow, "SHA-256 of some receivers that live is NOT that of what was sent".to_owned())
        }]);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::View;

    fn report() -> DemoReport {
        DemoReport {
            nodes: 12,
            killed: 3,
            objects: 1000,
            bytes: 16_384_000,
            lost: 0,
            duplicates: 0,
            dropped: 0,
            gaps: 0,
            repairs: 4,
            repair_ms: RepairMs::of(vec![30.0, 10.0, 20.0, 140.25]),
            calm_ms: RepairMs::of(vec![]),
            gap_ms: RepairMs::of(vec![11.0, 140.25, 12.0]),
            depth_max: 5,
            children_max: 2,
            capacity: 2,
            sha256_ok: true,
            seconds: 10.04,
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        assert_eq!(report().repair_ms, RepairMs { p50: Some(20.0), p99: Some(140.3), max: Some(140.3) });
        assert_eq!(RepairMs::of(vec![]), RepairMs { p50: None, p99: None, max: None });
        assert_eq!(RepairMs::of(vec![7.0]), RepairMs { p50: Some(7.0), p99: Some(7.0), max: Some(7.0) });
    }

    #[test]
    fn keys_of_the_json_are_those_that_are_promised() {
        let json = serde_json::to_value(report().enveloped()).expect("it serialises");
        let keys: Vec<&str> = json["data"].as_object().expect("an object").keys().map(String::as_str).collect();
        let mut promised = [
            "nodes",
            "killed",
            "objects",
            "bytes",
            "lost",
            "duplicates",
            "dropped",
            "gaps",
            "repairs",
            "repair_ms",
            "calm_ms",
            "gap_ms",
            "depth_max",
            "children_max",
            "capacity",
            "sha256_ok",
            "seconds",
        ];
        promised.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, promised);
        assert_eq!(json["data"]["repair_ms"]["p50"], 20.0);
    }

    #[test]
    fn text_says_it_all() {
        let expected = "\
12 nodes, 3 killed · 1000 objects, 15.6 MiB in 10.0 s
lost 0 · duplicates 0 · gaps 0
4 repairs: p50 20 ms, p99 140 ms, longest 140 ms
longest pause of a survivor after a failure: p50 12 ms, longest 140 ms
deepest level 5 · most children 2 of 2
SHA-256 of all 8 receivers that live is that of what was sent
";
        assert_eq!(report().text(Style::PLAIN), expected);
    }
}
