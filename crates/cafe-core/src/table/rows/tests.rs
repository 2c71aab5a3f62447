use proptest::prelude::*;

use super::*;

const NARROW: [RowPrecision; 3] = [RowPrecision::F16, RowPrecision::Bf16, RowPrecision::I8];
const ALL: [RowPrecision; 4] =
    [RowPrecision::F32, RowPrecision::F16, RowPrecision::Bf16, RowPrecision::I8];
const OPTIMIZERS: [RowOptimizer; 5] = [
    RowOptimizer::Sgd,
    RowOptimizer::row_wise_adagrad(1e-8),
    RowOptimizer::Adagrad { epsilon: 1e-8 },
    RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    BYTE_ADAGRAD,
];
const BYTE_ADAGRAD: RowOptimizer =
    RowOptimizer::RowWiseAdagrad { epsilon: 1e-8, accumulator: Accumulator::Byte };

fn sgd(precision: RowPrecision) -> RowFormat {
    RowFormat::new(precision, RowOptimizer::Sgd)
}

fn row(table: &RowTable, row_idx: u32) -> Vec<f32> {
    let mut out = vec![f32::NAN; table.dim()];
    table.read(row_idx, &mut out);
    out
}

/// Numbers between -1 and 1.
fn number(at: u64, seed: u64) -> f32 {
    mix64(at, seed) as i32 as f32 / 2_147_483_648.0
}

#[test]
fn sgd_and_adagrad_follow_their_formulas() {
    let mut sgd = RowTable::new(2, 2, RowOptimizer::Sgd.into());
    sgd.step(1, &[1.0, -2.0], 0.5);
    assert_eq!(row(&sgd, 1), [-0.5, 1.0]);
    assert_eq!(row(&sgd, 0), [0.0, 0.0]);
    assert_eq!(sgd.memory().optimizer_bytes, 0);

    let mut row_wise = RowTable::new(2, 2, RowOptimizer::row_wise_adagrad(0.0).into());
    row_wise.step(1, &[3.0, 1.0], 0.1); // a = (9 + 1) / 2 = 5
    let scale = 0.1 / 5.0_f32.sqrt();
    assert_eq!(row(&row_wise, 1), [-3.0 * scale, -scale]);

    let mut adagrad = RowTable::new(2, 2, RowOptimizer::Adagrad { epsilon: 1.0 }.into());
    adagrad.step(1, &[3.0, 0.0], 0.5); // 0.5 * 3 / (sqrt(9) + 1)
    assert_eq!(row(&adagrad, 1), [-0.375, 0.0]);
    adagrad.step(1, &[4.0, 1.0], 0.5); // 0.5 * 4 / (sqrt(9 + 16) + 1), 0.5 * 1 / (1 + 1)
    assert_eq!(row(&adagrad, 1), [-0.375 - 2.0 / 6.0, -0.25]);
}

/// beta1 = 1/2, beta2 = 3/4, lr = 1, epsilon = 0. Gradient 2: m = 1, v = 1, m' = 2, v' = 4: a step
/// of 1. Gradient -1: m = 0. A row that came later has its own count: its first step is 1, whatever
/// the size of its gradient.
#[test]
fn adam_counts_each_rows_steps() {
    let optimizer = RowOptimizer::Adam { beta1: 0.5, beta2: 0.75, epsilon: 0.0 };
    let mut table = RowTable::new(2, 1, optimizer.into());
    table.step(0, &[2.0], 1.0);
    assert_eq!(row(&table, 0), [-1.0]);
    table.step(0, &[-1.0], 1.0);
    assert_eq!(row(&table, 0), [-1.0]);
    table.step(1, &[-1024.0], 1.0);
    assert_eq!(row(&table, 1), [1.0]);
}

/// The numbers are PyTorch's, each row a parameter of its own: `python3 scripts/golden_rows.py`.
#[test]
fn adagrad_and_adam_are_those_of_pytorch() {
    let adagrad = [
        [0.442_565_8, -0.195_820_69, -0.021_279_302],
        [-0.997_014_3, 1.944_721_3, -0.005_877_226_6],
    ];
    let adam =
        [[0.344_321_25, -0.104_769_64, -0.076_797_26], [-0.955_950_4, 1.873_366_2, -0.077_521_86]];
    let steps: [&[(u32, [f32; 3])]; 4] = [
        &[(0, [0.5, -1.5, 0.0])],
        &[(0, [0.25, 0.75, 2.0]), (1, [-0.125, 1.0, 3.0])],
        &[(0, [-1.0, 0.5, 0.03125])],
        &[(0, [0.0, -0.5, 1.0]), (1, [0.5, -0.5, -1.0])],
    ];
    for (optimizer, expected) in [(OPTIMIZERS[2], adagrad), (OPTIMIZERS[3], adam)] {
        let mut table = RowTable::new(2, 3, optimizer.into());
        table.write(0, &[0.5, -0.25, 0.125]);
        table.write(1, &[-1.0, 2.0, 0.0625]);
        for &(row_idx, grad) in steps.into_iter().flatten() {
            table.step(row_idx, &grad, 0.1);
        }
        for (row_idx, expected) in expected.iter().enumerate() {
            for (got, expected) in row(&table, row_idx as u32).iter().zip(expected) {
                assert!((got - expected).abs() < 1e-6, "{optimizer:?}: {got}, not {expected}");
            }
        }
    }
}

/// The formulas in f64, a value at a time.
struct Twin {
    values: Vec<f64>,
    squares: Vec<f64>,
    means: Vec<f64>,
    count: i32,
}

impl Twin {
    fn step(&mut self, optimizer: RowOptimizer, grad: &[f32], rate: f64) {
        let mean_square =
            grad.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>() / grad.len() as f64;
        self.count += 1;
        for (k, &g) in grad.iter().enumerate() {
            let g = f64::from(g);
            self.values[k] -= match optimizer {
                RowOptimizer::Sgd => rate * g,
                RowOptimizer::RowWiseAdagrad { epsilon, .. } => {
                    self.squares[k] += mean_square;
                    rate * g / (self.squares[k].sqrt() + f64::from(epsilon))
                }
                RowOptimizer::Adagrad { epsilon } => {
                    self.squares[k] += g * g;
                    rate * g / (self.squares[k].sqrt() + f64::from(epsilon))
                }
                RowOptimizer::Adam { beta1, beta2, epsilon } => {
                    let (beta1, beta2) = (f64::from(beta1), f64::from(beta2));
                    self.means[k] = beta1 * self.means[k] + (1.0 - beta1) * g;
                    self.squares[k] = beta2 * self.squares[k] + (1.0 - beta2) * g * g;
                    let mean = self.means[k] / (1.0 - beta1.powi(self.count));
                    let square = self.squares[k] / (1.0 - beta2.powi(self.count));
                    rate * mean / (square.sqrt() + f64::from(epsilon))
                }
            };
        }
    }
}

#[test]
fn optimizers_agree_with_a_twin_in_f64() {
    const DIM: usize = 11;
    // Sums in a byte are right in the mean only: they have a test of their own.
    for optimizer in OPTIMIZERS.into_iter().filter(|&optimizer| optimizer != BYTE_ADAGRAD) {
        let mut table = RowTable::new(3, DIM, optimizer.into());
        let twin = || Twin {
            values: vec![0.0; DIM],
            squares: vec![0.0; DIM],
            means: vec![0.0; DIM],
            count: 0,
        };
        let mut twins = [twin(), twin(), twin()];
        for step in 0..300 {
            // Rows 1 and 2 are rarer.
            let row_idx = (mix64(step, 1) % 10).min(9).saturating_sub(7) as usize;
            let grad: Vec<f32> =
                (0..DIM as u64).map(|k| number(step * 100 + k, 2).powi(3)).collect();
            table.step(row_idx as u32, &grad, 0.05);
            twins[row_idx].step(optimizer, &grad, 0.05);
        }
        for (row_idx, twin) in twins.iter().enumerate() {
            for (got, expected) in row(&table, row_idx as u32).iter().zip(&twin.values) {
                assert!(
                    (f64::from(*got) - expected).abs() < 2e-5,
                    "{optimizer:?}: {got}, not {expected}"
                );
            }
        }
    }
}

/// Rows with their sums in a byte go, in the mean, as far as rows with exact sums; the first step
/// of each is exact.
#[test]
fn sums_in_a_byte_move_rows_as_far_as_exact_ones() {
    const N_ROWS: u32 = 600;
    let mut exact = RowTable::new(N_ROWS as usize, 3, RowOptimizer::row_wise_adagrad(1e-8).into());
    let mut coded = RowTable::new(N_ROWS as usize, 3, BYTE_ADAGRAD.into());
    let (mut far, mut ratios) = (0.0, 0.0);
    for step in 0..200 {
        let mut rows = [exact.all_mut(), coded.all_mut()];
        for row_idx in 0..N_ROWS {
            // Always in one direction, so that distances add up; sizes differ by rows.
            let grad: Vec<f32> =
                (0..3).map(|k| number(step + k, 3).abs() * 0.97_f32.powi(row_idx as i32)).collect();
            for rows in &mut rows {
                rows.step(row_idx, &grad, 0.05);
            }
        }
        if step == 0 {
            (0..N_ROWS).for_each(|row_idx| assert_eq!(row(&exact, row_idx), row(&coded, row_idx)));
        }
    }
    for row_idx in 0..N_ROWS {
        let ratio = row(&coded, row_idx)[0] / row(&exact, row_idx)[0];
        ratios += ratio / N_ROWS as f32;
        far = f32::max(far, (ratio - 1.0).abs());
    }
    // The root is concave: a sum that is right in the mean and off by up to 31 % makes steps too
    // long by 3/8 of its variance.
    assert!((ratios - 1.0).abs() < 0.04, "{ratios}");
    assert!(far < 0.6, "{far}");
}

#[test]
fn a_reset_row_steps_as_a_new_one() {
    for optimizer in OPTIMIZERS {
        let mut table = RowTable::new(2, 2, optimizer.into());
        table.step(1, &[3.0, 1.0], 0.1);
        let first = row(&table, 1);
        table.step(1, &[-1.0, 1.0], 0.1);
        table.reset_optimizer(1);
        table.write(1, &[0.0, 0.0]);
        table.step(1, &[3.0, 1.0], 0.1);
        assert_eq!(row(&table, 1), first, "{optimizer:?}");
    }
}

#[test]
fn bytes_are_those_of_the_format() {
    for precision in ALL {
        for optimizer in OPTIMIZERS {
            for count_optimizer in [false, true] {
                let format = RowFormat { count_optimizer, ..RowFormat::new(precision, optimizer) };
                let mut table = RowTable::new(3, 5, format);
                assert_eq!(table.push_row(), 3);
                assert_eq!((table.n_rows(), row(&table, 3)), (4, vec![0.0; 5]));
                let memory = table.memory();
                assert_eq!(memory.rows_bytes, 4 * format.value_bytes(5));
                assert_eq!(memory.optimizer_bytes, 4 * optimizer.state_bytes(5));
                assert_eq!(memory.embedding_bytes(), 4 * format.row_bytes(5));
                assert_eq!(memory.total_bytes(), memory.rows_bytes + memory.optimizer_bytes);
            }
        }
    }
    let of = |precision| sgd(precision).row_bytes(16);
    assert_eq!(ALL.map(of), [64, 32, 32, 17]);
    assert_eq!(OPTIMIZERS.map(|optimizer| optimizer.state_bytes(16)), [0, 4, 64, 132, 1]);
}

#[test]
fn initial_rows_are_uniform_and_depend_on_key_and_seed() {
    let mut rows = vec![0.0_f32; 4000 * 4];
    for (key, row) in rows.chunks_exact_mut(4).enumerate() {
        init_row(row, key as u64, 7, 0.5);
    }
    let mean = rows.iter().sum::<f32>() / rows.len() as f32;
    let variance = rows.iter().map(|v| v * v).sum::<f32>() / rows.len() as f32;
    assert!(mean.abs() < 0.01, "{mean}");
    assert!((variance - 0.25 / 3.0).abs() < 0.002, "{variance}");
    assert!(rows.iter().all(|v| v.abs() <= 0.5));
    let (mut same, mut other) = ([0.0; 4], [0.0; 4]);
    init_row(&mut same, 3, 7, 0.5);
    init_row(&mut other, 3, 8, 0.5);
    assert_eq!(same, rows[12..16]);
    assert_ne!(same, other);
}

#[test]
fn stored_row_starts_as_its_lookup() {
    for precision in ALL {
        for dim in [1, 7, 8, 19] {
            let mut table = RowTable::new(2, dim, sgd(precision));
            let mut unseen = vec![0.0; dim];
            table.initial(77, 5, 3e-4, &mut unseen);
            table.init(1, 77, 5, 3e-4);
            assert_eq!(row(&table, 1), unseen, "{precision:?}");
            let mut exact = vec![0.0; dim];
            init_row(&mut exact, 77, 5, 3e-4);
            let step = grid_step(precision, 3e-4, &exact);
            assert!(
                exact.iter().zip(&unseen).all(|(a, b)| (a - b).abs() <= 0.501 * step),
                "{precision:?}"
            );
        }
    }
}

/// The grid's largest step in a row with these values, of which one is about `value`.
fn grid_step(precision: RowPrecision, value: f32, row: &[f32]) -> f32 {
    let power_of_two = |x: f32| x.abs().log2().floor().exp2();
    match precision {
        RowPrecision::F32 => 0.0,
        RowPrecision::F16 => (power_of_two(value) / 1024.0).max(2_f32.powi(-24)),
        RowPrecision::Bf16 => power_of_two(value) / 128.0,
        RowPrecision::I8 => {
            let largest = row.iter().fold(0.0, |largest: f32, v| largest.max(v.abs()));
            (largest / 127.0).log2().ceil().exp2()
        }
    }
}

/// Rows of 11 values around `value`, the last the largest in magnitude and without a gradient.
fn like(value: f32, n_rows: u32, precision: RowPrecision) -> (RowTable, Vec<f32>) {
    let mut table = RowTable::new(n_rows as usize, 11, sgd(precision));
    let mut start = vec![value; 11];
    start[10] = value.abs() * 3.1;
    for row_idx in 0..n_rows {
        table.write(row_idx, &start);
    }
    let start = row(&table, 0);
    (table, start)
}

/// Each update the same gradient, as small as a thousandth of the grid's step: the mean over rows
/// goes where `f32` would.
#[test]
fn rounding_is_unbiased_however_small_the_step() {
    const N_ROWS: u32 = 4000;
    const N_UPDATES: u32 = 20;
    for precision in NARROW {
        for value in [0.1, -0.1, 3e-5, 1.9] {
            for share in [0.001, 0.05, 0.37, 0.999] {
                let (mut table, start) = like(value, N_ROWS, precision);
                let step = grid_step(precision, start[0], &start);
                let mut grad = vec![share * step; 11];
                grad[10] = 0.0;
                for _ in 0..N_UPDATES {
                    let mut rows = table.all_mut();
                    (0..N_ROWS).for_each(|row_idx| rows.step(row_idx, &grad, 1.0));
                }
                let moved = |row: &[f32]| -> f64 {
                    (0..10).map(|k| f64::from(row[k]) - f64::from(start[k])).sum()
                };
                let total = (0..N_ROWS).map(|row_idx| moved(&row(&table, row_idx))).sum::<f64>();
                let n = f64::from(N_ROWS) * 10.0;
                let (mean, step) = (total / n / f64::from(step), f64::from(share));
                let expected = -f64::from(N_UPDATES) * step;
                // An update's variance is p (1 - p) of a step's square, of two steps' where the
                // grid changes on the way.
                let error = (4.0 * f64::from(N_UPDATES) * step * (1.0 - step) / n).sqrt();
                assert!(
                    (mean - expected).abs() < 4.0 * error + 2e-4 * expected.abs(),
                    "{precision:?} at {value}, {share} of a step: \
                     {mean} steps, not {expected} +- {error}"
                );
                assert!(
                    (0..N_ROWS).all(|row_idx| row(&table, row_idx)[10] == start[10]),
                    "no gradient, no change"
                );
            }
        }
    }
}

#[test]
fn without_a_gradient_a_row_stays_as_it_is() {
    for precision in NARROW {
        // Adam's means carry a row on.
        for optimizer in
            OPTIMIZERS.into_iter().filter(|it| !matches!(it, RowOptimizer::Adam { .. }))
        {
            let mut table = RowTable::new(50, 13, RowFormat::new(precision, optimizer));
            for row_idx in 0..50 {
                // Row 0 is zero.
                let values: Vec<_> =
                    (0..13).map(|k| row_idx as f32 * number(k, u64::from(row_idx))).collect();
                table.write(row_idx, &values);
                table.step(row_idx, &values, 0.01);
            }
            let before: Vec<_> = (0..50).map(|row_idx| row(&table, row_idx)).collect();
            for row_idx in 0..50 {
                for _ in 0..20 {
                    table.all_mut().step(row_idx, &[0.0; 13], 0.1);
                }
                assert_eq!(row(&table, row_idx), before[row_idx as usize], "{precision:?}");
                table.write(row_idx, &before[row_idx as usize]);
                assert_eq!(row(&table, row_idx), before[row_idx as usize], "{precision:?}: copied");
            }
        }
    }
}

/// One value swings, and with it the row's unit, from 2^-7 to 2^-5; the others lose what the coarse
/// grid can't hold, once.
#[test]
fn alternating_units_add_no_noise() {
    let mut table = RowTable::new(200, 9, sgd(RowPrecision::I8));
    let mut start = [0.007_812_5 * 3.0; 9]; // 3 fine units: 3/4 of a coarse one
    start[8] = 0.9;
    let mut total = 0.0;
    for row_idx in 0..200 {
        table.write(row_idx, &start);
        let mut swung = None;
        for swing in 0..100 {
            let mut grad = [0.0; 9];
            grad[8] = if swing % 2 == 0 { -2.5 } else { 2.5 };
            table.all_mut().step(row_idx, &grad, 1.0);
            let now = row(&table, row_idx)[..8].to_vec();
            assert_eq!(
                *swung.get_or_insert(now.clone()),
                now,
                "after the first swing nothing moves"
            );
        }
        total += swung.into_iter().flatten().sum::<f32>();
    }
    // 1600 values of 0 or 1/32, three quarters of them 1/32: a standard error of 0.0108 * 1/32 of
    // the mean.
    let mean = total / 1600.0;
    assert!((mean - start[0]).abs() < 4.0 * 0.0108 / 32.0, "{mean}");
}

#[test]
fn a_cut_table_steps_as_a_whole_one() {
    for precision in ALL {
        for optimizer in OPTIMIZERS {
            let mut whole = RowTable::new(9, 10, RowFormat::new(precision, optimizer));
            (0..9).for_each(|row_idx| whole.init(row_idx, u64::from(row_idx), 1, 0.3));
            let mut cut = whole.clone();
            for update in 0..5 {
                let grad = |row_idx: u64| -> Vec<f32> {
                    (0..10).map(|k| number(10 * row_idx + k, update)).collect()
                };
                let mut rows = whole.all_mut();
                (0..9).for_each(|row_idx| rows.step(row_idx as u32, &grad(row_idx), 0.1));
                let mut rest = cut.all_mut();
                let (mut first, mut second) = (rest.cut(4), rest.cut(5));
                (0..5)
                    .rev()
                    .for_each(|row_idx| second.step(row_idx as u32, &grad(4 + row_idx), 0.1));
                (0..4).for_each(|row_idx| first.step(row_idx as u32, &grad(row_idx), 0.1));
            }
            assert_eq!(whole.state(), cut.state(), "{precision:?}, {optimizer:?}");
        }
    }
}

#[test]
fn what_is_not_finite_shows_in_the_next_lookup() {
    for precision in ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut table = RowTable::new(1, 10, sgd(precision));
            table.write(0, &[1.0; 10]);
            let mut grad = [0.0; 10];
            grad[3] = bad;
            table.step(0, &grad, 2.0);
            let read = row(&table, 0);
            assert!(!read[3].is_finite(), "{precision:?}: {bad} became {}", read[3]);
            table.step(0, &[0.0; 10], 2.0);
            assert!(!row(&table, 0)[3].is_finite(), "{precision:?}: {bad} was forgotten");
        }
    }
}

proptest! {
    #[test]
    fn a_step_ends_within_a_step_of_the_grid(
        values in prop::collection::vec(-2_f32..2.0, 1..20), scale in -20_i32..4, seed: u64,
        rate in 0_f32..1.0,
    ) {
        let values: Vec<_> = values.iter().map(|v| v * (scale as f32).exp2()).collect();
        let grad: Vec<_> = (0..values.len() as u64)
            .map(|k| number(k, seed) * (scale as f32).exp2()).collect();
        for precision in NARROW {
            let mut table = RowTable::new(2, values.len(), sgd(precision));
            table.write(1, &values);
            let stored = row(&table, 1);
            let all_exact: Vec<_> = stored.iter().zip(&grad).map(|(v, g)| v - rate * g).collect();
            table.step(1, &grad, rate);
            let mut sum = vec![1.0; values.len()];
            table.add_to(1, &mut sum);
            for ((got, exact), sum) in row(&table, 1).iter().zip(&all_exact).zip(sum) {
                let step = grid_step(precision, *exact, &all_exact);
                prop_assert!((got - exact).abs() < step * 1.000_1 || got == exact,
                    "{precision:?}: {exact} became {got}");
                prop_assert_eq!(sum, 1.0 + got);
            }
        }
    }
}
