//! What goes into gossip and what comes out, and its numbers.

use std::{fmt, time::Duration};

use crate::{MeshName, Message, PeerId, RowBody, SuspicionConfig, op::UserEvent};

/// Who this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalPeer {
    /// Its id.
    pub peer: PeerId,
    /// Greater than at any start before.
    pub incarnation: u64,
}

/// The numbers of gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The mesh; signatures hold in it alone.
    pub mesh: MeshName,
    /// New ops wait this long for others after a push.
    pub coalesce: Duration,
    /// Links that are to bring the news of others: about as often each op comes in. One less once half of
    /// `table_rows_max` rows are held.
    pub feeds: usize,
    /// Between two publications of the own row, unless urgent.
    pub row_interval: Duration,
    /// Between two rounds of anti-entropy, drawn between these.
    pub sync_interval: (Duration, Duration),
    /// A table up to this size is described entry by entry.
    pub full_digest_max: usize,
    /// How long suspects have.
    pub suspicion: SuspicionConfig,
    /// How long the dead and the departed are remembered; half of it they are shared.
    pub tombstone_life: Duration,
    /// Most rows of others held.
    pub table_rows_max: usize,
    /// News taken from one author: a second, and at once.
    pub author_rate: (u32, u32),
    /// A timer that runs later than this means that this node was starved.
    pub starved: Duration,
}

impl Config {
    /// The defaults for a mesh.
    #[must_use]
    pub fn new(mesh: MeshName) -> Self {
        Self {
            mesh,
            coalesce: Duration::from_millis(20),
            feeds: 3,
            row_interval: Duration::from_millis(250),
            sync_interval: (Duration::from_secs(10), Duration::from_secs(30)),
            full_digest_max: 100,
            suspicion: SuspicionConfig::default(),
            tombstone_life: Duration::from_secs(15 * 60),
            table_rows_max: 4096,
            author_rate: (20, 200),
            starved: Duration::from_millis(100),
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A link is up.
    LinkUp {
        /// To whom.
        peer: PeerId,
    },
    /// A link is gone.
    LinkDown {
        /// To whom.
        peer: PeerId,
        /// Whether it was closed on purpose: then nobody is suspected.
        graceful: bool,
    },
    /// A dial of a peer failed although its row says where it is. Liveness is watched by the two
    /// ends of a link; whoever loses all its neighbours at once has nobody else to notice it.
    Unreachable {
        /// Who.
        peer: PeerId,
    },
    /// A message came over a link.
    Message {
        /// From whom.
        from: PeerId,
        /// What it said.
        message: Message,
    },
    /// What the own row is to say.
    Update(RowBody),
    /// Say goodbye.
    Leave,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message over a link.
    Send {
        /// To whom.
        to: PeerId,
        /// The message.
        message: Message,
    },
    /// Something that others want to know.
    Event(Event),
    /// Somebody told the whole mesh something; never twice the same.
    UserEvent(UserEvent),
    /// Store this incarnation before anything that follows goes out.
    PersistIncarnation(u64),
}

/// What became of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is new, or back.
    Joined {
        /// Who.
        peer: PeerId,
        /// Its incarnation.
        incarnation: u64,
    },
    /// Its row changed.
    Updated {
        /// Who.
        peer: PeerId,
    },
    /// Somebody lost touch with it.
    Suspected {
        /// Who.
        peer: PeerId,
        /// Who says so first.
        by: PeerId,
    },
    /// It is there after all.
    Refuted {
        /// Who.
        peer: PeerId,
    },
    /// It was declared dead.
    Died {
        /// Who.
        peer: PeerId,
        /// The incarnation that is dead.
        incarnation: u64,
    },
    /// It said goodbye.
    Left {
        /// Who.
        peer: PeerId,
    },
    /// It breaks the rules of gossip; told now and then while it lasts.
    Misbehaved {
        /// Who.
        peer: PeerId,
        /// Which rule.
        offence: Offence,
    },
}

/// What no honest node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// It sent an op that its author did not sign. Nobody passes on what could not be verified.
    ForgedOp,
    /// It publishes far more than its share; what is beyond it is dropped.
    OpFlood,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForgedOp => "forged_op",
            Self::OpFlood => "op_flood",
        })
    }
}

/// What became of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was news.
    Applied,
    /// It is known.
    AlreadySeen,
    /// Something newer is known.
    Stale,
    /// It breaks a rule. Nothing has changed.
    Rejected(Reason),
}

/// Which rule an op breaks; its sender or its author is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error("malformed")]
    Malformed,
    /// A bound is exceeded.
    #[error("out of bounds")]
    OutOfBounds,
    /// The signature is not its author's for this mesh.
    #[error("bad signature")]
    BadSignature,
    /// Its author publishes too much.
    #[error("too many ops of this author")]
    RateLimited,
    /// It is of a dead peer that is not known, and there are enough of them.
    #[error("no room for more tombstones")]
    Full,
}
