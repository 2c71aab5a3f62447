//! Promises of the generator: what a row depends on, and how close the log comes to its tables.

use std::collections::{HashMap, HashSet};

use super::marginals::{CATEGORICALS, Categorical, INTEGERS};
use super::sampler::{DRIFT_PERIOD_DAYS, DRIFT_RANKS, DRIFT_RESERVE};
use super::write::write_record;
use super::*;

fn generate(seed: u64, rows: Range<u64>) -> Vec<Record> {
    let mut synth = Synth::new(SynthConfig { seed, ..SynthConfig::default() }, rows);
    let mut records = Vec::new();
    let mut record = Record::default();
    while synth.read_record(&mut record).unwrap() {
        records.push(record.clone());
    }
    assert!(!synth.read_record(&mut record).unwrap(), "the end lasts");
    records
}

#[test]
fn range_is_a_slice_of_the_log() {
    let whole = generate(3, 0..200);
    assert_eq!(whole, generate(3, 0..200));
    assert_eq!(whole[50..80], generate(3, 50..80));
    assert!(generate(3, 5..5).is_empty());
}

#[test]
fn skip_equals_read() {
    let whole = generate(3, 0..20);
    let mut synth = Synth::new(SynthConfig { seed: 3, ..SynthConfig::default() }, 0..20);
    let mut record = Record::default();
    assert_eq!(synth.skip_records(7).unwrap(), 7);
    assert!(synth.read_record(&mut record).unwrap());
    assert_eq!(record, whole[7]);
    assert_eq!(synth.skip_records(u64::MAX).unwrap(), 12);
    assert!(!synth.read_record(&mut record).unwrap());
    assert_eq!(synth.skip_records(1).unwrap(), 0);
}

#[test]
fn last_row_number_is_generated() {
    assert_eq!(generate(3, u64::MAX - 2..u64::MAX).len(), 2);
}

#[test]
fn seeds_have_different_tokens() {
    let tokens = |seed| -> HashSet<(usize, u32)> {
        let records = generate(seed, 0..500);
        let fields = records.iter().flat_map(|record| record.tokens.iter().enumerate());
        fields.filter_map(|(field_idx, token)| Some((field_idx, (*token)?))).collect()
    };
    assert!(tokens(1).intersection(&tokens(2)).count() < 3);
}

/// Rows are part of every result that was got on them: a change here changes them all.
#[test]
fn row_vectors_are_fixed() {
    let mut out = Vec::new();
    write_record(&generate(0, 300_000..300_001)[0], &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), GOLDEN_ROW);
}

const GOLDEN_ROW: &str = "0\t6\t0\t1\t1\t49\t\t18\t30\t92\t1\t4\t\t2\t\
    6d02bdda\t85069f4d\t7927a4c1\t65a2b27d\t7d2b7db6\t31afa053\t70d5dee4\t79fab6d4\t937dd1bb\t\
    c56c84aa\ta2da7a0a\t70a464c0\t7f09454a\t5c8ce79d\t8cdcdc62\tcb60c562\td7a90a81\t340ee783\t\
    \t\tabec61c2\t\te2c04fa7\te23cb2c6\t\t\n";

fn parse(line: &str) -> Record {
    let parts: Vec<&str> = line.split('\t').collect();
    let present = |part: &&str| (!part.is_empty()).then(|| (*part).to_owned());
    let integer = |part: &&str| present(part).map(|text| text.parse().unwrap());
    let token = |part: &&str| present(part).map(|text| u32::from_str_radix(&text, 16).unwrap());
    Record {
        clicked: parts[0] == "1",
        integers: parts[1..14].iter().map(integer).collect(),
        tokens: parts[14..].iter().map(token).collect(),
        ..Record::default()
    }
}

#[test]
fn written_rows_parse_back() {
    let mut records = generate(5, 0..300);
    records[0].integers[..4].copy_from_slice(&[Some(i64::MIN), Some(i64::MAX), Some(0), None]);
    records[0].tokens[..3].copy_from_slice(&[Some(0), Some(u32::MAX), None]);
    let mut out = Vec::new();
    for record in &records {
        write_record(record, &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), records.len());
    for (line, record) in text.lines().zip(records) {
        assert_eq!(parse(line), Record { day: None, true_logit: None, ..record });
    }
}

#[test]
fn written_line_is_the_kaggle_dialect() {
    let record = Record {
        clicked: true,
        integers: vec![Some(-1), None, Some(230)],
        tokens: vec![Some(0x1f), None],
        true_logit: Some(0.5),
        ..Record::default()
    };
    let mut out = Vec::new();
    write_record(&record, &mut out);
    assert_eq!(out, b"1\t-1\t\t230\t0000001f\t\n");
}

/// Rows in the sample that the tables were counted from.
const SAMPLE: u64 = 30_999;

#[test]
fn marginals_match_the_tables() {
    for seed in [11, 12] {
        let records = generate(seed, 0..SAMPLE);
        let rate = share(&records, |record| record.clicked);
        assert!((rate - 0.241).abs() < 0.01, "seed {seed}: {rate} positive");
        for (field_idx, field) in INTEGERS.iter().enumerate() {
            let missing = share(&records, |record| record.integers[field_idx].is_none());
            assert!((missing - field.missing).abs() < 0.015, "I{}: {missing}", field_idx + 1);
        }
        for (field_idx, field) in CATEGORICALS.iter().enumerate() {
            let missing = share(&records, |record| record.tokens[field_idx].is_none());
            assert!((missing - field.missing).abs() < 0.015, "C{}: {missing}", field_idx + 1);
            assert_head_shares(&records, field_idx, field);
        }
    }
}

fn assert_head_shares(records: &[Record], field_idx: usize, field: &Categorical) {
    let mut counts: HashMap<Option<u32>, u64> = HashMap::new();
    for record in records {
        *counts.entry(record.tokens[field_idx]).or_default() += 1;
    }
    assert!(counts.len() <= field.cardinality as usize, "C{}: {}", field_idx + 1, counts.len());
    let mut counts: Vec<u64> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    for (n_top, want) in [1, 10, 100].into_iter().zip(field.top) {
        let got = counts.iter().take(n_top).sum::<u64>() as f64 / records.len() as f64;
        assert!((got - want).abs() < 0.03, "C{} top {n_top}: {got}, not {want}", field_idx + 1);
    }
}

fn share(records: &[Record], holds: impl Fn(&Record) -> bool) -> f64 {
    records.iter().filter(|record| holds(record)).count() as f64 / records.len() as f64
}

#[test]
fn families_are_missing_together() {
    let records = generate(13, 0..2000);
    let together = |record: &Record, fields: &[usize]| {
        fields.iter().all(|&idx| record.tokens[idx].is_none() == record.tokens[fields[0]].is_none())
    };
    assert!(records.iter().all(|record| together(record, &[2, 3, 11, 15, 20])));
    assert!(records.iter().all(|record| together(record, &[18, 19, 24, 25])));
    let item_and_c24 = share(&records, |record| together(record, &[2, 23]));
    assert!(item_and_c24 > 0.98 && item_and_c24 < 1.0, "{item_and_c24}");
    for [first, second] in [[0, 9], [6, 8], [6, 10], [3, 12]] {
        let same =
            |record: &Record| record.integers[first].is_none() == record.integers[second].is_none();
        assert!(records.iter().all(same), "I{} and I{}", first + 1, second + 1);
    }
}

#[test]
fn week_of_rows_keeps_within_the_cardinality() {
    let day = SynthConfig::default().rows_per_day;
    let mut seen: [HashSet<Option<u32>>; 26] = Default::default();
    for first_row in (0..7).map(|n_days| n_days * day) {
        for record in generate(14, first_row..first_row + 10_000) {
            for (tokens, token) in seen.iter_mut().zip(record.tokens) {
                tokens.insert(token);
            }
        }
    }
    for (tokens, field) in seen.iter().zip(&CATEGORICALS) {
        assert!(tokens.len() <= field.cardinality as usize, "{} {field:?}", tokens.len());
    }
}

#[test]
fn best_auc_and_positive_rate_are_as_documented() {
    for seed in [3, 21] {
        for day in [0, 6] {
            let first_row = day * SynthConfig::default().rows_per_day;
            let records = generate(seed, first_row..first_row + 60_000);
            let best = auc(&records);
            assert!((0.80..=0.82).contains(&best), "seed {seed}, day {day}: {best}");
            let rate = share(&records, |record| record.clicked);
            assert!((rate - 0.241).abs() < 0.01, "seed {seed}, day {day}: {rate} positive");
        }
    }
}

/// The share of pairs of a positive and a negative that the true logit puts in order; ties are too
/// rare among 60,000 logits to matter.
fn auc(records: &[Record]) -> f64 {
    let mut rows: Vec<(f32, bool)> =
        records.iter().map(|record| (record.true_logit.unwrap(), record.clicked)).collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut n_negatives, mut n_positives, mut n_ordered) = (0_u64, 0_u64, 0_u64);
    for (_, clicked) in rows {
        if clicked {
            n_positives += 1;
            n_ordered += n_negatives;
        } else {
            n_negatives += 1;
        }
    }
    n_ordered as f64 / (n_positives * n_negatives) as f64
}

#[test]
fn labels_follow_the_true_logit() {
    let records = generate(23, 0..50_000);
    let expected = records.iter().map(|record| logistic(f64::from(record.true_logit.unwrap())));
    let expected = expected.sum::<f64>() / records.len() as f64;
    let rate = share(&records, |record| record.clicked);
    // Four standard deviations of the mean of 50,000 labels.
    assert!((rate - expected).abs() < 0.0075, "{rate} against {expected}");
}

#[test]
fn head_is_renewed_at_the_documented_rate() {
    let sampler = Sampler::new(31);
    let surviving = |field_idx: usize, first_day: u64, n_days: u64| {
        let stays = |rank: &u32| {
            sampler.token(field_idx, *rank, first_day)
                == sampler.token(field_idx, *rank, first_day + n_days)
        };
        (1..=DRIFT_RANKS).filter(stays).count() as f64 / f64::from(DRIFT_RANKS)
    };
    for first_day in [0, 40] {
        for n_days in [1, 6, DRIFT_PERIOD_DAYS] {
            let want = 1.0 - n_days as f64 / DRIFT_PERIOD_DAYS as f64;
            let got = surviving(2, first_day, n_days);
            assert!((got - want).abs() < 0.06, "{n_days} days: {got}, not {want}");
        }
    }
    assert!((surviving(0, 0, 100) - 1.0).abs() < f64::EPSILON, "C1 is a closed vocabulary");
    assert_eq!(sampler.token(2, DRIFT_RANKS + 1, 0), sampler.token(2, DRIFT_RANKS + 1, 100));
}

#[test]
fn week_of_drift_keeps_within_the_cardinality() {
    for seed in 0..5 {
        let sampler = Sampler::new(seed);
        // C11, C13, C18 and C19: the smallest of the open vocabularies.
        for field_idx in [10, 12, 17, 18] {
            let cardinality = CATEGORICALS[field_idx].cardinality;
            let ranks = 1..=cardinality - DRIFT_RESERVE;
            let tokens: HashSet<u32> = ranks
                .flat_map(|rank| (0..7).map(move |day| (rank, day)))
                .map(|(rank, day)| sampler.token(field_idx, rank, day))
                .collect();
            assert!(tokens.len() <= cardinality as usize, "C{}: {}", field_idx + 1, tokens.len());
        }
    }
}
