//! The rows of features that own no hot row: field by field, shared by hash, or owned from first
//! sight where a field is so small that hashing would save nothing.

use std::borrow::Cow;

use crate::batch::by_field::ByField;
use crate::batch::coalesce::RowSums;
use crate::budget::{BudgetError, OwnLimits, by_owning, owners, proportional_rows};
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView, array, check_len};
use crate::table::own_rows::OwnRows;
use crate::table::rows::{RowTable, init_bound};
use crate::table::sizing::Sizing;

/// The rows of one field beside the hot ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRows {
    /// Features of the field; they set the initial rows' scale.
    pub n_features: u64,
    /// Which features use the rows.
    pub kind: FieldKind,
}

/// How the features of a field use its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A row for each feature, as many as the field has features; the sketch does not see it.
    Own,
    /// Shared by hash.
    Shared {
        /// Rows of the first table.
        first: u64,
        /// Rows of the second table, the middle tier's; may be 0.
        second: u64,
    },
    /// None: its features share the rows of a table that serves all fields.
    Unified,
}

impl FieldRows {
    pub(crate) fn own(n_features: u64) -> Self {
        Self { n_features, kind: FieldKind::Own }
    }

    /// `n_rows` shared rows, of which the second table gets the share `second_share`.
    pub(crate) fn shared(n_features: u64, n_rows: u64, second_share: f64) -> Self {
        let second = ((n_rows as f64 * second_share).round() as u64).min(n_rows - 1);
        Self { n_features, kind: FieldKind::Shared { first: n_rows - second, second } }
    }

    /// Whether each of the field's features has its own row.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.kind == FieldKind::Own
    }

    /// Rows of the field.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        match self.kind {
            FieldKind::Own => self.n_features,
            FieldKind::Shared { first, second } => first + second,
            FieldKind::Unified => 0,
        }
    }
}

/// How a method maps the features of small fields to their rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnerMaps {
    /// One map for all fields.
    One,
    /// A map for each field.
    PerField,
}

impl OwnerMaps {
    /// Bytes of the maps for fields of these features.
    fn bytes(self, features: &[u64]) -> u64 {
        match self {
            Self::One => OwnRows::bytes_for(features.iter().sum::<u64>() as usize),
            Self::PerField => features.iter().map(|&n| OwnRows::bytes_for(n as usize)).sum(),
        }
    }
}

/// What the fields get of a budget.
pub(crate) struct ColdSizes {
    pub(crate) fields: Vec<FieldRows>,
    /// Bytes of their rows, and of the maps of small fields.
    pub(crate) bytes: u64,
}

impl ColdSizes {
    /// `shared_share` of the budget in proportion to the fields' features, at least a row each, of
    /// which second tables get `second_share`; a row for every feature of a small field, as far as
    /// that share of the budget holds them.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field.
    pub(crate) fn within(
        sizing: &Sizing<'_>,
        shared_share: f64,
        second_share: f64,
        maps: OwnerMaps,
    ) -> Result<Self, BudgetError> {
        let (features, row_bytes) = (sizing.features, sizing.row_bytes());
        let own_bytes = |sizes: &[u64]| sizes.iter().sum::<u64>() * row_bytes + maps.bytes(sizes);
        let shared_bytes = (sizing.budget_bytes() as f64 * shared_share) as u64;
        let limits = OwnLimits { compression: sizing.compression(), shared_bytes, row_bytes };
        let owns = owners(features, &limits, own_bytes);
        let (small, large) = by_owning(features, &owns);
        let own_bytes = own_bytes(&small);
        // Every field needs a row, however small its share of the budget.
        let max_rows = (shared_bytes.saturating_sub(own_bytes) / row_bytes).max(large.len() as u64);
        let shared = proportional_rows(&large, row_bytes, max_rows)?;
        let mut sizes = shared.iter();
        let fields = features.iter().zip(&owns).map(|(&n_features, &owns)| {
            if owns {
                FieldRows::own(n_features)
            } else {
                let n_rows = sizes.next().copied().unwrap_or(1);
                FieldRows::shared(n_features, n_rows, second_share)
            }
        });
        let fields = fields.collect();
        Ok(Self { fields, bytes: own_bytes + shared.iter().sum::<u64>() * row_bytes })
    }
}

/// The rows of all fields.
#[derive(Clone, Debug)]
pub(crate) struct ColdFields {
    seed: u64,
    fields: Vec<ColdField>,
}

#[derive(Clone, Debug)]
struct ColdField {
    start: u32,
    n_rows: usize,
    /// Rows are initialised from U(±bound).
    bound: f32,
    /// Which feature owns which row; `None` where a hash decides.
    own: Option<OwnRows>,
}

impl ColdFields {
    /// Rows of `fields[f]` that begin at the `f`-th of `starts`.
    pub(crate) fn new(
        fields: &[FieldRows],
        starts: impl IntoIterator<Item = u32>,
        seed: u64,
    ) -> Self {
        let field = |(field, start): (&FieldRows, u32)| {
            let n_rows = field.n_rows() as usize;
            assert!(n_rows > 0, "every field needs a row");
            let own = field.is_own().then(|| OwnRows::with_capacity(n_rows));
            ColdField { start, n_rows, bound: init_bound(field.n_features), own }
        };
        Self { seed, fields: fields.iter().zip(starts).map(field).collect() }
    }

    /// Fills the shared rows: by their number among the cold rows, wherever in the table they lie.
    pub(crate) fn init(&self, rows: &mut RowTable) {
        let mut key = 0;
        for field in &self.fields {
            for row_idx in field.start..field.start + field.n_rows as u32 {
                if field.own.is_none() {
                    rows.init(row_idx, key, self.seed, field.bound);
                }
                key += 1;
            }
        }
    }

    pub(crate) fn n_rows(&self, field: usize) -> usize {
        self.fields[field].n_rows
    }

    /// Whether the features of a field own its rows.
    #[inline]
    pub(crate) fn is_own(&self, field: usize) -> bool {
        self.fields[field].own.is_some()
    }

    /// The row that a hash gives `id`: that of every feature where rows are shared.
    #[inline]
    pub(crate) fn shared_row(&self, id: FeatureId) -> u32 {
        let ColdField { start, n_rows, .. } = self.fields[id.field()];
        // Keeps the choice of rows independent of the sketch's of buckets; saved states depend on it.
        start + reduce(mix64(id.raw(), self.seed ^ 0xf125_7000), n_rows) as u32
    }

    /// The row of `id`; `None` for a feature of a small field before its first update.
    #[inline]
    pub(crate) fn row(&self, id: FeatureId) -> Option<u32> {
        match &self.fields[id.field()] {
            ColdField { own: None, .. } => Some(self.shared_row(id)),
            ColdField { own: Some(own), n_rows, .. } => match own.get(id) {
                Some(row_idx) => Some(row_idx),
                None if own.len() < *n_rows => None,
                // More features than were declared: the surplus shares the field's rows.
                None => Some(self.shared_row(id)),
            },
        }
    }

    /// Whether `id`, of a small field, shares a row all the same: it came when all were taken.
    pub(crate) fn is_surplus(&self, id: FeatureId) -> bool {
        let field = &self.fields[id.field()];
        field.own.as_ref().is_some_and(|own| own.len() == field.n_rows && own.get(id).is_none())
    }

    /// The vector of a feature that [`ColdFields::row`] has no row for: what its row will start
    /// from.
    #[inline]
    pub(crate) fn read_unseen(&self, rows: &RowTable, id: FeatureId, out: &mut [f32]) {
        rows.initial(id.raw(), self.seed, self.fields[id.field()].bound, out);
    }

    /// Takes a step with the batch's summed gradients in every field whose features own rows, and
    /// gives new ones theirs.
    pub(crate) fn step_own(
        &mut self,
        batch: &ByField,
        rows: &mut RowTable,
        sums: &mut RowSums,
        learning_rate: f32,
    ) {
        let dim = rows.dim();
        for field in 0..self.fields.len() {
            if !self.is_own(field) {
                continue;
            }
            let places = batch.places(field);
            // The surplus of a batch that overfills a field meets others in their rows.
            sums.clear(places.len(), dim);
            for place in places {
                let id = FeatureId::from_raw(batch.key(place));
                let row_idx = self.row(id).unwrap_or_else(|| self.store(id, rows));
                sums.add(row_idx, batch.sum(place));
            }
            for (row_idx, grad) in sums.iter(dim) {
                rows.step(row_idx, grad, learning_rate);
            }
        }
    }

    /// Gives a feature of a small field its row.
    fn store(&mut self, id: FeatureId, rows: &mut RowTable) -> u32 {
        let ColdField { start, own, bound, .. } = &mut self.fields[id.field()];
        let own = own.as_mut().expect("only small fields have unseen features");
        let row_idx = *start + own.len() as u32;
        rows.init(row_idx, id.raw(), self.seed, *bound);
        own.insert(id, row_idx);
        row_idx
    }

    /// Bytes of the maps.
    pub(crate) fn map_bytes(&self) -> u64 {
        self.fields.iter().filter_map(|field| field.own.as_ref()).map(OwnRows::bytes).sum()
    }

    /// Which feature owns which row of the small fields.
    pub(crate) fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        let owners = self
            .fields
            .iter()
            .filter_map(|field| field.own.as_ref())
            .flat_map(OwnRows::iter_by_row);
        let (ids, rows): (Vec<u64>, Vec<u32>) = owners.map(|(id, row)| (id.raw(), row)).unzip();
        [
            ("own_ids", StateView::U64(Cow::Owned(ids))),
            ("own_rows", StateView::U32(Cow::Owned(rows))),
        ]
    }

    /// The owners that [`ColdFields::state`] described, in rows that lie as those of `self`.
    pub(crate) fn restored(&self, state: &StateMap<'_>) -> Result<Self, StateError> {
        let (ids, rows) = (array::<u64>(state, "own_ids")?, array::<u32>(state, "own_rows")?);
        check_len("own_rows", rows.len(), ids.len())?;
        let mut restored = self.clone();
        for field in &mut restored.fields {
            field.own = field.own.as_ref().map(|_| OwnRows::with_capacity(field.n_rows));
        }
        for (&raw, &row_idx) in ids.iter().zip(rows) {
            restored.restore_owner(raw, row_idx)?;
        }
        Ok(restored)
    }

    fn restore_owner(&mut self, raw: u64, row_idx: u32) -> Result<(), StateError> {
        let damaged = |why: String| Err(StateError::Damaged { name: "own_rows", why });
        if raw >> FeatureId::BITS != 0 {
            return damaged(format!("{raw:#x} is no feature id"));
        }
        let id = FeatureId::from_raw(raw);
        match self.fields.get_mut(id.field()) {
            Some(ColdField { start, n_rows, own: Some(own), .. })
                if own.len() < *n_rows
                    && row_idx == *start + own.len() as u32
                    && own.get(id).is_none() =>
            {
                own.insert(id, row_idx);
                Ok(())
            }
            _ => damaged(format!("row {row_idx} can't be owned by {id}")),
        }
    }
}
