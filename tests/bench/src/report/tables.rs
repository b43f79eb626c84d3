//! The tables.

use std::fmt::{self, Write};

use super::summary::Summary;
use crate::{
    outcome::{How, Sustained, Work},
    systems::{REFERENCE, SUBJECT},
};

/// What stands where a case did not work out, or was not run.
const NOTHING: &str = "–";

pub(super) fn write(out: &mut String, summary: &Summary) -> fmt::Result {
    for receivers in summary.receivers() {
        sustained(out, summary, receivers)?;
    }
    latency(out, summary)?;
    loss(out, summary)?;
    ahead(out, summary)
}

/// A table with a line for each system, of what `cell` says to each of these pieces of work.
fn by_size(
    out: &mut String,
    summary: &Summary,
    works: &[Work],
    cell: impl Fn(&str, Work) -> Option<String>,
) -> fmt::Result {
    let sizes: Vec<String> = works.iter().map(|work| size(work.load().size)).collect();
    writeln!(out, "| system | {} |\n|---|{}", sizes.join(" | "), "---|".repeat(sizes.len()))?;
    for system in &summary.systems {
        let cells: Vec<_> =
            works.iter().map(|work| cell(system, *work).unwrap_or_else(|| NOTHING.to_owned())).collect();
        writeln!(out, "| {system} | {} |", cells.join(" | "))?;
    }
    out.write_char('\n')
}

fn sustained(out: &mut String, summary: &Summary, receivers: usize) -> fmt::Result {
    let works = summary.sizes(receivers);
    let of = |system: &str, work: Work| summary.sustained(system, work);
    writeln!(out, "## Sustained, {receivers} receivers\n")?;
    writeln!(out, "Objects a second at each receiver · MB/s at each receiver · ratio to `{REFERENCE}`\n")?;
    by_size(out, summary, &works, |system, work| {
        let found = of(system, work)?;
        let ratio = of(REFERENCE, work).map(|reference| found.objects_per_s / reference.objects_per_s);
        let ratio = ratio.map_or_else(String::new, |ratio| format!(" · {ratio:.2} ×"));
        let (objects, megabytes) = (number(found.objects_per_s), number(found.megabytes_per_s));
        Some(format!("{objects} · {megabytes}{ratio}{}", blemishes(&found)))
    })?;
    writeln!(out, "What {SUBJECT} reaches, as a multiple of each\n")?;
    by_size(out, summary, &works, |system, work| {
        let ratio = of(SUBJECT, work)?.objects_per_s / of(system, work)?.objects_per_s;
        Some(format!("{ratio:.2} ×"))
    })?;
    writeln!(out, "The same per CPU second, which a busy machine distorts less\n")?;
    by_size(out, summary, &works, |system, work| {
        Some(format!("{:.2} ×", of(system, work)?.cpu_s_per_gib / of(SUBJECT, work)?.cpu_s_per_gib))
    })?;
    writeln!(
        out,
        "CPU s per delivered GiB · cores kept busy · bytes on the wire per byte delivered · peak memory in MiB\n"
    )?;
    by_size(out, summary, &works, |system, work| {
        let found = of(system, work)?;
        let Sustained { cores, wire_ratio, peak_mib, .. } = found;
        Some(format!("{} · {cores:.2} · {wire_ratio:.3} · {peak_mib:.0}", number(found.cpu_s_per_gib)))
    })
}

/// What is not as it should be.
fn blemishes(found: &Sustained) -> String {
    let lost = (found.lost > 0.0).then(|| format!("{:.2} % lost", 100.0 * found.lost));
    let doubled = (found.doubled > 0).then(|| format!("{} doubled", found.doubled));
    let all: Vec<_> = lost.into_iter().chain(doubled).collect();
    if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) }
}

fn latency(out: &mut String, summary: &Summary) -> fmt::Result {
    let Some(Work::Latency { load, rate }) = summary.latency_work() else {
        return Ok(());
    };
    writeln!(out, "## Latency, {} objects a second of {}, {} receivers\n", rate, size(load.size), load.receivers)?;
    writeln!(out, "| system | p50 µs | p99 µs | max µs | p99 to `{REFERENCE}` | lost | wire |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    let reference = summary.latency(REFERENCE).map(|reference| reference.p99_us);
    for system in &summary.systems {
        let Some(found) = summary.latency(system) else {
            writeln!(out, "| {system} | {NOTHING} | {NOTHING} | {NOTHING} | {NOTHING} | {NOTHING} | {NOTHING} |")?;
            continue;
        };
        let ratio = reference.map_or_else(|| NOTHING.to_owned(), |p99| format!("{:.2} ×", found.p99_us / p99));
        let [p50, p99, max] = [found.p50_us, found.p99_us, found.max_us].map(number);
        let lost = 100.0 * found.lost;
        writeln!(out, "| {system} | {p50} | {p99} | {max} | {ratio} | {lost:.2} % | {:.3} |", found.wire_ratio)?;
    }
    out.write_char('\n')
}

fn loss(out: &mut String, summary: &Summary) -> fmt::Result {
    for (how, title) in [(How::Kill, "is killed"), (How::Freeze, "is frozen")] {
        let Some(Work::Loss { load, rate, .. }) = summary.loss_work(how) else {
            continue;
        };
        let (receivers, size) = (load.receivers, size(load.size));
        writeln!(
            out,
            "## A node that feeds others {title}, {rate} objects a second of {size}, {receivers} receivers\n"
        )?;
        writeln!(out, "| system | longest gap ms (worst run) | survivors hit | never got more | lost | doubled |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        for system in &summary.systems {
            let Some((found, worst)) = summary.loss(system, how) else {
                writeln!(out, "| {system} | {NOTHING} | {NOTHING} | {NOTHING} | {NOTHING} | {NOTHING} |")?;
                continue;
            };
            let (gap, worst) = (number(found.gap_ms), number(worst));
            let [hit, stranded, lost, doubled] = [found.hit, found.stranded, found.lost, found.doubled].map(number);
            writeln!(out, "| {system} | {gap} ({worst}) | {hit} | {stranded} | {lost} | {doubled} |")?;
        }
        out.write_char('\n')?;
    }
    Ok(())
}

/// Where another system does better than the subject.
fn ahead(out: &mut String, summary: &Summary) -> fmt::Result {
    writeln!(out, "## Where another is ahead of {SUBJECT}\n")?;
    let mut lines = Vec::new();
    let others = || summary.systems.iter().filter(|system| **system != SUBJECT);
    for receivers in summary.receivers() {
        let works = summary.sizes(receivers);
        type Value = fn(&Sustained) -> f64;
        let values: [(&str, bool, Value); 3] = [
            ("rate", true, |found| found.objects_per_s),
            ("CPU per GiB", false, |found| found.cpu_s_per_gib),
            ("peak memory", false, |found| found.peak_mib),
        ];
        for (what, more_is_better, value) in values {
            for system in others() {
                let factors = works.iter().filter_map(|work| {
                    let ours = value(&summary.sustained(SUBJECT, *work)?);
                    let theirs = value(&summary.sustained(system, *work)?);
                    let factor = if more_is_better { theirs / ours } else { ours / theirs };
                    (factor > 1.0).then(|| format!("{factor:.1} × at {}", size(work.load().size)))
                });
                let factors: Vec<_> = factors.collect();
                if !factors.is_empty() {
                    lines.push(format!("{what}, {receivers} receivers: `{system}` {}", factors.join(", ")));
                }
            }
        }
    }
    for system in others() {
        if let (Some(ours), Some(theirs)) = (summary.latency(SUBJECT), summary.latency(system)) {
            let values = [("p50", ours.p50_us, theirs.p50_us), ("p99", ours.p99_us, theirs.p99_us)];
            let better = values.into_iter().filter(|(_, ours, theirs)| theirs < ours);
            lines.extend(
                better.map(|(what, ours, theirs)| format!("latency {what}: `{system}` {:.1} ×", ours / theirs)),
            );
        }
        for how in [How::Kill, How::Freeze] {
            if let (Some((ours, _)), Some((theirs, _))) = (summary.loss(SUBJECT, how), summary.loss(system, how)) {
                let what = format!("a node lost ({}): `{system}`", how.name());
                if theirs.gap_ms < ours.gap_ms {
                    lines.push(format!("{what} has a gap of {} ms", number(theirs.gap_ms)));
                }
                if theirs.lost < ours.lost {
                    lines.push(format!("{what} loses {}", number(theirs.lost)));
                }
            }
        }
    }
    if lines.is_empty() {
        lines.push("nowhere in this run".to_owned());
    }
    for line in lines {
        writeln!(out, "- {line}")?;
    }
    out.write_char('\n')
}

/// A size in bytes as people say it.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// Three digits that count, thousands set apart.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 && value.fract() != 0.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.234, 12.34, 123.4, 1_234.5, 1_234_567.0].map(number);
        assert_eq!(texts, ["0", "1.23", "12.3", "123", "1,234", "1,234,567"]);
        assert_eq!([100, 1_024, 3 << 19, 1 << 20].map(size), ["100 B", "1 KiB", "1536 KiB", "1 MiB"]);
    }
}
