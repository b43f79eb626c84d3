use super::*;
use crate::views::{ErrorView, library::RootView};

fn version(version: &str, here: Option<&str>) -> VersionView {
    VersionView {
        version: version.to_owned(),
        package: format!("{version:0<64}"),
        bytes: 3 << 30,
        files: 12,
        peers: vec!["12D3KooWaaaaaaaa".to_owned(), "12D3KooWbbbbbbbb".to_owned()],
        partial: vec!["12D3KooWcccccccc".to_owned()],
        here: here.map(str::to_owned),
    }
}

fn library() -> LibraryView {
    let title = |name: &str, versions| TitleView { name: name.to_owned(), peers: 3, versions };
    LibraryView {
        roots: vec![RootView {
            path: "/srv/library".to_owned(),
            packages: 1,
            scanning: true,
            problems: vec!["bad\u{1b}[2J: no version".to_owned()],
        }],
        titles: vec![
            title("models", vec![version("2.0", None), version("1.9", Some("installed")), version("1.8", None)]),
            title("two words", vec![version("1", Some("complete"))]),
        ],
    }
}

fn running() -> JobView {
    let source = |label: Option<&str>, state: &str| SourceView {
        peer_id: "12D3KooWaaaaaaaa".to_owned(),
        label: label.map(str::to_owned),
        bytes: 512 << 20,
        rate: 64.0 * 1024.0 * 1024.0,
        state: state.to_owned(),
    };
    JobView {
        id: 7,
        kind: "get".to_owned(),
        name: "models".to_owned(),
        version: Some("2.0".to_owned()),
        package: Some(format!("{:0<64}", "2.0")),
        state: "running".to_owned(),
        phase: "fetching".to_owned(),
        bytes: 1 << 30,
        bytes_total: 3 << 30,
        duplicate_bytes: 0,
        rate: 128.0 * 1024.0 * 1024.0,
        eta_s: Some(75.0),
        took_s: 8.25,
        error: None,
        sources: vec![source(Some("kitchen"), "sending"), source(None, "quarantined: wrong bytes")],
    }
}

fn trimmed(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

#[test]
fn titles_are_a_row_each_with_what_is_here_d3() {
    let expected = "\
NAME       VERSION  SIZE     PEERS  HERE
models     2.0 +2   3.0 GiB  3      installed 1.9
two words  1        3.0 GiB  3      complete
/srv/library: 1 package, being read
  bad?[2J: no version
";
    assert_eq!(titles(Style::PLAIN, &library()), expected);
    let empty = LibraryView { roots: Vec::new(), titles: Vec::new() };
    assert_eq!(titles(Style::PLAIN, &empty), "no package is known\n");
}

#[test]
fn versions_are_a_row_each_d3() {
    let library = library();
    let expected = "\
NAME    VERSION  PACKAGE       SIZE     FILES  PEERS  HERE
models  2.0      2.0000000000  3.0 GiB  12     2 +1   -
models  1.9      1.9000000000  3.0 GiB  12     2 +1   installed
models  1.8      1.8000000000  3.0 GiB  12     2 +1   -
";
    assert_eq!(versions(Style::PLAIN, &library.titles[..1]), expected);
    assert_eq!(versions(Style::PLAIN, &[]), "no such title is known\n");
}

#[test]
fn lines_fit_narrow_terminals() {
    let style = Style { colours: false, width: Some(30) };
    let texts = [
        titles(style, &library()),
        jobs(style, &JobsView { jobs: vec![running()] }),
        job(style, &running()),
        explanation(style, &explained()),
    ];
    for line in texts.iter().flat_map(|text| text.lines()) {
        assert!(line.chars().count() <= 30, "{line}");
    }
}

fn explained() -> ExplainView {
    ExplainView {
        id: 7,
        why: "disk".to_owned(),
        text: "the disk writes 80 MiB/s and all else waits for it".to_owned(),
        hint: Some("fetch into a folder on a faster disk".to_owned()),
    }
}

#[test]
fn explanations_are_a_sentence_and_a_hint_d12() {
    let expected = "\
job 7: the disk writes 80 MiB/s and all else waits for it
hint: fetch into a folder on a faster disk
";
    assert_eq!(explanation(Style::PLAIN, &explained()), expected);
}

#[test]
fn package_says_who_has_it() {
    let view = PackageView { name: "models".to_owned(), version: version("2.0", None), path: None };
    let text = package(Style::PLAIN, &view);
    assert!(text.contains("size     3.0 GiB in 12 files\n"), "{text}");
    assert!(text.contains("peers    aaaaaaaa bbbbbbbb\n") && text.contains("partial  cccccccc\n"), "{text}");
}

#[test]
fn jobs_show_progress_rate_and_sources_d12() {
    let mut done = running();
    (done.id, done.state, done.bytes, done.took_s) = (6, "done".to_owned(), done.bytes_total, 24.0);
    let expected = "\
JOB  KIND  PACKAGE     STATE     DONE   RATE         TO GO       TOOK
7    get   models 2.0  fetching  33 %   128.0 MiB/s  1 min 15 s  8.2 s
6    get   models 2.0  done      100 %  -            -           24 s
";
    assert_eq!(jobs(Style::PLAIN, &JobsView { jobs: vec![running(), done] }), expected);
    let expected = "\
job      7
kind     get
name     models
version  2.0
package  2.00000000000000000000000000000000000000000000000000000000000000
state    fetching
done     1.0 GiB of 3.0 GiB, 33 %
rate     128.0 MiB/s
to go    1 min 15 s
took     8.2 s

SOURCE    BYTES      RATE        STATE
kitchen   512.0 MiB  64.0 MiB/s  sending
aaaaaaaa  512.0 MiB  64.0 MiB/s  quarantined: wrong bytes
";
    assert_eq!(trimmed(&job(Style::PLAIN, &running())), trimmed(expected));
}

#[test]
fn failed_job_says_why_and_what_to_do() {
    let error = ErrorView {
        code: "disk_full".to_owned(),
        message: "the disk is full".to_owned(),
        hint: Some("make room".to_owned()),
        details: Default::default(),
    };
    let failed = JobView { state: "failed".to_owned(), error: Some(error), ..running() };
    let text = job(Style::PLAIN, &failed);
    assert!(
        text.contains("state    failed\n") && text.contains("error  the disk is full\nhint   make room\n"),
        "{text}"
    );
}

#[test]
fn progress_is_one_line_as_long_as_there_is_room_d12() {
    let job = running();
    assert_eq!(task(&job), "get models 2.0");
    assert_eq!(progress(&job, None), "33 %, 1.0 GiB of 3.0 GiB, 128.0 MiB/s, 1 min 15 s to go, 1 source");
    assert_eq!(progress(&job, Some(70)), "33 %, 128.0 MiB/s, 1 min 15 s to go");
    assert_eq!(progress(&job, Some(40)), "33 %");
    let waiting = JobView { state: "waiting".to_owned(), rate: 0.0, eta_s: None, sources: Vec::new(), ..job.clone() };
    assert_eq!(progress(&waiting, Some(40)), "33 %, waiting");
    let first = JobView { phase: "manifest".to_owned(), bytes_total: 0, rate: 0.0, eta_s: None, ..waiting };
    assert_eq!(progress(&JobView { state: "running".to_owned(), ..first }, None), "manifest");
}

#[test]
fn outcome_is_a_sentence() {
    let done = JobView { bytes: 3 << 30, took_s: 24.0, ..running() };
    assert_eq!(outcome(&done), "fetched models 2.0 in 24 s, 3.0 GiB, 128.0 MiB/s");
    let removed = JobView { kind: "remove".to_owned(), version: None, took_s: 0.01, ..done };
    assert_eq!(outcome(&removed), "removed models in 0.0 s");
}

#[test]
fn percents_never_round_up() {
    let mut job = running();
    job.bytes = job.bytes_total - 1;
    assert_eq!(percent(&job), Some(99));
    (job.bytes, job.bytes_total) = (u64::MAX, 1);
    assert_eq!(percent(&job), Some(100));
    job.bytes_total = 0;
    assert_eq!(percent(&job), None);
}
