//! The sketch of CAFE+ against a plain twin: a list for each bucket, every list brought to each new
//! unit at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::admission_sketch::{AdmissionSketch, BucketPair, Limits};
use crate::feature::FeatureId;
use crate::sketch::slot::Slot;
use crate::state::StateView;

fn id(raw: u64) -> FeatureId {
    FeatureId::from_raw(raw)
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    id: FeatureId,
    score: f32,
    row: Option<u32>,
    /// When it was last touched, counted without end.
    touched: u64,
}

/// Buckets by the first feature known to be of them.
struct Twin {
    main: BTreeMap<String, Vec<Option<Entry>>>,
    filter: BTreeMap<String, Vec<Option<Entry>>>,
    n_slots: usize,
    now: u64,
}

impl Twin {
    fn new(n_slots: usize) -> Self {
        Self { main: BTreeMap::new(), filter: BTreeMap::new(), n_slots, now: 0 }
    }

    fn bucket<'a>(
        part: &'a mut BTreeMap<String, Vec<Option<Entry>>>,
        key: &str,
        n_slots: usize,
    ) -> &'a mut Vec<Option<Entry>> {
        part.entry(key.to_owned()).or_insert_with(|| vec![None; n_slots])
    }

    /// Into the main part, if there is a place.
    fn settle(&mut self, key: &str, entry: Entry) -> bool {
        let bucket = Self::bucket(&mut self.main, key, self.n_slots);
        let mut place = bucket.iter().position(Option::is_none);
        if place.is_none() {
            for at in 0..bucket.len() {
                let Some(held) = bucket[at] else { continue };
                let is_lighter =
                    |than: usize| bucket[than].is_some_and(|other| held.score < other.score);
                if held.row.is_none() && place.is_none_or(is_lighter) {
                    place = Some(at);
                }
            }
        }
        place.map(|at| bucket[at] = Some(entry)).is_some()
    }

    fn observe(
        &mut self,
        at: (&str, &str),
        id: FeatureId,
        weight: f32,
        limits: Limits,
        main_of: impl Fn(FeatureId) -> String,
    ) {
        let main = Self::bucket(&mut self.main, at.0, self.n_slots);
        if let Some(entry) = main.iter_mut().flatten().find(|entry| entry.id == id) {
            entry.score += weight;
            return;
        }
        self.now += 1;
        let bucket = Self::bucket(&mut self.filter, at.1, self.n_slots);
        let mut left = None;
        let place = if let Some(place) =
            bucket.iter().position(|entry| entry.is_some_and(|entry| entry.id == id))
        {
            place
        } else {
            let vacant = bucket.iter().position(Option::is_none);
            let place = vacant.unwrap_or_else(|| {
                let touched = bucket.iter().map(|entry| entry.map(|entry| entry.touched));
                touched.enumerate().min_by_key(|&(_, touched)| touched).expect("a slot").0
            });
            left = bucket[place].replace(Entry { id, score: 0.0, row: None, touched: 0 });
            place
        };
        let entry = bucket[place].as_mut().expect("it is held");
        (entry.score, entry.touched) = (entry.score + weight, self.now);
        let entry = *entry;
        if let Some(left) = left
            && (left.score >= limits.admitted || left.row.is_some())
        {
            self.settle(&main_of(left.id), left);
        }
        if entry.score >= limits.hot && self.settle(at.0, entry) {
            Self::bucket(&mut self.filter, at.1, self.n_slots)[place] = None;
        }
    }

    fn rebase(&mut self) {
        for entry in self.main.values_mut().chain(self.filter.values_mut()).flatten().flatten() {
            entry.score /= 65_536.0;
            if entry.score < f32::MIN_POSITIVE {
                entry.score = 0.0;
            }
        }
    }

    fn entries(&self) -> [BTreeMap<u64, (f32, Option<u32>)>; 2] {
        [&self.main, &self.filter].map(|part| {
            part.values()
                .flatten()
                .flatten()
                .map(|entry| (entry.id.raw(), (entry.score, entry.row)))
                .collect()
        })
    }
}

fn entries(sketch: &AdmissionSketch) -> [BTreeMap<u64, (f32, Option<u32>)>; 2] {
    let used = |slots: Vec<Slot>| slots.into_iter().filter(|slot| !slot.is_vacant());
    sketch
        .parts()
        .map(|slots| used(slots).map(|slot| (slot.id().raw(), (slot.score, slot.row()))).collect())
}

/// A bucket of each part.
fn keys(buckets: BucketPair) -> (String, String) {
    let text = format!("{buckets:?}");
    let (main, filter) = text.split_once(", filter").expect("two parts");
    (main.to_owned(), filter.to_owned())
}

proptest! {
    #[test]
    fn behaves_as_its_twin(
        n_main in 1_usize..5, n_filter in 1_usize..3, c in 1_usize..4,
        steps in prop::collection::vec((0_u64..24, 0_u8..8, 0_u8..40), 0..400),
    ) {
        let (mut sketch, mut twin, mut epoch) =
            (AdmissionSketch::new(n_main, n_filter, c, 5), Twin::new(c), 0);
        let limits = Limits { hot: 9.0, admitted: 4.0 };
        for (step, (raw, weight, action)) in steps.into_iter().enumerate() {
            let (id, row) = (id(raw << 33 | raw), step as u32);
            let buckets = sketch.buckets(id);
            let (main, filter) = keys(buckets);
            match action {
                0 => {
                    epoch += u32::from(weight);
                    sketch.set_epoch(epoch);
                    (0..weight).for_each(|_| twin.rebase());
                }
                1..6 if sketch.get(id).is_some() => {
                    sketch.set_row(id, row);
                    let parts = [Twin::bucket(&mut twin.main, &main, c).clone(),
                        Twin::bucket(&mut twin.filter, &filter, c).clone()];
                    let part = if parts[0].iter().flatten()
                        .any(|entry| entry.id == id) { &mut twin.main } else { &mut twin.filter };
                    part.values_mut().flatten().flatten().filter(|entry| entry.id == id)
                        .for_each(|entry| entry.row = Some(row));
                }
                _ => {
                    let before = entries(&sketch);
                    let observed = sketch.observe(buckets, id, f32::from(weight), limits);
                    twin.observe((&main, &filter), id, f32::from(weight), limits,
                        |id| keys(sketch.buckets(id)).0);
                    let now = entries(&sketch);
                    let find = |parts: &[BTreeMap<u64, (f32, Option<u32>)>; 2]| {
                        parts.iter().find_map(|part| part.get(&id.raw()).copied())
                    };
                    prop_assert_eq!(find(&now), Some((observed.score, observed.row)));
                    prop_assert_eq!(find(&before).map_or(0.0, |(score, _)| score), observed.before);
                    // No row is lost but the one that is reported.
                    let rows = |parts: &[BTreeMap<u64, (f32, Option<u32>)>; 2]| {
                        parts.iter().flat_map(BTreeMap::values).filter_map(|&(_, row)| row)
                            .collect::<Vec<_>>()
                    };
                    let (mut old, mut new) = (rows(&before), rows(&now));
                    new.extend(observed.freed_row);
                    old.sort_unstable();
                    new.sort_unstable();
                    prop_assert_eq!(old, new);
                }
            }
            prop_assert_eq!(entries(&sketch), twin.entries());
            prop_assert_eq!(sketch.row(buckets, id), sketch.get(id).and_then(Slot::row));
        }
        let state: BTreeMap<_, _> = sketch.state().into_iter().collect();
        let restored = AdmissionSketch::new(n_main, n_filter, c, 5)
            .restored(&state, epoch, sketch.now()).expect("own state");
        prop_assert_eq!(restored.parts(), sketch.parts());
    }
}

/// The example to check on paper: one bucket of two slots in each part.
#[test]
fn features_move_from_filter_to_main_part() {
    let mut sketch = AdmissionSketch::new(1, 1, 2, 0);
    let limits = Limits { hot: 10.0, admitted: 5.0 };
    let mut observe = |raw, weight| sketch.observe(BucketPair::default(), id(raw), weight, limits);
    observe(1, 6.0);
    observe(2, 4.0);
    observe(1, 1.0); // the filter holds 1 with 7, touched last, and 2 with 4
    observe(3, 1.0); // 2 leaves and is not admitted
    assert_eq!(observe(2, 1.0).before, 0.0); // 1 leaves and is; 2 begins again
    assert_eq!(observe(3, 9.0).score, 10.0); // hot
    let raws =
        |slots: &[Slot]| slots.iter().map(|slot| (slot.id().raw(), slot.score)).collect::<Vec<_>>();
    let [main, filter] = sketch.parts();
    assert_eq!(raws(&main), [(1, 7.0), (3, 10.0)]);
    assert_eq!(filter.iter().filter(|slot| !slot.is_vacant()).count(), 1);
    // takes the place of 1, the lightest
    sketch.observe(BucketPair::default(), id(2), 10.0, limits);
    assert_eq!(raws(&sketch.parts()[0]), [(2, 11.0), (3, 10.0)]);
}

#[test]
fn hot_feature_stays_in_filter_of_full_bucket() {
    let mut sketch = AdmissionSketch::new(1, 1, 1, 0);
    let limits = Limits { hot: 2.0, admitted: 1.0 };
    sketch.observe(BucketPair::default(), id(1), 2.0, limits);
    sketch.set_row(id(1), 7);
    assert_eq!(sketch.observe(BucketPair::default(), id(2), 3.0, limits).row, None);
    sketch.set_row(id(2), 8);
    assert_eq!(sketch.row(BucketPair::default(), id(2)), Some(8));
    let observed = sketch.observe(BucketPair::default(), id(3), 0.5, limits);
    assert_eq!(
        (observed.freed_row, sketch.get(id(2)), sketch.row(BucketPair::default(), id(1))),
        (Some(8), None, Some(7))
    );
}

#[test]
fn a_clock_may_wrap() {
    let limits = Limits { hot: 9.0, admitted: 9.0 };
    let empty = AdmissionSketch::new(1, 1, 2, 0);
    let state: BTreeMap<_, _> = empty.state().into_iter().collect();
    let mut sketch = empty.restored(&state, 0, u32::MAX - 1).expect("an empty sketch");
    for raw in 1..=3 {
        // clocks MAX, 0, 1: the first is the oldest
        sketch.observe(BucketPair::default(), id(raw), 1.0, limits);
    }
    assert_eq!((sketch.get(id(1)), sketch.get(id(2)).is_some()), (None, true));
}

#[test]
fn a_feature_in_both_parts_is_damage() {
    let mut sketch = AdmissionSketch::new(1, 1, 1, 0);
    sketch.observe(BucketPair::default(), id(3), 5.0, Limits { hot: 5.0, admitted: 5.0 });
    let [(_, main), _] = sketch.state();
    let StateView::U32(words) = &main else { unreachable!() };
    let filter = StateView::U32([&words[..], &[0]].concat().into());
    let state = BTreeMap::from([("sketch_slots", main.clone()), ("filter_slots", filter)]);
    assert!(sketch.restored(&state, 0, 1).is_err());
}
