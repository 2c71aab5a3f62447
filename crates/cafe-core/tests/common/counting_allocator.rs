//! An allocator that counts the calls of a test and of the threads that it starts.
//!
//! The main thread of the test harness is left out: it registers a running test while that test is
//! running.

#![allow(
    unsafe_code,
    reason = "a global allocator can't be written without; it forwards to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static N_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// The thread that allocates first in a process is its main thread. 0: not known yet, or to be
/// counted.
static HARNESS: AtomicUsize = AtomicUsize::new(0);
const COUNT_ALL: usize = usize::MAX;

/// Tells threads apart: no two that live at one time have the same.
fn thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    // A constant without a destructor is never set up and never torn down, so nothing is allocated
    // here.
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

fn count() {
    let thread = thread();
    let harness = match HARNESS.compare_exchange(0, thread, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => thread,
        Err(harness) => harness,
    };
    if thread != harness {
        N_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system allocator unchanged; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system's.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, n_bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is the system's.
        unsafe { System.realloc(ptr, layout, n_bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations during `work`.
///
/// # Panics
///
/// If the allocator does not count those of the thread that calls.
pub(crate) fn allocations(work: impl FnOnce()) -> usize {
    // `--test-threads 1` runs a test on the main thread, and then nothing else runs beside it.
    if HARNESS.load(Ordering::Relaxed) == thread() {
        HARNESS.store(COUNT_ALL, Ordering::Relaxed);
    }
    let before = N_ALLOCATIONS.load(Ordering::Relaxed);
    std::hint::black_box(Box::new(0_u8));
    assert!(N_ALLOCATIONS.load(Ordering::Relaxed) > before, "an allocation is counted");
    let before = N_ALLOCATIONS.load(Ordering::Relaxed);
    work();
    N_ALLOCATIONS.load(Ordering::Relaxed) - before
}
