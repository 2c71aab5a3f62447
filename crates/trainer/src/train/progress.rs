//! Progress display of training: a bar on a terminal, log lines otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line appears where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress over the training rows.
pub struct Progress {
    bar: Option<ProgressBar>,
    n_rows: Option<u64>,
    started: Instant,
    last_line: Instant,
    /// Rows seen, those of them that an earlier process saw, and the moving mean of the loss.
    rows: u64,
    rows_before: u64,
    loss: Option<f64>,
    /// The AUC of the last window that had one.
    auc: Option<f64>,
    /// When the current window started, and the rows seen then.
    window: (Instant, u64),
}

impl Progress {
    /// Starts at zero of `n_rows` rows, or of an unknown number.
    #[must_use]
    pub fn new(n_rows: Option<u64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let bar =
            is_terminal.then(|| n_rows.map_or_else(ProgressBar::new_spinner, ProgressBar::new));
        if let Some(bar) = &bar {
            let template = match n_rows {
                Some(_) => "{bar:30} {percent:>3} %  {per_sec}  {eta} left  {msg}",
                None => "{spinner} {human_pos} rows  {per_sec}  {msg}",
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let per_sec = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                // A display that fails to write has nowhere to report it.
                let _ = write!(out, "{:.0} samples/s", state.per_sec());
            };
            bar.set_style(style.with_key("per_sec", per_sec));
        }
        let now = Instant::now();
        Self {
            bar,
            n_rows,
            started: now,
            last_line: now,
            rows: 0,
            rows_before: 0,
            loss: None,
            auc: None,
            window: (now, 0),
        }
    }

    /// Starts after `rows` rows that another process trained.
    #[must_use]
    pub fn after(mut self, rows: u64) -> Self {
        (self.rows, self.rows_before, self.window.1) = (rows, rows, rows);
        if let Some(bar) = &self.bar {
            bar.set_position(rows);
            bar.reset_eta();
        }
        self
    }

    /// Takes note of a step.
    pub fn step(&mut self, rows: usize, loss: f64, hot_rows: u64) {
        self.rows += rows as u64;
        self.loss = Some(self.loss.map_or(loss, |mean| mean + 0.01 * (loss - mean)));
        let loss = self.loss.unwrap_or(loss);
        let auc = || self.auc.map_or_else(String::new, |auc| format!(", AUC {auc:.4}"));
        if let Some(bar) = &self.bar {
            bar.set_position(self.rows);
            if self.rows % (64 * rows as u64) < rows as u64 {
                bar.set_message(format!("loss {loss:.4}{}  hot {hot_rows}", auc()));
            }
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = (self.rows - self.rows_before) as f64 / self.started.elapsed().as_secs_f64();
            let (done, left) = self.n_rows.map_or_else(
                || (format!("{} rows", self.rows), String::new()),
                |n| {
                    let left = n.saturating_sub(self.rows) as f64 / rate;
                    (
                        format!("{:.0} %", 100.0 * self.rows as f64 / n as f64),
                        format!(", {left:.0} s left"),
                    )
                },
            );
            let auc = auc();
            tracing::info!(
                "{done}: loss {loss:.4}{auc}, {rate:.0} samples/s{left}, {hot_rows} hot rows"
            );
        }
    }

    /// Takes note of rows that are only read.
    pub fn read(&mut self, rows: u64) {
        self.rows += rows;
        if let Some(bar) = &self.bar {
            bar.set_position(self.rows);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = self.rows as f64 / self.started.elapsed().as_secs_f64();
            let share = self.n_rows.map_or_else(String::new, |n| {
                format!(" ({:.0} %)", 100.0 * self.rows as f64 / n as f64)
            });
            tracing::info!("read {} rows{share}, {rate:.0} rows/s", self.rows);
        }
    }

    /// Ends a window: takes its AUC, which is shown until the next has one, and returns its samples
    /// per second.
    pub fn end_window(&mut self, auc: Option<f64>) -> f64 {
        self.auc = auc.or(self.auc);
        let (since, rows_then) = std::mem::replace(&mut self.window, (Instant::now(), self.rows));
        (self.rows - rows_then) as f64 / since.elapsed().as_secs_f64()
    }

    /// Says something in between.
    pub fn note(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.println(text);
        } else {
            tracing::info!("{text}");
        }
    }

    /// Leaves time that was not spent on training out of the rate.
    pub fn exclude(&mut self, spent: Duration) {
        self.started += spent;
        self.window.0 += spent;
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
