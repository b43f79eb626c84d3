//! Taking up an invitation: the mesh key, and where the mesh is.

use std::path::Path;

use banyan_gossip::PeerId;

use super::{
    host::{self, Multiaddr, RedeemError},
    keys::{self, KeyStore},
    types::JoinError,
};
use crate::admission::Token;

/// Takes up an invitation for the node that keeps its identity in `data_dir`: asks the node that invited for
/// the mesh key, and keeps the key and the addresses there. `false`: it has a key already, and nothing was done.
///
/// # Errors
/// See [`JoinError`].
pub async fn join(token: &Token, data_dir: &Path) -> Result<bool, JoinError> {
    let store = KeyStore { keys: Some(keys::key_file(data_dir)), invites: None };
    if !store.load(true)?.keys().is_empty() || keys::bootstrap_file(data_dir).exists() {
        return Ok(false);
    }
    let addresses: Vec<Multiaddr> = token.addresses.iter().filter_map(|text| host::parse_address(text).ok()).collect();
    let inviter: PeerId = token.inviter;
    let key = host::redeem(token, &addresses).await.map_err(|error| match error {
        RedeemError::Refused => JoinError::Refused,
        RedeemError::Unreachable(reason) => JoinError::Unreachable { inviter, reason },
    })?;
    super::data_dir::make(data_dir).map_err(|error| keys::file_error(data_dir, &error))?;
    if let Some(key) = key {
        keys::save_keys(&keys::key_file(data_dir), &[key])?;
    }
    keys::save_bootstraps(data_dir, inviter, &addresses)?;
    Ok(true)
}
