//! Install, uninstall and removal of packages that are in place.

use std::sync::Arc;

use super::{
    Area, Cancel, Claim, Intent, Library, PACKAGE_MARKER, Recovery, TransactionError, Work, intent, intent::Target,
    layout,
};
use crate::library::{
    manifest::PackageId,
    store::{Store, create_dirs, path_of, sync_tree, write_new},
    unpack::{Limits, Unpacker, unpack},
};

impl<S: Store> Library<S> {
    /// Unpacks a package that is in place into its `local/`. What this library had installed there
    /// before is replaced, and stays until the new is durable.
    ///
    /// # Errors
    /// The package is not there or busy, `local/` is somebody else's, the content cannot be
    /// unpacked, it was cancelled, or the disk is full or fails. Nothing has changed then, unless
    /// the disk failed after the decision: then it is finished later.
    pub fn install(
        self: &Arc<Self>,
        name: &str,
        package: PackageId,
        unpacker: &dyn Unpacker,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<(), TransactionError> {
        let claim = self.claim(name, "an install")?;
        if !self.is_complete(name)? {
            return Err(TransactionError::NoPackage(name.to_owned()));
        }
        let old = self.installed_or_foreign(name)?;
        claim.run(&Intent { target: Target::Installed, old, new: Some(package) }, |work| {
            self.unpack_into(name, &work.fresh(), package, unpacker, limits, cancel)
        })
    }

    /// Removes what is installed of a package.
    ///
    /// # Errors
    /// Nothing is installed, or it is somebody else's; the package is busy; or the disk fails:
    /// if after the decision, it is finished later.
    pub fn uninstall(self: &Arc<Self>, name: &str) -> Result<(), TransactionError> {
        let claim = self.claim(name, "an uninstall")?;
        let old = self.installed_or_foreign(name)?;
        let old = Some(old.ok_or_else(|| TransactionError::NotInstalled(name.to_owned()))?);
        claim.run(&Intent { target: Target::Installed, old, new: None }, |_| Ok(()))
    }

    /// Removes a package that this library has fetched, with what is installed of it.
    ///
    /// # Errors
    /// It is not there, or it or what is installed is somebody else's; it is busy; or the disk
    /// fails: if after the decision, it is finished later.
    pub fn remove(self: &Arc<Self>, name: &str) -> Result<(), TransactionError> {
        let claim = self.claim(name, "a removal")?;
        let old = self.package_or_foreign(name)?;
        let old = Some(old.ok_or_else(|| TransactionError::NoPackage(name.to_owned()))?);
        claim.run(&Intent { target: Target::Package, old, new: None }, |_| Ok(()))
    }

    /// What this library has installed; `None`: nothing is there.
    pub(super) fn installed_or_foreign(&self, name: &str) -> Result<Option<PackageId>, TransactionError> {
        self.owned_or_foreign(&layout::local(name), layout::INSTALLED_MARKER)
    }

    /// What this library has put in place, and installed, if anything; `None`: nothing is there.
    pub(super) fn package_or_foreign(&self, name: &str) -> Result<Option<PackageId>, TransactionError> {
        let owned = self.owned_or_foreign(name, PACKAGE_MARKER)?;
        if owned.is_some() {
            self.installed_or_foreign(name)?;
        }
        Ok(owned)
    }

    fn owned_or_foreign(&self, dir: &str, marker: &str) -> Result<Option<PackageId>, TransactionError> {
        if self.store.metadata(dir)?.is_none() {
            return Ok(None);
        }
        let owned = self.marker(dir, marker)?;
        owned.map(Some).ok_or_else(|| TransactionError::NotOwned(dir.to_owned()))
    }

    /// Unpacks into a new folder, which is durable afterwards but for its own name.
    pub(super) fn unpack_into(
        &self,
        from: &str,
        into: &str,
        package: PackageId,
        unpacker: &dyn Unpacker,
        limits: Limits,
        cancel: &Cancel,
    ) -> Result<(), TransactionError> {
        create_dirs(&self.store, into)?;
        unpack(&self.store, from, into, unpacker, limits, cancel)?;
        let marker = layout::marker(self.id, package);
        write_new(&self.store, &path_of(into, layout::INSTALLED_MARKER), marker.as_bytes())?;
        Ok(sync_tree(&self.store, into)?)
    }
}

impl<S: Store> Claim<S> {
    /// Prepares, decides and finishes. Whatever fails before the decision is undone.
    fn run(
        &self,
        intent: &Intent,
        prepare: impl FnOnce(&Work) -> Result<(), TransactionError>,
    ) -> Result<(), TransactionError> {
        let (library, work) = (&self.library, Work::new(Area::Do, &self.name));
        let attempt = || {
            work.create(&library.store)?;
            prepare(&work)?;
            library.store.sync_dir(&work.dir)?;
            intent::write(&library.store, &work.intent(), intent)?;
            library.finish(&work, *intent)
        };
        attempt().or_else(|error| match library.recover_work(&work) {
            Ok(Some(Recovery::Finished(_))) => Ok(()),
            _ => Err(error),
        })
    }
}
