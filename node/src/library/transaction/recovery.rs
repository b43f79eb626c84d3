//! Finishing what is decided, removing what is not.

use super::{Area, Intent, Library, TransactionError, Work, intent, intent::Target, layout};
use crate::library::{
    manifest::{MANIFEST_BYTES_MAX, PackageId},
    store::{Kind, Store, StoreError, parent, read_all, remove_tree},
};

/// What start-up has found interrupted.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What was done about it, by package.
    pub done: Vec<(String, Recovery)>,
    /// What could not be mended, by package or work folder; it is tried again before the next operation.
    pub failed: Vec<(String, TransactionError)>,
}

/// What was done about an interrupted operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It was decided, and is finished now.
    Finished(Intent),
    /// It was not decided, and has left nothing.
    Undone,
    /// A download that can go on.
    Download(PackageId),
}

impl<S: Store> Library<S> {
    pub(super) fn recover(&self) -> Result<Recovered, TransactionError> {
        let mut recovered = Recovered::default();
        for area in Area::ALL {
            let entries = match self.store.list(area.dir()) {
                Err(error) if error.is_not_found() => continue,
                entries => entries?,
            };
            for entry in entries {
                let outcome = match layout::check_name(&entry.name) {
                    Ok(()) if entry.nameable => self.recover_work(&Work::new(area, &entry.name)),
                    _ => Err(TransactionError::Name(entry.name.clone())),
                };
                match outcome {
                    Ok(outcome) => recovered.done.extend(outcome.map(|done| (entry.name, done))),
                    Err(error) => recovered.failed.push((entry.name, error)),
                }
            }
        }
        Ok(recovered)
    }

    /// Finishes or undoes what was interrupted in a work folder; nothing runs there. `None`: nothing is there.
    pub(super) fn recover_work(&self, work: &Work) -> Result<Option<Recovery>, TransactionError> {
        match self.store.metadata(&work.dir)? {
            None => return Ok(None),
            Some(metadata) if metadata.kind == Kind::Dir => {}
            Some(_) => return Err(TransactionError::NotOwned(work.dir.clone())),
        }
        if let Some(intent) = intent::read(&self.store, &work.intent())? {
            self.finish(work, intent)?;
            return Ok(Some(Recovery::Finished(intent)));
        }
        if self.store.metadata(&work.old())?.is_some() {
            // Only an intent puts something there, and goes after it.
            return Err(TransactionError::NotOwned(work.old()));
        }
        if work.area == Area::Get
            && let Some(manifest) = read_all(&self.store, &work.manifest(), MANIFEST_BYTES_MAX as u64)?
        {
            return Ok(Some(Recovery::Download(PackageId::of(&manifest))));
        }
        self.clean(work)?;
        Ok(Some(Recovery::Undone))
    }

    /// Does what is decided, as far as it is not done.
    pub(super) fn finish(&self, work: &Work, intent: Intent) -> Result<(), TransactionError> {
        let target = match intent.target {
            Target::Package => work.name.clone(),
            Target::Installed => layout::local(&work.name),
        };
        let above = parent(&target);
        // If somebody has removed the package, nothing can be installed in it any more.
        if self.store.metadata(above)?.is_some_and(|metadata| metadata.kind == Kind::Dir) {
            let comes = self.store.metadata(&work.fresh())?.is_some();
            if comes || intent.new.is_none() {
                self.move_away(work, intent, &target)?;
            }
            if comes && intent.new.is_some() {
                self.store.rename(&work.fresh(), &target)?;
            }
            // Also if the renames were done before: they may not be durable.
            self.store.sync_dir(above)?;
            self.store.sync_dir(&work.dir)?;
        }
        Ok(self.clean(work)?)
    }

    fn move_away(&self, work: &Work, intent: Intent, target: &str) -> Result<(), TransactionError> {
        if self.store.metadata(target)?.is_some() && self.store.metadata(&work.old())?.is_none() {
            let name = match intent.target {
                Target::Package => layout::PACKAGE_MARKER,
                Target::Installed => layout::INSTALLED_MARKER,
            };
            let found = self.marker(target, name)?;
            if found.is_some() && found == intent.old {
                self.store.rename(target, &work.old())?;
            } else if intent.new.is_some() {
                return Err(TransactionError::NotOwned(target.to_owned()));
            }
        }
        self.store.sync_dir(parent(target))?;
        Ok(self.store.sync_dir(&work.dir)?)
    }

    /// Removes a work folder: nothing that is needed depends on it, or an intent says so.
    pub(super) fn clean(&self, work: &Work) -> Result<(), StoreError> {
        // First what makes it a download, last what makes it decided: a crash in between changes
        // neither.
        let steps = [vec![work.journal(), work.manifest()], vec![work.fresh(), work.old()], vec![work.intent()]];
        for step in steps {
            for path in step {
                remove_tree(&self.store, &path)?;
                remove_tree(&self.store, &format!("{path}.tmp"))?;
            }
            self.store.sync_dir(&work.dir)?;
        }
        match self.store.remove_dir(&work.dir) {
            // Somebody has put something there, and may have it.
            Err(StoreError::NotEmpty(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.store.sync_dir(work.area.dir()),
        }
    }
}
