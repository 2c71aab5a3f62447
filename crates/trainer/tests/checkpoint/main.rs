//! What checkpoints promise, in the order of RELIABILITY's list. `just soak` sets `SOAK=1`, which
//! raises the counts; each proof ends with a line of them.

mod allocations;
mod arbitrary;
mod damage;
mod disk;
mod disk_full;
mod failing;
mod golden;
mod hostile;
mod memory;
mod power_loss;
mod support;
