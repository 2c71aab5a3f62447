//! The exact AUC of a test set as large as Criteo Kaggle's last day needs less memory than its
//! scores twice.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use trainer::metrics::Scores;

/// Counts the bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(n_bytes: usize) {
    let now = IN_USE.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged. `realloc` is not overridden: it
// takes new memory, copies and gives the old back, as the worst allocator would.
#[allow(unsafe_code, reason = "an allocator is one")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn six_and_a_half_million_scores_take_less_than_60_mb() {
    const ROWS: u64 = 6_500_000;
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut scores = Scores::default();
    for idx in 0..ROWS {
        let bits = idx.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        scores
            .push((bits >> 40) as f32 / 1e6 - 8.0, if bits.is_multiple_of(4) { 1.0 } else { 0.0 });
    }
    let quality = scores.quality();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert_eq!(quality.rows, ROWS);
    assert!(
        (quality.auc.expect("both labels") - 0.5).abs() < 0.01,
        "labels know nothing of the scores: {quality:?}"
    );
    assert!((4 * ROWS as usize..60_000_000).contains(&peak), "{peak} bytes at once");
}
