//! The sketch against a plain twin, an exact counter and its own saved state.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn sketch(n_buckets: usize, slots: usize, victim: VictimPolicy) -> HotSketch {
    HotSketch::new(SketchConfig { n_buckets, slots, victim, seed: 5 })
}

fn id(raw: u64) -> FeatureId {
    FeatureId::from_raw(raw)
}

/// The example to check on paper: one bucket of two slots.
#[test]
fn a_newcomer_inherits_the_victims_score() {
    let mut s = sketch(1, 2, VictimPolicy::Lightest);
    s.observe(id(1), 3.0);
    s.observe(id(2), 5.0);
    s.set_row(id(1), Some(9));
    let observed = s.observe(id(3), 1.0);
    assert_eq!(observed.freed_row, Some(9));
    assert_eq!(observed.entry, Some(Entry { id: id(3), score: 4.0, row: None }));
    assert_eq!((s.estimate(id(1)), s.estimate(id(2)), s.estimate(id(3))), (0.0, 5.0, 4.0));
    assert_eq!((s.upper_bound(id(1)), s.upper_bound(id(2))), (4.0, 5.0));
    assert!((s.mass() - 9.0).abs() < 1e-12);
}

#[test]
fn owners_are_spared_by_the_other_policies() {
    for policy in [VictimPolicy::LightestCold, VictimPolicy::LastSlot] {
        let mut s = sketch(1, 2, policy);
        s.observe(id(1), 5.0);
        s.observe(id(2), 3.0);
        s.set_row(id(2), Some(0));
        let expected = if policy == VictimPolicy::LastSlot { None } else { Some(6.0) };
        assert_eq!(s.observe(id(3), 1.0).entry.map(|h| h.score), expected, "{policy:?}");
        assert_eq!(s.get(id(2)).and_then(|h| h.row), Some(0));
    }
}

/// One slot: a newcomer of weight 1 against a score of 3 has one chance in four.
#[test]
fn newcomers_are_admitted_in_proportion_to_weight() {
    let mut admitted = 0;
    for seed in 0..4000 {
        let mut s = HotSketch::new(SketchConfig {
            n_buckets: 1,
            slots: 1,
            victim: VictimPolicy::ByChance,
            seed,
        });
        s.observe(id(1), 3.0);
        let observed = s.observe(id(2), 1.0);
        let expected = observed.entry.map(|held| (held.score, observed.victim));
        assert!(expected.is_none_or(|expected| expected == (4.0, Some(id(1)))));
        admitted += u32::from(observed.entry.is_some());
    }
    // 1000 expected, give or take 27.
    assert!(admitted.abs_diff(1000) < 110, "{admitted}");
}

#[test]
fn last_slot_moves_up_one_place_per_hit() {
    let mut s = sketch(1, 3, VictimPolicy::LastSlot);
    for raw in 1..=3 {
        s.observe(id(raw), 1.0);
    }
    s.observe(id(3), 5.0);
    assert_eq!(s.iter().map(|h| h.id.raw()).collect::<Vec<_>>(), [1, 3, 2]);
    s.observe(id(4), 0.5); // takes over the last slot, which held 2
    assert_eq!((s.estimate(id(2)), s.estimate(id(4))), (0.0, 1.5));
}

#[test]
fn zero_and_the_largest_id_are_ordinary() {
    let mut s = sketch(1, 2, VictimPolicy::Lightest);
    let largest = (1 << FeatureId::BITS) - 1;
    assert_eq!(s.get(id(0)), None);
    s.observe(id(0), 1.0);
    s.observe(id(largest), 2.0);
    assert_eq!((s.estimate(id(0)), s.estimate(id(largest))), (1.0, 2.0));
    assert!(s.set_row(id(largest), Some(HotSketch::MAX_ROWS as u32 - 1)));
    assert_eq!(s.get(id(largest)).and_then(|h| h.row), Some(HotSketch::MAX_ROWS as u32 - 1));
}

#[test]
fn decay_then_release_frees_what_fell_below() {
    let mut s = sketch(8, 4, VictimPolicy::Lightest);
    for raw in 0..8 {
        s.observe(id(raw), 10.0 + raw as f32);
        s.set_row(id(raw), Some(raw as u32));
    }
    s.decay(0.5);
    let mut freed = Vec::new();
    s.release_rows_below(6.0, |row| freed.push(row));
    freed.sort_unstable();
    assert_eq!(freed, [0, 1]);
    assert_eq!(s.get(id(2)).map(|h| (h.score, h.row)), Some((6.0, Some(2))));
}

#[test]
#[should_panic(expected = "finite and not negative")]
fn nan_is_refused() {
    sketch(1, 1, VictimPolicy::Lightest).observe(id(1), f32::NAN);
}

#[test]
#[should_panic(expected = "finite and not negative")]
fn a_negative_weight_is_refused() {
    sketch(1, 1, VictimPolicy::Lightest).observe(id(1), -1.0);
}

#[test]
fn a_slot_has_twelve_bytes() {
    assert_eq!(HotSketch::SLOT_BYTES, 12);
    assert_eq!(sketch(1736, 4, VictimPolicy::Lightest).bytes(), 83_328);
}

#[test]
fn damage_is_named() {
    let mut s = sketch(4, 2, VictimPolicy::Lightest);
    s.observe(id(7), 1.0);
    let state = s.state();
    let StateView::U32(words) = &state[0].1 else { unreachable!() };
    let at = words.iter().position(|&w| w == 7).expect("the id is there");
    let mut broken = words.to_vec();
    broken[at] ^= 0x40; // another id, in a bucket that isn't its own
    let with = |words: Vec<u32>| {
        BTreeMap::from([("sketch_slots", StateView::U32(words.into())), state[1].clone()])
    };
    assert!(matches!(s.restored(&with(broken)), Err(StateError::Damaged { .. })));
    assert!(matches!(
        s.restored(&with(vec![0; 3])),
        Err(StateError::Length { expected: 24, got: 3, .. })
    ));
    assert!(matches!(
        s.restored(&BTreeMap::new()),
        Err(StateError::Missing { name: "sketch_slots" })
    ));
    assert!(s.restored(&with(words.to_vec())).is_ok());
}

/// The sketch written to be obvious: a list of (id, score, row) per bucket.
struct Twin {
    /// Slots of a bucket.
    c: usize,
    buckets: BTreeMap<usize, Vec<(u64, f32, Option<u32>)>>,
}

impl Twin {
    fn observe(
        &mut self,
        bucket: usize,
        policy: VictimPolicy,
        raw: u64,
        weight: f32,
        luck: StreamRng,
    ) {
        let c = self.c;
        let slots = self.buckets.entry(bucket).or_default();
        if let Some(i) = slots.iter().position(|s| s.0 == raw) {
            slots[i].1 += weight;
            if policy == VictimPolicy::LastSlot && i > 0 && slots[i].1 > slots[i - 1].1 {
                slots.swap(i, i - 1);
            }
        } else if slots.len() < c {
            slots.push((raw, weight, None));
        } else {
            let mut victim: Option<usize> = None;
            for i in 0..c {
                let allowed = match policy {
                    VictimPolicy::Lightest => true,
                    VictimPolicy::LightestCold | VictimPolicy::ByChance => slots[i].2.is_none(),
                    VictimPolicy::LastSlot => i == c - 1 && slots[i].2.is_none(),
                };
                if allowed && victim.is_none_or(|v| slots[i].1 < slots[v].1) {
                    victim = Some(i);
                }
            }
            if policy == VictimPolicy::ByChance
                && victim.is_some_and(|v| !luck.admits(id(raw), weight, slots[v].1))
            {
                victim = None;
            }
            if let Some(v) = victim {
                slots[v] = (raw, slots[v].1 + weight, None);
            }
        }
    }
}

fn policies() -> impl Strategy<Value = VictimPolicy> {
    prop_oneof![
        Just(VictimPolicy::Lightest),
        Just(VictimPolicy::LightestCold),
        Just(VictimPolicy::LastSlot),
        Just(VictimPolicy::ByChance)
    ]
}

proptest! {
    #[test]
    fn behaves_as_its_twin(
        policy in policies(), n_buckets in 1_usize..4, c in 1_usize..5,
        steps in prop::collection::vec((0_u64..24, 0_u8..8, 0_u8..6), 0..400),
    ) {
        let mut s = sketch(n_buckets, c, policy);
        let mut twin = Twin { c, buckets: BTreeMap::new() };
        for (step, (raw, weight, action)) in steps.into_iter().enumerate() {
            let bucket = s.bucket_idx(id(raw));
            if action == 0 {
                let row = (step % 3 > 0).then_some(step as u32);
                s.set_row(id(raw), row);
                let slots = twin.buckets.entry(bucket).or_default();
                slots.iter_mut().filter(|slot| slot.0 == raw).for_each(|slot| slot.2 = row);
            } else {
                s.observe(id(raw), f32::from(weight));
                let luck = StreamRng { mass: s.mass(), seed: 5 };
                twin.observe(bucket, policy, raw, f32::from(weight), luck);
            }
        }
        let expected: Vec<_> =
            (0..n_buckets).flat_map(|b| twin.buckets.remove(&b).unwrap_or_default()).collect();
        let got: Vec<_> = s.iter().map(|h| (h.id.raw(), h.score, h.row)).collect();
        prop_assert_eq!(got, expected);
    }

    /// Against an exact counter: whole weights, so `f32` sums are exact.
    #[test]
    fn bounds_hold_against_an_exact_counter(
        n_buckets in 1_usize..6, c in 1_usize..5,
        stream in prop::collection::vec((0_u64..60, 0_u8..10), 0..600),
    ) {
        let mut s = sketch(n_buckets, c, VictimPolicy::Lightest);
        let (mut exact, mut per_bucket) = (BTreeMap::<u64, f32>::new(), vec![0.0_f32; n_buckets]);
        for (raw, weight) in stream {
            s.observe(id(raw), f32::from(weight));
            *exact.entry(raw).or_default() += f32::from(weight);
            per_bucket[s.bucket_idx(id(raw))] += f32::from(weight);
        }
        for (&raw, &weight) in &exact {
            prop_assert!(s.upper_bound(id(raw)) >= weight);
            let smallest = s.bucket(s.bucket_idx(id(raw))).iter().map(|slot| slot.score)
                .fold(f32::INFINITY, f32::min);
            if let Some(held) = s.get(id(raw)) {
                prop_assert!(held.score >= weight && held.score - weight <= smallest);
            }
        }
        for (bucket, &weight) in per_bucket.iter().enumerate() {
            let sum: f32 = s.slots[bucket * c..(bucket + 1) * c].iter().map(|slot| slot.score)
                .sum();
            prop_assert_eq!(sum, weight);
        }
    }

    #[test]
    fn the_nth_largest_score_is_that_of_a_sorted_list(
        stream in prop::collection::vec((0_u64..60, 0.0_f32..10.0), 0..200), n in 1_usize..30,
    ) {
        let mut s = sketch(6, 4, VictimPolicy::Lightest);
        for (raw, weight) in stream {
            s.observe(id(raw), weight);
        }
        let mut scores: Vec<_> = s.iter().map(|entry| entry.score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(s.nth_largest_score(n), scores.get(n - 1).copied().unwrap_or(0.0));
    }

    #[test]
    fn a_restored_sketch_is_the_same(
        policy in policies(), stream in prop::collection::vec((0_u64..60, 0_u8..10), 0..200),
    ) {
        let mut s = sketch(5, 3, policy);
        for &(raw, weight) in &stream {
            s.observe(id(raw), f32::from(weight));
            if weight == 9 {
                s.set_row(id(raw), Some(raw as u32));
            }
        }
        let restored = sketch(5, 3, policy).restored(&BTreeMap::from(s.state()))
            .expect("own state");
        prop_assert_eq!(&restored.slots, &s.slots);
        prop_assert_eq!(restored.mass.to_bits(), s.mass.to_bits());
    }
}
