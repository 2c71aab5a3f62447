//! What runs and sweeps leave behind, as records: written by [`crate::train`] and
//! [`crate::sweep`], read back by [`crate::report`].

pub mod outcome;
pub mod phases;
pub mod report;
pub mod runs;
pub mod sketch_findings;
pub mod sweep_record;
pub mod warnings;
