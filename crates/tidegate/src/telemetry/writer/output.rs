//! Where lines go: a standard stream, or a file that is opened again when its name means another one.
//!
//! Writing blocks. A failure loses lines and is kept for the report; it never ends anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_config::valid::AccessOutput;

use crate::time;

/// Of a file that is created: its group may read, others may not, as paths tell of customers.
const MODE: u32 = 0o640;

/// Between two attempts to open an output. A disk may be mounted or emptied at any time.
const RETRY: Duration = Duration::from_secs(1);

/// Between two attempts to write to a stream that somebody else has set to non-blocking.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// The open output of a writer.
#[derive(Debug)]
pub(super) struct Output {
    target: AccessOutput,
    /// What is written to; from before the last change of `target` if that cannot be opened.
    open: Option<File>,
    /// `open` is not what `target` means now.
    stale: bool,
    retry_at: Option<Instant>,
    /// The last write ended within a line.
    torn: bool,
    failure: Option<io::Error>,
}

impl Output {
    /// Opens nothing yet.
    pub(super) fn new(target: AccessOutput) -> Self {
        Self { target, open: None, stale: true, retry_at: None, torn: false, failure: None }
    }

    /// For tests: something that is open.
    #[cfg(test)]
    pub(super) fn opened(file: File) -> Self {
        Self { open: Some(file), stale: false, ..Self::new(AccessOutput::Stdout) }
    }

    /// Goes on with `target` from the next [`Output::refresh`] on.
    pub(super) fn redirect(&mut self, target: AccessOutput) {
        if target != self.target {
            self.target = target;
            (self.stale, self.retry_at) = (true, None);
        }
    }

    /// Opens a file again at the next [`Output::refresh`].
    pub(super) fn reopen(&mut self) {
        if matches!(self.target, AccessOutput::File(_)) {
            (self.stale, self.retry_at) = (true, None);
        }
    }

    /// Opens what has to be opened. The old output stays until that has worked.
    pub(super) fn refresh(&mut self) {
        if !self.stale || self.retry_at.is_some_and(|at| time::now() < at) {
            return;
        }
        match open(&self.target) {
            Ok(file) => {
                // What was torn stays behind in the old file.
                let same = self.open.take().is_some_and(|old| is_same(&old, &file));
                self.torn &= same;
                (self.open, self.stale, self.retry_at) = (Some(file), false, None);
            }
            Err(error) => {
                self.retry_at = Some(time::now() + RETRY);
                self.failure = Some(error);
            }
        }
    }

    /// Writes whole lines. Gives the number of those that were not written to their end.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        match self.try_write(lines) {
            Ok(()) => 0,
            Err((rest, error)) => {
                self.torn |= is_torn(lines, rest);
                if let Some(error) = error {
                    self.failure = Some(error);
                    // The file may be gone for good, for example with its disk; what its name means now may work.
                    self.stale |= matches!(self.target, AccessOutput::File(_));
                    self.retry_at = Some(time::now() + RETRY);
                }
                u64::try_from(memchr::memchr_iter(b'\n', rest).count()).unwrap_or(u64::MAX)
            }
        }
    }

    /// The last failure since this was asked before.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// What is written to, for people.
    pub(super) fn name(&self) -> String {
        match &self.target {
            AccessOutput::Stdout => "stdout".to_owned(),
            AccessOutput::Stderr => "stderr".to_owned(),
            AccessOutput::File(path) => path.display().to_string(),
        }
    }

    /// The error is `None` where it is known already: nothing is open.
    fn try_write<'a>(&mut self, lines: &'a [u8]) -> Result<(), (&'a [u8], Option<io::Error>)> {
        let Some(file) = &mut self.open else { return Err((lines, None)) };
        if self.torn {
            // What was begun is lost; the next line begins on a line of its own.
            write_all(file, b"\n").map_err(|(_, error)| (lines, Some(error)))?;
            self.torn = false;
        }
        write_all(file, lines).map_err(|(rest, error)| (rest, Some(error)))
    }
}

/// As `Write::write_all`, but says what was not written, and waits for a stream that does not block.
fn write_all<'a>(file: &mut File, mut bytes: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err((bytes, io::ErrorKind::WriteZero.into())),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => thread::park_timeout(FULL_PAUSE),
                _ => return Err((bytes, error)),
            },
        }
    }
    Ok(())
}

/// True if what was written of `lines`, all but `rest`, ends within a line.
fn is_torn(lines: &[u8], rest: &[u8]) -> bool {
    let written = lines.strip_suffix(rest).unwrap_or_default();
    written.last().is_some_and(|last| *last != b'\n')
}

/// A standard stream is written to past the library's own buffer and lock, which others may hold.
fn open(target: &AccessOutput) -> io::Result<File> {
    match target {
        AccessOutput::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        AccessOutput::Stderr => io::stderr().as_fd().try_clone_to_owned().map(File::from),
        AccessOutput::File(path) => OpenOptions::new().append(true).create(true).mode(MODE).open(path),
    }
}

fn is_same(old: &File, new: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(old).is_some() && identity(old) == identity(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_torn_if_it_ends_within_a_line() {
        for (rest, torn) in [("", false), ("ab\ncd\n", false), ("cd\n", false), ("b\ncd\n", true), ("\n", true)] {
            assert_eq!(is_torn(b"ab\ncd\n", rest.as_bytes()), torn, "{rest:?}");
        }
    }

    #[test]
    fn after_a_torn_line_the_next_one_begins_on_its_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut output = Output { torn: true, ..Output::opened(file.reopen().unwrap()) };
        assert_eq!(output.write(b"a\n"), 0);
        assert_eq!(output.write(b"b\n"), 0);
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "\na\nb\n");
    }

    #[test]
    fn lines_that_were_not_written_to_their_end_are_lost() {
        let mut output = Output::opened(OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert_eq!(output.write(b"a\nb\nc\n"), 3);
        assert_eq!(output.take_failure().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(output.take_failure().is_none());
    }
}
