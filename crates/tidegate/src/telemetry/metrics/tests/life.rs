//! Series from their first event to their end, and that what several threads count is all there.

use std::sync::Barrier;
use std::thread;

use crate::telemetry::metrics::named::KEPT_AFTER_END;
use crate::time::now;

use super::*;

#[test]
fn what_several_workers_count_while_a_scraper_reads_is_all_there() {
    const WORKERS: u16 = 4;
    const REQUESTS: u64 = 20_000;
    let metrics = Metrics::new(usize::from(WORKERS) + 1, ALL_SERIES);
    let listener = metrics.listener(&"public".into());
    let route = metrics.route(&labels("orders", "shop"));
    let service = metrics.service(&"shop".into());
    let get = metrics.method(&Method::GET);
    let barrier = Barrier::new(usize::from(WORKERS) + 1);
    let mut held = 0;
    thread::scope(|scope| {
        // Two threads on each slot, as when the workers share one runtime.
        let counting: Vec<_> = (0..WORKERS)
            .map(|index| {
                let (listener, route, service, barrier) = (&listener, &route, &service, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for number in 0..REQUESTS {
                        let guard = listener.request(worker(index / 2));
                        let status = if number % 2 == 0 { 200 } else { 404 };
                        route.finished(worker(index / 2), &Sample { status, ..sample(listener.id(), get) });
                        service.attempted(worker(index / 2), Code::Ok, Duration::from_millis(1));
                        drop(guard);
                    }
                })
            })
            .collect();
        barrier.wait();
        while counting.iter().any(|thread| !thread.is_finished()) {
            let page = text(&metrics, now());
            let count: u64 = value(&page, "tidegate_http_response_bytes_total{route=\"orders\"}")
                .map_or(0, |value| value.parse().unwrap());
            assert!(count >= held, "a counter never falls");
            held = count;
        }
    });
    let page = text(&metrics, now());
    let all = u64::from(WORKERS) * REQUESTS;
    for (name, expected) in [
        (
            "tidegate_http_requests_total{listener=\"public\",route=\"orders\",service=\"shop\",method=\"GET\",code=\"200\",reason=\"\"}",
            all / 2,
        ),
        (
            "tidegate_http_requests_total{listener=\"public\",route=\"orders\",service=\"shop\",method=\"GET\",code=\"404\",reason=\"\"}",
            all / 2,
        ),
        ("tidegate_http_request_duration_seconds_count{route=\"orders\",method=\"GET\"}", all),
        ("tidegate_http_request_bytes_total{route=\"orders\"}", all * 10),
        ("tidegate_overhead_seconds_bucket{route=\"orders\",phase=\"request\",le=\"0.00005\"}", all),
        ("tidegate_upstream_requests_total{service=\"shop\",code=\"OK\"}", all),
        ("tidegate_http_requests_in_flight{listener=\"public\"}", 0),
    ] {
        assert_eq!(value(&page, name), Some(&*expected.to_string()), "{name}");
    }
}

#[test]
fn idle_routes_have_no_series() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let routes: Vec<_> = (0..100).map(|number| metrics.route(&labels(&format!("r{number}"), "s"))).collect();
    assert!(!text(&metrics, now()).contains("route="));
    assert_eq!(metrics.routes.all().len(), routes.len());
    // One series of each: 1 outcome, 17 durations, 13 for each overhead, 2 of bytes.
    routes[0].finished(worker(0), &sample(metrics.listener(&"public".into()).id(), metrics.method(&Method::GET)));
    assert_eq!(metrics.budget.used(), 46);
    assert_eq!(text(&metrics, now()).matches("route=\"r0\"").count(), 46);
}

#[test]
fn beyond_the_bound_no_series_are_made_and_the_old_ones_go_on() {
    let metrics = Metrics::new(SLOTS, 46);
    let listener = metrics.listener(&"public".into());
    let get = metrics.method(&Method::GET);
    let (known, late) = (metrics.route(&labels("known", "s")), metrics.route(&labels("late", "s")));
    known.finished(worker(0), &sample(listener.id(), get));
    late.finished(worker(0), &sample(listener.id(), get));
    known.finished(worker(1), &sample(listener.id(), get));
    known.finished(worker(1), &Sample { status: 500, ..sample(listener.id(), get) });
    known.finished(worker(1), &sample(listener.id(), metrics.method(&Method::PUT)));
    known.transcode_failed(worker(1), Stage::Body);
    let page = text(&metrics, now());
    assert!(
        !page.contains("late") && !page.contains("PUT") && !page.contains("500") && !page.contains("stage"),
        "{page}"
    );
    let duration = "tidegate_http_request_duration_seconds_count{route=\"known\",method=\"GET\"}";
    assert_eq!(value(&page, duration), Some("3"), "the request with the refused status too");
    // All five of `late`, one for 500, two for PUT, one for the conversion; and now the gauges of the listener.
    assert_eq!(value(&page, "tidegate_metrics_series_refused_total"), Some("10"));
    metrics.set_max_series(1_000);
    late.finished(worker(0), &sample(listener.id(), get));
    assert!(text(&metrics, now()).contains("route=\"late\""));
}

#[test]
fn a_backend_that_answers_with_every_status_leaves_room_for_others() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let listener = metrics.listener(&"public".into());
    let route = metrics.route(&labels("wild", "s"));
    let get = metrics.method(&Method::GET);
    for status in 100..1_000 {
        route.finished(worker(0), &Sample { status, ..sample(listener.id(), get) });
    }
    assert!(metrics.budget.used() < 600, "{}", metrics.budget.used());
    let page = text(&metrics, now());
    assert_eq!(
        value(&page, "tidegate_http_request_duration_seconds_count{route=\"wild\",method=\"GET\"}"),
        Some("900")
    );
}

#[test]
fn what_leaves_the_configuration_loses_its_series_five_minutes_later() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let start = now();
    let fill = |name: &str| {
        let name: Arc<str> = name.into();
        let live = Live {
            limits: Vec::new(),
            mirrors: Vec::new(),
            routes: vec![metrics.route(&labels(&name, "s"))],
            services: vec![metrics.service(&name)],
            listeners: vec![metrics.listener(&name)],
            auth: Vec::new(),
        };
        fill_route(&metrics, &live.routes[0], live.listeners[0].id());
        fill_service(&live.services[0]);
        metrics.unrouted().finished(worker(0), &sample(live.listeners[0].id(), metrics.method(&Method::GET)));
        live
    };
    // Both are held all the time, as by connections that outlive a reload.
    let (gone, stays) = (fill("gone"), fill("stays"));
    let full = metrics.budget.used();
    metrics.retain(&stays, start);
    let before = text(&metrics, start + KEPT_AFTER_END - Duration::from_secs(1));
    assert!(
        before.contains("route=\"gone\"")
            && before.contains("service=\"gone\"")
            && before.contains("listener=\"gone\"")
    );
    let after = text(&metrics, start + KEPT_AFTER_END);
    assert!(!after.contains("gone"), "{after}");
    assert_eq!(after.matches("stays").count(), before.matches("stays").count());
    // The route of the same name is another one now.
    drop(gone);
    assert!(metrics.budget.used() < full);
    let again = metrics.route(&labels("gone", "s"));
    again.finished(worker(0), &sample(stays.listeners[0].id(), metrics.method(&Method::GET)));
    let page = text(&metrics, start + KEPT_AFTER_END);
    assert_eq!(value(&page, "tidegate_http_request_duration_seconds_count{route=\"gone\",method=\"GET\"}"), Some("1"));
}

#[test]
fn a_route_that_comes_back_in_time_goes_on_counting() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let (start, listener) = (now(), metrics.listener(&"public".into()));
    let count = || {
        let route = metrics.route(&labels("orders", "s"));
        route.finished(worker(0), &sample(listener.id(), metrics.method(&Method::GET)));
        route
    };
    let live = |route: Option<Arc<RouteSeries>>| Live {
        limits: Vec::new(),
        routes: route.into_iter().collect(),
        listeners: vec![Arc::clone(&listener)],
        ..Live::default()
    };
    metrics.retain(&live(Some(count())), start);
    metrics.retain(&live(None), start);
    metrics.retain(&live(Some(count())), start + Duration::from_secs(200));
    let page = text(&metrics, start + KEPT_AFTER_END + Duration::from_secs(199));
    assert_eq!(
        value(
            &page,
            "tidegate_http_requests_total{listener=\"public\",route=\"orders\",service=\"s\",method=\"GET\",code=\"200\",reason=\"\"}"
        ),
        Some("2")
    );
}

#[test]
fn configurations_that_are_refused_leave_nothing_behind() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let kept = metrics.route(&labels("kept", "s"));
    for number in 0..50 {
        let name: Arc<str> = format!("draft-{number}").into();
        drop((metrics.route(&labels(&name, "s")), metrics.service(&name)));
        metrics.sweep(now());
    }
    assert_eq!((metrics.routes.all().len(), metrics.services.all().len()), (1, 0));
    drop(kept);
}

#[test]
fn a_route_that_is_pointed_at_another_service_has_one_duration() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let listener = metrics.listener(&"public".into());
    for service in ["old", "new"] {
        metrics
            .route(&labels("orders", service))
            .finished(worker(0), &sample(listener.id(), metrics.method(&Method::GET)));
    }
    let page = text(&metrics, now());
    assert_eq!(
        value(&page, "tidegate_http_request_duration_seconds_count{route=\"orders\",method=\"GET\"}"),
        Some("2")
    );
    assert!(page.contains("service=\"old\"") && page.contains("service=\"new\""));
}

#[test]
fn all_results_of_a_reload_are_there_from_the_start() {
    let metrics = Metrics::new(SLOTS, ALL_SERIES);
    let page = text(&metrics, now());
    for result in ["unchanged", "applied", "rejected", "needs_restart"] {
        assert_eq!(value(&page, &format!("tidegate_config_reloads_total{{result=\"{result}\"}}")), Some("0"));
    }
    metrics.config.reloaded(Reload::NeedsRestart, 5);
    assert_eq!(value(&text(&metrics, now()), "tidegate_config_last_reload_successful"), Some("0"));
    metrics.config.reloaded(Reload::Unchanged, 1_500);
    let page = text(&metrics, now());
    assert_eq!(value(&page, "tidegate_config_last_reload_successful"), Some("1"));
    assert_eq!(value(&page, "tidegate_config_last_reload_success_timestamp_seconds"), Some("1.5"));
}
