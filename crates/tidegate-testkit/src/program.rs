//! The gateway as a program: real arguments, signals and exit codes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use crate::{PATIENCE, gateway, shop, soon};

/// A running gateway. It is killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: watch::Receiver<Arc<Vec<String>>>,
    folder: TempDir,
}

/// What a command has printed, and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Program {
    /// Runs `binary run -c tidegate.yaml` with [`gateway::complete`]d YAML in a folder of its own.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run(binary: &str, yaml: &str) -> Self {
        Self::run_with(binary, yaml, &[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run_with(binary: &str, yaml: &str, arguments: &[&str]) -> Self {
        Self::run_in(binary, folder(yaml), "tidegate.yaml", arguments)
    }

    /// The same with what `change` does to the command: its environment, its standard output (which is thrown away
    /// otherwise), its standard error (which is [`Program::log`] otherwise).
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run_changed(binary: &str, yaml: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = folder(yaml);
        let mut command = command(binary, folder.path());
        command.args(["run", "-c", "tidegate.yaml"]).stdout(Stdio::null());
        change(&mut command);
        Self::spawn(command, folder)
    }

    /// The same in a folder that has its files already; `config` is the main one.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run_in(binary: &str, folder: TempDir, config: &str, arguments: &[&str]) -> Self {
        let mut command = command(binary, folder.path());
        command.args(["run", "-c", config]).args(arguments).stdout(Stdio::null());
        Self::spawn(command, folder)
    }

    /// Has a shell start it: `script` ends with `exec "$0" run -c tidegate.yaml`, and `stdin` is its standard input.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn run_by_shell(binary: &str, yaml: &str, script: &str, stdin: impl Into<Stdio>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        shop::write_files(folder.path());
        std::fs::write(folder.path().join("tidegate.yaml"), gateway::complete(yaml)).expect("a file");
        let mut command = command("/bin/sh", folder.path());
        command.args(["-c", script, binary]).stdin(stdin).stdout(Stdio::null());
        Self::spawn(command, folder)
    }

    fn spawn(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let (writing, log) = watch::channel(Arc::new(Vec::new()));
        // A test may have sent it elsewhere.
        if let Some(stderr) = child.stderr.take() {
            let mut lines = BufReader::new(stderr).lines();
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    writing.send_modify(|log: &mut Arc<Vec<String>>| Arc::make_mut(log).push(line));
                }
            });
        }
        Self { child, log, folder }
    }

    /// The same with the configuration on standard input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn run_with_input(binary: &str, folder: TempDir, yaml: &str) -> Self {
        let mut program = Self::run_in(binary, folder, "-", &[]);
        let mut stdin = program.child.stdin.take().expect("standard input is piped");
        stdin.write_all(yaml.as_bytes()).await.expect("the program reads its input");
        program
    }

    /// The real address of the listener `name`, as the log tells it.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn listener(&mut self, name: &str) -> SocketAddr {
        let line = self.logged(&format!("\"listener\":\"{name}\"")).await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
        line["address"].as_str().expect("an address").parse().expect("an address")
    }

    /// The real address of the admin API, as the log tells it.
    ///
    /// # Panics
    /// If there is none.
    pub async fn admin(&mut self) -> SocketAddr {
        let line = self.logged("\"msg\":\"admin API\"").await;
        let line: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
        line["address"].as_str().expect("an address").parse().expect("an address")
    }

    /// The first line of the log that contains `text`, once it is there.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn logged(&mut self, text: &str) -> String {
        let has = |log: &Arc<Vec<String>>| log.iter().any(|line| line.contains(text));
        let found = tokio::time::timeout(PATIENCE, self.log.wait_for(has)).await.is_ok_and(|found| found.is_ok());
        assert!(found, "the program has not said {text:?}:\n{}", self.log());
        self.log.borrow().iter().find(|line| line.contains(text)).cloned().unwrap_or_default()
    }

    /// Everything that it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.borrow().join("\n")
    }

    /// Sends TERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends HUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends USR1.
    pub fn rotate(&self) {
        self.signal(Signal::USR1);
    }

    /// Its standard output, if it is piped and was not taken before.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended and was waited for.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("the program runs")
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("an id of a process"), signal).expect("the program runs");
    }

    /// Waits for its end, and for that of what it has logged.
    ///
    /// # Panics
    /// If it does not end by itself.
    pub async fn code(&mut self) -> i32 {
        let status = soon(self.child.wait()).await.expect("a child can be waited for");
        // The pipe may hold lines that nobody has read yet.
        soon(async { while self.log.changed().await.is_ok() {} }).await;
        code(status)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Runs `binary` with `arguments` in `folder` to its end; `input` is its standard input.
///
/// # Panics
/// If it cannot be started or does not end.
pub async fn output(binary: &str, folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(binary, folder).args(arguments).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // A program that does not read its input is fine.
    let _unread = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = soon(child.wait_with_output()).await.expect("a child can be waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints text");
    Output { code: code(output.status), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// One with the files of the shop and `tidegate.yaml`.
fn folder(yaml: &str) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    shop::write_files(folder.path());
    std::fs::write(folder.path().join("tidegate.yaml"), gateway::complete(yaml)).expect("a file");
    folder
}

/// In `folder`, with nothing of the environment but what the program needs, and its state in the folder.
fn command(binary: &str, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(folder).env_clear().env("XDG_STATE_HOME", folder.join("state-home")).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// As a shell gives it: 128 and the number for a signal.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}
