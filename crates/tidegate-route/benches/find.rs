//! Cost of finding a route and of canonicalising a path: by number of routes, by kind of template, by length.
//!
//! Times are for reading beside each other, one run at a time; nothing here is a test. The allocation columns show
//! that a search allocates nothing.

#![expect(clippy::expect_used, reason = "a benchmark")]

use divan::{AllocProfiler, Bencher, black_box};
use tidegate_route::{
    CanonicalOptions, Captures, Methods, MultiEscape, RouteSpec, Router, RouterBuilder, Template, canonicalize,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn router<'t>(templates: impl IntoIterator<Item = &'t str>) -> Router {
    let mut builder = RouterBuilder::new();
    for (route, text) in (0..).zip(templates) {
        let template = Template::parse(text).expect("a good template");
        let spec = RouteSpec { host: None, methods: Methods::one("GET"), template: &template, route };
        builder.add(spec).expect("a good route");
    }
    builder.build().expect("no duplicates")
}

/// One resource among many: the figure that must not depend on their number.
#[divan::bench(args = [1, 40, 609, 5000])]
fn among_routes(bencher: Bencher<'_, '_>, count: usize) {
    let templates: Vec<String> = (0..count).map(|i| format!("/api/v1/resource-{i}/{{id}}/parts/{{part}}")).collect();
    let router = router(templates.iter().map(String::as_str));
    let path = format!("/api/v1/resource-{}/1234567890/parts/blue", count / 2);
    let mut captures = Captures::new();
    bencher.bench_local(|| {
        let found = router.find(black_box("api.example.com:8443"), black_box("GET"), black_box(&path), &mut captures);
        black_box(found);
    });
}

/// Templates of each kind in one small table.
#[divan::bench(args = ["/v1/orders", "/v1/orders/17", "/v1/orders/17:cancel", "/files/a/b/c/d.txt", "/nothing/here"])]
fn by_kind(bencher: Bencher<'_, '_>, path: &str) {
    let router = router([
        "/v1/orders",
        "/v1/orders/{id}",
        "/v1/orders/{id}:cancel",
        "/v1/{name=shelves/*/books/*}",
        "/files/{rest=**}",
        "/health",
    ]);
    let mut captures = Captures::new();
    bencher.bench_local(|| {
        black_box(router.find(black_box("localhost"), black_box("GET"), black_box(path), &mut captures));
    });
}

/// A hostile path: grows with its bytes and with nothing else.
#[divan::bench(args = [100, 1_000, 64_000])]
fn slashes(bencher: Bencher<'_, '_>, count: usize) {
    let router = router(["/{a}/{b}/**", "/a/**", "/**:verb"]);
    let path = "/a".repeat(count);
    let mut captures = Captures::new();
    bencher.bench_local(|| {
        black_box(router.find(black_box("localhost"), black_box("GET"), black_box(&path), &mut captures));
    });
}

#[divan::bench(args = ["/v1/orders/17", "/api/v1/users/f47ac10b-58cc-4372-a567-0e02b2c3d479/orders", "/a%20b/%C3%A9", "/%41bc"])]
fn canonical(path: &str) -> usize {
    let path = canonicalize(black_box(path.as_bytes()), CanonicalOptions::default());
    path.map(|path| path.len()).unwrap_or_default()
}

/// Nothing but escapes that must be decoded, the dearest input: grows with its bytes.
#[divan::bench(args = [1_024, 65_536])]
fn canonical_escapes(bencher: Bencher<'_, '_>, bytes: usize) {
    let raw = format!("/{}", "%41".repeat(bytes / 3));
    bencher.bench_local(|| canonicalize(black_box(raw.as_bytes()), CanonicalOptions::default()).map(|path| path.len()));
}

#[divan::bench(args = ["17", "a%20b"])]
fn value(bencher: Bencher<'_, '_>, value: &str) {
    let router = router(["/v1/{id}"]);
    let path = format!("/v1/{value}");
    let mut captures = Captures::new();
    let _ = router.find("localhost", "GET", &path, &mut captures);
    bencher.bench_local(|| {
        black_box(captures.decode(0, black_box(&path), MultiEscape::KeepSlash).map(|value| value.len()).ok());
    });
}
