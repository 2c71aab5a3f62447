//! How much memory a run may take, and its refusal before anything is allocated.

use std::path::Path;

use crate::exit::{self, ExitCode};
use crate::text::bytes;

/// A plan that does not fit.
#[derive(Debug, thiserror::Error)]
#[error(
    "the run would hold about {}, of it {} for the embedding, but {} is {limit_name}; choose a higher \
     embedding.compression, a lower embedding.precision, another method or a shorter train.log_every, say data.rows \
     where a full table will not see all features, or raise max_memory",
    bytes(*needed), bytes(*embedding), bytes(*limit)
)]
pub struct MemoryError {
    /// Bytes that the run is expected to hold at most.
    pub needed: u64,
    /// The embedding's part, everything counted.
    pub embedding: u64,
    /// Bytes that there are.
    pub limit: u64,
    /// Where the limit comes from.
    pub limit_name: &'static str,
}

impl ExitCode for MemoryError {
    fn exit_code(&self) -> u8 {
        exit::CONFIG
    }
}

/// Memory that a run may take, and where the limit comes from: the configuration's, else what the
/// system can give now. `None` where neither says.
#[must_use]
pub fn limit(configured: Option<u64>) -> Option<(u64, &'static str)> {
    if let Some(limit) = configured {
        return Some((limit, "max_memory"));
    }
    let system = available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let group = group_limit(Path::new("/sys/fs/cgroup"));
    match (system, group) {
        (Some(system), Some(group)) if group < system => {
            Some((group, "what this process' control group may take"))
        }
        (Some(system), _) => Some((system, "available on this machine")),
        (None, group) => group.map(|group| (group, "what this process' control group may take")),
    }
}

/// `MemAvailable` of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    entry(meminfo, "MemAvailable:")
}

fn entry(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What a control group of version 2 has left.
fn group_limit(root: &Path) -> Option<u64> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).ok()?.trim().parse::<u64>().ok();
    // Without a limit the file says `max`.
    // What files left in memory is given back when it is wanted.
    let stat = std::fs::read_to_string(root.join("memory.stat")).unwrap_or_default();
    let of_files = |line: &str| {
        let bytes =
            line.strip_prefix("inactive_file ").or_else(|| line.strip_prefix("active_file "))?;
        bytes.parse::<u64>().ok()
    };
    let files: u64 = stat.lines().filter_map(of_files).sum();
    let current = read("memory.current").unwrap_or(0).saturating_sub(files);
    Some(read("memory.max")?.saturating_sub(current))
}

/// All memory of the machine, or that this process' control group may take at most; `None` where
/// the system does not say.
#[must_use]
pub fn total() -> Option<u64> {
    let system = entry(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:");
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    system.into_iter().chain(group).min()
}

/// The most memory that this process has held resident, where the system tells.
#[must_use]
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked_where_the_configuration_is_silent() {
        assert_eq!(limit(Some(5)), Some((5, "max_memory")));
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 * 1024));
        assert_eq!(available(""), None);
    }

    #[test]
    fn a_control_group_leaves_what_is_not_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(group_limit(dir.path()), None);
        std::fs::write(dir.path().join("memory.max"), "max\n").expect("written");
        assert_eq!(group_limit(dir.path()), None);
        std::fs::write(dir.path().join("memory.max"), "1000\n").expect("written");
        std::fs::write(dir.path().join("memory.current"), "400\n").expect("written");
        assert_eq!(group_limit(dir.path()), Some(600));
        std::fs::write(
            dir.path().join("memory.stat"),
            "anon 100\ninactive_file 200\nactive_file 50\n",
        )
        .expect("written");
        assert_eq!(group_limit(dir.path()), Some(850));
    }
}
