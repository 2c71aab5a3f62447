//! Tests of the guarantees of checkpoints, in the order of docs/reliability.md. `just soak` sets
//! `SOAK=1`, which raises the counts; each test prints its counts.

mod allocations;
mod arbitrary;
mod damage;
mod disk;
mod disk_full;
mod failing;
mod golden;
mod hostile;
#[path = "../shared/manifest.rs"]
mod manifest;
mod memory;
mod power_loss;
#[path = "../shared/skip.rs"]
mod skip;
mod support;
