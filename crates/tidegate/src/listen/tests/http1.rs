use proptest::prelude::*;

use super::*;
use crate::listen::http1::framing::tests::{FollowedWhole, follow_whole, piece};

/// What a client got until the connection ended, and how long that took.
struct Reply {
    text: String,
    took: Duration,
}

impl Reply {
    /// The status codes of all answers.
    fn statuses(&self) -> Vec<u16> {
        let lines = self.text.split("HTTP/1.").skip(1);
        lines.map(|line| line.get(2..5).unwrap().parse().unwrap()).collect()
    }
}

/// Sends `input` and reads to the end of the connection; an idle one ends after a minute of the paused clock.
async fn converse(input: &[u8]) -> Reply {
    converse_with(pipe(), input).await
}

async fn converse_with(pipe: Pipe, input: &[u8]) -> Reply {
    let begun = Instant::now();
    let (mut read, mut write) = tokio::io::split(pipe.client);
    let sending = async {
        // The server may close before it has read everything.
        let _closed = write.write_all(input).await;
    };
    let mut reply = Vec::new();
    let reading = read.read_to_end(&mut reply);
    let (_, _closed) = tokio::join!(sending, reading);
    Reply { text: String::from_utf8(reply).unwrap(), took: begun.elapsed() }
}

/// `closes`: the server ends the connection of its own accord, long before it would be idle for too long.
async fn check(input: &str, statuses: &[u16], closes: bool) {
    let reply = converse(input.as_bytes()).await;
    assert_eq!(reply.statuses(), statuses, "{input:?} → {}", reply.text);
    assert_eq!(reply.took < Duration::from_secs(5), closes, "{input:?} took {:?}: {}", reply.took, reply.text);
}

#[tokio::test(start_paused = true)]
async fn good_requests_are_answered_on_one_connection() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check(get, &[200], false).await;
    check(&get.repeat(20), &[200; 20], false).await;
    check("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &[200], false).await;
    check("GET /empty HTTP/1.1\r\nHost: a\r\n\r\n", &[204], false).await;
    check("GET / HTTP/1.0\r\nHost: a\r\n\r\n", &[200], true).await;
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[200], true).await;
    check("GET /panic HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[500, 200], false).await;
}

#[tokio::test(start_paused = true)]
async fn hints_come_before_the_answer_or_not_at_all() {
    let hint = |query: &str| format!("GET /hint{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = converse([hint("?1"), hint(""), hint("?0"), hint("?1")].concat().as_bytes()).await;
    assert_eq!(reply.statuses(), [103, 200, 200, 200, 103, 200], "{}", reply.text);
    assert_eq!(reply.text.matches("link: </a>\r\n").count(), 2, "{}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn a_101_that_nobody_asked_for_is_none() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check(&format!("GET /switch HTTP/1.1\r\nHost: a\r\n\r\n{get}"), &[500], true).await;
}

#[tokio::test(start_paused = true)]
async fn bodies_reach_the_handler() {
    let sized = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let reply = converse(sized.repeat(2).as_bytes()).await;
    assert_eq!((reply.statuses(), reply.text.matches("\r\n\r\nabc").count()), (vec![200, 200], 2), "{}", reply.text);
    let chunked =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\nt: u\r\n\r\n";
    let reply = converse(chunked.repeat(2).as_bytes()).await;
    assert_eq!((reply.statuses(), reply.text.matches("\r\n\r\nabc").count()), (vec![200, 200], 2), "{}", reply.text);
    assert!(!reply.text.contains("connection: close"));
    // In tiny pieces it is the same body.
    let tiny = "1\r\nx\r\n".repeat(5_000);
    let chunked = format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{tiny}0\r\n\r\n");
    let reply = converse(chunked.as_bytes()).await;
    assert!(reply.text.ends_with(&format!("\r\n\r\n{}", "x".repeat(5_000))), "{}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_a_body_and_ends_the_connection() {
    let cases = [
        ("\x16\x03\x01", 400),
        ("GET /\r\n", 400),
        ("Content-Length: 5\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (input, status) in cases {
        check(input, &[status], true).await;
        let reply = converse(input.as_bytes()).await;
        let word = if status == 405 { "method_not_allowed" } else { "bad_request" };
        assert!(reply.text.contains(&format!("\r\n\r\n{word}: ")), "{}", reply.text);
        assert!(reply.text.contains("connection: close"), "{}", reply.text);
    }
    check(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000)), &[414], true).await;
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "x".repeat(40_000)), &[431], true).await;
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(100)), &[431], true).await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_request_does_not_spoil_the_one_before_it() {
    let input = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost : a\r\n\r\n";
    check(input, &[200, 400], true).await;
    check("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\0", &[200, 400], true).await;
    check("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX", &[400], true).await;
}

#[tokio::test(start_paused = true)]
async fn large_heads_within_the_limits_are_answered() {
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "x".repeat(32 * 1024 - 40)), &[200], false).await;
    check(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(99)), &[200], false).await;
    check(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8191)), &[200], false).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_nobody_reads_is_dropped_or_ends_the_connection() {
    let whole = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    check(&whole.repeat(2), &[200, 200], false).await;
    for framing in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
        let reply = converse(format!("POST /ignore HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await;
        assert_eq!(reply.statuses(), [200]);
        assert!(reply.text.contains("connection: close"), "{}", reply.text);
        assert!(reply.took < Duration::from_secs(5));
    }
    // The rest is short: it may come later, and the next request behind it.
    let head = "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n";
    let rest = "x".repeat(65_536);
    let reply = dribble(&[(0, head), (1, &rest), (2, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")]).await;
    assert_eq!(reply.statuses(), [200, 200], "{}", reply.text);
    assert!(!reply.text.contains("connection: close"));
    // It does not come.
    let reply = dribble(&[(0, head), (1, "x")]).await;
    assert_eq!(reply.statuses(), [200]);
    assert!(reply.took < Duration::from_secs(10), "{:?}", reply.took);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_100_is_asked_only_if_its_body_is_wanted() {
    let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    check(&format!("POST /ignore {head}"), &[200], true).await;
    let reply = dribble(&[(0, &format!("POST /echo {head}")), (1, "abc")]).await;
    assert_eq!(reply.statuses(), [100, 200]);
    // What is here already need not be asked for.
    check(&format!("POST /echo {head}abc"), &[200], false).await;
}

#[tokio::test(start_paused = true)]
async fn no_interim_answer_stands_in_an_answer_that_has_begun() {
    for framing in ["Content-Length: 3", "Transfer-Encoding: chunked"] {
        let head = format!("POST /mirror HTTP/1.1\r\nHost: a\r\n{framing}\r\nExpect: 100-continue\r\n\r\n");
        let body = if framing.starts_with('T') { "3\r\nabc\r\n0\r\n\r\n" } else { "abc" };
        let reply = dribble(&[(0, &head), (1, body)]).await;
        assert_eq!(reply.statuses(), [200], "{}", reply.text);
    }
}

#[tokio::test(start_paused = true)]
async fn no_connection_is_promised_after_a_broken_body() {
    let input = "POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc";
    let reply = dribble(&[(0, input), (1, "X")]).await;
    assert_eq!(reply.statuses(), [200]);
    assert!(reply.text.contains("connection: close"), "{}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn the_authority_of_the_target_wins() {
    let reply = converse(b"GET http://b.example:1/host HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(reply.text.ends_with("b.example:1 /host"), "{}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_has_no_last_chunk() {
    let reply = converse(b"GET /broken HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!reply.text.contains("0\r\n\r\n"), "{}", reply.text);
    assert!(reply.took < Duration::from_secs(1));
}

/// Sends each of `pieces` after its time and reads to the end.
async fn dribble(pieces: &[(u64, &str)]) -> Reply {
    let begun = Instant::now();
    let (mut read, mut write) = tokio::io::split(pipe().client);
    let sending = async {
        for (at, piece) in pieces {
            tokio::time::sleep_until(begun + Duration::from_secs(*at)).await;
            if write.write_all(piece.as_bytes()).await.is_err() {
                return;
            }
        }
        std::future::pending().await
    };
    let mut reply = Vec::new();
    tokio::select! {
        () = sending => {}
        read = read.read_to_end(&mut reply) => { read.unwrap(); }
    }
    Reply { text: String::from_utf8(reply).unwrap(), took: begun.elapsed() }
}

#[tokio::test(start_paused = true)]
async fn slow_clients_lose_the_connection_at_their_deadline() {
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n";
    let big = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n{}", "x".repeat(50_000));
    /// When each piece is sent, the statuses, and when the connection ends; all in seconds.
    type Case<'a> = (&'a [(u64, &'a str)], &'a [u16], u64);
    let cases: [Case<'_>; 11] = [
        (&[], &[], 10),
        (&[(0, "GET /")], &[408], 10),
        (&[(0, "PRI * H")], &[408], 10),
        // Not even the beginning of a line that hyper would refuse at once, without a body, reaches it.
        (&[(0, "Content-Length: ")], &[408], 10),
        (&[(9, "GET / HTTP/1.1\r\n")], &[408], 10),
        (&[(0, "G"), (3, "E"), (6, "T"), (9, " "), (12, "/")], &[408], 10),
        (&[(9, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")], &[200], 69),
        // The second head has its own ten seconds, from its first byte.
        (&[(0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (50, "G")], &[200, 408], 60),
        (&[(0, post)], &[408], 5),
        (&[(0, post), (4, "x"), (8, "x")], &[408], 5),
        (&[(0, &big)], &[408], 15),
    ];
    for (pieces, statuses, seconds) in cases {
        let reply = dribble(pieces).await;
        assert_eq!(reply.statuses(), statuses, "{pieces:?}");
        let late = reply.took.as_secs_f64() - seconds as f64;
        // A refused client that does not close is waited for another second.
        assert!((0.0..=1.2).contains(&late), "{pieces:?}: {:?}", reply.took);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_not_idleness() {
    let mut pipe = pipe();
    pipe.client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(pipe.scripted.running(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_its_request() {
    let cases = [
        (Duration::ZERO, "/slow", 9),
        (Duration::from_secs(20), "/slow", 9),
        // Nobody asks for the rest of the body.
        (Duration::from_secs(20), "/slow", 8),
        (Duration::ZERO, "/echo", 8),
    ];
    for (drop_after, path, sent) in cases {
        let Pipe { mut client, scripted, .. } = pipe();
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789");
        client.write_all(&request.as_bytes()[..request.len() - 9 + sent]).await.unwrap();
        eventually(Duration::from_millis(100), || scripted.running() == 1).await;
        tokio::time::sleep(drop_after).await;
        drop(client);
        eventually(Duration::from_millis(100), || scripted.running() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let Pipe { mut client, control, .. } = pipe();
    client.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(control.open_requests(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(control.open_requests(), 0);
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert!(got.len() < BIG);
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_arrives_whole() {
    let reply = converse(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(reply.text.matches('x').count(), BIG);
    assert!(reply.text.ends_with("0\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_closed_after_an_answer() {
    let mut settings = settings(&BOTH);
    settings.timeouts.age = Duration::from_secs(100);
    let mut pieces = String::new();
    let Pipe { client, .. } = pipe_with(settings);
    let (mut read, mut write) = tokio::io::split(client);
    let begun = Instant::now();
    let asking = async {
        while write.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
    };
    let (_, read) = tokio::join!(asking, read.read_to_string(&mut pieces));
    read.unwrap();
    assert_eq!(pieces.matches("connection: close").count(), 1, "{pieces}");
    let took = begun.elapsed().as_secs();
    assert!((90..=150).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_is_closed_although_its_requests_never_run_out() {
    let mut settings = settings(&BOTH);
    settings.timeouts.age = Duration::from_secs(100);
    let reply =
        converse_with(pipe_with(settings), "GET /minute HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10).as_bytes()).await;
    assert_eq!(reply.statuses(), [200, 200, 200], "{}", reply.text);
    assert_eq!(reply.text.matches("connection: close").count(), 1, "{}", reply.text);
}

#[tokio::test(start_paused = true)]
async fn a_listener_for_one_protocol_says_so_to_the_other() {
    let http1 = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let reply = converse_with(pipe_with(settings(&[Protocol::Http2])), http1).await;
    assert_eq!(reply.statuses(), [505]);
    assert!(reply.text.contains("only HTTP/2"), "{}", reply.text);
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let reply = converse_with(pipe_with(settings(&[Protocol::Http1])), http2).await;
    assert_eq!(reply.statuses(), [505]);
}

#[tokio::test(start_paused = true)]
async fn draining_closes_idle_connections_and_finishes_running_requests() {
    let Pipe { mut client, control, .. } = pipe();
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    control.drain();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.write_all(b"abc").await.unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("connection: close") && reply.ends_with("abc"), "{reply}");

    let Pipe { mut client, control, .. } = pipe();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    control.drain();
    tokio::time::sleep(Duration::from_millis(400)).await;
    // One that was on its way.
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    assert_eq!((reply.matches("hello").count(), reply.matches("connection: close").count()), (2, 1), "{reply}");

    let Pipe { mut client, control, .. } = pipe();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    control.drain();
    client.read_to_string(&mut String::new()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "idle: soon");

    let Pipe { mut client, control, .. } = pipe();
    let begun = Instant::now();
    control.drain();
    client.read_to_string(&mut String::new()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "never used: soon");

    let Pipe { mut client, control, .. } = pipe();
    control.drain();
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("connection: close"), "just opened: {reply}");
}

/// A request ends when the last of its answer is handed over, which is not yet sent.
#[tokio::test(start_paused = true)]
async fn draining_waits_for_the_last_bytes_of_an_answer() {
    // Little fits, so that much waits in the connection.
    let (mut client, server) = tokio::io::duplex(1024);
    let (control, lane) = lane(settings(&BOTH));
    let conn = conn(&Arc::default(), &lane);
    tokio::spawn(async move { lane.run_until_cut(pin!(serve_plain(server, conn))).await });
    client.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    eventually(Duration::from_millis(100), || control.open_requests() == 1).await;
    control.drain();
    let ending = Arc::clone(&control);
    tokio::spawn(async move {
        ending.drained((Instant::now() + Duration::from_secs(60)).into_std()).await;
        ending.cut();
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut reply = Vec::new();
    while control.open_requests() > 0 {
        client.read_buf(&mut reply).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.read_to_end(&mut reply).await.unwrap();
    assert!(reply.ends_with(b"\r\n0\r\n\r\n"), "{} bytes", reply.len());
}

#[tokio::test(start_paused = true)]
async fn cutting_drops_what_runs() {
    let Pipe { mut client, control, scripted } = pipe();
    client.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    eventually(Duration::from_millis(100), || scripted.running() == 1).await;
    control.drain();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((scripted.running(), control.open_requests()), (1, 1));
    control.cut();
    eventually(Duration::from_millis(100), || scripted.running() == 0 && control.open_requests() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn refused_clients_may_still_be_sending() {
    // More than the pipe holds: the refusal must be readable although the rest is never taken.
    let mut input = String::from("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    for line in 0..20_000 {
        writeln!(input, "{line} some more").unwrap();
    }
    check(&input, &[400], true).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every answer is one of ours, and there is at most one for each request that the framing has seen.
    #[test]
    fn what_is_taken_apart_is_what_is_answered(pieces in proptest::collection::vec(piece(), 0..12)) {
        let input = pieces.concat();
        let followed = follow_whole(&input);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let reply = runtime.block_on(async {
            let mut pipe = pipe();
            pipe.client.write_all(&input).await.unwrap();
            let mut reply = Vec::new();
            let _reset = pipe.client.read_to_end(&mut reply).await;
            String::from_utf8_lossy(&reply).into_owned()
        });
        let bodies = reply.matches("hello").count() + reply.matches("bad_request: ").count();
        let statuses = Reply { text: reply.clone(), took: Duration::ZERO }.statuses();
        let answers = statuses.iter().filter(|status| **status != 100).count();
        prop_assert_eq!(answers, bodies, "an answer that is not ours: {}", reply);
        let FollowedWhole { heads, fault, partial } = followed;
        let most = heads + u64::from(fault) + u64::from(partial);
        prop_assert!(answers as u64 <= most, "{} answers, {} heads: {}", answers, heads, reply);
    }
}
