//! The program itself: its line when it is ready, its exit codes, its signals.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Started with these arguments; killed if a test fails half way.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_core-engine"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["CORE_ENGINE_CONFIG", "CORE_ENGINE_LISTEN", "CORE_ENGINE_REPLAY_DIRECTORY", "CORE_ENGINE_LOG"] {
            command.env_remove(name);
        }
        Self(command.spawn().unwrap())
    }

    /// Exit code, standard output, standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut output, mut error) = (String::new(), String::new());
        self.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        if let Some(mut rest) = self.0.stderr.take() {
            rest.read_to_string(&mut error).unwrap();
        }
        (self.0.wait().unwrap().code(), output, error)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_ends_well_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        // Even where nothing else is logged.
        let mut program = Program::start(&["--listen", "127.0.0.1:0", "--log-level", "error"]);
        let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines();
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&line["message"], &line["level"]), (&"ready".into(), &"INFO".into()));
        let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0);
        std::net::TcpStream::connect(address).unwrap();

        kill_process(Pid::from_child(&program.0), signal).unwrap();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        assert_eq!((program.end(), rest), ((Some(0), String::new(), String::new()), vec![]));
    }
}

#[test]
fn a_taken_port_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, output, error) = Program::start(&["--listen", &address, "--log-level", "error"]).end();
    assert_eq!((code, output), (Some(69), String::new()));
    assert_eq!(error, format!("core-engine: cannot listen on {address}: Address already in use (os error 98)\n"));
}

#[test]
fn bad_settings_are_78_and_good_ones_can_be_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("engine.yaml");
    let path = file.to_str().unwrap();
    for (text, code, error) in [
        ("default_source: simulator\n", 0, ""),
        ("default_source: nope\n", 78, "core-engine: default_source: must be one of the sources: replay, simulator\n"),
    ] {
        std::fs::write(&file, text).unwrap();
        let ended = Program::start(&["--check", "--config", path]).end();
        assert_eq!(ended, (Some(code), String::new(), error.to_owned()), "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    let (code, _, error) = Program::start(&["--check", "--config", path]).end();
    assert_eq!((code, error), (Some(78), format!("core-engine: {path}: No such file or directory (os error 2)\n")));
}

#[test]
fn an_unknown_option_is_2() {
    assert_eq!(Program::start(&["--nope"]).end().0, Some(2));
}
