//! The program itself: its line when it is ready, its exit codes, its signals.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use protos::core_engine::v1 as pb;
use protos::core_engine::v1::core_engine_client::CoreEngineClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;

const VARIABLES: [&str; 8] = [
    "CORE_ENGINE_CONFIG",
    "CORE_ENGINE_DEFAULT_SOURCE",
    "CORE_ENGINE_LISTEN",
    "CORE_ENGINE_LOG",
    "CORE_ENGINE_METRICS",
    "CORE_ENGINE_REPLAY_DIRECTORY",
    "CORE_ENGINE_SET",
    "CORE_ENGINE_STORE",
];

/// Started with these arguments; killed if a test fails half way.
struct Program(Child);

impl Program {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_core-engine"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
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

/// An engine that keeps its bars in `store`, under load, and its address.
fn under_load(store: &str) -> (Program, SocketAddr) {
    let mut program = Program::start(&[
        "--listen",
        "127.0.0.1:0",
        "--store",
        store,
        "--set",
        "sources.simulator.type=simulator;sources.simulator.connect=true;\
         sources.simulator.config.symbols=A=5,B=7,C=9,D=11;sources.simulator.config.ticks_per_second=1000",
    ]);
    let ready = ready(&mut program);
    (program, ready)
}

/// Where it listens. Nobody reads further, but the pipe has room for what an engine says in some seconds.
fn ready(program: &mut Program) -> SocketAddr {
    let mut lines = BufReader::new(program.0.stderr.as_mut().unwrap()).lines();
    let ready = lines.find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_ne!(line["level"], "ERROR", "{line}");
        line["address"].as_str().map(|address| address.parse().unwrap())
    });
    ready.unwrap()
}

async fn client(address: SocketAddr) -> CoreEngineClient<Channel> {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    CoreEngineClient::new(channel)
}

/// Bars of a second, by their start: what they closed with, their volume and their trades.
async fn seconds(client: &mut CoreEngineClient<Channel>) -> BTreeMap<i64, (String, String, String)> {
    let request =
        pb::GetBarsRequest { symbol: "A".into(), interval: "1s".into(), limit: Some(1000), ..Default::default() };
    let bars = client.get_bars(request).await.unwrap().into_inner().bars;
    let shown = |bar: pb::MarketData| {
        let trades = bar.additional_data["trades"].clone();
        (bar.timestamp.unwrap().seconds, (bar.price, bar.volume, trades))
    };
    bars.into_iter().map(shown).collect()
}

/// At the moment of the death a second runs, its bar is in memory alone, and the one before may be on its way to the
/// disk: those two may be lost or incomplete. All others must be there as they were.
#[tokio::test]
async fn an_engine_that_is_killed_loses_a_second_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("engine.redb");
    let store = store.to_str().unwrap();
    let mut known = BTreeMap::new();
    for _ in 0..3 {
        let (mut program, address) = under_load(store);
        let mut engine = client(address).await;
        let again = seconds(&mut engine).await;
        for (start, bar) in &known {
            assert_eq!(again.get(start), Some(bar), "the bar of {start}");
        }
        let longer = known.len() + 4;
        let before = loop {
            let bars = seconds(&mut engine).await;
            if bars.len() >= longer {
                break bars;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        program.0.kill().unwrap();
        program.0.wait().unwrap();
        let newest = *before.keys().next_back().unwrap();
        known = before.into_iter().filter(|(start, _)| *start < newest - 1).collect();
    }
}

const CHART: &str = r#"{"chart":{"result":[{"meta":{"symbol":"ACME"},"timestamp":[1764340200],"indicators":{"quote":[
    {"open":[1.5],"high":[2],"low":[1],"close":[1.75],"volume":[10]}]}}],"error":null}}"#;
const TRADE: &str = r#"{"data":{"e":"trade","s":"BTCUSDT","t":1,"p":"64000.5","q":"2","T":1764340200000,"m":true}}"#;

/// An HTTPS and a secure WebSocket server behind one certificate, which is also its own root, in PEM.
async fn secure_server() -> (u16, String, tokio::task::JoinSet<()>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut socket) = acceptor.accept(socket).await else { return };
                let mut head = [0; 4096];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                let Some(key) = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")) else {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{CHART}", CHART.len());
                    let _ = socket.write_all(answer.as_bytes()).await;
                    return;
                };
                let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
                let answer = format!(
                    "HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                     sec-websocket-accept: {accept}\r\n\r\n"
                );
                let _ = socket.write_all(answer.as_bytes()).await;
                // One text frame; its length is below 126.
                let frame = [&[0x81, u8::try_from(TRADE.len()).unwrap()], TRADE.as_bytes()].concat();
                let _ = socket.write_all(&frame).await;
                std::future::pending::<()>().await;
            });
        }
    });
    (port, cert.pem(), serving)
}

async fn received(client: &mut CoreEngineClient<Channel>, source_id: &str) -> pb::SourceStats {
    let request = pb::GetIngestionStatsRequest { source_id: source_id.to_owned() };
    client.get_ingestion_stats(request).await.unwrap().into_inner().sources.remove(0)
}

#[tokio::test]
async fn servers_are_reached_over_tls_if_their_root_is_known() {
    let (port, root, _serving) = secure_server().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    let (good, bad) = (root, rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap().cert.pem());
    let sources = format!(
        "sources.simulator.type=simulator;sources.y.type=yahoo_finance;sources.y.connect=true;\
         sources.y.config.url=https://localhost:{port};sources.y.config.session=false;sources.y.config.symbols=ACME;\
         sources.b.type=binance;sources.b.connect=true;sources.b.config.url=wss://localhost:{port}/stream;\
         sources.b.config.rest_url="
    );
    for (root, known) in [(good, true), (bad, false)] {
        std::fs::write(&file, root).unwrap();
        let variables = [("SSL_CERT_FILE", file.to_str().unwrap()), ("SSL_CERT_DIR", "")];
        let mut program = Program::start_with(&["--listen", "127.0.0.1:0", "--set", &sources], &variables);
        let mut client = client(ready(&mut program)).await;
        for source in ["y", "b"] {
            loop {
                let stats = received(&mut client, source).await;
                assert!(stats.received == 0 || known, "{stats:?}");
                if stats.received > 0 || (!known && stats.errors_by_kind.contains_key("unavailable")) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

#[test]
fn a_store_that_is_none_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("engine.redb");
    std::fs::write(&store, "my letters").unwrap();
    let (code, _, error) =
        Program::start(&["--listen", "127.0.0.1:0", "--log-level", "error", "--store", store.to_str().unwrap()]).end();
    assert_eq!(code, Some(1));
    assert!(error.contains("is not a store of this engine; it was left as it is"), "{error}");
    assert_eq!(std::fs::read_to_string(&store).unwrap(), "my letters");
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
