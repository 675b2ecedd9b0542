//! One process takes over from another; here both are this one.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::*;
use crate::listen::handover::{HandoverError, Replaced, Upgrade};

/// A gateway with as many workers as told, which hands over at `path` and takes over from there.
struct Generation {
    control: Arc<Control>,
    workers: Vec<tokio::task::JoinHandle<std::io::Result<()>>>,
    /// Ends when it has to drain.
    replaced: tokio::task::JoinHandle<Replaced>,
}

async fn begin(path: &Path) -> Result<(Upgrade, Inherited), HandoverError> {
    let path = path.to_owned();
    // Blocks, while the predecessor answers on this thread.
    tokio::task::spawn_blocking(move || Upgrade::begin(Some(&path), Inherited::default())).await.unwrap()
}

impl Generation {
    async fn start(path: &Path, workers: usize) -> Self {
        let (upgrade, inherited) = begin(path).await.unwrap();
        let options = BindOptions { workers, inherited, ..BindOptions::default() };
        let mut listeners = Listeners::bind(vec![settings(&BOTH)], &options).unwrap();
        let control = listeners.control();
        let scripted = Arc::new(Scripted::default());
        let ids = (0..u16::try_from(workers).unwrap()).map(WorkerId::new);
        let parts: Vec<_> = ids.map(|id| listeners.take(id).unwrap()).collect();
        let workers = parts.into_iter().map(|part| tokio::spawn(part.run(Arc::clone(&scripted)))).collect();
        let held = Arc::clone(&control);
        let replaced = tokio::spawn(async move { upgrade.run(&held, || true).await });
        Self { control, workers, replaced }
    }

    fn address(&self) -> SocketAddr {
        self.control.listeners()[0].address
    }

    /// Ends as a process does that was replaced.
    async fn replaced(self) {
        assert_eq!(self.replaced.await.unwrap(), Replaced::BySuccessor);
        self.control.drain();
        self.control.drained(crate::time::now() + Duration::from_secs(5)).await;
        assert_eq!(self.control.open_connections(), 0);
        for worker in self.workers {
            worker.await.unwrap().unwrap();
        }
    }
}

fn socket(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("handover")
}

/// Waits until somebody listens at `path`.
async fn offered(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::os::unix::net::UnixStream::connect(path).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {}", path.display());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn get(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.ends_with("hello"), "{reply}");
}

#[tokio::test]
async fn generations_with_any_number_of_workers_lose_no_connection() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket(&directory);
    let mut present = Generation::start(&path, 2).await;
    let address = present.address();
    offered(&path).await;
    for workers in [3, 1, 4, 2] {
        let asking: Vec<_> = (0..20).map(|_| tokio::spawn(get(address))).collect();
        let next = Generation::start(&path, workers).await;
        assert_eq!(next.address(), address, "port 0 stays what it is");
        let more: Vec<_> = (0..20).map(|_| tokio::spawn(get(address))).collect();
        present.replaced().await;
        for asked in asking.into_iter().chain(more) {
            asked.await.unwrap();
        }
        present = next;
        get(address).await;
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["handover"], "nothing else is left");
    present.control.cut();
}

#[tokio::test]
async fn a_successor_that_fails_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket(&directory);
    let present = Generation::start(&path, 2).await;
    let address = present.address();
    offered(&path).await;
    let (upgrade, inherited) = begin(&path).await.unwrap();
    assert_eq!(inherited.count(), 2);
    // It has the sockets, and ends.
    drop((upgrade, inherited));
    // Strangers: one that says nothing, one that says something else.
    drop(std::os::unix::net::UnixStream::connect(&path).unwrap());
    let mut stranger = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ended = tokio::task::spawn_blocking(move || stranger.read(&mut [0; 16]).unwrap_or(0));
    assert_eq!(ended.await.unwrap(), 0);
    assert!(!present.replaced.is_finished());
    for _ in 0..10 {
        get(address).await;
    }
    let next = Generation::start(&path, 1).await;
    present.replaced().await;
    get(address).await;
    next.control.cut();
}

#[tokio::test]
async fn a_successor_whose_workers_do_not_serve_does_not_take_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket(&directory);
    let present = Generation::start(&path, 1).await;
    offered(&path).await;
    let (upgrade, inherited) = begin(&path).await.unwrap();
    let options = BindOptions { workers: 1, inherited, ..BindOptions::default() };
    // Nobody runs the worker's part.
    let listeners = Listeners::bind(vec![settings(&BOTH)], &options).unwrap();
    let control = listeners.control();
    tokio::time::pause();
    assert_eq!(upgrade.run(&control, || true).await, Replaced::ByPredecessor);
    tokio::time::resume();
    assert!(!present.replaced.is_finished());
    drop((listeners, control, options));
    get(present.address()).await;
    present.control.cut();
}

#[tokio::test]
async fn a_successor_that_comes_too_late_hears_that_it_was_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket(&directory);
    let present = Generation::start(&path, 1).await;
    offered(&path).await;
    let (upgrade, inherited) = begin(&path).await.unwrap();
    let options = BindOptions { workers: 1, inherited, ..BindOptions::default() };
    let mut listeners = Listeners::bind(vec![settings(&BOTH)], &options).unwrap();
    let (control, part) = (listeners.control(), listeners.take(WorkerId::new(0)).unwrap());
    let worker = tokio::spawn(part.run(Arc::new(Scripted::default())));
    // The predecessor loses its patience, says so and closes.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(70)).await;
    tokio::time::resume();
    assert_eq!(upgrade.run(&control, || true).await, Replaced::ByPredecessor);
    assert!(!present.replaced.is_finished());
    control.drain();
    control.cut();
    worker.await.unwrap().unwrap();
    drop((listeners, control, options));
    get(present.address()).await;
    present.control.cut();
}

#[tokio::test]
async fn without_a_process_that_hands_over_sockets_are_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = socket(&directory);
    assert_eq!(begin(&path).await.unwrap().1.count(), 0, "nothing there");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let present = Generation::start(&path, 1).await;
    offered(&path).await;
    get(present.address()).await;
    present.control.drain();
    assert_eq!(begin(&path).await.unwrap().1.count(), 0, "it drains");
    std::fs::write(directory.path().join("file"), "").unwrap();
    assert_eq!(begin(&directory.path().join("file")).await.unwrap().1.count(), 0, "not even a socket");
}
