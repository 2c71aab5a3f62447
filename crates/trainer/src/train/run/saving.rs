//! When a run saves its state, and what that is.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{Interrupted, Run};
use crate::checkpoint::Checkpoint;
use crate::results::phases::PhaseSeconds;
use crate::run_dir::saver::Job;
use crate::train::diverged::BatchPlace;
use crate::train::state::{self, RunState, Seconds};

impl Run<'_> {
    /// Saves in the background if it is time to. After the last rows of an epoch that is left until
    /// the epoch has ended, so that resuming from there need not read it again.
    pub(super) fn save_if_due(&mut self) -> Result<()> {
        let (step, every) = (self.totals.counters.step, self.config.checkpoint.every);
        let is_due = every.is_due(step, self.checkpointed.elapsed());
        self.save_wanted |= is_due && !(every.may_wait() && self.saver.is_busy());
        if self.save_wanted && self.data.n_train() != Some(self.position.n_rows) {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Saves, if this step has not been saved, and waits until that is done.
    pub(super) fn save(&mut self) -> Result<()> {
        let earlier = self.saver.finish();
        // The last step of an epoch may have been saved before it was known to be the last.
        if self.saver.newest() == Some(self.totals.counters.step)
            && self.checkpointed_epochs == self.epochs_done
        {
            return earlier;
        }
        self.hand_over()?;
        self.saver.finish()
    }

    pub(super) fn hand_over(&mut self) -> Result<()> {
        let (step, since) = (self.totals.counters.step, Instant::now());
        // A gradient of weights that overflows shows in no output of its step: it must not get into
        // a checkpoint.
        self.learner.check_finite().map_err(|error| {
            let rows = 1..=self.totals.epoch.rows;
            let (config, learner, last_checkpoint) =
                (self.config, &self.learner, self.saver.newest());
            BatchPlace { config, learner, step, rows, last_checkpoint }.explain(error)
        })?;
        let tensors = state::capture(&self.learner, &self.online)
            .with_context(|| format!("step {step}: the state is not saved"))?;
        let state = serde_json::to_value(self.state()?)?;
        let checkpoint = Checkpoint { step, state, tensors };
        tracing::debug!(
            "step {step}: state looked through and copied in {:.1} ms",
            1e3 * since.elapsed().as_secs_f64()
        );
        self.saver.save(Job {
            checkpoint,
            best: self.best.map(|best| best.step),
            logs: self.dir.log_files()?,
        });
        (self.checkpointed, self.checkpointed_epochs) = (Instant::now(), self.epochs_done);
        self.save_wanted = false;
        Ok(())
    }

    fn state(&self) -> Result<RunState> {
        let Self { totals, online, .. } = self;
        Ok(RunState {
            config: toml::to_string(self.config)?,
            inputs: self.inputs.clone(),
            epochs_done: self.epochs_done,
            epoch_rows: self.position.n_rows,
            epoch_digest: self.position.digest,
            epoch_loss: (totals.epoch.loss_sum, totals.epoch.rows),
            counters: totals.counters,
            window_sums: online.window.state().sums,
            day: online.day,
            day_sums: online.day_scores.state().sums,
            last_evaluation: self.last_evaluation,
            best: self.best,
            bad_rows: self.bad_rows.clone(),
            logs: self.dir.log_lengths(),
            seconds: self.seconds(),
        })
    }

    /// Time spent by this process and those before it.
    pub(super) fn seconds(&self) -> Seconds {
        let Self { totals, before, .. } = self;
        Seconds {
            wall: before.wall + self.started.elapsed().as_secs_f64(),
            training: before.training + totals.trained_for().as_secs_f64(),
            evaluation: before.evaluation + totals.evaluation.as_secs_f64(),
            phases: before.phases.plus(PhaseSeconds::new(totals.waiting, self.learner.phases())),
        }
    }

    /// Saves what there is on the way out.
    pub(super) fn interrupted(&mut self) -> anyhow::Error {
        let step = self.totals.counters.step;
        if step > 0
            && let Err(error) = self.save()
        {
            return error.context(format!("stopped by a signal after step {step}"));
        }
        let (saved, dir) = (self.saver.newest(), self.dir.path().to_owned());
        Interrupted { step, saved, dir, exit_code: self.stop.exit_code() }.into()
    }
}
