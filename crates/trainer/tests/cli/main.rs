//! End-to-end tests of the program: one test binary, so that it links once.

mod bad_rows;
mod cache;
mod closed;
#[cfg(feature = "cuda")]
mod cuda;
mod failures;
mod formats;
mod kills;
#[path = "../shared/manifest.rs"]
mod manifest;
mod methods;
mod metrics;
mod page;
mod resume;
mod runs;
mod saved;
mod scan;
#[path = "../shared/skip.rs"]
mod skip;
mod support;
mod sweeps;
mod using;
