//! How features get and lose their hot rows.

use super::promotion::HotRows;
use super::update::Scratch;
use super::{CafeConfig, FieldLayout, Route};
use crate::batch::cache_hint::AHEAD;
use crate::embedding::UpdateStats;
use crate::feature::FeatureId;
use crate::methods::importance::NO_SCORE;
use crate::sketch::HotSketch;
use crate::table::rows::RowTable;
use crate::table::signed_table::SignedTable;

/// All state except the sketch that a change of a row's owner touches.
pub(super) struct Tiers<'a> {
    pub(super) config: &'a CafeConfig,
    pub(super) layout: &'a mut Vec<FieldLayout>,
    pub(super) rows: &'a mut RowTable,
    pub(super) cold: Option<&'a SignedTable>,
    pub(super) hot: &'a mut HotRows,
}

impl Tiers<'_> {
    /// Step 1 for hot rows, and step 2: importance into the sketch; in the order in which the batch
    /// names features.
    pub(super) fn observe(
        &mut self,
        sketch: &mut HotSketch,
        scratch: &mut Scratch,
        learning_rate: f32,
        stats: &mut UpdateStats,
    ) {
        let Scratch { batch, scores, buckets, routes, candidates, .. } = scratch;
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
                let observed = sketch.observe_in(buckets[place] as usize, id, scores[place]);
                if let Some(row_idx) = observed.freed_row {
                    self.demote(row_idx, stats);
                }
                let threshold = self.hot.threshold();
                if observed.entry.is_some_and(|it| it.row.is_none() && it.score >= threshold) {
                    candidates.push(candidate);
                }
            }
        }
    }

    /// Step 3: scores decay by `factor`.
    pub(super) fn decay(&mut self, sketch: &mut HotSketch, factor: f32, stats: &mut UpdateStats) {
        self.hot.decay(factor);
        self.follow_medium();
        sketch.decay(factor);
        if !self.config.settings.promotion.is_quota() {
            self.release(sketch, self.hot.threshold(), stats);
        }
    }

    /// Step 4 of a quota: the threshold follows the scores, and owners whose score is far below it
    /// lose their row.
    pub(super) fn follow(&mut self, sketch: &mut HotSketch, stats: &mut UpdateStats) {
        if let Some(least) = self.hot.follow(sketch) {
            self.follow_medium();
            self.release(sketch, least, stats);
        }
    }

    /// Sets the score from which a feature is of the middle tier by the threshold as it is now.
    pub(super) fn follow_medium(&mut self) {
        let medium_from = self.config.medium_from(self.hot.threshold());
        for layout in &mut *self.layout {
            if let FieldLayout::Shared(rows) = layout {
                rows.medium_from = medium_from;
            }
        }
    }

    /// Takes the row from every feature whose score is below `least`.
    fn release(&mut self, sketch: &mut HotSketch, least: f32, stats: &mut UpdateStats) {
        sketch.release_rows_below(least, |row_idx| self.demote(row_idx, stats));
    }

    /// A row that its owner lost becomes free.
    fn demote(&mut self, row_idx: u32, stats: &mut UpdateStats) {
        self.hot.free.push(row_idx);
        stats.demoted += 1;
    }

    /// Step 5: free rows for the features that reached the threshold.
    pub(super) fn promote(
        &mut self,
        sketch: &mut HotSketch,
        scratch: &mut Scratch,
        stats: &mut UpdateStats,
    ) {
        let Scratch { batch, routes, candidates, vector, .. } = scratch;
        for &place in &*candidates {
            let id = FeatureId::from_raw(batch.key(place as usize));
            let Some((row_idx, score)) = self.give_free(sketch, id) else { continue };
            let source = match (routes[place as usize], &self.layout[id.field()]) {
                // It was hot, lost its row to a newcomer in this very step, and came back.
                (Route::Hot(_), FieldLayout::Shared(rows)) => rows.route(self.config, id, score),
                (route, _) => route,
            };
            // The row becomes what its new owner's vector was, so that lookups return the same.
            self.read_shared(id, source, vector);
            self.rows.write(row_idx, vector);
            self.rows.reset_optimizer(row_idx);
            stats.promoted += 1;
        }
    }

    /// The next free row goes to `id` if its score still is high enough, and it has none: a later
    /// feature of the batch may have taken its slot, or a decay its score. Returns row and score.
    fn give_free(&mut self, sketch: &mut HotSketch, id: FeatureId) -> Option<(u32, f32)> {
        let row_idx = self.hot.free.next()?;
        let entry = sketch.get(id)?;
        if entry.row.is_some() || entry.score < self.hot.threshold() {
            return None;
        }
        self.hot.free.pop();
        sketch.set_row(id, Some(row_idx));
        Some((row_idx, entry.score))
    }

    /// The shared vector of a feature, as `lookup` returned it: from `source`, or as a cold one's
    /// if that is unknown.
    fn read_shared(&self, id: FeatureId, source: Route, vector: &mut [f32]) {
        match (source, self.cold, &self.layout[id.field()]) {
            (_, Some(cold), _) => cold.read_rows(cold.rows_of(id), id.field(), vector),
            (Route::Cold(row), ..) => self.rows.read(row, vector),
            (Route::Medium(first, second), ..) => {
                self.rows.read(first, vector);
                self.rows.add_to(second, vector);
            }
            (_, _, FieldLayout::Shared(rows)) => {
                self.rows.read(rows.first_row(self.config, id), vector);
            }
            _ => unreachable!("the sketch does not see small fields"),
        }
    }
}
