//! What changes the node while it runs.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use banyan_gossip::{
    PeerId,
    op::UserEventError,
    row::{TAG_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX},
};
use banyan_tree::Rules;
use tokio::sync::oneshot;

use super::{Core, events::event_id, links::DialFor};
use crate::net::{host::Multiaddr, types::NodeError};

/// A change that a user of the node asks for.
#[derive(Debug)]
pub(crate) enum ControlRequest {
    /// Offer so many slots.
    Capacity(u16, oneshot::Sender<()>),
    /// Say these things in the own row, and no longer those. The answer: all that is said now.
    Tags {
        set: BTreeMap<String, String>,
        unset: Vec<String>,
        reply: oneshot::Sender<Result<BTreeMap<String, String>, NodeError>>,
    },
    /// Say this and nothing else in the own row.
    AllTags(BTreeMap<String, String>, oneshot::Sender<Result<(), NodeError>>),
    /// Go by these rules.
    Rules(Rules, oneshot::Sender<()>),
    /// Tell the whole mesh. The answer: the event's id.
    Tell { name: String, payload: String, reply: oneshot::Sender<Result<String, UserEventError>> },
    /// Dial an address once. The answer: who is there.
    Join(Multiaddr, oneshot::Sender<Result<PeerId, NodeError>>),
    /// Join by these addresses from now on, and by those that an invitation named.
    Bootstraps(Vec<Multiaddr>, oneshot::Sender<()>),
}

impl Core {
    pub(super) fn on_control_request(&mut self, request: ControlRequest) {
        let now = Instant::now();
        match request {
            ControlRequest::Capacity(slots, reply) => {
                self.mesh.set_capacity(now, slots);
                let _ = reply.send(());
            }
            ControlRequest::Tags { set, unset, reply } => {
                let mut tags = self.mesh.config().tags.clone();
                tags.retain(|key, _| !unset.contains(key));
                tags.extend(set);
                let _ = reply.send(self.set_tags(now, tags.clone()).map(|()| tags));
            }
            ControlRequest::AllTags(tags, reply) => {
                let _ = reply.send(self.set_tags(now, tags));
            }
            ControlRequest::Rules(rules, reply) => {
                self.mesh.set_rules(now, Arc::new(rules));
                let _ = reply.send(());
            }
            ControlRequest::Tell { name, payload, reply } => {
                let _ = reply.send(self.mesh.tell(now, name, payload).map(|event| event_id(&event.id)));
            }
            ControlRequest::Join(address, reply) => {
                let dial = self.number_dial(DialFor::Join);
                self.joining.retain(|_, waiting| !waiting.is_closed());
                self.joining.insert(dial, reply);
                self.try_dial(dial, None, vec![address]);
            }
            ControlRequest::Bootstraps(addresses, reply) => {
                self.dials.retain(|_, purpose| !matches!(purpose, DialFor::Bootstrap(_)));
                self.bootstraps.splice(..self.bootstraps_named, addresses.iter().cloned());
                self.bootstraps_named = addresses.len();
                self.mesh.set_bootstraps(now, self.bootstraps.len());
                let _ = reply.send(());
            }
        }
    }

    fn set_tags(&mut self, now: Instant, tags: BTreeMap<String, String>) -> Result<(), NodeError> {
        check_tags(&tags)?;
        self.mesh.set_tags(now, tags);
        Ok(())
    }

    pub(super) fn on_join_failed(&mut self, dial: u64, reason: &str) {
        if let Some(waiting) = self.joining.remove(&dial) {
            let reason = reason.to_owned();
            // Whoever waits knows which address it is.
            let _ = waiting.send(Err(NodeError::NotJoined { address: String::new(), reason }));
        }
    }
}

/// Whether others would take the tags in a row.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), NodeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
    for (key, value) in tags {
        if key.is_empty() || key.len() > TAG_KEY_BYTES_MAX || !key.bytes().all(plain) {
            return Err(NodeError::InvalidTag("a tag's key has 1 to 32 characters of A-Z a-z 0-9 . _ / -"));
        }
        if value.len() > TAG_VALUE_BYTES_MAX || value.contains(char::is_control) {
            return Err(NodeError::InvalidTag("a tag's value has at most 64 bytes and no control characters"));
        }
    }
    if tags.len() > TAGS_MAX { Err(NodeError::InvalidTag("a node has at most 16 tags")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(key: &str, value: &str) -> bool {
        check_tags(&BTreeMap::from([(key.to_owned(), value.to_owned())])).is_ok()
    }

    #[test]
    fn tags_are_bounded_e3() {
        assert!(checked("site", "Berlin, 3rd floor") && checked("a/b.c-d_E", "") && checked("a", &"x".repeat(64)));
        assert!(!checked("", "a") && !checked("ä", "a") && !checked(&"x".repeat(33), "a"));
        assert!(!checked("a", &"x".repeat(65)) && !checked("a", "\u{1b}[2J"));
        let many = |count: usize| (0..count).map(|index| (index.to_string(), String::new())).collect();
        assert!(check_tags(&many(16)).is_ok() && check_tags(&many(17)).is_err());
    }
}
