//! Waiting for a job, and saying how far it is.

use std::{
    env,
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget};
use tokio::time::{Instant, sleep};

use super::bar::Bar;
use crate::{
    cli::{
        args::Format,
        client::Client,
        exit::{Exit, Failure, Outcome},
        render::library::{outcome, progress, task},
        show::{document, items, print},
        signals::Signals,
    },
    views::{View, library::JobView},
};

/// First pause between two looks at a job; each is twice as long as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Longest pause between two looks at a job.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);
/// Time between two lines of JSON.
const JSON_LINES: Duration = Duration::from_secs(1);

/// Waits until a job has ended. A signal ends the waiting, not the job.
pub(super) async fn wait(client: &Client, mut job: JobView, format: Format) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut report = Report::new(format);
    let mut pause = PAUSE_FIRST;
    while is_running(&job) {
        report.show(&job)?;
        tokio::select! {
            () = sleep(pause) => {}
            () = signals.next() => {
                report.end();
                return Err(interrupted(job.id));
            }
        }
        pause = (pause * 2).min(PAUSE_MAX);
        job = client.view(&format!("/v1/library/jobs/{}", job.id)).await?;
    }
    report.end();
    ended(job, format)
}

/// Whether a job goes on.
pub(super) fn is_running(job: &JobView) -> bool {
    matches!(job.state.as_str(), "running" | "waiting")
}

/// What a job comes to.
fn ended(job: JobView, format: Format) -> Outcome {
    match (job.state.as_str(), job.error) {
        ("done", _) => {
            let job = JobView { error: None, ..job };
            match format {
                Format::Table => print(&(outcome(&job) + "\n")),
                Format::Json => print(&document(job)),
                Format::Jsonl => print(&items(JobView::SCHEMA, &[job])),
            }
        }
        ("cancelled", _) => Err(Failure::new(
            Exit::Partial,
            format!("job {} was cancelled", job.id),
            "what it had done is undone; ask for it again",
        )),
        (_, Some(error)) => Err(error.into()),
        (state, None) => {
            Err(Failure::internal(format!("job {} is {state}", job.id), "use the same version of banyan for both"))
        }
    }
}

fn interrupted(id: u64) -> Failure {
    let hint = format!("see it with `banyan library jobs {id}`, or stop it with `banyan library cancel {id}`");
    Failure::new(Exit::Partial, format!("not waiting any longer; job {id} goes on"), hint)
}

/// Where progress goes: a bar, lines on standard error, JSON on standard output, or nowhere.
#[derive(Debug)]
enum Report {
    Bar(Bar),
    Lines(Pace),
    JsonLines(Pace),
    Nothing,
}

impl Report {
    fn new(format: Format) -> Self {
        let now = Instant::now();
        match (format, columns()) {
            (Format::Table, Some(columns)) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
                Self::Bar(Bar::new(bar, columns))
            }
            (Format::Table, None) => Self::Lines(Pace::new(LINES, now + LINES)),
            (Format::Json, _) => Self::Nothing,
            (Format::Jsonl, _) => Self::JsonLines(Pace::new(JSON_LINES, now)),
        }
    }

    fn show(&mut self, job: &JobView) -> Outcome {
        match self {
            Self::Bar(bar) => bar.show(job),
            Self::Lines(pace) => {
                if pace.is_due(job, Instant::now()) {
                    eprintln!("{}: {}", task(job), progress(job, None));
                }
            }
            Self::JsonLines(pace) => {
                if pace.is_due(job, Instant::now()) {
                    return print(&items(JobView::SCHEMA, std::slice::from_ref(job)));
                }
            }
            Self::Nothing => {}
        }
        Ok(())
    }

    fn end(self) {
        if let Self::Bar(bar) = self {
            bar.clear();
        }
    }
}

/// Columns of the terminal that standard error is; `None` if it is none that can draw.
pub(super) fn columns() -> Option<usize> {
    let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    if dumb || !io::stderr().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0).or(Some(80))
}

/// When a line is due: each time that a job begins or ceases to wait, and now and then.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    next: Instant,
    waiting: bool,
}

impl Pace {
    pub(super) const fn new(every: Duration, first: Instant) -> Self {
        Self { every, next: first, waiting: false }
    }

    pub(super) fn is_due(&mut self, job: &JobView, now: Instant) -> bool {
        let waiting = job.state == "waiting";
        let due = now >= self.next || waiting != self.waiting;
        self.waiting = waiting;
        if due {
            self.next = now + self.every;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::ErrorView;

    fn job(state: &str) -> JobView {
        JobView {
            id: 7,
            kind: "get".to_owned(),
            name: "a".to_owned(),
            version: None,
            package: None,
            state: state.to_owned(),
            phase: "fetching".to_owned(),
            bytes: 0,
            bytes_total: 0,
            duplicate_bytes: 0,
            rate: 0.0,
            eta_s: None,
            took_s: 0.0,
            error: None,
            sources: Vec::new(),
        }
    }

    #[test]
    fn lines_come_now_and_then_and_when_a_job_begins_to_wait_d12() {
        let start = Instant::now();
        let mut pace = Pace::new(LINES, start + LINES);
        let mut due = |state, seconds| pace.is_due(&job(state), start + Duration::from_secs(seconds));
        assert!(!due("running", 0));
        assert!(!due("running", 9));
        assert!(due("running", 10));
        assert!(!due("running", 19));
        assert!(due("waiting", 19));
        assert!(!due("waiting", 20));
        assert!(due("running", 21));
        assert!(due("running", 31));
    }

    #[test]
    fn exit_code_tells_how_the_job_ended() {
        let exit = |job| ended(job, Format::Json).map_err(|failure| failure.exit as u8);
        assert_eq!(exit(job("cancelled")), Err(9));
        assert_eq!(exit(job("failed")), Err(1));
        for (code, expected) in [("disk_full", 9), ("bad_package", 8), ("no_source", 3), ("busy", 7), ("io", 1)] {
            let error =
                ErrorView { code: code.to_owned(), message: "x".to_owned(), hint: None, details: Default::default() };
            assert_eq!(exit(JobView { error: Some(error), ..job("failed") }), Err(expected), "{code}");
        }
    }

    #[test]
    fn who_interrupts_is_told_that_the_job_goes_on() {
        let failure = interrupted(7);
        assert_eq!(failure.exit, Exit::Partial);
        assert!(failure.view.message.contains("job 7 goes on"));
        assert!(failure.view.hint.is_some_and(|hint| hint.contains("banyan library cancel 7")));
    }
}
