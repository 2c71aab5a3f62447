//! What moves with time: the weight of the present, and the threshold.

use super::CafePlusConfig;
use super::admission_sketch::Limits;
use super::slot::EPOCH_SHIFT;
use crate::state::{StateError, StateMap, StateView, array, check_len};

/// Forward decay and adaptive threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Progress {
    /// What a step's scores are multiplied by, in the unit of `epoch`: from 1 to below
    /// `2^EPOCH_SHIFT`.
    pub(super) weight: f64,
    pub(super) epoch: u32,
    /// `K`, in the unit of a weight of one.
    pub(super) threshold: f32,
    /// Features that have reached the threshold since all were last counted.
    pub(super) n_crossed: u64,
    steps: u64,
    /// Whether many rows were free at the last look.
    were_free: bool,
}

const NAME: &str = "progress";
/// No run has as many steps.
const MAX_STEPS: u64 = 1 << 62;

impl Progress {
    pub(super) fn new(config: &CafePlusConfig) -> Self {
        let threshold = config.settings.initial_threshold;
        Self { weight: 1.0, epoch: 0, threshold, n_crossed: 0, steps: 0, were_free: false }
    }

    /// Both limits in the unit of the present epoch.
    pub(super) fn limits(&self, admission_score: f32) -> Limits {
        let present = |score: f32| (f64::from(score) * self.weight) as f32;
        Limits { hot: present(self.threshold), admitted: present(admission_score) }
    }

    /// A score of the present epoch in the unit of a weight of one.
    pub(super) fn present(&self, score: f32) -> f32 {
        (f64::from(score) / self.weight) as f32
    }

    /// The weights of the next step are `growth` times this one's. Where they become large the unit
    /// changes: by a power of two, so that no digit does.
    pub(super) fn advance(&mut self, growth: f64) {
        const UNIT: f64 = (1_u64 << EPOCH_SHIFT) as f64;
        self.steps += 1;
        self.weight *= growth;
        while self.weight >= UNIT {
            self.weight /= UNIT;
            self.epoch += 1;
        }
    }

    /// Whether it is time to lower the threshold, at the end of a step that leaves `n_free` rows
    /// free: they have been many for a while.
    pub(super) fn rows_stay_free(&mut self, n_free: usize, config: &CafePlusConfig) -> bool {
        if !(self.steps + 1).is_multiple_of(config.settings.check_every) {
            return false;
        }
        let are_free =
            n_free > 1 && n_free as f64 > config.settings.free_share * config.n_hot as f64;
        let stay_free = are_free && self.were_free;
        self.were_free = are_free && !stay_free;
        stay_free && self.threshold > config.settings.min_threshold
    }

    pub(super) fn state(&self, now: u32) -> (&'static str, StateView<'static>) {
        let words = vec![
            self.weight.to_bits(),
            u64::from(self.epoch),
            u64::from(self.threshold.to_bits()),
            self.n_crossed,
            self.steps,
            u64::from(self.were_free),
            u64::from(now),
        ];
        (NAME, StateView::U64(words.into()))
    }

    /// What [`Progress::state`] described, and the filter's clock.
    pub(super) fn restored(
        config: &CafePlusConfig,
        state: &StateMap<'_>,
    ) -> Result<(Self, u32), StateError> {
        let words = array::<u64>(state, NAME)?;
        check_len(NAME, words.len(), 7)?;
        let damaged =
            |what: &str| StateError::Damaged { name: NAME, why: format!("{what} is out of range") };
        let narrow = |word: u64, what| u32::try_from(word).map_err(|_| damaged(what));
        let restored = Self {
            weight: f64::from_bits(words[0]),
            epoch: narrow(words[1], "the epoch")?,
            threshold: f32::from_bits(narrow(words[2], "the threshold")?),
            n_crossed: words[3],
            steps: words[4],
            were_free: words[5] == 1,
        };
        if !(1.0..f64::from(1 << EPOCH_SHIFT)).contains(&restored.weight) {
            return Err(damaged("the weight"));
        }
        if !(config.settings.min_threshold..=f32::MAX).contains(&restored.threshold) {
            return Err(damaged("the threshold"));
        }
        if restored.n_crossed > MAX_STEPS || restored.steps > MAX_STEPS || words[5] > 1 {
            return Err(damaged("a count"));
        }
        Ok((restored, narrow(words[6], "the clock")?))
    }
}
