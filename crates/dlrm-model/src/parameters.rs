//! Named values read from a model and set in it, for checkpoints and tests. Everything is checked
//! before anything is set.

use std::collections::BTreeMap;

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

/// Parameters that do not belong to this model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// A name that the model has and the input lacks.
    #[error(
        "parameter `{name}` is missing: was it saved by a model of another shape or optimizer?"
    )]
    Missing {
        /// Its name.
        name: String,
    },
    /// A name that the model lacks.
    #[error(
        "parameter `{name}` is unknown here: was it saved by a model of another shape or optimizer?"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A name given twice.
    #[error("parameter `{name}` is given twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// The right name with another shape.
    #[error("parameter `{name}` has shape {got:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What the model has.
        expected: Vec<usize>,
        /// What was given.
        got: Vec<usize>,
    },
    /// Another number of values than the shape has.
    #[error("parameter `{name}` has {got} values, expected {expected} from its shape")]
    Length {
        /// Its name.
        name: String,
        /// Product of the shape.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// Not a number of steps.
    #[error(
        "`{name}` holds {value} at position {value_idx}, expected a whole number from 0 to 16777215"
    )]
    NotACount {
        /// Its name.
        name: String,
        /// Position in the values.
        value_idx: usize,
        /// The value.
        value: f32,
    },
    /// NaN or infinity.
    #[error(
        "parameter `{name}` holds {value} at position {value_idx}: a model that has diverged \
         cannot be resumed"
    )]
    NonFinite {
        /// Its name.
        name: String,
        /// Position in the values.
        value_idx: usize,
        /// The value.
        value: f32,
    },
}

/// Sorts by name.
pub(crate) fn sort(tensors: &mut [NamedTensor]) {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
}

/// The tensors in the order of their expected names and shapes. Each must be present, and no other.
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
