//! Where a feature's vector lies.

use std::hint::select_unpredictable;

use super::{CafeConfig, CafeEmbedding, FieldLayout, SketchSeeds};
use crate::batch::cache_hint::AHEAD;
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::sketch::HotSketch;
use crate::table::signed_table::FeatureRows;

/// The rows that a feature's vector is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Route {
    Hot(u32),
    Medium(u32, u32),
    Cold(u32),
    /// A sum of rows of the table that all fields share.
    Unified,
    Own(u32),
    /// A feature of a small field before its first update: its row is yet to be stored.
    Unseen {
        bound: f32,
    },
    /// Not known yet.
    #[default]
    Unknown,
}

/// The shared rows of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedRows {
    pub(super) first_start: u32,
    pub(super) first_n: usize,
    pub(super) second_start: u32,
    pub(super) second_n: usize,
    /// The score from which a feature is of the middle tier.
    pub(super) medium_from: f32,
}

impl SharedRows {
    /// The rows of a feature without a row of its own.
    #[inline]
    pub(super) fn route(&self, config: &CafeConfig, id: FeatureId, score: f32) -> Route {
        match self.sources(config, id, score) {
            Source { first, second: Source::NO_ROW } => Route::Cold(first),
            Source { first, second } => Route::Medium(first, second),
        }
    }

    /// The rows of a feature without a row of its own: one of the first table and one of the
    /// second, `Source::NO_ROW` if the feature is cold.
    #[inline]
    fn sources(&self, config: &CafeConfig, id: FeatureId, score: f32) -> Source {
        let first = self.first_row(config, id);
        // Rows of a second table are there with a middle tier alone.
        if self.second_n == 0 {
            return Source { first, ..Source::NONE };
        }
        let hash = mix64(id.raw(), SketchSeeds::new(config.seed).second);
        let row = self.second_start + reduce(hash, self.second_n) as u32;
        let second = select_unpredictable(score >= self.medium_from, row, Source::NO_ROW);
        Source { first, second }
    }

    /// The row of a feature in the first table.
    #[inline]
    pub(super) fn first_row(&self, config: &CafeConfig, id: FeatureId) -> u32 {
        self.first_start
            + reduce(mix64(id.raw(), SketchSeeds::new(config.seed).first), self.first_n) as u32
    }

    pub(super) fn n_rows(&self) -> usize {
        self.first_n + self.second_n
    }
}

impl CafeConfig {
    /// The score from which a feature is of the middle tier where the threshold is `K`.
    pub(super) fn medium_from(&self, threshold: f32) -> f32 {
        let middle = self.settings.shared.middle();
        middle.map_or(f32::INFINITY, |middle| middle.threshold_ratio * threshold)
    }
}

impl CafeEmbedding {
    /// The rows of `id`.
    pub(super) fn route(&self, id: FeatureId) -> Route {
        let hot = |cold: &dyn Fn(f32) -> Route| {
            let bucket_idx = self.sketch.bucket_idx(id);
            let (row, score) = self.sketch.row_and_score(bucket_idx, id);
            row.map_or_else(|| cold(score), Route::Hot)
        };
        match &self.layout[id.field()] {
            FieldLayout::Own { .. } => self.own_route(id),
            FieldLayout::Shared(rows) => hot(&|score| rows.route(&self.config, id, score)),
            FieldLayout::Unified => hot(&|_| Route::Unified),
        }
    }

    /// The row of a feature of a small field.
    fn own_route(&self, id: FeatureId) -> Route {
        let FieldLayout::Own { start, n, used, bound } = &self.layout[id.field()] else {
            unreachable!("only small fields have own rows");
        };
        match self.own.get(id) {
            Some(row_idx) => Route::Own(row_idx),
            None if used < n => Route::Unseen { bound: *bound },
            // More features than were declared: the surplus shares the field's rows.
            None => Route::Cold(
                start
                    + reduce(mix64(id.raw(), SketchSeeds::new(self.config.seed).first), *n) as u32,
            ),
        }
    }

    /// The vectors of `ids`, their buckets and then their rows loaded ahead.
    pub(super) fn read_each(&self, ids: &[FeatureId], out: &mut [f32]) {
        let (mut buckets, mut sources) = ([0; AHEAD], [Source::NONE; AHEAD]);
        let dim = self.config.dim;
        for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
            for (bucket_idx, &id) in buckets.iter_mut().zip(ids) {
                *bucket_idx = self.sketch.bucket_idx(id);
                self.sketch.prefetch(*bucket_idx);
            }
            for ((source, &bucket_idx), &id) in sources.iter_mut().zip(&buckets).zip(ids) {
                *source = self.source(bucket_idx, id);
                self.rows.prefetch(source.first);
                if source.second != Source::NO_ROW {
                    self.rows.prefetch(source.second);
                }
            }
            if self.cold.is_some() {
                self.read_unified(&sources, ids, out);
                continue;
            }
            for ((&source, &id), out) in sources.iter().zip(ids).zip(out.chunks_exact_mut(dim)) {
                self.read(id, source, out);
            }
        }
    }

    /// Where the vector of `id` is, without a branch on whether it is hot: no processor foresees
    /// it.
    #[inline]
    fn source(&self, bucket_idx: usize, id: FeatureId) -> Source {
        let shared = match &self.layout[id.field()] {
            FieldLayout::Shared(rows) => Some(rows),
            FieldLayout::Unified => None,
            FieldLayout::Own { .. } => {
                return match self.own_route(id) {
                    Route::Own(row) | Route::Cold(row) => Source { first: row, ..Source::NONE },
                    _ => Source::NONE,
                };
            }
        };
        let (row_bits, score) = self.sketch.row_bits_and_score(bucket_idx, id);
        let is_hot = row_bits != HotSketch::NO_ROW_BITS;
        let cold = shared.map_or(Source::NONE, |rows| rows.sources(&self.config, id, score));
        Source {
            first: select_unpredictable(is_hot, row_bits, cold.first),
            second: select_unpredictable(is_hot, Source::NO_ROW, cold.second),
        }
    }

    #[inline]
    fn read(&self, id: FeatureId, source: Source, out: &mut [f32]) {
        if source.first == Source::NO_ROW {
            let FieldLayout::Own { bound, .. } = self.layout[id.field()] else {
                unreachable!("only a feature of a small field may have no row");
            };
            return self.rows.initial(id.raw(), self.config.seed, bound, out);
        }
        self.rows.read(source.first, out);
        if source.second != Source::NO_ROW {
            self.rows.add_to(source.second, out);
        }
    }

    /// The vectors of `ids` where features without a hot row are sums of rows that all fields
    /// share.
    fn read_unified(&self, sources: &[Source], ids: &[FeatureId], out: &mut [f32]) {
        let Some(cold) = &self.cold else { return };
        let mut cold_rows = [FeatureRows::default(); AHEAD];
        for ((rows, source), &id) in cold_rows.iter_mut().zip(sources).zip(ids) {
            if source.first == Source::NO_ROW {
                *rows = cold.rows_of(id);
                cold.prefetch(*rows);
            }
        }
        let vectors = out.chunks_exact_mut(self.config.dim);
        for (((&source, &rows), id), out) in sources.iter().zip(&cold_rows).zip(ids).zip(vectors) {
            if source.first == Source::NO_ROW {
                cold.read_rows(rows, id.field(), out);
            } else {
                self.rows.read(source.first, out);
            }
        }
    }
}

/// One row, or two rows to be summed, or none: not yet stored, or not of this table.
#[derive(Clone, Copy, Debug)]
struct Source {
    first: u32,
    second: u32,
}

impl Source {
    /// Tables have fewer rows.
    const NO_ROW: u32 = u32::MAX;
    const NONE: Self = Self { first: Self::NO_ROW, second: Self::NO_ROW };
}
