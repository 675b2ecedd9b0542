//! What a service manager gives the program, and what it hears from it.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use tempfile::TempDir;
use tidegate_testkit::client::Http1;
use tidegate_testkit::{Program, get, soon};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

const PING: &str = "routes: [{ name: ping, path: /ping, respond: { text: pong } }]\n";

/// Passes its standard input as descriptor 3, as a service manager would.
fn activated(socket: impl Into<OwnedFd>, name: &str, yaml: &str) -> Program {
    let script = format!(
        "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; exec \"$0\" run -c tidegate.yaml"
    );
    Program::run_by_shell(BINARY, yaml, &script, Stdio::from(socket.into()))
}

#[tokio::test]
async fn a_passed_socket_is_the_listener_of_its_name_and_outlives_the_program() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    // The configured address is taken, which does not matter, as it is not bound.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = format!(
        "listeners: [{{ name: other, address: \"127.0.0.1:0\" }}, {{ name: main, address: \"{}\" }}]\n",
        taken.local_addr().unwrap()
    );
    for name in ["main", "main"] {
        // Waits in the queue until the program is there: nobody is refused between two of them.
        let mut early = Http1::connect(address).await;
        early.write("GET /ping HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut program = activated(passed.try_clone().unwrap(), name, &format!("{listeners}{PING}"));
        assert_eq!(program.listener("main").await, address);
        assert_eq!(early.answer().await.text(), "pong");
        assert_eq!(Http1::connect(address).await.send(&get("/ping")).await.text(), "pong");
        assert_ne!(program.listener("other").await, address);
        program.terminate();
        assert_eq!(program.code().await, 0, "{}", program.log());
    }
}

#[tokio::test]
async fn a_passed_socket_without_a_name_is_found_by_its_address() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let yaml = format!("listeners: [{{ name: main, address: \"{address}\" }}]\n{PING}");
    let mut program = activated(passed, "tidegate.socket", &yaml);
    assert_eq!(program.listener("main").await, address);
    assert_eq!(Http1::connect(address).await.send(&get("/ping")).await.text(), "pong");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn a_passed_socket_comes_back_with_its_listener() {
    let passed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = passed.local_addr().unwrap();
    let other_line = "{ name: other, address: \"127.0.0.1:0\" }";
    let both = format!("listeners: [{other_line}, {{ name: main, address: \"{address}\" }}]\n{PING}");
    let mut program = activated(passed.try_clone().unwrap(), "main", &both);
    program.listener("main").await;
    let other = program.listener("other").await;
    let reload = async |program: &mut Program, yaml: &str, told: &str| {
        std::fs::write(
            program.folder().join("tidegate.yaml"),
            format!("version: 1\nruntime: {{ workers: 2 }}\ndrain: {{ readiness_delay: 0s }}\n{yaml}"),
        )
        .unwrap();
        program.hang_up();
        program.logged(told).await
    };
    reload(&mut program, &format!("listeners: [{other_line}]\n{PING}"), "1 listener removed (main)").await;
    // Waits until the listener is back.
    let mut early = Http1::connect(address).await;
    early.write("GET /ping HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(Http1::connect(other).await.send(&get("/ping")).await.text(), "pong");
    reload(&mut program, &both, "1 listener added (main)").await;
    assert_eq!(early.answer().await.text(), "pong");
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
}

#[tokio::test]
async fn something_else_than_a_listening_socket_is_69() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut program = activated(udp, "main", PING);
    assert_eq!(program.code().await, 69);
    program.logged("inherited descriptor \\\"main\\\" is not a listening TCP socket").await;
    // Meant for another process: not looked at.
    let script = "export LISTEN_PID=1 LISTEN_FDS=1; exec \"$0\" run -c tidegate.yaml";
    let mut program = Program::run_by_shell(BINARY, PING, script, Stdio::null());
    program.listener("main").await;
    program.terminate();
    assert_eq!(program.code().await, 0);
}

#[tokio::test]
async fn the_manager_hears_when_the_program_serves_reloads_and_stops() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let manager = tokio::net::UnixDatagram::from_std(manager).unwrap();
    let script = format!("export NOTIFY_SOCKET={}; exec \"$0\" run -c tidegate.yaml", path.display());
    let mut program = Program::run_by_shell(BINARY, PING, &script, Stdio::null());
    let hear = async || {
        let mut buffer = [0; 1024];
        let size = soon(manager.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..size]).into_owned()
    };
    assert!(hear().await.starts_with("READY=1\n"));
    let address = program.listener("main").await;
    assert_eq!(Http1::connect(address).await.send(&get("/ping")).await.status, 200);
    program.hang_up();
    assert!(hear().await.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(hear().await.starts_with("READY=1\n"));
    program.terminate();
    assert!(hear().await.starts_with("STOPPING=1\n"));
    assert_eq!(program.code().await, 0, "{}", program.log());
}
