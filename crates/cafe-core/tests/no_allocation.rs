//! A step allocates nothing once the buffers have seen the largest batch.
//!
//! A binary of its own: the counting allocator is global, and nothing else may run beside it.
#![allow(unsafe_code, reason = "a global allocator can't be written without; it forwards to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use cafe_core::{
    Budget, CafeConfig, CafeEmbedding, CafeSettings, Embedding, FeatureId, HashedConfig, HashedEmbedding, Medium,
    RowOptimizer, mix64,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FEATURES: [u64; 3] = [8, 1000, 50_000];
const DIM: usize = 8;
const SAMPLES: usize = 64;

fn fill(step: u64, ids: &mut [FeatureId], grads: &mut [f32]) {
    for (i, id) in ids.iter_mut().enumerate() {
        let hash = mix64(i as u64, step);
        *id = FeatureId::new(i % 3, (hash % FEATURES[i % 3]) as u32 % (1 + (hash >> 50) as u32));
    }
    for (i, g) in grads.iter_mut().enumerate() {
        *g = mix64(i as u64, !step) as i32 as f32 * 1e-10;
    }
}

#[test]
fn steps_do_not_allocate() {
    let settings = CafeSettings { threshold: 10.0, medium: Some(Medium::default()), ..CafeSettings::paper(100.0) };
    let cafe = CafeConfig::within(&FEATURES, DIM, Budget::Bytes(20_000), &settings).expect("fits");
    let hashed = HashedConfig::within(&FEATURES, DIM, 20_000, RowOptimizer::Sgd, 1).expect("fits");
    let embeddings: [Box<dyn Embedding>; 2] =
        [Box::new(CafeEmbedding::new(cafe)), Box::new(HashedEmbedding::new(&hashed))];
    let mut ids = vec![FeatureId::default(); 3 * SAMPLES];
    let mut grads = vec![0.0; ids.len() * DIM];
    let mut rows = grads.clone();
    for mut embedding in embeddings {
        let mut promoted = 0;
        let mut counted = 0;
        for step in 0..300 {
            // Distinct ids differ from step to step, and buffers grow to the most there can be.
            let warm = step >= 100;
            fill(step, &mut ids, &mut grads);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            embedding.lookup(&ids, &mut rows);
            promoted += embedding.update(&ids, &grads, 0.1).promoted;
            if warm {
                counted += ALLOCATIONS.load(Ordering::Relaxed) - before;
            }
        }
        assert_eq!(counted, 0);
        assert!(promoted > 0 || embedding.memory().sketch_bytes == 0, "the test reaches promotion");
    }
}
