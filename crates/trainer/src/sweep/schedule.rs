//! Runs processes in parallel, as many as are allowed and as their planned memory permits.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::plan::{Plan, Planned};
use crate::memory;
use crate::results::outcome::{Ending, Outcome};
use crate::results::report::Report;
use crate::results::sweep_record::RunStatus;
use crate::stop::Stop;

/// Interval at which the processes are polled: short beside a run, long beside the poll itself.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Delay before a run is tried again that found its directory locked or too little memory: from the
/// first, doubled each time, up to the second.
const RETRY_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// The output of a run.
const LOG: &str = "log.txt";
/// Where a run records how it ended.
const OUTCOME: &str = "outcome.json";
/// The planned configuration of a run, so that later changes of the base file do not affect it.
const PLANNED: &str = "planned.toml";

/// Runs all pending runs. A failed run does not affect the others; a signal interrupts all, and
/// each saves its state.
pub(super) fn run(plan: &mut Plan, jobs: usize, stop: &Stop) -> Result<()> {
    let waiting = (0..plan.runs.len())
        .filter(|&run| plan.runs[run].entry.status == RunStatus::Waiting)
        .collect();
    fs::create_dir_all(&plan.out)
        .with_context(|| format!("{}: cannot be created", plan.out.display()))?;
    plan.record().write(&plan.out)?;
    let mut schedule = Schedule {
        plan,
        stop,
        waiting,
        later: Vec::new(),
        delays: BTreeMap::new(),
        running: Vec::new(),
        timing: Timing::default(),
    };
    let limit = memory::limit(None).map(|(limit, _)| limit);
    while !schedule.is_over() {
        if stop.is_requested() {
            schedule.stop_all();
        } else {
            schedule.start_what_fits(jobs, limit);
        }
        schedule.collect();
        std::thread::sleep(POLL_EVERY);
    }
    Ok(())
}

struct Schedule<'a> {
    plan: &'a mut Plan,
    stop: &'a Stop,
    waiting: VecDeque<usize>,
    /// Runs to be tried again, and when.
    later: Vec<(usize, Instant)>,
    /// The last delay of each of them.
    delays: BTreeMap<usize, Duration>,
    running: Vec<Running>,
    timing: Timing,
}

struct Running {
    run: usize,
    child: Child,
    since: Instant,
    /// Whether other runs were in progress meanwhile and took memory.
    had_company: bool,
    /// Whether it was asked to stop.
    was_asked: bool,
}

/// Time taken by the finished runs.
#[derive(Default)]
struct Timing {
    n_done: u32,
    spent: Duration,
}

impl Schedule<'_> {
    fn is_over(&self) -> bool {
        let none_left = self.waiting.is_empty() && self.later.is_empty();
        self.running.is_empty() && (none_left || self.stop.is_requested())
    }

    /// Starts runs in order. A run that does not fit yet is not overtaken, so that it is not
    /// starved by small ones.
    fn start_what_fits(&mut self, jobs: usize, limit: Option<u64>) {
        let due = self.later.extract_if(.., |(_, when)| *when <= Instant::now());
        self.waiting.extend(due.map(|(run, _)| run));
        while let Some(&run) = self.waiting.front() {
            let running: Vec<u64> =
                self.running.iter().map(|running| self.plan.runs[running.run].peak).collect();
            if !has_room(&running, self.plan.runs[run].peak, jobs, limit) {
                break;
            }
            self.waiting.pop_front();
            match start(&self.plan.runs[run]) {
                Ok(child) => {
                    let had_company = !self.running.is_empty();
                    self.running.iter_mut().for_each(|other| other.had_company = true);
                    let since = Instant::now();
                    self.running.push(Running { run, child, since, had_company, was_asked: false });
                    self.note(run, RunStatus::Running);
                }
                Err(error) => self.failed(run, &format!("{error:#}")),
            }
        }
    }

    /// Handles the processes that have ended.
    fn collect(&mut self) {
        let mut idx = 0;
        while idx < self.running.len() {
            match self.running[idx].child.try_wait() {
                Ok(None) => idx += 1,
                ended => {
                    let running = self.running.swap_remove(idx);
                    match ended {
                        Ok(status) => self.ended(&running, status.unwrap_or_default()),
                        Err(error) => self.failed(running.run, &error.to_string()),
                    }
                }
            }
        }
    }

    fn ended(&mut self, running: &Running, status: ExitStatus) {
        let &Running { run, since, had_company, .. } = running;
        let dir = &self.plan.runs[run].dir;
        let name = self.plan.runs[run].entry.name.clone();
        if status.success() {
            match report(dir) {
                Ok(report) => self.done(run, &name, report.test_auc, since.elapsed()),
                Err(error) => self.failed(run, &format!("{error:#}")),
            }
            return;
        }
        let outcome = Outcome::read(&dir.join(OUTCOME));
        let is = |ending| outcome.as_ref().is_some_and(|outcome| outcome.ending == ending);
        let is_busy = is(Ending::Busy);
        // There was too little memory beside other runs; without them there may be enough.
        let is_short = is(Ending::ShortOfMemory) && had_company;
        // A process that a signal ended could not write a record.
        let why = outcome.map_or_else(|| status.to_string(), |outcome| outcome.message);
        if is_busy || is_short {
            let reason = if is_busy {
                "another process writes to its directory"
            } else {
                "too little memory is free"
            };
            let delay = self
                .delays
                .get(&run)
                .map_or(RETRY_AFTER[0], |last| (2 * *last).min(RETRY_AFTER[1]));
            if self.delays.insert(run, delay).is_none() {
                tracing::info!("{name}: {reason}; waiting");
            }
            self.later.push((run, Instant::now() + delay));
            self.note(run, RunStatus::Waiting);
        } else if self.stop.is_requested() {
            self.note(run, RunStatus::Waiting);
        } else {
            self.failed(run, &why);
        }
    }

    fn done(&mut self, run: usize, name: &str, auc: Option<f64>, time: Duration) {
        self.timing.n_done += 1;
        self.timing.spent += time;
        self.note(run, RunStatus::Done);
        let auc = auc.map_or_else(|| "none".to_owned(), |auc| format!("{auc:.5}"));
        tracing::info!(
            "{} {name}: test AUC {auc}, {:.0} s{}",
            self.count(),
            time.as_secs_f64(),
            self.left()
        );
    }

    fn failed(&mut self, run: usize, why: &str) {
        self.note(run, RunStatus::Failed(why.to_owned()));
        let Planned { entry, dir, .. } = &self.plan.runs[run];
        tracing::warn!(
            "{} {} failed: {why} (see {})",
            self.count(),
            entry.name,
            dir.join(LOG).display()
        );
    }

    /// Asks each run once: a second signal would end it before it has saved.
    fn stop_all(&mut self) {
        for Running { child, was_asked, .. } in
            self.running.iter_mut().filter(|running| !running.was_asked)
        {
            *was_asked = true;
            ask_to_stop(child);
        }
    }

    /// Records a status. That the record cannot be written is not an error: the directories of the
    /// runs hold the same information.
    fn note(&mut self, run: usize, status: RunStatus) {
        self.plan.runs[run].entry.status = status;
        if let Err(error) = self.plan.record().write(&self.plan.out) {
            tracing::warn!("{error:#}");
        }
    }

    fn count(&self) -> String {
        let is_over =
            |status: &RunStatus| !matches!(status, RunStatus::Waiting | RunStatus::Running);
        let over = self.plan.entries().filter(|entry| is_over(&entry.status)).count();
        format!("[{over}/{}]", self.plan.runs.len())
    }

    /// An estimate of the remaining time, from the finished runs.
    fn left(&self) -> String {
        let n_left = self.waiting.len() + self.later.len() + self.running.len();
        if n_left == 0 {
            return String::new();
        }
        // Including the one that has just ended.
        let in_parallel = (self.running.len() + 1) as f64;
        let each = self.timing.spent.as_secs_f64() / f64::from(self.timing.n_done);
        format!(", about {:.0} min left", (each * n_left as f64 / in_parallel / 60.0).ceil())
    }
}

/// Whether a run of `peak` bytes may start beside others of `running` bytes. The first one always
/// starts: a run that is too large by itself has been refused by the plan.
fn has_room(running: &[u64], peak: u64, jobs: usize, limit: Option<u64>) -> bool {
    let fits = limit.is_none_or(|limit| running.iter().sum::<u64>() + peak <= limit);
    running.is_empty() || running.len() < jobs && fits
}

/// Starts or resumes a run, in a process group of its own, so that Ctrl-C in the terminal does not
/// reach it a second time.
fn start(run: &Planned) -> Result<Child> {
    let cant_write = |path: &Path| format!("{}: cannot be written", path.display());
    fs::create_dir_all(&run.dir).with_context(|| cant_write(&run.dir))?;
    let planned = run.dir.join(PLANNED);
    let text = toml::to_string(&run.config)?;
    // Another sweep may be writing the same file.
    let mine = run.dir.join(format!("{PLANNED}.{}", std::process::id()));
    fs::write(&mine, text)
        .and_then(|()| fs::rename(&mine, &planned))
        .with_context(|| cant_write(&planned))?;
    let path = run.dir.join(LOG);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| cant_write(&path))?;
    let both = || File::try_clone(&log).with_context(|| cant_write(&path));
    let mut command = Command::new(program()?);
    command.arg("--config").arg(&planned).arg("--run-dir").arg(&run.dir).arg("--resume=auto");
    // A record of an earlier attempt would be taken for this one's.
    let outcome = run.dir.join(OUTCOME);
    match fs::remove_file(&outcome) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| cant_write(&outcome));
        }
        _ => {}
    }
    command.arg("--outcome").arg(&outcome);
    command.stdin(Stdio::null()).stdout(both()?).stderr(both()?);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().context("a run cannot be started")
}

/// This program, even if its file has been replaced by a newer version.
fn program() -> Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().context("the program's own path")
}

fn report(dir: &Path) -> Result<Report> {
    let path = dir.join("report.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}: damaged", path.display()))
}

/// Asks a run to save its state and end.
#[cfg(unix)]
fn ask_to_stop(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = Pid::from_raw(child.id() as i32) {
        // An error means that it has ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Without signals the run is killed; it resumes from its last checkpoint.
#[cfg(not(unix))]
fn ask_to_stop(child: &mut Child) {
    let _ = child.kill();
}

#[cfg(test)]
mod tests {
    use super::has_room;

    #[test]
    fn runs_start_within_jobs_and_memory() {
        assert!(has_room(&[], 500, 1, Some(100)), "the first one always starts");
        assert!(has_room(&[40], 60, 2, Some(100)) && !has_room(&[40], 61, 2, Some(100)));
        assert!(has_room(&[40], 1000, 2, None) && !has_room(&[1, 1], 1, 2, None));
    }
}
