//! What the CAFE paper proves about HotSketch and about training with it, as a calculator.
//!
//! Notation: `w` buckets, `c` slots a bucket, a feature with more than the share `gamma` of all
//! observed weight. The bounds hold for [`crate::VictimPolicy::Lightest`] without decay.

/// Lower bound on the probability that a feature of share `gamma` is held, whatever the
/// distribution of the rest: `1 - (1 - gamma) / ((c - 1) gamma w)`; at least 0.
///
/// # Panics
/// If `gamma` is not in `(0, 1]`, or `w` or `c` is 0.
#[must_use]
pub fn hold_probability(gamma: f64, w: usize, c: usize) -> f64 {
    check(gamma, w, c);
    if c == 1 {
        return 0.0;
    }
    (1.0 - (1.0 - gamma) / ((c - 1) as f64 * gamma * w as f64)).max(0.0)
}

/// Lower bound on the probability that a feature of share `gamma` is held where the rest follows a
/// Zipf distribution of exponent `z > 1`: `sup over eta > 0 of 3^-eta (1 - eta / ((c - 1) gamma
/// (eta w)^z))`, proven for `w >= 6`; at least 0.
///
/// # Panics
/// If `gamma` is not in `(0, 1]`, `z <= 1`, `w < 6` or `c` is 0.
#[must_use]
pub fn hold_probability_zipf(gamma: f64, z: f64, w: usize, c: usize) -> f64 {
    check(gamma, w, c);
    assert!(z > 1.0 && w >= 6, "the bound needs z > 1 and w >= 6, got z = {z}, w = {w}");
    if c == 1 {
        return 0.0;
    }
    let bound = |ln_eta: f64| {
        let eta = ln_eta.exp();
        let others = (c - 1) as f64 * gamma * (eta * w as f64).powf(z);
        3.0_f64.powf(-eta) * (1.0 - eta / others)
    };
    maximum(bound, -30.0, 5.0).max(0.0)
}

/// The number of slots a bucket that keeps the Zipf bound highest at a fixed number of slots in
/// all: `1 + 1 / (z - 1)`.
///
/// # Panics
/// If `z <= 1`.
#[must_use]
pub fn best_slots(z: f64) -> f64 {
    assert!(z > 1.0, "the bound needs z > 1, got {z}");
    1.0 + 1.0 / (z - 1.0)
}

/// The quantities in the bound on SGD with gradients that deviate, as those of shared rows do.
#[derive(Clone, Copy, Debug)]
pub struct SgdBound {
    /// Steps, `T`.
    pub steps: f64,
    /// Learning rate, `alpha < 1 / L`.
    pub learning_rate: f64,
    /// Lipschitz constant of the gradient, `L`.
    pub smoothness: f64,
    /// `f(x_0) - f(x*)`.
    pub initial_gap: f64,
    /// Variance of the stochastic gradient around the true one, `sigma^2`.
    pub sigma_squared: f64,
    /// The constant part of the variance, `sigma_0^2`.
    pub sigma0_squared: f64,
    /// `sum over t of E[eps_t^2]`, the squared deviations that sharing causes.
    pub deviation_squared_sum: f64,
}

impl SgdBound {
    /// Upper bound on the mean of `E ||grad f||^2` over the steps.
    ///
    /// # Panics
    /// If `alpha L >= 1`, where nothing is proven.
    #[must_use]
    pub fn mean_squared_gradient(&self) -> f64 {
        let Self { steps, learning_rate: a, smoothness: l, .. } = *self;
        assert!(a * l < 1.0, "the bound needs learning_rate < 1 / smoothness");
        let descent = self.initial_gap / (steps * a * (1.0 - a * l));
        let noise =
            a * (2.0 * l * self.sigma_squared + self.sigma0_squared) / (2.0 * (1.0 - a * l));
        let sharing =
            (1.0 + a * a * l) * self.deviation_squared_sum / (2.0 * steps * a * (1.0 - a * l));
        descent + noise + sharing
    }
}

fn check(gamma: f64, w: usize, c: usize) {
    assert!(gamma > 0.0 && gamma <= 1.0, "a share is in (0, 1], got {gamma}");
    assert!(w > 0 && c > 0, "a sketch needs a bucket and a slot");
}

/// The maximum of `f` on `[low, high]`: a grid, then golden-section search around its best point.
fn maximum(f: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    const GRID: usize = 700;
    let step = (high - low) / GRID as f64;
    let at = |i: usize| low + step * i as f64;
    let best = (0..=GRID).max_by(|&a, &b| f(at(a)).total_cmp(&f(at(b)))).unwrap_or(0);
    let (mut a, mut b) = (at(best) - step, at(best) + step);
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    for _ in 0..60 {
        let (x, y) = (b - ratio * (b - a), a + ratio * (b - a));
        if f(x) > f(y) { b = y } else { a = x }
    }
    f(f64::midpoint(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The listed values are cut or rounded to `digits`: one unit of the last place either way.
    fn close(got: f64, expected: f64, digits: i32) {
        assert!((got - expected).abs() < 10_f64.powi(-digits), "{got} is not {expected}");
    }

    #[test]
    fn distribution_free_values() {
        close(hold_probability(1e-3, 2000, 4), 0.834, 3);
        close(hold_probability(1e-3, 1000, 8), 0.857, 3);
        close(hold_probability(1e-3, 500, 16), 0.867, 3);
        assert!(hold_probability(1e-9, 10, 4).abs() < f64::EPSILON);
    }

    #[test]
    fn zipf_values() {
        let shares = [1e-4, 5e-4, 1e-3, 1e-2];
        for (z, w, c, expected) in [
            (1.1, 2000, 4, [0.0952, 0.7536, 0.8672, 0.9834]),
            (1.5, 2000, 4, [0.7956, 0.9271, 0.9537, 0.9899]),
            (2.0, 2000, 4, [0.9408, 0.9732, 0.9810, 0.9939]),
            (1.1, 1000, 8, [0.1394, 0.7715, 0.8769, 0.9847]),
        ] {
            for (gamma, expected) in shares.into_iter().zip(expected) {
                close(hold_probability_zipf(gamma, z, w, c), expected, 4);
            }
        }
    }

    #[test]
    fn the_zipf_bound_grows_in_every_argument() {
        let base = hold_probability_zipf(1e-3, 1.3, 1000, 4);
        for better in [
            hold_probability_zipf(2e-3, 1.3, 1000, 4),
            hold_probability_zipf(1e-3, 1.4, 1000, 4),
            hold_probability_zipf(1e-3, 1.3, 1200, 4),
            hold_probability_zipf(1e-3, 1.3, 1000, 5),
        ] {
            assert!(better > base);
        }
    }

    #[test]
    fn best_slots_is_where_the_bound_peaks() {
        // At z = 1.25 the formula says 5 slots; 20,000 slots are split in every way.
        close(best_slots(1.25), 5.0, 6);
        let at = |c: usize| hold_probability_zipf(2e-4, 1.25, 20_000 / c, c);
        let best = (2..=20).max_by(|&a, &b| at(a).total_cmp(&at(b)));
        assert!(matches!(best, Some(4..=6)), "{best:?}");
    }

    #[test]
    fn sgd_bound_on_paper() {
        // a = 0.1, L = 2: descent 8 / (100 * .1 * .8) = 1; noise .1 * (2*2*1 + 4) / 1.6 = .5;
        // sharing (1 + .02) * 16 / (2 * 100 * .1 * .8) = 1.02.
        let bound = SgdBound {
            steps: 100.0,
            learning_rate: 0.1,
            smoothness: 2.0,
            initial_gap: 8.0,
            sigma_squared: 1.0,
            sigma0_squared: 4.0,
            deviation_squared_sum: 16.0,
        };
        close(bound.mean_squared_gradient(), 2.52, 9);
    }
}
