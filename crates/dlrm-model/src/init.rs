//! Seeded initial weights. Our own, because candle's random numbers on a CPU cannot be seeded.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// Initial values of a linear layer.
pub(crate) struct LinearInit {
    /// `[n_output, n_input]`, row by row.
    pub(crate) weight: Vec<f32>,
    /// `[n_output]`.
    pub(crate) bias: Vec<f32>,
}

/// Draws `weight ~ N(0, sqrt(2 / (n_input + n_output)))`, then `bias ~ N(0, sqrt(1 / n_output))`:
/// the second argument of `N` is the standard deviation, and the order of the draws is part of what
/// a seed means.
pub(crate) fn linear<R: Rng>(rng: &mut R, n_input: usize, n_output: usize) -> LinearInit {
    let weight = matrix(rng, n_input, n_output);
    LinearInit { weight, bias: normal(rng, n_output, (1.0 / n_output as f64).sqrt()) }
}

/// Draws the weight vector of a cross layer, as a layer of one output, and a bias of the same
/// length.
pub(crate) fn cross<R: Rng>(rng: &mut R, len: usize) -> LinearInit {
    let weight = matrix(rng, len, 1);
    LinearInit { weight, bias: normal(rng, len, (1.0 / len as f64).sqrt()) }
}

/// Draws the weights of a layer without a bias.
pub(crate) fn matrix<R: Rng>(rng: &mut R, n_input: usize, n_output: usize) -> Vec<f32> {
    normal(rng, n_input * n_output, (2.0 / (n_input + n_output) as f64).sqrt())
}

fn normal<R: Rng>(rng: &mut R, n_values: usize, std: f64) -> Vec<f32> {
    (0..n_values).map(|_| (std * rng.sample::<f64, _>(StandardNormal)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn deviation(values: &[f32]) -> f64 {
        (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn standard_deviation_follows_the_sizes() {
        let init = linear(&mut ChaCha8Rng::seed_from_u64(3), 300, 500);
        assert_eq!((init.weight.len(), init.bias.len()), (150_000, 500));
        assert!((deviation(&init.weight) / 0.05 - 1.0).abs() < 0.01);
        assert!((deviation(&init.bias) / 0.044_721 - 1.0).abs() < 0.1);
    }

    #[test]
    fn cross_layer_has_one_output_and_a_bias_of_its_input_length() {
        let init = cross(&mut ChaCha8Rng::seed_from_u64(3), 20_000);
        assert_eq!((init.weight.len(), init.bias.len()), (20_000, 20_000));
        assert!((deviation(&init.weight) / 0.01 - 1.0).abs() < 0.02);
        assert!((deviation(&init.bias) / 0.007_071 - 1.0).abs() < 0.02);
        assert_eq!(matrix(&mut ChaCha8Rng::seed_from_u64(1), 2, 3).len(), 6);
    }

    /// These values are part of the meaning of a seed: a change of the generator or of the order of
    /// the draws changes every trained model.
    #[test]
    fn draws_of_a_seed_are_fixed() {
        let LinearInit { weight, bias } = linear(&mut ChaCha8Rng::seed_from_u64(1), 2, 3);
        let got: Vec<u32> = weight.iter().chain(&bias).map(|value| value.to_bits()).collect();
        assert_eq!(got, LINEAR, "got {got:#010x?}");
        let LinearInit { weight, bias } = cross(&mut ChaCha8Rng::seed_from_u64(2), 2);
        let got: Vec<u32> = weight.iter().chain(&bias).map(|value| value.to_bits()).collect();
        assert_eq!(got, CROSS, "got {got:#010x?}");
    }

    const LINEAR: [u32; 9] = [
        0xbe18_1855,
        0xbf64_6c6d,
        0x3e57_ae4a,
        0xbf36_6ee5,
        0xbe58_3385,
        0x3ef8_952b,
        0xbdea_9424,
        0xbf13_fa68,
        0x3f91_db5f,
    ];
    const CROSS: [u32; 4] = [0x3f28_b62a, 0x3e31_44fc, 0x3f83_8123, 0x3f0b_dd7b];
}
