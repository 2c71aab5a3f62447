//! How features get and lose their hot rows.

use super::field_step::NO_SCORE;
use super::pools::Pools;
use super::tracker::{Sketch, Tracker};
use super::update::Scratch;
use super::{CafeConfig, FieldLayout, HotRows, HotRule, Route};
use crate::batch::cache_hint::AHEAD;
use crate::embedding::UpdateStats;
use crate::feature::FeatureId;
use crate::sketch::HotSketch;
use crate::table::rows::RowTable;
use crate::table::signed_table::SignedTable;

/// Everything but the sketch that a row changes hands in.
pub(super) struct Tiers<'a> {
    pub(super) config: &'a CafeConfig,
    pub(super) layout: &'a mut Vec<FieldLayout>,
    pub(super) rows: &'a mut RowTable,
    pub(super) cold: Option<&'a mut SignedTable>,
    pub(super) pools: &'a mut Pools,
}

impl Tiers<'_> {
    /// Step 1 for hot rows, and step 2: importance into the sketch; in the order in which the batch
    /// names features.
    pub(super) fn observe<S: Tracker>(
        &mut self,
        sketch: &mut S,
        scratch: &mut Scratch,
        learning_rate: f32,
        stats: &mut UpdateStats,
    ) {
        let Scratch { batch, scores, buckets, routes, candidates, vectors, .. } = scratch;
        candidates.clear();
        batch.order();
        for places in batch.in_order().chunks(AHEAD) {
            for &place in places {
                sketch.prefetch(buckets[place as usize] as usize);
                if let Route::Hot(row_idx) = routes[place as usize] {
                    self.rows.prefetch(row_idx);
                }
            }
            for &candidate in places {
                let place = candidate as usize;
                if let Route::Hot(row_idx) = routes[place] {
                    self.rows.step(row_idx, batch.sum(place), learning_rate);
                }
                if scores[place] == NO_SCORE {
                    continue;
                }
                let id = FeatureId::from_raw(batch.key(place));
                let seen = sketch.observe_in(
                    buckets[place] as usize,
                    id,
                    scores[place],
                    self.pools.wants(id.field()),
                );
                if let Some((victim, row_idx)) = seen.evicted {
                    self.demote(victim, row_idx, vectors, stats);
                }
                if seen.wants_row {
                    candidates.push(candidate);
                }
            }
        }
    }

    /// Step 3: the past fades by `factor`.
    pub(super) fn decay(
        &mut self,
        sketch: &mut Sketch,
        factor: f32,
        vectors: &mut [f32],
        stats: &mut UpdateStats,
    ) {
        self.pools.fade(factor, self.config.threshold);
        self.follow_medium();
        match sketch {
            Sketch::Full(sketch) => {
                sketch.decay(factor);
                if self.config.rule == HotRule::Threshold {
                    self.release(sketch, 1.0, vectors, stats);
                }
            }
            Sketch::Compact(sketch) => {
                sketch.decay(factor);
                if self.config.rule == HotRule::Threshold {
                    stats.demoted += sketch.release_below(self.config.threshold);
                }
            }
        }
    }

    /// Step 4 of a quota: the thresholds follow the scores, and who has fallen far below them loses
    /// the row.
    pub(super) fn follow(
        &mut self,
        sketch: &mut HotSketch,
        vectors: &mut [f32],
        stats: &mut UpdateStats,
    ) {
        self.pools.follow(sketch, self.config.threshold);
        self.follow_medium();
        self.release(sketch, self.pools.hysteresis(), vectors, stats);
    }

    /// Sets the score from which a feature is of the middle tier by the thresholds as they are now.
    pub(super) fn follow_medium(&mut self) {
        for (field, layout) in self.layout.iter_mut().enumerate() {
            if let FieldLayout::Shared(rows) = layout {
                rows.medium_from = self.config.medium_from(self.pools.wants(field).0);
            }
        }
    }

    /// Takes the row from everyone whose score is below the threshold by the factor.
    fn release(
        &mut self,
        sketch: &mut HotSketch,
        factor: f32,
        vectors: &mut [f32],
        stats: &mut UpdateStats,
    ) {
        for pool in 0..self.pools.n() {
            let (buckets, threshold) = self.pools.part(pool);
            sketch.release_below(buckets, threshold / factor, |id, row_idx| {
                self.demote(id, row_idx, vectors, stats)
            });
        }
    }

    /// A row that its owner lost becomes free.
    fn demote(
        &mut self,
        id: FeatureId,
        row_idx: u32,
        vectors: &mut [f32],
        stats: &mut UpdateStats,
    ) {
        if let Some(share) = self.config.write_back {
            self.write_back(id, row_idx, share, vectors);
        }
        self.pools.put_free(id.field(), row_idx);
        stats.demoted += 1;
    }

    /// Moves the vector that `id` falls back to by `share` of the way to the one that it had: what
    /// it learned alone is not lost, and those that it shares with get a part of it.
    fn write_back(&mut self, id: FeatureId, row_idx: u32, share: f32, vectors: &mut [f32]) {
        let (hot, shared) = vectors.split_at_mut(self.config.dim);
        self.rows.read(row_idx, hot);
        self.read_shared(id, Route::Unknown, shared);
        for (hot, shared) in hot.iter_mut().zip(&*shared) {
            let known_alone =
                if self.config.hot == HotRows::Exclusive { *hot - shared } else { *hot };
            *hot = known_alone * share;
        }
        match (&mut self.cold, &self.layout[id.field()]) {
            (Some(cold), _) => cold.add_one(id, hot),
            (None, FieldLayout::Shared(rows)) => {
                self.rows.move_by(rows.first_row(self.config, id), 1.0, hot)
            }
            (None, _) => unreachable!("the sketch does not see small fields"),
        }
    }

    /// Step 5: rows for those who earned one.
    pub(super) fn promote(
        &mut self,
        sketch: &mut Sketch,
        scratch: &mut Scratch,
        stats: &mut UpdateStats,
    ) {
        let Scratch { batch, buckets, routes, candidates, vectors, .. } = scratch;
        for &place in &*candidates {
            let id = FeatureId::from_raw(batch.key(place as usize));
            // A later feature of the batch may have taken the slot, or a decay the score.
            let given = match sketch {
                Sketch::Full(sketch) => self.give_free(sketch, id),
                Sketch::Compact(sketch) => {
                    let claim = sketch.claim(
                        buckets[place as usize] as usize,
                        id,
                        self.pools.wants(id.field()),
                    );
                    stats.demoted += u64::from(claim.is_some_and(|claim| claim.displaced));
                    claim.map(|claim| (claim.row, self.config.threshold))
                }
            };
            let Some((row_idx, score)) = given else { continue };
            let source = match (routes[place as usize], &self.layout[id.field()]) {
                // It was hot, lost its row to a newcomer in this very step, and came back.
                (Route::Hot(_), FieldLayout::Shared(rows)) => rows.route(self.config, id, score),
                (route, _) => route,
            };
            self.start_row(id, source, &mut vectors[..self.config.dim], row_idx);
            stats.promoted += 1;
        }
    }

    /// The next free row goes to `id` if its score is high enough, and it has none.
    fn give_free(&mut self, sketch: &mut HotSketch, id: FeatureId) -> Option<(u32, f32)> {
        let row_idx = self.pools.next_free(id.field())?;
        let held = sketch.get(id)?;
        if held.row.is_some() || held.score < self.pools.wants(id.field()).0 {
            return None;
        }
        self.pools.take_free(id.field());
        sketch.set_row(id, Some(row_idx));
        Some((row_idx, held.score))
    }

    /// Makes a row what its new owner starts from, so that the vector that `lookup` returns stays
    /// the same.
    fn start_row(&mut self, id: FeatureId, source: Route, vector: &mut [f32], row_idx: u32) {
        match self.config.hot {
            HotRows::Exclusive => self.read_shared(id, source, vector),
            HotRows::Residual => vector.fill(0.0),
        }
        self.rows.write(row_idx, vector);
        self.rows.reset_optimizer(row_idx);
    }

    /// The shared vector of a feature, as `lookup` returned it: from `source`, or as a cold one's
    /// if that is unknown.
    fn read_shared(&self, id: FeatureId, source: Route, vector: &mut [f32]) {
        match (source, &self.cold, &self.layout[id.field()]) {
            (_, Some(cold), _) => cold.read(std::slice::from_ref(&id), vector),
            (Route::Cold(first), ..) => self.rows.read(first, vector),
            (Route::Medium(first, second), ..) => {
                self.rows.read(first, vector);
                self.rows.add_to(second, vector);
            }
            (_, _, FieldLayout::Shared(rows)) => {
                self.rows.read(rows.first_row(self.config, id), vector)
            }
            _ => unreachable!("the sketch does not see small fields"),
        }
    }
}
