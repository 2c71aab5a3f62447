//! Tests that need something of the machine, included by several test binaries.

use std::io::Write as _;

/// Reports that a test cannot run here, for the reason `why`. With `REQUIRE_ALL` in the
/// environment, as in CI, a skipped test is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "REQUIRE_ALL is set, but {why}");
    // Not println!, which the test harness hides for tests that pass.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
