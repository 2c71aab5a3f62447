//! The planted truth: from what a row shows to the logit of its label. Apart from the sampler,
//! because the logit is a function of the record alone, as it would be for any model.

use cafe_core::{FeatureId, mix64};

use super::marginals::{INTEGERS, Quantiles};
use super::math::{ln, logistic};
use super::sampler::Sampler;
use crate::record::Record;

/// Share of positive rows in the sample that the tables were counted from.
const POSITIVE_RATE: f64 = 0.241;
/// Standard deviation of the logit, which determines the best possible AUC: 0.80 to 0.82.
const LOGIT_STD: f64 = 1.42;
/// Rows drawn at construction to fix intercept and scale.
const N_PILOT: u64 = 8192;
/// Days that the pilot rows are spread over.
const PILOT_DAYS: u64 = 7;
/// Components of a latent vector. Three take 21 bits each from one hash of 64.
const RANK: usize = 3;

/// Scale of the main effects of C1 to C26. Where fields move together, most of the effect is with
/// the ones of middling cardinality, and the others inherit it.
const MAIN: [f64; 26] = [
    0.03, 0.42, 0.15, 0.25, 0.03, 0.15, 0.25, 0.03, 0.20, 0.35, 0.30, 0.15, 0.35, 0.25, 0.30, 0.15,
    0.36, 0.42, 0.12, 0.12, 0.15, 0.10, 0.27, 0.30, 0.10, 0.42,
];

/// Scale of the latent vectors of C1 to C26.
const LATENT: [f64; 26] = [
    0.0, 0.26, 0.0, 0.24, 0.0, 0.12, 0.12, 0.0, 0.12, 0.18, 0.18, 0.0, 0.26, 0.24, 0.12, 0.0, 0.24,
    0.18, 0.0, 0.0, 0.0, 0.0, 0.24, 0.26, 0.0, 0.24,
];

/// What an integer adds to the logit.
#[derive(Clone, Copy, Debug)]
struct IntegerEffect {
    /// The coefficient of `ln(1 + x)` less that of the median; negative values count as 0.
    per_log: f64,
    /// The effect of an empty field.
    missing: f64,
}

const INTEGER_EFFECTS: [IntegerEffect; 13] = [
    effect(0.10, -0.45),
    effect(0.02, 0.0),
    effect(-0.02, 0.20),
    effect(0.10, 0.10),
    effect(-0.04, -0.70),
    effect(-0.22, -1.15),
    effect(0.13, 0.0),
    effect(-0.06, 0.0),
    effect(-0.09, 0.0),
    effect(0.32, -0.20),
    effect(0.28, 0.0),
    effect(0.22, -0.05),
    effect(-0.13, 0.10),
];

const fn effect(per_log: f64, missing: f64) -> IntegerEffect {
    IntegerEffect { per_log, missing }
}

/// The logit of a record.
#[derive(Clone, Debug)]
pub(super) struct LabelModel {
    fields: Vec<FieldEffect>,
    /// `ln(1 + x)` of the small integers.
    small_logs: Vec<f64>,
    median_logs: Vec<f64>,
    effect_seed: u64,
    scale: f64,
    intercept: f64,
}

/// Effects of a field are hashed, then centred and scaled: a field that holds a handful of values
/// would otherwise shift the logits of the whole log by the effect of its most frequent one.
#[derive(Clone, Copy, Debug)]
struct FieldEffect {
    main_mean: f64,
    main_scale: f64,
    latent_mean: [f64; RANK],
    latent_scale: f64,
}

impl LabelModel {
    /// The planted effects of `seed`, for rows such as `sampler` draws.
    pub(super) fn new(seed: u64, sampler: &Sampler) -> Self {
        let mut model = Self {
            fields: Vec::new(),
            small_logs: (0..256).map(|x| ln(1.0 + f64::from(x))).collect(),
            median_logs: INTEGERS
                .iter()
                .map(|field| Quantiles::new(field).median_log1p())
                .collect(),
            // "effect" in ASCII.
            effect_seed: mix64(seed, 0x6566_6665_6374),
            scale: 1.0,
            intercept: 0.0,
        };
        for field_idx in 0..MAIN.len() {
            let effect = model.standardised(field_idx, sampler);
            model.fields.push(effect);
        }
        // "pilot" in ASCII.
        model.calibrate(mix64(seed, 0x0070_696c_6f74), sampler);
        model
    }

    /// The logit that the label of `record` is drawn from.
    pub(super) fn logit(&self, record: &Record) -> f64 {
        let signal = self.integer_part(&record.integers) + self.token_part(&record.tokens);
        self.intercept + self.scale * signal
    }

    fn integer_part(&self, integers: &[Option<i64>]) -> f64 {
        let effects = INTEGER_EFFECTS.iter().zip(&self.median_logs);
        let parts = integers.iter().zip(effects).map(|(integer, (effect, median_log))| {
            integer.map_or(effect.missing, |value| {
                effect.per_log * (self.log1p(value.max(0)) - median_log)
            })
        });
        parts.sum()
    }

    fn log1p(&self, value: i64) -> f64 {
        match self.small_logs.get(value as usize) {
            Some(&log) => log,
            None => ln(1.0 + value as f64),
        }
    }

    /// Main effects, and the products of the latent vectors of all pairs of fields, as half of the
    /// square of their sum less the sum of their squares.
    fn token_part(&self, tokens: &[Option<u32>]) -> f64 {
        let (mut main, mut squares, mut sum) = (0.0, 0.0, [0.0; RANK]);
        for (field_idx, (token, field)) in tokens.iter().zip(&self.fields).enumerate() {
            let (normal, latent) = self.hashed(field_idx, *token);
            main += (normal - field.main_mean) * field.main_scale;
            for component in 0..RANK {
                let centred = latent[component] - field.latent_mean[component];
                let scaled = centred * field.latent_scale;
                sum[component] += scaled;
                squares += scaled * scaled;
            }
        }
        let square: f64 = sum.iter().map(|component| component * component).sum();
        main + 0.5 * (square - squares)
    }

    /// The raw effect and latent vector of a feature: mean 0 and variance 1 over all features.
    fn hashed(&self, field_idx: usize, token: Option<u32>) -> (f64, [f64; RANK]) {
        let id = match token {
            Some(token) => FeatureId::new(field_idx, token),
            None => FeatureId::missing(field_idx),
        };
        let main = mix64(id.raw(), self.effect_seed);
        let latent = mix64(main, self.effect_seed);
        (near_normal(main), [latent, latent >> 21, latent >> 42].map(uniform))
    }

    /// Means and scales that give a field its intended variance. Computed from its heaviest values;
    /// the others are many, so that their mean is 0 and their variance 1.
    fn standardised(&self, field_idx: usize, sampler: &Sampler) -> FieldEffect {
        let (mut rest, mut main_mean, mut latent_mean) = (1.0, 0.0, [0.0; RANK]);
        for (token, share) in sampler.heaviest(field_idx) {
            let (main, latent) = self.hashed(field_idx, token);
            rest -= share;
            main_mean += share * main;
            for component in 0..RANK {
                latent_mean[component] += share * latent[component];
            }
        }
        let (mut main_var, mut latent_var) = (rest, rest);
        for (token, share) in sampler.heaviest(field_idx) {
            let (main, latent) = self.hashed(field_idx, token);
            main_var += share * (main - main_mean) * (main - main_mean);
            for component in 0..RANK {
                let centred = latent[component] - latent_mean[component];
                latent_var += share * centred * centred / RANK as f64;
            }
        }
        FieldEffect {
            main_mean,
            main_scale: MAIN[field_idx] / main_var.max(MIN_VARIANCE).sqrt(),
            latent_mean,
            latent_scale: LATENT[field_idx] / latent_var.max(MIN_VARIANCE).sqrt(),
        }
    }

    /// Sets scale and intercept from separate rows, so that every seed has the same spread of
    /// logits and share of positives.
    fn calibrate(&mut self, pilot_seed: u64, sampler: &Sampler) {
        let mut record = Record::default();
        let mut logits = Vec::with_capacity(N_PILOT as usize);
        for pilot in 0..N_PILOT {
            sampler.fill(mix64(pilot, pilot_seed), pilot % PILOT_DAYS, &mut record);
            logits.push(self.logit(&record));
        }
        let n = logits.len() as f64;
        let mean = logits.iter().sum::<f64>() / n;
        let variance = logits.iter().map(|logit| (logit - mean) * (logit - mean)).sum::<f64>() / n;
        self.scale = LOGIT_STD / variance.sqrt();
        let (mut low, mut high) = (-8.0, 8.0);
        // Bisection: the rate rises with the shift. 1e-6 is far below the noise of 8192 rows.
        while high - low > 1e-6 {
            let middle = 0.5 * (low + high);
            let shifted = logits.iter().map(|logit| (logit - mean) * self.scale + middle);
            let rate = shifted.map(|logit| logistic(logit.clamp(-30.0, 30.0))).sum::<f64>() / n;
            if rate < POSITIVE_RATE { low = middle } else { high = middle }
        }
        self.intercept = low - mean * self.scale;
    }
}

/// Below this share of the intended variance a field stays weak, because its scale would amplify
/// rare values.
const MIN_VARIANCE: f64 = 0.1;

/// The sum of four uniform numbers of 16 bits, scaled to variance 1: within ±3.5.
fn near_normal(hash: u64) -> f64 {
    let sum = (hash & 0xffff) + (hash >> 16 & 0xffff) + (hash >> 32 & 0xffff) + (hash >> 48);
    // A uniform number has variance 1/12, four of them 1/3.
    (sum as f64 - 2.0 * 65_535.0) / 65_536.0 * 3.0_f64.sqrt()
}

/// The lower 21 bits as a uniform number of mean 0 and variance 1: within ±1.74.
fn uniform(hash: u64) -> f64 {
    let bits = hash & 0x1f_ffff;
    (bits as f64 / f64::from(1 << 21) - 0.5) * 12.0_f64.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(model: &LabelModel, sampler: &Sampler) -> Vec<f64> {
        let mut record = Record::default();
        let rows = (0..20_000).map(|row| {
            sampler.fill(mix64(row, 99), row % PILOT_DAYS, &mut record);
            model.logit(&record)
        });
        rows.collect()
    }

    fn variance(values: &[f64]) -> f64 {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n
    }

    #[test]
    fn every_seed_has_the_same_logit_spread() {
        for seed in 0..4 {
            let sampler = Sampler::new(seed);
            let std = variance(&logits(&LabelModel::new(seed, &sampler), &sampler)).sqrt();
            assert!((std - LOGIT_STD).abs() < 0.05, "seed {seed}: {std}");
        }
    }

    #[test]
    fn interactions_explain_part_of_the_variance() {
        for seed in 0..4 {
            let sampler = Sampler::new(seed);
            let whole = LabelModel::new(seed, &sampler);
            let mut additive = whole.clone();
            for field in &mut additive.fields {
                field.latent_scale = 0.0;
            }
            let (whole, additive) = (logits(&whole, &sampler), logits(&additive, &sampler));
            let pairs: Vec<f64> = whole.iter().zip(&additive).map(|(a, b)| a - b).collect();
            let share = variance(&pairs) / variance(&whole);
            assert!((0.1..0.45).contains(&share), "seed {seed}: {share} of the variance");
        }
    }

    #[test]
    fn hashed_effects_are_standard() {
        let sampler = Sampler::new(7);
        let model = LabelModel::new(7, &sampler);
        let features = (0..50_000).map(|token| model.hashed(3, Some(token)));
        let (mains, latents): (Vec<f64>, Vec<[f64; RANK]>) = features.unzip();
        assert!((variance(&mains) - 1.0).abs() < 0.03);
        assert!((mains.iter().sum::<f64>() / 50_000.0).abs() < 0.02);
        for component in 0..RANK {
            let values: Vec<f64> = latents.iter().map(|latent| latent[component]).collect();
            assert!((variance(&values) - 1.0).abs() < 0.03);
        }
    }
}
