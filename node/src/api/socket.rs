//! The unix socket of a node: where it is, and whose it is.
//!
//! A socket file outlives a killed node. So a file that nobody answers on is replaced, one that
//! somebody answers on is refused, and anything that is not a socket is never touched. Looking and
//! replacing happen under a lock on the folder, so that of two nodes started at once one wins.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use banyan_gossip::MeshName;
use tokio::net::{UnixListener, UnixSocket};

/// Longest path that a unix socket can have, in bytes.
pub const PATH_BYTES_MAX: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// How often the folder's lock is tried, 50 ms apart.
const LOCK_TRIES: u32 = 40;

/// Why a socket was not opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another node answers there.
    #[error("a node already answers on {}", .0.display())]
    Live(PathBuf),
    /// There is a file that is no socket.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit a socket address.
    #[error("the path of the socket has {} bytes, at most {PATH_BYTES_MAX} are possible: {}", .0.as_os_str().len(), .0.display())]
    TooLong(PathBuf),
    /// The folder belongs to somebody else.
    #[error("the folder {} belongs to another user", .0.display())]
    ForeignFolder(PathBuf),
    /// The system refused.
    #[error("cannot open the socket {}: {source}", .path.display())]
    Io {
        /// The path at fault.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Where the node of a mesh is reached: `$XDG_RUNTIME_DIR/banyan/<mesh>.sock`, else below
/// `/run/user/<uid>`, else `/tmp/banyan-<uid>`.
#[must_use]
pub fn default_path(mesh: &MeshName) -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    default_folder(given, &PathBuf::from(format!("/run/user/{uid}")), uid).join(format!("{mesh}.sock"))
}

fn default_folder(given: Option<PathBuf>, usual: &Path, uid: u32) -> PathBuf {
    let usable = |path: &PathBuf| path.is_absolute() && path.is_dir();
    match given.filter(usable).or_else(|| Some(usual.to_owned()).filter(usable)) {
        Some(runtime) => runtime.join("banyan"),
        None => PathBuf::from(format!("/tmp/banyan-{uid}")),
    }
}

/// Whether a socket can be at this path.
///
/// # Errors
/// [`SocketError::TooLong`].
pub fn check_length(path: &Path) -> Result<(), SocketError> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(SocketError::TooLong(path.to_owned()));
    }
    Ok(())
}

/// A bound socket. Dropping it removes the file, if it is still this one.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    file: OwnFile,
}

/// The file of a bound socket.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file is left behind");
        }
    }
}

impl Socket {
    /// Opens the socket at `path` with mode 0600, and makes its folder with mode 0700 if there is none.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        check_length(path)?;
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        make_folder(folder)?;
        let lock = File::open(folder).map_err(failed)?;
        take_lock(&lock).map_err(failed)?;
        clear(path)?;
        let socket = UnixSocket::new_stream().map_err(failed)?;
        // Before it is bound, so that nobody can connect in between (the file takes the mode of the socket).
        rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600)).map_err(|error| failed(error.into()))?;
        socket.bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        let found = fs::symlink_metadata(path).map_err(failed)?;
        let file = OwnFile { path: path.to_owned(), id: (found.dev(), found.ino()) };
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, file })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

fn make_folder(folder: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: folder.to_owned(), source };
    if !folder.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    // A folder that others could have made first, or can swap sockets in, is not to be trusted as ours.
    let ours = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("banyan"));
    if ours {
        let found = fs::symlink_metadata(folder).map_err(failed)?;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(SocketError::ForeignFolder(folder.to_owned()));
        }
        if found.is_dir() && found.mode() & 0o077 != 0 {
            fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
        }
    }
    Ok(())
}

fn take_lock(folder: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(Duration::from_millis(50)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other("another program holds a lock on its folder"))
}

/// Removes a socket file that nobody answers on.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a node that is gone");
            fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or full, or not ours to ask: somebody is there.
        _ => Err(SocketError::Live(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("it is there").mode() & 0o777
    }

    #[tokio::test]
    async fn socket_and_its_folder_are_private_and_go_away_with_it() {
        let folder = folder();
        let path = folder.path().join("banyan/lab.sock");
        let socket = Socket::bind(&path).expect("it is free");
        assert_eq!((mode(&path), mode(path.parent().expect("it has one"))), (0o600, 0o700));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn stale_socket_is_replaced_and_live_one_is_refused() {
        let folder = folder();
        let path = folder.path().join("lab.sock");
        let stale = std::os::unix::net::UnixListener::bind(&path).expect("it is free");
        assert!(matches!(Socket::bind(&path), Err(SocketError::Live(_))));
        drop(stale);
        assert!(path.exists(), "as after a kill");
        let socket = Socket::bind(&path).expect("nobody answers any more");
        assert!(matches!(Socket::bind(&path), Err(SocketError::Live(_))));
        drop(socket);
    }

    #[tokio::test]
    async fn file_that_is_no_socket_is_never_touched() {
        let folder = folder();
        let path = folder.path().join("lab.sock");
        fs::write(&path, "mine").expect("writes");
        assert!(matches!(Socket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("reads"), b"mine");
        let link = folder.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).expect("links");
        assert!(matches!(Socket::bind(&link), Err(SocketError::NotASocket(_))));
    }

    #[tokio::test]
    async fn socket_of_a_successor_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("lab.sock");
        let socket = Socket::bind(&path).expect("it is free");
        fs::remove_file(&path).expect("removes");
        let _successor = Socket::bind(&path).expect("it is free again");
        drop(socket);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn path_of_108_bytes_is_refused_and_one_of_107_is_not() {
        let folder = folder();
        let room = PATH_BYTES_MAX - folder.path().as_os_str().len() - 1;
        assert!(Socket::bind(&folder.path().join("x".repeat(room))).is_ok());
        let error = Socket::bind(&folder.path().join("x".repeat(room + 1))).expect_err("it is too long");
        assert!(error.to_string().contains("108 bytes"), "{error}");
    }

    #[test]
    fn folder_follows_the_runtime_directory_or_falls_back_to_one_of_the_user() {
        let folder = folder();
        let nowhere = folder.path().join("nowhere");
        let here = folder.path().to_owned();
        assert_eq!(default_folder(Some(here.clone()), &nowhere, 7), here.join("banyan"));
        assert_eq!(default_folder(Some("relative".into()), &here, 7), here.join("banyan"));
        assert_eq!(default_folder(None, &here, 7), here.join("banyan"));
        assert_eq!(default_folder(Some(nowhere.clone()), &nowhere, 7), Path::new("/tmp/banyan-7"));
    }
}
