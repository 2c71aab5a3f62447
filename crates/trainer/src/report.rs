//! Comparison of runs, as text (`trainer compare`) and as a page (`trainer report`).
//!
//! Reads the records of runs and sweeps ([`crate::results`]); independent of training.

pub mod compare;
pub mod page;
