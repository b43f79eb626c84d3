//! What users of a node may change while it runs.

use std::{collections::BTreeMap, time::Duration};

use banyan_gossip::PeerId;
use banyan_tree::Rules;
use tokio::time::timeout;

use super::{
    core::{ControlRequest, Request},
    host,
    node::Node,
    types::NodeError,
};

/// Time for a join: longer than any dial and greeting takes.
const JOIN: Duration = Duration::from_secs(25);
/// Most bootstrap addresses.
const BOOTSTRAPS_MAX: usize = 64;

impl Node {
    /// Offers another number of slots from now on (A4). Lowering it sends children elsewhere, gently;
    /// raising it lets others in.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn set_capacity(&self, slots: u16) -> Result<(), NodeError> {
        self.ask(|reply| Request::Control(ControlRequest::Capacity(slots, reply))).await
    }

    /// Changes what this node says of itself to everybody; what is in both is set. Returns all that it says now.
    ///
    /// # Errors
    /// [`NodeError::InvalidTag`]: nothing has changed. [`NodeError::Shutdown`].
    pub async fn change_tags(
        &self,
        set: BTreeMap<String, String>,
        unset: Vec<String>,
    ) -> Result<BTreeMap<String, String>, NodeError> {
        self.ask(|reply| Request::Control(ControlRequest::Tags { set, unset, reply })).await?
    }

    /// Says these things of itself and nothing else.
    ///
    /// # Errors
    /// As [`Node::change_tags`].
    pub async fn set_tags(&self, tags: BTreeMap<String, String>) -> Result<(), NodeError> {
        self.ask(|reply| Request::Control(ControlRequest::AllTags(tags, reply))).await?
    }

    /// Goes by these rules from now on: children that may not follow a track are dropped, and origins that may not publish
    /// one are not followed any more. What this node itself publishes and follows goes on.
    ///
    /// # Errors
    /// [`NodeError::Shutdown`].
    pub async fn set_rules(&self, rules: Rules) -> Result<(), NodeError> {
        self.ask(|reply| Request::Control(ControlRequest::Rules(rules, reply))).await
    }

    /// Tells every node of the mesh, this one included: an [`Event::User`](crate::views::Event::User) each, once.
    /// Returns the event's id. A name has 1 to 64 bytes, a payload at most 512.
    ///
    /// # Errors
    /// [`NodeError::Event`]: nothing was told. [`NodeError::Shutdown`].
    pub async fn tell(&self, name: String, payload: String) -> Result<String, NodeError> {
        Ok(self.ask(|reply| Request::Control(ControlRequest::Tell { name, payload, reply })).await??)
    }

    /// Joins by an address: a multiaddr or `host:port`. Returns who is there. The address is tried once and
    /// not kept; those of the builder are.
    ///
    /// # Errors
    /// [`NodeError::Address`], [`NodeError::NotJoined`], [`NodeError::Shutdown`].
    pub async fn join(&self, address: &str) -> Result<PeerId, NodeError> {
        let multiaddr = parse(address)?;
        let not_joined = |reason| NodeError::NotJoined { address: shown(address), reason };
        let joined = self.ask(|reply| Request::Control(ControlRequest::Join(multiaddr, reply)));
        match timeout(JOIN, joined).await {
            Ok(Ok(Err(NodeError::NotJoined { reason, .. }))) => Err(not_joined(reason)),
            Ok(joined) => joined?,
            Err(_) => Err(not_joined("no answer in time".to_owned())),
        }
    }

    /// Joins by these addresses from now on, whenever it has to, and no longer by those given before.
    ///
    /// # Errors
    /// [`NodeError::Address`]: nothing has changed. [`NodeError::Shutdown`].
    pub async fn set_bootstraps(&self, addresses: &[String]) -> Result<(), NodeError> {
        let parsed = addresses.iter().map(|address| parse(address)).collect::<Result<Vec<_>, _>>()?;
        if parsed.len() > BOOTSTRAPS_MAX {
            let address = shown(&addresses[BOOTSTRAPS_MAX]);
            return Err(NodeError::Address { address, reason: "there are 64 others".to_owned() });
        }
        self.ask(|reply| Request::Control(ControlRequest::Bootstraps(parsed, reply))).await
    }
}

fn parse(address: &str) -> Result<host::Multiaddr, NodeError> {
    let invalid =
        |error: host::AddressError| NodeError::Address { address: shown(&error.text), reason: error.reason.to_owned() };
    host::parse_address(address).map_err(invalid)
}

/// Outside text for a message: bounded.
fn shown(address: &str) -> String {
    address.chars().take(160).collect()
}
