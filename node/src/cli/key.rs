//! `banyan key` and `banyan invite`: who is admitted to the mesh.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use hyper::Method;

use super::{
    args::Show,
    exit::{Exit, Failure, Outcome},
    render::style::{Paint, Style},
    show::{client, items, print, shown},
    watch::{Read, read},
};
use crate::{
    admission::{Fingerprint, MeshKey, Token},
    api::query::unit_seconds,
    net::{self, keys, system::random, types::JoinError},
    views::{
        View,
        keys::{InstallRequest, InviteRequest, InviteView, KeysView},
    },
};

/// Longest text of a key on standard input, in bytes.
const KEY_BYTES_MAX: u64 = 4096;

#[derive(Debug, Args)]
#[command(after_help = KEY_EXAMPLES)]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a mesh key: print it, or write it to a file that only you can read
    New {
        /// The file, which must not be there yet
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show which keys the running node accepts, and which one it uses
    List(Read),
    /// Accept one more key
    Install {
        /// A file with the key; - is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        show: Show,
    },
    /// Use an accepted key from now on
    Use(Named),
    /// No longer accept a key
    Remove(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The key's fingerprint, as `banyan key list` shows it
    #[arg(value_name = "FINGERPRINT", value_parser = parse_fingerprint)]
    key: Fingerprint,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, Args)]
#[command(after_help = INVITE_EXAMPLES)]
pub(crate) struct Invite {
    /// For how long the invitation is good: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    expires: Duration,
    /// How many nodes it admits
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    #[command(flatten)]
    show: Show,
}

/// Carries out `banyan key`.
pub(crate) async fn key(Key { action }: Key) -> Outcome {
    match action {
        Action::New { file } => new(file.as_deref()),
        Action::List(how) => {
            read(&how, "/v1/keys", table, |keys| items(KeysView::SCHEMA, std::slice::from_ref(keys))).await
        }
        Action::Install { file, show } => {
            let key = read_key(&file)?;
            let request = InstallRequest { key: key.to_text() };
            let keys: KeysView = client(&show)?.send(Method::POST, "/v1/keys", Some(&request)).await?;
            shown(show.format, keys, table)
        }
        Action::Use(Named { key, show }) => {
            let path = format!("/v1/keys/{key}/use");
            let keys: KeysView = client(&show)?.send(Method::POST, &path, None::<&()>).await?;
            shown(show.format, keys, table)
        }
        Action::Remove(Named { key, show }) => {
            let path = format!("/v1/keys/{key}");
            let keys: KeysView = client(&show)?.send(Method::DELETE, &path, None::<&()>).await?;
            shown(show.format, keys, table)
        }
    }
}

/// Carries out `banyan invite`.
pub(crate) async fn invite(Invite { expires, uses, show }: Invite) -> Outcome {
    let request = InviteRequest { expires_s: expires.as_secs(), uses };
    let invitation: InviteView = client(&show)?.send(Method::POST, "/v1/invitations", Some(&request)).await?;
    shown(show.format, invitation, |_, invitation| format!("{}\n", invitation.token))
}

/// Takes up an invitation before the node starts.
pub(crate) async fn join(token: &Token, data_dir: &Path) -> Outcome {
    match net::join::join(token, data_dir).await {
        Ok(true) => tracing::info!(inviter = %token.inviter, "the invitation was taken up"),
        Ok(false) => tracing::info!("this node has joined before: the invitation was not needed"),
        Err(error) => {
            let message = error.to_string();
            return Err(match error {
                JoinError::Refused => Failure::new(Exit::Denied, message, "ask for another one: `banyan invite`"),
                JoinError::Unreachable { .. } => {
                    Failure::new(Exit::Unreachable, message, "does that node run, and can this machine reach it?")
                }
                JoinError::File(_) => Failure::new(Exit::Denied, message, "choose another --data-dir"),
            });
        }
    }
    Ok(())
}

fn new(file: Option<&Path>) -> Outcome {
    let random = random().map_err(|error| Failure::internal(error.to_string(), "the system gives no random bytes"))?;
    let key = MeshKey::from_bytes(random);
    let Some(file) = file else { return print(&format!("{}\n", key.to_text())) };
    if fs::symlink_metadata(file).is_ok() {
        let message = format!("{} is there already", file.display());
        return Err(Failure::new(
            Exit::Conflict,
            message,
            "a key that is lost cannot be made again: name another file",
        ));
    }
    keys::save_keys(file, &[key])
        .map_err(|error| Failure::new(Exit::Denied, error.to_string(), "name a file in a folder that you may write"))
}

fn read_key(file: &Path) -> Outcome<MeshKey> {
    let bad = |reason: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {reason}", file.display()), "make a key with `banyan key new FILE`")
    };
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => io::stdin().lock().take(KEY_BYTES_MAX).read_to_string(&mut text),
        false => fs::File::open(file).and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text)),
    };
    read.map_err(|error| bad(&error))?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.unwrap_or_default().parse().map_err(|error| bad(&error))
}

fn table(style: Style, keys: &KeysView) -> String {
    let mut text = match keys.keys.is_empty() {
        true => format!("mesh {} is open: it has no key\n", keys.mesh),
        false => format!("mesh {} admits who has one of these keys\n", keys.mesh),
    };
    for key in &keys.keys {
        let used = if key.in_use { "  in use" } else { "" };
        text += &style.line(&[
            (Paint::Plain, "  ".to_owned()),
            (Paint::Bold, key.key.clone()),
            (Paint::Plain, used.to_owned()),
        ]);
        text.push('\n');
    }
    if let Some(path) = &keys.kept_in {
        text += &format!("kept in {path}\n");
    }
    text += &format!(
        "{} invitations wait; {} connections refused, {} not listened to\n",
        keys.invitations, keys.refused, keys.ignored
    );
    text
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint, String> {
    text.parse().map_err(|()| "a fingerprint has eight hexadecimal digits".to_owned())
}

/// A number and a unit: `s`, `m`, `h` or `d`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let rule = "write a number and s, m, h or d: 90s, 30m, 24h, 7d";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(rule)?;
    let seconds = unit_seconds(unit).ok_or(rule)?;
    let number: u64 = number.parse().map_err(|_| rule)?;
    number
        .checked_mul(seconds)
        .filter(|time| (1..=365 * 86400).contains(time))
        .map(Duration::from_secs)
        .ok_or_else(|| "an invitation is good for 1 s to 365 days".to_owned())
}

const KEY_EXAMPLES: &str = "EXAMPLES:
  banyan key new ~/mesh.key                       make a key; copy the file to every machine
  banyan run --key-file ~/mesh.key                admit only who has it
  banyan key list                                 which keys this node accepts

CHANGE A KEY, WITHOUT A BREAK, ON EVERY MACHINE IN TURN:
  banyan key install new.key                      first everywhere,
  banyan key use FINGERPRINT                      then this everywhere,
  banyan key remove FINGERPRINT                   then this, of the old one";

const INVITE_EXAMPLES: &str = "EXAMPLES:
  banyan invite                                   a token for one node, good for a day
  banyan invite --uses 20 --expires 7d
  banyan run --join TOKEN                         on the machine that is invited

The token is a secret: who has it can join.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_bound() {
        assert_eq!(parse_time("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(parse_time("365d"), Ok(Duration::from_secs(365 * 86400)));
        for text in ["", "h", "5", "0s", "366d", "-1h", "1.5h", "99999999999999999999d", "5ü", "18446744073709551615d"]
        {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_shown_by_their_fingerprints_alone() {
        let key = |key: &str, in_use| crate::views::keys::KeyView { key: key.to_owned(), in_use };
        let mut keys = KeysView {
            mesh: "lab".to_owned(),
            keys: vec![key("0badcafe", true), key("0000beef", false)],
            kept_in: Some("/k".to_owned()),
            invitations: 1,
            refused: 2,
            ignored: 3,
        };
        let text = "mesh lab admits who has one of these keys\n  0badcafe  in use\n  0000beef\nkept in /k\n\
                    1 invitations wait; 2 connections refused, 3 not listened to\n";
        assert_eq!(table(Style::PLAIN, &keys), text);
        keys.keys.clear();
        assert!(table(Style::PLAIN, &keys).starts_with("mesh lab is open"));
    }
}
