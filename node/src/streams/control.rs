//! What goes out beside data.

use super::{
    CloseBehavior, Reliability, StreamId,
    frame::{Channel, Frame},
    link::{Key, Link},
};

/// A frame to send, made when its turn has come, so that it says what is true then. Of a stream, each kind
/// waits at most once at a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    Open(Key),
    Grant(Key),
    Blocked(Key),
    Close(StreamId, CloseBehavior),
    Closed(StreamId),
    Refuse(Channel),
}

impl Link {
    /// `None`: it no longer means anything.
    pub(super) fn control_frame(&mut self, control: Control) -> Option<Frame> {
        match control {
            Control::Open(key) => {
                let stream = self.get(key).filter(|stream| self.ids.get(&stream.id) == Some(&key))?;
                let config = stream.tx.config;
                Some(Frame::Open {
                    channel: key.channel(),
                    id: stream.id,
                    reliable: config.reliability == Reliability::Reliable,
                    window: config.window,
                    window_max: config.window_max,
                })
            }
            Control::Grant(key) => self.get_mut(key)?.rx.as_mut().map(super::stream::Rx::grant),
            Control::Blocked(key) => {
                let wanted = self.get_mut(key)?.tx.tell()?;
                Some(Frame::Blocked { channel: key.channel(), wanted })
            }
            Control::Close(id, behavior) => Some(Frame::Close { id, drop: behavior == CloseBehavior::DropAndClose }),
            Control::Closed(id) => Some(Frame::Closed { id }),
            Control::Refuse(channel) => Some(Frame::Refuse { channel }),
        }
    }

    /// A message may have found no credit: tells the other end when it is time.
    pub(super) fn tell_blocked(&mut self, key: Key) {
        if self.get_mut(key).is_some_and(|stream| stream.tx.starts_telling()) {
            self.control.push_back(Control::Blocked(key));
        }
    }

    /// Something was read, or the other end is stopped: grants what there is to grant.
    pub(super) fn tend_window(&mut self, key: Key) {
        let pool = self.pool;
        let Some(rx) = self.get_mut(key).and_then(|stream| stream.rx.as_mut()) else { return };
        let growth = if rx.is_empty() { rx.window.wants_growth().min(pool) } else { 0 };
        if growth > 0 {
            rx.window.grow(growth);
        }
        let grants = !rx.granting && (growth > 0 || rx.window.grant_due());
        rx.granting |= grants;
        self.pool -= growth;
        if grants {
            self.control.push_back(Control::Grant(key));
        }
    }
}
