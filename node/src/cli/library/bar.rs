//! Progress on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::render::library::{progress, task},
    views::library::JobView,
};

/// Terminals below this width have no room for a bar, in columns.
const NARROW: usize = 60;

/// A job as a bar; where its size is not known, as a line with a spinner.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    columns: usize,
}

impl Bar {
    /// Draws with `bar` in lines of so many columns.
    pub(super) fn new(bar: ProgressBar, columns: usize) -> Self {
        Self { bar, columns }
    }

    pub(super) fn show(&self, job: &JobView) {
        let template = match job.bytes_total {
            0 => "{spinner} {prefix} {msg}",
            _ if self.columns < NARROW => "{prefix} {msg}",
            _ => "{prefix} {wide_bar} {msg}",
        };
        self.bar.set_style(ProgressStyle::with_template(template).expect("it is well formed"));
        self.bar.set_prefix(task(job));
        self.bar.set_message(progress(job, Some(self.columns)));
        self.bar.set_length(job.bytes_total.max(1));
        self.bar.set_position(job.bytes.min(job.bytes_total));
        self.bar.tick();
    }

    /// Takes it from the screen.
    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }
}
