//! Colours and widths of the terminal, if there is one.

use std::{
    env,
    io::{self, IsTerminal},
};

/// What standard output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) colours: bool,
    /// Columns; `None` where lines may have any length.
    pub(crate) width: Option<usize>,
}

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Cyan,
}

/// Pieces of text that make a line.
pub(crate) type Line = Vec<(Paint, String)>;

impl Style {
    /// Without colours, in lines of any length: for pipes and files.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colours: false, width: None };

    /// What standard output can show, as `NO_COLOR`, `TERM` and `COLUMNS` have it.
    pub(crate) fn of_stdout() -> Self {
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = io::stdout().is_terminal();
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let given = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let size = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        let width = if terminal { given.or_else(size) } else { None };
        Self { colours: terminal && !dumb && !is_set("NO_COLOR"), width: width.filter(|width| *width > 0) }
    }

    /// The line as text, cut to the width, without trailing space.
    pub(crate) fn line(self, pieces: &[(Paint, String)]) -> String {
        let length: usize = pieces.iter().map(|(_, text)| text.chars().count()).sum();
        let cut = self.width.filter(|width| length > *width);
        let mut room = cut.map_or(usize::MAX, |width| width - 1);
        let mut line = String::new();
        for (paint, text) in pieces {
            let fitting: String = text.chars().take(room).collect();
            room -= fitting.chars().count();
            line.push_str(&self.paint(*paint, &fitting));
        }
        if cut.is_some() {
            line.push('…');
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// A piece of text, coloured if colours are shown.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Cyan => "36",
            Paint::Plain => return text.to_owned(),
        };
        if !self.colours || text.is_empty() {
            return text.to_owned();
        }
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: Style) -> String {
        style.line(&[
            (Paint::Plain, "├─ ".to_owned()),
            (Paint::Cyan, "relay".to_owned()),
            (Paint::Dim, " x ".to_owned()),
        ])
    }

    #[test]
    fn pipes_get_whole_lines_without_colours() {
        assert_eq!(line(Style::PLAIN), "├─ relay x");
    }

    #[test]
    fn terminals_get_colours_and_lines_that_fit() {
        assert_eq!(line(Style { colours: true, width: None }), "├─ \x1b[36mrelay\x1b[0m\x1b[2m x \x1b[0m");
        assert_eq!(line(Style { colours: false, width: Some(6) }), "├─ re…");
        assert_eq!(line(Style { colours: true, width: Some(6) }), "├─ \x1b[36mre\x1b[0m…");
        assert_eq!(line(Style { colours: false, width: Some(11) }), "├─ relay x");
        assert_eq!(line(Style { colours: false, width: Some(1) }), "…");
    }
}
