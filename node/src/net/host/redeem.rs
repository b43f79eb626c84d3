//! One dial with an invitation, before there is a host.

use std::{io, time::Duration};

use libp2p::{
    Multiaddr, Transport,
    core::{
        Endpoint,
        transport::{DialOpts, PortUse},
    },
    identity::Keypair,
};
use tokio::time::timeout;

use super::{door, ids, resolve, transport};
use crate::admission::{MeshKey, NotAdmitted, Token};

/// Longest time at one address.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why an invitation could not be redeemed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedeemError {
    #[error("the invitation is not good")]
    Refused,
    #[error("{0}")]
    Unreachable(String),
}

/// Asks the node that invited for the mesh key; `None` in an open mesh. Addresses are tried in turn.
pub(crate) async fn redeem(token: &Token, addresses: &[Multiaddr]) -> Result<Option<MeshKey>, RedeemError> {
    let guest = Keypair::generate_ed25519();
    let unreachable = |error: &dyn std::fmt::Display| RedeemError::Unreachable(error.to_string());
    let mut transport = transport::authenticated(&guest).map_err(|error| unreachable(&error))?;
    let me = ids::from_libp2p(&guest.public().to_peer_id()).expect("it has an Ed25519 key");
    let (resolved, mut reason) = resolve::resolve(addresses.to_vec()).await;
    for address in resolved {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let attempt = async {
            let address = resolve::bare(&address);
            let dial = transport.dial(address, options).map_err(io::Error::other)?;
            let (found, mut muxer) = dial.await?;
            if ids::from_libp2p(&found) != Some(token.inviter) {
                return Err(io::Error::other("another node answered"));
            }
            let binding = door::binding(&token.mesh, me, token.inviter);
            door::redeem(&mut muxer, binding, token.id, &token.secret).await
        };
        match timeout(TIMEOUT, attempt).await {
            Ok(Ok(key)) => return Ok(key),
            Ok(Err(error)) if error.get_ref().is_some_and(|error| error.is::<NotAdmitted>()) => {
                return Err(RedeemError::Refused);
            }
            Ok(Err(error)) => reason = Some(format!("{address}: {error}")),
            Err(_) => reason = Some(format!("{address}: no answer within 5 s")),
        }
    }
    Err(RedeemError::Unreachable(reason.unwrap_or_else(|| "it gave no address that can be dialled".to_owned())))
}
