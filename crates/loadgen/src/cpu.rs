//! CPU time of another process: the figure that a shared machine does not blur.

use std::time::Duration;

use anyhow::Context as _;

/// Ticks per second in `/proc/*/stat`. The kernel fixes it for user space on every architecture that we run on.
///
/// Source: proc(5) and `USER_HZ` in the kernel's `asm-generic/param.h`.
const TICKS_PER_SECOND: u32 = 100;

/// User plus system time that a process has used so far, all threads together, in steps of 10 ms.
///
/// # Errors
/// The process is gone, or this is not Linux.
pub fn used(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    ticks(&stat)
        .map(|ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND)
        .with_context(|| format!("cannot understand {path}"))
}

/// Fields 14 and 15 of the line. Field 2 is the program's name and may hold spaces and parentheses, so counting
/// starts after its last `)`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_program_is_called() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 1100 234 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(1334));
        assert_eq!(ticks("12 (a) S 1 2"), None);
    }

    #[test]
    fn this_process_can_be_watched() {
        let before = used(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while used(std::process::id()).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(used(std::process::id()).unwrap() > before);
    }
}
