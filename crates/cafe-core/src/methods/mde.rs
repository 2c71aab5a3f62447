//! Mixed dimensions: fields of many features have shorter rows, projected to the length of the
//! others.

mod config;
mod field;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::batch::Batch;
use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView, check_len};
use crate::table::rows::{RowFormat, RowPrecision, RowTable};

pub use config::MdeConfig;
use field::{Field, FieldBuffers, Projection, add_scaled};

/// A row for every feature, the shorter the more features its field has: `e(id) = v P_f`, v of
/// `d_f` values and `P_f` a matrix of `d_f` rows of d values that the field learns.
///
/// The length is `d_f = d (n_min / n_f)^a`, rounded and at least 1: fields of many features see
/// each of them rarely, and what is seen rarely supports few parameters. The exponent a, the same
/// for all fields, is the smallest that fits the budget. Projections have no bias; they count in
/// the bytes, are trained with the rows' optimizer, and stay in `f32` whatever the rows' precision.
/// A field whose rows and projection together would take as many bytes as rows of full length has
/// those, and no projection.
///
/// No feature has less than one value, so the ratio is limited to about d (more with rows of lower
/// precision). There is no vocabulary: a token's row is a seeded hash onto the `n_f` rows of its
/// field, and of `n_f` tokens almost two thirds have theirs in common with another one.
///
/// Costs: a row read and `d_f d` multiplications for each id, twice as many for each distinct row
/// of an update.
///
/// Source: Ginart et al. 2019, "Mixed Dimension Embeddings with Application to Memory-Efficient
/// Recommendation Systems".
#[derive(Clone, Debug)]
pub struct MdeEmbedding {
    dim: usize,
    fields: Vec<Field>,
    /// The rows of each field, `n_f` of `d_f` values.
    tables: Vec<RowTable>,
    /// The projections' rows of `dim` values: as many for a field as its rows have values, if they
    /// have fewer than `dim`.
    projections: RowTable,
    batch: ByField,
    /// A copy of the projections, which a step reads and writes.
    read: Vec<f32>,
    buffers: Buffers<FieldBuffers>,
}

impl MdeEmbedding {
    /// Freshly initialised rows, U(±sqrt(1 / n)) in a field of n features, and projections,
    /// U(±sqrt(6 / (`d_f` + d))) after Glorot.
    ///
    /// # Panics
    /// If `features` and `dims` are not of equal length, a length is 0 or above `dim`, or a field
    /// has 2^32 features.
    #[must_use]
    pub fn new(config: &MdeConfig) -> Self {
        let MdeConfig { dim, features, dims, format, seed, .. } = config;
        assert_eq!(features.len(), dims.len(), "features and dimensions are given for every field");
        let mut n_projected = 0;
        let (mut fields, mut tables) = (Vec::new(), Vec::new());
        for (field_idx, (&n_features, &field_dim)) in features.iter().zip(dims).enumerate() {
            assert!(
                (1..=*dim).contains(&field_dim),
                "rows of {field_dim} values for vectors of {dim}"
            );
            let field = Field::new(n_features, field_dim, *dim, n_projected, *seed);
            n_projected += field.n_projected();
            tables.push(field.table(field_idx as u64, *format));
            fields.push(field);
        }
        let format = RowFormat { precision: RowPrecision::F32, ..*format };
        let mut projections = RowTable::new(n_projected, *dim, format);
        for field in &fields {
            field.init_projection(&mut projections, *seed);
        }
        Self {
            dim: *dim,
            batch: ByField::new(fields.len(), *dim),
            fields,
            tables,
            projections,
            read: Vec::new(),
            buffers: Buffers::default(),
        }
    }

    /// Writes the projected vector of a row of a field; `scratch` has room for two vectors.
    fn project(&self, field_idx: usize, row_idx: u32, scratch: &mut [f32], out: &mut [f32]) {
        let (field, table) = (&self.fields[field_idx], &self.tables[field_idx]);
        if field.n_projected() == 0 {
            return table.read(row_idx, out);
        }
        let (values, rest) = scratch.split_at_mut(field.dim());
        let row = &mut rest[..self.dim];
        table.read(row_idx, values);
        out.fill(0.0);
        for (&value, projected) in values.iter().zip(field.projected_rows()) {
            self.projections.read(projected, row);
            add_scaled(out, row, value);
        }
    }
}

impl Embedding for MdeEmbedding {
    fn dim(&self) -> usize {
        self.dim
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        let dim = self.dim;
        lookup_parts(ids, out, dim, executor, |ids, out| {
            self.buffers.with(|buffers| {
                let scratch = buffers.scratch(2 * dim);
                let mut rows = [0; AHEAD];
                for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
                    for (row_idx, &id) in rows.iter_mut().zip(ids) {
                        *row_idx = self.fields[id.field()].row_idx(id);
                        self.tables[id.field()].prefetch(*row_idx);
                    }
                    for ((&row_idx, id), out) in rows.iter().zip(ids).zip(out.chunks_exact_mut(dim))
                    {
                        self.project(id.field(), row_idx, scratch, out);
                    }
                }
            });
        });
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats {
        let dim = self.dim;
        let given = Batch::new(ids, grads, dim);
        let Self { fields, tables, projections, batch, read, buffers, .. } = self;
        batch.sort(ids);
        read.resize(projections.n_rows() * dim, 0.0);
        for (row_idx, row) in read.chunks_exact_mut(dim).enumerate() {
            projections.read(row_idx as u32, row);
        }
        let (mut read, mut rest) = (read.as_slice(), projections.all_mut());
        let parts = batch.parts().zip(&*fields).zip(tables).map(|((part, field), table)| {
            let (projection, after) = read.split_at(field.n_projected() * dim);
            read = after;
            (part, field, table, projection, rest.cut(field.n_projected()))
        });
        for_each(
            for_batch(executor, ids.len()),
            parts,
            |(mut part, field, table, projection, mut projection_rows)| {
                buffers.with(|buffers| {
                    let key = |id| u64::from(field.row_idx(id));
                    part.coalesce(&mut buffers.keys, given, key, |_, _| ());
                    let projection =
                        &mut Projection { values: projection, rows: &mut projection_rows };
                    field.step(&part, table, projection, buffers, learning_rate);
                });
            },
        );
        UpdateStats::default()
    }

    fn memory(&self) -> MemoryUsage {
        self.tables.iter().map(RowTable::memory).fold(self.projections.memory(), MemoryUsage::plus)
    }

    /// The tables' arrays, field after field under one name, and those of all projections.
    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut arrays = BTreeMap::<_, Vec<_>>::new();
        for (name, view) in self.tables.iter().flat_map(RowTable::state) {
            arrays.entry(name).or_default().push(view);
        }
        let tables = arrays.into_iter().map(|(name, views)| (name, StateView::join(&views)));
        let projections =
            self.projections.state().into_iter().map(|(name, view)| (projection_name(name), view));
        tables.chain(projections).collect()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let mut lengths = BTreeMap::<_, usize>::new();
        for (name, view) in self.tables.iter().flat_map(RowTable::state) {
            *lengths.entry(name).or_default() += view.len();
        }
        for (&name, &len) in &lengths {
            check_len(name, state.get(name).ok_or(StateError::Missing { name })?.len(), len)?;
        }
        let mut starts = BTreeMap::<_, usize>::new();
        let mut tables = Vec::with_capacity(self.tables.len());
        for table in &self.tables {
            let mut part = StateMap::new();
            for (name, view) in table.state() {
                let start = starts.entry(name).or_default();
                part.insert(name, state[name].range(*start..*start + view.len()));
                *start += view.len();
            }
            tables.push(table.restored(table.n_rows(), &mut part)?);
        }
        let mut part = StateMap::new();
        for (name, _) in self.projections.state() {
            let saved = projection_name(name);
            let view = state.get(saved).ok_or(StateError::Missing { name: saved })?;
            part.insert(name, view.range(0..view.len()));
        }
        let projections = self.projections.restored(self.projections.n_rows(), &mut part)?;
        (self.tables, self.projections) = (tables, projections);
        Ok(())
    }
}

/// What an array of a table is called where the table is that of the projections.
fn projection_name(name: &'static str) -> &'static str {
    match name {
        "rows" => "projection_rows",
        "row_accumulators" => "projection_accumulators",
        "row_first_moments" => "projection_first_moments",
        "row_second_moments" => "projection_second_moments",
        "row_counts" => "projection_counts",
        "row_updates" => "projection_updates",
        _ => unreachable!("a table of f32 rows has no array `{name}`"),
    }
}
