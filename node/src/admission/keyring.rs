//! The keys and invitations that a node knows.

use std::collections::BTreeMap;

use super::{Fingerprint, Invite, InviteId, MeshKey};

/// Most keys that a node accepts.
pub const KEYS_MAX: usize = 8;
/// Most invitations that wait to be used.
pub const INVITES_MAX: usize = 256;

/// The keys that a node accepts, the first of which it uses; without any the mesh is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<MeshKey>,
    invites: BTreeMap<InviteId, Invite>,
}

/// Why a keyring was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// As many keys as possible are accepted.
    #[error("at most {KEYS_MAX} keys can be accepted")]
    TooManyKeys,
    /// The key is accepted already.
    #[error("key {0} is accepted already")]
    Known(Fingerprint),
    /// No such key is accepted.
    #[error("no key {0} is accepted")]
    Unknown(Fingerprint),
    /// The key is the one in use.
    #[error("key {0} is in use")]
    InUse(Fingerprint),
    /// As many invitations as possible wait.
    #[error("at most {INVITES_MAX} invitations can wait to be used")]
    TooManyInvites,
    /// The invitation is used up, or has expired.
    #[error("the invitation is used up, or has expired")]
    Spent,
}

impl Keyring {
    /// The first key is used, all are accepted.
    ///
    /// # Errors
    /// [`KeyringError::TooManyKeys`], [`KeyringError::Known`] for one that is there twice.
    pub fn new(keys: impl IntoIterator<Item = MeshKey>) -> Result<Self, KeyringError> {
        let mut ring = Self::default();
        keys.into_iter().try_for_each(|key| ring.install(key))?;
        Ok(ring)
    }

    /// The keys, the one in use first.
    #[must_use]
    pub fn keys(&self) -> &[MeshKey] {
        &self.keys
    }

    /// Accepts a key; the first one is also used.
    ///
    /// # Errors
    /// [`KeyringError::TooManyKeys`], [`KeyringError::Known`].
    pub fn install(&mut self, key: MeshKey) -> Result<(), KeyringError> {
        if self.keys.contains(&key) {
            return Err(KeyringError::Known(key.fingerprint()));
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(KeyringError::TooManyKeys);
        }
        self.keys.push(key);
        Ok(())
    }

    /// Uses an accepted key.
    ///
    /// # Errors
    /// [`KeyringError::Unknown`].
    pub fn select(&mut self, key: Fingerprint) -> Result<(), KeyringError> {
        let position = self.position(key)?;
        self.keys[..=position].rotate_right(1);
        Ok(())
    }

    /// No longer accepts a key.
    ///
    /// # Errors
    /// [`KeyringError::Unknown`], [`KeyringError::InUse`].
    pub fn remove(&mut self, key: Fingerprint) -> Result<(), KeyringError> {
        match self.position(key)? {
            0 => Err(KeyringError::InUse(key)),
            position => {
                self.keys.remove(position);
                Ok(())
            }
        }
    }

    fn position(&self, key: Fingerprint) -> Result<usize, KeyringError> {
        self.keys.iter().position(|known| known.fingerprint() == key).ok_or(KeyringError::Unknown(key))
    }

    /// The invitations, by id.
    #[must_use]
    pub const fn invites(&self) -> &BTreeMap<InviteId, Invite> {
        &self.invites
    }

    /// Remembers an invitation, and forgets those that are no longer good.
    ///
    /// # Errors
    /// [`KeyringError::TooManyInvites`].
    pub fn invite(&mut self, id: InviteId, invite: Invite, now_ms: u64) -> Result<(), KeyringError> {
        self.invites.retain(|_, known| known.expires_ms > now_ms);
        if self.invites.len() >= INVITES_MAX {
            return Err(KeyringError::TooManyInvites);
        }
        self.invites.insert(id, invite);
        Ok(())
    }

    /// An invitation that is still good.
    #[must_use]
    pub fn invited(&self, id: InviteId, now_ms: u64) -> Option<&Invite> {
        self.invites.get(&id).filter(|invite| invite.expires_ms > now_ms && invite.uses > 0)
    }

    /// One use of an invitation.
    ///
    /// # Errors
    /// [`KeyringError::Spent`].
    pub fn redeem(&mut self, id: InviteId, now_ms: u64) -> Result<(), KeyringError> {
        self.invited(id, now_ms).ok_or(KeyringError::Spent)?;
        if let Some(invite) = self.invites.get_mut(&id) {
            invite.uses -= 1;
        }
        self.invites.retain(|_, invite| invite.uses > 0);
        Ok(())
    }
}
