//! The power goes at every operation of saves, replacements and prunes, and again while the next
//! process tidies up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use trainer::checkpoint::{Checkpoint, Files as _, Store};

use super::memory::{Image, Memory, PowerLoss};
use super::support::{count, small};

const DIR: &str = "runs/one/checkpoints";

/// What may and what must be found.
#[derive(Clone, Default)]
struct Expected {
    /// Steps that were saved and not pruned, each with what it may be: two contents while one
    /// replaces the other.
    sure: BTreeMap<u64, Vec<Checkpoint>>,
    /// Steps that are being saved or removed.
    maybe: BTreeMap<u64, Checkpoint>,
}

enum Action {
    Save(Checkpoint),
    Prune(usize, Option<u64>),
    /// Another process takes over.
    Open,
}

impl Action {
    fn run(&self, memory: &Memory) {
        let store = match self {
            Self::Open => {
                Store::open(memory.clone(), Path::new(DIR)).expect("a good disk");
                return;
            }
            Self::Save(_) | Self::Prune(..) => Store::view(memory.clone(), Path::new(DIR)),
        };
        match self {
            Self::Save(checkpoint) => store.save(checkpoint).expect("a good disk"),
            Self::Prune(keep, best) => store.prune(*keep, *best).expect("a good disk"),
            Self::Open => {}
        }
    }

    fn begin(&self, expected: &mut Expected) {
        match self {
            Self::Open => {}
            Self::Save(checkpoint) => match expected.sure.get_mut(&checkpoint.step) {
                Some(contents) => contents.push(checkpoint.clone()),
                None => drop(expected.maybe.insert(checkpoint.step, checkpoint.clone())),
            },
            Self::Prune(keep, best) => {
                let kept: BTreeSet<u64> =
                    expected.sure.keys().rev().take(*keep).copied().chain(*best).collect();
                let (sure, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    std::mem::take(&mut expected.sure)
                        .into_iter()
                        .partition(|(step, _)| kept.contains(step));
                expected.sure = sure;
                expected.maybe.extend(
                    gone.into_iter().map(|(step, mut contents)| (step, contents.remove(0))),
                );
            }
        }
    }

    fn end(&self, expected: &mut Expected, memory: &Memory) {
        match self {
            Self::Open => expected.settle(memory),
            Self::Save(checkpoint) => {
                expected.maybe.remove(&checkpoint.step);
                expected.sure.insert(checkpoint.step, vec![checkpoint.clone()]);
            }
            Self::Prune(..) => expected.maybe.clear(),
        }
    }
}

fn changed(step: u64) -> Checkpoint {
    Checkpoint { state: json!({"other": true}), ..small(step) }
}

/// Every path through the store: a first save, more, one over itself, one over another, with and
/// without a best one.
fn actions() -> Vec<Action> {
    use Action::{Open, Prune, Save};
    vec![
        Open,
        Save(small(10)),
        Save(changed(10)),
        Save(small(20)),
        Save(small(20)),
        Open,
        Save(small(30)),
        Prune(2, None),
        Save(changed(20)),
        Save(small(40)),
        Save(small(50)),
        Prune(3, Some(20)),
        Save(small(60)),
        Prune(1, Some(20)),
        Open,
        Save(changed(60)),
        Prune(1, None),
        Save(small(70)),
    ]
}

impl Expected {
    /// A store that was opened relies on all that it sees.
    fn settle(&mut self, memory: &Memory) {
        let store = Store::view(memory.clone(), Path::new(DIR));
        let found = store.steps().expect("a directory").into_iter().map(|step| {
            let found = store.load(step).unwrap_or_else(|error| panic!("{error}"));
            assert!(self.allows(&found), "step {step} is none that was saved");
            (step, vec![found])
        });
        let found: BTreeMap<_, _> = found.collect();
        assert!(
            self.sure.keys().all(|step| found.contains_key(step)),
            "one is lost, there are {:?}",
            found.keys()
        );
        *self = Self { sure: found, maybe: BTreeMap::new() };
    }

    fn allows(&self, found: &Checkpoint) -> bool {
        let sure = self.sure.get(&found.step).into_iter().flatten();
        sure.chain(self.maybe.get(&found.step)).any(|checkpoint| checkpoint == found)
    }

    /// Opens the store and compares everything in it; then saves once more.
    fn check(&self, memory: &Memory, what: &str) {
        let store = Store::open(memory.clone(), Path::new(DIR))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let steps = store.steps().expect("a directory");
        let names = memory.list(Path::new(DIR)).expect("a directory");
        assert_eq!(names.len(), steps.len(), "{what}: leftovers in {names:?}");
        for &step in &steps {
            let found = store.load(step).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(self.allows(&found), "{what}: step {step} is none that was saved");
        }
        for step in self.sure.keys() {
            assert!(steps.contains(step), "{what}: step {step} is lost, there are {steps:?}");
        }
        let newest = store.load_newest().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(newest.checkpoint.map(|found| found.step), steps.last().copied(), "{what}");
        let next = small(999);
        store.save(&next).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(store.load(999).expect("it was just saved"), next, "{what}");
    }
}

/// The image after every operation, with what is expected if the power goes just then.
fn frozen(memory: &Memory, actions: &[Action], mut expected: Expected) -> Vec<(Image, Expected)> {
    let mut frozen = vec![(memory.image(), expected.clone())];
    memory.record();
    for action in actions {
        action.begin(&mut expected);
        action.run(memory);
        frozen.extend(memory.recorded().into_iter().map(|image| (image, expected.clone())));
        action.end(&mut expected, memory);
        frozen.push((memory.image(), expected.clone()));
    }
    frozen
}

fn power_loss(seed: u64, salt: u64) -> PowerLoss<ChaCha8Rng> {
    match seed {
        0 => PowerLoss::Kept,
        1 => PowerLoss::Dropped,
        seed => PowerLoss::Random(ChaCha8Rng::seed_from_u64(seed << 32 | salt)),
    }
}

#[test]
fn power_loss_keeps_checkpoints() {
    let n_seeds = count(10, 450);
    let frozen = frozen(&Memory::default(), &actions(), Expected::default());
    let mut n_images = 0;
    for (operation, (image, expected)) in frozen.iter().enumerate() {
        for seed in 0..n_seeds {
            let image = image.after_power_loss(&mut power_loss(seed, operation as u64));
            expected.check(&Memory::of(image), &format!("operation {operation}, seed {seed}"));
            n_images += 1;
        }
    }
    println!(
        "power loss: {n_images} images of {} operations, each with every checkpoint that it must have",
        frozen.len()
    );
}

/// A second loss of power, during the clean-up after the first, loses nothing.
#[test]
fn second_power_loss_keeps_checkpoints() {
    let n_seeds = count(2, 12);
    let frozen = frozen(&Memory::default(), &actions(), Expected::default());
    let mut n_images = 0;
    for (operation, (image, expected)) in frozen.iter().enumerate() {
        for seed in 0..n_seeds {
            let first = Memory::of(image.after_power_loss(&mut power_loss(seed, operation as u64)));
            let next = [Action::Open, Action::Save(small(80))];
            for (again, (image, expected)) in
                self::frozen(&first, &next, expected.clone()).iter().enumerate()
            {
                let image = image
                    .after_power_loss(&mut power_loss(2 + seed, (operation * 1000 + again) as u64));
                expected.check(
                    &Memory::of(image),
                    &format!("operations {operation} and {again}, seed {seed}"),
                );
                n_images += 1;
            }
        }
    }
    println!("power loss: {n_images} images of a second loss while the first was made good");
}

/// What a process that was killed had not synced yet, the next one sees, and may rely on only after
/// it synced it.
#[test]
fn kill_then_power_loss_keeps_checkpoints() {
    let n_seeds = count(1, 15);
    let frozen = frozen(&Memory::default(), &actions(), Expected::default());
    let mut n_images = 0;
    for (operation, (image, expected)) in frozen.iter().enumerate().step_by(count(2, 1) as usize) {
        let killed = Memory::of(image.clone());
        let next = [
            Action::Open,
            Action::Prune(1, None),
            Action::Save(changed(10)),
            Action::Save(small(80)),
        ];
        for (again, (image, expected)) in
            self::frozen(&killed, &next, expected.clone()).iter().enumerate()
        {
            for seed in 2..2 + n_seeds {
                let image = image
                    .after_power_loss(&mut power_loss(seed, (operation * 1000 + again) as u64));
                expected.check(
                    &Memory::of(image),
                    &format!("operations {operation} and {again}, seed {seed}"),
                );
                n_images += 1;
            }
        }
    }
    println!("power loss: {n_images} images of a loss after another process was killed");
}

/// A second save makes durable what a killed process has left.
#[test]
fn second_save_syncs_after_a_kill() {
    let memory = Memory::default();
    let store = Store::open(memory.clone(), Path::new(DIR)).expect("a good disk");
    memory.record();
    store.save(&small(1)).expect("a good disk");
    for image in memory.recorded() {
        let killed = Memory::of(image);
        Store::view(killed.clone(), Path::new(DIR)).save(&small(1)).expect("a good disk");
        let memory = Memory::of(killed.image().after_power_loss(&mut power_loss(1, 0)));
        assert_eq!(Store::view(memory, Path::new(DIR)).load(1).expect("it was saved"), small(1));
    }
}

/// The proof proves nothing if these images would not show a missing sync.
#[test]
fn power_loss_without_sync_loses_data() {
    let memory = Memory::default();
    let store = Store::open(memory.clone(), Path::new(DIR)).expect("a good disk");
    memory.record();
    store.save(&small(1)).expect("a good disk");
    let images = memory.recorded();
    let last = images.len() - 1;
    let before = images[last - 1].after_power_loss(&mut power_loss(1, 0));
    let after = images[last].after_power_loss(&mut power_loss(1, 0));
    let steps =
        |image| Store::view(Memory::of(image), Path::new(DIR)).steps().expect("a directory");
    assert_eq!(
        (steps(before), steps(after)),
        (vec![], vec![1]),
        "only the last sync makes it durable"
    );
}
