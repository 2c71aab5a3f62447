//! What the program can be asked for, beside training, sweeps and their reports: a file each.
//!
//! ```text
//! experiment.rs  a configuration and its overrides      model_args.rs  a trained model and rows
//!   plan    sizes, without data                           eval     rows with labels ─► quality
//!   scan    counts of a file                              predict  rows ─► a probability for each
//!   synth   generated rows                                export   tables for other programs
//!   bench   speed                                         inspect  sizes, hot features
//!   sketch  HotSketch against its theory
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
