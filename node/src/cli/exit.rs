//! How a command ends: exit codes, and errors of one line with a hint.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::{
    BuildError,
    api::{http::HttpError, socket::SocketError},
    views::{ErrorView, View},
};

/// What the shell gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Internal = 1,
    Usage = 2,
    NotFound = 3,
    Unreachable = 4,
    Denied = 5,
    Timeout = 6,
    Conflict = 7,
    Integrity = 8,
    Partial = 9,
    Degraded = 10,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) view: ErrorView,
}

/// What a command comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let code = match exit {
            Exit::Ok => "ok",
            Exit::Internal => "internal",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::Unreachable => "unreachable",
            Exit::Denied => "denied",
            Exit::Timeout => "timeout",
            Exit::Conflict => "conflict",
            Exit::Integrity => "integrity",
            Exit::Partial => "partial",
            Exit::Degraded => "degraded",
        };
        let view = ErrorView {
            code: code.to_owned(),
            message: message.into(),
            hint: Some(hint.into()),
            details: Default::default(),
        };
        Self { exit, view }
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message, hint)
    }

    pub(crate) fn internal(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Internal, message, hint)
    }

    /// Prints the failure on standard error, as text or JSON, each part on one line.
    pub(crate) fn print(self, json: bool) -> Exit {
        let exit = self.exit;
        let mut stderr = io::stderr().lock();
        // Nobody is left to be told when standard error is gone.
        let _ = if json {
            let view = serde_json::to_string(&self.view.enveloped()).expect("an error view has text keys only");
            writeln!(stderr, "{view}")
        } else {
            let hint = self.view.hint.map(|hint| format!("\nhint: {}", one_line(&hint))).unwrap_or_default();
            writeln!(stderr, "error: {}{hint}", one_line(&self.view.message))
        };
        exit
    }
}

/// Outside text as one line without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(char::is_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").replace(char::is_control, "?")
}

/// An error that the node answered with.
impl From<ErrorView> for Failure {
    fn from(view: ErrorView) -> Self {
        let exit = match view.code.as_str() {
            "invalid_name" | "invalid_argument" | "object_too_large" | "ambiguous" | "bad_root" => Exit::Usage,
            "unknown_track" | "unknown_peer" | "not_found" | "no_source" | "no_library" => Exit::NotFound,
            "shutting_down" | "too_many_connections" | "unavailable" | "not_joined" => Exit::Unreachable,
            "already_published" | "conflict" | "taken_over" | "too_many_tracks" | "too_many_events" | "busy"
            | "not_installed" | "not_owned" | "not_configurable" => Exit::Conflict,
            "forbidden" => Exit::Denied,
            "timeout" => Exit::Timeout,
            "truncated" | "bad_package" => Exit::Integrity,
            "disk_full" | "cancelled" | "push_failed" | "pusher_gone" => Exit::Partial,
            _ => Exit::Internal,
        };
        Self { exit, view }
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::new(io_exit(&error.source), error.to_string(), "choose another --http address")
    }
}

impl From<SocketError> for Failure {
    fn from(error: SocketError) -> Self {
        let message = error.to_string();
        match error {
            SocketError::Live(_) => {
                Self::new(Exit::Conflict, message, "stop it first, or choose another --socket or --mesh")
            }
            SocketError::NotASocket(_) => Self::new(Exit::Conflict, message, "remove it, or choose another --socket"),
            SocketError::TooLong(_) => Self::usage(message, "choose a shorter --socket"),
            SocketError::ForeignFolder(_) => Self::new(Exit::Denied, message, "choose another --socket"),
            SocketError::Io { source, .. } => Self::new(io_exit(&source), message, "choose another --socket"),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        let message = error.to_string();
        match error {
            BuildError::DataDirBusy(_) => {
                Self::new(Exit::Conflict, message, "stop that node first, or choose another --data-dir")
            }
            BuildError::DataDir { source, .. } => {
                let hint = match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
                    io::ErrorKind::PermissionDenied => "it must be yours to write; choose another --data-dir",
                    _ => "choose another --data-dir",
                };
                Self::new(io_exit(&source), message, hint)
            }
            BuildError::KeyFile(_) => {
                Self::new(Exit::Denied, message, "make one with `banyan key new FILE`, or copy that of another node")
            }
            BuildError::Identity { .. } => {
                Self::new(Exit::Integrity, message, "restore it from a copy, or remove it to become a new peer")
            }
            BuildError::Address { .. } => {
                Self::usage(message, "write /ip4/10.0.0.7/tcp/4001 or, to bootstrap, host:port")
            }
            BuildError::Tags(_) => Self::usage(message, "write --tag KEY=VALUE"),
            BuildError::Library { ref reason, .. } if reason.contains("has it open") => {
                Self::new(Exit::Conflict, message, "stop the node that shares it, or choose another folder")
            }
            BuildError::Library { .. } => Self::usage(message, "choose a folder that is there and yours to write"),
            BuildError::Listen { ref reason, .. } => {
                let reason = reason.to_lowercase();
                if reason.contains("in use") {
                    Self::new(Exit::Conflict, message, "choose another port, or port 0 for any free one")
                } else if reason.contains("denied") {
                    Self::new(Exit::Denied, message, "choose a port above 1023")
                } else {
                    Self::usage(message, "listen on an address of this machine, for example /ip4/0.0.0.0/tcp/4001")
                }
            }
        }
    }
}

fn io_exit(error: &io::Error) -> Exit {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        io::ErrorKind::AddrInUse => Exit::Conflict,
        _ => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str) -> u8 {
        let view = ErrorView { code: code.to_owned(), message: String::new(), hint: None, details: Default::default() };
        Failure::from(view).exit as u8
    }

    #[test]
    fn answers_of_the_node_have_their_exit_codes() {
        let codes = [
            ("invalid_name", 2),
            ("unknown_track", 3),
            ("shutting_down", 4),
            ("already_published", 7),
            ("truncated", 8),
            ("not_found", 3),
            ("not_installed", 7),
            ("bad_package", 8),
            ("disk_full", 9),
            ("from the future", 1),
        ];
        for (code, exit) in codes {
            assert_eq!(answered(code), exit, "{code}");
        }
    }

    #[test]
    fn failed_starts_have_their_exit_codes() {
        let listen = |reason: &str| BuildError::Listen { address: "a".to_owned(), reason: reason.to_owned() };
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let starts = [
            (BuildError::DataDirBusy("x".into()), 7),
            (BuildError::DataDir { path: "x".into(), source: denied }, 5),
            (BuildError::DataDir { path: "x".into(), source: full }, 1),
            (BuildError::Identity { path: "x".into(), reason: "y".to_owned() }, 8),
            (BuildError::Address { address: "x".to_owned(), reason: "y".to_owned() }, 2),
            (listen("Address already in use (os error 98)"), 7),
            (listen("Permission denied (os error 13)"), 5),
            (listen("Cannot assign requested address"), 2),
        ];
        for (error, exit) in starts {
            let failure = Failure::from(error);
            assert_eq!(failure.exit as u8, exit, "{}", failure.view.message);
            assert!(failure.view.hint.is_some_and(|hint| !hint.is_empty()));
        }
        assert_eq!(Failure::from(SocketError::Live("x".into())).exit as u8, 7);
        assert_eq!(Failure::from(SocketError::TooLong("x".into())).exit as u8, 2);
    }

    #[test]
    fn messages_are_one_line() {
        assert_eq!(one_line("a\n  b\tc \u{7}"), "a b c ?");
    }
}
