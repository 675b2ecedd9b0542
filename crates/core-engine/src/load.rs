//! How fast values are taken in with everything on; printed, never asserted.
//!
//! `cargo test --release -p core-engine --lib load -- --ignored --nocapture`

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rust_decimal::Decimal;

use crate::clock::Clock;
use crate::feed::Feed;
use crate::press::Press;
use crate::settings::{Settings, StoreSettings};
use crate::store::Store;
use crate::streams::Streams;
use crate::tape::Tape;
use crate::tick::Tick;

const SYMBOLS: usize = 200;
const TICKS: usize = 2_000_000;

/// One thread takes in what one exchange sends; another writes to the disk, and a third closes bars, as in the engine.
#[test]
#[ignore = "measures"]
fn values_a_second_with_all_buffers_and_the_store() {
    let settings = Settings::default();
    let folder = tempfile::tempdir().unwrap();
    let store = StoreSettings::at(folder.path().join("engine.redb"));
    let clock = Clock::start();
    let (store, _) = Store::open(&store.path, store.limits(), clock).unwrap();
    let store = Arc::new(store);
    let tape = Arc::new(Mutex::new(Tape::new(settings.tape_limits(), Some(Arc::clone(&store)))));
    let press = Arc::new(Press::new(settings.news.library(), None, 1));
    let streams = Arc::new(Streams::new(settings.streams));
    let feed = Feed::new(Arc::from("binance"), clock, Arc::clone(&tape), press, streams);
    let symbols: Vec<Arc<str>> = (0..SYMBOLS).map(|number| Arc::from(format!("SYMBOL{number}USDT"))).collect();
    let subscriptions: Vec<_> = (0..100).map(|_| feed.subscribe(&symbols[..10]).unwrap()).collect();
    let advancing = Arc::clone(&tape);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let closer = std::thread::spawn(move || {
        while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
            advancing.lock().advance(clock.now());
            std::thread::park_timeout(Duration::from_millis(200));
        }
    });
    let mut random = fastrand::Rng::with_seed(1);
    let additional = Arc::default();
    let started = Instant::now();
    for _ in 0..TICKS {
        feed.record(Tick {
            symbol: Arc::clone(&symbols[random.usize(..SYMBOLS)]),
            price: Decimal::new(6_400_000 + random.i64(-5_000..5_000), 2),
            volume: Decimal::new(random.i64(1..100_000), 4),
            timestamp: Timestamp::now() - SignedDuration::from_millis(random.i64(0..50)),
            bar: None,
            zone: None,
            additional: Arc::clone(&additional),
        });
    }
    let took = started.elapsed().as_secs_f64();
    println!("values/s on one thread: {:.0}, {:.0} ns each", TICKS as f64 / took, took * 1e9 / TICKS as f64);
    store.flush(Duration::from_secs(10)).unwrap();
    let (counts, stats) = (tape.lock().values().0, store.stats());
    println!("in memory: {} values of {} symbols, {} KiB", counts.items, counts.keys, counts.bytes / 1024);
    println!("store: {} bars in {} commits, {} dropped", stats.bars, stats.commits, stats.dropped);
    drop(subscriptions);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    closer.join().unwrap();
}

/// What an exchange's message costs from its text to the feed.
#[tokio::test]
#[ignore = "measures"]
async fn messages_a_second() {
    use crate::source::foreign;
    let text = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1764340200000,"s":"BTCUSDT","t":12345,"p":"64000.10000000","q":"0.50000000","T":1764340200000,"m":true,"M":true}}"#;
    let started = Instant::now();
    for _ in 0..1_000_000 {
        assert!(foreign::read(crate::fuzzing::Market::Binance, text.as_bytes()).is_ok());
    }
    let took = started.elapsed().as_secs_f64();
    println!("messages/s on one thread: {:.0}", 1e6 / took);
}
