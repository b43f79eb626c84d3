//! What the library shows.

use super::{
    amount, seconds, short,
    style::{Paint, Style},
    table::{pairs, table},
};
use crate::{
    cli::exit::one_line,
    views::library::{ExplainView, JobView, JobsView, LibraryView, PackageView, SourceView, TitleView, VersionView},
};

/// Digits of a package's id that are shown where there is little room.
const ID_DIGITS: usize = 12;

/// Every title on a row, then the folders of this node.
pub(crate) fn titles(style: Style, library: &LibraryView) -> String {
    if library.titles.is_empty() {
        return "no package is known\n".to_owned() + &roots(style, library);
    }
    let row = |title: &TitleView| {
        let (newest, older) = (title.versions.first(), title.versions.len().saturating_sub(1));
        let version = newest.map_or("-", |newest| &newest.version);
        vec![
            title.name.clone(),
            if older == 0 { version.to_owned() } else { format!("{version} +{older}") },
            newest.map_or("-".to_owned(), |newest| amount(newest.bytes)),
            title.peers.to_string(),
            here(title),
        ]
    };
    let rows: Vec<_> = library.titles.iter().map(row).collect();
    table(style, &["NAME", "VERSION", "SIZE", "PEERS", "HERE"], &rows) + &roots(style, library)
}

/// What is here of a title: the state of its newest version, or which other version is in which state.
fn here(title: &TitleView) -> String {
    let states = title.versions.iter().enumerate().filter_map(|(index, version)| {
        let state = version.here.as_ref()?;
        Some(if index == 0 { state.clone() } else { format!("{state} {}", version.version) })
    });
    let states = states.collect::<Vec<_>>().join(", ");
    if states.is_empty() { "-".to_owned() } else { states }
}

/// The folders that this node shares.
pub(crate) fn roots(style: Style, library: &LibraryView) -> String {
    let mut text = String::new();
    for root in &library.roots {
        let scanning = if root.scanning { ", being read" } else { "" };
        let line = format!("{}: {}{scanning}", root.path, count(root.packages, "package"));
        text.push_str(&(style.line(&[(Paint::Dim, one_line(&line))]) + "\n"));
        for problem in &root.problems {
            text.push_str(&(style.line(&[(Paint::Yellow, format!("  {}", one_line(problem)))]) + "\n"));
        }
    }
    text
}

/// Every version on a row.
pub(crate) fn versions(style: Style, titles: &[TitleView]) -> String {
    let row = |title: &TitleView, version: &VersionView| {
        let partial = if version.partial.is_empty() { String::new() } else { format!(" +{}", version.partial.len()) };
        vec![
            title.name.clone(),
            version.version.clone(),
            version.package.chars().take(ID_DIGITS).collect(),
            amount(version.bytes),
            version.files.to_string(),
            format!("{}{partial}", version.peers.len()),
            version.here.clone().unwrap_or("-".to_owned()),
        ]
    };
    let rows: Vec<_> =
        titles.iter().flat_map(|title| title.versions.iter().map(|version| row(title, version))).collect();
    if rows.is_empty() {
        return "no such title is known\n".to_owned();
    }
    table(style, &["NAME", "VERSION", "PACKAGE", "SIZE", "FILES", "PEERS", "HERE"], &rows)
}

/// A package.
pub(crate) fn package(style: Style, package: &PackageView) -> String {
    let PackageView { name, version, path } = package;
    let peers = |peers: &[String]| match peers {
        [] => "-".to_owned(),
        peers => peers.iter().map(|peer| short(peer)).collect::<Vec<_>>().join(" "),
    };
    pairs(
        style,
        &[
            ("name", name.clone()),
            ("version", version.version.clone()),
            ("package", version.package.clone()),
            ("size", format!("{} in {}", amount(version.bytes), count(version.files as usize, "file"))),
            ("here", version.here.clone().unwrap_or("-".to_owned())),
            ("path", path.clone().unwrap_or("-".to_owned())),
            ("peers", peers(&version.peers)),
            ("partial", peers(&version.partial)),
        ],
    )
}

/// Every job on a row.
pub(crate) fn jobs(style: Style, jobs: &JobsView) -> String {
    if jobs.jobs.is_empty() {
        return "no job is known\n".to_owned();
    }
    let row = |job: &JobView| {
        vec![
            job.id.to_string(),
            job.kind.clone(),
            title(job),
            state(job),
            percent(job).map_or("-".to_owned(), |percent| format!("{percent} %")),
            if is_running(job) { rate(job.rate) } else { "-".to_owned() },
            job.eta_s.filter(|_| is_running(job)).map_or("-".to_owned(), duration),
            duration(job.took_s),
        ]
    };
    let rows: Vec<_> = jobs.jobs.iter().map(row).collect();
    table(style, &["JOB", "KIND", "PACKAGE", "STATE", "DONE", "RATE", "TO GO", "TOOK"], &rows)
}

/// A job, and whom it fetches from.
pub(crate) fn job(style: Style, job: &JobView) -> String {
    let done = if job.bytes_total == 0 {
        amount(job.bytes)
    } else {
        let percent = percent(job).unwrap_or_default();
        format!("{} of {}, {percent} %", amount(job.bytes), amount(job.bytes_total))
    };
    let mut text = pairs(
        style,
        &[
            ("job", job.id.to_string()),
            ("kind", job.kind.clone()),
            ("name", job.name.clone()),
            ("version", job.version.clone().unwrap_or("-".to_owned())),
            ("package", job.package.clone().unwrap_or("-".to_owned())),
            ("state", state(job)),
            ("done", done),
            ("rate", if is_running(job) { rate(job.rate) } else { "-".to_owned() }),
            ("to go", job.eta_s.filter(|_| is_running(job)).map_or("-".to_owned(), duration)),
            ("took", duration(job.took_s)),
        ],
    );
    if let Some(error) = &job.error {
        let hint = error.hint.as_ref().map(|hint| ("hint", hint.clone()));
        let error: Vec<_> = [("error", error.message.clone())].into_iter().chain(hint).collect();
        text.push_str(&pairs(style, &error));
    }
    if !job.sources.is_empty() {
        let row = |source: &SourceView| {
            vec![
                source.label.clone().unwrap_or_else(|| short(&source.peer_id).to_owned()),
                amount(source.bytes),
                rate(source.rate),
                source.state.clone(),
            ]
        };
        let rows: Vec<_> = job.sources.iter().map(row).collect();
        text.push('\n');
        let who = if job.kind == "push" { "TARGET" } else { "SOURCE" };
        text.push_str(&table(style, &[who, "BYTES", "RATE", "STATE"], &rows));
    }
    text
}

/// Why a job is not faster.
pub(crate) fn explanation(style: Style, explanation: &ExplainView) -> String {
    let ExplainView { id, text, hint, .. } = explanation;
    let line = |paint, text: String| style.line(&[(paint, one_line(&text))]) + "\n";
    let hint = hint.as_ref().map(|hint| line(Paint::Dim, format!("hint: {hint}"))).unwrap_or_default();
    line(Paint::Plain, format!("job {id}: {text}")) + &hint
}

/// Kind and title of a job, on one line.
pub(crate) fn task(job: &JobView) -> String {
    one_line(&format!("{} {}", job.kind, title(job)))
}

/// How far a job is, on one line; in a few words where there is little room.
pub(crate) fn progress(job: &JobView, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    parts.extend(percent(job).map(|percent| format!("{percent} %")));
    let is_fetching = job.state == "running" && job.phase == "fetching";
    if !is_fetching || parts.is_empty() {
        parts.push(state(job));
    }
    if columns >= 100 && job.bytes_total > 0 {
        parts.push(format!("{} of {}", amount(job.bytes), amount(job.bytes_total)));
    }
    if columns >= 50 && job.rate > 0.0 {
        parts.push(rate(job.rate));
    }
    if columns >= 70 {
        parts.extend(job.eta_s.map(|eta| format!("{} to go", duration(eta))));
    }
    let sending = job.sources.iter().filter(|source| source.state == "sending").count();
    if columns >= 100 && sending > 0 {
        parts.push(count(sending, "source"));
    }
    one_line(&parts.join(", "))
}

/// What has come of a job that is done.
pub(crate) fn outcome(job: &JobView) -> String {
    let done = match job.kind.as_str() {
        "get" => "fetched",
        "install" => "installed",
        "update" => "updated to",
        "uninstall" => "uninstalled",
        "remove" => "removed",
        "verify" => "verified",
        "push" => "pushed",
        kind => kind,
    };
    let moves = matches!(job.kind.as_str(), "get" | "update" | "verify");
    let bytes = match job.bytes {
        bytes if bytes == 0 || !moves => String::new(),
        bytes if job.took_s >= 1.0 => format!(", {}, {}", amount(bytes), rate(bytes as f64 / job.took_s)),
        bytes => format!(", {}", amount(bytes)),
    };
    one_line(&format!("{done} {} in {}{bytes}", title(job), duration(job.took_s)))
}

fn title(job: &JobView) -> String {
    match &job.version {
        Some(version) => format!("{} {version}", job.name),
        None => job.name.clone(),
    }
}

fn state(job: &JobView) -> String {
    if job.state == "running" && !job.phase.is_empty() { job.phase.clone() } else { job.state.clone() }
}

fn is_running(job: &JobView) -> bool {
    matches!(job.state.as_str(), "running" | "waiting")
}

/// Whole percents; 100 only when everything is there.
fn percent(job: &JobView) -> Option<u64> {
    let percent = u128::from(job.bytes) * 100 / u128::from(Some(job.bytes_total).filter(|total| *total > 0)?);
    Some(u64::try_from(percent).unwrap_or(u64::MAX).min(100))
}

fn rate(rate: f64) -> String {
    if rate < 1.0 {
        return "-".to_owned();
    }
    amount(rate as u64) + "/s"
}

fn duration(duration_s: f64) -> String {
    if duration_s < 10.0 { format!("{:.1} s", duration_s.max(0.0)) } else { seconds(duration_s as u64) }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
