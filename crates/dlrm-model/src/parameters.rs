//! Named values out of a model and into it, for checkpoints and tests. Everything is checked before
//! anything is set.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::bridge;
use crate::error::{ModelError, ParameterError};

/// A tensor by name, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Such as `bottom.0.weight`, `top.2.bias`, `cross.1.weight`, or of an optimizer
    /// `top.2.bias.first_moment`.
    pub name: String,
    /// Weights are `[n_output, n_input]`, biases `[n_output]`; the weight vector of a cross layer
    /// is `[1, n]`, its bias `[n]`.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// Copies variables to the host, sorted by name.
pub(crate) fn export<'a>(
    vars: impl Iterator<Item = (&'a str, &'a Var)>,
) -> Result<Vec<NamedTensor>, ModelError> {
    let named = vars.map(|(name, var)| {
        let values = bridge::to_vec(var)?;
        Ok(NamedTensor { name: name.to_owned(), shape: var.dims().to_vec(), values })
    });
    let mut named = named.collect::<Result<Vec<_>, ModelError>>()?;
    sort(&mut named);
    Ok(named)
}

/// Sorts by name.
pub(crate) fn sort(tensors: &mut [NamedTensor]) {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Sets variables from tensors of exactly their names and shapes, in any order.
pub(crate) fn import<'a>(
    vars: impl Iterator<Item = (&'a str, &'a Var)>,
    tensors: impl IntoIterator<Item = &'a NamedTensor>,
) -> Result<(), ModelError> {
    let vars: Vec<(&str, &Var)> = vars.collect();
    let found = find(vars.iter().map(|(name, var)| (*name, var.dims())), tensors)?;
    for ((_, var), tensor) in vars.into_iter().zip(found) {
        var.set(&Tensor::from_slice(&tensor.values, tensor.shape.as_slice(), var.device())?)?;
    }
    Ok(())
}

/// The tensors in the order of their expected names and shapes; each must be there, and none beside
/// them.
pub(crate) fn find<'a, 't>(
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
    tensors: impl IntoIterator<Item = &'t NamedTensor>,
) -> Result<Vec<&'t NamedTensor>, ParameterError> {
    let mut by_name = BTreeMap::new();
    for tensor in tensors {
        if by_name.insert(tensor.name.as_str(), tensor).is_some() {
            return Err(ParameterError::Duplicate { name: tensor.name.clone() });
        }
    }
    let mut found = Vec::new();
    for (name, shape) in expected {
        let missing = || ParameterError::Missing { name: name.to_owned() };
        let tensor = by_name.remove(name).ok_or_else(missing)?;
        check(tensor, shape)?;
        found.push(tensor);
    }
    match by_name.into_keys().next() {
        Some(name) => Err(ParameterError::Unknown { name: name.to_owned() }),
        None => Ok(found),
    }
}

fn check(tensor: &NamedTensor, expected: &[usize]) -> Result<(), ParameterError> {
    let NamedTensor { name, shape, values } = tensor;
    if shape != expected {
        return Err(ParameterError::Shape {
            name: name.clone(),
            expected: expected.to_vec(),
            got: shape.clone(),
        });
    }
    let n_values = shape.iter().product();
    if values.len() != n_values {
        return Err(ParameterError::Length {
            name: name.clone(),
            expected: n_values,
            got: values.len(),
        });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(value_idx) => Err(ParameterError::NonFinite {
            name: name.clone(),
            value_idx,
            value: values[value_idx],
        }),
        None => Ok(()),
    }
}
