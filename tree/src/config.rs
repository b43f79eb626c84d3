//! The numbers of a tree.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Rules;

/// What a parent hands a child with the acceptance; authoritative for that link (A16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSettings {
    /// Objects that the child's ring keeps at least.
    pub ring_objects: u32,
    /// How long the child's ring keeps objects at least, in milliseconds.
    pub ring_ms: u32,
    /// Payload bytes that the child's ring keeps at most.
    pub ring_bytes: u32,
    /// Between two pulses of the parent, in milliseconds.
    pub heartbeat_ms: u32,
    /// Parents that the child chooses in advance.
    pub backups: u8,
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self { ring_objects: 256, ring_ms: 5_000, ring_bytes: 8 << 20, heartbeat_ms: 100, backups: 3 }
    }
}

/// The numbers of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Peers that the origin feeds directly (A2).
    pub root_slots: u16,
    /// Greatest depth of any node; at most [`PATH_MAX`](crate::PATH_MAX).
    pub max_depth: u8,
    /// Slots that only repairs may take; effectively at most a quarter of the capacity.
    pub repair_slots: u16,
    /// No peer is believed to have more slots than this (A4).
    pub capacity_ceiling: u16,
    /// What this node hands its children.
    pub settings: LinkSettings,
    /// How long a reserved slot waits for the child's data stream.
    pub reserve: Duration,
    /// How long a data stream may take to open.
    pub open_timeout: Duration,
    /// How long a link may take to come up.
    pub connect_timeout: Duration,
    /// How long a first join waits for its answer.
    pub join_timeout: Duration,
    /// How long a repair waits for its answer, beside the round-trip time, before it asks somebody else
    /// too; a late answer is welcome as long as there is no other.
    pub repair_timeout: Duration,
    /// How long a refused offer counts as used up if the refuser's row does not change.
    pub refused_for: Duration,
    /// First and longest wait before looking again when nobody can be asked.
    pub backoff: (Duration, Duration),
    /// Candidates asked in a row before the backoff.
    pub burst: u32,
    /// An origin that was heard of within this is alive.
    pub origin_fresh: Duration,
    /// How long a child that is shed may look for another parent.
    pub shed_patience: Duration,
    /// How long the children of a leaving node may look for another parent.
    pub leave_patience: Duration,
    /// A move that gains this many levels is made at once.
    pub move_gain: u8,
    /// How long a move that gains one level must have been possible.
    pub one_level_patience: Duration,
    /// Between two moves.
    pub move_pause: Duration,
    /// Between two looks through the table while a parent is sought.
    pub look_pause: Duration,
    /// Between two looks through the table for backups and better places.
    pub upkeep_pause: Duration,
    /// A node whose fragment is not attached again after this looks for a parent by itself.
    pub stalled_patience: Duration,
    /// First and longest wait before another volunteer is asked while every slot is taken.
    pub summon_backoff: (Duration, Duration),
    /// How long a volunteer stays that nobody needs.
    pub volunteer_patience: Duration,
    /// Whether a parent that brings nothing is doubted, and somebody else tried beside it. Off by default: trees without
    /// objects have nothing to doubt.
    pub doubts: bool,
    /// Who may publish and who may follow the track.
    pub rules: Arc<Rules>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            root_slots: 30,
            max_depth: 16,
            repair_slots: 2,
            capacity_ceiling: 32,
            settings: LinkSettings::default(),
            reserve: Duration::from_secs(2),
            open_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(2),
            join_timeout: Duration::from_secs(1),
            repair_timeout: Duration::from_millis(60),
            refused_for: Duration::from_secs(5),
            backoff: (Duration::from_millis(200), Duration::from_secs(5)),
            burst: 16,
            origin_fresh: Duration::from_secs(3),
            shed_patience: Duration::from_secs(10),
            leave_patience: Duration::from_secs(2),
            move_gain: 2,
            one_level_patience: Duration::from_secs(30),
            move_pause: Duration::from_secs(10),
            look_pause: Duration::from_millis(50),
            upkeep_pause: Duration::from_secs(1),
            stalled_patience: Duration::from_secs(20),
            summon_backoff: (Duration::from_millis(400), Duration::from_secs(10)),
            volunteer_patience: Duration::from_secs(30),
            doubts: false,
            rules: Arc::default(),
        }
    }
}
