//! `banyan library watch`: all jobs as they go on.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use tokio::time::{Instant, sleep};

use super::{
    bar::Bar,
    wait::{Pace, columns, is_running},
};
use crate::{
    cli::{
        args::Format,
        client::Client,
        exit::Outcome,
        render::library::{outcome, progress, task},
        show::{items, print},
        signals::Signals,
    },
    views::{
        View,
        library::{JobView, JobsView},
    },
};

/// Pause between two looks at the jobs.
const PAUSE: Duration = Duration::from_millis(500);
/// Most bars on the screen.
const BARS_MAX: usize = 16;
/// Time between two lines of a job where there is no terminal.
const LINES: Duration = Duration::from_secs(10);
/// Time between two lines of JSON of a job.
const JSON_LINES: Duration = Duration::from_secs(1);

/// Follows jobs until a signal comes or the node is gone. Of jobs that ended before, nothing is said.
pub(super) async fn watch(client: &Client, format: Format) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::new(format);
    loop {
        let jobs: JobsView = client.view("/v1/library/jobs").await?;
        screen.show(&jobs, Instant::now())?;
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = signals.next() => return Ok(()),
        }
    }
}

/// What is shown of the jobs that run.
#[derive(Debug)]
struct Screen {
    format: Format,
    bars: MultiProgress,
    columns: Option<usize>,
    /// The jobs that ran when they were looked at last.
    running: BTreeMap<u64, Shown>,
}

#[derive(Debug)]
struct Shown {
    bar: Option<Bar>,
    pace: Pace,
}

impl Screen {
    fn new(format: Format) -> Self {
        let columns = if format == Format::Table { columns() } else { None };
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self { format, bars, columns, running: BTreeMap::new() }
    }

    fn show(&mut self, jobs: &JobsView, now: Instant) -> Outcome {
        for job in jobs.jobs.iter().rev() {
            if is_running(job) {
                self.goes_on(job, now)?;
            } else if let Some(shown) = self.running.remove(&job.id) {
                if let Some(bar) = shown.bar {
                    bar.clear();
                }
                self.ended(job)?;
            }
        }
        // What the node says nothing of any more.
        self.running.retain(|id, _| jobs.jobs.iter().any(|job| job.id == *id));
        Ok(())
    }

    fn goes_on(&mut self, job: &JobView, now: Instant) -> Outcome {
        let bars = self.running.values().filter(|shown| shown.bar.is_some()).count();
        let every = if self.format == Format::Table { LINES } else { JSON_LINES };
        let shown = self.running.entry(job.id).or_insert_with(|| Shown { bar: None, pace: Pace::new(every, now) });
        match self.columns {
            Some(columns) => {
                if shown.bar.is_none() && bars < BARS_MAX {
                    shown.bar = Some(Bar::new(self.bars.add(ProgressBar::no_length()), columns));
                }
                if let Some(bar) = &shown.bar {
                    bar.show(job);
                }
                Ok(())
            }
            None if shown.pace.is_due(job, now) => self.line(job, &progress(job, None)),
            None => Ok(()),
        }
    }

    fn ended(&self, job: &JobView) -> Outcome {
        let text = match (&job.error, job.state.as_str()) {
            (Some(error), _) => format!("{}: {}", job.state, error.message),
            (None, "done") => outcome(job),
            (None, state) => state.to_owned(),
        };
        self.line(job, &text)
    }

    fn line(&self, job: &JobView, text: &str) -> Outcome {
        let line = match self.format {
            Format::Table => crate::cli::exit::one_line(&format!("job {}: {}: {text}", job.id, task(job))) + "\n",
            Format::Json | Format::Jsonl => items(JobView::SCHEMA, std::slice::from_ref(job)),
        };
        self.bars.suspend(|| print(&line))
    }
}
