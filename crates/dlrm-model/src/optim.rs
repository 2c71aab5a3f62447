//! Optimizers of the dense parameters: in plain candle operations, and in place on slices for the CPU.

use candle_core::{CpuStorage, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};

use crate::bridge::{slice, slice_mut};

/// How the dense parameters follow their gradients. Embedding rows have an optimizer of their own, elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerKind {
    /// `w -= lr · g`
    Sgd,
    /// `a += g²; w -= lr · g / (sqrt(a) + epsilon)`, as in PyTorch, with `a` 0 at the start.
    Adagrad {
        /// Keeps the step finite where no gradient has been seen; PyTorch's default is 1e-10.
        epsilon: f32,
    },
}

/// One dense parameter with its name and what the optimizer remembers of it.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: Var,
    /// Adagrad's sum of squares; SGD has none.
    pub(crate) accumulator: Option<Var>,
}

impl Parameter {
    pub(crate) fn new(name: String, value: Var, optimizer: OptimizerKind) -> Result<Self> {
        let accumulator = match optimizer {
            OptimizerKind::Sgd => None,
            OptimizerKind::Adagrad { .. } => Some(Var::from_tensor(&value.zeros_like()?)?),
        };
        Ok(Self { name, value, accumulator })
    }

    /// One step along the sum of the shards' gradients, added in the order of the shards.
    ///
    /// On a CPU the first gradient serves as the place for the sum.
    pub(crate) fn step(&self, gradients: &[&Tensor], optimizer: OptimizerKind, learning_rate: f32) -> Result<()> {
        let Some((sum, others)) = gradients.split_first() else { return Ok(()) };
        if !matches!(self.value.device(), Device::Cpu) {
            let sum = others.iter().try_fold((*sum).clone(), |sum, gradient| sum.add(gradient))?;
            return self.step_plain(&sum, optimizer, learning_rate);
        }
        for gradient in others {
            sum.inplace_op2(gradient, &Accumulate)?;
        }
        self.step_in_place(sum, optimizer, learning_rate)
    }

    /// The specification, and what runs on a GPU.
    fn step_plain(&self, gradient: &Tensor, optimizer: OptimizerKind, learning_rate: f32) -> Result<()> {
        let learning_rate = f64::from(learning_rate);
        let value = self.value.as_detached_tensor();
        let direction = match (optimizer, &self.accumulator) {
            (OptimizerKind::Adagrad { epsilon }, Some(accumulator)) => {
                accumulator.set(&accumulator.as_detached_tensor().add(&gradient.sqr()?)?)?;
                gradient.div(&(accumulator.as_detached_tensor().sqrt()? + f64::from(epsilon))?)?
            }
            _ => gradient.clone(),
        };
        self.value.set(&value.sub(&(direction * learning_rate)?)?)
    }

    fn step_in_place(&self, gradient: &Tensor, optimizer: OptimizerKind, learning_rate: f32) -> Result<()> {
        match (optimizer, &self.accumulator) {
            (OptimizerKind::Adagrad { epsilon }, Some(accumulator)) => {
                accumulator.inplace_op2(gradient, &AccumulateSquares)?;
                self.value.inplace_op3(accumulator, gradient, &AdagradStep { learning_rate, epsilon })
            }
            _ => self.value.inplace_op2(gradient, &SgdStep { learning_rate }),
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

            fn cpu_fwd(&$self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
                let pairs = slice_mut(s1, l1)?.iter_mut().zip(slice(s2, l2)?);
                pairs.for_each(|($first, $second)| $body);
                Ok(())
            }
        }
    };
}

struct Accumulate;
elementwise!(Accumulate, "accumulate", |self, sum, gradient| *sum += gradient);

struct AccumulateSquares;
elementwise!(AccumulateSquares, "accumulate-squares", |self, sum, gradient| *sum += gradient * gradient);

struct SgdStep {
    learning_rate: f32,
}
elementwise!(SgdStep, "sgd-step", |self, value, gradient| *value -= self.learning_rate * gradient);

struct AdagradStep {
    learning_rate: f32,
    epsilon: f32,
}

impl InplaceOp3 for AdagradStep {
    fn name(&self) -> &'static str {
        "adagrad-step"
    }

    fn cpu_fwd(
        &self,
        value: &mut CpuStorage,
        value_layout: &Layout,
        accumulator: &CpuStorage,
        accumulator_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let history = slice(accumulator, accumulator_layout)?.iter().zip(slice(gradient, gradient_layout)?);
        for (value, (accumulator, gradient)) in slice_mut(value, value_layout)?.iter_mut().zip(history) {
            *value -= self.learning_rate * gradient / (accumulator.sqrt() + self.epsilon);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAGRAD: OptimizerKind = OptimizerKind::Adagrad { epsilon: 1e-10 };

    fn parameter(optimizer: OptimizerKind) -> Parameter {
        let value = Var::new(&[1f32, -2.0, 0.5], &Device::Cpu).unwrap();
        Parameter::new("w".to_owned(), value, optimizer).unwrap()
    }

    fn gradients() -> Vec<Tensor> {
        [[0.5f32, 0.0, -1.0], [0.25, 0.0, 3.0]].iter().map(|g| Tensor::new(g, &Device::Cpu).unwrap()).collect()
    }

    #[test]
    fn sgd_on_paper() {
        let parameter = parameter(OptimizerKind::Sgd);
        parameter.step(&gradients().iter().collect::<Vec<_>>(), OptimizerKind::Sgd, 0.5).unwrap();
        assert_eq!(parameter.value.to_vec1::<f32>().unwrap(), [0.625, -2.0, -0.5]);
    }

    #[test]
    fn adagrad_on_paper() {
        let parameter = parameter(ADAGRAD);
        parameter.step(&gradients().iter().collect::<Vec<_>>(), ADAGRAD, 0.5).unwrap();
        assert_eq!(parameter.accumulator.as_ref().unwrap().to_vec1::<f32>().unwrap(), [0.5625, 0.0, 4.0]);
        assert_eq!(parameter.value.to_vec1::<f32>().unwrap(), [0.5, -2.0, 0.0]);
    }

    #[test]
    fn in_place_follows_plain() {
        for optimizer in [OptimizerKind::Sgd, ADAGRAD] {
            let (fast, plain) = (parameter(optimizer), parameter(optimizer));
            for step in 1..6_u8 {
                let gradient = (&gradients()[1] / f64::from(step)).unwrap();
                plain.step_plain(&gradient, optimizer, 0.1).unwrap();
                fast.step(&[&gradient], optimizer, 0.1).unwrap();
            }
            let values = |p: &Parameter| p.value.to_vec1::<f32>().unwrap();
            let pairs = values(&fast).into_iter().zip(values(&plain));
            pairs.for_each(|(fast, plain)| assert!((fast - plain).abs() <= 1e-6 * plain.abs()));
        }
    }
}
