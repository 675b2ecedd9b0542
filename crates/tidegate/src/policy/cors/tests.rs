//! Which origins are allowed, against a naive reading of the rules, and what answers say.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use tidegate_config::source::Memory;

use super::*;

fn cors(text: &str) -> Cors {
    let text = format!(
        "version: 1\nlisteners: [{{ name: a, address: '127.0.0.1:0' }}]\nroutes: [{{ name: a, path: /a, method: GET, respond: {{ text: a }}, cors: {text} }}]\n"
    );
    let source = Memory { files: [("a.yaml".into(), text.into())].into(), ..Memory::default() };
    let loaded =
        tidegate_config::load(&source, Path::new("a.yaml")).unwrap_or_else(|found| panic!("{}", found.to_text()));
    Cors::compile(&loaded.valid.routes[0].policy.cors, Some(&["GET".to_owned()])).unwrap()
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

/// The fields of an answer as text, sorted.
fn said(asked: &Asked<'_>, mut response: Response<ResponseBody>) -> String {
    asked.decorate(&mut response);
    let fields = response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    fields.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("\n")
}

fn origin_of(cors: &Cors, fields: &[(&'static str, &str)]) -> Option<String> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let mut response = Response::new(ResponseBody::Empty);
    cors.asked(&Method::GET, &map).decorate(&mut response);
    let value = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN)?;
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn only_what_is_listed_letter_by_letter_is_allowed() {
    let cors = cors("{ allow_origins: ['https://good.example', 'https://*.apps.example', 'http://[::1]:3000'] }");
    for origin in [
        "https://good.example",
        "https://a.apps.example",
        "https://b.a.apps.example",
        "https://x-1_2.apps.example",
        "http://[::1]:3000",
    ] {
        assert_eq!(origin_of(&cors, &[("origin", origin)]).as_deref(), Some(origin));
    }
    for origin in [
        "",
        "null",
        "*",
        "http://good.example",
        "https://good.example.evil.com",
        "https://evilgood.example",
        "https://good.example:444",
        "https://good.example:443",
        "HTTPS://GOOD.EXAMPLE",
        "https://GOOD.example",
        "https://good.example.",
        "https://good.example/",
        "https://good.example@evil.com",
        "https://sub.good.example",
        "https://good.example https://evil.com",
        "https://good.example, https://evil.com",
        "https://apps.example",
        "https://.apps.example",
        "https://a..apps.example",
        "https://A.apps.example",
        "https://evil.com/.apps.example",
        "https://evil.com:1.apps.example",
        "https://a@b.apps.example",
        "https://evil.com%60.apps.example",
        "https://evil.com#.apps.example",
        "https://evil.com?.apps.example",
        "https://evil.com\\.apps.example",
        "https://evilapps.example",
        "https://a.apps.example:8443",
        "http://a.apps.example",
        "http://[::1]:3001",
    ] {
        assert_eq!(origin_of(&cors, &[("origin", origin)]), None, "{origin}");
    }
    assert_eq!(origin_of(&cors, &[]), None);
    let twice = [("origin", "https://good.example"), ("origin", "https://good.example")];
    assert_eq!(origin_of(&cors, &twice), None, "two origins are none");
    let unicode = HeaderValue::from_bytes("https://b\u{fc}.apps.example".as_bytes()).unwrap();
    assert!(!cors.origins.allow(unicode.as_bytes()));
}

#[test]
fn null_is_allowed_only_if_it_is_listed_and_any_origin_is_told_so() {
    assert_eq!(origin_of(&cors("{ allow_origins: ['null'] }"), &[("origin", "null")]).as_deref(), Some("null"));
    let any = cors("{ allow_origins: ['*'] }");
    assert_eq!(origin_of(&any, &[("origin", "https://a.example")]).as_deref(), Some("*"));
    assert_eq!(origin_of(&any, &[]), None);
}

#[test]
fn an_answer_says_what_was_compiled_and_nothing_that_the_backend_said() {
    let cors = cors("{ allow_origins: ['https://a.example'], allow_credentials: true, expose_headers: [X-Page] }");
    let backend = || {
        let mut response = Response::new(ResponseBody::Empty);
        for name in OURS {
            response.headers_mut().append(name.clone(), ANY);
            response.headers_mut().append(name, ANY);
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response
    };
    let good = cors.asked(&Method::GET, &headers(&[("origin", "https://a.example")]));
    assert_eq!(
        said(&good, backend()),
        "access-control-allow-credentials: true\naccess-control-allow-origin: https://a.example\n\
         access-control-expose-headers: x-page\nvary: accept\nvary: origin"
    );
    let foreign = cors.asked(&Method::GET, &headers(&[("origin", "https://b.example")]));
    assert_eq!(said(&foreign, backend()), "vary: accept\nvary: origin");
    assert_eq!(said(&cors.asked(&Method::GET, &HeaderMap::new()), backend()), "vary: accept\nvary: origin");
}

/// What a preflight comes to: the fields of its answer, or the text of its refusal.
fn preflight(cors: &Cors, fields: &[(&'static str, &str)]) -> Option<Result<String, String>> {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = Method::OPTIONS;
    parts.headers = headers(fields);
    let asked = cors.asked(&parts.method, &parts.headers);
    let answer = cors.preflight(&parts)?;
    Some(answer.map(|response| said(&asked, response)).map_err(|reject| reject.message().to_owned()))
}

#[test]
fn a_preflight_is_granted_whole_or_not_at_all() {
    let cors = cors("{ allow_origins: ['https://a.example'], allow_headers: [X-One, x-two], max_age: 5m }");
    let origin = ("origin", "https://a.example");
    let get = ("access-control-request-method", "GET");
    let answer = "access-control-allow-headers: x-one, x-two\naccess-control-allow-methods: GET, HEAD\n\
                  access-control-allow-origin: https://a.example\naccess-control-max-age: 300\n\
                  vary: origin, access-control-request-method, access-control-request-headers";
    assert_eq!(preflight(&cors, &[origin, get]), Some(Ok(answer.to_owned())));
    for asked in ["x-one", "x-two,X-ONE", " x-one , ,x-two"] {
        let asked = ("access-control-request-headers", asked);
        assert_eq!(preflight(&cors, &[origin, get, asked]), Some(Ok(answer.to_owned())));
    }
    let many = vec!["x-one"; MAX_ASKED + 1].join(",");
    let refused: [&[(&str, &str)]; 5] = [
        &[("origin", "https://b.example"), get],
        &[origin, ("access-control-request-method", "DELETE")],
        &[origin, ("access-control-request-method", "get")],
        &[origin, get, ("access-control-request-headers", "x-one, x-three")],
        &[origin, get, ("access-control-request-headers", &many)],
    ];
    for fields in refused {
        assert!(matches!(preflight(&cors, fields), Some(Err(_))), "{fields:?}");
    }
    assert_eq!(preflight(&cors, &[origin]), None, "an ordinary OPTIONS");
    assert_eq!(preflight(&cors, &[get]), None, "nobody's page asks");
}

#[test]
fn all_headers_means_those_that_were_asked_for() {
    let cors =
        cors("{ allow_origins: ['https://a.example'], allow_credentials: true, allow_headers: ['*'], max_age: ~ }");
    let mut fields = vec![("origin", "https://a.example"), ("access-control-request-method", "GET")];
    fields.push(("access-control-request-headers", "authorization,x-any"));
    let answer = preflight(&cors, &fields).unwrap().unwrap();
    assert!(answer.contains("access-control-allow-headers: authorization,x-any\n"), "{answer}");
    assert!(!answer.contains("max-age") && !answer.contains("private-network"), "{answer}");
    fields[2].1 = "a b";
    assert!(preflight(&cors, &fields).unwrap().is_err());
}

/// The rules as one would say them, on text.
fn naive(listed: &str, origin: &str) -> bool {
    let Some((scheme, suffix)) = listed.split_once('*') else { return listed == origin };
    if !origin.starts_with(scheme) || !origin.ends_with(suffix) || origin.len() <= scheme.len() + suffix.len() {
        return false;
    }
    let labels = &origin[scheme.len()..origin.len() - suffix.len()];
    labels.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
    })
}

fn listed() -> impl Strategy<Value = String> {
    ("(https|http)", "(\\*\\.)?", "[a-c]{1,2}\\.example", "(:8443)?")
        .prop_map(|(a, b, c, d)| format!("{a}://{b}{c}{d}"))
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_naive_one(
        list in prop::collection::vec(listed(), 1..6),
        origin in "(https|http|HTTPS)://([a-c.@:/%A-]{0,4})?([a-c]{1,2}\\.)?[a-c]{1,2}\\.example(:8443|:1|\\.|/|\\.evil\\.com)?",
    ) {
        let quoted: Vec<String> = list.iter().map(|text| format!("'{text}'")).collect();
        let cors = cors(&format!("{{ allow_origins: [{}] }}", quoted.join(", ")));
        let expected = list.iter().any(|listed| naive(listed, &origin));
        prop_assert_eq!(cors.origins.allow(origin.as_bytes()), expected);
    }

    #[test]
    fn no_other_origin_is_ever_echoed(origin in "\\PC{0,40}", prefix in "(https://good\\.example)?", tail in "(\\.good\\.example)?") {
        let origin = format!("{prefix}{origin}{tail}");
        let Ok(value) = HeaderValue::from_bytes(origin.as_bytes()) else { return Ok(()) };
        let cors = cors("{ allow_origins: ['https://good.example', 'https://*.good.example'] }");
        let map: HeaderMap = [(ORIGIN, value)].into_iter().collect();
        let allowed = cors.asked(&Method::GET, &map).origin.is_some();
        prop_assert_eq!(allowed, naive("https://good.example", &origin) || naive("https://*.good.example", &origin));
    }
}
