//! The arguments of the library's commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    api::library::{parse_selector, parse_targets},
    cli::{args::Show, watch::Read},
    net::library::Selector,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Library {
    #[command(subcommand)]
    pub(super) action: Option<Action>,
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List what the mesh has; without a command, too
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Show a package: who has it, what is here
    Show(Package),
    /// Share a folder whose sub-folders are packages
    Add(Root),
    /// No longer share a folder; nothing in it is touched
    RemoveRoot(Root),
    /// Fetch a package from everyone who has it
    #[command(after_help = GET_EXAMPLES)]
    Get(Get),
    /// Unpack a package into its folder `local`; fetch it first if it is not here
    Install(Start),
    /// Bring a package to the newest version, and what is installed of it with it
    Update(Start),
    /// Remove what was unpacked of a package; the package stays
    Uninstall(Start),
    /// Remove a package from this node's disk
    Remove(Start),
    /// Read a package again and compare every byte with its hashes
    Verify(Start),
    /// Push a package to other nodes, which spread it among themselves
    #[command(after_help = PUSH_EXAMPLES)]
    Push(Push),
    /// Show what is being done, or one job
    #[command(after_help = JOBS_EXAMPLES)]
    Jobs(Jobs),
    /// Say why a job is not faster
    Explain(Job),
    /// Stop a job, and undo what it has done
    Cancel(Job),
    /// Follow jobs until Ctrl-C
    Watch(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Show the versions of titles with this in their names
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Debug, Args)]
pub(super) struct Package {
    /// NAME, NAME@VERSION, or the first 8 digits or more of an id
    #[arg(value_parser = parse_selector)]
    pub(super) package: Selector,
    #[command(flatten)]
    pub(super) show: Show,
}

#[derive(Debug, Args)]
pub(super) struct Root {
    /// The folder
    #[arg(value_name = "DIR")]
    pub(super) path: PathBuf,
    #[command(flatten)]
    pub(super) show: Show,
}

#[derive(Debug, Args)]
pub(super) struct Start {
    #[command(flatten)]
    pub(super) package: Package,
    /// Do not wait for the end
    #[arg(long)]
    pub(super) detach: bool,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    pub(super) start: Start,
    /// Install it, too
    #[arg(long)]
    pub(super) install: bool,
}

#[derive(Debug, Args)]
pub(super) struct Push {
    #[command(flatten)]
    pub(super) start: Start,
    /// To whom: all, label=GLOB, or the id of a peer
    #[arg(long, value_name = "TARGETS", default_value = "all", value_parser = checked_targets)]
    pub(super) to: String,
    /// Install it there, but nowhere before so many percent of the targets have all of it
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(super) activate_when: Option<u8>,
}

fn checked_targets(text: &str) -> Result<String, String> {
    parse_targets(text).map(|_| text.to_owned())
}

fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number.filter(|percent| (1..=100).contains(percent)).ok_or_else(|| "it is not 1% to 100%".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// Its number
    pub(super) id: Option<u64>,
    #[command(flatten)]
    pub(super) read: Read,
}

#[derive(Debug, Args)]
pub(super) struct Job {
    /// Its number
    pub(super) id: u64,
    #[command(flatten)]
    pub(super) show: Show,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan run --library ~/library                  share a folder, and fetch into it
  banyan library                                  what the mesh has
  banyan library get tools@1.4 --install
  banyan library update tools
  banyan library jobs";

const LIST_EXAMPLES: &str = "EXAMPLES:
  banyan library list
  banyan library list tools
  banyan library list --format json | jq -r '.data.titles[] | select(.peers == 0).name'";

const GET_EXAMPLES: &str = "EXAMPLES:
  banyan library get tools                        the newest version
  banyan library get tools@1.3
  banyan library get 5e1f0a9c --detach            by its id; see `banyan library jobs`
  banyan library get tools --format jsonl | jq .data.rate";

const PUSH_EXAMPLES: &str = "EXAMPLES:
  banyan library push tools                       to every node that shares a folder and takes it
  banyan library push tools --to label=web-* --activate-when 100%
  banyan library jobs 3                           how far each of them is";

const JOBS_EXAMPLES: &str = "EXAMPLES:
  banyan library jobs
  banyan library jobs 3                           with its sources
  banyan library jobs --format jsonl | jq 'select(.data.state == \"failed\").data.error.message'";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command, Format};

    fn parsed(line: &str) -> Result<Library, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Library(library) => Ok(library),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn without_an_action_it_lists() {
        let library = parsed("banyan library --format json --mesh lab").expect("it is valid");
        assert!(library.action.is_none());
        assert_eq!((library.read.show.format, library.read.show.at.mesh.as_str()), (Format::Json, "lab"));
    }

    #[test]
    fn actions_are_understood() {
        let Ok(Some(Action::Get(get))) = parsed("banyan library get a@1 --install --detach").map(|it| it.action) else {
            panic!("it is a get");
        };
        assert_eq!((get.start.package.package.as_str(), get.start.detach, get.install), ("a@1", true, true));
        let Ok(Some(Action::RemoveRoot(root))) = parsed("banyan library remove-root x").map(|it| it.action) else {
            panic!("it is a folder");
        };
        assert_eq!(root.path, PathBuf::from("x"));
        let push = parsed("banyan library push a --to label=x* --activate-when 90%").map(|it| it.action);
        let Ok(Some(Action::Push(push))) = push else {
            panic!("it is a push");
        };
        assert_eq!((push.to.as_str(), push.activate_when), ("label=x*", Some(90)));
        let Ok(Some(Action::Jobs(jobs))) = parsed("banyan library jobs 7 --format jsonl").map(|it| it.action) else {
            panic!("it is a job");
        };
        assert_eq!((jobs.id, jobs.read.show.format), (Some(7), Format::Jsonl));
    }

    #[test]
    fn nonsense_is_refused() {
        let long = format!("banyan library get {}", "x".repeat(400));
        for line in [
            "banyan library fly",
            "banyan library get",
            "banyan library get ",
            "banyan library get a\u{7}",
            "banyan library get a --format xml",
            "banyan library explain",
            "banyan library cancel x",
            "banyan library jobs -1",
            "banyan library add",
            "banyan library push a --to some",
            "banyan library push a --activate-when 0",
            "banyan library push a --activate-when 101%",
            &long,
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
