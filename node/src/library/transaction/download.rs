//! A download on the disk: pieces come in any order, and at the end the package is put in place.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    Area, Cancel, Claim, Intent, Library, PACKAGE_MARKER, TransactionError, Work, intent, intent::Target, layout,
};
use crate::library::{
    bitfield::PieceSet,
    journal::{self, Checkpoint},
    manifest::{FileEntry, MANIFEST_BYTES_MAX, MODE_PROGRAM, Manifest},
    piece::{self, Piece},
    sentinel::SENTINEL_BYTES_MAX,
    store::{
        Access, Kind, SYNC_BATCH, Store, create_dirs, is_zero, parent, path_of, read_all, remove_tree, replace_file,
        sync_dirs, write_new,
    },
    unpack::{Limits, Unpacker},
};

/// A download that is under way. Dropping it pauses it; [`Library::download`] goes on from the
/// journal then.
///
/// After each [`Download::write_piece`], and when [`Download::poll_timeout`] is over, ask
/// [`Download::is_checkpoint_due`], and call [`Download::checkpoint`].
#[derive(Debug)]
pub struct Download<S: Store> {
    claim: Claim<S>,
    work: Work,
    manifest: Arc<Manifest>,
    /// Pieces that are written.
    have: PieceSet,
    /// Those of them that the journal does not tell of.
    unsaved: BTreeSet<Piece>,
    /// Files that they are in.
    written: BTreeSet<usize>,
    /// Files not synced since the download was opened, with those just written.
    unsynced: BTreeSet<usize>,
    journal: Option<(S::File, u64)>,
    /// The file that was written last.
    open: Option<(usize, S::File)>,
    checkpoint: Checkpoint,
    broken: bool,
}

impl<S: Store> Library<S> {
    /// Begins a download, or goes on with it from its journal.
    ///
    /// # Errors
    /// The package is busy; another download of that name is under way; what is in place is
    /// somebody else's; the manifest has no sentinel; or the disk is full or fails: what was made
    /// stays, to go on or to be abandoned.
    pub fn download(self: &Arc<Self>, name: &str, manifest: Arc<Manifest>) -> Result<Download<S>, TransactionError> {
        let claim = self.claim(name, "a download")?;
        if !manifest.files().iter().any(|file| self.is_sentinel(file) && file.size <= SENTINEL_BYTES_MAX as u64) {
            return Err(TransactionError::NoSentinel(self.sentinel.clone()));
        }
        self.package_or_foreign(name)?;
        let work = Work::new(Area::Get, name);
        match self.download_manifest(&work)? {
            Some(found) if found != manifest.encode() => {
                let found = crate::library::manifest::PackageId::of(&found);
                return Err(TransactionError::OtherDownload { name: name.to_owned(), found });
            }
            Some(_) => {}
            None => {
                work.create(&self.store)?;
                replace_file(&self.store, &work.manifest(), &manifest.encode())?;
            }
        }
        let files = manifest.files().len();
        let mut download = Download {
            claim,
            work,
            have: PieceSet::empty(manifest.piece_count()),
            manifest,
            unsaved: BTreeSet::new(),
            written: BTreeSet::new(),
            unsynced: (0..files).collect(),
            journal: None,
            open: None,
            checkpoint: Checkpoint::new(),
            broken: false,
        };
        download.open()?;
        Ok(download)
    }

    /// The encoded manifest of the download that is under way there.
    ///
    /// # Errors
    /// The name is not valid, or the disk fails.
    pub fn paused(&self, name: &str) -> Result<Option<Vec<u8>>, TransactionError> {
        layout::check_name(name)?;
        self.download_manifest(&Work::new(Area::Get, name))
    }

    /// Removes what a paused download has fetched.
    ///
    /// # Errors
    /// The package is busy, or the disk fails.
    pub fn abandon(self: &Arc<Self>, name: &str) -> Result<(), TransactionError> {
        let _claim = self.claim(name, "a cancellation")?;
        let work = Work::new(Area::Get, name);
        if self.store.metadata(&work.dir)?.is_some() {
            self.clean(&work)?;
        }
        Ok(())
    }

    fn download_manifest(&self, work: &Work) -> Result<Option<Vec<u8>>, TransactionError> {
        Ok(read_all(&self.store, &work.manifest(), MANIFEST_BYTES_MAX as u64)?)
    }

    /// Where a download keeps a file of the package until that is put in place.
    #[must_use]
    pub fn staged(&self, name: &str, file: &FileEntry) -> String {
        let fresh = Work::new(Area::Get, name).fresh();
        path_of(&fresh, if self.is_sentinel(file) { layout::SENTINEL_STAGED } else { file.path.as_str() })
    }

    fn is_sentinel(&self, file: &FileEntry) -> bool {
        file.path.as_str() == self.sentinel
    }
}

impl<S: Store> Download<S> {
    /// What is fetched.
    #[must_use]
    pub const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The pieces that are there, and can be read.
    #[must_use]
    pub const fn have(&self) -> &PieceSet {
        &self.have
    }

    /// Writes a piece, if it is what the manifest says. Says whether it is new.
    ///
    /// # Errors
    /// The bytes are not the piece; or the disk is full or fails: the piece is not there then.
    pub fn write_piece(&mut self, now: Instant, piece: Piece, bytes: &[u8]) -> Result<bool, TransactionError> {
        if self.broken {
            return Err(TransactionError::Broken);
        }
        piece::verify(&self.manifest, piece, bytes)?;
        if self.have.contains(piece) {
            return Ok(false);
        }
        let at = self.manifest.locate(piece).expect("a piece that was verified has a place");
        if self.open.as_ref().is_none_or(|(file, _)| *file != at.file) {
            self.open = Some((at.file, self.store().open(&self.staged(at.file), Access::Write)?));
        }
        // Before it is written: what fails may have been written in part.
        self.unsynced.insert(at.file);
        let (_, file) = self.open.as_ref().expect("it was opened");
        // A file begins as a hole, where nothing but this piece is ever written.
        if !is_zero(bytes) {
            self.claim.library.store.write_at(file, at.offset, bytes)?;
        }
        self.written.insert(at.file);
        self.unsaved.insert(piece);
        self.have.insert(piece);
        self.checkpoint.on_written(now, bytes.len() as u64);
        Ok(true)
    }

    /// Reads a piece that is there, to serve it.
    ///
    /// # Errors
    /// It is not there, or the disk fails or has changed it.
    pub fn read_piece(&self, piece: Piece) -> Result<Vec<u8>, TransactionError> {
        let at = self.manifest.locate(piece).filter(|_| self.have.contains(piece));
        let at = at.ok_or(piece::PieceError::NoSuchPiece(piece.0))?;
        let file = self.store().open(&self.staged(at.file), Access::Read)?;
        let (mut bytes, mut read) = (vec![0; at.bytes as usize], 0);
        while read < bytes.len() {
            match self.store().read_at(&file, at.offset + read as u64, &mut bytes[read..])? {
                0 => break,
                more => read += more,
            }
        }
        piece::verify(&self.manifest, piece, &bytes)?;
        Ok(bytes)
    }

    /// Whether it is time for a checkpoint.
    #[must_use]
    pub fn is_checkpoint_due(&self, now: Instant) -> bool {
        self.checkpoint.is_due(now)
    }

    /// When the next checkpoint is due at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.checkpoint.poll_timeout()
    }

    /// Makes durable what was written, then tells the journal.
    ///
    /// # Errors
    /// The disk is full or fails. The download has to be opened again then: what was written since
    /// the last checkpoint may be lost.
    pub fn checkpoint(&mut self) -> Result<(), TransactionError> {
        if self.broken {
            return Err(TransactionError::Broken);
        }
        // Unless all goes well what is durable is unknown, and another sync would not tell.
        self.broken = true;
        let written = std::mem::take(&mut self.written);
        self.sync_files(&written)?;
        let package = self.manifest.id();
        let (file, end) = self.journal.as_mut().expect("an open download has its journal");
        let record = journal::record(package, *end, self.unsaved.iter().copied());
        if !record.is_empty() {
            let store = &self.claim.library.store;
            store.write_at(file, *end, &record)?;
            store.sync(file)?;
            *end += record.len() as u64;
        }
        self.unsaved.clear();
        self.checkpoint.on_durable();
        self.broken = false;
        Ok(())
    }

    /// Puts the complete package in place, instead of the version that is there. With `install` it
    /// is unpacked first; that is needed if the version that is there is installed.
    ///
    /// # Errors
    /// Pieces are missing; it cannot be unpacked; it was cancelled; what is in place is somebody
    /// else's; or the disk is full or fails. All pieces stay, to try again; if the disk failed
    /// after the decision, it is finished later.
    pub fn commit(mut self, install: Option<(&dyn Unpacker, Limits)>, cancel: &Cancel) -> Result<(), TransactionError> {
        let missing = self.manifest.piece_count() - self.have.count();
        if missing > 0 {
            return Err(TransactionError::Incomplete(missing));
        }
        let library = Arc::clone(&self.claim.library);
        let (store, name, work) = (&library.store, self.claim.name.clone(), self.work.clone());
        let old = library.package_or_foreign(&name)?;
        if install.is_none() && library.installed_or_foreign(&name)?.is_some() {
            return Err(TransactionError::Installed(name));
        }
        // Data, then folders, then the sentinel.
        self.checkpoint()?;
        let unsynced = std::mem::take(&mut self.unsynced);
        self.sync_files(&unsynced)?;
        let (new, package) = (work.fresh(), self.manifest.id());
        let marker = path_of(&new, PACKAGE_MARKER);
        remove_tree(store, &marker)?;
        write_new(store, &marker, layout::marker(library.id, package).as_bytes())?;
        self.sync_dirs()?;
        store.rename(&path_of(&new, layout::SENTINEL_STAGED), &path_of(&new, &library.sentinel))?;
        store.sync_dir(&new)?;
        if let Some((unpacker, limits)) = install {
            let local = layout::local(&new);
            remove_tree(store, &local)?;
            library.unpack_into(&new, &local, package, unpacker, limits, cancel)?;
            store.sync_dir(&new)?;
        }
        if cancel.is_cancelled() {
            return Err(TransactionError::Cancelled);
        }
        let intent = Intent { target: Target::Package, old, new: Some(package) };
        intent::write(store, &work.intent(), &intent)?;
        library.finish(&work, intent)
    }

    fn store(&self) -> &S {
        &self.claim.library.store
    }

    /// Where a file lies until the package is put in place.
    fn staged(&self, file: usize) -> String {
        self.claim.library.staged(&self.work.name, &self.manifest.files()[file])
    }

    /// Makes the files as far as they are missing, and reads the journal.
    fn open(&mut self) -> Result<(), TransactionError> {
        let (package, pieces) = (self.manifest.id(), self.manifest.piece_count());
        let (store, journal) = (&self.claim.library.store, self.work.journal());
        let text = read_all(store, &journal, journal::bytes_max(pieces))?.unwrap_or_default();
        let mut have = journal::read(package, pieces, &text);
        let (new, sentinel) = (self.work.fresh(), &self.claim.library.sentinel);
        create_dirs(store, &new)?;
        let (staged, in_place) = (path_of(&new, layout::SENTINEL_STAGED), path_of(&new, sentinel));
        if store.metadata(&in_place)?.is_some() {
            // A commit was interrupted before it was decided.
            store.rename(&in_place, &staged)?;
        }
        let mut last_dir = String::new();
        for (index, entry) in self.manifest.files().iter().enumerate() {
            let path = self.staged(index);
            if parent(&path) != last_dir {
                last_dir = parent(&path).to_owned();
                create_dirs(store, &last_dir)?;
            }
            let metadata = store.metadata(&path)?.filter(|metadata| metadata.kind == Kind::File);
            if metadata.is_none_or(|metadata| metadata.size != entry.size) {
                for piece in self.manifest.pieces_of(index) {
                    have.remove(Piece(piece));
                }
            }
            let file = store.open(&path, if metadata.is_some() { Access::Write } else { Access::Create })?;
            // Again even if it is so: the sync of it may have failed.
            store.set_len(&file, entry.size)?;
            store.set_executable(&file, entry.mode == MODE_PROGRAM)?;
        }
        self.sync_dirs()?;
        // All that it tells of in one record; a torn end is gone.
        let mut text = journal::header(package);
        text.extend(journal::record(package, text.len() as u64, have.iter()));
        replace_file(store, &journal, &text)?;
        self.journal = Some((store.open(&journal, Access::Write)?, text.len() as u64));
        self.have = have;
        Ok(())
    }

    fn sync_files(&mut self, files: &BTreeSet<usize>) -> Result<(), TransactionError> {
        let files: Vec<usize> = files.iter().copied().collect();
        for batch in files.chunks(SYNC_BATCH) {
            let paths: Vec<_> = batch.iter().map(|file| (self.staged(*file), Kind::File)).collect();
            self.store().sync_all(&paths)?;
            for file in batch {
                self.unsynced.remove(file);
            }
        }
        Ok(())
    }

    /// Makes the names of all files durable.
    fn sync_dirs(&self) -> Result<(), TransactionError> {
        let files: Vec<String> = (0..self.manifest.files().len()).map(|file| self.staged(file)).collect();
        let dirs: BTreeSet<&str> = files.iter().map(|path| parent(path)).collect();
        Ok(sync_dirs(self.store(), &self.work.dir, dirs)?)
    }
}
