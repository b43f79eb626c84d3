//! The [`Store`] on a real disk.
//!
//! Each path is walked part by part from the open root, and no part may be a symbolic link, so that
//! whoever can write into the library cannot lead an operation out of it.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags},
    io::Errno,
};

use crate::library::store::{Access, DIR_ENTRIES_MAX, DirEntry, Kind, Metadata, Store, StoreError, parts};

#[cfg(test)]
mod tests;

/// A folder on a disk, held by this process alone.
#[derive(Debug)]
pub struct FsStore {
    root: OwnedFd,
    path: PathBuf,
}

/// An open file of it.
#[derive(Debug)]
pub struct FsFile {
    file: File,
    path: String,
}

/// Files that are made durable at a time.
const SYNC_THREADS: usize = 16;

const DIR_FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl FsStore {
    /// Opens a folder that is there, and locks it until the store is dropped.
    ///
    /// # Errors
    /// It is not there, no folder, or another process holds it ([`io::ErrorKind::WouldBlock`]).
    pub fn open(path: &Path) -> io::Result<Self> {
        let root = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        fs::flock(&root, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder.
    fn dir(&self, path: &str, parts: &[&str]) -> Result<OwnedFd, StoreError> {
        let mut dir = fs::openat(&self.root, ".", DIR_FLAGS, Mode::empty()).map_err(failed(path))?;
        for part in parts {
            dir = fs::openat(&dir, *part, DIR_FLAGS, Mode::empty()).map_err(failed(path))?;
        }
        Ok(dir)
    }

    /// Opens the folder that a path is in; with the last part of the path.
    fn place<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), StoreError> {
        let parts = parts(path)?;
        let (name, above) = parts.split_last().ok_or_else(|| StoreError::BadPath(path.to_owned()))?;
        Ok((self.dir(path, above)?, name))
    }
}

/// Sorts an error of the system.
fn failed(path: &str) -> impl FnOnce(Errno) -> StoreError {
    move |error| match error {
        // What an open without following says of a link.
        Errno::LOOP => StoreError::WrongKind(path.to_owned(), "folder"),
        error => StoreError::from_io(path, error.into()),
    }
}

fn kind(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        _ => Kind::Other,
    }
}

impl Store for FsStore {
    type File = FsFile;

    fn open(&self, path: &str, access: Access) -> Result<FsFile, StoreError> {
        let (dir, name) = self.place(path)?;
        // Without NONBLOCK a named pipe would wait for its other end.
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let flags = flags
            | match access {
                Access::Read => OFlags::RDONLY,
                Access::Write => OFlags::RDWR,
                Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            };
        let not_a_file = || StoreError::WrongKind(path.to_owned(), "file");
        let file = match fs::openat(&dir, name, flags, Mode::from_raw_mode(0o644)) {
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(not_a_file()),
            file => file.map_err(failed(path))?,
        };
        let mode = fs::fstat(&file).map_err(failed(path))?.st_mode;
        if kind(mode) != Kind::File {
            return Err(not_a_file());
        }
        Ok(FsFile { file: file.into(), path: path.to_owned() })
    }

    fn read_at(&self, file: &FsFile, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        loop {
            match file.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|error| StoreError::from_io(&file.path, error)),
            }
        }
    }

    fn write_at(&self, file: &FsFile, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        file.file.write_all_at(bytes, offset).map_err(|error| StoreError::from_io(&file.path, error))
    }

    fn set_len(&self, file: &FsFile, len: u64) -> Result<(), StoreError> {
        file.file.set_len(len).map_err(|error| StoreError::from_io(&file.path, error))
    }

    fn set_executable(&self, file: &FsFile, executable: bool) -> Result<(), StoreError> {
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        fs::fchmod(&file.file, mode).map_err(failed(&file.path))
    }

    fn sync(&self, file: &FsFile) -> Result<(), StoreError> {
        file.file.sync_all().map_err(|error| StoreError::from_io(&file.path, error))
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, StoreError> {
        let stat = if path.is_empty() {
            fs::fstat(&self.root)
        } else {
            let (dir, name) = match self.place(path) {
                Err(error) if error.is_not_found() => return Ok(None),
                place => place?,
            };
            fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
        };
        let stat = match stat {
            Err(Errno::NOENT) => return Ok(None),
            stat => stat.map_err(failed(path))?,
        };
        Ok(Some(Metadata {
            kind: kind(stat.st_mode),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            executable: stat.st_mode & 0o100 != 0,
            modified_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
            inode: stat.st_ino,
        }))
    }

    fn list(&self, dir: &str) -> Result<Vec<DirEntry>, StoreError> {
        let open = self.dir(dir, &parts(dir)?)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&open).map_err(failed(dir))? {
            let entry = entry.map_err(failed(dir))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entries.len() == DIR_ENTRIES_MAX {
                return Err(StoreError::TooMuch(dir.to_owned(), DIR_ENTRIES_MAX as u64, "entries"));
            }
            entries.push(DirEntry { nameable: name.to_str().is_ok(), name: name.to_string_lossy().into_owned() });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn create_dir(&self, path: &str) -> Result<(), StoreError> {
        let (dir, name) = self.place(path)?;
        fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)).map_err(failed(path))
    }

    fn sync_dir(&self, path: &str) -> Result<(), StoreError> {
        let dir = File::from(self.dir(path, &parts(path)?)?);
        dir.sync_all().map_err(|error| StoreError::from_io(path, error))
    }

    /// The disk writes its journal once for many that wait at the same time.
    fn sync_all(&self, paths: &[(String, Kind)]) -> Result<(), StoreError> {
        let each = |path: &str, kind| match kind {
            Kind::Dir => self.sync_dir(path),
            Kind::File | Kind::Other => self.sync(&self.open(path, Access::Read)?),
        };
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((path, kind)) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                each(path, *kind)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let helpers = SYNC_THREADS.min(paths.len() / 4).saturating_sub(1);
            let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            let own = work();
            let others = helpers.into_iter().map(|helper| helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
            others.fold(own, Result::and)
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let ((old_dir, old_name), (new_dir, new_name)) = (self.place(from)?, self.place(to)?);
        let moved = self.metadata(from)?.ok_or_else(|| StoreError::NotFound(from.to_owned()))?;
        if let Some(taken) = self.metadata(to)?
            && (moved.kind == Kind::Dir || taken.kind == Kind::Dir)
        {
            return Err(StoreError::Exists(to.to_owned()));
        }
        fs::renameat(&old_dir, old_name, &new_dir, new_name).map_err(failed(to))
    }

    fn remove_file(&self, path: &str) -> Result<(), StoreError> {
        let (dir, name) = self.place(path)?;
        match fs::unlinkat(&dir, name, AtFlags::empty()) {
            // Linux says the one of a folder, POSIX the other.
            Err(Errno::ISDIR) => Err(StoreError::WrongKind(path.to_owned(), "file")),
            Err(Errno::PERM) if self.metadata(path)?.is_some_and(|metadata| metadata.kind == Kind::Dir) => {
                Err(StoreError::WrongKind(path.to_owned(), "file"))
            }
            removed => removed.map_err(failed(path)),
        }
    }

    fn remove_dir(&self, path: &str) -> Result<(), StoreError> {
        let (dir, name) = self.place(path)?;
        fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).map_err(failed(path))
    }
}
