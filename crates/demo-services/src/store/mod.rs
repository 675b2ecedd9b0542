//! Documents on disk: JSON below a collection and a key, in one redb file.
//!
//! The services keep their state in memory and write it through. A change is answered when it is on disk; changes that
//! wait for the disk at the same time share one commit. After a commit that fails nothing is written any more, so that
//! the file never has a gap: later changes are refused.

mod keeper;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::keeper::Keeper;
use crate::fault::Fault;

/// Collection and key to JSON.
const DOCUMENTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("documents");
/// The file in the folder of `--data`.
const FILE: &str = "demo-services.redb";
/// Memory that redb may take for pages.
const CACHE_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Changes that may wait for the disk; more wait for their turn.
const QUEUE_MAX: usize = 1_024;
/// Changes in one commit.
const GROUP_MAX: usize = 256;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or the file cannot be used, or another process uses it.
    #[error("{path}: {cause}")]
    Open {
        /// As it was given.
        path: String,
        /// What redb or the system says.
        cause: String,
    },
    /// What is stored is not ours, or of another version.
    #[error("stored {collection} {key}: {cause}")]
    Document {
        /// Which kind.
        collection: String,
        /// Which one.
        key: String,
        /// What the decoder says.
        cause: serde_json::Error,
    },
}

/// Writes documents.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    queue: mpsc::Sender<Work>,
    writer: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

#[derive(Debug)]
enum Work {
    Write { batch: Batch, done: oneshot::Sender<()> },
    Close,
}

/// Documents that belong together: all are written, or none.
#[derive(Default, Debug)]
pub(crate) struct Batch {
    changes: Vec<Change>,
    is_broken: bool,
}

#[derive(Debug)]
struct Change {
    collection: &'static str,
    key: String,
    /// `None` removes it.
    document: Option<Vec<u8>>,
}

impl Batch {
    /// Adds a document or replaces it.
    pub(crate) fn put(&mut self, collection: &'static str, key: impl Into<String>, document: &impl Serialize) {
        match serde_json::to_vec(document) {
            Ok(document) => {
                self.changes.push(Change { collection, key: key.into(), document: Some(document) });
            }
            // Impossible for our types; if it happens, the whole batch fails instead of losing a part.
            Err(_) => self.is_broken = true,
        }
    }

    /// Removes a document, if it is there.
    pub(crate) fn remove(&mut self, collection: &'static str, key: impl Into<String>) {
        self.changes.push(Change { collection, key: key.into(), document: None });
    }
}

/// What was stored, by collection, each sorted by key.
#[derive(Default, Debug)]
pub(crate) struct Documents(BTreeMap<String, Vec<(String, Vec<u8>)>>);

impl Documents {
    /// Takes the documents of a collection; none if there never were any.
    ///
    /// # Errors
    /// A document that is not a `T`.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, collection: &str) -> Result<Vec<T>, StoreError> {
        let documents = self.0.remove(collection).unwrap_or_default();
        let decode = |(key, bytes): (String, Vec<u8>)| {
            serde_json::from_slice(&bytes).map_err(|cause| StoreError::Document {
                collection: collection.to_owned(),
                key,
                cause,
            })
        };
        documents.into_iter().map(decode).collect()
    }
}

impl Store {
    /// Opens the store in `folder`, which is made if need be; without one it is in memory. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub(crate) fn open(folder: Option<&Path>) -> Result<(Self, Documents), StoreError> {
        open_database(folder).and_then(Self::start).map_err(|cause| {
            let path = folder.map_or_else(|| "memory".to_owned(), |folder| folder.display().to_string());
            StoreError::Open { path, cause: cause.to_string() }
        })
    }

    /// Reads everything and starts the writer.
    fn start(database: Database) -> Result<(Self, Documents), redb::Error> {
        let documents = read_all(&database)?;
        let (queue, work) = mpsc::channel(QUEUE_MAX);
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn(move || write_all(&database, work))?;
        Ok((Self { queue, writer: Arc::new(Mutex::new(Some(writer))) }, documents))
    }

    /// False after a commit that failed, and after [`Self::close`].
    pub(crate) fn is_open(&self) -> bool {
        !self.queue.is_closed()
    }

    /// A place in the queue of the disk. Waits while it is full.
    ///
    /// # Errors
    /// `Storage` after a commit that failed, and after [`Self::close`].
    async fn reserve(&self) -> Result<Place<'_>, Fault> {
        self.queue.reserve().await.map(Place).map_err(|_| Fault::Storage)
    }

    /// Writes what waits and gives the file free. Later changes are refused.
    pub(crate) async fn close(&self) {
        // If it fails, the writer has ended by itself.
        let _ = self.queue.send(Work::Close).await;
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

/// A place in the queue: whoever has it can write without waiting, also while it holds a lock.
struct Place<'a>(mpsc::Permit<'a, Work>);

impl Place<'_> {
    /// Writes in the order of calls.
    fn write(self, batch: Batch) -> Written {
        if batch.is_broken {
            return Written::Broken;
        }
        if batch.changes.is_empty() {
            return Written::Nothing;
        }
        let (done, waiting) = oneshot::channel();
        self.0.send(Work::Write { batch, done });
        Written::Soon(waiting)
    }
}

/// A batch on its way to the disk. Dropping this does not stop it.
#[must_use]
enum Written {
    Nothing,
    Broken,
    Soon(oneshot::Receiver<()>),
}

impl Written {
    /// Waits until the batch is on disk.
    ///
    /// # Errors
    /// `Storage`.
    async fn done(self) -> Result<(), Fault> {
        match self {
            Self::Nothing => Ok(()),
            Self::Broken => Err(Fault::Storage),
            Self::Soon(waiting) => waiting.await.map_err(|_| Fault::Storage),
        }
    }
}

fn open_database(folder: Option<&Path>) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_MAX_BYTES);
    match folder {
        None => Ok(builder.create_with_backend(InMemoryBackend::new())?),
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            Ok(builder.create(folder.join(FILE))?)
        }
    }
}

fn read_all(database: &Database) -> Result<Documents, redb::Error> {
    // Makes the table, because one that was never written cannot be read.
    let write = database.begin_write()?;
    write.open_table(DOCUMENTS)?;
    write.commit()?;

    let mut documents = Documents::default();
    for entry in database.begin_read()?.open_table(DOCUMENTS)?.iter()? {
        let (key, document) = entry?;
        let (collection, key) = key.value();
        documents.0.entry(collection.to_owned()).or_default().push((key.to_owned(), document.value().to_vec()));
    }
    Ok(documents)
}

/// The writer's thread. Whoever waits for a batch that fails sees its sender go.
fn write_all(database: &Database, mut work: mpsc::Receiver<Work>) {
    let mut group = Vec::new();
    let mut is_open = true;
    while is_open && let Some(first) = work.blocking_recv() {
        let mut next = Some(first);
        while let Some(found) = next {
            match found {
                Work::Write { batch, done } => group.push((batch, done)),
                Work::Close => is_open = false,
            }
            next = if is_open && group.len() < GROUP_MAX { work.try_recv().ok() } else { None };
        }
        if let Err(error) = commit(database, &group) {
            tracing::error!(error = %error, "cannot write; nothing is changed any more");
            // Before those who wait hear of it, so that none of them can come again.
            work.close();
            return;
        }
        for (_, done) in group.drain(..) {
            // Who has gone away does not want to know.
            let _ = done.send(());
        }
    }
}

fn commit(database: &Database, group: &[(Batch, oneshot::Sender<()>)]) -> Result<(), redb::Error> {
    if group.is_empty() {
        return Ok(());
    }
    let write = database.begin_write()?;
    {
        let mut table = write.open_table(DOCUMENTS)?;
        for change in group.iter().flat_map(|(batch, _)| &batch.changes) {
            let key = (change.collection, change.key.as_str());
            match &change.document {
                Some(document) => table.insert(key, document.as_slice())?,
                None => table.remove(key)?,
            };
        }
    }
    Ok(write.commit()?)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;

    use super::*;

    /// Memory that can be told to be full.
    #[derive(Debug)]
    struct Full {
        memory: InMemoryBackend,
        is_full: Arc<AtomicBool>,
    }

    impl StorageBackend for Full {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            match self.is_full.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => self.memory.write(offset, bytes),
            }
        }
    }

    #[tokio::test]
    async fn after_a_commit_that_failed_nothing_is_changed_any_more() {
        let is_full = Arc::new(AtomicBool::new(false));
        let backend = Full { memory: InMemoryBackend::new(), is_full: Arc::clone(&is_full) };
        let (store, _) = Store::start(Database::builder().create_with_backend(backend).unwrap()).unwrap();
        let keeper = Keeper::new(0, &store);
        let add = |value: &mut u32, batch: &mut Batch| {
            *value += 1;
            batch.put("numbers", "a", value);
            Ok(*value)
        };
        assert_eq!(keeper.change(add).await, Ok(1));
        is_full.store(true, Ordering::Relaxed);
        assert_eq!(keeper.change(add).await, Err(Fault::Storage));
        is_full.store(false, Ordering::Relaxed);
        assert_eq!(keeper.change(add).await, Err(Fault::Storage));
        assert!(!store.is_open());
        // The second change has happened in memory and was not stored, the third has not happened.
        assert_eq!(keeper.read(|value| *value), 2);
        store.close().await;
    }

    async fn write(store: &Store, batch: Batch) -> Result<(), Fault> {
        store.reserve().await?.write(batch).done().await
    }

    fn batch(puts: &[(&str, u32)], removed: &[&str]) -> Batch {
        let mut batch = Batch::default();
        puts.iter().for_each(|(key, value)| batch.put("numbers", *key, value));
        removed.iter().for_each(|key| batch.remove("numbers", *key));
        batch
    }

    #[tokio::test]
    async fn what_was_written_is_read_again_and_the_file_belongs_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut documents) = Store::open(Some(folder.path())).unwrap();
        assert!(documents.take::<u32>("numbers").unwrap().is_empty());
        assert!(matches!(Store::open(Some(folder.path())), Err(StoreError::Open { .. })));
        write(&store, batch(&[("b", 2), ("a", 1), ("c", 3)], &[])).await.unwrap();
        write(&store, batch(&[("a", 4)], &["b", "never"])).await.unwrap();
        write(&store, Batch::default()).await.unwrap();
        store.close().await;
        assert_eq!(write(&store, batch(&[("d", 1)], &[])).await, Err(Fault::Storage));

        let (store, mut documents) = Store::open(Some(folder.path())).unwrap();
        assert_eq!(documents.take::<u32>("numbers").unwrap(), [4, 3]);
        store.close().await;
        let (_store, mut documents) = Store::open(Some(folder.path())).unwrap();
        let error = documents.take::<String>("numbers").unwrap_err().to_string();
        assert!(error.starts_with("stored numbers a: invalid type"), "{error}");
    }

    #[tokio::test]
    async fn many_writers_at_once_share_commits_and_all_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(Some(folder.path())).unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let store = store.clone();
            tasks.spawn(async move { write(&store, batch(&[(&format!("{number:03}"), number)], &[])).await });
        }
        while let Some(written) = tasks.join_next().await {
            written.unwrap().unwrap();
        }
        store.close().await;
        let (_store, mut documents) = Store::open(Some(folder.path())).unwrap();
        assert_eq!(documents.take::<u32>("numbers").unwrap(), (0..100).collect::<Vec<_>>());
    }
}
