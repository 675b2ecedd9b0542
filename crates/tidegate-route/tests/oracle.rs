//! The matcher against a naive one: try every template against the split path, take the best by the written order.

#![expect(clippy::expect_used, reason = "a test")]

use proptest::prelude::*;
use proptest::sample::select;
use tidegate_route::{
    Captures, Find, Methods, MultiEscape, RouteSpec, Router, RouterBuilder, Template, TemplateOptions, host_fits,
};

/// A template in parts, as it is generated.
#[derive(Debug, Clone)]
struct Draft {
    parts: Vec<Part>,
    verb: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Part {
    One(Segment),
    Variable(Vec<Segment>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Star,
    DoubleStar,
}

#[derive(Debug, Clone)]
struct Route {
    draft: Draft,
    /// `*` is any.
    methods: Vec<&'static str>,
    host: Option<&'static str>,
}

impl Draft {
    fn text(&self) -> String {
        let segment = |s: &Segment| match s {
            Segment::Literal(text) => *text,
            Segment::Star => "*",
            Segment::DoubleStar => "**",
        };
        let part = |(i, part): (usize, &Part)| match part {
            Part::One(one) => format!("/{}", segment(one)),
            Part::Variable(inner) => {
                format!("/{{v{i}={}}}", inner.iter().map(segment).collect::<Vec<_>>().join("/"))
            }
        };
        let verb = self.verb.map(|verb| format!(":{verb}")).unwrap_or_default();
        self.parts.iter().enumerate().map(part).collect::<String>() + &verb
    }

    fn segments(&self) -> Vec<Segment> {
        let inner = |part: &Part| match part {
            Part::One(one) => vec![*one],
            Part::Variable(inner) => inner.clone(),
        };
        self.parts.iter().flat_map(inner).collect()
    }

    /// How many segments of the path each segment takes, if the template matches.
    fn matches(&self, path: &str) -> Option<(Vec<usize>, String)> {
        let path = match self.verb {
            Some(verb) => path.strip_suffix(&format!(":{verb}"))?,
            None => path,
        };
        let pieces: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        // Without its verb a path must not end in a dot segment.
        if self.verb.is_some() && matches!(pieces.last(), Some(&("." | ".."))) {
            return None;
        }
        let takes = takes(&self.segments(), &pieces)?;
        Some((takes, path.to_owned()))
    }

    /// Raw values of the variables for a path that was matched so.
    fn values(&self, takes: &[usize], path: &str) -> Vec<String> {
        let pieces: Vec<&str> = path.split('/').skip(1).collect();
        let (mut segment, mut piece, mut values) = (0, 0, Vec::new());
        for part in &self.parts {
            let len = if let Part::Variable(inner) = part { inner.len() } else { 1 };
            let taken: usize = takes[segment..segment + len].iter().sum();
            if let Part::Variable(_) = part {
                values.push(pieces[piece..piece + taken].join("/"));
            }
            segment += len;
            piece += taken;
        }
        values
    }

    /// Smaller is better; only ever compared between templates that match the same path.
    fn rank(&self) -> Vec<usize> {
        let segments = self.segments();
        let mut rank = Vec::new();
        for (i, segment) in segments.iter().enumerate() {
            match segment {
                Segment::Literal(_) => rank.push(1),
                Segment::Star => rank.push(2),
                Segment::DoubleStar => {
                    rank.extend([3, 1000 - (segments.len() - i)]);
                    break;
                }
            }
        }
        rank.extend([0, usize::from(self.verb.is_none())]);
        rank
    }
}

fn takes(segments: &[Segment], pieces: &[&str]) -> Option<Vec<usize>> {
    let Some((first, rest)) = segments.split_first() else {
        return pieces.is_empty().then(Vec::new);
    };
    let counts = match first {
        Segment::Literal(text) => (pieces.first() == Some(text)).then_some(1..=1)?,
        Segment::Star => pieces.first().is_some_and(|piece| !piece.is_empty()).then_some(1..=1)?,
        Segment::DoubleStar => 0..=pieces.len(),
    };
    counts.into_iter().find_map(|count| {
        let mut tail = takes(rest, &pieces[count..])?;
        tail.insert(0, count);
        Some(tail)
    })
}

/// What the naive matcher says: a route with raw values, the methods of a 405, or nothing.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Route(u32, Vec<String>),
    MethodNotAllowed(Vec<String>),
    NotFound,
}

fn naive(routes: &[Route], host: &str, method: &str, path: &str) -> Answer {
    let mut found = Vec::new();
    let mut allow = std::collections::BTreeSet::new();
    for (number, route) in (0..).zip(routes) {
        let host_rank = match route.host {
            None => 1000,
            Some(exact) if exact == host => 0,
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(below) if host.ends_with(below) => 500 - below.len(),
                _ => continue,
            },
        };
        let Some((takes, path)) = route.draft.matches(path) else {
            continue;
        };
        let method_rank = match () {
            () if route.methods.contains(&method) => 0,
            () if method == "HEAD" && route.methods.contains(&"GET") => 1,
            () if route.methods.contains(&"*") => 2,
            () => {
                allow.extend(route.methods.iter().map(|m| (*m).to_owned()));
                continue;
            }
        };
        found.push((host_rank, route.draft.rank(), method_rank, number, route.draft.values(&takes, &path)));
    }
    if let Some((_, _, _, number, values)) = found.into_iter().min() {
        return Answer::Route(number, values);
    }
    if allow.is_empty() {
        return Answer::NotFound;
    }
    if allow.contains("GET") {
        allow.insert("HEAD".to_owned());
    }
    Answer::MethodNotAllowed(allow.into_iter().collect())
}

fn answer(router: &Router, numbers: &[u32], host: &str, method: &str, path: &str) -> Answer {
    let mut captures = Captures::new();
    match router.find(host, method, path, &mut captures) {
        Find::Route(route) => {
            let values = (0..captures.len()).map(|i| captures.raw(i, path).to_owned()).collect();
            Answer::Route(numbers[usize::try_from(route).expect("small")], values)
        }
        Find::MethodNotAllowed(allow) => {
            let mut methods: Vec<String> = allow.iter().map(str::to_owned).collect();
            methods.sort();
            Answer::MethodNotAllowed(methods)
        }
        Find::NotFound => Answer::NotFound,
    }
}

/// Builds the routes in the order of `numbers`; a route's number is its place in that order.
fn build(routes: &[Route], numbers: &[u32]) -> Result<Router, Vec<(u32, u32)>> {
    let options = TemplateOptions { inner_wildcard: true, trailing_slash: true };
    let mut builder = RouterBuilder::new();
    for (place, number) in (0..).zip(numbers) {
        let route = &routes[usize::try_from(*number).expect("small")];
        let text = route.draft.text();
        let template = Template::parse_with(&text, options).unwrap_or_else(|e| panic!("{text}: {e}"));
        let methods = match route.methods.as_slice() {
            ["*"] => Methods::Any,
            list => Methods::List(list.iter().map(|m| (*m).to_owned()).collect()),
        };
        builder.add(RouteSpec { host: route.host, methods, template: &template, route: place }).expect("a good route");
    }
    builder.build().map_err(|duplicates| duplicates.iter().map(|d| (d.first, d.second)).collect())
}

fn literal() -> impl Strategy<Value = Segment> + Clone {
    select(vec!["a", "b", "c"]).prop_map(Segment::Literal)
}

fn draft() -> impl Strategy<Value = Draft> {
    let plain = prop_oneof![3 => literal(), 2 => Just(Segment::Star)].boxed();
    let part = prop_oneof![
        3 => plain.clone().prop_map(Part::One),
        2 => proptest::collection::vec(plain, 1..3).prop_map(Part::Variable),
    ];
    let rest = prop_oneof![
        4 => Just(None),
        2 => Just(Some(Part::One(Segment::DoubleStar))),
        1 => Just(Some(Part::Variable(vec![Segment::DoubleStar]))),
        1 => literal().prop_map(|l| Some(Part::Variable(vec![l, Segment::DoubleStar]))),
        1 => literal().prop_map(|l| Some(Part::Variable(vec![Segment::DoubleStar, l]))),
    ];
    let tail = prop_oneof![
        2 => Just(Vec::new()),
        1 => proptest::collection::vec(literal().prop_map(Part::One), 1..3),
        1 => literal().prop_map(|l| vec![Part::Variable(vec![l])]),
    ];
    let verb = prop_oneof![3 => Just(None), 1 => Just(Some("v")), 1 => Just(Some("w"))];
    let slash = prop_oneof![5 => Just(false), 1 => Just(true)];
    (proptest::collection::vec(part, 0..4), rest, tail, verb, slash).prop_map(|(mut parts, rest, tail, verb, slash)| {
        if let Some(rest) = rest {
            parts.push(rest);
            parts.extend(tail);
        }
        if parts.is_empty() || slash {
            parts.push(Part::One(Segment::Literal("")));
            return Draft { parts, verb: None };
        }
        Draft { parts, verb }
    })
}

fn route() -> impl Strategy<Value = Route> {
    let methods = select(vec![vec!["GET"], vec!["POST"], vec!["GET", "PURGE"], vec!["HEAD", "POST"], vec!["*"]]);
    let host = prop_oneof![4 => Just(None), 1 => select(vec!["x.test", "*.test", "*.x.test"]).prop_map(Some)];
    (draft(), methods, host).prop_map(|(draft, methods, host)| Route { draft, methods, host })
}

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "b", "c", "d", "a:v", "b:v", "c:w", ":v", "a:v:w", "..:v", ""]);
    proptest::collection::vec(segment, 1..6).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn overlap(a: &Route, b: &Route) -> bool {
    let shape = |route: &Route| (route.draft.segments(), route.draft.verb, route.host);
    shape(a) == shape(b) && a.methods.iter().any(|method| b.methods.contains(method))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn finds_what_the_naive_matcher_finds(
        routes in proptest::collection::vec(route(), 1..12),
        paths in proptest::collection::vec(path(), 1..12),
        seed: u64,
    ) {
        let mut kept: Vec<Route> = Vec::new();
        for route in routes {
            if !kept.iter().any(|other| overlap(other, &route)) {
                kept.push(route);
            }
        }
        let in_order: Vec<u32> = (0..).take(kept.len()).collect();
        let mut shuffled = in_order.clone();
        shuffled.sort_by_key(|number| (u64::from(*number) + 1).wrapping_mul(seed | 1));
        let router = build(&kept, &in_order).expect("no duplicates");
        let other = build(&kept, &shuffled).expect("no duplicates");
        for path in &paths {
            for host in ["x.test", "y.x.test", "other"] {
                for method in ["GET", "POST", "HEAD", "PURGE", "PUT"] {
                    let wanted = naive(&kept, host, method, path);
                    prop_assert_eq!(&answer(&router, &in_order, host, method, path), &wanted, "{} {}", method, path);
                    prop_assert_eq!(&answer(&other, &shuffled, host, method, path), &wanted, "shuffled");
                }
            }
        }
    }

    #[test]
    fn a_route_that_is_not_found_differs_by_host_or_path(route in route(), path in path()) {
        let route = Route { methods: vec!["*"], ..route };
        let options = TemplateOptions { inner_wildcard: true, trailing_slash: true };
        let text = route.draft.text();
        let template = Template::parse_with(&text, options).expect("a good template");
        let differences = template.differences(&path);
        let router = build(std::slice::from_ref(&route), &[0]).expect("one route");
        for host in ["x.test", "X.test:80", "y.x.test.", "test", "other"] {
            let fits = route.host.is_none_or(|pattern| host_fits(pattern, host)) && differences.is_empty();
            let found = router.find(host, "GET", &path, &mut Captures::new());
            prop_assert_eq!(found == Find::Route(0), fits, "{} {} {}: {:?}", text, host, path, differences);
        }
    }

    #[test]
    fn duplicates_are_those_of_comparing_all_pairs(routes in proptest::collection::vec(route(), 1..24)) {
        let in_order: Vec<u32> = (0..).take(routes.len()).collect();
        let found = build(&routes, &in_order).err().unwrap_or_default();
        let pairs = || (0..routes.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
        let wanted: Vec<_> = pairs().filter(|&(a, b)| overlap(&routes[a], &routes[b])).collect();
        let number = |i: usize| u32::try_from(i).expect("small");
        for &(first, second) in &found {
            prop_assert!(wanted.iter().any(|&(a, b)| (number(a), number(b)) == (first, second)));
        }
        // Of three equal routes the second and the third are each reported against the first, not against each other.
        for (_, second) in wanted {
            prop_assert!(found.iter().any(|&(_, found)| found == number(second)));
        }
    }

    #[test]
    fn values_of_a_canonical_path_can_be_decoded_or_hide_a_dot_segment(
        path in "/[a-z]{1,2}(/([a-z]|%2[Ff]|%20|%C3%A9|\\.\\.?|%5c){1,4}){0,3}",
        draft in draft(),
    ) {
        let route = Route { draft, methods: vec!["*"], host: None };
        let router = build(&[route], &[0]).expect("one route");
        let Ok(path) = tidegate_route::canonicalize(path.as_bytes(), Default::default()) else { return Ok(()) };
        let mut captures = Captures::new();
        if let Find::Route(_) = router.find("", "GET", &path, &mut captures) {
            for i in 0..captures.len() {
                for mode in [MultiEscape::KeepSlash, MultiEscape::Reserved, MultiEscape::All] {
                    let plain = captures.raw(i, &path).to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/");
                    let dots = plain.split('/').any(|part| part == "." || part == "..");
                    prop_assert_eq!(captures.decode(i, &path, mode).is_err(), dots);
                }
            }
        }
    }
}
