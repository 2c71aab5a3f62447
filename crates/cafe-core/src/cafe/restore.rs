//! Taking over a saved state: nothing is believed before it is checked.

use super::{CafeEmbedding, FieldLayout};
use crate::own_rows::OwnRows;
use crate::{HotSketch, StateError};

impl CafeEmbedding {
    /// The layout with the use counts of small fields taken from who owns rows in them.
    pub(super) fn restored_layout(&self, own: &OwnRows) -> Result<Vec<FieldLayout>, StateError> {
        let damaged = |why: String| StateError::Damaged { name: "own_rows", why };
        let mut layout = self.layout.clone();
        for field in &mut layout {
            if let FieldLayout::Own { used, .. } = field {
                *used = 0;
            }
        }
        for (id, row_idx) in own.iter_by_row() {
            match layout.get_mut(id.field()) {
                Some(FieldLayout::Own { start, n, used, .. }) if *used < *n && row_idx == *start + *used as u32 => {
                    *used += 1;
                }
                _ => return Err(damaged(format!("row {row_idx} can't be owned by {id}"))),
            }
        }
        Ok(layout)
    }
}
/// Every hot row is free or owned, once.
pub(super) fn check_ownership(sketch: &HotSketch, free: &[u32], n_hot: usize) -> Result<(), StateError> {
    let mut seen = vec![false; n_hot];
    for row_idx in free.iter().copied().chain(sketch.iter().filter_map(|held| held.row)) {
        let slot = seen.get_mut(row_idx as usize).filter(|seen| !**seen);
        *slot.ok_or_else(|| StateError::Damaged {
            name: "free_rows",
            why: format!("row {row_idx} is out of range or has two owners"),
        })? = true;
    }
    if seen.contains(&false) {
        return Err(StateError::Damaged { name: "free_rows", why: "a hot row is neither free nor owned".into() });
    }
    Ok(())
}
