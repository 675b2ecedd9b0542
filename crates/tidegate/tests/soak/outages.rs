//! Backends that fail in every way, with a book of the requests.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate::time;
use tidegate_testkit::client::Http1;
use tidegate_testkit::{Program, Redis, get};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::BINARY;
use crate::backends::Backends;
use crate::ledger::{End, Ledger, Plan, Traffic};
use crate::scale::scaled;

const RATE: u32 = 2_000;
const MIX: &[&str] = &["GET", "GET", "POST", "GET", "PUT"];
const PLAN: Plan = Plan { rate: RATE, lanes: 100, methods: MIX, target: "/web" };

fn config(endpoints: &str) -> String {
    format!(
        "services:\n  web: {{ endpoints: {endpoints} }}\nroutes:\n  - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n"
    )
}

fn seconds(full: usize, least: usize) -> Duration {
    Duration::from_secs(scaled(full, least) as u64)
}

async fn end_of(program: &mut Program, traffic: Traffic, backends: &Backends) -> Ledger {
    let ledger = traffic.stop().await;
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    ledger.balance(&backends.received());
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn one_of_three_is_killed_every_ten_seconds() {
    let kills = scaled(30, 3);
    let mut backends = Backends::start(3, &[]);
    let mut program = Program::run(BINARY, &config(&backends.endpoints()));
    let traffic = Traffic::start(program.listener("main").await, PLAN);
    sleep(Duration::from_secs(2)).await;
    for kill in 0..kills {
        backends.kill(kill % 3);
        sleep(Duration::from_secs(5)).await;
        backends.restart(kill % 3);
        sleep(Duration::from_secs(5)).await;
    }
    let ledger = end_of(&mut program, traffic, &backends).await;
    println!("one_of_three_is_killed_every_ten_seconds: {kills} times; {ledger}");
    let (all, failed) = ledger.idempotent();
    assert!(failed * 2_000 <= all, "more than 0.05 %: {ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn one_of_three_is_stopped() {
    let lasts = seconds(30, 18);
    let backends = Backends::start(3, &[]);
    let mut program = Program::run(BINARY, &config(&backends.endpoints()));
    let traffic = Traffic::start(program.listener("main").await, PLAN);
    sleep(Duration::from_secs(5)).await;
    let stopped = Instant::now();
    backends.stop(1);
    sleep(lasts).await;
    backends.go_on(1);
    let gone = Instant::now();
    sleep(Duration::from_secs(8)).await;
    let ledger = end_of(&mut program, traffic, &backends).await;
    let step = Duration::from_secs(5);
    let p99 = |from: Instant| ledger.between(from, from + step).within_ms(0.99);
    println!(
        "one_of_three_is_stopped: for {} s; p99 before {:.1} ms, in its first five seconds {:.1} ms, second {:.1} ms, third \
         {:.1} ms, afterwards {:.1} ms; {ledger}",
        lasts.as_secs(),
        p99(stopped - step),
        p99(stopped),
        p99(stopped + step),
        p99(stopped + 2 * step),
        p99(gone)
    );
    assert!(ledger.failed() as u64 * 200 <= ledger.issued, "more than 0.5 %: {ledger}");
}

/// This moment, as the access log writes it.
fn stamp() -> String {
    String::from_utf8_lossy(&time::rfc3339_ms(time::unix_ms())).into_owned()
}

/// How long the gateway itself says that the requests took that ended between two moments, in milliseconds and in order. What
/// clients see has the time in it that they wait for the processors, which they share with it.
fn own_durations(log: &Path, from: &str, to: &str) -> Vec<f64> {
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ended = lines.filter(|line| (from..to).contains(&line["ts"].as_str().unwrap()));
    let mut durations: Vec<_> = ended.map(|line| line["duration_ms"].as_f64().unwrap()).collect();
    durations.sort_unstable_by(f64::total_cmp);
    durations
}

/// The one of sorted `durations` that `share` of them do not exceed.
fn within(durations: &[f64], share: f64) -> f64 {
    let index = ((durations.len() as f64 * share) as usize).min(durations.len().saturating_sub(1));
    durations.get(index).copied().unwrap_or(f64::INFINITY)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn all_are_down_and_come_back() {
    let lasts = seconds(30, 5);
    let mut backends = Backends::start(3, &[]);
    let access = "observability: { logs: { access: { output: access.log } } }\n";
    let mut program = Program::run(BINARY, &(config(&backends.endpoints()) + access));
    let address = program.listener("main").await;
    let traffic = Traffic::start(address, PLAN);
    sleep(Duration::from_secs(2)).await;
    // First they answer, but badly: what reaches them can be counted.
    backends.kill_all();
    backends.change(&["--fails"]);
    backends.restart_all();
    let (received, before) = (backends.received().len(), traffic.ended());
    sleep(lasts).await;
    let (received, ended) = (backends.received().len() - received, traffic.ended() - before);
    backends.kill_all();
    sleep(Duration::from_millis(500)).await;
    let (down, down_stamp) = (Instant::now(), stamp());
    sleep(lasts).await;
    let live = Http1::connect(address).await.send(&get("/health/liveness")).await.status;
    backends.change(&[]);
    let (back, back_stamp) = (Instant::now(), stamp());
    backends.restart_all();
    let up = Instant::now();
    let recovered = traffic.recovers().await;
    sleep(Duration::from_secs(5)).await;
    let ledger = end_of(&mut program, traffic, &backends).await;
    let dead = ledger.between(down, back);
    let own = own_durations(&program.folder().join("access.log"), &down_stamp, &back_stamp);
    let late = ledger.between(up + Duration::from_secs(2), Instant::now()).failed();
    println!(
        "all_are_down_and_come_back: {ended} requests made {received} at backends that failed; for {} s without any {} answers, \
         by the gateway's own clock p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms, by that of clients p99 {:.1} ms and longest \
         {:.1} ms; first answer {:.2} s after the start, {late} failed more than 2 s after it; {ledger}",
        lasts.as_secs(),
        own.len(),
        within(&own, 0.99),
        within(&own, 0.999),
        within(&own, 1.0),
        dead.within_ms(0.99),
        dead.within_ms(1.0),
        recovered.as_secs_f64()
    );
    assert_eq!(live, 200);
    assert!(own.len() as u64 * 10 >= dead.issued * 9, "{} lines of {}", own.len(), dead.issued);
    assert!(within(&own, 0.999) <= 5.0, "an outage is told within 5 ms");
    assert_eq!(late, 0, "{ledger}");
    // The budget looks back ten seconds, so it has a share of what came before as well, and all that these ten allow.
    let always = 10 * scaled(30, 5).max(10);
    assert!(received - ended <= (ended + before) / 5 + always, "{received} of {ended} after {before}");
    let others = dead.entries.iter().find(|entry| entry.end != End::Refused(503));
    assert!(dead.issued > 0 && others.is_none(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn idle_connections_are_closed_at_random() {
    let wanted = scaled(100_000, 5_000);
    let backends = Backends::start(2, &["--closes-idle"]);
    let mut program = Program::run(BINARY, &config(&backends.endpoints()));
    let traffic = Traffic::start(program.listener("main").await, PLAN);
    while traffic.ended() < wanted {
        sleep(Duration::from_millis(50)).await;
    }
    let ledger = end_of(&mut program, traffic, &backends).await;
    println!("idle_connections_are_closed_at_random: {ledger}");
    assert_eq!(ledger.idempotent().1, 0, "{ledger}");
}

/// Beside another service, with as many requests, first a quick one and then one ten times slower: what differs is not the
/// load of the machine, of which clients, gateway and backends share the processors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn a_slow_service_slows_no_other() {
    let lasts = seconds(20, 5);
    let after = |delay: &'static str| Backends::start(1, &["--delay-ms", delay]);
    let (web, quick, slow) = (after("20"), after("20"), after("200"));
    let yaml = format!(
        "services:\n  web: {{ endpoints: {} }}\n  quick: {{ endpoints: {} }}\n  slow: {{ endpoints: {} }}\nroutes:\n  \
         - {{ name: all, path: \"/{{rest=**}}\", service: web }}\n  - {{ name: quick, path: /quick, service: quick }}\n  \
         - {{ name: slow, path: /slow, service: slow }}\n",
        web.endpoints(),
        quick.endpoints(),
        slow.endpoints()
    );
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    let traffic = Traffic::start(address, Plan { rate: 1_000, ..PLAN });
    let mut steps = vec![Instant::now()];
    sleep(lasts).await;
    steps.push(Instant::now());
    let mut neighbours = Vec::new();
    for (target, backends) in [("/quick", &quick), ("/slow", &slow)] {
        let others = Traffic::start(address, Plan { rate: 1_000, lanes: 300, target, ..PLAN });
        sleep(lasts).await;
        steps.push(Instant::now());
        let others = others.stop().await;
        others.balance(&backends.received());
        neighbours.push(others);
    }
    let ledger = end_of(&mut program, traffic, &web).await;
    let words: Vec<_> = ["alone", "beside a quick service", "beside a service ten times slower"]
        .iter()
        .zip(steps.windows(2))
        .map(|(beside, step)| {
            let step = ledger.between(step[0], step[1]);
            format!("{beside} {:.1} and {:.1} ms", step.within_ms(0.5), step.within_ms(0.99))
        })
        .collect();
    println!(
        "a_slow_service_slows_no_other: p50 and p99 {}; {ledger}; the others: {} and {}",
        words.join(", "),
        neighbours[0],
        neighbours[1]
    );
    assert_eq!(ledger.failed() + neighbours[0].failed() + neighbours[1].failed(), 0, "{ledger}");
}

/// Limits that are kept in Redis, which is killed, and stopped, and comes back. The route without limits shows what the
/// machine itself adds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn redis_goes_away_under_limits() {
    let lasts = seconds(10, 3);
    let mut redis = Redis::start().await;
    let backends = Backends::start(1, &[]);
    let limit = "rate_limits: [{ name: shared, limit: 1000000/s, key: ip, store: redis }]";
    let yaml = format!(
        "redis: {{ url: '{}' }}\nservices:\n  web: {{ endpoints: {} }}\nroutes:\n  \
         - {{ name: free, path: /free, service: web, rewrite: {{ path: /web }} }}\n  - {{ name: limited, path: /web, service: web, {limit} }}\n",
        redis.url(),
        backends.endpoints()
    );
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    let plan = Plan { rate: 1_000, methods: &["GET"], ..PLAN };
    let (limited, free) = (Traffic::start(address, plan), Traffic::start(address, Plan { target: "/free", ..plan }));
    let mut phases = vec![("with Redis", Instant::now())];
    sleep(lasts).await;
    redis.kill().await;
    phases.push(("killed", Instant::now()));
    sleep(lasts).await;
    redis.restart().await;
    phases.push(("back", Instant::now()));
    sleep(lasts).await;
    redis.pause();
    phases.push(("silent", Instant::now()));
    sleep(lasts).await;
    redis.resume();
    phases.push(("back", Instant::now()));
    sleep(lasts).await;
    let end = Instant::now();
    let (limited, free) = (limited.stop().await, free.stop().await);
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    let ends = phases.iter().skip(1).map(|(_, begin)| *begin).chain([end]);
    let figures = phases.iter().zip(ends).map(|((name, begin), end)| {
        let (limited, free) = (limited.between(*begin, end), free.between(*begin, end));
        let of = |ledger: &Ledger| [0.5, 0.99, 0.999].map(|share| format!("{:.2}", ledger.within_ms(share))).join("/");
        format!("{name}: limited {}, free {}", of(&limited), of(&free))
    });
    let figures: Vec<_> = figures.collect();
    println!("redis_goes_away_under_limits: p50/p99/p99.9 in ms: {}; {limited}", figures.join("; "));
    assert_eq!((limited.failed(), free.failed()), (0, 0), "{limited}\n{free}");
}

/// Answers `/length/N` and `/chunks/N` with the first N bytes of an answer, and closes.
async fn cutting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let line = String::from_utf8(head).unwrap();
                let path = line.split(' ').nth(1).unwrap();
                let (kind, bytes) = path.trim_start_matches('/').split_once('/').unwrap();
                // The client may have gone; what matters is what it was told until then.
                let _gone = stream.write_all(&whole(kind)[..bytes.parse().unwrap()]).await;
            });
        }
    });
    address
}

const CUT_BODY: &[u8; 400] = &[b'x'; 400];

/// The complete answer, of which parts are sent.
fn whole(kind: &str) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n".to_vec();
    if kind == "length" {
        answer.extend_from_slice(b"content-length: 400\r\n\r\n");
        answer.extend_from_slice(CUT_BODY);
    } else {
        answer.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for chunk in CUT_BODY.chunks(100) {
            answer.extend_from_slice(b"64\r\n");
            answer.extend_from_slice(chunk);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak: make soak"]
async fn answers_are_cut() {
    const POSITIONS: usize = 200;
    let backend = cutting().await;
    // Failures are what is asked for here, so none may keep the next request away.
    let yaml = config(&format!("[\"http://{backend}\"], outlier_detection: null, circuit_breaker: null"));
    let mut program = Program::run(BINARY, &yaml);
    let address = program.listener("main").await;
    let (mut refused, mut broken, mut complete) = (0, 0, 0);
    for kind in ["length", "chunks"] {
        let length = whole(kind).len();
        for position in (0..=POSITIONS).map(|step| step * length / POSITIONS) {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("GET /{kind}/{position} HTTP/1.1\r\nhost: soak.test\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let is_whole = loop {
                if loadgen::http1::parse(&answer).unwrap().is_some() {
                    break true;
                }
                // A reset says it as well as an end.
                if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                    break false;
                }
            };
            match loadgen::http1::parse(&answer).unwrap() {
                Some(found) if found.status == 200 => {
                    assert_eq!(
                        (position, &*found.body),
                        (length, CUT_BODY.as_slice()),
                        "{kind}: passed on as complete"
                    );
                    complete += 1;
                }
                Some(found) => {
                    assert_eq!(found.status, 502, "{kind} cut after {position}");
                    refused += 1;
                }
                None => broken += 1,
            }
            assert!(is_whole || position < length, "{kind}: the whole answer was broken off");
        }
    }
    program.terminate();
    assert_eq!(program.code().await, 0, "{}", program.log());
    println!(
        "answers_are_cut: {} cut answers, {refused} refused, {broken} broken off, 0 passed on as complete",
        refused + broken
    );
    assert_eq!(complete, 2, "the two that were not cut");
}
