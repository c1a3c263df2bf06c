//! What the heads of a connection's requests may take together, and their trailers with them.
//!
//! HPACK unpacks a byte to thousands, and on its way to an endpoint a head is written out.

use std::cell::Cell;
use std::rc::Rc;

use crate::Limits;

/// Heads of the largest size that there is room for.
const HELD_HEADS: usize = 8;

/// The room of one connection.
#[derive(Clone, Debug)]
pub(super) struct HeldHeads(Rc<Room>);

#[derive(Debug)]
struct Room {
    taken: Cell<usize>,
    most: usize,
    closed: Cell<bool>,
}

impl HeldHeads {
    pub(super) fn new(limits: &Limits) -> Self {
        let most = limits.max_head_bytes.saturating_mul(HELD_HEADS);
        Self(Rc::new(Room { taken: Cell::new(0), most, closed: Cell::new(false) }))
    }

    /// There is no room for anything from now on: the connection ends.
    pub(super) fn close(&self) {
        self.0.closed.set(true);
    }

    /// Room for so many bytes more; none where too much of it is taken. One head always finds some.
    pub(super) fn hold(&self, bytes: usize) -> Option<HeldHead> {
        let taken = self.0.taken.get().checked_add(bytes)?;
        if taken > self.0.most || self.0.closed.get() {
            return None;
        }
        self.0.taken.set(taken);
        Some(HeldHead { heads: self.clone(), bytes })
    }
}

/// Room that is taken until dropped.
#[derive(Debug)]
pub(super) struct HeldHead {
    heads: HeldHeads,
    bytes: usize,
}

impl Drop for HeldHead {
    fn drop(&mut self) {
        let taken = &self.heads.0.taken;
        taken.set(taken.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room_for_others() {
        let heads = HeldHeads::new(&Limits { max_head_bytes: 1024, ..Limits::default() });
        let mut held: Vec<_> = (0..8).filter_map(|_| heads.hold(1024)).collect();
        assert_eq!(held.len(), 8);
        assert!(heads.hold(1).is_none() && heads.hold(usize::MAX).is_none());
        held.pop();
        assert!(heads.hold(1025).is_none());
        assert!(heads.hold(1024).is_some());
        heads.close();
        assert!(heads.hold(0).is_none());
    }
}
