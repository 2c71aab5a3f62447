//! Hot rows and the buckets whose features compete for them: one pool for all fields, or one for
//! each.

use std::borrow::Cow;
use std::ops::Range;

use super::tracker::Wants;
use super::{CafeConfig, HotRule, SlotLayout};
use crate::sketch::HotSketch;
use crate::state::{StateError, StateMap, StateView, check_len, f32s, u32s};

#[derive(Clone, Debug)]
pub(super) struct Pools {
    /// The pool of each field; empty where there is one for all.
    of_field: Vec<usize>,
    all: Vec<Pool>,
    rule: HotRule,
    hysteresis: f32,
    /// Whether rows go where a free list says.
    has_free_list: bool,
}

/// Hot rows that the features of some buckets compete for.
#[derive(Clone, Debug)]
struct Pool {
    buckets: Range<usize>,
    rows: Range<u32>,
    /// Hot rows that nobody owns; the last is given out next. Unused where a bucket owns its rows.
    free: Vec<u32>,
    /// `K`.
    threshold: f32,
}

impl Pools {
    pub(super) fn new(config: &CafeConfig) -> Self {
        let rows_per_bucket = config.layout.rows_per_bucket();
        let has_free_list = config.layout == SlotLayout::Full;
        let mut start = 0;
        let mut pool = |n_buckets: usize| {
            let buckets = start..start + n_buckets;
            start = buckets.end;
            let rows =
                (buckets.start * rows_per_bucket) as u32..(buckets.end * rows_per_bucket) as u32;
            let free = if has_free_list { rows.clone().rev().collect() } else { Vec::new() };
            Pool { buckets, rows, free, threshold: config.threshold }
        };
        let (of_field, all) = if config.field_buckets.is_empty() {
            let mut whole = pool(config.n_buckets);
            // Sizes need not be those of a budget: any number of rows may go with the buckets.
            if has_free_list {
                whole.rows = 0..config.n_hot as u32;
                whole.free = whole.rows.clone().rev().collect();
            }
            (Vec::new(), vec![whole])
        } else {
            (
                (0..config.field_buckets.len()).collect(),
                config.field_buckets.iter().map(|&n| pool(n)).collect(),
            )
        };
        let hysteresis = match config.rule {
            HotRule::Threshold => f32::INFINITY,
            HotRule::Quota { hysteresis } => hysteresis,
        };
        Self { of_field, all, rule: config.rule, hysteresis, has_free_list }
    }

    #[inline]
    fn of(&self, field: usize) -> &Pool {
        &self.all[self.idx_of(field)]
    }

    #[inline]
    fn idx_of(&self, field: usize) -> usize {
        if self.of_field.is_empty() { 0 } else { self.of_field[field] }
    }

    /// What a feature of `field` needs for a row.
    #[inline]
    pub(super) fn wants(&self, field: usize) -> Wants {
        (self.of(field).threshold, self.hysteresis)
    }

    /// The row that the next feature of `field` would get.
    pub(super) fn next_free(&self, field: usize) -> Option<u32> {
        self.of(field).free.last().copied()
    }

    pub(super) fn take_free(&mut self, field: usize) {
        let pool = self.idx_of(field);
        self.all[pool].free.pop();
    }

    pub(super) fn put_free(&mut self, field: usize, row_idx: u32) {
        let pool = self.idx_of(field);
        self.all[pool].free.push(row_idx);
    }

    pub(super) fn n_free(&self) -> usize {
        self.all.iter().map(|pool| pool.free.len()).sum()
    }

    pub(super) fn n(&self) -> usize {
        self.all.len()
    }

    /// Buckets and `K` of a pool.
    pub(super) fn part(&self, pool: usize) -> (Range<usize>, f32) {
        let Pool { buckets, threshold, .. } = &self.all[pool];
        (buckets.clone(), *threshold)
    }

    /// Lets `K` follow scores that are multiplied by `factor`.
    pub(super) fn fade(&mut self, factor: f32, least: f32) {
        if let HotRule::Quota { .. } = self.rule {
            for pool in &mut self.all {
                pool.threshold = (pool.threshold * factor).max(least);
            }
        }
    }

    /// Sets each `K` by who is held now: to the score of the last feature that there is a row for,
    /// or lower while rows stay free for want of features that reach it.
    pub(super) fn follow(&mut self, sketch: &HotSketch, least: f32) {
        for pool in self.all.iter_mut().filter(|pool| !pool.buckets.is_empty()) {
            let last = sketch.nth_largest_score(pool.buckets.clone(), pool.rows.len());
            let most = if pool.free.is_empty() {
                f32::INFINITY
            } else {
                pool.threshold / self.hysteresis.sqrt()
            };
            pool.threshold = last.min(most).max(least);
        }
    }

    pub(super) fn hysteresis(&self) -> f32 {
        self.hysteresis
    }

    /// Bytes of the free lists.
    pub(super) fn bytes(&self) -> u64 {
        let n_rows = self.all.iter().map(|pool| pool.rows.len()).sum::<usize>();
        if self.has_free_list { (n_rows * size_of::<u32>()) as u64 } else { 0 }
    }

    pub(super) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut state = Vec::new();
        match &self.all[..] {
            _ if !self.has_free_list => {}
            [pool] => state.push(("free_rows", StateView::U32(Cow::Borrowed(&pool.free)))),
            pools => {
                let free = pools.iter().flat_map(|pool| &pool.free).copied().collect();
                state.push(("free_rows", StateView::U32(Cow::Owned(free))));
            }
        }
        if self.moves() {
            let thresholds = self.all.iter().map(|pool| pool.threshold).collect();
            state.push(("hot_thresholds", StateView::F32(Cow::Owned(thresholds))));
        }
        state
    }

    /// Whether `K` follows the features, so that it is part of the state.
    fn moves(&self) -> bool {
        self.has_free_list && self.rule != HotRule::Threshold
    }

    /// The pools that [`Pools::state`] described; which rows `sketch` says are owned is checked
    /// with it.
    pub(super) fn restored(
        &self,
        state: &StateMap<'_>,
        sketch: Option<&HotSketch>,
        least: f32,
    ) -> Result<Self, StateError> {
        let mut restored = self.clone();
        if self.moves() {
            let thresholds = f32s(state, "hot_thresholds")?;
            check_len("hot_thresholds", thresholds.len(), self.all.len())?;
            for (pool, &threshold) in restored.all.iter_mut().zip(thresholds) {
                if !(threshold.is_finite() && threshold >= least) {
                    return Err(StateError::Damaged {
                        name: "hot_thresholds",
                        why: format!("it holds {threshold}"),
                    });
                }
                pool.threshold = threshold;
            }
        }
        let Some(sketch) = sketch else { return Ok(restored) };
        let free = u32s(state, "free_rows")?;
        let n_rows = self.all.last().map_or(0, |pool| pool.rows.end) as usize;
        let mut seen = vec![false; n_rows];
        let damaged = |why: String| StateError::Damaged { name: "free_rows", why };
        let mut see = |row_idx: u32, fits: bool| {
            let slot = seen.get_mut(row_idx as usize).filter(|seen| fits && !**seen);
            *slot.ok_or_else(|| {
                damaged(format!("row {row_idx} is out of range or has two owners"))
            })? = true;
            Ok(())
        };
        for pool in &mut restored.all {
            pool.free.clear();
        }
        for &row_idx in free {
            see(row_idx, true)?;
            let pool = restored.all.partition_point(|pool| pool.rows.end <= row_idx);
            restored.all[pool].free.push(row_idx);
        }
        for held in sketch.iter() {
            if let Some(row_idx) = held.row {
                see(row_idx, self.of(held.id.field()).rows.contains(&row_idx))?;
            }
        }
        if seen.contains(&false) {
            return Err(damaged("a hot row is neither free nor owned".into()));
        }
        Ok(restored)
    }
}
