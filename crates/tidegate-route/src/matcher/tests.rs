//! Precedence, verbs, methods, hosts, duplicates and the number of steps, as tables of templates and requests.

use super::search::Meter;
use super::*;
use crate::captures::MultiEscape;
use crate::template::{Template, TemplateOptions};

fn template(text: &str) -> Template {
    let options = TemplateOptions { inner_wildcard: true, trailing_slash: true };
    Template::parse_with(text, options).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Builds routes of the form `METHODS [//host] template`; methods are joined by commas, `*` is any.
fn build<'t>(routes: impl IntoIterator<Item = &'t str>) -> Result<Router, Vec<Duplicate>> {
    let mut builder = RouterBuilder::new();
    for (route, line) in (0..).zip(routes) {
        let (methods, rest) = line.split_once(' ').expect("METHODS template");
        let (host, text) = match rest.strip_prefix("//").and_then(|rest| rest.split_once(' ')) {
            Some((host, text)) => (Some(host), text),
            None => (None, rest),
        };
        let methods = match methods {
            "*" => Methods::Any,
            list => Methods::List(list.split(',').map(str::to_owned).collect()),
        };
        builder.add(RouteSpec { host, methods, template: &template(text), route }).expect("a good route");
    }
    builder.build()
}

/// What a request `METHOD [//host] path` comes to: `2 a b` for route 2 with the values a and b, `405 GET, HEAD`, `404`.
fn ask(router: &Router, request: &str) -> String {
    let (method, target) = request.split_once(' ').expect("METHOD path");
    let (host, path) = match target.strip_prefix("//").and_then(|rest| rest.split_once(' ')) {
        Some((host, path)) => (host, path),
        None => ("localhost:8080", target),
    };
    let mut captures = Captures::new();
    match router.find(host, method, path, &mut captures) {
        Find::Route(route) => {
            let values = captures.decode_all(path, MultiEscape::KeepSlash).expect("good escapes");
            let shown: Vec<_> = values.iter().map(|value| format!(" {value}")).collect();
            format!("{route}{}", shown.concat())
        }
        Find::MethodNotAllowed(allow) => format!("405 {allow}"),
        Find::NotFound => "404".to_owned(),
    }
}

fn check(routes: &[&str], table: &[(&str, &str)]) {
    let router = build(routes.iter().copied()).expect("no duplicates");
    for (request, wanted) in table {
        assert_eq!(ask(&router, request), *wanted, "{request} among {routes:?}");
    }
}

#[test]
fn literal_before_star_before_double_star() {
    check(
        &["GET /a/**", "GET /a/*", "GET /a/x", "GET /a", "GET /*/x/**"],
        &[
            ("GET /a", "3"),
            ("GET /a/x", "2"),
            ("GET /a/y", "1"),
            ("GET /a/x/y", "0"),
            ("GET /a/", "0"),
            ("GET /b", "404"),
            ("GET /b/x", "4"),
            ("GET /b/y", "404"),
        ],
    );
}

#[test]
fn the_search_goes_back_when_a_better_beginning_leads_nowhere() {
    check(
        &["GET /a/b/c", "GET /a/{x}/d", "GET /{x}/b/{y}", "GET /{x=**}/e"],
        &[
            ("GET /a/b/c", "0"),
            ("GET /a/b/d", "1 b"),
            ("GET /a/b/f", "2 a f"),
            ("GET /a/b/e", "2 a e"),
            ("GET /a/c/e", "3 a/c"),
            ("GET /a/b/f/e", "3 a/b/f"),
        ],
    );
}

#[test]
fn a_star_takes_one_segment_that_is_not_empty() {
    check(
        &["GET /*", "GET /{a}/b"],
        &[("GET /a", "0"), ("GET /", "404"), ("GET /a/", "404"), ("GET //b", "404"), ("GET /a/b", "1 a")],
    );
}

#[test]
fn a_double_star_takes_any_number_of_segments() {
    check(
        &["GET /x/{r=**}", "GET /y/{r=a/**}"],
        &[
            ("GET /x", "0 "),
            ("GET /x/", "0 "),
            ("GET /x/a", "0 a"),
            ("GET /x/a/b/", "0 a/b/"),
            ("GET /xa", "404"),
            ("GET /y", "404"),
            ("GET /y/a", "1 a"),
            ("GET /y/a/", "1 a/"),
            ("GET /y/a/b", "1 a/b"),
        ],
    );
    check(&["GET /**"], &[("GET /", "0"), ("GET /a/b", "0"), ("GET a", "404"), ("GET ", "404"), ("GET *", "404")]);
}

#[test]
fn behind_a_double_star_the_longest_tail_wins() {
    check(
        &["GET /a/{x=**}/z", "GET /a/{x=**}", "GET /a/{x=**}/y/z", "POST /a/{x=**}/x/y/z", "GET /{x=b/**}/{y=t}"],
        &[
            ("GET /a/z", "0 "),
            ("GET /a/b/z", "0 b"),
            ("GET /a/y/z", "2 "),
            ("GET /a/b/y/z", "2 b"),
            ("GET /a/x/y/z", "2 x"),
            ("POST /a/x/y/z", "3 "),
            ("GET /a/b/y", "1 b/y"),
            ("GET /a/z/", "1 z/"),
            ("GET /b/t", "4 b t"),
            ("GET /b/c/t", "4 b/c t"),
            ("GET /t", "404"),
        ],
    );
}

#[test]
fn a_colon_is_a_verb_only_where_the_node_knows_it() {
    check(
        &["GET /v/{x}", "GET /v/{x}:read", "GET /v/all:read", "GET /w/{x=**}", "GET /w/{x=**}:read", "GET /u:read"],
        &[
            ("GET /v/a:read", "1 a"),
            ("GET /v/a:write", "0 a:write"),
            ("GET /v/a:read:read", "1 a:read"),
            ("GET /v/:read", "0 :read"),
            ("GET /v/all:read", "2"),
            ("GET /v/all", "0 all"),
            ("GET /v/all:write", "0 all:write"),
            ("GET /v:read/b", "404"),
            ("GET /w/a:read/b", "3 a:read/b"),
            ("GET /w/a/b:read", "4 a/b"),
            ("GET /w/:read", "4 "),
            ("GET /w:read", "4 "),
            ("GET /w:write", "404"),
            ("GET /u:read", "5"),
            ("GET /u", "404"),
        ],
    );
}

#[test]
fn taking_a_verb_off_leaves_no_dot_segment() {
    check(
        &["GET /v/{x}:read", "GET /w/{x=**}:read", "GET /w/{x=**}"],
        &[
            ("GET /v/..:read", "404"),
            ("GET /v/.:read", "404"),
            ("GET /v/...:read", "0 ..."),
            ("GET /w/a/..:read", "2 a/..:read"),
        ],
    );
}

#[test]
fn a_trailing_slash_counts() {
    check(
        &["GET /a/b", "GET /docs/", "GET /"],
        &[("GET /a/b", "0"), ("GET /a/b/", "404"), ("GET /docs/", "1"), ("GET /docs", "404"), ("GET /", "2")],
    );
}

#[test]
fn the_method_takes_part_in_the_search() {
    check(
        &[
            "GET /a/b",
            "POST /a/{x}",
            "* /a/{x=**}",
            "PURGE,GET /c",
            "PUT /{x}",
            "GET,HEAD /d",
            "POST /e/{x}:go",
            "GET /e/{x}",
        ],
        &[
            ("GET /a/b", "0"),
            ("POST /a/b", "1 b"),
            ("DELETE /a/b", "2 b"),
            ("ODD /a/b", "2 b"),
            ("PURGE /c", "3"),
            ("PUT /c", "4 c"),
            ("POST /c", "405 GET, HEAD, PUT, PURGE"),
            ("get /c", "405 GET, HEAD, PUT, PURGE"),
            ("PUT /d", "4 d"),
            ("POST /d", "405 GET, HEAD, PUT"),
            ("POST /e/a:go", "6 a"),
            ("GET /e/a:go", "7 a:go"),
            ("PUT /e/a:go", "405 GET, HEAD, POST"),
            ("POST /none/at/all", "404"),
        ],
    );
}

#[test]
fn head_is_answered_by_get() {
    check(
        &["GET /a", "POST /b", "GET /c", "HEAD /c", "* /d", "* /e", "GET /e"],
        &[
            ("HEAD /a", "0"),
            ("HEAD /b", "405 POST"),
            ("HEAD /c", "3"),
            ("GET /c", "2"),
            ("HEAD /d", "4"),
            ("HEAD /e", "6"),
            ("PUT /e", "5"),
        ],
    );
}

#[test]
fn hosts_are_searched_from_the_most_specific() {
    check(
        &[
            "GET //api.example.com /a",
            "GET //*.example.com /a",
            "GET //*.eu.example.com /a",
            "GET /a",
            "GET //[::1] /a",
            "POST //*.example.com /b",
            "GET /b",
        ],
        &[
            ("GET //api.example.com /a", "0"),
            ("GET //API.Example.COM:8443 /a", "0"),
            ("GET //api.example.com. /a", "0"),
            ("GET //api.example.com.:80 /a", "0"),
            ("GET //www.example.com /a", "1"),
            ("GET //a.b.example.com /a", "1"),
            ("GET //a.eu.example.com /a", "2"),
            ("GET //a.b.eu.example.com /a", "2"),
            ("GET //eu.example.com /a", "1"),
            ("GET //example.com /a", "3"),
            ("GET //notexample.com /a", "3"),
            ("GET // /a", "3"),
            ("GET //[::1]:80 /a", "4"),
            ("GET //[::2] /a", "3"),
            ("GET //api.example.com /b", "6"),
            ("PUT //api.example.com /b", "405 GET, HEAD, POST"),
            ("PUT //example.com /b", "405 GET, HEAD"),
        ],
    );
    let long = "a.".repeat(3000);
    let router = build(["GET //*.example.com /a"]).expect("one route");
    assert_eq!(ask(&router, &format!("GET //{long}example.com /a")), "404");
}

#[test]
fn every_duplicate_is_reported() {
    let found = |routes: &[&str]| match build(routes.iter().copied()) {
        Ok(_) => Vec::new(),
        Err(found) => found.into_iter().map(|d| format!("{} {} {}", d.first, d.second, d.methods.join(","))).collect(),
    };
    let none: [&str; 0] = [];
    assert_eq!(found(&["GET /a", "POST /a", "* /a", "HEAD /a", "GET /a:v", "GET /{x}", "GET //h /a"]), none);
    assert_eq!(found(&["GET /a/{x}", "GET /a/*"]), ["0 1 GET"]);
    assert_eq!(found(&["GET,PUT,POST /a", "POST,PUT,DELETE /a"]), ["0 1 POST,PUT"]);
    assert_eq!(found(&["GET /a", "POST /a", "GET,POST /a", "GET /a"]), ["0 2 GET", "1 2 POST", "0 3 GET"]);
    assert_eq!(found(&["* /a/{x=b/**}/c:v", "* /a/b/{x=**}/c:v"]), ["0 1 *"]);
    assert_eq!(found(&["GET //A.test /a", "GET //a.test. /a", "GET //*.a.test /a"]), ["0 1 GET"]);
    assert_eq!(found(&["GET,GET /a"]), none);
}

#[test]
fn a_duplicate_names_route_numbers_and_template() {
    let mut builder = RouterBuilder::new();
    for (route, text) in [(70, "/a/{x}"), (30, "/a/{y}")] {
        let spec = RouteSpec { host: None, methods: Methods::one("GET"), template: &template(text), route };
        builder.add(spec).expect("a good route");
    }
    let wanted = Duplicate { first: 70, second: 30, methods: vec!["GET".to_owned()], template: "/a/{y}".to_owned() };
    assert_eq!(builder.build().err(), Some(vec![wanted]));
}

#[test]
fn what_can_never_match_is_refused() {
    let add = |host, methods| {
        RouterBuilder::new().add(RouteSpec { host, methods, template: &template("/a"), route: 0 }).err()
    };
    assert_eq!(add(None, Methods::List(Vec::new())), Some(AddError::NoMethod));
    for method in ["", "GE T", "GET\r", "é"] {
        assert_eq!(add(None, Methods::one(method)), Some(AddError::Method(method.to_owned())));
    }
    for host in
        ["", ".", "a..b", "*", "*.", "a.*.b", "*a.b", "a:80", "http://a", "a/b", "a b", "é.test", "[::1", "*.[::1]"]
    {
        assert_eq!(add(Some(host), Methods::Any), Some(AddError::Host(host.to_owned())));
    }
    for host in ["a", "a-b_c.test", "a.test.", "*.test", "10.0.0.1", "[::1]", "[::ffff:1.2.3.4]"] {
        assert_eq!(add(Some(host), Methods::Any), None, "{host}");
    }
}

#[test]
fn fifty_five_custom_methods_are_the_most() {
    let mut builder = RouterBuilder::new();
    let template = template("/a");
    let mut add = |method: &str| {
        builder.add(RouteSpec { host: None, methods: Methods::one(method), template: &template, route: 1 })
    };
    for i in 0..55 {
        assert_eq!(add(&format!("M{i:02}")), Ok(()));
    }
    assert_eq!(add("M55"), Err(AddError::TooManyMethods));
    assert_eq!(add("GET"), Ok(()));
    let router = builder.build().expect("no duplicates");
    assert_eq!(ask(&router, "M54 /a"), "1");
    assert!(ask(&router, "M55 /a").ends_with(" M53, M54"));
}

/// Counts steps.
#[derive(Default)]
struct Steps(usize);

impl Meter for Steps {
    fn step(&mut self) {
        self.0 += 1;
    }
}

fn steps(router: &Router, path: &str) -> usize {
    let mut meter = Steps::default();
    let mut captures = Captures::new();
    let _ = router.find_metered("localhost", "GET", path, &mut captures, &mut meter);
    meter.0
}

#[test]
fn five_thousand_routes_take_no_more_steps_than_one() {
    let names = ["orders", "books", "users", "carts", "items", "rates", "files", "notes", "posts", "votes"];
    let line = |i: usize| format!("GET /api/v{}/{}{}/{{id}}/parts/{{part}}", i % 5, names[i % 10], i / 10);
    let all: Vec<String> = (0..5000).map(line).collect();
    let many = build(all.iter().map(String::as_str)).expect("no duplicates");
    for i in [0, 1, 17, 4999] {
        let one = build([line(i).as_str()]).expect("one route");
        let path = all[i].replace("GET ", "").replace(['{', '}'], "");
        assert!(ask(&many, &format!("GET {path}")).starts_with(&format!("{i} ")), "{path}");
        // Siblings that are few are compared one after the other, here five at most.
        assert!(steps(&many, &path) <= steps(&one, &path) + 4, "{} and {}", steps(&many, &path), steps(&one, &path));
        assert!(steps(&many, "/api/v1/none/1/parts/2") <= steps(&one, &path) + 4);
    }
}

#[test]
fn the_length_of_a_path_does_not_count() {
    let routes = [
        "GET /a/**/x",
        "GET /**/y/x",
        "GET /{a}/{b}/{c=**}/x/x",
        "GET /a/{b=**}",
        "GET /{a=**}:v",
        "GET /{a}/{b}/{c}/{d}/{e}/{f}",
    ];
    let router = build(routes).expect("no duplicates");
    for tail in ["", "x", "y", "y/x", "x/x", "x:v", ":v", ":::::"] {
        for piece in ["/", "/x", "/a", "/:v"] {
            let path = |count: usize| format!("/a{}/{tail}", piece.repeat(count));
            assert_eq!(steps(&router, &path(64_000)), steps(&router, &path(100)), "{piece} {tail}");
            assert!(steps(&router, &path(64_000)) < 100);
        }
    }
}

#[test]
fn backtracking_visits_a_node_once() {
    // Every choice of literal and star at ten places, and none of them ends where the path does.
    let line = |bits: usize| {
        let segments: Vec<_> = (0..10).map(|i| if bits >> i & 1 == 1 { "/a" } else { "/*" }).collect();
        format!("GET {}/end", segments.concat())
    };
    let lines: Vec<_> = (0..1024).map(line).collect();
    let router = build(lines.iter().map(String::as_str)).expect("no duplicates");
    let path = format!("{}/other", "/a".repeat(10));
    assert_eq!(ask(&router, &format!("GET {path}")), "404");
    // One step to enter a node and one to look for a literal.
    assert!(steps(&router, &path) <= 2 * router.nodes.len(), "{}", steps(&router, &path));
    assert_eq!(steps(&router, &(path.clone() + &"/a".repeat(10_000))), steps(&router, &path));
}

#[test]
fn eight_variables_fit_without_allocation() {
    let text: String = (0..8).map(|i| format!("/{{v{i}}}")).collect();
    let router = build([format!("GET {text}").as_str(), format!("GET {text}/{{v8}}").as_str()]).expect("no duplicates");
    let mut captures = Captures::new();
    assert_eq!(router.find("", "GET", "/0/1/2/3/4/5/6/7", &mut captures), Find::Route(0));
    assert_eq!((captures.len(), captures.spilled()), (8, false));
    assert_eq!(router.find("", "GET", "/0/1/2/3/4/5/6/7/8", &mut captures), Find::Route(1));
    assert_eq!((captures.len(), captures.spilled()), (9, true));
    assert_eq!(router.find("", "GET", "/0", &mut captures), Find::NotFound);
    assert!(captures.is_empty());
}

#[test]
fn sizes_stay_small() {
    assert!(size_of::<Captures>() <= 112, "{}", size_of::<Captures>());
    assert!(size_of::<Find<'_>>() <= 24, "{}", size_of::<Find<'_>>());
    assert!(size_of::<Node>() <= 128, "{}", size_of::<Node>());
}
