//! The program as users run it: one binary of tests, so that it links once.

mod bad_rows;
mod cache;
mod closed;
#[cfg(feature = "cuda")]
mod cuda;
mod failures;
mod formats;
mod kills;
mod methods;
mod metrics;
mod page;
mod resume;
mod runs;
mod saved;
mod scan;
mod support;
mod sweeps;
mod using;
