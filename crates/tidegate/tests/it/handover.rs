//! One program takes over from another while clients go on.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;
use tidegate_testkit::client::{Http1, Http2};
use tidegate_testkit::{Peer, Program, Script, eventually, get, shop};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

const PING: &str = "routes: [{ name: ping, path: /ping, respond: { text: pong } }]\n";

fn start(yaml: &str, path: &Path) -> Program {
    Program::run_with(BINARY, yaml, &["--handover", path.to_str().unwrap()])
}

/// Waits until the next program can take over from `program`.
async fn offers(path: &Path) {
    eventually("a socket for successors", || async { std::os::unix::net::UnixStream::connect(path).is_ok() }).await;
}

async fn admin_address(program: &mut Program) -> SocketAddr {
    let line: serde_json::Value = serde_json::from_str(&program.logged("\"admin API\"").await).unwrap();
    line["address"].as_str().unwrap().parse().unwrap()
}

/// Clients that never stop asking: half of them connect anew for each request, half keep their connection until they
/// are told to close it. Every request has to be answered.
struct Clients {
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Clients {
    fn start(address: SocketAddr, count: usize) -> Self {
        let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let client = |index: usize| {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            tokio::spawn(async move {
                let keeps = index.is_multiple_of(2);
                let mut connection = Http1::connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.send(&get("/ping")).await;
                    assert_eq!((answer.status, answer.text()), (200, "pong"));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if !keeps || answer.headers.get("connection").is_some_and(|value| value == "close") {
                        connection = Http1::connect(address).await;
                    }
                    // Leaves the processor to the programs.
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            })
        };
        let tasks = (0..count).map(client).collect();
        Self { answered, stop, tasks }
    }

    /// Waits for `count` more answers.
    async fn answered(&self, count: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + count;
        eventually("more answers", || async {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a client has failed");
            self.answered.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn five_upgrades_under_load_lose_no_request() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handover");
    let with_admin = format!("admin: {{ address: \"127.0.0.1:0\" }}\n{PING}");
    let mut present = start(&with_admin, &path);
    let address = present.listener("main").await;
    let admin = admin_address(&mut present).await;
    offers(&path).await;
    let clients = Clients::start(address, 8);
    clients.answered(50).await;
    for runtime in
        ["{ workers: 3 }", "{ workers: 1 }", "{ workers: 4 }", "{ workers: 2, model: shared }", "{ workers: 2 }"]
    {
        let mut next = start(&format!("runtime: {runtime}\n{with_admin}"), &path);
        assert_eq!(next.listener("main").await, address, "{}", next.log());
        assert_eq!(admin_address(&mut next).await, admin);
        next.logged("took over").await;
        clients.answered(50).await;
        assert_eq!(present.code().await, 0, "{}", present.log());
        clients.answered(50).await;
        let asked = get("/health/liveness").header("host", &admin.to_string());
        assert_eq!(Http1::connect(admin).await.send(&asked).await.status, 200);
        present = next;
        offers(&path).await;
    }
    clients.stop().await;
    present.terminate();
    assert_eq!(present.code().await, 0, "{}", present.log());
}

#[tokio::test]
async fn a_successor_that_cannot_start_leaves_everything_as_it_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handover");
    let mut present = start(PING, &path);
    let address = present.listener("main").await;
    offers(&path).await;
    let clients = Clients::start(address, 4);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = format!(
        "listeners: [{{ name: main, address: \"127.0.0.1:0\" }}, {{ name: other, address: \"{}\" }}]\n",
        taken.local_addr().unwrap()
    );
    for (yaml, code) in [(format!("{listeners}{PING}"), 69), ("nothing: 1\n".to_owned(), 78)] {
        let mut failed = start(&yaml, &path);
        assert_eq!(failed.code().await, code, "{}", failed.log());
        clients.answered(50).await;
    }
    let mut next = start(PING, &path);
    next.logged("took over").await;
    assert_eq!(present.code().await, 0, "{}", present.log());
    clients.answered(50).await;
    clients.stop().await;
}

#[tokio::test]
async fn what_runs_in_the_old_program_is_finished_there() {
    let mut peer = Peer::with("GetOrder", Script::new().hold().message(shop::order()).status(0, "")).await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("handover");
    // The old one does not wait to be noticed: clients are with the new one already.
    let yaml = shop::config(peer.address(), "drain: { readiness_delay: 60s, timeout: 60s }");
    let mut old = start(&yaml, &path);
    let address = old.listener("main").await;
    offers(&path).await;
    let mut http1 = Http1::connect(address).await;
    http1.write("GET /v1/orders/7 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    peer.call().await;
    let mut http2 = Http2::connect(address).await;
    let mut stream = http2.start(&get("/v1/orders/7"), true).await;
    peer.call().await;
    let mut new = start(&yaml, &path);
    new.logged("took over").await;
    old.logged("draining").await;
    // Until the old one has seen that it drains it may still take a connection.
    eventually("the new one answers", || async {
        Http1::connect(address).await.send(&get("/health/readiness")).await.status == 200
    })
    .await;
    peer.release(2);
    let answer = http1.answer().await;
    assert_eq!((answer.status, answer.text()), (200, shop::ORDER_JSON));
    assert_eq!(stream.answer().await.text(), shop::ORDER_JSON);
    drop(http2);
    assert_eq!(old.code().await, 0, "{}", old.log());
}
