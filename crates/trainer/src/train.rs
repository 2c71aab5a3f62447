//! Training: the loop over epochs, one step of it, what a run saves and how it resumes.
//!
//! ```text
//! run.rs ─► run/training.rs ─► step.rs       lookup, network, update
//!   │            └──────────► eval.rs        quality on the test rows
//!   └─► run/saving.rs ─► state.rs            what a checkpoint holds
//! resume.rs, trained.rs                      a checkpoint into a run, or into a trained model
//! ```

pub mod bags;
pub mod diverged;
pub mod eval;
pub mod progress;
pub mod resume;
pub mod run;
pub mod state;
pub mod step;
pub mod trained;
