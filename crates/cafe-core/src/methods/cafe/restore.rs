//! Restoring a saved state: everything is checked before anything is replaced.

use super::{CafeEmbedding, FieldLayout};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, array, check_len};
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
        let layout = self.restored_layout(&own)?;
        if let Some(stray) = sketch.iter().find(|entry| !self.is_sketched(entry.id)) {
            let why = format!("it holds {}, of a field whose features it does not see", stray.id);
            return Err(StateError::Damaged { name: "sketch_slots", why });
        }
        let hot = self.hot.restored(state, &sketch)?;
        let mass_at_decay = mass_before("mass_at_decay", state, sketch.mass())?;
        let is_quota = self.config.settings.promotion.is_quota();
        let mass_at_scan =
            if is_quota { mass_before("mass_at_scan", state, sketch.mass())? } else { 0.0 };
        let cold = match &self.cold {
            None => None,
            Some(cold) => {
                let names = COLD_NAMES
                    .iter()
                    .filter_map(|(name, stored)| Some((*name, state.remove(stored)?)));
                Some(cold.restored(&mut names.collect()).map_err(renamed)?)
            }
        };
        (self.rows, self.sketch, self.own, self.layout, self.hot) =
            (rows, sketch, own, layout, hot);
        (self.mass_at_decay, self.mass_at_scan, self.cold) = (mass_at_decay, mass_at_scan, cold);
        self.tiers().1.follow_medium();
        Ok(())
    }

    /// Whether features of the id's field compete for hot rows.
    fn is_sketched(&self, id: FeatureId) -> bool {
        self.config.fields.get(id.field()).is_some_and(|field| !field.is_own())
    }

    /// The layout with the use counts of small fields taken from the features that own rows in
    /// them.
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

/// A total score that was observed before that of `mass`.
fn mass_before(name: &'static str, state: &StateMap<'_>, mass: f64) -> Result<f64, StateError> {
    let bits = array::<u64>(state, name)?;
    check_len(name, bits.len(), 1)?;
    let before = f64::from_bits(bits[0]);
    if (0.0..=mass).contains(&before) {
        Ok(before)
    } else {
        Err(StateError::Damaged { name, why: format!("{before} of a total score of {mass}") })
    }
}

/// An error of the cold table, whose arrays have other names in the embedding's state.
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
