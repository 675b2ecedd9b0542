//! Precedence, verbs, methods, hosts and duplicates, as tables of templates and paths.

use super::*;
use crate::captures::MultiEscape;
use crate::template::{Template, TemplateOptions};

fn template(text: &str) -> Template {
    Template::parse_with(
        text,
        TemplateOptions {
            inner_wildcard: true,
            trailing_slash: true,
        },
    )
    .unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A router of `METHOD template` lines (`*` for any method) or `METHOD //host template` lines.
fn router(routes: &[&str]) -> Router {
    build(routes).expect("no duplicates")
}

fn build(routes: &[&str]) -> Result<Router, Vec<Duplicate>> {
    let mut builder = RouterBuilder::new();
    for (number, line) in (0..).zip(routes) {
        let (methods, rest) = line.split_once(' ').expect("METHOD template");
        let (host, text) = match rest.strip_prefix("//").and_then(|r| r.split_once(' ')) {
            Some((host, text)) => (Some(host), text),
            None => (None, rest),
        };
        let methods = match methods {
            "*" => Methods::Any,
            list => Methods::List(list.split(',').map(str::to_owned).collect()),
        };
        let spec = RouteSpec {
            host,
            methods,
            template: &template(text),
            route: number,
        };
        builder.add(spec).expect("a good route");
    }
    builder.build()
}

/// What a request comes to: `2 a b` for route 2 with values a and b, `405 GET, HEAD`, or `404`.
fn ask(router: &Router, request: &str) -> String {
    let (method, target) = request.split_once(' ').expect("METHOD path");
    let (host, path) = match target.strip_prefix("//").and_then(|r| r.split_once(' ')) {
        Some((host, path)) => (host, path),
        None => ("any.test", target),
    };
    let mut captures = Captures::new();
    match router.find(host, method, path, &mut captures) {
        Find::Route(route) => {
            let values = captures
                .decode_all(path, MultiEscape::KeepSlash)
                .expect("good escapes");
            [route.to_string()]
                .into_iter()
                .chain(values.iter().map(|v| v.to_string()))
                .collect::<Vec<_>>()
                .join(" ")
        }
        Find::MethodNotAllowed(allow) => format!("405 {allow}"),
        Find::NotFound => "404".to_owned(),
    }
}

fn check(routes: &[&str], table: &[(&str, &str)]) {
    let router = router(routes);
    for (request, wanted) in table {
        assert_eq!(ask(&router, request), *wanted, "{request} among {routes:?}");
    }
}

#[test]
fn literal_before_star_before_double_star() {
    check(
        &["GET /a/**", "GET /a/*", "GET /a/x", "GET /a"],
        &[
            ("GET /a", "3"),
            ("GET /a/x", "2"),
            ("GET /a/y", "1"),
            ("GET /a/x/y", "0"),
            ("GET /a/", "0"),
            ("GET /b", "404"),
        ],
    );
}
