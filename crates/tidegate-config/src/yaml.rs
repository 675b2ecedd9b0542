//! YAML text to [`Node`] trees. The only module that knows the YAML library.
//!
//! What is read is YAML 1.2 without surprises: `yes`, `on` and `0o17` are texts, a document is one file, tags other
//! than `!!str` and merge keys are refused, and aliases count against the same budget as what they repeat. A syntax
//! error ends the file it is in (there is nothing sure to go on with); everything else is collected.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use crate::decode::Cx;
use crate::diag::{Code, Diagnostic};
use crate::node::{Entry, Node, Scalar, Span, Text, Value};

/// Values in one file, repetitions by alias included. A route has about 20; this is room for 50,000 routes and keeps
/// an alias bomb small.
const MAX_NODES: usize = 1_000_000;
/// Levels of nesting, repetitions by alias included; bounds the recursion of every later stage.
const MAX_DEPTH: usize = 64;

/// Reads one document. Problems are reported to `cx`.
///
/// `None`: there is no tree (a syntax error, which was reported). An empty file is a tree that is null.
pub(crate) fn parse(text: &str, cx: &mut Cx<'_>) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        disallow_directives: true,
        emit_unresolved_aliases: true,
    };
    let mut documents = 0;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                report_syntax(text, &error, cx);
                return None;
            }
        };
        let place = to_span(&span.start, &span.end);
        let taken = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    let problem = Diagnostic::error(Code::Syntax, "a second document in one file");
                    cx.report(problem.help("one file holds one document; use \"include\" for more files"), place);
                    break;
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let tagged = tag.is_some_and(|tag| {
                    let text = tag.is_yaml_core_schema_tag("str");
                    if !text {
                        refuse_tag(place, cx);
                    }
                    text
                });
                let quoted = tagged || style != ScalarStyle::Plain;
                builder.scalar(text.into_owned(), quoted, anchor, place, cx)
            }
            Event::SequenceStart(_, anchor, tag) => {
                if tag.is_some() {
                    refuse_tag(place, cx);
                }
                builder.open(Open::List(Vec::new()), anchor, place)
            }
            Event::MappingStart(_, anchor, tag) => {
                if tag.is_some() {
                    refuse_tag(place, cx);
                }
                builder.open(Open::Map { entries: Vec::new(), key: None }, anchor, place)
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(cx),
            Event::Alias(anchor) => builder.alias(anchor, place, cx),
            Event::UnresolvedAlias(name) => {
                cx.report(Diagnostic::error(Code::Syntax, format!("no anchor \"&{name}\" before this alias")), place);
                builder.finish(Built::null(place), 0, cx)
            }
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => Ok(()),
            // The comment event exists only with a feature that another user of the library might switch on.
            #[allow(unreachable_patterns)]
            _ => Ok(()),
        };
        if let Err(limit) = taken {
            cx.report(Diagnostic::error(Code::Syntax, limit.message()), place);
            return None;
        }
    }
    let empty = Span { line: 1, column: 1, end_column: 2 };
    Some(builder.root.unwrap_or(Node { span: empty, value: Value::Null }))
}

fn refuse_tag(place: Span, cx: &mut Cx<'_>) {
    cx.report(Diagnostic::error(Code::Syntax, "tags are not used here").help("remove the \"!\" word"), place);
}

fn to_span(start: &Marker, end: &Marker) -> Span {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    // The library counts lines from 1 and columns from 0.
    let column = number(start.col()).saturating_add(1);
    let same_line = end.line() == start.line() && end.col() > start.col();
    let end_column = if same_line { number(end.col()).saturating_add(1) } else { column.saturating_add(1) };
    Span { line: number(start.line()).max(1), column, end_column }
}

fn report_syntax(text: &str, error: &ScanError, cx: &mut Cx<'_>) {
    let place = to_span(error.marker(), error.marker());
    let mut problem = Diagnostic::error(Code::Syntax, error.info());
    if has_bare_brace(text, place.line) {
        problem =
            problem.help("inside { } and [ ] a text with braces must be quoted, as in \"/v1/{id}\" or \"${NAME}\"");
    }
    cx.report(problem, place);
}

/// Whether the line, or the one before it, has a brace glued to an unquoted text, as in `{ path: /v1/{id} }`: the
/// commonest cause of a syntax error, and one that YAML's own message does not explain.
fn has_bare_brace(text: &str, line: u32) -> bool {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let lines = text.lines().skip(line.saturating_sub(2)).take(2);
    lines.into_iter().any(|line| {
        let mut quote = None;
        let mut previous = ' ';
        line.chars().any(|c| {
            let before = std::mem::replace(&mut previous, c);
            match quote {
                Some(open) => {
                    if c == open {
                        quote = None;
                    }
                    false
                }
                None if matches!(c, '"' | '\'') && matches!(before, ' ' | ',' | '[' | '{' | ':') => {
                    quote = Some(c);
                    false
                }
                None => c == '{' && !matches!(before, ' ' | ',' | '[' | '{' | ':' | '\t'),
            }
        })
    })
}

/// A limit of this reader that the file is beyond.
enum Limit {
    Nodes,
    Depth,
}

impl Limit {
    fn message(&self) -> String {
        match self {
            Self::Nodes => format!("more than {MAX_NODES} values in one file"),
            Self::Depth => format!("nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

/// A finished value: how deep it is (1 for a scalar) and how many values it holds.
#[derive(Clone)]
struct Built {
    node: Node,
    depth: usize,
    count: usize,
}

impl Built {
    fn null(span: Span) -> Self {
        Self { node: Node { span, value: Value::Null }, depth: 1, count: 1 }
    }
}

enum Open {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<PendingKey> },
}

/// A key that waits for its value. `None`: the key was refused, and its value will be dropped.
type PendingKey = Option<(Scalar, Span)>;

struct Frame {
    open: Open,
    anchor: usize,
    span: Span,
    depth: usize,
    count: usize,
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    /// Values made so far, copies included.
    nodes: usize,
}

impl Builder {
    fn count(&mut self, more: usize) -> Result<(), Limit> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MAX_NODES { Err(Limit::Nodes) } else { Ok(()) }
    }

    fn scalar(&mut self, text: String, quoted: bool, anchor: usize, span: Span, cx: &mut Cx<'_>) -> Result<(), Limit> {
        self.count(1)?;
        let null = !quoted && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        let value = if null { Value::Null } else { Value::Scalar(Scalar { text: Text::Written(text), quoted }) };
        self.finish(Built { node: Node { span, value }, depth: 1, count: 1 }, anchor, cx)
    }

    fn open(&mut self, open: Open, anchor: usize, span: Span) -> Result<(), Limit> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(Limit::Depth);
        }
        self.count(1)?;
        self.stack.push(Frame { open, anchor, span, depth: 0, count: 1 });
        Ok(())
    }

    fn close(&mut self, cx: &mut Cx<'_>) -> Result<(), Limit> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        let mut span = frame.span;
        if let Value::Map(entries) = &value
            && let Some(first) = entries.first()
            && (first.key_span.line, first.key_span.column) == (span.line, span.column)
        {
            span = first.key_span;
        }
        let node = Node { span, value };
        self.finish(Built { node, depth: frame.depth.saturating_add(1), count: frame.count }, frame.anchor, cx)
    }

    fn alias(&mut self, anchor: usize, span: Span, cx: &mut Cx<'_>) -> Result<(), Limit> {
        let Some(count) = self.anchors.get(&anchor).map(|target| target.count) else {
            cx.report(Diagnostic::error(Code::Syntax, "an alias to the value that contains it"), span);
            return self.finish(Built::null(span), 0, cx);
        };
        // Counted before the copy is made, so that a bomb is never built.
        self.count(count)?;
        let Some(target) = self.anchors.get(&anchor) else { return Ok(()) };
        let mut copy = target.clone();
        copy.node.span = span;
        self.finish(copy, 0, cx)
    }

    fn finish(&mut self, built: Built, anchor: usize, cx: &mut Cx<'_>) -> Result<(), Limit> {
        if self.stack.len().saturating_add(built.depth) > MAX_DEPTH.saturating_add(1) {
            return Err(Limit::Depth);
        }
        if anchor != 0 {
            // Anchors within anchors are copies within copies: they count too.
            self.count(built.count)?;
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.depth = frame.depth.max(built.depth);
        frame.count = frame.count.saturating_add(built.count);
        match &mut frame.open {
            Open::List(items) => items.push(built.node),
            Open::Map { key: key @ None, .. } => *key = Some(as_key(built.node, cx)),
            Open::Map { entries, key } => {
                if let Some(Some((key, key_span))) = key.take() {
                    let mut value = built.node;
                    if matches!(value.value, Value::Null)
                        && value.span.end_column <= value.span.column.saturating_add(1)
                    {
                        // A value that is not there has no place of its own.
                        value.span = key_span;
                    }
                    entries.push(Entry { key, key_span, value });
                }
            }
        }
        Ok(())
    }
}

fn as_key(node: Node, cx: &mut Cx<'_>) -> PendingKey {
    match node.value {
        Value::Scalar(scalar) if !scalar.quoted && scalar.text() == "<<" => {
            let problem = Diagnostic::error(Code::Syntax, "merge keys are not used here");
            cx.report(problem.help("common values belong under \"defaults\""), node.span);
            None
        }
        Value::Scalar(scalar) => Some((scalar, node.span)),
        Value::Null | Value::Broken => {
            cx.report(Diagnostic::error(Code::Syntax, "a key must be a text, this one is null"), node.span);
            None
        }
        Value::List(_) | Value::Map(_) => {
            let problem = Diagnostic::error(Code::Syntax, format!("a key must be a text, this one is {}", node.kind()));
            cx.report(problem.help("quote texts that begin with { or [, as in \"{{ message }}\""), node.span);
            None
        }
    }
}
