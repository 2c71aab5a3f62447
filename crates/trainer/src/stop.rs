//! Signals: the first one asks the run to save and end, the second ends it at once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Added to the number of a signal it is the exit code of a process that the signal ended.
const SHELL_BASE: i32 = 128;

/// Whether somebody asked this process to stop.
#[derive(Debug, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

/// SIGHUP, unless this process is to outlive its terminal (`nohup`), which shows in what it
/// ignores.
#[cfg(unix)]
fn hangup() -> Option<i32> {
    use signal_hook::consts::SIGHUP;
    // Where there is no such file nobody knows, and the default stays.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let ignored = u64::from_str_radix(ignored.trim(), 16).ok()?;
    (ignored >> (SIGHUP - 1) & 1 == 0).then_some(SIGHUP)
}

#[cfg(not(unix))]
fn hangup() -> Option<i32> {
    None
}

impl Stop {
    /// The process' own, set by SIGINT (Ctrl-C), SIGTERM and SIGHUP (a terminal that closes) from
    /// now on. Until it is called these end the process, as they do by default: before training
    /// there is nothing to save.
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
            // The order counts: what ends the process is asked first, and sees what earlier signals
            // have set.
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

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// For whoever waits on something else meanwhile.
    #[must_use]
    pub fn flag(&self) -> &AtomicBool {
        &self.requested
    }

    /// The exit code for the signal that asked.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        (SHELL_BASE as usize + self.signal.load(Ordering::SeqCst)) as u8
    }
}
