use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use redb::backends::FileBackend;
use redb::{Database, StorageBackend, TableDefinition};

use super::pending::PendingCounts;
use super::*;
use crate::market::bars::{BarLimits, Event};
use crate::market::history::rings::RingLimits;
use crate::market::intake::Intake;
use crate::market::ohlcv::samples::bar;
use crate::tick::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn key(symbol: &str, interval: Interval, start: i64) -> BarKey {
    BarKey { source: Arc::from("s"), symbol: Arc::from(symbol), interval, start }
}

fn article(id: &str, published_s: i64, len: usize) -> StoredArticle {
    StoredArticle { id: id.to_owned(), published: Timestamp::from_second(published_s).unwrap(), bytes: vec![7; len] }
}

/// Keeps everything, however old.
fn limits() -> StoreLimits {
    let ever = SignedDuration::from_hours(24 * 366 * 200);
    StoreLimits { keep_bars: [ever; 4], keep_articles: ever, ..StoreLimits::default() }
}

fn open(path: &Path, limits: StoreLimits) -> Result<(Store, Loaded), StoreError> {
    Store::open(path, limits, Clock::start())
}

fn shown(loaded: &Loaded) -> Vec<String> {
    let series = loaded.series.iter().map(|series| {
        let bars: Vec<_> = series.bars.iter().map(|(start, bar)| format!("{start}={}", bar.close)).collect();
        format!("{} {} {}: {}", series.source, series.symbol, series.interval.as_str(), bars.join(" "))
    });
    let articles = loaded
        .articles
        .iter()
        .map(|article| format!("{} of {} with {}", article.id, article.published.as_second(), article.bytes.len()));
    let sources = loaded.sources.iter().map(|(id, json)| format!("{id} {json}"));
    series.chain(articles).chain(sources).collect()
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    let (store, loaded) = open(&path, limits()).unwrap();
    assert_eq!(loaded, Loaded::default());
    for (symbol, interval, start, close) in [
        ("A", Interval::Minute, 60, "1"),
        ("A", Interval::Minute, 180, "3"),
        ("A", Interval::Minute, 120, "2"),
        ("A", Interval::Day, -86_400, "4"),
        ("AB", Interval::Second, 5, "5"),
        ("A", Interval::Minute, 180, "3.50"),
    ] {
        store.put_bar(key(symbol, interval, start), &bar(start, close));
    }
    store.put_article(article("old", 100, 3));
    store.put_article(article("moved", 50, 3));
    store.flush(PATIENCE).unwrap();
    store.put_article(article("moved", 200, 4));
    store.put_source("gone", Some("{}".to_owned()));
    store.put_source("feed", Some("{\"type\":\"rss\"}".to_owned()));
    store.put_source("gone", None);
    store.put_bar(key("A", Interval::Minute, 120), &bar(120, "2.5"));
    store.close().unwrap();

    let (store, loaded) = open(&path, limits()).unwrap();
    assert_eq!(
        shown(&loaded),
        [
            "s A 1m: 180=3.50 120=2.5 60=1",
            "s A 1d: -86400=4",
            "s AB 1s: 5=5",
            "moved of 200 with 4",
            "old of 100 with 3",
            "feed {\"type\":\"rss\"}",
        ]
    );
    drop(store);
    let few = StoreLimits { load_bars_per_key: 2, load_bars: 3, load_articles: 1, ..limits() };
    let (_, loaded) = open(&path, few).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        shown(&loaded),
        ["s A 1m: 180=3.50", "s A 1d: -86400=4", "s AB 1s: 5=5", "moved of 200 with 4", "feed {\"type\":\"rss\"}"]
    );
}

#[test]
fn what_is_too_large_or_too_late_is_refused_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&folder.path().join("engine.redb"), limits()).unwrap();
    store.put_article(article("a", 0, ARTICLE_MAX_BYTES + 1));
    store.put_article(article(&"a".repeat(ID_MAX_BYTES + 1), 0, 1));
    store.put_source("s", Some("x".repeat(SOURCE_MAX_BYTES + 1)));
    store.stop();
    store.put_source("s", None);
    assert_eq!((store.stats().refused, store.flush(PATIENCE)), (4, Ok(())));
}

#[test]
fn stats_tell_what_is_held_and_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let few = StoreLimits { max_pending_bars: 2, keep_articles: SignedDuration::from_hours(1), ..limits() };
    let (store, _) = open(&folder.path().join("engine.redb"), few).unwrap();
    // Nothing is written while the state is locked.
    let mut state = store.shared.state.lock();
    for start in [0, 60, 60, 120] {
        let State { pending, pending_limits, counts, .. } = &mut *state;
        pending.put_bar(key("A", Interval::Minute, start), bar(start, "1"), pending_limits, counts);
    }
    state.puts = 4;
    drop(state);
    store.put_article(article("old", 0, 1));
    store.flush(PATIENCE).unwrap();
    let StoreStats { bars, articles, bytes, pending_bars, pending_articles, coalesced, dropped, .. } = store.stats();
    assert_eq!((bars, articles, pending_bars, pending_articles, coalesced, dropped), (2, 0, 0, 0, 1, 1));
    let StoreStats { refused, expired, commits, last_commit, last_commit_took, failures, .. } = store.stats();
    assert_eq!((refused, expired, failures), (0, 1, 0));
    assert!(bytes > 100 && commits >= 1 && last_commit.is_some() && !last_commit_took.is_zero());
}

/// Writes into a file as the writer does, at a time of the test.
struct Bench {
    disk: Disk,
    limits: StoreLimits,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(limits: StoreLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.redb");
        Self { disk: Disk::new(disk::open_file(&path, false).unwrap(), &path).unwrap(), limits, folder }
    }

    fn write(&self, bars: &[(&str, Interval, i64)], articles: &[(&str, i64, usize)], now: i64) -> disk::Written {
        let pending_limits = PendingLimits { max_bars: 99, max_articles: 99, max_article_bytes: 99_999 };
        let (mut pending, mut counts) = (Pending::default(), PendingCounts::default());
        for (symbol, interval, start) in bars {
            pending.put_bar(key(symbol, *interval, *start), bar(*start, "1"), &pending_limits, &mut counts);
        }
        for (id, published, len) in articles {
            pending.put_article(article(id, *published, *len), &pending_limits, &mut counts);
        }
        self.disk.write(&pending, Timestamp::from_second(now).unwrap(), &self.limits).unwrap()
    }

    fn held(&self) -> Vec<String> {
        shown(&self.disk.load(&self.limits).unwrap())
    }

    fn reopen(self) -> Self {
        let Self { disk, limits, folder } = self;
        drop(disk);
        let path = folder.path().join("engine.redb");
        Self { disk: Disk::new(disk::open_file(&path, false).unwrap(), &path).unwrap(), limits, folder }
    }
}

#[test]
fn what_is_too_old_is_taken_out_or_not_put_in() {
    let keep = SignedDuration::from_secs;
    let bench = Bench::new(StoreLimits {
        keep_bars: [keep(10), keep(100), keep(1_000), keep(10_000)],
        keep_articles: keep(50),
        ..limits()
    });
    let written = bench.write(
        &[("A", Interval::Second, 95), ("B", Interval::Second, 89), ("A", Interval::Minute, 0)],
        &[("a", 50, 1), ("b", 49, 1)],
        100,
    );
    assert_eq!((written.bars, written.articles, written.expired), (2, 1, 2));
    let written = bench.write(&[], &[], 106);
    assert_eq!((written.bars, written.articles, written.expired), (0, 0, 3));
    assert_eq!((written.bytes, bench.held()), (0, vec![]));
}

#[test]
fn what_is_too_much_goes_the_oldest_of_the_finest_interval_first() {
    let bench = Bench::new(StoreLimits { max_bars: 3, max_articles: 2, ..limits() });
    let written = bench.write(
        &[
            ("A", Interval::Second, 2),
            ("B", Interval::Second, 1),
            ("A", Interval::Minute, 0),
            ("A", Interval::Second, 3),
            ("A", Interval::Day, 0),
        ],
        &[("a", 3, 1), ("b", 1, 1), ("c", 2, 1)],
        100,
    );
    assert_eq!((written.bars, written.articles, written.expired), (3, 2, 3));
    assert_eq!(bench.held(), ["s A 1s: 3=1", "s A 1m: 0=1", "s A 1d: 0=1", "a of 3 with 1", "c of 2 with 1"]);
    let bench = bench.reopen();
    assert_eq!(bench.write(&[], &[], 100), disk::Written { expired: 0, ..written });
}

#[test]
fn bytes_are_bounded() {
    let bench = Bench::new(StoreLimits { max_bytes: 3_000, ..limits() });
    let bars: Vec<_> = (0..90).map(|start| ("A", Interval::Minute, start * 60)).collect();
    for now in 0..20 {
        let articles = [("a", now, 700), ("b", now, 700), ("c", now, 700)];
        let written = bench.write(&bars, &articles, now);
        assert!(written.bytes <= 3_000, "{written:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Random commits and restarts, against two maps.
    #[test]
    fn the_file_holds_what_two_maps_hold(
        steps in proptest::collection::vec(
            (
                proptest::collection::vec((0_usize..3, 0_usize..4, 0_i64..40), 0..12),
                proptest::collection::vec((0_usize..4, 0_i64..40, 0_usize..50), 0..4),
                any::<bool>(),
            ),
            1..12,
        ),
        (max_bars, max_articles) in (1_usize..30, 1_usize..5),
    ) {
        const SYMBOLS: [&str; 4] = ["A", "AB", "B", "C"];
        let mut bench =
            Bench::new(StoreLimits { max_bars: max_bars as u64, max_articles: max_articles as u64, ..limits() });
        let mut bars: BTreeMap<(u8, i64, &str), ()> = BTreeMap::new();
        let mut articles: BTreeMap<&str, (i64, usize)> = BTreeMap::new();
        for (new_bars, new_articles, restart) in steps {
            let new_bars: Vec<_> = new_bars
                .iter()
                .map(|(symbol, interval, start)| (SYMBOLS[*symbol], Interval::ALL[*interval], *start))
                .collect();
            let new_articles: Vec<_> =
                new_articles.iter().map(|(id, published, len)| (SYMBOLS[*id], *published, *len)).collect();
            let written = bench.write(&new_bars, &new_articles, 100);
            bars.extend(new_bars.iter().map(|(symbol, interval, start)| ((interval.code(), *start, *symbol), ())));
            while bars.len() > max_bars {
                bars.pop_first();
            }
            articles.extend(new_articles.iter().map(|(id, published, len)| (*id, (*published, *len))));
            while articles.len() > max_articles {
                let oldest = *articles.iter().min_by_key(|(id, article)| (article.0, **id)).unwrap().0;
                articles.remove(oldest);
            }
            if restart {
                bench = bench.reopen();
            }
            let loaded = bench.disk.load(&bench.limits).unwrap();
            let held: BTreeMap<(u8, i64, &str), ()> = loaded
                .series
                .iter()
                .flat_map(|series| series.bars.iter().map(|(start, _)| ((series.interval.code(), *start, &*series.symbol), ())))
                .collect();
            prop_assert_eq!(&held, &bars);
            let held: BTreeMap<&str, (i64, usize)> = loaded
                .articles
                .iter()
                .map(|article| (&*article.id, (article.published.as_second(), article.bytes.len())))
                .collect();
            prop_assert_eq!(&held, &articles);
            let value = crate::store::bar_code::encode(&bar(0, "1")).len();
            let bytes: usize = bars.keys().map(|key| value + 2 * (1 + key.2.len() + 9)).sum::<usize>()
                + articles.iter().map(|(id, article)| article.1 + 2 * (id.len() + 8)).sum::<usize>();
            prop_assert_eq!(written.bytes, bytes as u64);
        }
    }
}

/// The file is refused with these words and not touched.
fn check_refused(path: &Path, expected: &str) {
    let before = std::fs::read(path).unwrap();
    let error = open(path, limits()).map(|_| "opened").unwrap_err().to_string();
    assert!(error.contains(expected) && error.contains("engine.redb"), "{error}");
    assert!(std::fs::read(path).unwrap() == before, "the file was changed");
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    for content in ["x", "SQLite format 3\0 and so on", &"lorem ipsum ".repeat(10_000)] {
        std::fs::write(&path, content).unwrap();
        check_refused(&path, "is not a store of this engine; it was left as it is");
    }
    std::fs::remove_file(&path).unwrap();
    let database = Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = open(&path, limits()).unwrap_err();
    assert_eq!(error, StoreError::NotAStore { path: path.clone() });
    let database = Database::open(&path).unwrap();
    let read = redb::ReadableDatabase::begin_read(&database).unwrap();
    assert!(read.open_table(TableDefinition::<u64, u64>::new("theirs")).is_ok());
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let error = open(Path::new("/nowhere/engine.redb"), limits()).unwrap_err();
    let expected = "the store /nowhere/engine.redb cannot be used: No such file or directory (os error 2)";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_newer_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    drop(open(&path, limits()).unwrap());
    let database = Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap().insert("version", 9).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = open(&path, limits()).unwrap_err();
    assert_eq!(error, StoreError::Newer { path, found: 9, known: 1 });
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    let (_store, _) = open(&path, limits()).unwrap();
    assert_eq!(open(&path, limits()).unwrap_err(), StoreError::InUse { path });
}

#[test]
fn a_damaged_file_is_told_or_nothing_of_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    let (store, _) = open(&path, limits()).unwrap();
    for start in 0..2_000 {
        store.put_bar(key("A", Interval::Minute, start * 60), &bar(start, "1"));
    }
    store.close().unwrap();
    let (store, expected) = open(&path, limits()).unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let cut = |len: usize| whole[..len].to_vec();
    let mut damaged: Vec<_> = [1, 9, 100, 4_096, 5_000, whole.len() / 2, whole.len() - 1].map(cut).into();
    for size in [1, 512].repeat(20) {
        let mut other = whole.clone();
        let at = random.usize(..other.len() - size);
        other[at..at + size].iter_mut().for_each(|byte| *byte = !*byte);
        damaged.push(other);
    }
    let mut told = 0;
    for content in damaged {
        std::fs::write(&path, &content).unwrap();
        match open(&path, limits()) {
            // It was in a page that is not used, or that could be made anew.
            Ok((_, loaded)) => assert_eq!(loaded, expected),
            Err(error) => {
                assert!(error.to_string().contains("engine.redb"), "{error}");
                assert!(path.exists());
                told += 1;
            }
        }
    }
    // How the file is laid out, and so what is hit, depends on when the writer commits.
    assert!(told >= 10, "{told} of 47 damaged files were told");
}

/// A disk that can be full.
#[derive(Debug)]
struct Full {
    file: FileBackend,
    full: Arc<AtomicBool>,
}

impl Full {
    fn check(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Full {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_when_there_is_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    let full = Arc::new(AtomicBool::new(false));
    let broken = Arc::new(AtomicBool::new(false));
    let (file, is_full, is_broken) = (path.clone(), Arc::clone(&full), Arc::clone(&broken));
    let opener = move || {
        assert!(!is_broken.load(Ordering::Relaxed), "a fault of the library");
        let options = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&file);
        let backend = Full { file: FileBackend::new(options.unwrap()).unwrap(), full: Arc::clone(&is_full) };
        let database = Database::builder().create_with_backend(backend);
        Disk::new(database.map_err(|error| StoreError::from_redb(&file, &error.into()))?, &file)
    };
    let (store, _) = Store::start(&path, Box::new(opener), limits(), Clock::start()).unwrap();
    store.put_bar(key("A", Interval::Minute, 0), &bar(0, "1"));
    store.flush(PATIENCE).unwrap();

    full.store(true, Ordering::Relaxed);
    for start in 1..100 {
        store.put_bar(key("A", Interval::Minute, start * 60), &bar(start, "2"));
    }
    for failures in 1..4 {
        let error = store.flush(PATIENCE).unwrap_err();
        assert!(matches!(&error, StoreError::NotWritten { .. }), "{error}");
        let stats = store.stats();
        assert!(stats.failing && stats.failures >= failures && stats.last_failure.is_some(), "{stats:?}");
        assert_eq!((stats.pending_bars, stats.dropped), (99, 0));
    }
    store.put_bar(key("A", Interval::Minute, 60), &bar(1, "3"));

    broken.store(true, Ordering::Relaxed);
    let error = store.flush(PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "the store could not be written: the library of the store panicked");

    broken.store(false, Ordering::Relaxed);
    full.store(false, Ordering::Relaxed);
    store.flush(PATIENCE).unwrap();
    assert!(!store.stats().failing);
    assert_eq!((store.stats().bars, store.stats().pending_bars), (100, 0));
    drop(store);
    let (_, loaded) = open(&path, limits()).unwrap();
    let bars = &loaded.series[0].bars;
    assert_eq!((bars.len(), bars[98].1.close.to_string()), (100, "3".to_owned()));
}

/// Puts bars as fast as it may until it is killed, and tells which are durable. Run by the test below in a process of
/// its own.
#[test]
#[ignore = "is killed by another test"]
fn child_that_puts_bars() {
    let Some(path) = std::env::var_os("CORE_ENGINE_TEST_STORE") else { return };
    let (store, _) = open(Path::new(&path), limits()).unwrap();
    let (started, mut told) = (Instant::now(), 0);
    for number in 1_i64.. {
        store.put_bar(key("A", Interval::Minute, number * 60), &bar(number, "1"));
        let durable = store.durable();
        if durable > told || number % 100 == 0 {
            told = durable;
            println!("BAR {number} {} {durable}", started.elapsed().as_millis());
        }
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

#[test]
fn a_killed_process_leaves_a_store_that_opens_with_everything_that_was_durable() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3_usize {
        let path = folder.path().join(format!("{round}.redb"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::child_that_puts_bars", "--exact", "--ignored", "--nocapture"])
            .env("CORE_ENGINE_TEST_STORE", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told: Vec<(usize, u64, usize)> = Vec::new();
        for line in lines.map_while(Result::ok) {
            let numbers: Vec<_> = line.strip_prefix("BAR ").unwrap_or("").split(' ').collect();
            let [number, at_ms, durable] = numbers[..] else { continue };
            told.push((number.parse().unwrap(), at_ms.parse().unwrap(), durable.parse().unwrap()));
            // After some commits, at another moment each time.
            if told.last().unwrap().2 > 0 && told.len() >= 20 + 7 * round && child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let (_, at_ms, durable) = *told.last().unwrap();
        let (store, loaded) = open(&path, StoreLimits { load_bars_per_key: 1_000_000, ..limits() }).unwrap();
        let bars = &loaded.series[0].bars;
        // No holes, because a commit is all or nothing.
        let newest = usize::try_from(bars[0].0 / 60).unwrap();
        assert_eq!((bars.len(), loaded.unreadable), (newest, 0));
        assert!(newest >= durable, "{durable} bars were durable, {newest} are there");
        let (_, lost_from_ms, _) = told.iter().find(|told| told.0 > newest).copied().unwrap_or((0, at_ms, 0));
        println!("round {round}: killed at {at_ms} ms, bars since {lost_from_ms} ms are lost");
        drop(store);
    }
}

/// Takes in 100,000 ticks a second of 1,000 symbols and stores their bars until it is killed. Run by the test below.
#[test]
#[ignore = "is killed by another test"]
fn child_under_load() {
    let Some(path) = std::env::var_os("CORE_ENGINE_TEST_STORE") else { return };
    let (store, _) = open(Path::new(&path), limits()).unwrap();
    let mut intake = Intake::new(RingLimits::default(), BarLimits::default(), RingLimits::of_bars());
    let samples: Vec<_> =
        (0..1_000).map(|number| crate::tick::samples::value("s", 1, &format!("SYMBOL{number}USDT"))).collect();
    let mut put = |source: &Arc<str>, symbol: &Arc<str>, event: &Event| {
        if let Event::Bar { interval, bucket, bar, .. } = event {
            let (source, symbol) = (Arc::clone(source), Arc::clone(symbol));
            store.put_bar(BarKey { source, symbol, interval: *interval, start: bucket.start }, bar);
        }
    };
    let (started, mut busy) = (Instant::now(), Duration::ZERO);
    for round in 1_u32.. {
        let now = Timestamp::now();
        let began = Instant::now();
        for sample in &samples {
            let mut value = Value::clone(sample);
            (value.sequence, value.tick.timestamp) = (u64::from(round), now);
            intake.record(&Arc::new(value), None, now, &mut put);
        }
        if round % 25 == 0 {
            intake.advance(now, &mut put);
        }
        busy += began.elapsed();
        println!("AT {} {round} {}", now.as_millisecond(), busy.as_millis());
        while let Some(left) = (Duration::from_millis(10) * round).checked_sub(started.elapsed()) {
            std::thread::park_timeout(left);
        }
    }
}

/// How old the newest stored tick of a symbol is when the process that took it in is killed under load; printed.
#[test]
#[ignore = "measures"]
fn lost_by_a_kill_under_load() {
    for rounds in [511, 533, 546, 560, 574] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.redb");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::child_under_load", "--exact", "--ignored", "--nocapture"])
            .env("CORE_ENGINE_TEST_STORE", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut last = (0_i64, 0_i64, 0_i64);
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let numbers: Vec<i64> =
                line.strip_prefix("AT ").unwrap_or("").split(' ').filter_map(|number| number.parse().ok()).collect();
            let [at_ms, round, busy_ms] = numbers[..] else { continue };
            last = (at_ms, round, busy_ms);
            if round == rounds {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let started = Instant::now();
        let (store, loaded) = open(&path, limits()).unwrap();
        let opened = started.elapsed();
        let days = loaded.series.iter().filter(|series| series.interval == Interval::Day);
        let newest: Vec<_> = days.map(|series| series.bars[0].1.last.at.as_millisecond()).collect();
        let seconds: usize =
            loaded.series.iter().filter(|series| series.interval == Interval::Second).map(|s| s.bars.len()).sum();
        println!(
            "killed after {} rounds of 1,000 ticks ({} ms busy): {} symbols, at most {} ms lost; {seconds} bars of a \
             second; opened in {opened:?}",
            last.1,
            last.2,
            newest.len(),
            last.0 - newest.iter().min().unwrap(),
        );
        drop(store);
    }
}

/// What the writer does in one commit, at the rate of 1,000 symbols: a bar of a second each, and thrice the state of a
/// minute, an hour and a day. Printed, never asserted.
#[test]
#[ignore = "measures"]
fn commit_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.redb");
    let (store, _) = open(&path, limits()).unwrap();
    let symbols: Vec<Arc<str>> = (0..1_000).map(|number| Arc::from(format!("SYMBOL{number}USDT"))).collect();
    for round in 0..40_i64 {
        let started = Instant::now();
        for symbol in &symbols {
            for (interval, start) in [
                (Interval::Second, round / 2),
                (Interval::Minute, round / 120 * 60),
                (Interval::Hour, 0),
                (Interval::Day, 0),
            ] {
                let key = BarKey { source: Arc::from("s"), symbol: Arc::clone(symbol), interval, start };
                store.put_bar(key, &bar(round, "64012.50"));
            }
        }
        let put = started.elapsed();
        store.flush(PATIENCE).unwrap();
        if round % 10 == 9 {
            let size = std::fs::metadata(&path).unwrap().len();
            let StoreStats { last_commit_took, bars, bytes, .. } = store.stats();
            println!("4,000 puts {put:?}, commit {last_commit_took:?}; {bars} bars, {bytes} bytes, file {size} bytes");
        }
    }
}
