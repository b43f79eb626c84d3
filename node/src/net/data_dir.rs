//! What a node keeps on disk: its identity and its incarnation.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    system::{now_ms, random},
    types::BuildError,
};

/// First word of an identity file; the hexadecimal seed follows.
const IDENTITY_KIND: &str = "banyan-ed25519-v1";

/// An open data directory. Dropping it lets another node use it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Who a node is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Ed25519 secret key.
    pub(crate) seed: [u8; 32],
    /// Greater than at any start before.
    pub(crate) incarnation: u64,
}

impl Identity {
    /// An identity that is kept nowhere.
    pub(crate) fn ephemeral() -> io::Result<Self> {
        Ok(Self { seed: random()?, incarnation: now_ms() })
    }
}

impl DataDir {
    /// Opens or makes a data directory, and reads or makes the identity in it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Identity), BuildError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| BuildError::DataDir { path, source }
        };
        make(path).map_err(failed(path))?;
        let lock_path = path.join("lock");
        let lock = private_file().truncate(false).open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(BuildError::DataDirBusy(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(failed(&lock_path)(error)),
        }
        let dir = Self { path: path.to_owned(), _lock: lock };
        let seed = dir.identity()?;
        let stored = dir.stored_incarnation()?;
        let incarnation = stored.map_or(0, |stored| stored.saturating_add(1)).max(now_ms());
        dir.store_incarnation(incarnation).map_err(failed(&dir.incarnation_path()))?;
        Ok((dir, Identity { seed, incarnation }))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Stores the incarnation durably.
    pub(crate) fn store_incarnation(&self, incarnation: u64) -> io::Result<()> {
        write_private(&self.incarnation_path(), format!("{incarnation}\n").as_bytes())
    }

    fn incarnation_path(&self) -> PathBuf {
        self.path.join("incarnation")
    }

    fn identity(&self) -> Result<[u8; 32], BuildError> {
        let path = self.path.join("identity");
        let failed = |source| BuildError::DataDir { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => {
                parse_identity(&bytes).map_err(|reason| BuildError::Identity { path, reason: reason.to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let seed = random().map_err(failed)?;
                write_private(&path, format!("{IDENTITY_KIND} {}\n", hex(&seed)).as_bytes()).map_err(failed)?;
                Ok(seed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// `None`: never stored. A damaged file counts as that too: the clock makes up for it.
    fn stored_incarnation(&self) -> Result<Option<u64>, BuildError> {
        let path = self.incarnation_path();
        match fs::read(&path) {
            Ok(bytes) => {
                let stored = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
                if stored.is_none() {
                    tracing::warn!(path = %path.display(), "the incarnation file is damaged; going on by the clock");
                }
                Ok(stored)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BuildError::DataDir { path, source }),
        }
    }
}

/// Makes a directory that only its owner may enter.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file that only its owner may read, so that after a crash either the old or the new content is there.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = private_file().truncate(true).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn parse_identity(bytes: &[u8]) -> Result<[u8; 32], &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text")?;
    let (kind, digits) = text.trim_end().split_once(' ').ok_or("it does not hold a kind and a key")?;
    if kind != IDENTITY_KIND {
        return Err("it is of an unknown kind");
    }
    unhex(digits).ok_or("the key is not 64 hexadecimal digits")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn identity_lasts_and_incarnation_grows_c8() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("a/b");
        let (open, first) = DataDir::open(&path).expect("opens");
        assert!(matches!(DataDir::open(&path), Err(BuildError::DataDirBusy(_))));
        // As if the clock had been far ahead once.
        open.store_incarnation(u64::MAX / 2).expect("stores");
        drop(open);
        let (_open, second) = DataDir::open(&path).expect("opens again");
        assert_eq!(first.seed, second.seed);
        assert_eq!(second.incarnation, u64::MAX / 2 + 1);
        let mode = fs::metadata(path.join("identity")).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn corrupt_identity_is_refused_and_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for content in ["", "hello", "banyan-ed25519-v1 abc", "banyan-ed25519-v9 00", "\u{0}\u{1}"] {
            fs::write(dir.path().join("identity"), content).expect("writes");
            assert!(matches!(DataDir::open(dir.path()), Err(BuildError::Identity { .. })), "{content:?}");
            assert_eq!(fs::read(dir.path().join("identity")).expect("is there"), content.as_bytes());
        }
    }
}
