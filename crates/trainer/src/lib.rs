//! The experiment runner: a configuration in, a trained model's quality and size out.
//!
//! ```text
//! config/ ─► build/ ─► train/run ─► each epoch: data ─► train/step ─► metrics/online ─► metrics
//! TOML,      sizes,    the loop                 batches  lookup,      windows, days
//! --set,     embedding,   │                     in order network,
//! checks     network      │                              update
//!                         ├─► train/eval ─► metrics ───────────────────────────────► report
//!                         └─► run_dir, checkpoint    what an interrupted run resumes from
//!
//! cli ─► commands/   plan scan synth bench sketch; eval predict export inspect
//!     ─► sweep/      many runs, each a process
//!     ─► report/     runs side by side, from what results/ reads back
//! ```
//!
//! A library with a thin binary, so that tests and benchmarks call what users run. The only crate
//! that prints. Which part may import from which is in ARCHITECTURE.md.

pub mod atomic_file;
pub mod build;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod config;
pub mod data;
pub mod exit;
pub mod memory;
pub mod metrics;
pub mod report;
pub mod results;
pub mod run_dir;
pub mod stop;
pub mod sweep;
pub mod text;
pub mod train;
