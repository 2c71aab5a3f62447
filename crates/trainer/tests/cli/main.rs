//! The program as users run it: one binary of tests, so that it links once.

mod failures;
mod runs;
mod support;
