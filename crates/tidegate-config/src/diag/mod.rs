//! Problems of a configuration: what is wrong, where, and what to do about it.
//!
//! A [`Diagnostic`] is data; [`Diagnostics`] collects them over all files and renders them, as text in the style of
//! rustc or as JSON. Rendering is here and nowhere else. Values that came out of `${…}` never reach a message: a
//! message may only quote what stands in the file, and the quoted source line is the file's own text.

mod json;
mod text;

use std::fmt;
use std::sync::Arc;

/// Where something stands in a configuration file.
///
/// `line` and `column` count from 1, columns in characters (not bytes); `end_column` is exclusive and on the same
/// line. `path` is the dotted path of the key (`services.order-service.timeout`, `routes[3].path`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name of the file as it was given or found by `include`; `<stdin>` for standard input.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// First column, from 1, in characters.
    pub column: u32,
    /// Column after the last character; at least `column + 1`.
    pub end_column: u32,
    /// Dotted path of the key, empty for the file as a whole.
    pub path: Arc<str>,
}

/// All fields; nothing but `_` with `{:-?}`. So two values that differ only in where they stand print alike under that
/// flag, which is how a reload tells what has changed.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.sign_minus() {
            return f.write_str("_");
        }
        let Self { file, line, column, end_column, path } = self;
        f.debug_struct("Place")
            .field("file", file)
            .field("line", line)
            .field("column", column)
            .field("end_column", end_column)
            .field("path", path)
            .finish()
    }
}

/// `file:line`, the short form that tables and `explain` print.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Whether a problem makes the configuration unusable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// Worth knowing; does not fail a check.
    Warning,
}

impl Severity {
    /// The lower-case word of the outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// The closed list of problem kinds. The word is an interface: scripts match on it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// The word in `error[word]` and in the JSON output.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

codes! {
    /// Not YAML, or YAML beyond the limits of this reader.
    Syntax = "syntax",
    /// A file that cannot be read, or that no `include` pattern found.
    Unreadable = "unreadable_file",
    /// A key that does not exist.
    UnknownKey = "unknown_key",
    /// A key of the product whose feature is not in this version.
    NotAvailable = "not_available",
    /// A key that must be there.
    MissingKey = "missing_key",
    /// A value of the wrong kind: a list where a text is expected, and so on.
    WrongType = "wrong_type",
    /// A value of the right kind that is not allowed.
    InvalidValue = "invalid_value",
    /// A number without its unit.
    MissingUnit = "missing_unit",
    /// The same key twice in one mapping.
    DuplicateKey = "duplicate_key",
    /// The same name, address or file twice.
    Duplicate = "duplicate",
    /// Two routes for the same host, method and path.
    DuplicateRoute = "duplicate_route",
    /// A name that refers to nothing.
    UnknownName = "unknown_name",
    /// Keys that exclude each other.
    Conflict = "conflict",
    /// A `${…}` that cannot be filled in.
    Expansion = "expansion",
    /// A path template that is not one.
    InvalidPath = "invalid_path",
    /// An envelope or expression that is not one.
    InvalidEnvelope = "invalid_envelope",
    /// Descriptors that cannot be loaded, or that lack what a route names.
    Descriptors = "descriptors_failed",
    /// A certificate or key that cannot be used.
    Tls = "tls_failed",
    /// A key set that cannot be fetched, or has no key that can be used.
    Jwks = "jwks_failed",
    /// Keys of tokens, or a file of API keys, that cannot be used.
    Keys = "keys_failed",
    /// A name that the resolver does not know.
    Dns = "dns_failed",
    /// An endpoint that cannot be connected to. Its name does have an address: without one it is `dns_failed`.
    ConnectFailed = "connect_failed",
    /// A port that another process holds.
    PortInUse = "port_in_use",
    /// An address that cannot be listened on for another reason than that it is taken.
    CannotListen = "cannot_listen",
    /// A certificate that has expired, or (as a warning) soon will.
    CertificateExpired = "certificate_expired",
    /// A configuration file that is a mount of its own, whose changes never show.
    FileMount = "file_mount",
    /// A route that says nothing of who may ask, beside others that do.
    OpenRoute = "open_route",
    /// A secret that can be guessed.
    WeakSecret = "weak_secret",
    /// A drain that may take longer than service managers wait.
    LongDrain = "long_drain",
    /// Clear text on an address that others can reach.
    PublicPlaintext = "public_plaintext",
    /// A deadline so long that it hardly protects.
    LongTimeout = "long_timeout",
    /// A key that is correct and does nothing here.
    NoEffect = "no_effect",
}

/// One problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What kind of problem.
    pub code: Code,
    /// One line, no full stop; names only what stands in the file.
    pub message: String,
    /// Where; `None` for a problem of no file (a missing variable that names the configuration, say).
    pub place: Option<Place>,
    /// What to do, one line.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error without place or help yet.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), place: None, help: None }
    }

    /// A warning without place or help yet.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// The same problem, at `place`.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }

    /// The same problem, with a line of advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Most problems that are kept; a file that is not a configuration at all has more than anybody reads.
const MAX_PROBLEMS: usize = 1_000;

/// All problems of one configuration, with the texts needed to show them.
#[derive(Clone, Default, Debug)]
pub struct Diagnostics {
    problems: Vec<Diagnostic>,
    /// Problems beyond [`MAX_PROBLEMS`], by severity: errors, warnings.
    dropped: (usize, usize),
    files: Vec<SourceText>,
    routes: usize,
    services: usize,
}

/// A file as it was read, for quoting lines.
#[derive(Clone)]
struct SourceText {
    name: Arc<str>,
    text: String,
}

impl fmt::Debug for SourceText {
    // The text may hold credentials that somebody typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.text.len())
    }
}

impl Diagnostics {
    /// Adds a problem. Order does not matter: every output sorts. The same problem at the same place is kept once.
    pub fn push(&mut self, problem: Diagnostic) {
        if self.problems.len() >= MAX_PROBLEMS {
            match problem.severity {
                Severity::Error => self.dropped.0 = self.dropped.0.saturating_add(1),
                Severity::Warning => self.dropped.1 = self.dropped.1.saturating_add(1),
            }
            return;
        }
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether any problem is an error.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// Number of errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error).saturating_add(self.dropped.0)
    }

    /// Number of warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning).saturating_add(self.dropped.1)
    }

    fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }

    /// The problems in the order in which they were found.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// The problems in the order of the files and their lines; those without a place come first.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let order = |name: &str| self.files.iter().position(|file| *file.name == *name).unwrap_or(usize::MAX);
        let mut sorted: Vec<&Diagnostic> = self.problems.iter().collect();
        sorted.sort_by_cached_key(|problem| {
            let place = problem.place.as_ref();
            place.map(|place| (order(&place.file), place.line, place.column, problem.code, problem.message.clone()))
        });
        sorted
    }

    /// Whether a problem was found in or below the block with this dotted path.
    pub(crate) fn mentions(&self, path: &str) -> bool {
        self.problems.iter().filter_map(|problem| problem.place.as_ref()).any(|place| place.path.starts_with(path))
    }

    pub(crate) fn add_file(&mut self, name: Arc<str>, text: String) {
        self.files.push(SourceText { name, text });
    }

    pub(crate) fn set_summary(&mut self, routes: usize, services: usize) {
        (self.routes, self.services) = (routes, services);
    }

    /// All problems as text, with the quoted line and a caret below it, and a summary in the last line.
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    /// All problems as one line of JSON, without a line end.
    pub fn to_json(&self) -> String {
        json::render(self)
    }
}
