//! The last lines of the log, kept in memory for those who come late.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

/// Lines kept at most.
const LINES_MAX: usize = 2_000;

/// Bytes of them at most.
const BYTES_MAX: usize = 512 * 1024;

/// Longest part of a line that is kept, in characters.
const LINE_CHARS_MAX: usize = 1_024;

/// Of the whole process, as the log is.
static KEPT: Mutex<Kept> = Mutex::new(Kept { lines: VecDeque::new(), bytes: 0 });

#[derive(Debug)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, text: &str) {
        for line in text.lines() {
            let line = plain(&line.chars().take(LINE_CHARS_MAX).collect::<String>());
            self.bytes += line.len();
            self.lines.push_back(line);
        }
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes -= line.len();
        }
    }
}

/// Standard error, and what is written to it is kept. The log writes a line at a time.
#[derive(Debug)]
pub(crate) struct Tee;

/// A writer of the log.
pub(crate) const fn tee() -> Tee {
    Tee
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(&String::from_utf8_lossy(bytes));
        io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The last lines, the oldest first.
pub(crate) fn lines() -> Vec<String> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).lines.iter().cloned().collect()
}

/// A line without colours and other control characters.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut escaped = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => escaped = true,
            c if escaped => escaped = !c.is_ascii_alphabetic(),
            '\t' => plain.push(' '),
            c if c.is_control() => plain.push('?'),
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_within_bounds() {
        let mut kept = Kept { lines: VecDeque::new(), bytes: 0 };
        for nth in 0..5_000 {
            kept.push(&format!("line {nth}\n"));
        }
        assert_eq!((kept.lines.len(), kept.lines.back().map(String::as_str)), (LINES_MAX, Some("line 4999")));
        for _ in 0..1_000 {
            kept.push(&"é".repeat(2 * LINE_CHARS_MAX));
        }
        assert!(kept.bytes <= BYTES_MAX && kept.bytes == kept.lines.iter().map(String::len).sum::<usize>());
    }

    #[test]
    fn colours_are_not_kept() {
        assert_eq!(plain("\u{1b}[2m12:00\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m a\tb\u{7}"), "12:00  INFO a b?");
    }
}
