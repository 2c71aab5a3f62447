//! Records of runs and sweeps: written by [`crate::train`] and [`crate::sweep`], read by
//! [`crate::report`].

pub mod outcome;
pub mod phases;
pub mod report;
pub mod runs;
pub mod sketch_findings;
pub mod sweep_record;
pub mod warnings;
