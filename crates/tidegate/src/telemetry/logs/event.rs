//! An event of the process log becomes a line: as JSON `ts`, `level`, `msg`, `target` and its fields, or text for people.
//!
//! Values may come from outside (errors of peers, names of files), so both forms escape them like the access log.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tidegate_config::valid::LogFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::ids::WorkerId;
use crate::telemetry::escape::{self, Escaped};
use crate::telemetry::writer::Writer;
use crate::time;

/// Formats events and hands them to a writer with one slot.
#[derive(Debug)]
pub(super) struct Lines {
    format: LogFormat,
    writer: &'static Writer,
}

thread_local! {
    /// Memory of the last line of this thread.
    pub(super) static DRAFT: RefCell<Draft> = const { RefCell::new(Draft::new(LogFormat::Json)) };
}

impl Lines {
    pub(super) fn new(format: LogFormat, writer: &'static Writer) -> Self {
        Self { format, writer }
    }

    fn take(&self, event: &Event<'_>, draft: &mut Draft) {
        draft.begin(self.format);
        event.record(draft);
        let metadata = event.metadata();
        let (level, target) = (metadata.level().as_str(), metadata.target());
        self.writer.append(WorkerId::new(0), |out| draft.write(out, time::unix_ms(), level, target));
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        DRAFT.with(|draft| match draft.try_borrow_mut() {
            Ok(mut draft) => self.take(event, &mut draft),
            // A value that tells an event while it is written, for example by its panic.
            Err(_) => self.take(event, &mut Draft::new(self.format)),
        });
    }
}

/// The parts of a line, already escaped.
#[derive(Debug)]
pub(super) struct Draft {
    format: LogFormat,
    message: Vec<u8>,
    fields: Vec<u8>,
}

impl Draft {
    const fn new(format: LogFormat) -> Self {
        Self { format, message: Vec::new(), fields: Vec::new() }
    }

    fn begin(&mut self, format: LogFormat) {
        self.format = format;
        self.message.clear();
        self.fields.clear();
    }

    /// Appends the line to `out`.
    fn write(&self, out: &mut Vec<u8>, unix_ms: u64, level: &str, target: &str) {
        let stamp = time::rfc3339_ms(unix_ms);
        match self.format {
            LogFormat::Json => {
                out.extend_from_slice(b"{\"ts\":\"");
                out.extend_from_slice(&stamp);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend(level.bytes().map(|byte| byte.to_ascii_lowercase()));
                out.extend_from_slice(b"\",\"msg\":\"");
                out.extend_from_slice(&self.message);
                out.extend_from_slice(b"\",\"target\":\"");
                escape::push(out, target.as_bytes());
                out.push(b'"');
                out.extend_from_slice(&self.fields);
                out.extend_from_slice(b"}\n");
            }
            LogFormat::Text => {
                out.extend_from_slice(&stamp);
                out.extend_from_slice(match level.len() {
                    4 => b"  ",
                    _ => b" ",
                });
                for part in [level.as_bytes(), b" ", target.as_bytes(), b": ", &self.message, &self.fields, b"\n"] {
                    out.extend_from_slice(part);
                }
            }
        }
    }

    fn key(&mut self, field: &Field) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        // The line has these keys already.
        let prefix = if matches!(name, "ts" | "level" | "msg" | "target") { "field_" } else { "" };
        let (open, close): (&[u8], &[u8]) = match self.format {
            LogFormat::Json => (b",\"", b"\":"),
            LogFormat::Text => (b" ", b"="),
        };
        self.fields.extend_from_slice(open);
        self.fields.extend_from_slice(prefix.as_bytes());
        escape::push(&mut self.fields, name.as_bytes());
        self.fields.extend_from_slice(close);
    }

    /// What is a number or a truth value in JSON too.
    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.key(field);
        let _ = write!(Escaped::new(&mut self.fields), "{value}");
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            let _ = Escaped::new(&mut self.message).write_fmt(value);
            return;
        }
        self.key(field);
        let begin = self.fields.len();
        self.fields.push(b'"');
        let _ = Escaped::new(&mut self.fields).write_fmt(value);
        self.fields.push(b'"');
        let simple = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        let text = self.fields.get(begin + 1..self.fields.len() - 1).unwrap_or_default();
        if self.format == LogFormat::Text && !text.is_empty() && text.iter().all(simple) {
            self.fields.pop();
            self.fields.remove(begin);
        }
    }
}

impl Visit for Draft {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no other numbers.
        if value.is_finite() { self.bare(field, value) } else { self.text(field, format_args!("{value}")) }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bare(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}
