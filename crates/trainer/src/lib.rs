//! The experiment runner: a configuration in, a trained model's quality and size out.
//!
//! ```text
//! config.rs ─► setup.rs ─► run.rs ──► each epoch: data.rs ─► step.rs ─► online.rs ─┬─► metrics.jsonl
//!  (TOML,       (methods,   (the       (batches    (lookup,   (windows,            │   (tensorboard.rs)
//!   --set)       models)     loop)      in order)   network,   days)               │
//!                              │                    update)                        │
//!                              └─────► eval.rs ─► metrics.rs ──────────────────────┴─► report.json, table
//! ```
//!
//! A library with a thin binary, so that tests and benchmarks call what users run. `cli.rs` has the
//! arguments and exit codes; `plan.rs`, `scan.rs`, `synth.rs`, `sketch.rs` and `bench.rs` are its
//! other commands, `using.rs` has those that take a trained model, `sweep.rs` makes many runs,
//! `compare.rs` and `page.rs` put them side by side. The only crate that prints.

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
