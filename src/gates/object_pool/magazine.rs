//! So many values, moved as one.

/// A stack of at most `room` values, allocated once. One without room is nowhere: it stands for a
/// magazine that is not there, being empty and full at once.
#[derive(Debug)]
pub(super) struct Magazine<T> {
    values: Vec<T>,
    room: usize,
}

impl<T> Magazine<T> {
    pub(super) fn new(room: usize) -> Self {
        Self { values: Vec::with_capacity(room), room }
    }

    pub(super) const fn absent() -> Self {
        Self { values: Vec::new(), room: 0 }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.room == 0
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.values.len() >= self.room
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        self.values.pop()
    }

    /// Takes out so many of those that have been here for longest.
    pub(super) fn oldest(&mut self, count: usize) -> impl Iterator<Item = T> + '_ {
        self.values.drain(..count)
    }

    /// It has room. So nothing is allocated here.
    #[inline]
    pub(super) fn push(&mut self, value: T) {
        debug_assert!(!self.is_full(), "a magazine never grows");
        self.values.push(value);
    }
}
