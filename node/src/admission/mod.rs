//! Who may talk to a node (C7): mesh keys, the handshake that proves one, invitations.
//!
//! Right after a connection is authenticated and before any other protocol is answered, both ends
//! prove on its first stream that they know a key of the mesh. A proof is a keyed BLAKE3 hash over the
//! peer ids of both ends, both nonces, the mesh name and the role, so that it is worth nothing on any other
//! connection, in the other direction or in another mesh. A mesh without a key is open: there the
//! proof shows only that both ends mean the same mesh.
//!
//! | message | bytes |
//! |---|---|
//! | dialer: hello | `banyan`, version (1), id of an invitation or zeros (8), nonce (32) |
//! | listener: answer | nonce (32), proof (32) |
//! | dialer: proof | proof (32) |
//! | listener, to the invited only: grant | whether the mesh has a key (1), the key or zeros (32) |
//!
//! The listener proves first, with the key that it *uses*; the dialer answers with the one of its *accepted*
//! keys that this proof shows. So keys are changed without a break: accepted everywhere first, then used
//! everywhere, then the old one removed.

mod gate;
mod handshake;
mod invite;
mod key;
mod keyring;

#[cfg(test)]
mod tests;

pub use gate::Gate;
pub use handshake::{
    ANSWER_BYTES, Admitted, Binding, Dialing, GRANT_BYTES, HELLO_BYTES, Listening, NotAdmitted, PROOF_BYTES, grant,
    read_grant,
};
pub use invite::{InvalidToken, Invite, InviteId, Token};
pub use key::{Fingerprint, InvalidKey, MeshKey};
pub use keyring::{INVITES_MAX, KEYS_MAX, Keyring, KeyringError};
