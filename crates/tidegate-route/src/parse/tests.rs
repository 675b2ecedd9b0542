//! Templates and what they parse to, or the column and kind of their first fault.

use super::*;

const STRICT: TemplateOptions = TemplateOptions { inner_wildcard: false, trailing_slash: false };
const LENIENT: TemplateOptions = TemplateOptions { inner_wildcard: true, trailing_slash: true };

/// Segments joined by spaces, `:verb`, then `name@first..end` per variable, with `+` for several segments.
fn shown(template: &Template) -> String {
    let segments = template.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => format!("'{text}'"),
        Segment::Star => "*".to_owned(),
        Segment::DoubleStar => "**".to_owned(),
    });
    let verb = template.verb.iter().map(|verb| format!(":{verb}"));
    let variables = template.variables.iter().map(|v| {
        let many = if v.multi_segment { "+" } else { "" };
        format!("{}@{}..{}{many}", v.field_path, v.first, v.end)
    });
    segments.chain(verb).chain(variables).collect::<Vec<_>>().join(" ")
}

fn check_good(options: TemplateOptions, table: &[(&str, &str)]) {
    for (text, wanted) in table {
        let template = Template::parse_with(text, options).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(shown(&template), *wanted, "{text}");
        assert_eq!(template.to_string(), *text);
    }
}

fn check_bad(options: TemplateOptions, table: &[(&str, usize, Kind)]) {
    for &(text, column, kind) in table {
        let fault = Template::parse_with(text, options).expect_err(text);
        assert_eq!((fault.column, fault.kind), (column, kind), "{text}");
    }
}

#[test]
fn templates_of_the_grammar_are_read() {
    check_good(
        STRICT,
        &[
            ("/", "''"),
            ("/v1", "'v1'"),
            ("/v1/*", "'v1' *"),
            ("/**", "**"),
            ("/v1/**:watch", "'v1' ** :watch"),
            ("/v1:watch", "'v1' :watch"),
            ("/{_}", "* _@0..1"),
            ("/a/{b.c_1.D}", "'a' * b.c_1.D@1..2"),
            ("/a/{b=c}", "'a' 'c' b@1..2"),
            ("/a/{b=**}", "'a' ** b@1..2+"),
            ("/a/{b=c/*/d}/e:f", "'a' 'c' * 'd' 'e' :f b@1..4+"),
            ("/{a}/{b=x/**}:v", "* 'x' ** :v a@0..1 b@1..3+"),
            ("/-._~!$&'()+,;=@9", "'-._~!$&'()+,;=@9'"),
            ("/...", "'...'"),
            ("/a:.", "'a' :."),
        ],
    );
}

#[test]
fn options_allow_an_inner_wildcard_and_a_trailing_slash() {
    check_good(
        LENIENT,
        &[
            ("/", "''"),
            ("/docs/", "'docs' ''"),
            ("/{a}/", "* '' a@0..1"),
            ("/**/x", "** 'x'"),
            ("/a/{b=c/**/d}/e:v", "'a' 'c' ** 'd' 'e' :v b@1..4+"),
            ("/{a=**}/{b=x}", "** 'x' a@0..1+ b@1..2"),
            ("/a/**/", "'a' ** ''"),
        ],
    );
    check_bad(
        LENIENT,
        &[
            ("/a/**/foo/*", 11, Kind::WildcardAfterDoubleStar),
            ("/a/**/foo/**", 11, Kind::WildcardAfterDoubleStar),
            ("/{a=**}/{b}", 9, Kind::WildcardAfterDoubleStar),
            ("/a//", 3, Kind::EmptySegment),
            ("/docs/:v", 6, Kind::EmptySegment),
        ],
    );
}

#[test]
fn the_first_fault_is_named_with_its_column() {
    check_bad(
        STRICT,
        &[
            ("", 1, Kind::MissingSlash),
            ("foo/bar", 1, Kind::MissingSlash),
            ("é/bar", 1, Kind::MissingSlash),
            ("//", 1, Kind::EmptySegment),
            ("//a", 1, Kind::EmptySegment),
            ("/a//b", 3, Kind::EmptySegment),
            ("/:verb", 1, Kind::EmptySegment),
            ("/a/:verb", 3, Kind::EmptySegment),
            ("/a/{b=}", 7, Kind::EmptySegment),
            ("/a/{b=/c}", 7, Kind::EmptySegment),
            ("/a/{b=c/}", 9, Kind::EmptySegment),
            ("/foo/bar/", 9, Kind::TrailingSlash),
            ("/./a", 2, Kind::DotSegment),
            ("/a/{b=..}", 7, Kind::DotSegment),
            ("/foo/bar/***", 12, Kind::Unexpected('*')),
            ("/a*b", 3, Kind::Unexpected('*')),
            ("/*b", 3, Kind::Unexpected('b')),
            ("/a{x}", 3, Kind::Unexpected('{')),
            ("/{x}a", 5, Kind::Unexpected('a')),
            ("/a}", 3, Kind::Unexpected('}')),
            ("/a/b?c=d", 5, Kind::Unexpected('?')),
            ("/a b", 3, Kind::Unexpected(' ')),
            ("/aé", 3, Kind::Unexpected('é')),
            ("/{xé}", 4, Kind::Unexpected('é')),
            ("/{field-}", 8, Kind::Unexpected('-')),
            ("/foo/{bar/baz}", 10, Kind::Unexpected('/')),
            ("/foo/bar:baz/buzz", 13, Kind::Unexpected('/')),
            ("/a:b:c", 5, Kind::Unexpected(':')),
            ("/{x=a{y}}", 6, Kind::Unexpected('{')),
            ("/a%2Fb", 3, Kind::Escape),
            ("/a:%2c", 4, Kind::Escape),
            ("/{}", 3, Kind::BadName),
            ("/{1}", 3, Kind::BadName),
            ("/{a.1}", 5, Kind::BadName),
            ("/{a.}", 5, Kind::BadName),
            ("/{=a}", 3, Kind::BadName),
            ("/a/{", 4, Kind::UnclosedBrace),
            ("/a/{var", 4, Kind::UnclosedBrace),
            ("/a/{var.", 4, Kind::UnclosedBrace),
            ("/a/{var=", 4, Kind::UnclosedBrace),
            ("/a/{var=b", 4, Kind::UnclosedBrace),
            ("/{a={b}}", 5, Kind::NestedVariable),
            ("/{a=b/{c=d}}", 7, Kind::NestedVariable),
            ("/a/{x=var:verb}", 10, Kind::VerbInVariable),
            ("/{a}/{a}", 7, Kind::DuplicateVariable),
            ("/{a.b}/x/{a.b=**}", 11, Kind::DuplicateVariable),
            ("/a:", 3, Kind::EmptyVerb),
            ("/**:", 4, Kind::EmptyVerb),
            ("/a/**/b", 4, Kind::DoubleStarNotLast),
            ("/a/{b=c/**/d}", 9, Kind::DoubleStarNotLast),
            ("/**/**", 2, Kind::DoubleStarNotLast),
        ],
    );
}

#[test]
fn sixty_four_segments_are_the_most() {
    let longest = "/a".repeat(64);
    assert_eq!(Template::parse(&longest).map(|t| t.segments.len()), Ok(64));
    let fault = Template::parse(&(longest.clone() + "/{b}")).expect_err("65 segments");
    assert_eq!((fault.column, fault.kind), (130, Kind::TooManySegments));
    let fault = Template::parse_with(&(longest + "/"), LENIENT).expect_err("65 segments");
    assert_eq!((fault.column, fault.kind), (129, Kind::TooManySegments));
}

#[test]
fn a_variable_knows_the_column_of_its_name() {
    let template = Template::parse("/v1/{book.name=shelves/*}/{id}").expect("a good template");
    let columns: Vec<_> = template.variables().iter().map(|v| (&*v.field_path, v.column)).collect();
    assert_eq!(columns, [("book.name", 6), ("id", 28)]);
}

#[test]
fn the_shape_does_not_depend_on_variables() {
    let parse = |text| Template::parse(text).expect("a good template");
    assert!(parse("/a/{b=c/*}/d:v").same_shape(&parse("/a/c/{x}/{y=d}:v")));
    assert!(!parse("/a/*").same_shape(&parse("/a/**")));
    assert!(!parse("/a:v").same_shape(&parse("/a")));
}
