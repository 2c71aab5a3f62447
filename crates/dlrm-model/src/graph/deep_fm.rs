//! `DeepFM` as a candle graph.

use candle_core::{Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Graph, Names, ShardInputs, Tapes};
use crate::config::DeepFmConfig;
use crate::mlp::Mlp;

/// A factorization machine beside a stack of layers.
pub(crate) struct DeepFm {
    deep: Mlp,
    /// The first order.
    linear: Mlp,
}

impl DeepFm {
    /// Draws the deep layers before the linear one.
    pub(crate) fn new(config: &DeepFmConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let deep = Mlp::new(&mut rng, config.input_len(), &config.deep_sizes(), false, device)?;
        let linear = Mlp::new(&mut rng, config.input_len(), &[1], false, device)?;
        Ok(Self { deep, linear })
    }
}

impl Graph for DeepFm {
    fn stacks(&self) -> Vec<(Names, &Mlp)> {
        vec![(Names::Numbered("deep"), &self.deep), (Names::Single("linear"), &self.linear)]
    }

    fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
        let x = inputs.join()?;
        let linear_and_deep = (self.deep.forward(&x, tapes.get(0))? + self.linear.forward(&x, tapes.get(1))?)?;
        linear_and_deep.squeeze(1)? + second_order(&inputs.rows)?
    }
}

/// `[B, F, d]` to `[B]`: `0.5 · ((Σ v)² - Σ v²)`, summed over the elements.
fn second_order(rows: &Tensor) -> Result<Tensor> {
    let twice = (rows.sum(1)?.sqr()? - rows.sqr()?.sum(1)?)?;
    twice.sum(1)? * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rows_on_paper() {
        let rows = Tensor::new(&[[[1f32, 2.0], [3.0, 4.0], [5.0, 0.0]]], &Device::Cpu).unwrap();
        assert_eq!(second_order(&rows).unwrap().to_vec1::<f32>().unwrap(), [11.0 + 5.0 + 15.0]);
    }
}
