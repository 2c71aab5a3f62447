//! Finished runs side by side, as text (`trainer compare`) and as a page (`trainer report`).
//!
//! Reads what runs and sweeps have left, [`crate::results`]; knows nothing of training.

pub mod compare;
pub mod page;
