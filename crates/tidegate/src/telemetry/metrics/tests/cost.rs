//! What counting and scraping cost. Figures to read, run by hand:
//! `cargo test --profile fast -p tidegate --lib metrics::tests::cost -- --ignored --nocapture --test-threads 1`.

use std::hint::black_box;

use crate::time::now;

use super::*;

#[test]
#[ignore = "a measurement"]
fn cost_of_a_request() {
    const REQUESTS: u32 = 5_000_000;
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let listener = metrics.listener(&"public".into());
    let route = metrics.route(&labels("orders", "shop"));
    let service = metrics.service(&"shop".into());
    for exemplar in [None, Some(Exemplar { trace_id: [7; 16], unix_ms: 1 })] {
        let begun = now();
        for number in 0..REQUESTS {
            let guard = listener.request(worker(0));
            service.attempted(worker(0), Code::Ok, Duration::from_micros(u64::from(number % 4_000)));
            let sample = sample(listener.id(), metrics.method(black_box(&Method::GET)));
            let status = if number % 10 == 0 { 404 } else { 200 };
            let duration = Duration::from_micros(u64::from(number % 4_096));
            black_box(&route).finished(worker(0), &Sample { status, duration, exemplar, ..sample });
            drop(guard);
        }
        println!("{:?} a request, exemplars: {}", (now() - begun) / REQUESTS, exemplar.is_some());
    }
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_page() {
    for routes in [40, 5_000] {
        let metrics = Metrics::new(SLOTS, ALL_SERIES);
        let listener = metrics.listener(&"public".into());
        let routes: Vec<_> =
            (0..routes).map(|number| metrics.route(&labels(&format!("route-{number}"), "s"))).collect();
        for route in &routes {
            fill_route(&metrics, route, listener.id());
        }
        let begun = now();
        let page = black_box(text(&metrics, now()));
        let took = now() - begun;
        println!("{} routes, {} lines, {} bytes: {took:?}", routes.len(), page.lines().count(), page.len());
    }
}
