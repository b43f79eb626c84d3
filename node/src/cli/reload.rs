//! Settings that change while the node runs: SIGHUP reads the configuration file again.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{Arc, RwLock},
};

use super::{args::Run, config, log, run::rules};
use crate::{
    Node,
    api::control::LogControl,
    mesh::CAPACITY_CEILING,
    views::control::{Config, Setting},
};

/// What is needed to change settings.
pub(super) struct Reload {
    pub(super) words: Vec<OsString>,
    pub(super) node: Node,
    pub(super) log: LogControl,
    /// The settings as they are in force.
    pub(super) config: Arc<RwLock<Config>>,
}

impl Reload {
    /// Reads the file again and changes what can be changed. A broken file changes nothing.
    pub(super) async fn reload(&self) {
        let (run, new) = match config::load(&self.words) {
            Ok(loaded) => loaded,
            Err(failure) => {
                let hint = failure.view.hint.unwrap_or_default();
                tracing::error!(reason = failure.view.message, hint, "the settings stay as they are");
                return;
            }
        };
        let before = self.config.read().expect("nobody panics while writing it").clone();
        let mut in_force = before.clone();
        in_force.file.clone_from(&new.file);
        let mut changes = 0;
        for (setting, new) in in_force.settings.iter_mut().zip(new.settings) {
            let key = new.key.clone();
            if setting.values == new.values {
                setting.origin = new.origin;
                continue;
            }
            changes += 1;
            if !new.live {
                tracing::warn!(key, to = shown(&new), "this setting changes at the next start");
            } else if let Err(reason) = self.apply(&key, &run).await {
                tracing::error!(key, to = shown(&new), reason, "this setting stays as it is");
            } else {
                tracing::info!(key, from = shown(setting), to = shown(&new), "setting changed");
                *setting = new;
            }
        }
        if changes == 0 {
            tracing::info!("no setting has changed");
        }
        *self.config.write().expect("nobody panics while writing it") = in_force;
    }

    async fn apply(&self, key: &str, run: &Run) -> Result<(), String> {
        let applied = match key {
            "capacity" => self.node.set_capacity(run.capacity.unwrap_or(CAPACITY_CEILING)).await,
            "tag" => self.node.set_tags(run.tag.iter().cloned().collect::<BTreeMap<_, _>>()).await,
            "rule" => match rules(run) {
                Ok(rules) => self.node.set_rules(rules).await,
                Err(failure) => return Err(failure.view.message),
            },
            "bootstrap" => self.node.set_bootstraps(&run.bootstrap).await,
            "log" => return (self.log)(run.log.as_deref().unwrap_or(log::DEFAULT)),
            _ => return Err("it cannot change while the node runs".to_owned()),
        };
        applied.map_err(|error| error.to_string())
    }
}

fn shown(setting: &Setting) -> String {
    if setting.values.is_empty() { "the default".to_owned() } else { setting.values.join(" ") }
}
