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

pub mod bags;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod config;
pub mod data;
pub mod eval;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod not_finite;
pub mod online;
pub mod output;
pub mod page;
pub mod plan;
pub mod progress;
pub mod report;
pub mod resume;
pub mod run;
pub mod run_dir;
pub mod runs;
pub mod saver;
pub mod scan;
pub mod settings;
pub mod setup;
pub mod sketch;
pub mod state;
pub mod step;
pub mod stop;
pub mod sweep;
pub mod synth;
pub mod tensorboard;
pub mod trained;
pub mod using;
pub mod warnings;
