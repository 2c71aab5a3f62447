//! The hint that memory will be needed soon: the one place of this crate with unsafe code.
#![allow(unsafe_code)]

/// Places that are being loaded while earlier ones are worked on. Results do not depend on it.
pub(crate) const AHEAD: usize = 64;

/// Starts to load the cache lines of `slice[at .. at + n]`; nothing happens where that is out of
/// range.
///
/// A hint changes no result. On machines without one it is nothing.
#[inline]
pub(crate) fn prefetch<T>(slice: &[T], at: usize, n: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let Some(part) = at.checked_add(n).and_then(|end| slice.get(at..end)) else { return };
        let (start, bytes) = (part.as_ptr().cast::<i8>(), size_of_val(part));
        if bytes == 0 {
            return;
        }
        // SAFETY: a prefetch reads nothing that the program could see and never faults; the address
        // lies in `part`.
        let fetch =
            |offset: usize| unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(offset)) };
        fetch(0);
        // Both ends may lie in the middle of a line.
        fetch(bytes - 1);
        for offset in (LINE_BYTES..bytes).step_by(LINE_BYTES) {
            fetch(offset);
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at, n);
}

/// Of every x86-64 processor.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::prefetch;

    #[test]
    fn any_range_may_be_named() {
        let values = [1_u32; 100];
        for (at, n) in [(0, 100), (99, 1), (100, 0), (100, 1), (usize::MAX, 2), (3, 0)] {
            prefetch(&values, at, n);
        }
        prefetch::<u64>(&[], 0, 1);
        assert_eq!(values, [1; 100]);
    }
}
