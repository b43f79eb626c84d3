//! Columns of text.

use super::style::{Paint, Style};

/// Rows under headings, in columns as wide as they need to be. Control characters, which peers may
/// have put into what they say of themselves, never reach the terminal.
pub(crate) fn table(style: Style, headings: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |text: &String| text.replace(char::is_control, "?");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        cells.chain([headings[column]]).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |paint: Paint, cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  "));
        style.line(&[(paint, padded.collect())]) + "\n"
    };
    let mut text = line(Paint::Bold, headings);
    for row in &rows {
        text.push_str(&line(Paint::Plain, &row.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    text
}

/// Names and values, one pair a line.
pub(crate) fn pairs(style: Style, pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(&str, String)| {
        let value = value.replace(|c: char| c.is_control(), "?");
        style.line(&[(Paint::Dim, format!("{name:width$}  ")), (Paint::Plain, value)]) + "\n"
    };
    pairs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["évil\u{1b}[2J".to_owned(), "22".to_owned()]];
        assert_eq!(table(Style::PLAIN, &["NAME", "N"], &rows), "NAME      N\na         1\névil?[2J  22\n");
        assert_eq!(pairs(Style::PLAIN, &[("a", "1".to_owned()), ("long", "2".to_owned())]), "a     1\nlong  2\n");
    }
}
