//! The systems under test.

mod banyan;
mod certificate;
mod gossipsub;
mod iroh;
mod relay_tree;
mod zenoh;

use crate::system::System;

use self::{banyan::Banyan, gossipsub::Gossipsub, iroh::Iroh, relay_tree::RelayTree, zenoh::Zenoh};

/// What all others are compared with.
pub(crate) const REFERENCE: &str = "tls-tree";
/// What this is about.
pub(crate) const SUBJECT: &str = "banyan";

/// All of them, in the order of the tables.
pub(crate) static SYSTEMS: [&dyn System; 9] = [
    &Banyan,
    &RelayTree { tls: true },
    &RelayTree { tls: false },
    &Zenoh { tls: true, star: false },
    &Zenoh { tls: true, star: true },
    &Zenoh { tls: false, star: false },
    &Zenoh { tls: false, star: true },
    &Iroh,
    &Gossipsub,
];

/// Finds a system by its name; the error lists what there is.
///
/// # Errors
/// A sentence for the person who gave the name.
pub(crate) fn find(name: &str) -> Result<&'static dyn System, String> {
    SYSTEMS.into_iter().find(|system| system.name() == name).ok_or_else(|| {
        let names: Vec<_> = SYSTEMS.iter().map(|system| system.name()).collect();
        format!("no system is called {name:?}; there are {}", names.join(", "))
    })
}
