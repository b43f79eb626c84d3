//! What goes into a tree and what comes out.

use std::{fmt, sync::Arc, time::Duration};

use banyan_gossip::{PeerId, table::PeerTable};

use crate::{Event, LinkSettings, Message, Rules, SlotPool};

/// What a tree sees of its node.
pub struct Context<'a> {
    /// Everyone in the mesh.
    pub peers: &'a PeerTable,
    /// The slots that all trees of the node share.
    pub slots: &'a mut SlotPool,
    /// The node's links.
    pub links: &'a dyn Links,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("slots", self.slots).finish_non_exhaustive()
    }
}

/// The control links of a node.
pub trait Links {
    /// Whether there is a link to this peer.
    fn linked(&self, peer: &PeerId) -> bool;
    /// Whether nothing has come over the link for so long that its peer is not to be asked: it was
    /// [`Input::Lost`], and not heard since.
    fn silent(&self, _peer: &PeerId) -> bool {
        false
    }
    /// Its round-trip time, if known.
    fn rtt(&self, peer: &PeerId) -> Option<Duration>;
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This node publishes the track.
    Publish {
        /// Greater than that of any earlier publication.
        epoch: u64,
    },
    /// The publication is complete: children are still served and accepted.
    EndPublish,
    /// This node wants the track.
    Subscribe,
    /// This node relays the track for others' sake, until nobody needs it. Nothing happens if it has a
    /// part in the track already; [`Input::Subscribe`] makes an ordinary member of it.
    Volunteer,
    /// This node no longer wants the track: hand the children over, then [`Output::Left`].
    Unsubscribe,
    /// What the node's ring can serve: the objects `oldest..next`. At most 20 a second.
    Ring {
        /// Oldest object id held.
        oldest: u64,
        /// The id that comes next; 0 while nothing was ever received.
        next: u64,
    },
    /// The data stream from a parent has brought objects up to `next`. Matters while a parent is [on
    /// trial](crate::Tree::on_trial); at most 20 a second.
    Brought {
        /// The ticket of the stream.
        ticket: u64,
        /// The id after the newest object that came in it.
        next: u64,
    },
    /// A message came.
    Message {
        /// The peer at the other end of the link.
        from: PeerId,
        /// What it said.
        message: Message,
    },
    /// A control link is up.
    LinkUp {
        /// To whom.
        peer: PeerId,
    },
    /// A control link is gone.
    LinkDown {
        /// To whom.
        peer: PeerId,
    },
    /// An [`Output::Connect`] could not be carried out.
    ConnectFailed {
        /// To whom.
        peer: PeerId,
    },
    /// Nothing was heard of the parent for a moment. `Heard`, `Lost` or `LinkDown` follows.
    Silent {
        /// The parent.
        peer: PeerId,
    },
    /// Nothing was heard of a peer for so long that it is of no use, though its link is still there.
    /// `Heard` or `LinkDown` follows.
    Lost {
        /// The peer.
        peer: PeerId,
    },
    /// A peer that was silent, or lost, was heard again.
    Heard {
        /// The peer.
        peer: PeerId,
    },
    /// A child opened its data stream.
    ChildOpened {
        /// The child.
        peer: PeerId,
        /// The ticket that it shows.
        ticket: u64,
    },
    /// A child's data stream is gone.
    ChildClosed {
        /// The child.
        peer: PeerId,
        /// Its ticket.
        ticket: u64,
    },
    /// The data stream from a parent works.
    ParentOpened {
        /// The parent.
        peer: PeerId,
        /// The ticket that it gave.
        ticket: u64,
    },
    /// The data stream from a parent broke or was refused.
    ParentClosed {
        /// The parent.
        peer: PeerId,
        /// The ticket that it gave.
        ticket: u64,
        /// Why, for people.
        reason: String,
    },
    /// A peer was found to lie about the track: it is left, and not asked for long.
    Lied {
        /// The peer.
        peer: PeerId,
    },
    /// Rows of the table changed.
    TableChanged,
    /// The capacity of the node's slots changed.
    CapacityChanged,
    /// These rules hold from now on: children that may not follow the track go, and so does an origin that may not
    /// publish it.
    Rules(Arc<Rules>),
    /// The node shuts down: hand the children over, then [`Output::Left`].
    Leave,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a message over the link to a peer.
    Send {
        /// To whom.
        to: PeerId,
        /// The message.
        message: Message,
    },
    /// Get a link to a peer; answer with `LinkUp` or `ConnectFailed`.
    Connect {
        /// To whom.
        peer: PeerId,
    },
    /// Open the data stream from a parent; answer with `ParentOpened` or `ParentClosed`. A stream
    /// from a former parent stays open until its `Close`.
    Open {
        /// The parent.
        parent: PeerId,
        /// The ticket to show.
        ticket: u64,
        /// The epoch of the publication.
        epoch: u64,
        /// Who publishes it.
        origin: PeerId,
        /// Distance from it, with this parent.
        depth: u8,
        /// What the parent says of this link (A16).
        settings: LinkSettings,
    },
    /// Close the data stream from a parent, without an answer.
    Close {
        /// The parent.
        parent: PeerId,
        /// Its ticket.
        ticket: u64,
        /// Whether it may still owe this node something. If not, tell it so on the stream, once those here have consumed
        /// what any other parent had when its stream opened: it need not keep anything then.
        owed: bool,
    },
    /// Feed a child.
    Serve {
        /// The child.
        child: PeerId,
        /// Its ticket.
        ticket: u64,
    },
    /// Refuse the stream that a child opened.
    Reject {
        /// The child.
        child: PeerId,
        /// The ticket that it showed.
        ticket: u64,
    },
    /// Stop feeding a child and close its stream, without an answer.
    Drop {
        /// The child.
        child: PeerId,
        /// Its ticket.
        ticket: u64,
    },
    /// [`Tree::entry`](crate::Tree::entry) says something else now.
    RowChanged,
    /// Something that people may want to know.
    Event(Event),
    /// This node has no part in the track any more; nothing more will come.
    Left,
}
