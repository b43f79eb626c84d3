//! Read commands: a view is asked for and printed, once or again and again.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use super::{
    args::{Format, Show},
    exit::Outcome,
    render::style::Style,
    show::{client, document, print},
};
use crate::views::View;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// How to read.
#[derive(Debug, Args)]
pub(crate) struct Read {
    #[command(flatten)]
    pub(crate) show: Show,
    /// Look again every second: redraw on a terminal, else print what has changed
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Asks for a view and prints it: `table` for people, `lines` an item a line.
pub(crate) async fn read<T: View + DeserializeOwned + Clone>(
    args: &Read,
    path: &str,
    table: impl Fn(Style, &T) -> String,
    lines: impl Fn(&T) -> String,
) -> Outcome {
    read_part(args, path, |_| {}, table, lines).await
}

/// As [`read`], after `cut` has left of the view what is wanted.
pub(crate) async fn read_part<T: View + DeserializeOwned + Clone>(
    args: &Read,
    path: &str,
    cut: impl Fn(&mut T),
    table: impl Fn(Style, &T) -> String,
    lines: impl Fn(&T) -> String,
) -> Outcome {
    let client = client(&args.show)?;
    let text = |view: &T| match args.show.format {
        Format::Table => table(Style::of_stdout(), view),
        Format::Json => document(view.clone()),
        Format::Jsonl => lines(view),
    };
    let view = async || {
        let mut view: T = client.view(path).await?;
        cut(&mut view);
        Outcome::Ok(view)
    };
    if !args.watch {
        return print(&text(&view().await?));
    }
    let redraw = args.show.format == Format::Table && io::stdout().is_terminal();
    let mut seen = BTreeSet::new();
    loop {
        let view = view().await?;
        if redraw {
            print(&screen(&text(&view), rows()))?;
        } else if args.show.format == Format::Jsonl {
            let text = lines(&view);
            let now: Vec<(Value, &str)> = text.lines().map(|line| (timeless(line), line)).collect();
            let news = now.iter().filter(|(value, _)| !seen.contains(&value.to_string()));
            print(&news.map(|(_, line)| format!("{line}\n")).collect::<String>())?;
            seen = now.into_iter().map(|(value, _)| value.to_string()).collect();
        } else {
            let document = timeless(&document(view.clone())).to_string();
            if !seen.contains(&document) {
                print(&text(&view))?;
                seen = BTreeSet::from([document]);
            }
        }
        sleep(INTERVAL).await;
    }
}

/// A document without what changes by itself.
fn timeless(document: &str) -> Value {
    let mut value = serde_json::from_str(document).unwrap_or(Value::Null);
    if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
        data.remove("uptime_s");
    }
    value
}

/// Rows of the terminal.
fn rows() -> usize {
    rustix::termios::tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row)).max(2)
}

/// Text from the top of the screen on, cut to its rows.
fn screen(text: &str, rows: usize) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.len() >= rows {
        lines.truncate(rows - 2);
        lines.push("…");
    }
    let lines: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens_are_no_longer_than_the_terminal() {
        assert_eq!(screen("a\nb\n", 24), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(screen("a\nb\nc\nd\n", 4), "\x1b[Ha\x1b[K\nb\x1b[K\n…\x1b[K\n\x1b[J");
    }

    #[test]
    fn time_that_passes_is_no_change() {
        let at = |uptime: u64| timeless(&format!(r#"{{"schema":"s","data":{{"uptime_s":{uptime},"links":1}}}}"#));
        assert_eq!(at(1), at(2));
        assert_ne!(at(1), timeless(r#"{"schema":"s","data":{"links":2}}"#));
    }
}
