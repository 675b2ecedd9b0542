//! Files that are mounts of their own: when whoever mounted them writes a new version, it never shows.
//!
//! Kubernetes does that for `subPath`, Docker for `-v file:file`: both bind the inode of the file, and a new version is
//! a new inode.

use std::path::{Path, PathBuf};

/// Where Linux lists the mounts of this process.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Which of `files` are mount points. None where the system does not tell.
pub(super) fn mounted<'a>(files: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let Ok(text) = std::fs::read_to_string(MOUNTS) else { return Vec::new() };
    let points = points(&text);
    let is_point = |file: &&str| Path::new(file).canonicalize().is_ok_and(|path| points.contains(&path));
    files.filter(is_point).collect()
}

/// The mount points, which are the fifth field of each line, with spaces and the like as three octal digits.
///
/// Source: proc_pid_mountinfo(5).
fn points(text: &str) -> Vec<PathBuf> {
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescaped(field))).collect()
}

fn unescaped(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                out.push(char::from(code));
                out.push_str(rest);
            }
            _ => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                    36 22 8:1 /pods/x/tidegate.yaml /etc/tidegate/tidegate.yaml ro - ext4 /dev/sda1 rw\n\
                    37 22 0:5 / /mnt/a\\040b\\134c rw - tmpfs tmpfs rw\nbroken\n";
        let expected = ["/", "/etc/tidegate/tidegate.yaml", "/mnt/a b\\c"].map(PathBuf::from);
        assert_eq!(points(text), expected);
    }

    #[test]
    fn an_ordinary_file_is_no_mount() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().to_str().unwrap();
        assert!(mounted([name, "/nowhere"].into_iter()).is_empty());
        assert_eq!(mounted(["/proc"].into_iter()), ["/proc"]);
    }
}
