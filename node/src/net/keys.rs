//! Where the mesh keys, the invitations and what came of one are kept on disk.
//!
//! A key file holds one key a line, the one in use first; `#` begins a comment. Nobody but its owner may
//! read it.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use banyan_gossip::PeerId;
use rustix::process::geteuid;

use super::{
    data_dir::write_private,
    host::{Multiaddr, Protocol},
    types::KeyFileError,
};
use crate::admission::{Invite, InviteId, Keyring, MeshKey};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The files of a node's keyring.
#[derive(Debug, Clone, Default)]
pub struct KeyStore {
    /// The keys; without a file they last as long as the node.
    pub(crate) keys: Option<PathBuf>,
    /// The invitations that wait.
    pub(crate) invites: Option<PathBuf>,
}

impl KeyStore {
    /// The keyring as it was kept. A missing file of keys is an open mesh if it `may_miss`.
    pub(crate) fn load(&self, may_miss: bool) -> Result<Keyring, KeyFileError> {
        let mut keyring = Keyring::default();
        if let Some(path) = &self.keys
            && let Some(text) = read(path, may_miss)?
        {
            for (number, line) in text.lines().enumerate() {
                let bad = |reason: String| KeyFileError::new(path, format!("line {}: {reason}", number + 1));
                let line = line.split('#').next().unwrap_or_default().trim();
                if !line.is_empty() {
                    let key = line.parse::<MeshKey>().map_err(|error| bad(error.to_string()))?;
                    keyring.install(key).map_err(|error| bad(error.to_string()))?;
                }
            }
            if keyring.keys().is_empty() {
                return Err(KeyFileError::new(path, "it holds no key"));
            }
        }
        if let Some(path) = &self.invites
            && let Some(text) = read(path, true)?
        {
            let invites: Vec<(InviteId, Invite)> =
                serde_json::from_str(&text).map_err(|error| KeyFileError::new(path, error.to_string()))?;
            for (id, invite) in invites {
                keyring.invite(id, invite, 0).map_err(|error| KeyFileError::new(path, error.to_string()))?;
            }
        }
        Ok(keyring)
    }

    /// Keeps a keyring, durably.
    pub(crate) fn save(&self, keyring: &Keyring) -> Result<(), KeyFileError> {
        if let Some(path) = &self.keys
            && !keyring.keys().is_empty()
        {
            save_keys(path, keyring.keys())?;
        }
        if let Some(path) = &self.invites {
            let invites: Vec<_> = keyring.invites().iter().collect();
            let text = serde_json::to_vec(&invites).expect("invitations have text keys");
            write_private(path, &text).map_err(|error| file_error(path, &error))?;
        }
        Ok(())
    }
}

/// Writes a file of keys, the first of which is used.
pub(crate) fn save_keys(path: &Path, keys: &[MeshKey]) -> Result<(), KeyFileError> {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.to_text())).collect();
    let text = format!("# Mesh keys of Banyan: the first is used, all are accepted.\n{lines}");
    write_private(path, text.as_bytes()).map_err(|error| file_error(path, &error))
}

/// Where the addresses are that an invitation brought.
pub(crate) fn bootstrap_file(data_dir: &Path) -> PathBuf {
    data_dir.join("bootstrap")
}

/// The file of keys of a data directory.
pub(crate) fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("mesh.key")
}

/// Keeps where the node that invited is found.
pub(crate) fn save_bootstraps(data_dir: &Path, inviter: PeerId, addresses: &[Multiaddr]) -> Result<(), KeyFileError> {
    let path = bootstrap_file(data_dir);
    let suffix: Multiaddr = format!("/p2p/{inviter}").parse().expect("a peer id is part of an address");
    let line = |address: &Multiaddr| {
        let named = address.iter().any(|part| matches!(part, Protocol::P2p(_)));
        if named { format!("{address}\n") } else { format!("{address}{suffix}\n") }
    };
    let text: String = addresses.iter().map(line).collect();
    write_private(&path, text.as_bytes()).map_err(|error| file_error(&path, &error))
}

/// The addresses that an invitation brought.
pub(crate) fn load_bootstraps(data_dir: &Path) -> Result<Vec<String>, KeyFileError> {
    let text = read(&bootstrap_file(data_dir), true)?.unwrap_or_default();
    Ok(text.lines().map(str::to_owned).collect())
}

/// What the system said of a file.
pub(crate) fn file_error(path: &Path, error: &io::Error) -> KeyFileError {
    KeyFileError::new(path, error.to_string())
}

fn read(path: &Path, may_miss: bool) -> Result<Option<String>, KeyFileError> {
    let bad = |reason: String| KeyFileError::new(path, reason);
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_miss => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let about = file.metadata().map_err(|error| bad(error.to_string()))?;
    if about.mode() & 0o077 != 0 {
        return Err(bad(format!("others may read or write it: chmod 600 {}", path.display())));
    }
    if about.uid() != geteuid().as_raw() && !geteuid().is_root() {
        return Err(bad("it belongs to another user".to_owned()));
    }
    let mut text = String::new();
    let length = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(bad("it is over 64 KiB".to_owned()));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(byte: u8) -> MeshKey {
        MeshKey::from_bytes([byte; 32])
    }

    fn store(dir: &tempfile::TempDir) -> KeyStore {
        KeyStore { keys: Some(key_file(dir.path())), invites: Some(dir.path().join("invites")) }
    }

    #[test]
    fn a_keyring_comes_back_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = store(&dir);
        assert_eq!(store.load(true), Ok(Keyring::default()));
        assert!(store.load(false).is_err(), "a file that was named must be there");
        let mut keyring = Keyring::new([key(1), key(2)]).expect("two keys");
        keyring.select(key(2).fingerprint()).expect("accepted");
        keyring.invite([1; 8], Invite { secret: [3; 32], expires_ms: 9, uses: 4 }, 0).expect("room");
        store.save(&keyring).expect("saved");
        assert_eq!(store.load(false), Ok(keyring));
        for name in ["mesh.key", "invites"] {
            let path = dir.path().join(name);
            assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
            let error = store.load(false).expect_err("others may read it");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        }
    }

    #[test]
    fn a_broken_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let good = key(1).to_text();
        for (content, reason) in [
            (String::new(), "holds no key"),
            ("# nothing\n".to_owned(), "holds no key"),
            (format!("{good} # the key\n\nbnykx\n"), "line 3"),
            (format!("{good}\n{good}\n"), "line 2"),
            ("x".repeat(70_000), "over 64 KiB"),
        ] {
            write_private(&key_file(dir.path()), content.as_bytes()).expect("written");
            let error = store(&dir).load(true).expect_err(reason);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
