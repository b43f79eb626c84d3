//! Help, and arguments that cannot be understood.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{
    exit::{Exit, Failure, one_line},
    show,
};

/// Whether errors are to be JSON, as far as arguments tell that were not understood yet.
pub(super) fn wants_json(words: &[OsString]) -> bool {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let is_json = |format: &str| matches!(format, "json" | "jsonl");
    let apart = words.windows(2).any(|pair| pair[0] == "--format" && is_json(pair[1]));
    apart || words.iter().filter_map(|word| word.strip_prefix("--format=")).any(is_json)
}

/// Prints help, or what is wrong with the arguments.
pub(super) fn answer(error: &clap::Error, json: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // With colours where they are shown, as clap decides.
            if let Err(error) = error.print()
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                return show::print("").map_or_else(|failure| failure.print(json), |()| Exit::Internal);
            }
            Exit::Ok
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => failure(error).print(json),
    }
}

pub(super) fn failure(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let hint = match (tip, error.get(ContextKind::Usage)) {
        (Some(tip), _) => tip.to_owned(),
        (None, Some(ContextValue::StyledStr(usage))) => {
            let usage = one_line(&usage.to_string());
            usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned() + " (see --help)"
        }
        _ => "see --help".to_owned(),
    };
    Failure::usage(one_line(message), hint)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    fn failed(line: &str) -> (String, String) {
        let error = Cli::try_parse_from(line.split(' ')).expect_err("it is wrong");
        let view = failure(&error).view;
        (view.message, view.hint.unwrap_or_default())
    }

    #[test]
    fn errors_are_one_line_with_a_hint() {
        for line in [
            "banyan fly",
            "banyan publish",
            "banyan publish a..b",
            "banyan publish a --framing x",
            "banyan publish a --framng x",
            "banyan status --format",
            "banyan status --format xml",
            "banyan run --capacity -1",
        ] {
            let (message, hint) = failed(line);
            assert!(
                !message.is_empty() && !message.contains('\n') && !message.starts_with("error"),
                "{line}: {message}"
            );
            assert!(!hint.is_empty() && !hint.contains('\n'), "{line}: {hint}");
        }
        let (message, _) = failed("banyan publish a..b");
        assert!(message.contains("track name \"a..b\" is not valid"), "{message}");
        assert!(failed("banyan publish a --framng x").1.contains("--framing"));
    }

    #[test]
    fn json_is_wanted_where_the_format_says_so() {
        let wants = |line: &str| wants_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert!(wants("banyan status --format json"));
        assert!(wants("banyan nonsense --format=jsonl"));
        assert!(!wants("banyan status --format table"));
        assert!(!wants("banyan publish -- --format json"));
    }
}
