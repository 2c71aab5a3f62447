//! The subcommands of the program, apart from training, sweeps and reports: a file each.
//!
//! ```text
//! experiment.rs  a configuration and its overrides      model_args.rs  a trained model and rows
//!   plan    sizes, without data                           eval     rows with labels ─► quality
//!   scan    statistics of the data                        predict  rows ─► a probability for each
//!   synth   generated rows                                export   tables for other programs
//!   bench   speed                                         inspect  sizes, hot features
//!   sketch  HotSketch and its theory
//! ```

pub mod bench;
pub mod eval;
pub mod experiment;
pub mod export;
pub mod inspect;
pub mod model_args;
pub mod plan;
pub mod predict;
pub mod scan;
pub mod sketch;
pub mod synth;
