//! `banyan debug bundle`: everything that helps to find out what is wrong, in one file.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::{
    args::{At, Format, Show},
    client::Client,
    doctor,
    exit::{Failure, Outcome},
    library::percent_encode,
    render::amount,
    show::{document, print},
    sse::Events,
};
use crate::{
    Since,
    views::{Tracks, View, log::LogLines},
};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Debug {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write one .tar.gz with what the node says of itself, its log and its limits. No keys are in it.
    #[command(after_help = EXAMPLES)]
    Bundle(Bundle),
}

#[derive(Debug, Args)]
struct Bundle {
    /// Where to write it [default: banyan-debug-SECONDS.tar.gz here]
    file: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan debug bundle
  banyan debug bundle /tmp/b.tar.gz && tar -xzOf /tmp/b.tar.gz bundle/doctor.json | jq .";

/// Trees of tracks that are taken along.
const TREES_MAX: usize = 64;

pub(crate) async fn debug(args: Debug) -> Outcome {
    let Command::Bundle(args) = args.command;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let file = args.file.clone().unwrap_or_else(|| format!("banyan-debug-{seconds}.tar.gz").into());
    let parts = collect(&args.at).await?;
    let bytes = pack(&parts, seconds).map_err(|error| failed(&file, &error))?;
    write(&file, &bytes).map_err(|error| failed(&file, &error))?;
    let mut text = format!("{}, {}, holds:\n", file.display(), amount(bytes.len() as u64));
    for (name, content) in &parts {
        text += &format!("  {name:<28} {}\n", amount(content.len() as u64));
    }
    text += "no keys are in it; labels, addresses, track names and the log are: read it before you pass it on\n";
    print(&text)
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::internal(format!("cannot write {}: {error}", file.display()), "name another file")
}

/// The parts by name. What a node does not answer is told in its place.
async fn collect(at: &At) -> Outcome<Vec<(String, String)>> {
    let client = Client::new(at.path())?;
    let show = Show { at: at.clone(), format: Format::Json };
    let mut parts = vec![
        ("version.json".to_owned(), pretty(&json!({ "client": env!("CARGO_PKG_VERSION") }))),
        ("doctor.json".to_owned(), document(doctor::examine(&show).await?)),
        ("limits.txt".to_owned(), std::fs::read_to_string("/proc/self/limits").unwrap_or_default()),
    ];
    for (name, path) in [
        ("status.json", "/v1/status"),
        ("peers.json", "/v1/peers"),
        ("tracks.json", "/v1/tracks"),
        ("repairs.json", "/v1/repairs"),
        ("config.json", "/v1/config"),
        ("library.json", "/v1/library"),
    ] {
        parts.push((name.to_owned(), ask(&client, path).await));
    }
    if let Ok(tracks) = client.view::<Tracks>("/v1/tracks").await {
        for (nth, track) in tracks.tracks.iter().take(TREES_MAX).enumerate() {
            let name = percent_encode(&track.track);
            parts.push((format!("tracks/{nth}-tree.json"), ask(&client, &format!("/v1/tracks/{name}/tree")).await));
            parts.push((format!("tracks/{nth}-why.json"), ask(&client, &format!("/v1/why/track:{name}")).await));
        }
    }
    parts.push(("events.jsonl".to_owned(), events(&client).await));
    let log = client.view::<LogLines>("/v1/log/lines").await;
    parts.push(("log.txt".to_owned(), log.map_or_else(|failure| failure.view.message, |log| log.lines.join("\n"))));
    Ok(parts)
}

async fn ask(client: &Client, path: &str) -> String {
    match client.document(path).await {
        Ok(mut value) => {
            remove_secrets(&mut value);
            pretty(&value)
        }
        Err(failure) => pretty(&json!({ "error": failure.view })),
    }
}

async fn events(client: &Client) -> String {
    let mut text = String::new();
    if let Ok(mut events) = Events::open_since(client, Since::Oldest, false).await {
        while let Ok(Some(event)) = events.next().await {
            text += &serde_json::to_string(&event.enveloped()).expect("views have text keys and finite numbers");
            text.push('\n');
        }
    }
    text
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("it was JSON") + "\n"
}

/// Whatever is called like a secret is left out, and of a setting that is, all but its name.
fn remove_secrets(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let secret = fields.get("key").and_then(Value::as_str).is_some_and(is_secret);
            for (name, value) in fields.iter_mut() {
                if is_secret(name) || (secret && name != "key") {
                    *value = Value::from("removed");
                } else {
                    remove_secrets(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(remove_secrets),
        _ => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    ["secret", "token", "password", "passphrase", "private", "credential"].iter().any(|word| name.contains(word))
        || name.ends_with("_key")
        || name.ends_with("_invite")
}

/// A tar of the parts in a folder, compressed.
fn pack(parts: &[(String, String)], seconds: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        archive.append_data(&mut header, format!("bundle/{name}"), content.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

/// Never over a file that is there, and for nobody else to read.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_wherever_they_stand() {
        let mut value = json!({
            "mesh_key": "s", "label": "kitchen", "deep": [{ "apiToken": 7 }],
            "settings": [{ "key": "mesh-key", "values": ["s"] }, { "key": "capacity", "values": ["4"] }],
        });
        remove_secrets(&mut value);
        let expected = json!({
            "mesh_key": "removed", "label": "kitchen", "deep": [{ "apiToken": "removed" }],
            "settings": [{ "key": "mesh-key", "values": "removed" }, { "key": "capacity", "values": ["4"] }],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_bundle_can_be_unpacked() {
        let packed = pack(&[("a/b.txt".to_owned(), "text".to_owned())], 7).expect("it fits memory");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
        let mut entries = archive.entries().expect("it is an archive");
        let entry = entries.next().expect("one entry").expect("it is whole");
        assert_eq!(entry.path().expect("it has a name").to_str(), Some("bundle/a/b.txt"));
    }
}
