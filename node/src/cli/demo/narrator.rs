//! Tells what happens, as it happens.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use tokio::time::Instant;

use super::args::ReportFormat;
use crate::cli::render::style::{Paint, Style};

/// Time between two lines of progress where they are not written over each other.
const PROGRESS: Duration = Duration::from_secs(1);

/// Writes to standard output, or to standard error where a JSON report follows. That nobody reads
/// it is no reason to stop.
#[derive(Debug)]
pub(super) struct Narrator {
    to_stderr: bool,
    pub(super) style: Style,
    /// Whether a line of progress is shown that the next line replaces.
    open: bool,
    last_progress: Option<Instant>,
    start: Instant,
}

impl Narrator {
    pub(super) fn new(format: ReportFormat) -> Self {
        let to_stderr = format == ReportFormat::Json;
        let style = if to_stderr { Style { colours: false, width: None } } else { Style::of_stdout() };
        Self { to_stderr, style, open: false, last_progress: None, start: Instant::now() }
    }

    /// Says something, after the time since the start.
    pub(super) fn say(&mut self, paint: Paint, text: &str) {
        let time = format!("{:7.3}  ", self.start.elapsed().as_secs_f64());
        let line = self.style.line(&[(Paint::Dim, time), (paint, text.to_owned())]);
        self.write(&format!("{line}\n"));
    }

    /// Shows text as it is.
    pub(super) fn show(&mut self, text: &str) {
        self.write(&format!("\n{text}\n"));
    }

    /// Shows how far things are.
    pub(super) fn progress(&mut self, text: &str) {
        let now = Instant::now();
        if !self.to_stderr && io::stdout().is_terminal() {
            let time = format!("{:7.3}  ", self.start.elapsed().as_secs_f64());
            let line = self.style.line(&[(Paint::Dim, time), (Paint::Plain, text.to_owned())]);
            self.write(&line);
            self.open = true;
        } else if self.last_progress.is_none_or(|last| now - last >= PROGRESS) {
            self.last_progress = Some(now);
            self.say(Paint::Plain, text);
        }
    }

    fn write(&mut self, text: &str) {
        let over = if std::mem::take(&mut self.open) { "\r\x1b[K" } else { "" };
        let text = format!("{over}{text}");
        let _ = if self.to_stderr {
            io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
    }
}
