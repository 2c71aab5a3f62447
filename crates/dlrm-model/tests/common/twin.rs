//! The obvious twin of every model: one sample at a time, plain loops in `f64`.

use std::collections::BTreeMap;

use dlrm_model::{DcnConfig, DcnV2Config, DlrmConfig, ModelConfig, NamedTensor};

/// Parameters by name, as the models name them.
pub(crate) type Weights = BTreeMap<String, Vec<f64>>;

/// A model, and what its passes have met.
pub(crate) struct Twin<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) weights: &'a Weights,
    /// The smallest distance of any unit so far from the kink of its `ReLU`, where the gradient
    /// jumps and rounding decides to which side.
    pub(crate) nearest_kink: f64,
}

pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

pub(crate) fn weights(parameters: &[NamedTensor]) -> Weights {
    parameters.iter().map(|tensor| (tensor.name.clone(), widen(&tensor.values))).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Dot products of all pairs.
fn pairs<'a>(vectors: &'a [&'a [f64]]) -> impl Iterator<Item = f64> + 'a {
    (1..vectors.len()).flat_map(move |i| (0..i).map(move |j| dot(vectors[i], vectors[j])))
}

impl<'a> Twin<'a> {
    pub(crate) fn new(config: &'a ModelConfig, weights: &'a Weights) -> Self {
        Self { config, weights, nearest_kink: f64::INFINITY }
    }

    /// The logit of one sample.
    pub(crate) fn logit(&mut self, dense: &[f64], rows: &[f64]) -> f64 {
        let (config, x) = (self.config, [dense, rows].concat());
        match config {
            ModelConfig::Dlrm(config) => self.dlrm(config, dense, rows),
            ModelConfig::WideDeep(config) => {
                self.mlp("deep", &x, config.deep.len() + 1, false)[0] + self.linear("wide", &x)[0]
            }
            ModelConfig::DeepFm(config) => {
                let vectors: Vec<&[f64]> = rows.chunks(config.dim).collect();
                let deep = self.mlp("deep", &x, config.deep.len() + 1, false)[0];
                deep + self.linear("linear", &x)[0] + pairs(&vectors).sum::<f64>()
            }
            ModelConfig::Dcn(config) => self.dcn(config, &x),
            ModelConfig::DcnV2(config) => self.dcn_v2(config, &x),
        }
    }

    fn dlrm(&mut self, config: &DlrmConfig, dense: &[f64], rows: &[f64]) -> f64 {
        let mut features = if config.n_dense > 0 {
            self.mlp("bottom", dense, config.bottom.len(), true)
        } else {
            vec![]
        };
        let dense = features.clone();
        let vectors: Vec<&[f64]> =
            dense.chunks(config.dim).chain(rows.chunks(config.dim)).collect();
        features.extend(pairs(&vectors));
        self.mlp("top", &features, config.top.len(), false)[0]
    }

    fn dcn(&mut self, config: &DcnConfig, x: &[f64]) -> f64 {
        let mut features = x.to_vec();
        for layer in 0..config.n_cross {
            let (weight, bias) =
                (self.weight(&format!("cross.{layer}")), self.bias(&format!("cross.{layer}")));
            let scale = dot(&features, weight);
            features
                .iter_mut()
                .zip(x.iter().zip(bias))
                .for_each(|(value, (x, bias))| *value += x * scale + bias);
        }
        features.extend(self.mlp("deep", x, config.deep.len(), true));
        self.linear("logit", &features)[0]
    }

    fn dcn_v2(&mut self, config: &DcnV2Config, x: &[f64]) -> f64 {
        let mut features = x.to_vec();
        for layer in 0..config.n_cross {
            let product = if config.rank.is_some() {
                let v = self.weight(&format!("cross.{layer}.v")).chunks(x.len());
                let inner: Vec<f64> = v.map(|row| dot(row, &features)).collect();
                self.linear(&format!("cross.{layer}.u"), &inner)
            } else {
                self.linear(&format!("cross.{layer}"), &features)
            };
            features
                .iter_mut()
                .zip(x.iter().zip(product))
                .for_each(|(value, (x, product))| *value += x * product);
        }
        features.extend(self.mlp("deep", x, config.deep.len(), true));
        self.linear("logit", &features)[0]
    }

    fn weight(&self, name: &str) -> &'a [f64] {
        &self.weights[&format!("{name}.weight")]
    }

    fn bias(&self, name: &str) -> &'a [f64] {
        &self.weights[&format!("{name}.bias")]
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        self.weight(name)
            .chunks(x.len())
            .zip(self.bias(name))
            .map(|(row, bias)| bias + dot(row, x))
            .collect()
    }

    /// `name.0`, `name.1`, ...
    fn mlp(&mut self, name: &str, x: &[f64], n_layers: usize, relu_at_end: bool) -> Vec<f64> {
        let mut x = x.to_vec();
        for layer in 0..n_layers {
            x = self.linear(&format!("{name}.{layer}"), &x);
            if relu_at_end || layer + 1 < n_layers {
                for y in &mut x {
                    self.nearest_kink = self.nearest_kink.min(y.abs());
                    *y = y.max(0.0);
                }
            }
        }
        x
    }
}
