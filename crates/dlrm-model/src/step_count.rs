//! The number of steps taken, as a tensor among the optimizer's state. An `f32` counts to 2^24
//! only, so it is two of them.

use crate::parameters::{self, NamedTensor, ParameterError};

const NAME: &str = "step";

/// Bits of each of the two numbers: as many as an `f32` holds exactly.
const BITS: u32 = 24;

/// The tensor `step`, of shape `[2]`: the count modulo 2^24 and the rest. Exact up to 2^48 steps.
pub(crate) fn to_tensor(n_steps: u64) -> NamedTensor {
    let values = vec![(n_steps % (1 << BITS)) as f32, (n_steps >> BITS) as f32];
    NamedTensor { name: NAME.to_owned(), shape: vec![values.len()], values }
}

/// Separates the count of an optimizer's state from the other tensors.
pub(crate) fn split(tensors: &[NamedTensor]) -> Result<(u64, Vec<&NamedTensor>), ParameterError> {
    let (counts, others): (Vec<&NamedTensor>, Vec<&NamedTensor>) =
        tensors.iter().partition(|tensor| tensor.name == NAME);
    let found = parameters::find(std::iter::once((NAME, &[2][..])), counts)?;
    Ok((from_values(&found[0].values)?, others))
}

fn from_values(values: &[f32]) -> Result<u64, ParameterError> {
    let is_count = |value: f32| value.fract() == 0.0 && (0.0..(1 << BITS) as f32).contains(&value);
    match values.iter().position(|&value| !is_count(value)) {
        Some(value_idx) => Err(ParameterError::NotACount {
            name: NAME.to_owned(),
            value_idx,
            value: values[value_idx],
        }),
        None => Ok(values.iter().rev().fold(0, |n_steps, &value| (n_steps << BITS) + value as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_round_trip_beyond_24_bits() {
        for n_steps in
            [0, 1, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 40) + 12_345_678, (1 << 48) - 1]
        {
            let weight = NamedTensor { name: "w".to_owned(), shape: vec![1], values: vec![0.5] };
            let tensors = [to_tensor(n_steps), weight.clone()];
            assert_eq!(split(&tensors), Ok((n_steps, vec![&weight])));
        }
    }

    #[test]
    fn invalid_counts_are_refused() {
        let with = |values: &[f32]| NamedTensor { values: values.to_vec(), ..to_tensor(0) };
        for bad in [-1.0, 0.5, (1 << 24) as f32] {
            let error = split(&[with(&[0.0, bad])]).unwrap_err();
            assert_eq!(
                error,
                ParameterError::NotACount { name: "step".to_owned(), value_idx: 1, value: bad }
            );
        }
        assert!(matches!(split(&[with(&[f32::NAN, 0.0])]), Err(ParameterError::NonFinite { .. })));
        assert!(matches!(split(&[]), Err(ParameterError::Missing { .. })));
        assert!(matches!(
            split(&[to_tensor(1), to_tensor(1)]),
            Err(ParameterError::Duplicate { .. })
        ));
    }
}
