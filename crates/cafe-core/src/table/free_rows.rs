//! Which rows of a pool have no owner.

use std::borrow::Cow;

use crate::state::{StateError, StateMap, StateView, array};

const NAME: &str = "free_rows";

/// The rows `0..n_rows` that no feature owns; the last one is assigned next.
#[derive(Clone, Debug)]
pub(crate) struct FreeRows {
    n_rows: usize,
    free: Vec<u32>,
}

impl FreeRows {
    /// All of `n_rows` rows, the first to be assigned first.
    pub(crate) fn new(n_rows: usize) -> Self {
        Self { n_rows, free: (0..n_rows as u32).rev().collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Rows that have an owner.
    pub(crate) fn n_owned(&self) -> usize {
        self.n_rows - self.free.len()
    }

    /// The row that [`FreeRows::pop`] would return.
    pub(crate) fn next(&self) -> Option<u32> {
        self.free.last().copied()
    }

    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.free.pop()
    }

    pub(crate) fn push(&mut self, row_idx: u32) {
        self.free.push(row_idx);
    }

    /// Bytes of the list when no row has an owner.
    pub(crate) fn bytes(&self) -> u64 {
        (self.n_rows * size_of::<u32>()) as u64
    }

    pub(crate) fn state(&self) -> (&'static str, StateView<'_>) {
        (NAME, StateView::U32(Cow::Borrowed(&self.free)))
    }

    /// The list that [`FreeRows::state`] described, beside the rows that are `owned` according to
    /// the rest of the state.
    ///
    /// # Errors
    /// If a row is neither free nor owned, or twice so, or out of range.
    pub(crate) fn restored(
        &self,
        state: &StateMap<'_>,
        owned: impl Iterator<Item = u32>,
    ) -> Result<Self, StateError> {
        let damaged = |why: String| StateError::Damaged { name: NAME, why };
        let given = array::<u32>(state, NAME)?;
        let mut seen = vec![false; self.n_rows];
        for row_idx in given.iter().copied().chain(owned) {
            let slot = seen.get_mut(row_idx as usize).filter(|seen| !**seen);
            *slot.ok_or_else(|| {
                damaged(format!("row {row_idx} is out of range or has two owners"))
            })? = true;
        }
        if seen.contains(&false) {
            return Err(damaged("a row is neither free nor owned".into()));
        }
        // Room for all rows: `update` must not allocate when they come back.
        let mut free = Vec::with_capacity(self.n_rows);
        free.extend_from_slice(given);
        Ok(Self { n_rows: self.n_rows, free })
    }
}
