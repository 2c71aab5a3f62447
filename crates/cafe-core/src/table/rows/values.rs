//! The values of rows in each precision: read, written whole, moved by a step.

use super::format::RowPrecision;
use super::grid::{self, Bf16, F16, Half, LANES, NEAREST, Unit};
use super::noise::RoundingNoise;
use super::optimizer::Descent;
use crate::batch::by_field::cut;
use crate::batch::cache_hint::prefetch;
use crate::batch::coalesce::add;

/// Values of rows, flat, in one of four forms: vectors where they are owned, slices where they are
/// lent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Values<Floats, Halves, Codes, Exponents> {
    F32(Floats),
    F16(Halves),
    Bf16(Halves),
    /// See [`Unit`]; an exponent for each row.
    I8(Codes, Exponents),
}

pub(super) type Owned = Values<Vec<f32>, Vec<u16>, Vec<i8>, Vec<u8>>;
pub(super) type Lent<'a> = Values<&'a [f32], &'a [u16], &'a [i8], &'a [u8]>;
pub(super) type LentMut<'a> = Values<&'a mut [f32], &'a mut [u16], &'a mut [i8], &'a mut [u8]>;

impl Owned {
    pub(super) fn zeros(precision: RowPrecision, n_rows: usize, dim: usize) -> Self {
        match precision {
            RowPrecision::F32 => Self::F32(vec![0.0; n_rows * dim]),
            RowPrecision::F16 => Self::F16(vec![0; n_rows * dim]),
            RowPrecision::Bf16 => Self::Bf16(vec![0; n_rows * dim]),
            RowPrecision::I8 => Self::I8(vec![0; n_rows * dim], vec![0; n_rows]),
        }
    }

    pub(super) fn push_row(&mut self, dim: usize) {
        match self {
            Self::F32(values) => values.resize(values.len() + dim, 0.0),
            Self::F16(halves) | Self::Bf16(halves) => halves.resize(halves.len() + dim, 0),
            Self::I8(codes, exponents) => {
                codes.resize(codes.len() + dim, 0);
                exponents.push(0);
            }
        }
    }

    #[inline]
    pub(super) fn lent(&self) -> Lent<'_> {
        match self {
            Self::F32(values) => Lent::F32(values),
            Self::F16(halves) => Lent::F16(halves),
            Self::Bf16(halves) => Lent::Bf16(halves),
            Self::I8(codes, exponents) => Lent::I8(codes, exponents),
        }
    }

    #[inline]
    pub(super) fn lent_mut(&mut self) -> LentMut<'_> {
        match self {
            Self::F32(values) => LentMut::F32(values),
            Self::F16(halves) => LentMut::F16(halves),
            Self::Bf16(halves) => LentMut::Bf16(halves),
            Self::I8(codes, exponents) => LentMut::I8(codes, exponents),
        }
    }
}

impl Lent<'_> {
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(halves) | Self::Bf16(halves) => halves.len(),
            Self::I8(codes, _) => codes.len(),
        }
    }

    pub(super) fn bytes(self) -> u64 {
        let bytes = match self {
            Self::F32(values) => size_of_val(values),
            Self::F16(halves) | Self::Bf16(halves) => size_of_val(halves),
            Self::I8(codes, exponents) => codes.len() + exponents.len(),
        };
        bytes as u64
    }

    #[inline(never)]
    pub(super) fn prefetch(self, row: usize, dim: usize) {
        match self {
            Self::F32(values) => prefetch(values, row * dim, dim),
            Self::F16(halves) | Self::Bf16(halves) => prefetch(halves, row * dim, dim),
            Self::I8(codes, exponents) => {
                prefetch(codes, row * dim, dim);
                prefetch(exponents, row, 1);
            }
        }
    }

    #[inline(never)]
    pub(super) fn read(self, row: usize, out: &mut [f32]) {
        let set = |out: &mut f32, value| *out = value;
        match self {
            Self::F32(values) => copy(out, row_of(values, row, out.len())),
            Self::F16(halves) => decode(row_of(halves, row, out.len()), out, F16::decode, set),
            Self::Bf16(halves) => decode(row_of(halves, row, out.len()), out, Bf16::decode, set),
            Self::I8(codes, exponents) => {
                let unit = Unit::new(exponents[row]);
                decode(row_of(codes, row, out.len()), out, |code| unit.decode(code), set);
            }
        }
    }

    #[inline(never)]
    pub(super) fn add_to(self, row: usize, out: &mut [f32]) {
        let increase = |out: &mut f32, value| *out += value;
        match self {
            Self::F32(values) => add(out, row_of(values, row, out.len())),
            Self::F16(halves) => decode(row_of(halves, row, out.len()), out, F16::decode, increase),
            Self::Bf16(halves) => {
                decode(row_of(halves, row, out.len()), out, Bf16::decode, increase);
            }
            Self::I8(codes, exponents) => {
                let unit = Unit::new(exponents[row]);
                decode(row_of(codes, row, out.len()), out, |code| unit.decode(code), increase);
            }
        }
    }
}

impl<'a> LentMut<'a> {
    pub(super) fn cut(&mut self, n_rows: usize, dim: usize) -> LentMut<'a> {
        match self {
            Self::F32(values) => Self::F32(cut(values, n_rows * dim)),
            Self::F16(halves) => Self::F16(cut(halves, n_rows * dim)),
            Self::Bf16(halves) => Self::Bf16(cut(halves, n_rows * dim)),
            Self::I8(codes, exponents) => {
                Self::I8(cut(codes, n_rows * dim), cut(exponents, n_rows))
            }
        }
    }

    /// Writes `dim` values, rounded to the nearest.
    pub(super) fn write(self, row: usize, dim: usize, values: impl Iterator<Item = f32> + Clone) {
        match self {
            Self::F32(floats) => {
                row_of_mut(floats, row, dim).iter_mut().zip(values).for_each(|(out, v)| *out = v);
            }
            Self::F16(halves) => write_halves::<F16>(row_of_mut(halves, row, dim), values),
            Self::Bf16(halves) => write_halves::<Bf16>(row_of_mut(halves, row, dim), values),
            Self::I8(codes, exponents) => {
                exponents[row] = Unit::exponent(values.clone().take(dim).fold(0, grid::larger));
                let reciprocal = Unit::reciprocal(exponents[row]);
                for (code, value) in row_of_mut(codes, row, dim).iter_mut().zip(values) {
                    *code = grid::encode(value * reciprocal, NEAREST);
                }
            }
        }
    }

    /// Moves a row, and rounds it stochastically.
    #[inline]
    pub(super) fn step(
        &mut self,
        row: usize,
        dim: usize,
        noise: impl Fn() -> RoundingNoise,
        descent: &impl Descent,
    ) {
        match self {
            Self::F32(values) => step_floats(row_of_mut(values, row, dim), descent),
            Self::F16(halves) => step_halves::<F16>(row_of_mut(halves, row, dim), noise(), descent),
            Self::Bf16(halves) => {
                step_halves::<Bf16>(row_of_mut(halves, row, dim), noise(), descent);
            }
            Self::I8(codes, exponents) => {
                step_codes(row_of_mut(codes, row, dim), &mut exponents[row], noise(), descent);
            }
        }
    }
}

/// Rounds values as a row of the precision would be that they are written to.
pub(super) fn round(precision: RowPrecision, values: &mut [f32]) {
    match precision {
        RowPrecision::F32 => {}
        RowPrecision::F16 => {
            for value in values {
                *value = F16::decode(F16::encode(*value, NEAREST));
            }
        }
        RowPrecision::Bf16 => {
            for value in values {
                *value = Bf16::decode(Bf16::encode(*value, NEAREST));
            }
        }
        RowPrecision::I8 => {
            let exponent = Unit::exponent(values.iter().copied().fold(0, grid::larger));
            let (unit, reciprocal) = (Unit::new(exponent), Unit::reciprocal(exponent));
            for value in values {
                *value = unit.decode(grid::encode(*value * reciprocal, NEAREST));
            }
        }
    }
}

#[inline]
pub(super) fn row_of<T>(values: &[T], row: usize, dim: usize) -> &[T] {
    &values[row * dim..(row + 1) * dim]
}

#[inline]
pub(super) fn row_of_mut<T>(values: &mut [T], row: usize, dim: usize) -> &mut [T] {
    &mut values[row * dim..(row + 1) * dim]
}

/// Copies a row: chunks of a known length save the call that a copy of any length is.
#[inline]
pub(super) fn copy(out: &mut [f32], row: &[f32]) {
    let (out_chunks, out_rest) = out.as_chunks_mut::<LANES>();
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    for (out, row) in out_chunks.iter_mut().zip(row_chunks) {
        *out = *row;
    }
    for (out, value) in out_rest.iter_mut().zip(row_rest) {
        *out = *value;
    }
}

#[inline]
fn decode<T: Copy>(
    row: &[T],
    out: &mut [f32],
    value: impl Fn(T) -> f32,
    put: impl Fn(&mut f32, f32),
) {
    let (out_chunks, out_rest) = out.as_chunks_mut::<LANES>();
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    for (out, row) in out_chunks.iter_mut().zip(row_chunks) {
        for (out, stored) in out.iter_mut().zip(row) {
            put(out, value(*stored));
        }
    }
    for (out, stored) in out_rest.iter_mut().zip(row_rest) {
        put(out, value(*stored));
    }
}

fn write_halves<H: Half>(row: &mut [u16], values: impl Iterator<Item = f32>) {
    row.iter_mut().zip(values).for_each(|(half, value)| *half = H::encode(value, NEAREST));
}

/// Moves a row along its gradient: chunks of a known length compile to a few vector instructions.
#[inline]
pub(super) fn descend(row: &mut [f32], scale: f32, grad: &[f32]) {
    let (row_chunks, row_rest) = row.as_chunks_mut::<LANES>();
    let (grad_chunks, grad_rest) = grad.as_chunks::<LANES>();
    for (row, grad) in row_chunks.iter_mut().zip(grad_chunks) {
        for (value, g) in row.iter_mut().zip(grad) {
            *value -= scale * g;
        }
    }
    for (value, g) in row_rest.iter_mut().zip(grad_rest) {
        *value -= scale * g;
    }
}

#[inline]
fn step_floats(row: &mut [f32], descent: &impl Descent) {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let n_chunks = chunks.len();
    for (idx, chunk) in chunks.iter_mut().enumerate() {
        let delta = descent.delta::<LANES>(idx * LANES);
        for (value, delta) in chunk.iter_mut().zip(delta) {
            *value -= delta;
        }
    }
    for (idx, value) in rest.iter_mut().enumerate() {
        let [delta] = descent.delta::<1>(n_chunks * LANES + idx);
        *value -= delta;
    }
}

#[inline]
fn step_halves<H: Half>(row: &mut [u16], noise: RoundingNoise, descent: &impl Descent) {
    let step = |at: usize, halves: &mut [u16; LANES], delta: [f32; LANES]| {
        let moved: [f32; LANES] = std::array::from_fn(|k| H::decode(halves[k]) - delta[k]);
        let noise = noise.chunk(at);
        *halves = std::array::from_fn(|k| H::encode(moved[k], noise[k]));
    };
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let n_chunks = chunks.len();
    for (idx, halves) in chunks.iter_mut().enumerate() {
        step(idx * LANES, halves, descent.delta(idx * LANES));
    }
    if !rest.is_empty() {
        let at = n_chunks * LANES;
        let mut halves = padded(rest);
        step(at, &mut halves, rest_of(descent, at, rest.len()));
        rest.copy_from_slice(&halves[..rest.len()]);
    }
}

/// Twice over the row: the unit is known when all values are.
#[inline]
fn step_codes(row: &mut [i8], exponent: &mut u8, noise: RoundingNoise, descent: &impl Descent) {
    let unit = Unit::new(*exponent);
    let moved = |codes: &[i8; LANES], delta: [f32; LANES]| -> [f32; LANES] {
        std::array::from_fn(|k| unit.decode(codes[k]) - delta[k])
    };
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let at_rest = chunks.len() * LANES;
    let mut largest = [0; LANES];
    let mut compare = |moved: [f32; LANES]| {
        for (largest, value) in largest.iter_mut().zip(moved) {
            *largest = grid::larger(*largest, value);
        }
    };
    for (idx, codes) in chunks.iter().enumerate() {
        compare(moved(codes, descent.delta(idx * LANES)));
    }
    let moved_rest = if rest.is_empty() {
        [0.0; LANES]
    } else {
        moved(&padded(rest), rest_of(descent, at_rest, rest.len()))
    };
    compare(moved_rest);
    *exponent = Unit::exponent(largest.into_iter().fold(0, u32::max));
    let reciprocal = Unit::reciprocal(*exponent);
    // In place: an array of bytes would be put together one by one.
    let encode = |codes: &mut [i8], at: usize, moved: [f32; LANES]| {
        for ((code, value), noise) in codes.iter_mut().zip(moved).zip(noise.chunk(at)) {
            *code = grid::encode(value * reciprocal, noise);
        }
    };
    for (idx, codes) in chunks.iter_mut().enumerate() {
        let moved = moved(codes, descent.delta(idx * LANES));
        encode(codes, idx * LANES, moved);
    }
    encode(rest, at_rest, moved_rest);
}

#[inline]
fn padded<T: Copy + Default>(rest: &[T]) -> [T; LANES] {
    std::array::from_fn(|k| rest.get(k).copied().unwrap_or_default())
}

/// The last `n` deltas of a row, padded.
#[inline]
fn rest_of(descent: &impl Descent, at: usize, n: usize) -> [f32; LANES] {
    std::array::from_fn(|k| if k < n { descent.delta::<1>(at + k)[0] } else { 0.0 })
}
