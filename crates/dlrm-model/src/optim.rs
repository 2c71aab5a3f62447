//! Optimizers of the dense parameters: their settings, and one step as the engines apply it.

/// How the dense parameters are updated from their gradients. Embedding rows have an optimizer of
/// their own, in the crate that has the table.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum OptimizerKind {
    /// `w -= lr · g`
    #[default]
    Sgd,
    /// `a += g²; w -= lr · g / (sqrt(a) + epsilon)`, as in PyTorch, with `a` 0 at the start.
    Adagrad {
        /// Keeps the step finite where no gradient has been seen; PyTorch's default is 1e-10.
        epsilon: f32,
    },
    /// `m += (1 - beta1) · (g - m)`, `v = beta2 · v + (1 - beta2) · g²`, both 0 at the start, and
    /// at step `t`, from 1 on, `w -= lr / (1 - beta1^t) · m / (sqrt(v) / sqrt(1 - beta2^t) +
    /// epsilon)`: as in PyTorch, without weight decay.
    Adam {
        /// Share of the mean of the gradients, `m`, that stays at each step; PyTorch's default is
        /// 0.9.
        beta1: f64,
        /// Share of the mean of their squares, `v`, that stays; PyTorch's default is 0.999.
        beta2: f64,
        /// Keeps the step finite where all gradients were zero; PyTorch's default is 1e-8.
        epsilon: f32,
    },
}

impl OptimizerKind {
    /// The optimizer's state for each parameter: of each number the end of its name in the saved
    /// state.
    pub(crate) fn state_suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Sgd => &[],
            Self::Adagrad { .. } => &[""],
            Self::Adam { .. } => &[".first_moment", ".second_moment"],
        }
    }

    /// Whether the number of steps taken is part of the state.
    pub(crate) fn counts_steps(self) -> bool {
        matches!(self, Self::Adam { .. })
    }

    /// Bytes of the optimizer's state for this number of parameters.
    pub(crate) fn n_state_bytes(self, n_parameters: usize) -> usize {
        self.state_suffixes().len() * n_parameters * size_of::<f32>()
    }

    /// The step after `n_steps`.
    pub(crate) fn step(self, learning_rate: f32, n_steps: u64) -> Step {
        match self {
            Self::Sgd => Step::Sgd { learning_rate },
            Self::Adagrad { epsilon } => Step::Adagrad { learning_rate, epsilon },
            Self::Adam { beta1, beta2, epsilon } => {
                // A count is exact here up to 2^53 steps, when both corrections have long been 1.
                let step = (n_steps + 1) as f64;
                Step::Adam(AdamStep {
                    first: (1.0 - beta1) as f32,
                    keep_second: beta2 as f32,
                    second: (1.0 - beta2) as f32,
                    rate: (f64::from(learning_rate) / (1.0 - beta1.powf(step))) as f32,
                    root: (1.0 - beta2.powf(step)).sqrt() as f32,
                    epsilon,
                })
            }
        }
    }

    /// # Errors
    /// Numbers with which Adam divides by zero or grows without end.
    pub(crate) fn validate(self) -> Result<(), OptimizerError> {
        let Self::Adam { beta1, beta2, epsilon } = self else { return Ok(()) };
        for (name, value) in [("beta1", beta1), ("beta2", beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(OptimizerError::Beta { name, value });
            }
        }
        if epsilon.is_finite() && epsilon >= 0.0 {
            Ok(())
        } else {
            Err(OptimizerError::Epsilon { value: epsilon })
        }
    }
}

/// Settings with which an optimizer diverges or divides by zero.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum OptimizerError {
    /// A share outside of 0 to 1.
    #[error(
        "`{name}` of Adam is {value}: expected at least 0 and less than 1, such as 0.9 or 0.999"
    )]
    Beta {
        /// `beta1` or `beta2`.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// A step could divide by zero or less.
    #[error("`epsilon` of Adam is {value}: expected a finite number of at least 0, such as 1e-8")]
    Epsilon {
        /// What was given.
        value: f32,
    },
}

/// One step: an optimizer with the numbers that all parameters share.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Sgd { learning_rate: f32 },
    Adagrad { learning_rate: f32, epsilon: f32 },
    Adam(AdamStep),
}

/// The numbers of Adam's step `t`, each rounded once, as PyTorch does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    /// `1 - beta1`
    pub(crate) first: f32,
    /// `beta2`
    pub(crate) keep_second: f32,
    /// `1 - beta2`
    pub(crate) second: f32,
    /// `lr / (1 - beta1^t)`
    pub(crate) rate: f32,
    /// `sqrt(1 - beta2^t)`
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
}

impl AdamStep {
    /// Updates both moments from a gradient, and the value from the moments.
    #[inline]
    pub(crate) fn apply(&self, value: &mut f32, first: &mut f32, second: &mut f32, gradient: f32) {
        self.follow(first, gradient);
        self.follow_square(second, gradient);
        self.update(value, *first, *second);
    }

    #[inline]
    pub(crate) fn follow(&self, first: &mut f32, gradient: f32) {
        *first += self.first * (gradient - *first);
    }

    #[inline]
    pub(crate) fn follow_square(&self, second: &mut f32, gradient: f32) {
        *second = self.keep_second * *second + self.second * gradient * gradient;
    }

    #[inline]
    pub(crate) fn update(&self, value: &mut f32, first: f32, second: f32) {
        *value -= self.rate * first / (second.sqrt() / self.root + self.epsilon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAM: OptimizerKind = OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

    /// The bias corrections end exactly: a count beyond the 24 bits of an `f32` loses nothing.
    #[test]
    fn steps_beyond_24_bits() {
        let adam = OptimizerKind::Adam { beta1: 0.9, beta2: 1.0 - 1e-8, epsilon: 1e-8 };
        let root = |n_steps| match adam.step(0.5, n_steps) {
            Step::Adam(AdamStep { rate, root, .. }) => (rate, root),
            _ => unreachable!(),
        };
        let expected = |step: f64| (-(step * (-1e-8f64).ln_1p()).exp_m1()).sqrt() as f32;
        for n_steps in [1 << 24, 1 << 26, 1 << 30] {
            assert_eq!(root(n_steps), (0.5, expected((n_steps + 1) as f64)));
        }
        assert_eq!(root(1 << 52), (0.5, 1.0));
    }

    #[test]
    fn invalid_adam_settings_are_refused() {
        assert_eq!(ADAM.validate(), Ok(()));
        let adam = |beta1, beta2, epsilon| OptimizerKind::Adam { beta1, beta2, epsilon }.validate();
        assert_eq!(adam(1.0, 0.5, 0.0), Err(OptimizerError::Beta { name: "beta1", value: 1.0 }));
        assert_eq!(adam(0.0, -0.1, 0.0), Err(OptimizerError::Beta { name: "beta2", value: -0.1 }));
        assert!(matches!(
            adam(0.0, f64::NAN, 0.0),
            Err(OptimizerError::Beta { name: "beta2", .. })
        ));
        assert_eq!(
            adam(0.0, 0.0, f32::INFINITY),
            Err(OptimizerError::Epsilon { value: f32::INFINITY })
        );
        let message = adam(1.5, 0.5, 0.0).unwrap_err().to_string();
        assert_eq!(
            message,
            "`beta1` of Adam is 1.5: expected at least 0 and less than 1, such as 0.9 or 0.999"
        );
    }
}
