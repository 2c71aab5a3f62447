//! Steps of the optimizers on tensors: in plain candle operations, and in place on slices for the
//! CPU.

use candle_core::{CpuStorage, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};

use super::device::{slice, slice_mut};
use crate::optim::{AdamStep, OptimizerKind, Step};

/// One dense parameter with its name and the optimizer's state for it.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: Var,
    /// Adagrad's sum of squares, or Adam's two moments, with their names; SGD has none.
    pub(crate) state: Vec<(String, Var)>,
}

impl Parameter {
    pub(crate) fn new(name: String, value: Var, optimizer: OptimizerKind) -> Result<Self> {
        let zeros =
            |suffix| Ok((format!("{name}{suffix}"), Var::from_tensor(&value.zeros_like()?)?));
        let state = optimizer.state_suffixes().iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { name, value, state })
    }

    /// One step along the sum of the shards' gradients, added in the order of the shards.
    ///
    /// On a CPU the sum overwrites the first gradient.
    pub(crate) fn step(&self, gradients: &[&Tensor], step: Step) -> Result<()> {
        let Some((sum, others)) = gradients.split_first() else { return Ok(()) };
        if !matches!(self.value.device(), Device::Cpu) {
            let sum = others.iter().try_fold((*sum).clone(), |sum, gradient| sum.add(gradient))?;
            return self.step_plain(&sum, step);
        }
        for gradient in others {
            sum.inplace_op2(gradient, &AddGradient)?;
        }
        self.step_in_place(sum, step)
    }

    /// The specification, and what runs on a GPU.
    fn step_plain(&self, gradient: &Tensor, step: Step) -> Result<()> {
        let value = |var: &Var| var.as_detached_tensor();
        let direction = match (step, self.state.as_slice()) {
            (Step::Adagrad { learning_rate, epsilon }, [(_, squares)]) => {
                squares.set(&value(squares).add(&gradient.sqr()?)?)?;
                (gradient.div(&(value(squares).sqrt()? + f64::from(epsilon))?)?
                    * f64::from(learning_rate))?
            }
            (Step::Adam(adam), [(_, first), (_, second)]) => {
                first.set(
                    &value(first).add(&(gradient.sub(&value(first))? * f64::from(adam.first))?)?,
                )?;
                let squares = (gradient.sqr()? * f64::from(adam.second))?;
                second.set(&(value(second) * f64::from(adam.keep_second))?.add(&squares)?)?;
                let size =
                    ((value(second).sqrt()? / f64::from(adam.root))? + f64::from(adam.epsilon))?;
                (value(first).div(&size)? * f64::from(adam.rate))?
            }
            (Step::Sgd { learning_rate }, _) => (gradient * f64::from(learning_rate))?,
            _ => unreachable!("a parameter has the state of its optimizer"),
        };
        self.value.set(&value(&self.value).sub(&direction)?)
    }

    fn step_in_place(&self, gradient: &Tensor, step: Step) -> Result<()> {
        match (step, self.state.as_slice()) {
            (Step::Adagrad { learning_rate, epsilon }, [(_, squares)]) => {
                squares.inplace_op2(gradient, &AddSquares)?;
                self.value.inplace_op3(squares, gradient, &AdagradStep { learning_rate, epsilon })
            }
            (Step::Adam(adam), [(_, first), (_, second)]) => {
                first.inplace_op2(gradient, &FollowGradient { adam })?;
                second.inplace_op2(gradient, &FollowSquare { adam })?;
                self.value.inplace_op3(first, second, &FollowMoments { adam })
            }
            (Step::Sgd { learning_rate }, _) => {
                self.value.inplace_op2(gradient, &SgdStep { learning_rate })
            }
            _ => unreachable!("a parameter has the state of its optimizer"),
        }
    }
}

/// Implements an in-place operation `first[i] = f(first[i], second[i])`.
macro_rules! elementwise {
    ($op:ty, $name:literal, |$self:ident, $first:ident, $second:ident| $body:expr) => {
        impl InplaceOp2 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(
                &$self,
                s1: &mut CpuStorage,
                l1: &Layout,
                s2: &CpuStorage,
                l2: &Layout,
            ) -> Result<()> {
                let pairs = slice_mut(s1, l1)?.iter_mut().zip(slice(s2, l2)?);
                pairs.for_each(|($first, $second)| $body);
                Ok(())
            }
        }
    };
}

/// Implements an in-place operation `first[i] = f(first[i], second[i], third[i])`.
macro_rules! triplewise {
    ($op:ty, $name:literal,
     |$self:ident, $first:ident, $second:ident, $third:ident| $body:expr) => {
        impl InplaceOp3 for $op {
            fn name(&self) -> &'static str {
                $name
            }

            fn cpu_fwd(
                &$self,
                s1: &mut CpuStorage,
                l1: &Layout,
                s2: &CpuStorage,
                l2: &Layout,
                s3: &CpuStorage,
                l3: &Layout,
            ) -> Result<()> {
                let pairs = slice(s2, l2)?.iter().zip(slice(s3, l3)?);
                let triples = slice_mut(s1, l1)?.iter_mut().zip(pairs);
                triples.for_each(|($first, ($second, $third))| $body);
                Ok(())
            }
        }
    };
}

struct AddGradient;
elementwise!(AddGradient, "accumulate", |self, sum, gradient| *sum += gradient);

struct AddSquares;
elementwise!(AddSquares, "accumulate-squares", |self, sum, gradient| *sum += gradient * gradient);

struct SgdStep {
    learning_rate: f32,
}
elementwise!(SgdStep, "sgd-step", |self, value, gradient| *value -= self.learning_rate * gradient);

struct AdagradStep {
    learning_rate: f32,
    epsilon: f32,
}

triplewise!(AdagradStep, "adagrad-step", |self, value, squares, gradient| {
    *value -= self.learning_rate * gradient / (squares.sqrt() + self.epsilon);
});

struct FollowGradient {
    adam: AdamStep,
}
elementwise!(FollowGradient, "adam-first-moment", |self, first, gradient| self
    .adam
    .follow(first, *gradient));

struct FollowSquare {
    adam: AdamStep,
}
elementwise!(FollowSquare, "adam-second-moment", |self, second, gradient| self
    .adam
    .follow_square(second, *gradient));

struct FollowMoments {
    adam: AdamStep,
}
triplewise!(FollowMoments, "adam-step", |self, value, first, second| self
    .adam
    .update(value, *first, *second));

#[cfg(test)]
mod tests {
    use super::*;

    const ADAGRAD: OptimizerKind = OptimizerKind::Adagrad { epsilon: 1e-10 };
    const ADAM: OptimizerKind = OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

    fn parameter(optimizer: OptimizerKind) -> Parameter {
        let value = Var::new(&[1f32, -2.0, 0.5], &Device::Cpu).unwrap();
        Parameter::new("w".to_owned(), value, optimizer).unwrap()
    }

    fn gradients() -> Vec<Tensor> {
        [[0.5f32, 0.0, -1.0], [0.25, 0.0, 3.0]]
            .iter()
            .map(|g| Tensor::new(g, &Device::Cpu).unwrap())
            .collect()
    }

    fn step_once(optimizer: OptimizerKind) -> Parameter {
        let parameter = parameter(optimizer);
        parameter.step(&gradients().iter().collect::<Vec<_>>(), optimizer.step(0.5, 0)).unwrap();
        parameter
    }

    /// Values, and the optimizer's state.
    fn contents(parameter: &Parameter) -> Vec<Vec<f32>> {
        let state = parameter.state.iter().map(|(_, state)| state);
        std::iter::once(&parameter.value).chain(state).map(|var| var.to_vec1().unwrap()).collect()
    }

    #[test]
    fn sgd_by_hand() {
        assert_eq!(contents(&step_once(OptimizerKind::Sgd)), [[0.625, -2.0, -0.5]]);
    }

    #[test]
    fn adagrad_by_hand() {
        assert_eq!(contents(&step_once(ADAGRAD)), [[0.5, -2.0, 0.0], [0.5625, 0.0, 4.0]]);
    }

    /// The first step is along `g / (|g| + epsilon)`, whatever the betas.
    #[test]
    fn adam_by_hand() {
        let optimizer = OptimizerKind::Adam { beta1: 0.5, beta2: 0.75, epsilon: 0.25 };
        let parameter = step_once(optimizer);
        let expected = [
            [1.0 - 0.5 * 0.75, -2.0, 0.5 - 0.5 * 2.0 / 2.25],
            [0.375, 0.0, 1.0],
            [0.140_625, 0.0, 1.0],
        ];
        assert_eq!(contents(&parameter), expected);
        assert_eq!(
            parameter.state.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["w.first_moment", "w.second_moment"]
        );
        // The second, along 1, 0 and -1 at twice the rate, with corrections 3/4 and 7/16.
        let gradient = Tensor::new(&[1f32, 0.0, -1.0], &Device::Cpu).unwrap();
        parameter.step(&[&gradient], optimizer.step(1.0, 1)).unwrap();
        let [values, first, second] = contents(&parameter).try_into().unwrap();
        assert_eq!([first, second], [[0.6875, 0.0, 0.0], [0.355_468_75, 0.0, 1.0]]);
        let moved = (0.687_5 / 0.75) / ((0.355_468_75f64 / 0.437_5).sqrt() + 0.25);
        assert!((f64::from(values[0]) - (0.625 - moved)).abs() < 1e-6, "{values:?}");
        assert_eq!(values[1..], [-2.0, expected[0][2]]);
    }

    #[test]
    fn in_place_follows_plain() {
        for optimizer in [OptimizerKind::Sgd, ADAGRAD, ADAM] {
            let (fast, plain) = (parameter(optimizer), parameter(optimizer));
            for n_steps in 0..5_u8 {
                let gradient = (&gradients()[1] / f64::from(n_steps + 1)).unwrap();
                let step = optimizer.step(0.1 + f32::from(n_steps) / 50.0, n_steps.into());
                plain.step_plain(&gradient, step).unwrap();
                fast.step(&[&gradient], step).unwrap();
            }
            let pairs = contents(&fast).concat().into_iter().zip(contents(&plain).concat());
            pairs.for_each(|(fast, plain)| assert!((fast - plain).abs() <= 1e-6 * plain.abs()));
        }
    }
}
