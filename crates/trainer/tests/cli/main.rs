//! The program as users run it: one binary of tests, so that it links once.

mod cache;
mod failures;
mod formats;
mod methods;
mod metrics;
mod runs;
mod scan;
mod support;
