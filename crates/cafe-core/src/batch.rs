//! Work on one batch: sorting it by field, summing equal keys, sharing it among threads.

pub(crate) mod by_field;
pub(crate) mod cache_hint;
pub(crate) mod coalesce;
pub(crate) mod executor;
pub(crate) mod importance;
