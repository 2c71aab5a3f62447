//! Stop signals: the first one asks the run to save and end, the second ends it immediately.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

/// The exit code of a process ended by signal N is 128 + N, by the convention of shells.
const SHELL_BASE: i32 = 128;

/// Whether this process was asked to stop.
#[derive(Debug, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// SIGHUP, unless this process ignores it because it is to outlive its terminal (`nohup`).
#[cfg(unix)]
fn hangup() -> Option<i32> {
    use signal_hook::consts::SIGHUP;
    // Without this file it is not known, and SIGHUP keeps its default action.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    // Bit N - 1 of the mask stands for signal N.
    (ignored >> (SIGHUP - 1) & 1 == 0).then_some(SIGHUP)
}

#[cfg(not(unix))]
fn hangup() -> Option<i32> {
    None
}

impl Stop {
    /// The flag of the process, set by SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is closed)
    /// from now on. Before the first call these signals end the process as by default: before
    /// training there is nothing to save.
    ///
    /// # Errors
    /// If the system refuses handlers.
    pub fn on_signals() -> io::Result<&'static Self> {
        static STOP: OnceLock<Stop> = OnceLock::new();
        if let Some(stop) = STOP.get() {
            return Ok(stop);
        }
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM].into_iter().chain(hangup()) {
            // The order matters: the shutdown is registered first, so that it acts only if an
            // earlier signal has set the flag.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                SHELL_BASE + signal,
                Arc::clone(&stop.requested),
            )?;
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
            signal_hook::flag::register(signal, Arc::clone(&stop.requested))?;
        }
        Ok(STOP.get_or_init(|| stop))
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// The flag itself, for code that polls it while it waits for something else.
    #[must_use]
    pub fn flag(&self) -> &AtomicBool {
        &self.requested
    }

    /// The exit code for the signal that requested the stop.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        (SHELL_BASE as usize + self.signal.load(Ordering::SeqCst)) as u8
    }
}
