//! What is printed: fault, what must hold, what was measured, and whether it was kept.

use std::fmt::Write as _;

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) must: String,
    pub(crate) measured: String,
    /// `None`: it could not be tried here.
    pub(crate) kept: Option<bool>,
    /// What runs it again, if that is not all there is.
    pub(crate) command: String,
}

impl Row {
    pub(crate) fn new(fault: &str, must: impl Into<String>, measured: impl Into<String>, kept: bool) -> Self {
        Self {
            fault: fault.to_owned(),
            must: must.into(),
            measured: measured.into(),
            kept: Some(kept),
            command: String::new(),
        }
    }

    pub(crate) fn skipped(fault: &str, must: impl Into<String>, why: impl Into<String>) -> Self {
        Self { fault: fault.to_owned(), must: must.into(), measured: why.into(), kept: None, command: String::new() }
    }

    pub(crate) const fn word(&self) -> &'static str {
        match self.kept {
            Some(true) => "kept",
            Some(false) => "BROKEN",
            None => "skipped",
        }
    }
}

/// All of them, as a table of Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| fault | must hold | measured | | `e2e …` |\n|---|---|---|---|---|\n");
    for row in rows {
        let _ =
            writeln!(text, "| {} | {} | {} | {} | {} |", row.fault, row.must, row.measured, row.word(), row.command);
    }
    text
}
