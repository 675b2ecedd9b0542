//! Backends that are processes, so that they can be killed, stopped and started again.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::BINARY;

/// Some backends, each with an address and a book that outlive its process.
pub(crate) struct Backends {
    folder: TempDir,
    places: Vec<Place>,
    arguments: Vec<&'static str>,
}

struct Place {
    address: SocketAddr,
    running: Option<Child>,
}

impl Backends {
    /// Starts `count` of them with `arguments` of `web-backend`.
    pub(crate) fn start(count: usize, arguments: &[&'static str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut backends = Self { folder, places: Vec::new(), arguments: arguments.to_vec() };
        for index in 0..count {
            backends.places.push(Place { address: ([127, 0, 0, 1], 0).into(), running: None });
            backends.restart(index);
        }
        backends
    }

    /// Where each listens, as `endpoints` of a service.
    pub(crate) fn endpoints(&self) -> String {
        let quoted: Vec<_> = self.places.iter().map(|place| format!("\"http://{}\"", place.address)).collect();
        format!("[{}]", quoted.join(", "))
    }

    /// With `arguments` from the next start on.
    pub(crate) fn change(&mut self, arguments: &[&'static str]) {
        self.arguments = arguments.to_vec();
    }

    /// Starts one that does not run, where it was before.
    pub(crate) fn restart(&mut self, index: usize) {
        let book = self.book(index);
        let place = &mut self.places[index];
        let program = Path::new(BINARY).with_file_name("web-backend");
        let mut command = Command::new(&program);
        command.args(["--listen", &place.address.to_string()]).arg("--book").arg(book).args(&self.arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| {
            panic!("{}: {error}; `make soak` builds it", program.display());
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it speaks");
        let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it does not listen: {line}"));
        place.address = address.parse().expect("an address");
        place.running = Some(child);
    }

    /// Ends one at once, whatever it does.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.places[index].running.take() {
            child.kill().expect("it runs");
            child.wait().expect("a child can be waited for");
        }
    }

    pub(crate) fn kill_all(&mut self) {
        (0..self.places.len()).for_each(|index| self.kill(index));
    }

    pub(crate) fn restart_all(&mut self) {
        (0..self.places.len()).for_each(|index| self.restart(index));
    }

    /// It keeps its connections and its port, and does nothing.
    pub(crate) fn stop(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn go_on(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let id = self.places[index].running.as_ref().expect("it runs").id();
        let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("an id of a process");
        kill_process(id, signal).expect("it runs");
    }

    fn book(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("book-{index}"))
    }

    /// Everything that reached any of them: method and id.
    pub(crate) fn received(&self) -> Vec<(String, u64)> {
        let books = (0..self.places.len()).map(|index| std::fs::read_to_string(self.book(index)).expect("a book"));
        let lines = |book: String| -> Vec<(String, u64)> {
            let split = |line: &str| {
                let (method, id) = line.split_once(' ').expect("a method and an id");
                (method.to_owned(), id.parse().expect("a number"))
            };
            book.lines().map(split).collect()
        };
        books.flat_map(lines).collect()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        for place in &mut self.places {
            if let Some(child) = &mut place.running {
                // Only its own children, and whether they run still does not matter.
                let _ended = child.kill();
                let _gone = child.wait();
            }
        }
    }
}
