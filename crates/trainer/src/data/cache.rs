//! The cache of a list of files: used where it is good, else built, else done without.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use criteo_io::{BadRows, Cache, CacheError, CacheFault, CachePlan, Dialect};

use crate::text::{bytes, grouped};

/// How often building reports its progress.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The cached rows of `paths`, at least the first `max_rows` of them, in `dir` or beside the first
/// file; `None` where the cache could not be written, which is no reason not to train.
///
/// # Errors
/// If the rows themselves can't be read, or `dir` is no place for a file.
pub(super) fn open_or_build(
    paths: &[PathBuf],
    dialect: &Dialect,
    max_rows: Option<u64>,
    bad_rows: BadRows,
    dir: Option<&Path>,
) -> Result<Option<Cache>> {
    let plan =
        CachePlan::new(paths.to_vec(), dialect.clone(), max_rows, dir)?.with_bad_rows(bad_rows);
    let file = plan.file().display();
    match plan.open() {
        Ok(cache) => {
            tracing::info!("using the {} rows cached in {file}", grouped(cache.n_rows()));
            return Ok(Some(cache));
        }
        Err(CacheFault::Absent) => {}
        Err(fault) => tracing::warn!("{file}: the cache can't be used: {fault}; rebuilding it"),
    }
    tracing::info!("caching the rows in {file}");
    match build(&plan) {
        Ok(cache) => Ok(Some(cache)),
        Err(CacheError::Input(error)) => Err(error.into()),
        Err(error @ CacheError::Directory { .. }) => {
            let advice = "data.cache_dir: set it to a directory that can be written to, or data.cache to false";
            Err(anyhow::Error::new(error).context(advice))
        }
        Err(error @ (CacheError::Write { .. } | CacheError::Unusable { .. })) => {
            tracing::warn!("{:#}; continuing without a cache", anyhow::Error::new(error));
            Ok(None)
        }
    }
}

fn build(plan: &CachePlan) -> Result<Cache, CacheError> {
    let started = Instant::now();
    let mut said = started;
    let cache = plan.build(&mut |n_rows| {
        if said.elapsed() >= SAY_EVERY {
            tracing::info!("cached {} rows so far", grouped(n_rows));
            said = Instant::now();
        }
    })?;
    let seconds = started.elapsed().as_secs_f64();
    tracing::info!(
        "cached {} rows, {}, in {seconds:.1} s",
        grouped(cache.n_rows()),
        bytes(cache.n_bytes())
    );
    Ok(cache)
}
