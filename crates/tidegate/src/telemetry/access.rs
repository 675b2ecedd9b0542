//! The access log: one line for each request, formatted by its worker and written by a thread of its own.

mod line;

use std::io;
use std::time::Duration;

pub use line::AccessLine;
use tidegate_config::valid::{AccessLog, AccessOutput};

use super::writer::Writer;
use crate::ids::WorkerId;

/// Lines that wait for the writer, for each worker. At 450 bytes a line and 50,000 requests a second this is what a writer
/// that gets no processor for 45 ms leaves behind.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Takes the lines of all workers.
#[derive(Debug)]
pub struct AccessWriter {
    writer: Writer,
}

impl AccessWriter {
    /// Lines wait until [`AccessWriter::start`]; nothing is opened before it.
    #[must_use]
    pub fn new(workers: usize, output: AccessOutput) -> Self {
        Self { writer: Writer::new("writer", workers, MAX_WAITING_BYTES, output) }
    }

    /// Starts the thread that writes. A second call does nothing.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(&self) -> io::Result<()> {
        self.writer.start()
    }

    /// Takes a line, unless `settings` thin it out. Never waits for the output: if lines pile up, the line is counted as
    /// dropped. Called by the worker whose number it is.
    pub fn record(&self, worker: WorkerId, settings: &AccessLog, line: &AccessLine<'_>) {
        if line.is_kept(settings, fastrand::u32(..)) {
            self.writer.append(worker, |out| line.write(out));
        }
    }

    /// Lines that were lost since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// A file is closed and opened again by its name, after what is being written; no line is lost. Returns at once.
    pub fn reopen(&self) {
        self.writer.reopen();
    }

    /// The following lines go to `output`. If a file cannot be opened, the old output is kept and it is tried again.
    /// Returns at once.
    pub fn set_output(&self, output: AccessOutput) {
        self.writer.redirect(output);
    }

    /// Waits until everything recorded so far is written, but no longer than `within`. Blocks; true if it is.
    pub fn flush(&self, within: Duration) -> bool {
        self.writer.flush(within)
    }
}

#[cfg(test)]
mod tests;
