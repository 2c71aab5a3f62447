//! Which row a feature owns, assigned at first sight: for the full table and for small fields.

use std::borrow::Cow;
use std::collections::HashMap;

use ahash::RandomState;

use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView, array, check_len};

/// A map from features to the rows that they own.
#[derive(Clone, Debug)]
pub(crate) struct OwnRows {
    map: HashMap<FeatureId, u32, RandomState>,
}

impl OwnRows {
    /// An empty map with room for `capacity` features.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        // Nothing iterates over the map in its own order, so the hasher's seed shows nowhere;
        // it is fixed all the same, so that runs cost the same.
        Self {
            map: HashMap::with_capacity_and_hasher(capacity, RandomState::with_seeds(1, 2, 3, 4)),
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: FeatureId) -> Option<u32> {
        self.map.get(&id).copied()
    }

    pub(crate) fn insert(&mut self, id: FeatureId, row_idx: u32) {
        self.map.insert(id, row_idx);
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// Bytes that the map occupies.
    pub(crate) fn bytes(&self) -> u64 {
        table_bytes(self.map.capacity())
    }

    /// Bytes that a map made for `capacity` features occupies.
    pub(crate) fn bytes_for(capacity: usize) -> u64 {
        // The standard map keeps an eighth of its cells free; its smallest tables hold 3 and 7.
        match capacity {
            0 => 0,
            1..4 => table_bytes(3),
            4..8 => table_bytes(7),
            n => table_bytes((n * 8 / 7 + usize::from(n * 8 % 7 > 0)).next_power_of_two() / 8 * 7),
        }
    }

    /// Every feature with its row, in the order of rows.
    pub(crate) fn iter_by_row(&self) -> impl Iterator<Item = (FeatureId, u32)> {
        let mut entries: Vec<(u32, FeatureId)> =
            self.map.iter().map(|(&id, &row)| (row, id)).collect();
        entries.sort_unstable();
        entries.into_iter().map(|(row_idx, id)| (id, row_idx))
    }

    /// Ids and rows, by row.
    pub(crate) fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        let (ids, rows): (Vec<u64>, Vec<u32>) =
            self.iter_by_row().map(|(id, row)| (id.raw(), row)).unzip();
        [
            ("own_ids", StateView::U64(Cow::Owned(ids))),
            ("own_rows", StateView::U32(Cow::Owned(rows))),
        ]
    }

    /// The map that [`OwnRows::state`] described.
    pub(crate) fn restored(capacity: usize, state: &StateMap<'_>) -> Result<Self, StateError> {
        let (ids, rows) = (array::<u64>(state, "own_ids")?, array::<u32>(state, "own_rows")?);
        check_len("own_rows", rows.len(), ids.len())?;
        let mut restored = Self::with_capacity(capacity.max(ids.len()));
        for (&raw, &row_idx) in ids.iter().zip(rows) {
            if raw >> FeatureId::BITS != 0 {
                return Err(StateError::Damaged {
                    name: "own_ids",
                    why: format!("{raw:#x} is no feature id"),
                });
            }
            restored.insert(FeatureId::from_raw(raw), row_idx);
        }
        if restored.len() != ids.len() {
            return Err(StateError::Damaged { name: "own_ids", why: "an id occurs twice".into() });
        }
        Ok(restored)
    }
}

/// The standard map's table for `capacity` entries: a cell and a control byte each, an eighth free.
fn table_bytes(capacity: usize) -> u64 {
    let cells = match capacity {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        n => n / 7 * 8,
    };
    let cell = size_of::<(FeatureId, u32)>() as u64 + 1;
    cells as u64 * cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicted_bytes_are_those_of_the_map() {
        for capacity in (0..200).chain([1000, 4095, 4096, 100_000]) {
            assert_eq!(
                OwnRows::bytes_for(capacity),
                OwnRows::with_capacity(capacity).bytes(),
                "{capacity}"
            );
        }
    }
}
