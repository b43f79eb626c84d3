//! `banyan config`: settings, from the command line, the environment and a file.

mod file;
mod settings;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use super::{
    args::{At, Format},
    exit::{Exit, Failure, Outcome},
    render::{style::Style, table::table},
    show::{document, items, print},
    watch::{Read, read},
};
use crate::views::control::{Config, Setting};

pub(crate) use settings::load;

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ConfigCommand {
    /// Show the settings of the node that runs
    #[command(after_help = EXAMPLES)]
    Show(ShowArgs),
    /// Say whether a file is one that `banyan run` takes
    #[command(after_help = EXAMPLES)]
    Check(Check),
    /// Write a file that names every setting and sets none
    #[command(after_help = EXAMPLES)]
    Init(Init),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Say where each comes from: flag, environment, file or default
    #[arg(long)]
    origin: bool,
    #[command(flatten)]
    read: Read,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file
    file: PathBuf,
    /// How to print
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The file; - for standard output [default: ~/.config/banyan/MESH.toml]
    file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    at: At,
}

pub(crate) async fn config(command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Show(args) => {
            let lines = |config: &Config| items("banyan.setting/v1", &config.settings);
            read(&args.read, "/v1/config", |style, config| shown(style, config, args.origin), lines).await
        }
        ConfigCommand::Check(args) => check(&args),
        ConfigCommand::Init(args) => init(&args),
    }
}

fn shown(style: Style, config: &Config, origin: bool) -> String {
    let row = |setting: &Setting| {
        let values = if setting.values.is_empty() { "-".to_owned() } else { setting.values.join(" ") };
        let origin = match (&*setting.origin, &config.file) {
            ("file", Some(file)) => file.clone(),
            (origin, _) => origin.to_owned(),
        };
        vec![setting.key.clone(), values, origin]
    };
    let rows: Vec<_> = config.settings.iter().map(row).collect();
    if origin { table(style, &["KEY", "VALUE", "ORIGIN"], &rows) } else { table(style, &["KEY", "VALUE"], &rows) }
}

fn check(args: &Check) -> Outcome {
    let layer = file::read(&args.file)?;
    let known = settings::settings();
    let setting = |(key, values): (&String, &Vec<String>)| Setting {
        key: key.clone(),
        values: values.clone(),
        origin: "file".to_owned(),
        live: known.iter().any(|setting| setting.key == *key && setting.is_live()),
    };
    let file = args.file.display().to_string();
    let settings: Vec<_> = layer.iter().map(setting).collect();
    match args.format {
        Format::Table => print(&format!(
            "{file} is valid and sets {}\n",
            match settings.len() {
                0 => "nothing".to_owned(),
                _ => settings.iter().map(|setting| setting.key.as_str()).collect::<Vec<_>>().join(", "),
            }
        )),
        Format::Json => print(&document(Config { file: Some(file), settings })),
        Format::Jsonl => print(&items("banyan.setting/v1", &settings)),
    }
}

fn init(args: &Init) -> Outcome {
    let text = template();
    let path = match &args.file {
        Some(path) if path.as_os_str() == "-" => return print(&text),
        Some(path) => path.clone(),
        None => file::own(&args.at.mesh)
            .ok_or_else(|| Failure::usage("there is no home directory for the file", "name the file"))?,
    };
    let write = || {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(!args.force).create(true).truncate(args.force);
        options.open(&path)?.write_all(text.as_bytes())
    };
    write().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            Failure::new(Exit::Conflict, message, "name another file, or replace it with --force")
        }
        io::ErrorKind::PermissionDenied => {
            let message = format!("cannot write {}: {error}", path.display());
            Failure::new(Exit::Denied, message, "name a file that is yours to write")
        }
        _ => Failure::usage(format!("cannot write {}: {error}", path.display()), "name another file"),
    })?;
    print(&format!("wrote {}\n", path.display()))
}

fn template() -> String {
    let head = "# Settings of a Banyan node. Remove the # before a setting to set it.\n\
                # A flag of `banyan run` comes before the environment (BANYAN_MAX_LINKS), and that before this file.\n";
    let settings = settings::settings();
    settings.iter().fold(head.to_owned(), |text, setting| text + "\n" + &setting.commented())
}

const EXAMPLES: &str = "EXAMPLES:
  banyan config init                              write ~/.config/banyan/default.toml, all of it commented out
  banyan config init - | less
  banyan config check /etc/banyan/default.toml
  banyan config show --origin                     where each setting of the node that runs comes from";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid_as_it_is_and_names_every_setting() {
        let text = template();
        assert_eq!(file::parse(&text, "x").expect("it is valid").len(), 0);
        for setting in settings::settings() {
            assert!(text.contains(&format!("\n#{} = ", setting.key)), "{}", setting.key);
        }
        let uncommented: toml::Table = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' '))
            .collect::<Vec<_>>()
            .join("\n")
            .parse()
            .expect("it is TOML");
        assert_eq!(uncommented.len(), settings::settings().len());
    }
}
