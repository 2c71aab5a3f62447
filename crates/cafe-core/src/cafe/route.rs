//! Where a feature's vector lies.

use std::hint::select_unpredictable;

use super::{CafeConfig, CafeEmbedding, FieldLayout, SketchSeeds};
use crate::coalesce::add;
use crate::prefetch::AHEAD;
use crate::rows::{copy, init_row};
use crate::{FeatureId, HotSketch, mix64, reduce};

/// The rows that a feature's vector is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Route {
    Hot(u32),
    Medium(u32, u32),
    Cold(u32),
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
}

impl SharedRows {
    /// The rows of a feature without a row of its own.
    #[inline]
    pub(super) fn route(&self, config: &CafeConfig, id: FeatureId, score: f32) -> Route {
        match self.sources(config, id, score) {
            (first, Source::NO_ROW) => Route::Cold(first),
            (first, second) => Route::Medium(first, second),
        }
    }

    /// The same as a row of the first table and one of the second, `Source::NO_ROW` if the feature is cold.
    #[inline]
    fn sources(&self, config: &CafeConfig, id: FeatureId, score: f32) -> (u32, u32) {
        let seeds = SketchSeeds::of(config.seed);
        let first = self.first_start + reduce(mix64(id.raw(), seeds.first), self.first_n) as u32;
        match config.medium {
            Some(medium) if self.second_n > 0 => {
                let second = self.second_start + reduce(mix64(id.raw(), seeds.second), self.second_n) as u32;
                let is_medium = score >= medium.threshold_ratio * config.threshold;
                (first, select_unpredictable(is_medium, second, Source::NO_ROW))
            }
            _ => (first, Source::NO_ROW),
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.first_n + self.second_n
    }
}

impl CafeEmbedding {
    pub(super) fn route(&self, id: FeatureId) -> Route {
        self.route_in(self.sketch.bucket_idx(id), id)
    }

    /// The rows of `id`, whose bucket is known.
    #[inline]
    pub(super) fn route_in(&self, bucket_idx: usize, id: FeatureId) -> Route {
        match &self.layout[id.field()] {
            FieldLayout::Own { start, n, used, bound } => match self.own.get(id) {
                Some(row_idx) => Route::Own(row_idx),
                None if used < n => Route::Unseen { bound: *bound },
                // More features than were declared: the surplus shares the field's rows.
                None => {
                    Route::Cold(start + reduce(mix64(id.raw(), SketchSeeds::of(self.config.seed).first), *n) as u32)
                }
            },
            FieldLayout::Shared(rows) => {
                let (row, score) = self.sketch.row_and_score(bucket_idx, id);
                row.map_or_else(|| rows.route(&self.config, id, score), Route::Hot)
            }
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
            for ((&source, &id), out) in sources.iter().zip(ids).zip(out.chunks_exact_mut(dim)) {
                self.read(id, source, out);
            }
        }
    }

    /// As [`CafeEmbedding::route_in`], without a branch on who is hot: no processor foresees it.
    #[inline]
    fn source(&self, bucket_idx: usize, id: FeatureId) -> Source {
        let FieldLayout::Shared(rows) = &self.layout[id.field()] else {
            return match self.route_in(bucket_idx, id) {
                Route::Own(row) | Route::Cold(row) => Source { first: row, ..Source::NONE },
                _ => Source::NONE,
            };
        };
        let (row_bits, score) = self.sketch.row_bits_and_score(bucket_idx, id);
        let is_hot = row_bits != HotSketch::NO_ROW_BITS;
        let (first, second) = rows.sources(&self.config, id, score);
        Source {
            first: select_unpredictable(is_hot, row_bits, first),
            second: select_unpredictable(is_hot, Source::NO_ROW, second),
        }
    }

    #[inline]
    fn read(&self, id: FeatureId, source: Source, out: &mut [f32]) {
        if source.first == Source::NO_ROW {
            let FieldLayout::Own { bound, .. } = self.layout[id.field()] else {
                unreachable!("only a feature of a small field may have no row");
            };
            return init_row(out, id.raw(), self.config.seed, bound);
        }
        copy(out, self.rows.row(source.first));
        if source.second != Source::NO_ROW {
            add(out, self.rows.row(source.second));
        }
    }
}

/// One row, or two rows to be summed, or none yet.
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
