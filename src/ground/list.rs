//! Doubly linked lists through a table of links: any number of lists over one set of indices,
//! each index in at most one of them. O(1) everything, no allocation per node.

/// No index.
pub(crate) const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

/// One list: its ends and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NIL, tail: NIL, len: 0 }
    }
}

impl List {
    #[inline]
    pub(crate) fn head(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    #[inline]
    pub(crate) fn tail(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The links of all indices.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    /// What one index takes.
    #[cfg(test)]
    pub(crate) const BYTES_EACH: usize = size_of::<Link>();

    /// Indices there is room for.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn prev(&self, index: u32) -> Option<u32> {
        let prev = self.0[index as usize].prev;
        (prev != NIL).then_some(prev)
    }

    pub(crate) fn next(&self, index: u32) -> Option<u32> {
        let next = self.0[index as usize].next;
        (next != NIL).then_some(next)
    }

    pub(crate) fn push_back(&mut self, list: &mut List, index: u32) {
        self.insert_after(list, list.tail(), index);
    }

    /// Inserts behind `after`; at the front when that is `None`.
    #[inline]
    pub(crate) fn insert_after(&mut self, list: &mut List, after: Option<u32>, index: u32) {
        let next = after.map_or(list.head, |after| self.0[after as usize].next);
        self.ensure(index);
        self.0[index as usize] = Link { prev: after.unwrap_or(NIL), next };
        match after {
            Some(after) => self.0[after as usize].next = index,
            None => list.head = index,
        }
        match next {
            NIL => list.tail = index,
            next => self.0[next as usize].prev = index,
        }
        list.len += 1;
    }

    #[inline]
    pub(crate) fn unlink(&mut self, list: &mut List, index: u32) {
        let Link { prev, next } = self.0[index as usize];
        match prev {
            NIL => list.head = next,
            prev => self.0[prev as usize].next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.0[next as usize].prev = prev,
        }
        list.len -= 1;
    }

    #[inline]
    fn ensure(&mut self, index: u32) {
        let needed = index as usize + 1;
        if self.0.len() < needed {
            self.0.resize(needed, Link { prev: NIL, next: NIL });
        }
    }
}
