//! The mesh keys and invitations of a running node.

use std::time::Duration;

use banyan_gossip::{MeshName, PeerId};

use super::{
    host::Door,
    system::{now_ms, random},
    types::KeyError,
};
use crate::{
    admission::{Fingerprint, Invite, MeshKey, Token},
    views::keys::{KeyView, KeysView},
};

/// Longest life of an invitation.
pub const INVITE_MAX: Duration = Duration::from_secs(365 * 86400);

/// Who is admitted to the mesh by this node: its keys and invitations. Clones share them.
#[derive(Debug, Clone)]
pub struct Admission {
    mesh: MeshName,
    door: Door,
}

impl Admission {
    pub(crate) const fn new(mesh: MeshName, door: Door) -> Self {
        Self { mesh, door }
    }

    /// The keys, by their fingerprints, and who was turned away.
    #[must_use]
    pub fn view(&self) -> KeysView {
        let keyring = self.door.keyring();
        let key = |(place, key): (usize, &MeshKey)| KeyView { key: key.fingerprint().to_string(), in_use: place == 0 };
        let refusals = self.door.refusals();
        KeysView {
            mesh: self.mesh.to_string(),
            keys: keyring.keys().iter().enumerate().map(key).collect(),
            kept_in: self.door.kept_in().map(|path| path.display().to_string()),
            invitations: keyring.invites().values().filter(|invite| invite.expires_ms > now_ms()).count(),
            refused: refusals.refused,
            ignored: refusals.ignored,
        }
    }

    /// Accepts a key from now on. The first key of an open mesh is also used: the nodes without it are strangers.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn install(&self, key: MeshKey) -> Result<(), KeyError> {
        self.door.change(|keyring| keyring.install(key))
    }

    /// Uses an accepted key from now on.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn select(&self, key: Fingerprint) -> Result<(), KeyError> {
        self.door.change(|keyring| keyring.select(key))
    }

    /// No longer accepts a key. Connections that it admitted stay.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn remove(&self, key: Fingerprint) -> Result<(), KeyError> {
        self.door.change(|keyring| keyring.remove(key))
    }

    /// Invites: the token admits so many nodes until it expires, and leads them to this node.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn invite(&self, me: PeerId, addresses: Vec<String>, expires: Duration, uses: u32) -> Result<Token, KeyError> {
        let expires_ms = now_ms().saturating_add(u64::try_from(expires.min(INVITE_MAX).as_millis()).unwrap_or(0));
        let (id, secret) = (random().map_err(no_random)?, random().map_err(no_random)?);
        let id = *id.first_chunk().expect("32 bytes hold 8");
        self.door.change(|keyring| keyring.invite(id, Invite { secret, expires_ms, uses }, now_ms()))?;
        Ok(Token::new(self.mesh.clone(), me, addresses, id, secret))
    }
}

fn no_random(error: std::io::Error) -> KeyError {
    super::keys::file_error("/dev/urandom".as_ref(), &error).into()
}
