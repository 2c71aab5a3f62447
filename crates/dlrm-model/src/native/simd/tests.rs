//! Every kernel that this CPU has against plain loops in `f64`, and to the bit against its portable
//! twin. Nothing here needs more than a few million operations, so that an emulator of a CPU can
//! run it.
#![allow(clippy::print_stdout, reason = "a test says which kernels it could run")]

use super::lanes::Line;
use super::product::{Left, Out, Panels, Rows, Start, multiply};
use super::{PackedWeights, SamplePanels, Wide, pack, portable, sum_gradient};

impl Wide {
    /// All kernels that run on this CPU.
    pub(crate) fn all_here() -> impl Iterator<Item = Self> {
        let native = [Self::avx512_f(), Self::avx512_bf16()];
        [Some(Self::PortableF32), Some(Self::PortableBf16)].into_iter().chain(native).flatten()
    }

    /// The kernel that gives the same bits on any CPU.
    pub(crate) fn twin(self) -> Self {
        if self.per_word() == 2 { Self::PortableBf16 } else { Self::PortableF32 }
    }

    /// What it makes of an operand.
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
fn plainly(
    wide: Wide,
    (m, k, n): (usize, usize, usize),
    left: &[f32],
    right: &[f32],
) -> Vec<[f64; 2]> {
    let [left, right] = [left, right]
        .map(|values| values.iter().map(|&value| wide.rounded(value)).collect::<Vec<_>>());
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

const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 7, 16),
    (7, 13, 512),
    (8, 16, 48),
    (13, 129, 13),
    (16, 2, 64),
    (64, 13, 96),
    (129, 367, 17),
    (9, 512, 129),
    (65, 31, 33),
    (2, 97, 367),
    (367, 64, 50),
];

/// A layer's three products of one shape, on top of each other.
struct Products {
    forward: Vec<f32>,
    back: Vec<f32>,
    gradient: Vec<f32>,
}

/// `x [m, k]`, `weight [k, n]`, `slopes [m, n]`; the gradient over two shards.
fn products(
    wide: Wide,
    (m, k, n): (usize, usize, usize),
    x: &[f32],
    weight: &[f32],
    slopes: &[f32],
) -> Products {
    let mut packed = PackedWeights::new(wide, k, n, 96);
    let mut all = packed.as_mut();
    for weight in weight.chunks(96 * n) {
        all.take(weight.len() / n).pack(weight);
    }
    let (bias, mut words) = (draw(n, 9), Vec::new());
    let (mut forward, mut back) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k]);
    packed.forward(x, &bias, false, &mut forward, &mut words);
    packed.input_gradient(slopes, &mut back, &mut words);
    let mut shards = [SamplePanels::default(), SamplePanels::default()];
    let cut = m / 2;
    packed.pack_samples(&x[cut * k..], &slopes[cut * n..], &mut shards[0]);
    packed.pack_samples(&x[..cut * k], &slopes[..cut * n], &mut shards[1]);
    let mut gradient = vec![f32::NAN; k * n];
    for start in (0..k).step_by(96) {
        let inputs = start..k.min(start + 96);
        let sum = &mut gradient[start * n..inputs.end * n];
        sum_gradient(wide, shards[..1].iter(), &inputs, n, (sum, true));
        let sum = &mut gradient[start * n..inputs.end * n];
        sum_gradient(wide, shards[1..].iter(), &inputs, n, (sum, false));
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
fn products_follow_plain_loops_and_their_twins() {
    for wide in Wide::all_here() {
        for shape in SHAPES {
            let (m, k, n) = shape;
            let (x, weight, slopes) = (draw(m * k, 1), draw(k * n, 2), draw(m * n, 3));
            let ours = products(wide, shape, &x, &weight, &slopes);
            let name = format!("{}, {m} x {k} x {n}", wide.kernel());
            let bias = draw(n, 9);
            let forward = plainly(wide, (m, k, n), &x, &weight).into_iter().enumerate();
            let forward =
                forward.map(|(idx, [sum, most])| [sum + f64::from(bias[idx % n]), most + 0.5]);
            assert_close(&format!("{name} forward"), &ours.forward, forward);
            let back = plainly(wide, (m, n, k), &slopes, &transposed(&weight, n));
            assert_close(&format!("{name} back"), &ours.back, back.into_iter());
            let gradient = plainly(wide, (k, m, n), &transposed(&x, k), &slopes);
            assert_close(&format!("{name} gradient"), &ours.gradient, gradient.into_iter());
            if wide != wide.twin() {
                let twin = products(wide.twin(), shape, &x, &weight, &slopes);
                assert_eq!(bits(&ours.forward), bits(&twin.forward), "{name} forward");
                assert_eq!(bits(&ours.back), bits(&twin.back), "{name} back");
                assert_eq!(bits(&ours.gradient), bits(&twin.gradient), "{name} gradient");
            }
        }
        println!("ran {}", wide.kernel());
    }
    for (wide, name) in [(Wide::avx512_f(), "avx512f"), (Wide::avx512_bf16(), "avx512_bf16")] {
        if wide.is_none() {
            println!("skipped {name}: not on this CPU");
        }
    }
}

/// Zeros of either sign, denormals, the largest and the smallest, infinities, ties, and what is
/// near them.
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
fn packing_and_extreme_numbers_are_the_same_bits_everywhere() {
    let extremes = extremes();
    let n = extremes.len();
    for wide in Wide::all_here() {
        let pack_all = |wide: Wide| {
            let mut rows = vec![0; pack::n_words(wide, n)];
            pack::rows(wide, &extremes, n, &mut rows);
            let values = [&extremes[..], &extremes[1..], &[1.0]].concat();
            let mut panels = vec![Line::ZERO; pack::panel_lines(wide, 2, n)];
            pack::panels(wide, &values, n, &mut panels);
            let mut transposed = vec![Line::ZERO; pack::panel_lines(wide, n, 2)];
            pack::transposed_panels(wide, &values, n, &mut transposed);
            (rows, panels, transposed)
        };
        assert_eq!(pack_all(wide), pack_all(wide.twin()), "{}", wide.kernel());
        // Every extreme number times every other one, on top of every third.
        let product = |wide: Wide, third: f32, has_relu: bool| {
            let left = transposed(&[&extremes[..], &vec![-0.0; n]].concat(), n);
            let right = [&extremes[..], &vec![1.0; n]].concat();
            let mut words = vec![0; n * pack::n_words(wide, 2)];
            pack::rows(wide, &left, 2, &mut words);
            let mut lines = vec![Line::ZERO; pack::panel_lines(wide, 2, n)];
            pack::panels(wide, &right, n, &mut lines);
            let depth = pack::n_words(wide, 2);
            let left = Rows { words: &words[..], stride: depth, start: 0, depth };
            let parts = std::iter::once((left, Panels { lines: &lines, depth }));
            let mut out = vec![third; n * n];
            multiply(wide, parts, Start::Sum, has_relu, Out { values: &mut out, n_columns: n });
            canonical(&out)
        };
        for &third in &extremes {
            for has_relu in [false, true] {
                assert_eq!(
                    product(wide, third, has_relu),
                    product(wide.twin(), third, has_relu),
                    "{}",
                    wide.kernel()
                );
            }
        }
    }
}

#[test]
fn relu_keeps_what_is_not_a_number() {
    for wide in Wide::all_here() {
        let mut packed = PackedWeights::new(wide, 1, 3, 96);
        packed.as_mut().pack(&[1.0, -1.0, 0.0]);
        let (mut y, mut words) = ([9.0; 6], Vec::new());
        packed.forward(&[2.0, f32::NAN], &[0.5; 3], true, &mut y, &mut words);
        assert_eq!(y[..3], [2.5, 0.0, 0.5]);
        assert!(y[3..].iter().all(|value| value.is_nan()), "{}", wide.kernel());
    }
}

#[test]
#[should_panic(expected = "panels of a product of 17 columns")]
fn panels_of_another_width_are_refused() {
    let lines = [Line::ZERO];
    let left = Rows { words: &[1.0], stride: 1, start: 0, depth: 1 };
    assert_eq!(left.depth(), 1);
    let parts = std::iter::once((left, Panels { lines: &lines, depth: 1 }));
    multiply(
        Wide::PortableF32,
        parts,
        Start::Zero,
        false,
        Out { values: &mut [0.0; 17], n_columns: 17 },
    );
}
