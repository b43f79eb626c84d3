//! The settings of `banyan run`. There is one table of them: the arguments themselves, from which
//! names, kinds, defaults and texts are taken.

use std::{collections::BTreeMap, env, ffi::OsString};

use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, error::ErrorKind, parser::ValueSource};

use crate::{
    cli::{
        args::{Cli, Run},
        exit::{Failure, Outcome},
        usage,
    },
    views::control::{self, Config},
};

/// What a changed file changes while the node runs.
const LIVE: [&str; 5] = ["bootstrap", "capacity", "log", "rule", "tag"];
/// Arguments that are no settings: what is secret has no place in a file that is shown.
const NOT_SETTINGS: [&str; 5] = ["config", "exit-with-stdin", "help", "join", "key"];

/// One setting.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) help: String,
    pub(super) kind: Kind,
    value_name: String,
    default: Vec<String>,
    id: String,
}

/// What a setting may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Switch,
    One,
    Many,
}

/// What a layer sets, by key.
pub(super) type Layer = BTreeMap<String, Vec<String>>;

/// Every setting, in the order of the help.
pub(super) fn settings() -> Vec<Setting> {
    let run = Run::augment_args(clap::Command::new("run"));
    run.get_arguments().filter_map(Setting::of).filter(|setting| !NOT_SETTINGS.contains(&&*setting.key)).collect()
}

impl Setting {
    fn of(arg: &Arg) -> Option<Self> {
        Some(Self {
            key: arg.get_long()?.to_owned(),
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            kind: match arg.get_action() {
                ArgAction::SetTrue => Kind::Switch,
                ArgAction::Append => Kind::Many,
                _ => Kind::One,
            },
            value_name: arg
                .get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string)
                .unwrap_or_default(),
            default: arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect(),
            id: arg.get_id().to_string(),
        })
    }

    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        format!("BANYAN_{}", self.key.to_uppercase().replace('-', "_"))
    }

    /// What stands between the values of a list in the environment. There are commas in rules.
    fn separator(&self) -> char {
        if self.key == "rule" { ';' } else { ',' }
    }

    pub(super) fn is_live(&self) -> bool {
        LIVE.contains(&&*self.key)
    }

    /// As words of the command line.
    fn words(&self, values: &[String]) -> Vec<OsString> {
        match self.kind {
            Kind::Switch if values.first().is_some_and(|value| value == "true") => {
                vec![format!("--{}", self.key).into()]
            }
            Kind::Switch => Vec::new(),
            Kind::One | Kind::Many => values.iter().map(|value| format!("--{}={value}", self.key).into()).collect(),
        }
    }

    /// Whether `banyan run` takes these values. `place`: where they come from.
    pub(super) fn check(&self, values: &[String], place: &str) -> Outcome {
        let words = [OsString::from("banyan"), "run".into()].into_iter().chain(self.words(values));
        match Cli::command().try_get_matches_from(words) {
            // Another layer may have what this one needs.
            Err(error) if error.kind() != ErrorKind::MissingRequiredArgument => {
                let mut failure = usage::failure(&error);
                failure.view.message = format!("{place}: {}", failure.view.message);
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    /// As in a file that sets nothing: text, kind and default.
    pub(super) fn commented(&self) -> String {
        let quoted = |text: &str| format!("\"{text}\"");
        let value = match (self.kind, self.default.first()) {
            (Kind::Switch, _) => "true".to_owned(),
            (Kind::One, Some(default)) => quoted(default),
            (Kind::One, None) if self.value_name == "N" => "8".to_owned(),
            (Kind::One, None) => quoted(&self.value_name),
            (Kind::Many, _) => format!("[{}]", quoted(&self.value_name)),
        };
        let live = if self.is_live() { ". Read again on SIGHUP" } else { "" };
        format!("# {}{live}\n#{} = {value}\n", self.help, self.key)
    }
}

/// What the environment sets.
pub(super) fn environment(variable: impl Fn(&str) -> Option<OsString>) -> Outcome<Layer> {
    let mut layer = Layer::new();
    for setting in settings() {
        let name = setting.variable();
        let Some(value) = variable(&name).filter(|value| !value.is_empty()) else { continue };
        let value = value.into_string().map_err(|_| Failure::usage(format!("{name} is not UTF-8"), "unset it"))?;
        let values = match setting.kind {
            Kind::Switch => vec![switch(&name, &value)?],
            Kind::One => vec![value],
            Kind::Many => value
                .split(setting.separator())
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        };
        setting.check(&values, &name)?;
        layer.insert(setting.key, values);
    }
    Ok(layer)
}

fn switch(name: &str, value: &str) -> Outcome<String> {
    match value.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok("true".to_owned()),
        "0" | "false" | "no" | "off" => Ok("false".to_owned()),
        _ => Err(Failure::usage(format!("{name}={value:?} is neither true nor false"), "write true or false")),
    }
}

/// The words with what the environment and the file set beside them, and where each setting comes from.
pub(super) fn resolve(words: &[OsString], environment: &Layer, file: &Layer) -> Outcome<(Run, Vec<control::Setting>)> {
    let given = matches(words)?;
    let mut all = words.to_vec();
    let mut origins = BTreeMap::new();
    for setting in settings() {
        let origin = if given.value_source(&setting.id) == Some(ValueSource::CommandLine) {
            "flag"
        } else if let Some(values) = environment.get(&setting.key) {
            all.splice(2..2, setting.words(values));
            "environment"
        } else if let Some(values) = file.get(&setting.key) {
            all.splice(2..2, setting.words(values));
            "file"
        } else {
            "default"
        };
        origins.insert(setting.key, origin);
    }
    let given = matches(&all)?;
    let run = Run::from_arg_matches(&given).map_err(|error| usage::failure(&error))?;
    let shown = |setting: Setting| {
        let values = match setting.kind {
            Kind::Switch => vec![given.get_flag(&setting.id).to_string()],
            _ => given
                .get_raw(&setting.id)
                .into_iter()
                .flatten()
                .map(|value| value.to_string_lossy().into_owned())
                .collect(),
        };
        control::Setting {
            values,
            origin: origins.get(&setting.key).copied().unwrap_or("default").to_owned(),
            live: setting.is_live(),
            key: setting.key,
        }
    };
    Ok((run, settings().into_iter().map(shown).collect()))
}

fn matches(words: &[OsString]) -> Outcome<ArgMatches> {
    let mut matches = Cli::command().try_get_matches_from(words).map_err(|error| usage::failure(&error))?;
    let run = matches.remove_subcommand().filter(|(name, _)| name == "run");
    run.map(|(_, run)| run).ok_or_else(|| Failure::internal("these are no words of `banyan run`", "this is a bug"))
}

/// What the command line, the environment and the configuration file come to.
pub(crate) fn load(words: &[OsString]) -> Outcome<(Run, Config)> {
    let run = Run::from_arg_matches(&matches(words)?).map_err(|error| usage::failure(&error))?;
    let path = super::file::find(run.config.as_deref(), &run.at.mesh);
    let file = path.as_deref().map(super::file::read).transpose()?.unwrap_or_default();
    let (run, settings) = resolve(words, &environment(|name| env::var_os(name))?, &file)?;
    Ok((run, Config { file: path.map(|path| path.display().to_string()), settings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn layer(pairs: &[(&str, &[&str])]) -> Layer {
        pairs
            .iter()
            .map(|(key, values)| ((*key).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn flag_comes_before_environment_before_file_before_default() {
        let environment = layer(&[("capacity", &["2"]), ("label", &["env"]), ("no-mdns", &["true"])]);
        let file =
            layer(&[("capacity", &["3"]), ("label", &["file"]), ("max-links", &["9"]), ("bootstrap", &["a:1", "b:2"])]);
        let (run, settings) = resolve(&words("banyan run --capacity 1"), &environment, &file).expect("it is valid");
        assert_eq!((run.capacity, run.max_links, run.no_mdns), (Some(1), Some(9), true));
        assert_eq!(run.label.map(|label| label.to_string()), Some("env".to_owned()));
        assert_eq!(run.bootstrap, ["a:1", "b:2"]);
        let origin =
            |key: &str| settings.iter().find(|setting| setting.key == key).map(|setting| setting.origin.as_str());
        let keys = ["capacity", "label", "max-links", "relay"];
        assert_eq!(keys.map(origin), [Some("flag"), Some("environment"), Some("file"), Some("default")]);
        let relay = settings.iter().find(|setting| setting.key == "relay").expect("it is a setting");
        assert_eq!(relay.values, ["when-asked"]);
    }

    #[test]
    fn environment_has_every_setting_under_its_name() {
        let set = |name: &str, value: &str| {
            environment(|asked| (asked == name).then(|| value.into())).map_err(|failure| failure.view.message)
        };
        assert_eq!(set("BANYAN_BOOTSTRAP", "a:1, b:2"), Ok(layer(&[("bootstrap", &["a:1", "b:2"])])));
        let rules = ["a: publish=tag:b,tag:c", "*: publish=none"];
        assert_eq!(set("BANYAN_RULE", &rules.join("; ")), Ok(layer(&[("rule", &rules)])));
        assert_eq!(set("BANYAN_NO_MDNS", "1"), Ok(layer(&[("no-mdns", &["true"])])));
        assert_eq!(set("BANYAN_LABEL", ""), Ok(Layer::new()));
        assert!(set("BANYAN_CAPACITY", "many").is_err_and(|message| message.starts_with("BANYAN_CAPACITY: ")));
        assert!(set("BANYAN_NO_MDNS", "perhaps").is_err());
    }

    #[test]
    fn live_settings_are_settings() {
        let settings = settings();
        assert!(LIVE.iter().all(|key| settings.iter().any(|setting| setting.key == *key)));
        assert!(settings.iter().all(|setting| !setting.help.is_empty()));
    }
}
