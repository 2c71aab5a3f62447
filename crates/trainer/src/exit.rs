//! Exit codes of the program, after `sysexits.h`; the README has the table.

use std::error::Error;
use std::io;

use cafe_core::BudgetError;
use criteo_io::ReadError;
use dlrm_model::ModelError;

use crate::checkpoint::{LoadError, StoreError};

/// None of the others.
pub const FAILURE: u8 = 1;
/// Wrong arguments.
pub const USAGE: u8 = 2;
/// Rows or saved files that are wrong.
pub const DATA: u8 = 65;
/// A file that is missing or can't be read.
pub const NO_INPUT: u8 = 66;
/// Training diverged.
pub const NOT_FINITE: u8 = 70;
/// Reading or writing failed.
pub const IO: u8 = 74;
/// Another process writes to the run's directory.
pub const BUSY: u8 = 75;
/// A configuration that is wrong or does not fit.
pub const CONFIG: u8 = 78;
/// A panic: Rust's own code.
pub const PANIC: u8 = 101;

/// An error that decides the exit code of the program.
pub trait ExitCode: Error {
    /// The code, one of this module's constants, or 128 plus the number of a signal.
    fn exit_code(&self) -> u8;
}

impl ExitCode for ReadError {
    fn exit_code(&self) -> u8 {
        if self.is_data_error() { DATA } else { NO_INPUT }
    }
}

impl ExitCode for ModelError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NonFiniteLogit { .. } | Self::NonFiniteGradient { .. } => NOT_FINITE,
            Self::Config(_) | Self::Device(_) | Self::Precision(_) | Self::Optimizer(_) => CONFIG,
            _ => FAILURE,
        }
    }
}

impl ExitCode for BudgetError {
    fn exit_code(&self) -> u8 {
        CONFIG
    }
}

impl ExitCode for LoadError {
    fn exit_code(&self) -> u8 {
        DATA
    }
}

impl ExitCode for StoreError {
    fn exit_code(&self) -> u8 {
        IO
    }
}

impl ExitCode for io::Error {
    fn exit_code(&self) -> u8 {
        IO
    }
}
