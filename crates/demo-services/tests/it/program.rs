//! The program itself: its lines when it is ready, its options, its exit codes, its signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Started with these arguments; killed if a test fails half way.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["DATA", "ADDRESS", "TOKEN_SECRET", "LOG"] {
            command.env_remove(format!("DEMO_SERVICES_{name}"));
        }
        Self(command.spawn().unwrap())
    }

    /// Exit code and standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let mut error = String::new();
        if let Some(mut rest) = self.0.stderr.take() {
            rest.read_to_string(&mut error).unwrap();
        }
        (self.0.wait().unwrap().code(), error)
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
        let mut program =
            Program::start(&["--listen-base", "0", "--only", "wallet-service,orders", "--log-level", "error"]);
        let lines = BufReader::new(program.0.stderr.take().unwrap()).lines();
        let mut lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
        let secret = lines.next().unwrap();
        assert_eq!(secret["token_secret"].as_str().unwrap().len(), 43);
        for service in ["orders", "wallet-service"] {
            let line = lines.next().unwrap();
            assert_eq!((&line["message"], &line["service"]), (&"listening".into(), &service.into()));
            let address: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
            assert!(address.ip().is_loopback() && address.port() != 0);
            TcpStream::connect(address).unwrap();
        }
        let ready = lines.next().unwrap();
        assert_eq!((&ready["message"], &ready["services"]), (&"ready".into(), &2.into()));

        kill_process(Pid::from_child(&program.0), signal).unwrap();
        assert_eq!(lines.count(), 0);
        assert_eq!(program.end().0, Some(0));
    }
}

/// One request, and everything that comes back.
fn call(address: SocketAddr, line: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = "host: x\r\nconnection: close\r\ncontent-type: application/json";
    write!(stream, "{line} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_was_answered_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for round in 0..3 {
        let arguments = ["--only", "configuration", "--listen-base", "0", "--data", data, "--log-level", "error"];
        let mut program = Program::start(&arguments);
        let mut lines = BufReader::new(program.0.stderr.take().unwrap()).lines();
        let address = loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if let Some(address) = line["address"].as_str() {
                break address.parse().unwrap();
            }
        };
        for before in 0..round {
            let found = call(address, &format!("GET /api/v1/config/round-{before}"), "");
            assert!(found.starts_with("HTTP/1.1 200 "), "{found}");
        }
        let entry = format!("{{\"key\":\"round-{round}\",\"value\":1}}");
        let created = call(address, "POST /api/v1/config", &entry);
        assert!(created.starts_with("HTTP/1.1 201 "), "{created}");
        kill_process(Pid::from_child(&program.0), Signal::KILL).unwrap();
        assert_eq!(program.end().0, None);
    }
}

#[test]
fn a_taken_port_and_a_taken_folder_are_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = format!("risk={}", address.port());
    let (code, error) = Program::start(&["--only", "risk", "--port", &port, "--log-level", "error"]).end();
    assert_eq!(code, Some(69));
    let expected =
        format!("demo-services: cannot listen on {address} for risk: Address already in use (os error 98)\n");
    assert_eq!(error, expected);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let folder = file.to_str().unwrap();
    let secret = "0123456789abcdef0123456789abcdef";
    let program = Program::start(&["--listen-base", "0", "--data", folder, "--token-secret", secret]);
    let (code, error) = program.end();
    assert_eq!(code, Some(69), "{error}");
    assert!(error.starts_with(&format!("demo-services: {folder}: ")), "{error}");
}

#[test]
fn options_that_make_no_sense_are_2() {
    for arguments in [
        &["--nope"][..],
        &["--only", "nope"],
        &["--port", "orders"],
        &["--port", "orders=x"],
        &["--token-secret", "short"],
        &["--data", "x", "--in-memory"],
        &["--listen-base", "65530"],
    ] {
        let (code, error) = Program::start(arguments).end();
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
    }
}
