//! Properties of path templates, canonical paths, the matcher and its captures.

use tidegate_route::{
    CanonicalOptions, Captures, Find, Methods, MultiEscape, PathErrorKind, RouteSpec, Router, RouterBuilder, Segment,
    Template, TemplateOptions, canonicalize, check_query,
};

/// Input: a template. It is refused with a column inside its text, or it finds a path made from itself.
pub fn template(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lenient = TemplateOptions { inner_wildcard: true, trailing_slash: true };
    let parsed = Template::parse_with(text, lenient);
    if let Ok(strict) = Template::parse(text) {
        assert_eq!(parsed.as_ref(), Ok(&strict), "options only ever allow more");
    }
    match parsed {
        Ok(template) => finds_its_own_path(text, &template),
        Err(fault) => assert!((1..=text.len() + 1).contains(&fault.column), "column {}", fault.column),
    }
}

fn finds_its_own_path(text: &str, template: &Template) {
    assert_eq!(template.as_str(), text);
    assert!((1..=Template::MAX_SEGMENTS).contains(&template.segments().len()));
    for variable in template.variables() {
        let name = text.get(variable.column - 1..).unwrap_or_default();
        assert!(name.starts_with(&variable.field_path), "{name} is not {}", variable.field_path);
    }
    let segments = template.segments().iter().map(|segment| match segment {
        Segment::Literal(literal) => format!("/{literal}"),
        Segment::Star => "/one".to_owned(),
        Segment::DoubleStar => "/two/three".to_owned(),
    });
    let verb = template.verb().map(|verb| format!(":{verb}")).unwrap_or_default();
    let path = segments.collect::<String>() + &verb;
    let router = router(std::slice::from_ref(template));
    let canonical = canonicalize(path.as_bytes(), CanonicalOptions::default());
    let canonical = canonical.unwrap_or_else(|fault| panic!("{path}: {fault}"));
    assert!(!canonical.is_changed(), "{path}");
    let mut captures = Captures::new();
    assert_eq!(router.find("a.test", "GET", &canonical, &mut captures), Find::Route(0), "{path}");
    assert_eq!(captures.len(), template.variables().len());
    for i in 0..captures.len() {
        let value = captures.raw(i, &path);
        assert!(!value.is_empty() && path.contains(&format!("/{value}")), "{value:?} of {path}");
        assert!(!captures.raw(i, &path).starts_with('/'));
    }
}

/// Input: a raw path, perhaps with `?` and a query. It is refused, or its canonical form is stable, has none of what
/// was to be refused, and can be matched and decoded.
pub fn path(input: &[u8]) {
    let mut parts = input.splitn(2, |&byte| byte == b'?');
    let (raw, query) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(query) = check_query(query) {
        assert!(query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    }
    let strict = canonicalize(raw, CanonicalOptions::default());
    let merged = canonicalize(raw, CanonicalOptions { merge_slashes: true });
    if let Ok(strict) = &strict {
        assert_eq!(merged.as_ref(), Ok(strict), "without double slashes there is nothing to merge");
    }
    let canonical = match merged {
        Ok(canonical) => canonical,
        Err(fault) => {
            assert!(fault.offset <= raw.len());
            assert_ne!(fault.kind, PathErrorKind::EmptySegment);
            return;
        }
    };
    is_canonical(&canonical);
    assert_eq!(canonical.is_changed(), canonical.as_bytes() != raw);
    let again = canonicalize(canonical.as_bytes(), CanonicalOptions::default());
    assert_eq!(again.as_ref(), Ok(&canonical), "the canonical form is stable");
    assert_eq!(canonical.key().to_ascii_lowercase(), canonical.to_ascii_lowercase());
    matches_and_decodes(&canonical);
}

fn is_canonical(path: &str) {
    assert!(path.starts_with('/') && path.is_ascii() && !path.contains("//"), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\\\"<>^{|}[]`?".contains(&byte)), "{path}");
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
    let lower = path.to_ascii_lowercase();
    for unreserved in ["%2d", "%2e", "%5f", "%7e", "%30", "%41", "%7a", "%00", "%7f"] {
        assert!(!lower.contains(unreserved), "{path}");
    }
}

fn matches_and_decodes(path: &str) {
    let templates = [
        "/",
        "/v1/{name}",
        "/v1/{name}:verb",
        "/v1/{name=shelves/*/books/*}",
        "/v1/shelves/{id}/books",
        "/{first}/{second}/{rest=**}",
        "/files/{rest=**}/meta",
        "/files/{rest=**}/all/meta:verb",
        "/{any=**}:other",
    ];
    let lenient = TemplateOptions { inner_wildcard: true, trailing_slash: false };
    let parse = |text| Template::parse_with(text, lenient).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let router = router(&templates.map(parse));
    let mut captures = Captures::new();
    let Find::Route(_) = router.find("a.test", "HEAD", path, &mut captures) else {
        assert!(captures.is_empty());
        return;
    };
    for i in 0..captures.len() {
        let raw = captures.raw(i, path);
        assert!(path.contains(raw));
        for mode in [MultiEscape::KeepSlash, MultiEscape::Reserved, MultiEscape::All] {
            match captures.decode(i, path, mode) {
                Ok(value) => {
                    let dots = value.split(['/', '\\']).any(|part| part == "." || part == "..");
                    assert!(!dots && value.len() <= raw.len(), "{value}");
                }
                Err(fault) => assert_eq!(fault.kind, PathErrorKind::DotSegment, "{raw}"),
            }
        }
    }
}

/// A router for `GET` with these templates, numbered in order.
fn router(templates: &[Template]) -> Router {
    let mut builder = RouterBuilder::new();
    for (route, template) in (0..).zip(templates) {
        let spec = RouteSpec { host: None, methods: Methods::one("GET"), template, route };
        builder.add(spec).unwrap_or_else(|fault| panic!("{fault}"));
    }
    builder.build().unwrap_or_else(|duplicates| panic!("{duplicates:?}"))
}
