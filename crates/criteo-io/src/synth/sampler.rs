//! From the key of a row to its integers and tokens: which fields move together, and how the head
//! of a field is renewed from day to day. Apart from the labels, which depend only on these values.

use std::ops::RangeInclusive;

use cafe_core::{mix64, reduce};

use super::marginals::{CATEGORICALS, Categorical, INTEGERS, Popularity, Quantiles};
use crate::record::Record;

/// The last rank that drift renews, in fields with an open vocabulary.
pub(super) const DRIFT_RANKS: u32 = 1000;
/// A value that alone holds this share of the rows does not change: a change of its effect would
/// change the share of positives of all later days.
const STABLE_SHARE: f64 = 0.02;
/// Days until a value of the head is replaced: 1 in 25, 4 %, each day.
pub(super) const DRIFT_PERIOD_DAYS: u64 = 25;
/// Fields of at least this many values have an open vocabulary, and drift.
const OPEN_VOCABULARY: u32 = 2000;
/// Ranks that an open vocabulary reserves so that seven days of drift stay within the cardinality:
/// six changes of day renew 6/25 of 1000 values, 240 with a standard deviation of 14.
pub(super) const DRIFT_RESERVE: u32 = 320;

/// Draws the fields of one row.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    categoricals: Vec<CategoricalField>,
    integers: Vec<IntegerField>,
    token_seed: u64,
}

#[derive(Clone, Debug)]
struct CategoricalField {
    coupling: Coupling,
    missing: f64,
    drifting_ranks: RangeInclusive<u32>,
    popularity: Popularity,
}

#[derive(Clone, Debug)]
struct IntegerField {
    coupling: Coupling,
    missing: f64,
    quantiles: Quantiles,
}

/// How a field depends on the latent numbers of the row.
///
/// With probability `value_loyalty` its quantile is that of a latent of the row, else independent;
/// likewise for being empty. Both are uniform, so that the marginals do not change.
#[derive(Clone, Copy, Debug)]
struct Coupling {
    value_latent: Latent,
    value_loyalty: f64,
    missing_latent: Latent,
    missing_loyalty: f64,
    /// The latent is multiplied by this, and its whole part dropped: above 1, values that are
    /// neighbours in popularity scatter over this field's values; −1 turns large into small.
    stride: f64,
}

/// Uniform numbers drawn once a row.
#[derive(Clone, Copy, Debug)]
enum Latent {
    /// The advertised item, and whether there is one.
    Item,
    /// The campaign.
    Campaign,
    /// The page and its publisher.
    Site,
    /// What is known of the person, and whether anything is.
    Person,
    /// How active the person was, and whether that was logged.
    Activity,
    /// Recent events.
    Recent,
    /// Clicks so far.
    Clicks,
    /// Ages and counts that are missing together.
    Counts,
}

const N_LATENTS: usize = 8;

/// Latents whose value follows that of another, and the probability that it does.
const FOLLOWERS: [(Latent, Latent, f64); 5] = [
    (Latent::Recent, Latent::Activity, 0.75),
    (Latent::Clicks, Latent::Activity, 0.7),
    (Latent::Counts, Latent::Activity, 0.7),
    (Latent::Item, Latent::Campaign, 0.75),
    (Latent::Site, Latent::Campaign, 0.35),
];

const COUPLINGS: [Coupling; 26] = [
    alone(),                                                              // C1
    shared(Latent::Campaign, 0.97, 1.0),                                  // C2
    shared(Latent::Item, 0.97, 1.0),                                      // C3
    shared(Latent::Item, 0.95, 1.0),                                      // C4
    alone(),                                                              // C5
    alone(),                                                              // C6
    shared(Latent::Site, 0.98, 1.0),                                      // C7
    alone(),                                                              // C8
    alone(),                                                              // C9
    shared(Latent::Site, 0.6, 3.0),                                       // C10
    shared(Latent::Site, 0.98, 1.0),                                      // C11
    shared(Latent::Item, 0.97, 1.0),                                      // C12
    shared(Latent::Site, 0.98, 1.0),                                      // C13
    shared(Latent::Campaign, 0.8, 11.0),                                  // C14
    shared(Latent::Campaign, 0.98, 1.0),                                  // C15
    shared(Latent::Item, 0.97, 1.0),                                      // C16
    shared(Latent::Campaign, 0.9, 37.0),                                  // C17
    shared(Latent::Campaign, 0.97, 1.0),                                  // C18
    shared(Latent::Person, 0.6, 1.0),                                     // C19
    shared(Latent::Person, 0.6, 5.0),                                     // C20
    shared(Latent::Item, 0.97, 1.0),                                      // C21
    alone(),                                                              // C22
    shared(Latent::Campaign, 0.8, 23.0),                                  // C23
    Coupling { missing_loyalty: 0.95, ..shared(Latent::Item, 0.9, 1.0) }, // C24
    shared(Latent::Person, 0.6, 7.0),                                     // C25
    shared(Latent::Person, 0.9, 1.0),                                     // C26
];

const INTEGER_COUPLINGS: [Coupling; 13] = [
    counted(Latent::Clicks, Latent::Clicks, 0.9, 1.0), // I1
    alone(),                                           // I2
    partly(counted(Latent::Counts, Latent::Counts, 0.5, -1.0), 0.7), // I3
    counted(Latent::Counts, Latent::Counts, 0.6, -1.0), // I4
    partly(counted(Latent::Activity, Latent::Activity, 0.85, -1.0), 0.9), // I5
    partly(counted(Latent::Activity, Latent::Activity, 0.95, -1.0), 0.9), // I6
    counted(Latent::Recent, Latent::Activity, 0.9, 1.0), // I7
    counted(Latent::Activity, Latent::Person, 0.2, -1.0), // I8
    counted(Latent::Recent, Latent::Activity, 0.2, 1.0), // I9
    counted(Latent::Clicks, Latent::Clicks, 0.9, 1.0), // I10
    counted(Latent::Recent, Latent::Activity, 0.9, 1.0), // I11
    alone(),                                           // I12
    counted(Latent::Counts, Latent::Counts, 0.9, -1.0), // I13
];

/// A field that depends on no latent.
const fn alone() -> Coupling {
    let mut coupling = shared(Latent::Item, 0.0, 1.0);
    coupling.missing_loyalty = 0.0;
    coupling
}

/// A field whose value and gaps both follow one latent.
const fn shared(latent: Latent, loyalty: f64, stride: f64) -> Coupling {
    counted(latent, latent, loyalty, stride)
}

/// A field whose value follows one latent and whose gaps follow another.
const fn counted(value: Latent, missing: Latent, loyalty: f64, stride: f64) -> Coupling {
    Coupling {
        value_latent: value,
        value_loyalty: loyalty,
        missing_latent: missing,
        missing_loyalty: 1.0,
        stride,
    }
}

/// A field whose gaps follow their latent with a probability.
const fn partly(coupling: Coupling, missing_loyalty: f64) -> Coupling {
    Coupling { missing_loyalty, ..coupling }
}

/// The uniform numbers of one row.
struct Draws {
    key: u64,
    n_drawn: u64,
    values: [f64; N_LATENTS],
    missing: [f64; N_LATENTS],
}

impl Sampler {
    pub(super) fn new(seed: u64) -> Self {
        let categoricals = CATEGORICALS.iter().zip(COUPLINGS);
        let integers = INTEGERS.iter().zip(INTEGER_COUPLINGS).map(|(field, coupling)| {
            IntegerField { coupling, missing: field.missing, quantiles: Quantiles::new(field) }
        });
        Self {
            categoricals: categoricals
                .map(|(field, coupling)| CategoricalField::new(field, coupling))
                .collect(),
            integers: integers.collect(),
            // "tokens" in ASCII.
            token_seed: mix64(seed, 0x746f_6b65_6e73),
        }
    }

    /// Fills the fields of `record` for the row of `key` on `day`.
    pub(super) fn fill(&self, key: u64, day: u64, record: &mut Record) {
        let mut draws = Draws::new(key);
        record.integers.clear();
        record.integers.extend(self.integers.iter().map(|field| {
            let u = draws.present(&field.coupling, field.missing)?;
            Some(field.quantiles.value(u))
        }));
        record.tokens.clear();
        record.tokens.extend(self.categoricals.iter().enumerate().map(|(field_idx, field)| {
            let u = draws.present(&field.coupling, field.missing)?;
            Some(self.token(field_idx, field.popularity.rank(u), day))
        }));
    }

    /// The token at `rank` of a field on `day`.
    ///
    /// Each rank of a drifting head changes its token once in [`DRIFT_PERIOD_DAYS`], on a day of
    /// its own that the hash chooses.
    pub(super) fn token(&self, field_idx: usize, rank: u32, day: u64) -> u32 {
        let key = mix64(((field_idx as u64) << 32) | u64::from(rank), self.token_seed);
        if !self.categoricals[field_idx].drifting_ranks.contains(&rank) {
            return key as u32;
        }
        let phase = reduce(key, DRIFT_PERIOD_DAYS as usize) as u64;
        match day.saturating_add(phase) / DRIFT_PERIOD_DAYS {
            0 => key as u32,
            generation => mix64(key ^ generation, self.token_seed) as u32,
        }
    }

    /// The values of a field that have a cell of their own, with their share of all rows: the empty
    /// field as `None`, and the ranks as the tokens of day 0.
    pub(super) fn heaviest(&self, field_idx: usize) -> impl Iterator<Item = (Option<u32>, f64)> {
        let field = &self.categoricals[field_idx];
        let present = 1.0 - field.missing;
        let singles = field.popularity.singles();
        let tokens = singles
            .map(move |(rank, share)| (Some(self.token(field_idx, rank, 0)), share * present));
        std::iter::once((None, field.missing)).chain(tokens)
    }
}

impl CategoricalField {
    fn new(field: &Categorical, coupling: Coupling) -> Self {
        let missing = field.missing;
        if field.cardinality < OPEN_VOCABULARY {
            let popularity = Popularity::new(field, field.cardinality);
            // Ranks count from 1, so that this range contains none.
            return Self { coupling, missing, drifting_ranks: 0..=0, popularity };
        }
        let popularity = Popularity::new(field, field.cardinality - DRIFT_RESERVE);
        let is_stable = |share: f64| share * (1.0 - missing) >= STABLE_SHARE;
        let stable = popularity.singles().take_while(|&(_, share)| is_stable(share));
        let first_drifting = stable.last().map_or(1, |(rank, _)| rank + 1);
        Self { coupling, missing, drifting_ranks: first_drifting..=DRIFT_RANKS, popularity }
    }
}

impl Draws {
    fn new(key: u64) -> Self {
        let mut draws =
            Self { key, n_drawn: 0, values: [0.0; N_LATENTS], missing: [0.0; N_LATENTS] };
        for latent_idx in 0..N_LATENTS {
            draws.values[latent_idx] = draws.draw().0;
            draws.missing[latent_idx] = draws.draw().0;
        }
        for (follower, followed, loyalty) in FOLLOWERS {
            if draws.draw().1 < loyalty {
                draws.values[follower as usize] = draws.values[followed as usize];
            }
        }
        draws
    }

    /// The quantile of a field's value, or `None` where it is empty.
    fn present(&mut self, coupling: &Coupling, missing: f64) -> Option<f64> {
        if missing > 0.0 {
            let (own, coin) = self.draw();
            let shared = self.missing[coupling.missing_latent as usize];
            if (if coin < coupling.missing_loyalty { shared } else { own }) < missing {
                return None;
            }
        }
        let (own, coin) = self.draw();
        if coin >= coupling.value_loyalty {
            return Some(own);
        }
        let strided = self.values[coupling.value_latent as usize] * coupling.stride;
        let u = strided - strided.floor();
        // The negative of a number near 0 may round up to 1, which no quantile function takes.
        Some(if u < 1.0 { u } else { own })
    }

    /// Two independent uniform numbers: one of 40 bits, and a coin of 24.
    fn draw(&mut self) -> (f64, f64) {
        let hash = mix64(self.n_drawn, self.key);
        self.n_drawn += 1;
        let coin = hash & 0xff_ffff;
        ((hash >> 24) as f64 / (1_u64 << 40) as f64, coin as f64 / f64::from(1 << 24))
    }
}
