//! What the system knows of a process.

use std::path::PathBuf;

/// A process, by its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals(pub(crate) u32);

impl Vitals {
    fn proc(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Open descriptors.
    pub(crate) fn descriptors(self) -> usize {
        std::fs::read_dir(self.proc("fd")).expect("the process runs").count()
    }
}
