//! The slots of a node: how many children it feeds over all its tracks.

/// One count for all trees of a node. Strict at every instant: nothing is admitted while
/// `used ≥ capacity`, where `used` counts children and reservations alike (A3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPool {
    capacity: u16,
    used: u16,
    /// Children, of those in `used`, that were told to go elsewhere because capacity was lowered.
    shedding: u16,
}

impl SlotPool {
    /// A pool of free slots.
    #[must_use]
    pub const fn new(capacity: u16) -> Self {
        Self { capacity, used: 0, shedding: 0 }
    }

    /// Slots offered.
    #[must_use]
    pub const fn capacity(&self) -> u16 {
        self.capacity
    }

    /// Slots taken by children and reservations. Above the capacity only while a lowered capacity
    /// is being enforced.
    #[must_use]
    pub const fn used(&self) -> u16 {
        self.used
    }

    /// Slots not taken.
    #[must_use]
    pub const fn free(&self) -> u16 {
        self.capacity.saturating_sub(self.used)
    }

    /// Slots that a normal join may take: the last `repair_slots` are kept for repairs.
    #[must_use]
    pub fn free_for_joins(&self, repair_slots: u16) -> u16 {
        self.free().saturating_sub(self.effective_repair_slots(repair_slots))
    }

    /// Offers another number of slots. Tell every tree with [`Input::CapacityChanged`](crate::Input::CapacityChanged).
    pub const fn set_capacity(&mut self, capacity: u16) {
        self.capacity = capacity;
    }

    /// A small node keeps at most a quarter of its slots for repairs.
    fn effective_repair_slots(&self, repair_slots: u16) -> u16 {
        repair_slots.min(self.capacity / 4)
    }

    /// Takes a slot. `false`: there is none.
    #[must_use]
    pub(crate) const fn take(&mut self) -> bool {
        let free = self.used < self.capacity;
        if free {
            self.used += 1;
        }
        free
    }

    pub(crate) fn release(&mut self) {
        debug_assert!(self.used > 0, "more slots are released than were taken");
        self.used = self.used.saturating_sub(1);
    }

    /// Children that have to go and were not told yet.
    pub(crate) const fn overflow(&self) -> u16 {
        self.used.saturating_sub(self.shedding).saturating_sub(self.capacity)
    }

    /// Children that were told to go although there is room for them again.
    pub(crate) fn reprieve(&self) -> u16 {
        (self.capacity + self.shedding).saturating_sub(self.used).min(self.shedding)
    }

    pub(crate) const fn shed(&mut self) {
        self.shedding += 1;
    }

    pub(crate) fn unshed(&mut self) {
        debug_assert!(self.shedding > 0, "more sheds end than began");
        self.shedding = self.shedding.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slot_is_given_once_a3() {
        let mut pool = SlotPool::new(2);
        assert!(pool.take());
        assert!(pool.take());
        assert!(!pool.take());
        pool.release();
        assert_eq!(pool.free(), 1);
        assert!(pool.take());
    }

    #[test]
    fn repair_slots_are_at_most_a_quarter() {
        assert_eq!(SlotPool::new(0).free_for_joins(2), 0);
        assert_eq!(SlotPool::new(3).free_for_joins(2), 3);
        assert_eq!(SlotPool::new(4).free_for_joins(2), 3);
        assert_eq!(SlotPool::new(8).free_for_joins(2), 6);
        assert_eq!(SlotPool::new(32).free_for_joins(2), 30);
    }

    #[test]
    fn overflow_counts_each_child_once_a4() {
        let mut pool = SlotPool::new(4);
        for _ in 0..4 {
            assert!(pool.take());
        }
        pool.set_capacity(2);
        assert_eq!(pool.overflow(), 2);
        pool.shed();
        assert_eq!((pool.overflow(), pool.reprieve()), (1, 0));
        pool.set_capacity(4);
        assert_eq!((pool.overflow(), pool.reprieve()), (0, 1));
    }
}
