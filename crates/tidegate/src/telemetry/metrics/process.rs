//! What the system knows of this process, read from `/proc` and the cgroup. Parsing is apart from reading.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The unit of times in `/proc`: `USER_HZ`, 100 on every architecture that we build for.
const NANOS_PER_TICK: u64 = 1_000_000_000 / 100;

/// Levels of cgroups that are looked at; real hierarchies have fewer than ten.
const MAX_CGROUP_LEVELS: usize = 32;

/// One look at the process. What cannot be read is `None` and has no line on the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// User and system time.
    pub cpu_nanos: Option<u64>,
    /// Resident memory.
    pub resident_bytes: Option<u64>,
    /// Virtual memory.
    pub virtual_bytes: Option<u64>,
    /// The least `memory.max` of the process's cgroup and those above it, version 2, if any is a number.
    pub memory_limit_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// The soft limit on them; `None` if there is none.
    pub max_fds: Option<u64>,
    /// Start of the process in nanoseconds since 1970.
    pub started_unix_nanos: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl Process {
    /// Reads a few files of `/proc`, which takes some ten microseconds and never waits for a disk.
    #[must_use]
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let stat = Stat::parse(&read("/proc/self/stat")).unwrap_or_default();
        Self {
            cpu_nanos: stat.cpu_nanos,
            resident_bytes: resident(&read("/proc/self/status")),
            virtual_bytes: stat.virtual_bytes,
            memory_limit_bytes: memory_limit(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup")),
            open_fds: open_fds(),
            max_fds: max_fds(&read("/proc/self/limits")),
            started_unix_nanos: started(stat.start_nanos_since_boot),
            threads: stat.threads,
        }
    }
}

/// Resident memory, and the least limit of the cgroups, as in [`Process`]. For those who look often.
#[must_use]
pub fn memory() -> (Option<u64>, Option<u64>) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let limit = memory_limit(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
    (resident(&read("/proc/self/status")), limit)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stat {
    cpu_nanos: Option<u64>,
    threads: Option<u64>,
    start_nanos_since_boot: Option<u64>,
    virtual_bytes: Option<u64>,
}

impl Stat {
    /// Source: proc(5), `/proc/pid/stat`. The name of the program stands in parentheses and may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        // The first one is field 3, the state.
        let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let ticks = |ticks: u64| ticks.saturating_mul(NANOS_PER_TICK);
        Some(Self {
            cpu_nanos: field(14).zip(field(15)).map(|(user, system)| ticks(user.saturating_add(system))),
            threads: field(20),
            start_nanos_since_boot: field(22).map(ticks),
            virtual_bytes: field(23),
        })
    }
}

/// From `/proc/self/status`: there it is in kilobytes, in `stat` in pages of an unknown size.
fn resident(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

fn max_fds(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Since Linux 6.2 the size of the folder is the number of its entries; before it is 0 and they have to be counted.
fn open_fds() -> Option<u64> {
    let folder = "/proc/self/fd";
    let size = fs::metadata(folder).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // One entry is the folder that is being read.
    u64::try_from(fs::read_dir(folder).ok()?.count().saturating_sub(1)).ok()
}

/// Read once: it cannot change, and `/proc/stat` is slow on machines with many processors.
fn started(since_boot: Option<u64>) -> Option<u64> {
    static BOOT_SECONDS: OnceLock<Option<u64>> = OnceLock::new();
    let boot = BOOT_SECONDS.get_or_init(|| boot_seconds(&fs::read_to_string("/proc/stat").unwrap_or_default()));
    Some(boot.as_ref()?.saturating_mul(1_000_000_000).saturating_add(since_boot?))
}

fn boot_seconds(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|seconds| seconds.trim().parse().ok())
}

/// `cgroup` is the text of `/proc/self/cgroup`, `root` where version 2 is mounted.
fn memory_limit(root: &Path, cgroup: &str) -> Option<u64> {
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // In a container the path may lead out of what is mounted; then only the root is there.
    let own = if own.split('/').any(|part| part == "..") { "" } else { own };
    let own: PathBuf = root.join(own);
    let levels = own.ancestors().take(MAX_CGROUP_LEVELS).take_while(|level| level.starts_with(root));
    levels.filter_map(|level| fs::read_to_string(level.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_understood() {
        let text =
            "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 7 0 1234 8192000 300 18446744073709551615 1";
        let stat = Stat {
            cpu_nanos: Some(2_000_000_000),
            threads: Some(7),
            start_nanos_since_boot: Some(12_340_000_000),
            virtual_bytes: Some(8_192_000),
        };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("42 (a) S 1"), Some(Stat::default()));
        assert_eq!(Stat::parse(""), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1024 kB\n"), Some(1_048_576));
        assert_eq!(resident("Name:\tx\n"), None);
        let limits = "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024      524288    files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(max_fds(&limits.replace("1024", "unlimited")), None);
        assert_eq!(boot_seconds("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }

    #[test]
    fn the_least_limit_of_the_cgroups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            fs::create_dir_all(folder.path().join(path)).unwrap();
            fs::write(folder.path().join(path).join("memory.max"), text).unwrap();
        };
        assert_eq!(memory_limit(folder.path(), "0::/a/b\n"), None);
        write("a/b", "max\n");
        assert_eq!(memory_limit(folder.path(), "0::/a/b\n"), None);
        write("a", "1000\n");
        write("a/b", "2000\n");
        write("", "500\n");
        assert_eq!(memory_limit(folder.path(), "1:cpu:/x\n0::/a/b\n"), Some(500));
        assert_eq!(memory_limit(folder.path(), "0::/../elsewhere\n"), Some(500));
        assert_eq!(memory_limit(folder.path(), "4:memory:/a\n"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
        assert!(process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.threads.is_some_and(|threads| threads >= 1), "{process:?}");
        assert!(process.open_fds.is_some_and(|open| open >= 3), "{process:?}");
        let age = crate::time::unix_ms() - process.started_unix_nanos.unwrap() / 1_000_000;
        assert!(age < 24 * 3_600_000, "{process:?}");
    }
}
