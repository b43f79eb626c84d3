//! Gossip and the trees of all tracks, composed.
