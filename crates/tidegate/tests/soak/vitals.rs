//! What the system knows of a process.

use std::path::PathBuf;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

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

    /// The number that the next descriptor would have.
    pub(crate) fn next_descriptor(self) -> u64 {
        (0..).find(|number| !self.proc(&format!("fd/{number}")).is_symlink()).expect("a free number")
    }

    /// Lets it open descriptors below `most` alone; those that it has stay. Gives what was the limit until then.
    pub(crate) fn limit_descriptors(self, most: u64) -> u64 {
        let id = Pid::from_raw(i32::try_from(self.0).expect("an id of a process"));
        let limit = Rlimit { current: Some(most), maximum: rustix::process::getrlimit(Resource::Nofile).maximum };
        prlimit(id, Resource::Nofile, limit).expect("the process runs").current.expect("there is a limit")
    }
}
