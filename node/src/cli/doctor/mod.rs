//! `banyan doctor`: what is wrong with this machine, its node and its mesh, and what to do about it.

mod local;
mod multicast;

use super::{
    args::{Format, Show},
    exit::{Exit, Failure, Outcome},
    render::style::{Paint, Style},
    show::{client, document, items, print},
};
use crate::views::checkup::{Checkup, Finding, Level};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    show: Show,
}

const EXAMPLES: &str = "EXAMPLES:
  banyan doctor
  banyan doctor --format json | jq '.data.findings[] | select(.level != \"ok\")'

CHECKS:
  of this machine, also without a node: multicast, udp_buffers, mtu, open_files
  of the node that runs: node, peers, clock, version, reachable, mesh, identity, tracks, disk

EXIT CODES:
  0 nothing fails, 10 something does";

pub(crate) async fn doctor(args: Args) -> Outcome {
    let checkup = examine(&args.show).await?;
    let level = checkup.level;
    match args.show.format {
        Format::Table => print(&table(Style::of_stdout(), &checkup))?,
        Format::Json => print(&document(checkup))?,
        Format::Jsonl => print(&items("banyan.finding/v1", &checkup.findings))?,
    }
    if level == Level::Fail {
        return Err(Failure::new(Exit::Degraded, "something does not work", "do what is said above"));
    }
    Ok(())
}

/// Looks at everything. Without a node only this machine is looked at.
pub(crate) async fn examine(show: &Show) -> Outcome<Checkup> {
    let client = client(show)?;
    let (mut findings, node) = tokio::join!(local::findings(), client.view::<Checkup>("/v1/doctor"));
    match node {
        Ok(checkup) => findings.extend(checkup.findings),
        Err(failure) => {
            let next = failure.view.hint.unwrap_or_default();
            findings.push(Finding::new("node", Level::Warn, failure.view.message, next));
        }
    }
    Ok(Checkup::new(findings))
}

pub(crate) fn table(style: Style, checkup: &Checkup) -> String {
    let mut text = String::new();
    for finding in &checkup.findings {
        let (word, paint) = match finding.level {
            Level::Ok => ("ok   ", Paint::Green),
            Level::Skipped => ("-    ", Paint::Dim),
            Level::Warn => ("warn ", Paint::Yellow),
            Level::Fail => ("FAIL ", Paint::Bold),
        };
        let clean = |text: &str| text.replace(char::is_control, "?");
        // Sentences are not cut to the width of the terminal: they are what this is for.
        let style = Style { width: None, ..style };
        let check = format!("{:<12} ", finding.check);
        text += &style.line(&[(paint, word.to_owned()), (Paint::Bold, check), (Paint::Plain, clean(&finding.seen))]);
        text.push('\n');
        if let Some(next) = &finding.next {
            text += &style.line(&[(Paint::Cyan, format!("{:18}→ {}", "", clean(next)))]);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_with_what_to_do() {
        let findings = vec![
            Finding::ok("mtu", "eth0 1500"),
            Finding::new("clock", Level::Fail, "3 h ahead\u{1b}[2J", "set it: timedatectl set-ntp true"),
        ];
        let checkup = Checkup::new(findings);
        assert_eq!(checkup.level, Level::Fail);
        let expected = "\
ok   mtu          eth0 1500
FAIL clock        3 h ahead?[2J
                  → set it: timedatectl set-ntp true
";
        assert_eq!(table(Style::PLAIN, &checkup), expected);
    }
}
