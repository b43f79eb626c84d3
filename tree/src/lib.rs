//! The relay tree of a track: who feeds whom.
//!
//! The origin feeds a few peers, each of them feeds a few more. No peer sees the whole tree or plans
//! it: every node runs one [`Tree`] a track, chooses its own parent from the gossiped
//! [`PeerTable`](banyan_gossip::table::PeerTable), and admits its own children.
//!
//! # Driving a tree
//! [`Tree`] is a pure machine: time, randomness, the table, the node's slots and its links are
//! arguments.
//!
//! 1. Feed what happened with [`Tree::handle_input`], or call [`Tree::handle_timeout`] when
//!    [`Tree::poll_timeout`] is due (earlier or later does no harm).
//! 2. Take every [`Output`] with [`Tree::poll_output`] and carry it out, in order.
//! 3. On [`Output::RowChanged`], put [`Tree::entry`] into the node's own row.
//! 4. After [`Output::Left`], drop the tree.
//!
//! # What keeps the tree a tree
//! A node's *root path* lists its ancestors, topmost first. A parent refuses whoever stands in its
//! current root path, path changes are pushed down at once, and whoever sees itself in its own path
//! detaches. A path that does not begin at the origin belongs to a *fragment*: its nodes stay
//! together and wait for their top to find a parent, and accept nobody meanwhile.
//!
//! # What serves those for whom no slot is left
//! A node that finds every slot of the track taken asks members that do not follow it, one at a time,
//! to relay it ([`Message::Summon`]). Such a *volunteer* takes part like any other ([`Input::Volunteer`]),
//! and leaves when nobody has needed it for a while.
//!
//! # What keeps a parent from keeping things to itself
//! When nothing has come for longer than usual, somebody else is opened beside the parent. What that one brings and the
//! parent does not ([`Input::Brought`]), the parent has withheld: it is given up and named.
//!
//! # What keeps the load within bounds
//! Children and reservations of all tracks draw from one [`SlotPool`] a node; a slot is reserved
//! when a child is accepted and committed when its data stream opens.

mod admission;
mod answer;
mod attempt;
mod backup;
mod children;
mod choice;
mod config;
mod event;
mod explain;
mod io;
mod leaving;
mod machine;
mod message;
mod moves;
mod pick;
mod publication;
mod rules;
mod slots;
mod source;
mod upstream;
mod view;
mod volunteer;
mod withheld;

pub use config::{Config, LinkSettings};
pub use event::{DetachReason, Event, MoveReason, State, StuckReason};
pub use explain::{CANDIDATES_MAX, Candidate, Explanation, Search, Step, Verdict};
pub use io::{Context, Input, Links, Output};
pub use machine::Tree;
pub use message::{BACKUPS_MAX, Malformed, Message, PATH_MAX, RefuseReason, TRY_INSTEAD_MAX, Unwilling};
pub use rules::{RULE_BYTES_MAX, RULES_MAX, Right, Rule, RuleError, Rules};
pub use slots::SlotPool;
pub use source::Source;
pub use upstream::NotAsked;
pub use volunteer::VOLUNTEER_SLOTS_MIN;
