//! The log of repairs as a table.

use super::{
    milliseconds, short,
    style::{Paint, Style},
    table::table,
};
use crate::views::{
    peers::PeerName,
    repairs::{Repair, Repairs},
};

/// The repairs, the newest last, and what they come to.
pub(crate) fn repairs(style: Style, view: &Repairs) -> String {
    if view.repairs.is_empty() {
        return "no parent was lost so far\n".to_owned();
    }
    let rows: Vec<_> = view.repairs.iter().map(row).collect();
    let headings = [
        "TIME", "TRACK", "CAUSE", "SEEN BY", "SILENT", "FROM", "TO", "TRIES", "ATTACHED", "PAUSE", "REPLAYED",
        "MISSING",
    ];
    let mut text = table(style, &headings, &rows);
    text.push_str(&style.line(&[(Paint::Dim, summary(view))]));
    text.push('\n');
    text
}

fn row(repair: &Repair) -> Vec<String> {
    let dash = || "-".to_owned();
    let time = |ms: Option<f64>| ms.map_or_else(dash, milliseconds);
    let number = |number: Option<u64>| number.map_or_else(dash, |number| number.to_string());
    let to = match repair.state.as_str() {
        "seeking" => "seeking…".to_owned(),
        "given_up" => "given up".to_owned(),
        _ => repair.to.as_ref().map_or_else(dash, called),
    };
    vec![
        clock(repair.unix_ms),
        repair.track.clone(),
        repair.cause.clone(),
        repair.detected_by.clone(),
        time(repair.silent_ms),
        repair.from.as_ref().map_or_else(dash, called),
        to,
        number(repair.tries.map(u64::from)),
        time(repair.attach_ms),
        time(repair.gap_ms),
        number(repair.replayed),
        repair.missing.to_string(),
    ]
}

fn summary(view: &Repairs) -> String {
    let mut gaps: Vec<f64> = view.repairs.iter().filter_map(|repair| repair.gap_ms).collect();
    gaps.sort_by(f64::total_cmp);
    let missing: u64 = view.repairs.iter().map(|repair| repair.missing).sum();
    let pauses = match (gaps.get(gaps.len() / 2), gaps.last()) {
        (Some(median), Some(longest)) => {
            format!(" · pause {} in the median, {} at most", milliseconds(*median), milliseconds(*longest))
        }
        _ => String::new(),
    };
    let listed = if view.total > view.repairs.len() as u64 {
        format!(", the last {} listed", view.repairs.len())
    } else {
        String::new()
    };
    let repairs = if view.total == 1 { "repair" } else { "repairs" };
    format!("{} {repairs}{listed}{pauses} · {missing} objects missing", view.total)
}

/// Label or short id.
pub(crate) fn called(peer: &PeerName) -> String {
    peer.label.clone().unwrap_or_else(|| short(&peer.peer_id).to_owned())
}

/// The date and time of day in UTC.
fn clock(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms as f64 % 60_000.0 / 1000.0);
    let (month, day) = month_and_day(days);
    format!("{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:06.3}Z")
}

/// Month and day of so many days after 1970 (Howard Hinnant, `civil_from_days`: years that begin in March).
const fn month_and_day(days: u64) -> (u64, u64) {
    let day_of_era = (days + 719_468) % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repair() -> Repair {
        let peer = |label: Option<&str>, id: &str| {
            Some(PeerName { peer_id: format!("12D3KooW{id}"), label: label.map(str::to_owned) })
        };
        Repair {
            id: 0,
            track: "cam/1".to_owned(),
            at_ms: 4_000,
            unix_ms: 1_795_308_876_543,
            cause: "link_down".to_owned(),
            detected_by: "connection".to_owned(),
            silent_ms: Some(4.0),
            state: "repaired".to_owned(),
            from: peer(Some("attic"), "aaaaaaaa"),
            to: peer(None, "bbbbbbbb"),
            depth: Some(2),
            tries: Some(1),
            attach_ms: Some(1.25),
            gap_ms: Some(23.0),
            replayed: Some(4),
            missing: 0,
        }
    }

    #[test]
    fn repairs_are_a_row_each_and_a_summary() {
        let seeking = Repair { state: "seeking".to_owned(), to: None, gap_ms: None, attach_ms: None, ..repair() };
        let text = repairs(Style::PLAIN, &Repairs { total: 2, repairs: vec![repair(), seeking] });
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected = [
            "11-22",
            "00:54:36.543Z",
            "cam/1",
            "link_down",
            "connection",
            "4.0",
            "ms",
            "attic",
            "bbbbbbbb",
            "1",
            "1.2",
            "ms",
            "23",
            "ms",
            "4",
            "0",
        ];
        assert_eq!(lines[1], expected, "{text}");
        assert!(lines[2].contains(&"seeking…"), "{text}");
        assert!(text.ends_with("2 repairs · pause 23 ms in the median, 23 ms at most · 0 objects missing\n"), "{text}");
        assert_eq!(repairs(Style::PLAIN, &Repairs { total: 0, repairs: vec![] }), "no parent was lost so far\n");
    }

    #[test]
    fn days_are_counted_as_calendars_do() {
        for (days, date) in
            [(0, (1, 1)), (58, (2, 28)), (59, (3, 1)), (789, (2, 29)), (790, (3, 1)), (20_778, (11, 21))]
        {
            assert_eq!(month_and_day(days), date, "{days}");
        }
    }
}
