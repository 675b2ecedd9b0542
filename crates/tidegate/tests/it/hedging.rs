//! Attempts beside the first one: the first good answer counts, the others are cancelled, and nothing is sent twice that must
//! not be.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h2::Reason;
use tempfile::TempDir;
use tidegate_testkit::collector::attribute;
use tidegate_testkit::web::{bytes, ok};
use tidegate_testkit::{Collector, Gateway, Part, Peer, Request, Script, Web, eventually, get, post, shop, soon, tls};
use tokio::net::TcpListener;

/// Two backends in turn behind one route; `policy` stands on the service, `hedge` on the route.
fn config(webs: [&Web; 2], policy: &str, hedge: &str) -> String {
    let [one, other] = webs.map(Web::address);
    format!(
        "runtime: {{ workers: 1 }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  web: {{ endpoints: [\"http://{one}\", \"http://{other}\"], load_balancing: {{ policy: round_robin }}{policy} }}\n\
         routes:\n  - {{ name: api, path: \"/{{rest=**}}\", service: web, hedge: {hedge} }}\n"
    )
}

/// Two backends of which the one that is asked first hangs while `hangs` is set.
async fn pair(hangs: &Arc<AtomicBool>) -> [Web; 2] {
    let make = async || {
        let hangs = Arc::clone(hangs);
        Web::start(move |heard| {
            if hangs.swap(false, Ordering::SeqCst) {
                return vec![Part::Wait, Part::Close];
            }
            ok(&String::from_utf8_lossy(&heard.body))
        })
        .await
    };
    [make().await, make().await]
}

/// How many requests were hedged; which attempt was the faster one is up to the machine.
async fn hedged(gateway: &Gateway) -> u32 {
    let page = gateway.ask_admin(&get("/metrics")).await.text().to_owned();
    let lines = page.lines().filter(|line| line.starts_with("tidegate_hedges_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum()
}

async fn metric(gateway: &Gateway, line: &str) -> bool {
    gateway.ask_admin(&get("/metrics")).await.text().contains(line)
}

fn heard(webs: &[Web; 2]) -> usize {
    webs.iter().map(|web| web.heard().len()).sum()
}

#[tokio::test]
async fn the_first_good_answer_counts_and_the_other_attempt_is_cancelled() {
    let hangs = Arc::new(AtomicBool::new(false));
    let webs = pair(&hangs).await;
    let gateway = Gateway::start(&config([&webs[0], &webs[1]], "", "{ after: 5ms }"));
    for (number, request) in [get("/"), Request::new("PUT", "/a").body("whole")].iter().enumerate() {
        hangs.store(true, Ordering::SeqCst);
        let answer = gateway.send(request).await;
        assert_eq!((answer.status, answer.text()), (200, if number == 0 { "" } else { "whole" }));
        let sent = heard(&webs);
        assert_eq!(sent, 2 * (number + 1), "one more at the other endpoint");
        // The connection of the attempt that was given up is closed, the other is kept.
        eventually("the backend sees the end of it", async || webs.iter().map(Web::open).sum::<usize>() <= 2).await;
    }
    assert_eq!(hedged(&gateway).await, 2);
    let connections: Vec<usize> = webs.iter().map(Web::connections).collect();
    assert!(connections.iter().sum::<usize>() <= 4, "{connections:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_trace_has_both_attempts_and_says_which_one_was_given_up() {
    let mut collector = Collector::grpc().await;
    let hangs = Arc::new(AtomicBool::new(true));
    let webs = pair(&hangs).await;
    let tracing = format!(
        "observability: {{ logs: {{ access: {{ output: /dev/null }} }}, tracing: {{ otlp: \"{}\", sample_ratio: 1.0 }} }}\n",
        collector.url()
    );
    let gateway = Gateway::start(&(config([&webs[0], &webs[1]], "", "{ after: 5ms }") + &tracing));
    assert_eq!(gateway.get("/").await.status, 200);
    gateway.stop().await;
    let spans = collector.spans(3).await;
    let errors: Vec<String> =
        spans.iter().filter(|span| span.kind == 3).map(|span| attribute(&span.attributes, "error.type")).collect();
    assert!(errors == ["hedged", ""] || errors == ["", "hedged"], "{errors:?}");
}

#[tokio::test]
async fn a_failure_does_not_count_while_another_attempt_may_do_better() {
    let asked = Arc::new(AtomicUsize::new(0));
    let make = async || {
        let asked = Arc::clone(&asked);
        Web::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => [vec![Part::Wait], ok("slow")].concat(),
            _ => vec![bytes("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")],
        })
        .await
    };
    let webs = [make().await, make().await];
    let gateway = Gateway::start(&config([&webs[0], &webs[1]], ", retry: { max_retries: 1 }", "{ after: 1ms }"));
    let (answer, ()) = tokio::join!(gateway.get("/"), async {
        eventually("both are asked", async || asked.load(Ordering::SeqCst) == 2).await;
        webs.iter().for_each(Web::release);
    });
    assert_eq!((answer.status, answer.text()), (200, "slow"));
    assert_eq!(hedged(&gateway).await, 1);
    gateway.stop().await;
}

/// One backend has the request and fails it, then the other one turns out to be out of reach. That alone would be no retry,
/// since nothing was sent there; but a backend has been asked, so whatever follows is one.
#[tokio::test]
async fn after_a_backend_was_reached_what_follows_is_a_retry_whoever_was_out_of_reach() {
    // It takes connections and shakes no hands.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unreachable = silent.local_addr().unwrap();
    let plan = "{ max_retries: 1, retry_on: [connect_failure], backoff: { base: 1ms, max: 1ms } }";
    for (retry, status, sent) in [("null", 503, 1), (plan, 200, 2)] {
        let web =
            Web::start(|heard| if heard.connection == 0 { vec![Part::Wait, Part::Close] } else { ok("late") }).await;
        let yaml = config(
            [&web, &web],
            &format!(", connect_timeout: 2s, tls: {{ ca: tls.crt }}, retry: {retry}"),
            "{ after: 5ms }",
        );
        let second = format!("\"http://{}\"]", web.address());
        let folder = TempDir::new().unwrap();
        tls::write_certificate(folder.path());
        let gateway = Gateway::start_in(folder, &yaml.replace(&second, &format!("\"https://{unreachable}\"]")));
        let (answer, _never_shaken) = tokio::join!(gateway.get("/"), async {
            let connection = soon(silent.accept()).await.unwrap();
            eventually("the other one has it", async || web.heard().len() == 1).await;
            web.release();
            connection
        });
        assert_eq!((answer.status, web.heard().len()), (status, sent), "{retry}");
        let recovered = "tidegate_retries_total{service=\"web\",outcome=\"recovered\"} 1\n";
        assert_eq!(metric(&gateway, recovered).await, sent == 2, "{retry}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_ledger_of_hedged_requests_balances_and_no_post_is_sent_twice() {
    let count = Arc::new(AtomicUsize::new(0));
    let make = async || {
        let count = Arc::clone(&count);
        // Every third request is slow.
        Web::start(move |_| match count.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => [vec![Part::Wait], ok("late")].concat(),
            _ => ok("fine"),
        })
        .await
    };
    let webs = [make().await, make().await];
    let policy = ", retry: { budget: { min_per_second: 1000 } }";
    let gateway = Gateway::start(&config([&webs[0], &webs[1]], policy, "{ after: 1ms, max_hedges: 1 }"));
    let mut running = Vec::new();
    for id in 0..60 {
        let path = format!("/{id}");
        let request = if id % 2 == 0 { get(&path) } else { post(&path, "{}") };
        let mut http1 = gateway.http1().await;
        running.push(tokio::spawn(async move { http1.send(&request).await.status }));
    }
    // What is slow goes on only now and then, for as long as anybody waits.
    let releasing = async {
        loop {
            webs.iter().for_each(Web::release);
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let answered = async {
        let mut answered = 0;
        for one in running {
            answered += usize::from(soon(one).await.unwrap() == 200);
        }
        answered
    };
    let answered = tokio::select! { answered = answered => answered, () = releasing => 0 };
    assert_eq!(answered, 60, "issued is answered");
    let mut seen: HashMap<String, usize> = HashMap::new();
    for heard in webs.iter().flat_map(Web::heard) {
        *seen.entry(heard.line().to_owned()).or_default() += 1;
    }
    for id in 0..60 {
        let method = if id % 2 == 0 { "GET" } else { "POST" };
        let times = seen.get(&format!("{method} /{id} HTTP/1.1")).copied().unwrap_or(0);
        let most = if id % 2 == 0 { 2 } else { 1 };
        assert!((1..=most).contains(&times), "{method} {id}: {times}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_another_endpoint_or_a_budget_nothing_is_hedged() {
    let slow = async || Web::start(|_| [vec![Part::Wait], ok("slow")].concat()).await;
    let webs = [slow().await, slow().await];
    let policy = ", retry: { budget: { ratio: 0, min_per_second: 0 } }";
    let gateway = Gateway::start(&config([&webs[0], &webs[1]], policy, "{ after: 1ms }"));
    let (answer, ()) = tokio::join!(gateway.get("/"), async {
        let exhausted = "tidegate_retry_budget_exhausted_total{service=\"web\"} 1\n";
        eventually("the budget was asked", async || metric(&gateway, exhausted).await).await;
        webs.iter().for_each(Web::release);
    });
    assert_eq!((answer.text(), heard(&webs)), ("slow", 1));
    gateway.stop().await;

    let web =
        Web::start(|heard| if heard.line().contains("slow") { [vec![Part::Wait], ok("")].concat() } else { ok("") });
    let web = web.await;
    let yaml = format!(
        "services:\n  web: {{ address: \"http://{}\" }}\nroutes:\n  - {{ name: api, path: \"/{{rest=**}}\", service: web, hedge: {{ after: 1ms }} }}\n",
        web.address()
    );
    let gateway = Gateway::start(&yaml);
    let (answer, ()) = tokio::join!(gateway.get("/slow"), async {
        eventually("it is asked", async || web.heard().len() == 1).await;
        // Others come and go meanwhile, which takes longer than the wait.
        for _ in 0..20 {
            assert_eq!(gateway.get("/quick").await.status, 200);
        }
        web.release();
    });
    assert_eq!((answer.status, web.heard().len()), (200, 21));
    gateway.stop().await;
}

#[tokio::test]
async fn a_percentile_is_known_once_enough_answers_have_come() {
    let hangs = Arc::new(AtomicBool::new(false));
    let webs = pair(&hangs).await;
    let gateway = Gateway::start(&config([&webs[0], &webs[1]], "", "{ percentile: 95 }"));
    let mut http1 = gateway.http1().await;
    for _ in 0..60 {
        assert_eq!(http1.send(&get("/")).await.status, 200);
    }
    hangs.store(true, Ordering::SeqCst);
    let answer = http1.send(&get("/")).await;
    assert_eq!(answer.status, 200, "another endpoint has answered");
    assert!(heard(&webs) >= 62);
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_is_hedged_if_it_may_be_made_twice() {
    let hold = || Script::new().hold().message(shop::order()).status(0, "");
    let mut slow = Peer::with("GetOrder", hold()).await;
    slow.on("CreateOrder", hold());
    let mut quick = Peer::with("GetOrder", Script::ok(shop::order())).await;
    quick.on("CreateOrder", hold());
    let yaml = format!(
        "runtime: {{ workers: 1 }}\nadmin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  shop: {{ endpoints: [\"{}\", \"{}\"], load_balancing: {{ policy: round_robin }}, descriptors: shop.pb }}\nroutes:\n\
         \x20 - {{ name: get, path: \"/orders/{{id}}\", method: GET, service: shop, grpc: shop.v1.OrderService/GetOrder, hedge: {{ after: 5ms }} }}\n\
         \x20 - {{ name: create, path: /orders, method: POST, body: \"*\", service: shop, grpc: shop.v1.OrderService/CreateOrder, hedge: {{ after: 1ms }} }}\n",
        slow.address(),
        quick.address()
    );
    let gateway = Gateway::start(&yaml);
    for _ in 0..2 {
        assert_eq!(gateway.get("/orders/7").await.status, 200);
    }
    let (mut given_up, given_up_at) = (soon(slow.call()).await, slow.address());
    assert_eq!(soon(given_up.reset()).await, Reason::CANCEL, "the backend is told");
    assert!(hedged(&gateway).await > 0);
    let before = slow.calls() + quick.calls();
    let (created, ()) = tokio::join!(gateway.post("/orders", "{}"), async {
        eventually("it is called", async || slow.calls() + quick.calls() > before).await;
        // Others are hedged meanwhile, so the wait is over.
        for _ in 0..4 {
            assert_eq!(gateway.get("/orders/7").await.status, 200);
        }
        slow.release(100);
        quick.release(100);
    });
    assert_eq!(created.status, 200);
    let mut creates = 0;
    for peer in [&mut slow, &mut quick] {
        for _ in 0..peer.calls() - usize::from(peer.address() == given_up_at) {
            creates += usize::from(peer.call().await.path.ends_with("CreateOrder"));
        }
    }
    assert_eq!(creates, 1);
    gateway.stop().await;
}
