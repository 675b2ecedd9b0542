//! The gateway in process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::process::{Signal, getpid, kill_process};
use tempfile::TempDir;
use tidegate::app::{App, Ended, Options, StartError, Stop};
use tidegate::explain::{Explanation, Question, explain};
use tidegate::listen::Control;
use tidegate::reload::{Outcome, ReloadHandle, Trigger};
use tidegate::snapshot::inputs::Recorder;
use tidegate::tasks;
use tokio::sync::mpsc;

use crate::client::{Answer, Http1, Http2, Request};
use crate::{shop, soon};

/// Top-level keys that a configuration gets if it does not have them.
const USUAL: [(&str, &str); 4] = [
    ("version:", "version: 1"),
    ("listeners:", "listeners: [{ name: main, address: \"127.0.0.1:0\" }]"),
    ("drain:", "drain: { readiness_delay: 0s, timeout: 5s }"),
    ("runtime:", "runtime: { workers: 2 }"),
];

/// What a configuration gets at its end if it does not have it. Access lines are made, but not between the words of tests;
/// many tests share a few processors, so workers come round late.
const AT_THE_END: [(&str, &str); 2] =
    [("observability:", "observability: { logs: { access: { output: /dev/null } } }"), ("overload:", "overload: null")];

/// `yaml` with what every configuration needs and a test rarely cares about: version, one listener on a free port, two
/// workers, a short drain, no refusals for lag, and an access log that is out of the way.
#[must_use]
pub fn complete(yaml: &str) -> String {
    let mut text = String::new();
    for (key, line) in USUAL {
        if !yaml.lines().any(|line| line.starts_with(key)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text += yaml;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (key, line) in AT_THE_END {
        if !yaml.lines().any(|line| line.starts_with(key)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// One request to the admin API at `address`, which is its `Host` unless the request has one.
pub async fn ask_admin(address: SocketAddr, request: &Request) -> Answer {
    let mut request = request.clone();
    if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", &address.to_string());
    }
    Http1::connect(address).await.send(&request).await
}

/// A gateway that runs on threads of its own, with a folder of its own for its files.
#[derive(Debug)]
pub struct Gateway {
    listeners: Arc<Control>,
    gateway: Arc<tidegate::gateway::Gateway>,
    reloads: ReloadHandle,
    admin: Option<SocketAddr>,
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<std::io::Result<Ended>>>,
    folder: TempDir,
}

/// A gateway's end, asked for by a test.
struct Asked(mpsc::Receiver<()>);

impl Stop for Asked {
    async fn wait(&mut self) {
        // A test that failed drops its handle, which is an end as well.
        let _asked = self.0.recv().await;
    }
}

impl Gateway {
    /// Starts a gateway from [`complete`]d YAML. `shop.pb` and `shop.proto` stand beside the file.
    ///
    /// # Panics
    /// If the configuration has problems; their text is printed.
    #[must_use]
    pub fn start(yaml: &str) -> Self {
        Self::start_in(TempDir::new().expect("a temporary folder"), yaml)
    }

    /// The same in a folder that already has files: certificates, includes, or the state of an earlier run.
    ///
    /// # Panics
    /// As [`Gateway::start`].
    #[must_use]
    pub fn start_in(folder: TempDir, yaml: &str) -> Self {
        match Self::try_start_in(folder, yaml) {
            Ok(gateway) => gateway,
            Err(text) => panic!("the gateway does not start:\n{text}"),
        }
    }

    /// The same, with the text of the problems if it does not start.
    ///
    /// # Errors
    /// What a user would read.
    ///
    /// # Panics
    /// If the folder cannot be written to.
    pub fn try_start_in(folder: TempDir, yaml: &str) -> Result<Self, String> {
        shop::write_files(folder.path());
        let file = folder.path().join("tidegate.yaml");
        std::fs::write(&file, complete(yaml)).expect("the folder can be written to");
        let recorder = Recorder::new(&file, None);
        let loaded = recorder.load().map_err(|problems| problems.to_text())?;
        let options = Options {
            share_ports: false,
            state_dir: Some(folder.path().join("state")),
            certificate_directory: Some(folder.path().join("certificates")),
            unwatched: true,
            ..Options::default()
        };
        let app = App::start(loaded.valid, &recorder, &options).map_err(|error| match error {
            StartError::Config(problems) => problems.to_text(),
            StartError::Listen(error) => error.to_string(),
            StartError::System(error) => error.to_string(),
        })?;
        let (listeners, gateway, reloads) = (Arc::clone(app.listeners()), Arc::clone(app.gateway()), app.reloads());
        let admin = app.admin_address();
        let (stop, asked) = mpsc::channel(2);
        let thread = std::thread::spawn(move || app.serve(|| Ok(Asked(asked))));
        Ok(Self { listeners, gateway, reloads, admin, stop, thread: Some(thread), folder })
    }

    /// Address of the first listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners.listeners().first().expect("a gateway has a listener").address
    }

    /// Address of the listener `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let found = self.listeners.listeners().into_iter().find(|known| *known.name == *name);
        found.unwrap_or_else(|| panic!("no listener {name}")).address
    }

    /// Address of the admin API.
    ///
    /// # Panics
    /// If the configuration has none.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("the configuration has the key admin")
    }

    /// One request to the admin API, with its own address as `Host` unless the request has one.
    pub async fn ask_admin(&self, request: &Request) -> Answer {
        ask_admin(self.admin(), request).await
    }

    /// Where the development certificates are.
    #[must_use]
    pub fn certificates(&self) -> PathBuf {
        self.folder.path().join("certificates")
    }

    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the configuration file by [`complete`]d YAML, as an editor does it, and nothing else: see
    /// [`Gateway::reload`].
    ///
    /// # Panics
    /// If the folder cannot be written to.
    pub fn write_config(&self, yaml: &str) {
        self.write("tidegate.yaml", complete(yaml));
    }

    /// Replaces a file of its folder, by a rename.
    ///
    /// # Panics
    /// If the folder cannot be written to.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let fresh = self.folder().join(format!("{name}~"));
        std::fs::write(&fresh, content).expect("the folder can be written to");
        std::fs::rename(fresh, self.folder().join(name)).expect("the folder can be written to");
    }

    /// Reads the files again, and waits for what it comes to. Files are not watched.
    ///
    /// # Panics
    /// If nothing is tried.
    pub async fn reload(&self) -> Outcome {
        soon(self.reloads.reload(Trigger::Admin)).await.expect("a reload is tried")
    }

    /// Looks at the files as if a change had been told.
    ///
    /// # Panics
    /// If nothing is tried.
    pub async fn look(&self) -> Outcome {
        soon(self.reloads.reload(Trigger::File)).await.expect("a reload is tried")
    }

    /// Sends HUP to this process.
    ///
    /// # Panics
    /// If the process may not.
    pub fn hang_up(&self) {
        kill_process(getpid(), Signal::HUP).expect("a process may signal itself");
    }

    /// [`Gateway::write_config`], then [`Gateway::reload`], which must succeed. Gives the generation.
    ///
    /// # Panics
    /// If it is not applied.
    pub async fn apply(&self, yaml: &str) -> u64 {
        self.write_config(yaml);
        match self.reload().await {
            Outcome::Applied { generation, .. } => generation,
            Outcome::Rejected { diagnostics } => panic!("{}", diagnostics.to_text()),
            other => panic!("{other:?}"),
        }
    }

    /// The hash of the configuration in force.
    #[must_use]
    pub fn hash(&self) -> String {
        self.gateway.snapshot().hash.to_string()
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.gateway.snapshot().generation
    }

    /// What it says that it would do with `request`.
    ///
    /// # Panics
    /// If no client could send it.
    #[must_use]
    pub fn explain(&self, request: &Request) -> Explanation {
        let mut headers = request.headers.clone();
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            headers.push(("host".to_owned(), "shop.test".to_owned()));
        }
        headers.extend(request.body.iter().map(|body| ("content-length".to_owned(), body.len().to_string())));
        let question = Question::new(&request.method, &request.target, &headers).expect("a request that can be sent");
        explain(&self.gateway.snapshot(), &question)
    }

    /// Asks for reloads and tells what they came to.
    #[must_use]
    pub fn reloads(&self) -> &ReloadHandle {
        &self.reloads
    }

    /// A new HTTP/1.1 connection.
    pub async fn http1(&self) -> Http1 {
        Http1::connect(self.address()).await
    }

    /// A new HTTP/2 connection, with prior knowledge.
    pub async fn http2(&self) -> Http2 {
        Http2::connect(self.address()).await
    }

    /// One request over a new HTTP/1.1 connection.
    pub async fn send(&self, request: &Request) -> Answer {
        self.http1().await.send(request).await
    }

    /// `GET` over a new HTTP/1.1 connection.
    pub async fn get(&self, target: &str) -> Answer {
        self.send(&crate::get(target)).await
    }

    /// `POST` of JSON over a new HTTP/1.1 connection.
    pub async fn post(&self, target: &str, json: impl AsRef<[u8]>) -> Answer {
        self.send(&crate::post(target, json)).await
    }

    /// The same request over HTTP/1.1 and over HTTP/2, in this order.
    pub async fn send_both(&self, request: &Request) -> [Answer; 2] {
        [self.send(request).await, self.http2().await.send(request).await]
    }

    /// Asks it to end, once. It drains; asked twice it ends at once.
    pub async fn ask_to_stop(&self) {
        // An error means that it has ended already.
        let _ended = self.stop.send(()).await;
    }

    /// Waits until it has ended, and gives its folder back.
    ///
    /// # Panics
    /// If it does not end, or anything in this process has panicked.
    pub async fn ended(mut self) -> (Ended, TempDir) {
        let thread = self.thread.take().expect("a gateway ends once");
        let joined = tokio::task::spawn_blocking(move || thread.join());
        let ended = soon(joined).await.expect("joining does not panic").expect("the control thread does not panic");
        assert_eq!(tasks::panics(), 0, "something panicked");
        (ended.expect("the control thread gets a runtime"), self.folder)
    }

    /// Stops it and expects that nothing was cut off and nothing had panicked. Gives its folder back.
    ///
    /// # Panics
    /// Otherwise.
    pub async fn stop(self) -> TempDir {
        self.ask_to_stop().await;
        let (ended, folder) = self.ended().await;
        assert_eq!(ended, Ended::Drained);
        folder
    }
}
