//! Taking over a saved state: nothing is believed before it is checked.

use super::{CafeEmbedding, FieldLayout, Sketch};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, check_len, u64s};
use crate::table::own_rows::OwnRows;

/// Arrays of the cold table that have the names of the hot rows' arrays, and what they are called
/// instead.
const COLD_NAMES: [(&str, &str); 7] = [
    ("rows", "cold_rows"),
    ("row_exponents", "cold_row_exponents"),
    ("row_accumulators", "cold_row_accumulators"),
    ("row_first_moments", "cold_row_first_moments"),
    ("row_second_moments", "cold_row_second_moments"),
    ("row_counts", "cold_row_counts"),
    ("row_updates", "cold_row_updates"),
];

/// What an array of the cold table is called in a state that has an array of the hot rows of that
/// name.
pub(super) fn cold_name(name: &str) -> &'static str {
    let renamed = COLD_NAMES.iter().find(|(table_name, _)| *table_name == name);
    renamed.expect("every array of a table has a second name").1
}

impl CafeEmbedding {
    /// On an error nothing has changed.
    pub(super) fn restore_all(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let rows = self.rows.restored(self.rows.n_rows(), state)?;
        let sketch = self.sketch.restored(state)?;
        let own = OwnRows::restored(self.config.n_own_rows() as usize, state)?;
        let mut layout = self.restored_layout(&own)?;
        let full = match &sketch {
            Sketch::Full(sketch) => Some(sketch),
            Sketch::Compact(_) => None,
        };
        if let Some(stray) =
            full.and_then(|sketch| sketch.iter().find(|held| !self.is_sketched(held.id)))
        {
            let why = format!("it holds {}, of a field whose features it does not see", stray.id);
            return Err(StateError::Damaged { name: "sketch_slots", why });
        }
        let pools = self.pools.restored(state, full, self.config.threshold)?;
        let mass_at_decay = mass_before("mass_at_decay", state, sketch.mass())?;
        let mass_at_scan =
            if self.scans() { mass_before("mass_at_scan", state, sketch.mass())? } else { 0.0 };
        let cold = match &self.cold {
            None => None,
            Some(cold) => {
                let names = COLD_NAMES
                    .iter()
                    .filter_map(|(name, stored)| Some((*name, state.remove(stored)?)));
                Some(cold.restored(&mut names.collect()).map_err(renamed)?)
            }
        };
        for (field, layout) in layout.iter_mut().enumerate() {
            if let FieldLayout::Shared(rows) = layout {
                rows.medium_from = self.config.medium_from(pools.wants(field).0);
            }
        }
        (self.rows, self.sketch, self.own, self.layout, self.pools) =
            (rows, sketch, own, layout, pools);
        (self.mass_at_decay, self.mass_at_scan, self.cold) = (mass_at_decay, mass_at_scan, cold);
        Ok(())
    }

    /// Whether features of the id's field compete for hot rows.
    fn is_sketched(&self, id: FeatureId) -> bool {
        self.config.fields.get(id.field()).is_some_and(|field| !field.is_own())
    }

    /// The layout with the use counts of small fields taken from who owns rows in them.
    fn restored_layout(&self, own: &OwnRows) -> Result<Vec<FieldLayout>, StateError> {
        let damaged = |why: String| StateError::Damaged { name: "own_rows", why };
        let mut layout = self.layout.clone();
        for field in &mut layout {
            if let FieldLayout::Own { used, .. } = field {
                *used = 0;
            }
        }
        for (id, row_idx) in own.iter_by_row() {
            match layout.get_mut(id.field()) {
                Some(FieldLayout::Own { start, n, used, .. })
                    if *used < *n && row_idx == *start + *used as u32 =>
                {
                    *used += 1;
                }
                _ => return Err(damaged(format!("row {row_idx} can't be owned by {id}"))),
            }
        }
        Ok(layout)
    }
}

/// A point of the stream that lies before `mass`.
fn mass_before(name: &'static str, state: &StateMap<'_>, mass: f64) -> Result<f64, StateError> {
    let bits = u64s(state, name)?;
    check_len(name, bits.len(), 1)?;
    let before = f64::from_bits(bits[0]);
    if (0.0..=mass).contains(&before) {
        Ok(before)
    } else {
        Err(StateError::Damaged { name, why: format!("{before} of a mass of {mass}") })
    }
}

/// The cold table speaks of its arrays by the names that it knows.
fn renamed(error: StateError) -> StateError {
    match error {
        StateError::Missing { name } => StateError::Missing { name: cold_name(name) },
        StateError::Kind { name, expected } => StateError::Kind { name: cold_name(name), expected },
        StateError::Length { name, expected, got } => {
            StateError::Length { name: cold_name(name), expected, got }
        }
        StateError::Damaged { name, why } => StateError::Damaged { name: cold_name(name), why },
    }
}
