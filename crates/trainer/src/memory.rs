//! The memory limit of a run, which is refused before anything is allocated if it does not fit.

use std::path::Path;

use crate::exit::{self, ExitCode};
use crate::text::bytes;

/// The planned memory exceeds the limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "the run would hold about {}, of which {} for the embedding, but {} is {limit_name}; choose a \
     higher embedding.compression, a lower embedding.precision, another method or a shorter \
     train.log_every, set data.rows if the full table will see only some features, or raise \
     max_memory",
    bytes(*needed), bytes(*embedding), bytes(*limit)
)]
pub struct MemoryError {
    /// Expected peak memory in bytes.
    pub needed: u64,
    /// The embedding's share, with maps and optimizer state.
    pub embedding: u64,
    /// The limit in bytes.
    pub limit: u64,
    /// Origin of the limit, for the message.
    pub limit_name: &'static str,
}

impl ExitCode for MemoryError {
    fn exit_code(&self) -> u8 {
        exit::CONFIG
    }
}

/// The memory limit of a run in bytes, and its origin: the configured limit, or else the memory
/// that is available now. `None` if neither is known.
#[must_use]
pub fn limit(configured: Option<u64>) -> Option<(u64, &'static str)> {
    const GROUP: &str = "left in this process' control group";
    if let Some(limit) = configured {
        return Some((limit, "max_memory"));
    }
    let system = available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let group = group_limit(Path::new("/sys/fs/cgroup"));
    match (system, group) {
        (Some(system), Some(group)) if group < system => Some((group, GROUP)),
        (Some(system), _) => Some((system, "available on this machine")),
        (None, group) => group.map(|group| (group, GROUP)),
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

/// What a control group (cgroup v2) has left.
fn group_limit(root: &Path) -> Option<u64> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).ok()?.trim().parse::<u64>().ok();
    // The page cache counts as used, but is reclaimed on demand.
    let stat = std::fs::read_to_string(root.join("memory.stat")).unwrap_or_default();
    let page_cache = |line: &str| {
        let bytes =
            line.strip_prefix("inactive_file ").or_else(|| line.strip_prefix("active_file "))?;
        bytes.parse::<u64>().ok()
    };
    let files: u64 = stat.lines().filter_map(page_cache).sum();
    let current = read("memory.current").unwrap_or(0).saturating_sub(files);
    // Without a limit the file contains `max`, which is not parsed.
    Some(read("memory.max")?.saturating_sub(current))
}

/// The memory of the machine, or the limit of this process' control group if that is lower; `None`
/// if the system reports neither.
#[must_use]
pub fn total() -> Option<u64> {
    let system = entry(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:");
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    system.into_iter().chain(group).min()
}

/// Peak resident memory of this process; `None` if the system does not report it.
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
    fn limit_is_configured_or_available() {
        assert_eq!(limit(Some(5)), Some((5, "max_memory")));
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 * 1024));
        assert_eq!(available(""), None);
    }

    #[test]
    fn group_limit_excludes_page_cache() {
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
