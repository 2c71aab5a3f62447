//! How often each value occurs: the tables of a real log, and the distributions drawn from them.
//! Apart from the labels, which know nothing of frequencies but the heaviest values.

use std::ops::RangeInclusive;

use super::math::{exp, ln, ln_ratio};
use crate::format::presets::KAGGLE_FEATURES;

/// The known marginals of one categorical field.
///
/// Ranks count from 1, the most frequent value; an empty field counts as a value of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Categorical {
    /// Share of rows that leave the field empty.
    pub(super) missing: f64,
    /// The number of different values in a complete log.
    pub(super) cardinality: u32,
    /// Cumulated share of the 1, 10, 100 and 1000 most frequent values.
    pub(super) top: [f64; 4],
    /// From one tail cell to the next the share shrinks by this factor; 1 is log-uniform.
    tail_decay: f64,
}

/// The known marginals of one integer field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Integer {
    /// Share of rows that leave the field empty.
    pub(super) missing: f64,
    /// Quantiles 1, 10, 50, 90, 99 % of the present values, and their maximum over 31,000 rows.
    quantiles: [f64; 6],
}

/// Fields C1 to C26, with the cardinalities of the whole Kaggle log.
pub(super) const CATEGORICALS: [Categorical; 26] = with_cardinalities(
    [
        categorical(0.0, [0.501, 0.909, 0.991, 0.9996], 1.0),
        categorical(0.0, [0.117, 0.406, 0.861, 1.0], 1.0),
        categorical(0.035, [0.035, 0.164, 0.314, 0.49], 1.0),
        categorical(0.035, [0.048, 0.229, 0.418, 0.642], 0.985),
        categorical(0.0, [0.666, 0.978, 0.9985, 1.0], 1.0),
        categorical(0.128, [0.428, 0.9995, 1.0, 1.0], 1.0),
        categorical(0.0, [0.013, 0.072, 0.275, 0.674], 0.9),
        categorical(0.0, [0.585, 0.954, 0.998, 1.0], 1.0),
        categorical(0.0, [0.893, 1.0, 1.0, 1.0], 1.0),
        categorical(0.0, [0.247, 0.303, 0.444, 0.735], 0.955),
        categorical(0.0, [0.021, 0.118, 0.378, 0.83], 0.88),
        categorical(0.035, [0.035, 0.173, 0.336, 0.519], 1.0),
        categorical(0.0, [0.021, 0.136, 0.428, 0.885], 1.0),
        categorical(0.0, [0.353, 0.983, 1.0, 1.0], 1.0),
        categorical(0.0, [0.015, 0.091, 0.406, 0.852], 0.86),
        categorical(0.035, [0.035, 0.174, 0.369, 0.571], 0.992),
        categorical(0.0, [0.442, 1.0, 1.0, 1.0], 1.0),
        categorical(0.0, [0.037, 0.207, 0.614, 0.965], 0.93),
        categorical(0.439, [0.439, 0.84, 0.928, 0.9985], 1.0),
        categorical(0.439, [0.439, 1.0, 1.0, 1.0], 1.0),
        categorical(0.035, [0.035, 0.174, 0.352, 0.541], 1.0),
        categorical(0.79, [0.79, 0.9995, 1.0, 1.0], 1.0),
        categorical(0.0, [0.444, 0.994, 1.0, 1.0], 1.0),
        categorical(0.035, [0.058, 0.358, 0.587, 0.805], 0.97),
        categorical(0.439, [0.439, 0.945, 0.9998, 1.0], 1.0),
        categorical(0.439, [0.439, 0.58, 0.713, 0.872], 0.98),
    ],
    &KAGGLE_FEATURES,
);

/// Fields I1 to I13. The lower 10 % of I2 are −1 and nothing else, hence its second quantile.
pub(super) const INTEGERS: [Integer; 13] = [
    integer(0.453, [0.0, 0.0, 1.0, 9.0, 42.0, 214.0]),
    integer(0.0, [-1.0, -0.5, 3.0, 183.0, 2327.0, 18522.0]),
    integer(0.207, [1.0, 1.0, 7.0, 50.0, 270.0, 65535.0]),
    integer(0.206, [0.0, 1.0, 4.0, 19.0, 43.0, 380.0]),
    integer(0.037, [0.0, 11.0, 2728.0, 33190.0, 346_771.0, 1_669_366.0]),
    integer(0.241, [0.0, 2.0, 35.0, 304.0, 1445.0, 13560.0]),
    integer(0.048, [0.0, 0.0, 3.0, 32.0, 213.0, 1884.0]),
    integer(0.001, [0.0, 0.0, 7.0, 34.0, 48.0, 4352.0]),
    integer(0.048, [0.0, 2.0, 40.0, 279.0, 1070.0, 7335.0]),
    integer(0.453, [0.0, 0.0, 1.0, 1.0, 3.0, 6.0]),
    integer(0.048, [0.0, 1.0, 1.0, 6.0, 24.0, 93.0]),
    integer(0.769, [0.0, 0.0, 0.0, 2.0, 17.0, 178.0]),
    integer(0.206, [0.0, 1.0, 5.0, 24.0, 62.0, 4016.0]),
];

const fn categorical(missing: f64, top: [f64; 4], tail_decay: f64) -> Categorical {
    Categorical { missing, cardinality: 0, top, tail_decay }
}

const fn with_cardinalities(
    mut fields: [Categorical; 26],
    cardinalities: &[u64; 26],
) -> [Categorical; 26] {
    // A constant function has no iterators.
    let mut field_idx = 0;
    while field_idx < fields.len() {
        fields[field_idx].cardinality = cardinalities[field_idx] as u32;
        field_idx += 1;
    }
    fields
}

const fn integer(missing: f64, quantiles: [f64; 6]) -> Integer {
    Integer { missing, quantiles }
}

/// The present values of a categorical field as a piecewise constant density over ranks.
///
/// Ranks fall into cells that are single at first and then grow by an eighth. Between two ranks
/// whose cumulated share is known, the share of a cell goes with the logarithm of its width, so a
/// tail of millions of ranks costs a hundred cells. A rank is found in O(1): the upper bits of the
/// uniform number give the first cell it can lie in.
#[derive(Clone, Debug)]
pub(super) struct Popularity {
    cells: Vec<Cell>,
    guide: [u8; GUIDE],
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    first_rank: u32,
    n_ranks: u32,
    /// Cumulated share of the present values before this cell.
    below: f64,
    share: f64,
    ranks_per_share: f64,
}

impl Cell {
    fn density(&self) -> f64 {
        self.share / f64::from(self.n_ranks)
    }
}

/// Entries of the guide; a field has fewer than 256 cells, so that about one step remains.
const GUIDE: usize = 256;

/// The ranks whose cumulated share is in [`Categorical::top`].
const KNOWN_RANKS: [u32; 4] = [1, 10, 100, 1000];

/// At this decay cells that grow by an eighth hold shares in proportion to their widths.
const UNIFORM_DECAY: f64 = 1.125;

impl Popularity {
    /// The distribution of `field` over ranks up to `max_rank`.
    pub(super) fn new(field: &Categorical, max_rank: u32) -> Self {
        let mut cells: Vec<Cell> = Vec::new();
        let (mut first_rank, mut below) = (1, 0.0);
        let known = KNOWN_RANKS.into_iter().zip(field.top).filter(|known| known.0 < max_rank);
        for (last_rank, top) in known.chain([(max_rank, 1.0)]) {
            let ranks = first_rank..=last_rank;
            let mut segment = if first_rank > KNOWN_RANKS[3] {
                segment(ranks, top - below, field, field.tail_decay)
            } else {
                let limit = cells.last().map_or(1.0, Cell::density);
                falling_segment(ranks, top - below, field, limit)
            };
            cells.append(&mut segment);
            (first_rank, below) = (last_rank + 1, top);
        }
        Self::finish(cells, 1.0 - field.missing)
    }

    /// The rank at quantile `u` in `[0, 1)` of the present values.
    pub(super) fn rank(&self, u: f64) -> u32 {
        let mut cell_idx = usize::from(self.guide[(u * GUIDE as f64) as usize]);
        while cell_idx + 1 < self.cells.len() && self.cells[cell_idx + 1].below <= u {
            cell_idx += 1;
        }
        let cell = &self.cells[cell_idx];
        let offset = ((u - cell.below) * cell.ranks_per_share) as u32;
        cell.first_rank + offset.min(cell.n_ranks - 1)
    }

    /// The ranks that have a cell of their own, most frequent first, each with its share of the
    /// present values.
    pub(super) fn singles(&self) -> impl Iterator<Item = (u32, f64)> {
        let single = self.cells.iter().filter(|cell| cell.n_ranks == 1);
        single.map(|cell| (cell.first_rank, cell.share))
    }

    fn finish(mut cells: Vec<Cell>, present: f64) -> Self {
        let mut below = 0.0;
        for cell in &mut cells {
            cell.share /= present;
            cell.below = below;
            cell.ranks_per_share = f64::from(cell.n_ranks) / cell.share;
            below += cell.share;
        }
        let mut guide = [0_u8; GUIDE];
        for (slot, first) in guide.iter_mut().enumerate() {
            let u = slot as f64 / GUIDE as f64;
            let n_not_above = cells.iter().take_while(|cell| cell.below <= u).count();
            *first = u8::try_from(n_not_above - 1).expect("a field has fewer than 256 cells");
        }
        Self { cells, guide }
    }
}

/// The rank of the empty field among the values by share: first, second, or none.
fn missing_rank(field: &Categorical) -> Option<u32> {
    (field.missing > 0.0).then_some(if field.missing >= field.top[0] { 1 } else { 2 })
}

/// A log-uniform segment, flattened until it begins no denser than `limit`, the density before it.
fn falling_segment(
    ranks: RangeInclusive<u32>,
    mass: f64,
    field: &Categorical,
    limit: f64,
) -> Vec<Cell> {
    let mut decay = 1.0;
    loop {
        let cells = segment(ranks.clone(), mass, field, decay);
        let fits = cells.first().is_none_or(|first| first.density() <= limit);
        if fits || decay >= UNIFORM_DECAY {
            return cells;
        }
        decay += 0.005;
    }
}

/// Cells for `ranks` without that of the missing value, whose share with it is `mass`.
fn segment(ranks: RangeInclusive<u32>, mass: f64, field: &Categorical, decay: f64) -> Vec<Cell> {
    let (mut cells, mut rank, mut weight) = (Vec::new(), *ranks.start(), 1.0);
    while rank <= *ranks.end() {
        let next = (rank + (rank / 8).max(1)).min(*ranks.end() + 1);
        let width_ratio = f64::from(next - rank) / f64::from(next + rank);
        let (n_ranks, share) = (next - rank, ln_ratio(width_ratio) * weight);
        cells.push(Cell { first_rank: rank, n_ranks, below: 0.0, share, ranks_per_share: 0.0 });
        (rank, weight) = (next, weight * decay);
    }
    let n_cells = cells.len();
    cells.retain(|cell| Some(cell.first_rank) != missing_rank(field));
    let mass = if cells.len() < n_cells { mass - field.missing } else { mass };
    let total: f64 = cells.iter().map(|cell| cell.share).sum();
    for cell in &mut cells {
        cell.share *= mass / total;
    }
    cells
}

/// The present values of an integer field: its quantiles, joined by straight lines over the
/// logarithm of the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantiles {
    /// The logarithms of value plus offset at [`KNOTS`].
    logs: [f64; 9],
    offset: f64,
}

/// Past 99 % the value rises like a power law that meets the maximum once in 10,000 values or so:
/// the logarithm climbs by the same amount with every tenth of what is left.
const KNOTS: [f64; 9] = [0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

impl Quantiles {
    pub(super) fn new(field: &Integer) -> Self {
        let [q01, q10, q50, q90, q99, max] = field.quantiles;
        let offset = 1.0 - q01.min(0.0);
        let rise = ln((max + offset) / (q99 + offset));
        let [low, tenth, median, ninth, high] =
            [q01, q10, q50, q90, q99].map(|quantile| ln(quantile + offset));
        let tail = [0.4, 0.8, 1.0].map(|part| high + part * rise);
        let logs = [low, low, tenth, median, ninth, high, tail[0], tail[1], tail[2]];
        Self { logs, offset }
    }

    /// `ln(1 + x)` of the median, where no field is negative.
    pub(super) fn median_log1p(&self) -> f64 {
        ln(exp(self.logs[3]) - self.offset + 1.0)
    }

    /// The value at quantile `u` in `[0, 1)`.
    pub(super) fn value(&self, u: f64) -> i64 {
        let knot = KNOTS[1..8].iter().take_while(|&&knot| knot <= u).count();
        let part = (u - KNOTS[knot]) / (KNOTS[knot + 1] - KNOTS[knot]);
        let log = self.logs[knot] + part * (self.logs[knot + 1] - self.logs[knot]);
        (exp(log) - self.offset + 0.5).floor() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_within_the_cardinality() {
        for field in &CATEGORICALS {
            let popularity = Popularity::new(field, field.cardinality);
            let last = popularity.rank(1.0 - f64::EPSILON);
            assert!(last <= field.cardinality && last > field.cardinality / 2, "{last} {field:?}");
            let steps = 100_000;
            let ranks = (0..steps).map(|step| popularity.rank(f64::from(step) / f64::from(steps)));
            assert!(ranks.is_sorted());
            let missing = missing_rank(field);
            assert!(popularity.singles().all(|(rank, _)| Some(rank) != missing));
        }
    }

    #[test]
    fn head_shares_match_the_table() {
        for field in &CATEGORICALS {
            let popularity = Popularity::new(field, field.cardinality);
            for (n_top, share) in [1, 10, 100, 1000].into_iter().zip(field.top) {
                let below = popularity.cells.iter().filter(|cell| cell.first_rank <= n_top);
                let mut got = below.map(|cell| cell.share).sum::<f64>() * (1.0 - field.missing);
                if missing_rank(field).is_some_and(|rank| rank <= n_top) {
                    got += field.missing;
                }
                let want = if n_top >= field.cardinality { 1.0 } else { share };
                assert!((got - want).abs() < 1e-9, "top {n_top}: {got} {field:?}");
            }
        }
    }

    #[test]
    fn integers_have_their_quantiles() {
        for field in &INTEGERS {
            let quantiles = Quantiles::new(field);
            for (u, want) in [0.01, 0.1, 0.5, 0.9, 0.99].into_iter().zip(field.quantiles) {
                assert!((quantiles.value(u) as f64 - want).abs() <= 0.5, "{u} {field:?}");
            }
        }
        assert_eq!(Quantiles::new(&INTEGERS[1]).value(0.0999), -1);
    }
}
