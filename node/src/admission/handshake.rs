//! The handshake, without IO: see the [module](super).

use banyan_gossip::{MeshName, PeerId};

use super::{InviteId, Keyring, MeshKey};

/// First bytes of a hello, the version last.
const MAGIC: [u8; 7] = *b"banyan\x01";
/// Length of a hello.
pub const HELLO_BYTES: usize = MAGIC.len() + 8 + 32;
/// Length of an answer.
pub const ANSWER_BYTES: usize = 64;
/// Length of a proof.
pub const PROOF_BYTES: usize = 32;
/// Length of a grant.
pub const GRANT_BYTES: usize = 33;

/// What a proof is bound to beside the nonces: the connection and the mesh.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Who dialled, authenticated by the transport.
    pub dialer: PeerId,
    /// Who was dialled, authenticated by the transport.
    pub listener: PeerId,
    /// The mesh that this end means.
    pub mesh: MeshName,
}

/// The remote is of another mesh, has another key, or holds an invitation that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the remote is of another mesh, or has another mesh key")]
pub struct NotAdmitted;

/// As what a dialer is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It has a key.
    Member,
    /// It was invited, and gets the key if the invitation is [redeemed](Keyring::redeem).
    Invited(InviteId),
}

/// A dialer that has said hello.
#[derive(Debug)]
pub struct Dialing {
    binding: Binding,
    nonce: [u8; 32],
    invite: Option<[u8; 32]>,
}

/// A listener that has answered.
#[derive(Debug)]
pub struct Listening {
    binding: Binding,
    nonces: Nonces,
    invite: Option<InviteId>,
    secrets: Vec<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
struct Nonces {
    dialer: [u8; 32],
    listener: [u8; 32],
}

#[derive(Debug, Clone, Copy)]
enum Role {
    Dialer = 1,
    Listener = 2,
}

impl Binding {
    fn proof(&self, secret: &[u8; 32], role: Role, nonces: &Nonces) -> blake3::Hash {
        // Every part but the last has a fixed length.
        let mut hasher = blake3::Hasher::new_keyed(secret);
        hasher.update(&[role as u8]);
        hasher.update(self.dialer.key_bytes()).update(self.listener.key_bytes());
        hasher.update(&nonces.dialer).update(&nonces.listener);
        hasher.update(self.mesh.as_str().as_bytes());
        hasher.finalize()
    }
}

/// What the members of a mesh prove with, one for each accepted key; an open mesh has one that all know.
fn secrets(keyring: &Keyring) -> Vec<[u8; 32]> {
    let keys = keyring.keys();
    let secret = |key: &[u8]| blake3::derive_key("banyan mesh admission v1", key);
    if keys.is_empty() { vec![secret(&[])] } else { keys.iter().map(|key| secret(key.as_bytes())).collect() }
}

fn invite_secret(secret: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("banyan mesh invitation v1", secret)
}

impl Dialing {
    /// A dialer and its hello.
    #[must_use]
    pub fn new(binding: Binding, nonce: [u8; 32], invite: Option<(InviteId, &[u8; 32])>) -> (Self, [u8; HELLO_BYTES]) {
        let mut hello = [0; HELLO_BYTES];
        hello[..7].copy_from_slice(&MAGIC);
        hello[7..15].copy_from_slice(&invite.map(|(id, _)| id).unwrap_or_default());
        hello[15..].copy_from_slice(&nonce);
        (Self { binding, nonce, invite: invite.map(|(_, secret)| invite_secret(secret)) }, hello)
    }

    /// Checks the answer, and proves in turn.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn answered(&self, answer: &[u8; ANSWER_BYTES], keyring: &Keyring) -> Result<[u8; PROOF_BYTES], NotAdmitted> {
        let (listener, theirs) = halves(answer);
        let nonces = Nonces { dialer: self.nonce, listener };
        let secrets = self.invite.map_or_else(|| secrets(keyring), |secret| vec![secret]);
        let shown = |secret: &&[u8; 32]| self.binding.proof(secret, Role::Listener, &nonces) == theirs;
        let secret = secrets.iter().find(shown).ok_or(NotAdmitted)?;
        Ok(self.binding.proof(secret, Role::Dialer, &nonces).into())
    }
}

impl Listening {
    /// A listener and its answer to a hello.
    ///
    /// # Errors
    /// [`NotAdmitted`]: what was heard is no hello of this version, or of an invitation that is not good.
    pub fn heard(
        binding: Binding,
        hello: &[u8; HELLO_BYTES],
        nonce: [u8; 32],
        keyring: &Keyring,
        now_ms: u64,
    ) -> Result<(Self, [u8; ANSWER_BYTES]), NotAdmitted> {
        let (magic, rest) = hello.split_first_chunk::<7>().expect("a hello is longer");
        let (id, dialer) = rest.split_first_chunk::<8>().expect("a hello is longer");
        if *magic != MAGIC {
            return Err(NotAdmitted);
        }
        let invite = (*id != InviteId::default()).then_some(*id);
        let secrets = match invite {
            None => secrets(keyring),
            Some(id) => vec![invite_secret(&keyring.invited(id, now_ms).ok_or(NotAdmitted)?.secret)],
        };
        let nonces = Nonces { dialer: dialer.try_into().expect("the rest of a hello is a nonce"), listener: nonce };
        let mut answer = [0; ANSWER_BYTES];
        answer[..32].copy_from_slice(&nonce);
        answer[32..].copy_from_slice(binding.proof(&secrets[0], Role::Listener, &nonces).as_bytes());
        Ok((Self { binding, nonces, invite, secrets }, answer))
    }

    /// Checks the dialer's proof.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn proved(self, proof: &[u8; PROOF_BYTES], keyring: &Keyring, now_ms: u64) -> Result<Admitted, NotAdmitted> {
        let theirs = blake3::Hash::from(*proof);
        if !self.secrets.iter().any(|secret| self.binding.proof(secret, Role::Dialer, &self.nonces) == theirs) {
            return Err(NotAdmitted);
        }
        match self.invite {
            None => Ok(Admitted::Member),
            Some(id) if keyring.invited(id, now_ms).is_some() => Ok(Admitted::Invited(id)),
            Some(_) => Err(NotAdmitted),
        }
    }
}

/// What an invited node is given: the key in use, if there is one.
#[must_use]
pub fn grant(keyring: &Keyring) -> [u8; GRANT_BYTES] {
    let mut grant = [0; GRANT_BYTES];
    if let Some(key) = keyring.keys().first() {
        grant[0] = 1;
        grant[1..].copy_from_slice(key.as_bytes());
    }
    grant
}

/// The key in a grant; `None` in an open mesh.
#[must_use]
pub fn read_grant(grant: &[u8; GRANT_BYTES]) -> Option<MeshKey> {
    let (keyed, key) = grant.split_first().expect("a grant is longer");
    (*keyed == 1).then(|| MeshKey::from_bytes(key.try_into().expect("the rest of a grant is a key")))
}

fn halves(answer: &[u8; ANSWER_BYTES]) -> ([u8; 32], blake3::Hash) {
    let (nonce, proof) = answer.split_at(32);
    let part = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).expect("half of an answer");
    (part(nonce), blake3::Hash::from(part(proof)))
}
