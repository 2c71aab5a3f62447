//! Every kernel that this CPU has against plain loops in `f64`, and to the bit against its portable
//! twin. No test takes more than a few million operations, so that an emulator of a CPU can run it.
#![allow(clippy::print_stdout, reason = "a test says which kernels it could run")]

use super::lanes::Line;
use super::product::{Left, Out, Panels, Rows, Start, multiply};
use super::weights::{PackedWeights, SamplePanels, sum_gradient};
use super::{SimdKernel, pack, portable};
use crate::native::product::Accumulate;

impl SimdKernel {
    /// All kernels that this CPU can run.
    pub(crate) fn all_here() -> impl Iterator<Item = Self> {
        let native = [Self::avx512_f(), Self::avx512_bf16()];
        [Some(Self::PortableF32), Some(Self::PortableBf16)].into_iter().chain(native).flatten()
    }

    /// The kernel that gives the same bits on any CPU.
    pub(crate) fn twin(self) -> Self {
        if self.per_word() == 2 { Self::PortableBf16 } else { Self::PortableF32 }
    }

    /// An operand as the kernel rounds it.
    fn rounded(self, value: f32) -> f64 {
        f64::from(if self.per_word() == 2 {
            f32::from_bits(portable::round(value) << 16)
        } else {
            value
        })
    }
}

/// Numbers with all their digits, of either sign.
fn draw(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// `left [m, k] · right [k, n]`, as sums in `f64` of rounded operands, and the sums of their
/// magnitudes.
fn plainly(kernel: SimdKernel, shape: Shape, left: &[f32], right: &[f32]) -> Vec<[f64; 2]> {
    let Shape(m, k, n) = shape;
    let [left, right] = [left, right]
        .map(|values| values.iter().map(|&value| kernel.rounded(value)).collect::<Vec<_>>());
    let mut sums = vec![[0.0; 2]; m * n];
    for (i, sums) in sums.chunks_exact_mut(n).enumerate() {
        for k_idx in 0..k {
            let a = left[i * k + k_idx];
            for (sum, b) in sums.iter_mut().zip(&right[k_idx * n..]) {
                *sum = [sum[0] + a * b, sum[1] + (a * b).abs()];
            }
        }
    }
    sums
}

fn assert_close(what: &str, ours: &[f32], expected: impl Iterator<Item = [f64; 2]>) {
    for (idx, (&ours, [expected, magnitude])) in ours.iter().zip(expected).enumerate() {
        let error = (f64::from(ours) - expected).abs();
        assert!(error <= 2e-6 * magnitude.max(0.1), "{what}[{idx}]: {ours}, expected {expected}");
    }
}

/// `m`, `k` and `n` of a product `[m, k] · [k, n]`.
#[derive(Debug, Clone, Copy)]
struct Shape(usize, usize, usize);

const SHAPES: [Shape; 12] = [
    Shape(1, 1, 1),
    Shape(1, 7, 16),
    Shape(7, 13, 512),
    Shape(8, 16, 48),
    Shape(13, 129, 13),
    Shape(16, 2, 64),
    Shape(64, 13, 96),
    Shape(129, 367, 17),
    Shape(9, 512, 129),
    Shape(65, 31, 33),
    Shape(2, 97, 367),
    Shape(367, 64, 50),
];

/// A layer's three products.
struct Products {
    forward: Vec<f32>,
    back: Vec<f32>,
    gradient: Vec<f32>,
}

/// `x [m, k]`, `weight [k, n]`, `logit_grads [m, n]`; the gradient over two shards.
fn products(
    kernel: SimdKernel,
    shape: Shape,
    x: &[f32],
    weight: &[f32],
    logit_grads: &[f32],
) -> Products {
    let Shape(m, k, n) = shape;
    let mut packed = PackedWeights::new(kernel, k, n, 96);
    let mut all = packed.as_mut();
    for weight in weight.chunks(96 * n) {
        all.take(weight.len() / n).pack(weight);
    }
    let (bias, mut words) = (draw(n, 9), Vec::new());
    let (mut forward, mut back) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k]);
    packed.forward(x, &bias, false, &mut forward, &mut words);
    packed.input_gradient(logit_grads, &mut back, &mut words);
    let mut shards = [SamplePanels::default(), SamplePanels::default()];
    let cut = m / 2;
    packed.pack_samples(&x[cut * k..], &logit_grads[cut * n..], &mut shards[0]);
    packed.pack_samples(&x[..cut * k], &logit_grads[..cut * n], &mut shards[1]);
    let mut gradient = vec![f32::NAN; k * n];
    for start in (0..k).step_by(96) {
        let inputs = start..k.min(start + 96);
        for (shard, accumulate) in shards.iter().zip([Accumulate::Overwrite, Accumulate::Add]) {
            let values = &mut gradient[start * n..inputs.end * n];
            let out = Out { values, n_columns: n };
            sum_gradient(kernel, std::iter::once(shard), &inputs, out, accumulate);
        }
    }
    Products { forward, back, gradient }
}

fn transposed(values: &[f32], n_columns: usize) -> Vec<f32> {
    (0..values.len())
        .map(|idx| {
            let n_rows = values.len() / n_columns;
            values[idx % n_rows * n_columns + idx / n_rows]
        })
        .collect()
}

#[test]
fn kernels_follow_plain_loops_and_their_twins() {
    for kernel in SimdKernel::all_here() {
        for shape in SHAPES {
            let Shape(m, k, n) = shape;
            let (x, weight, logit_grads) = (draw(m * k, 1), draw(k * n, 2), draw(m * n, 3));
            let ours = products(kernel, shape, &x, &weight, &logit_grads);
            let name = format!("{}, {m} x {k} x {n}", kernel.name());
            let bias = draw(n, 9);
            let forward = plainly(kernel, shape, &x, &weight).into_iter().enumerate();
            let forward =
                forward.map(|(idx, [sum, most])| [sum + f64::from(bias[idx % n]), most + 0.5]);
            assert_close(&format!("{name} forward"), &ours.forward, forward);
            let back = plainly(kernel, Shape(m, n, k), &logit_grads, &transposed(&weight, n));
            assert_close(&format!("{name} back"), &ours.back, back.into_iter());
            let gradient = plainly(kernel, Shape(k, m, n), &transposed(&x, k), &logit_grads);
            assert_close(&format!("{name} gradient"), &ours.gradient, gradient.into_iter());
            if kernel != kernel.twin() {
                let twin = products(kernel.twin(), shape, &x, &weight, &logit_grads);
                assert_eq!(bits(&ours.forward), bits(&twin.forward), "{name} forward");
                assert_eq!(bits(&ours.back), bits(&twin.back), "{name} back");
                assert_eq!(bits(&ours.gradient), bits(&twin.gradient), "{name} gradient");
            }
        }
        println!("ran {}", kernel.name());
    }
    for (kernel, name) in
        [(SimdKernel::avx512_f(), "avx512f"), (SimdKernel::avx512_bf16(), "avx512_bf16")]
    {
        if kernel.is_none() {
            println!("skipped {name}: not on this CPU");
        }
    }
}

/// Zeros of either sign, denormals, the largest and the smallest normal numbers, infinities, ties,
/// and their neighbours.
fn extremes() -> Vec<f32> {
    let magnitudes = [
        0,
        1,
        0x007f_ffff,
        0x0080_0000,
        0x0080_8000,
        0x3f80_0000,
        0x3f80_8000,
        0x3f81_8000,
        0x3f80_7fff,
        0x3f80_8001,
        0x4b80_0000,
        0x1f80_0000,
        0x2080_0000,
        0x5f00_0000,
        0x7f7f_0000,
        0x7f7f_ffff,
        0x7f80_0000,
    ];
    magnitudes.iter().flat_map(|&bits| [bits, bits | 0x8000_0000]).map(f32::from_bits).collect()
}

/// NaN as one number; of all other numbers the bits.
fn canonical(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }).collect()
}

#[test]
fn packing_and_extreme_numbers_are_bit_identical() {
    let extremes = extremes();
    let n = extremes.len();
    for kernel in SimdKernel::all_here() {
        let pack_all = |kernel: SimdKernel| {
            let mut rows = vec![0; pack::n_words(kernel, n)];
            pack::rows(kernel, &extremes, n, &mut rows);
            let values = [&extremes[..], &extremes[1..], &[1.0]].concat();
            let mut panels = vec![Line::ZERO; pack::panel_lines(kernel, 2, n)];
            pack::panels(kernel, &values, n, &mut panels);
            let mut transposed = vec![Line::ZERO; pack::panel_lines(kernel, n, 2)];
            pack::transposed_panels(kernel, &values, n, &mut transposed);
            (rows, panels, transposed)
        };
        assert_eq!(pack_all(kernel), pack_all(kernel.twin()), "{}", kernel.name());
        // Every extreme number times every other one, added to every third.
        let product = |kernel: SimdKernel, third: f32, has_relu: bool| {
            let left = transposed(&[&extremes[..], &vec![-0.0; n]].concat(), n);
            let right = [&extremes[..], &vec![1.0; n]].concat();
            let mut words = vec![0; n * pack::n_words(kernel, 2)];
            pack::rows(kernel, &left, 2, &mut words);
            let mut lines = vec![Line::ZERO; pack::panel_lines(kernel, 2, n)];
            pack::panels(kernel, &right, n, &mut lines);
            let depth = pack::n_words(kernel, 2);
            let left = Rows { words: &words[..], stride: depth, start: 0, depth };
            let parts = std::iter::once((left, Panels { lines: &lines, depth }));
            let mut out = vec![third; n * n];
            multiply(kernel, parts, Start::Sum, has_relu, Out { values: &mut out, n_columns: n });
            canonical(&out)
        };
        for &third in &extremes {
            for has_relu in [false, true] {
                assert_eq!(
                    product(kernel, third, has_relu),
                    product(kernel.twin(), third, has_relu),
                    "{}",
                    kernel.name()
                );
            }
        }
    }
}

#[test]
fn relu_keeps_nan() {
    for kernel in SimdKernel::all_here() {
        let mut packed = PackedWeights::new(kernel, 1, 3, 96);
        packed.as_mut().pack(&[1.0, -1.0, 0.0]);
        let (mut y, mut words) = ([9.0; 6], Vec::new());
        packed.forward(&[2.0, f32::NAN], &[0.5; 3], true, &mut y, &mut words);
        assert_eq!(y[..3], [2.5, 0.0, 0.5]);
        assert!(y[3..].iter().all(|value| value.is_nan()), "{}", kernel.name());
    }
}

#[test]
#[should_panic(expected = "panels of a product of 17 columns")]
fn mismatched_panels_are_refused() {
    let lines = [Line::ZERO];
    let left = Rows { words: &[1.0], stride: 1, start: 0, depth: 1 };
    assert_eq!(left.depth(), 1);
    let parts = std::iter::once((left, Panels { lines: &lines, depth: 1 }));
    multiply(
        SimdKernel::PortableF32,
        parts,
        Start::Zero,
        false,
        Out { values: &mut [0.0; 17], n_columns: 17 },
    );
}
