//! Any sequence of operations: one bucket does what an obvious list does, and several keep their
//! bounds against an exact counter.
#![no_main]

use std::collections::BTreeMap;

use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [policy, slots, n_buckets, steps @ ..] = input else { return };
    let victim = [
        VictimPolicy::Lightest,
        VictimPolicy::LightestCold,
        VictimPolicy::LastSlot,
        VictimPolicy::ByChance,
    ][usize::from(policy % 4)];
    let slots = 1 + usize::from(slots % 8);
    follow_the_list(HotSketch::new(SketchConfig { n_buckets: 1, slots, victim, seed: 5 }), steps);
    let n_buckets = 1 + usize::from(n_buckets % 16);
    let config =
        SketchConfig { n_buckets, slots, victim: VictimPolicy::Lightest, seed: u64::from(*policy) };
    keep_the_bounds(HotSketch::new(config), steps);
});

/// One of the operations that three bytes stand for.
enum Step {
    Observe(FeatureId, f32),
    SetRow(FeatureId, Option<u32>),
    Decay(f32),
    Release(f32),
}

fn steps(bytes: &[u8]) -> impl Iterator<Item = Step> + '_ {
    bytes.chunks_exact(3).map(|step| {
        let id = FeatureId::from_raw(u64::from(step[1] % 32));
        let amount = f32::from(step[2]) / 4.0;
        match step[0] % 16 {
            0 => Step::SetRow(id, (step[2] % 2 == 0).then_some(u32::from(step[2]))),
            1 => Step::Decay(f32::from(step[2]) / 255.0),
            2 => Step::Release(amount),
            3 => Step::Observe(id, 0.0),
            4 => Step::Observe(
                FeatureId::from_raw((1 << FeatureId::BITS) - 1 - u64::from(step[1])),
                amount,
            ),
            _ => Step::Observe(id, amount),
        }
    })
}

/// What a bucket holds, as an obvious list: id, score, row.
type Slots = Vec<(FeatureId, f32, Option<u32>)>;

fn follow_the_list(mut sketch: HotSketch, bytes: &[u8]) {
    let config = sketch.config();
    let mut list = Slots::new();
    for step in steps(bytes) {
        match step {
            Step::Observe(id, weight) => {
                let was_held = sketch.get(id).is_some();
                let before = list.clone();
                observe(&mut list, config, id, weight);
                let observed = sketch.observe(id, weight);
                if config.victim == VictimPolicy::ByChance && !was_held && observed.entry.is_none()
                {
                    // Chance spared the victim.
                    assert!(before.len() == config.slots, "there was room");
                    list = before;
                }
            }
            Step::SetRow(id, row) => {
                let slot = list.iter_mut().find(|slot| slot.0 == id);
                assert_eq!(sketch.set_row(id, row), slot.is_some());
                slot.into_iter().for_each(|slot| slot.2 = row);
            }
            Step::Decay(factor) => {
                sketch.decay(factor);
                list.iter_mut().for_each(|slot| slot.1 *= factor);
            }
            Step::Release(threshold) => {
                let (mut freed, mut expected) = (Vec::new(), Vec::new());
                sketch.release_rows_below(threshold, |row| freed.push(row));
                for slot in list.iter_mut().filter(|slot| slot.1 < threshold) {
                    expected.extend(slot.2.take());
                }
                assert_eq!(freed, expected);
            }
        }
        let got: Slots = sketch.iter().map(|held| (held.id, held.score, held.row)).collect();
        assert_eq!(got, list);
    }
}

fn observe(list: &mut Slots, config: SketchConfig, id: FeatureId, weight: f32) {
    if let Some(at) = list.iter().position(|slot| slot.0 == id) {
        list[at].1 += weight;
        if config.victim == VictimPolicy::LastSlot && at > 0 && list[at].1 > list[at - 1].1 {
            list.swap(at, at - 1);
        }
        return;
    }
    if list.len() < config.slots {
        return list.push((id, weight, None));
    }
    let is_allowed = |at: usize| match config.victim {
        VictimPolicy::Lightest => true,
        VictimPolicy::LightestCold | VictimPolicy::ByChance => list[at].2.is_none(),
        VictimPolicy::LastSlot => at == list.len() - 1 && list[at].2.is_none(),
    };
    let victims = (0..list.len()).filter(|&at| is_allowed(at));
    // The first of equals.
    if let Some(at) = victims.min_by(|&a, &b| list[a].1.total_cmp(&list[b].1)) {
        list[at] = (id, list[at].1 + weight, None);
    }
}

/// Weights are quarters, so that sums are exact.
fn keep_the_bounds(mut sketch: HotSketch, bytes: &[u8]) {
    let mut exact = BTreeMap::new();
    for step in steps(bytes) {
        if let Step::Observe(id, weight) = step {
            sketch.observe(id, weight);
            *exact.entry(id).or_insert(0.0) += weight;
        }
    }
    let total: f32 = exact.values().sum();
    assert_eq!(sketch.iter().map(|held| held.score).sum::<f32>(), total);
    for (&id, &weight) in &exact {
        assert!(
            sketch.upper_bound(id) >= weight,
            "{id}: {} under {weight}",
            sketch.upper_bound(id)
        );
    }
    let state = BTreeMap::from(sketch.state());
    let again = HotSketch::new(sketch.config()).restored(&state).expect("its own state");
    assert_eq!(BTreeMap::from(again.state()), state);
}
