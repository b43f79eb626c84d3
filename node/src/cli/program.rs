//! `banyan completions`, `man`, `version`: about the program itself.

use std::{fs, io, path::PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{
    args::{Cli, Format},
    exit::{Failure, Outcome},
    show::{document, items, print},
};
use crate::{
    net::PROTOCOL_VERSION,
    views::{View, control::Version},
};

/// Version of the local HTTP API: the `v1` of its paths and schemas.
const API_VERSION: u16 = 1;

#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = MAN_EXAMPLES)]
pub(crate) struct ManArgs {
    /// The folder to write a page for every command into [default: the page of `banyan`, to standard output]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = VERSION_EXAMPLES)]
pub(crate) struct VersionArgs {
    /// How to print
    #[arg(long, default_value = "table")]
    format: Format,
}

pub(crate) fn completions(args: CompletionsArgs) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "banyan", &mut text);
    print(&String::from_utf8_lossy(&text))
}

pub(crate) fn man(args: ManArgs) -> Outcome {
    let mut command = Cli::command();
    command.build();
    let Some(dir) = args.dir else {
        return print(&String::from_utf8_lossy(&page(&command, "banyan").map_err(|error| unwritten(&error))?));
    };
    fs::create_dir_all(&dir).map_err(|error| unwritten(&error))?;
    pages(&command, "banyan", &dir).map_err(|error| unwritten(&error))
}

/// Writes the page of a command and of all below it.
fn pages(command: &clap::Command, name: &str, dir: &std::path::Path) -> io::Result<()> {
    fs::write(dir.join(format!("{name}.1")), page(command, name)?)?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
        pages(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone().display_name(name.to_owned())).title(name.to_uppercase()).render(&mut page)?;
    Ok(page)
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::usage(format!("cannot write the manual pages: {error}"), "name a folder that is yours to write")
}

pub(crate) fn version(args: VersionArgs) -> Outcome {
    let version =
        Version { version: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL_VERSION, api: API_VERSION };
    match args.format {
        Format::Table => print(&format!("banyan {}, protocol {}\n", version.version, version.protocol)),
        Format::Json => print(&document(version)),
        Format::Jsonl => print(&items(Version::SCHEMA, &[version])),
    }
}

const COMPLETIONS_EXAMPLES: &str = "EXAMPLES:
  banyan completions bash > ~/.local/share/bash-completion/completions/banyan
  banyan completions zsh > ~/.zfunc/_banyan
  banyan completions fish > ~/.config/fish/completions/banyan.fish";

const MAN_EXAMPLES: &str = "EXAMPLES:
  banyan man | man -l -
  banyan man ~/.local/share/man/man1";

const VERSION_EXAMPLES: &str = "EXAMPLES:
  banyan version
  banyan version --format json | jq .data.protocol";
