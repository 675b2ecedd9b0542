//! Events as they are written, through a writer of the test's own.

use std::fmt;
use std::path::Path;

use proptest::prelude::*;
use tidegate_config::valid::{LogFormat, LogLevel};
use tracing::subscriber::with_default;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// What `tell` leads to with `levels`. The time is cut off, after a look at it.
fn told(format: LogFormat, levels: &Levels, tell: impl FnOnce()) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    // For ever, as that of the process.
    let writer: &Writer = Box::leak(Box::new(Writer::new("test", 1, MAX_WAITING_BYTES, to(&path))));
    writer.start().unwrap();
    with_default(registry().with(Lines::new(format, writer).with_filter(levels.filter())), tell);
    assert!(writer.flush(PATIENCE));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    let begin = match format {
        LogFormat::Json => "{\"ts\":\"2",
        LogFormat::Text => "2",
    };
    let cut = |line: &str| line.strip_prefix(begin).unwrap_or_else(|| panic!("{line}"))[23..].to_owned();
    text.lines().map(cut).collect()
}

fn to(path: &Path) -> AccessOutput {
    AccessOutput::File(path.to_owned())
}

/// As an address or an error of a library would be written.
struct Shown(&'static str);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| write!(f, "{character}"))
    }
}

fn tell_everything() {
    tracing::info!(listener = "main", address = %Shown("127.0.0.1:1"), workers = 2, cut = true, "listening");
    tracing::error!(target: "other", error = %Shown("a\u{1b}[31m\nb"), nothing = None::<&str>, share = 0.5, "bad \"thing\"\n");
    tracing::warn!(level = "x", msg = "y", ts = -1, target = 1.0 / 0.0, r#type = ?Some("z"), "");
}

#[test]
fn json_has_time_level_message_target_and_the_fields() {
    let lines = told(LogFormat::Json, &Levels::new(), tell_everything);
    let own = module_path!();
    assert_eq!(
        lines,
        [
            format!(r#"","level":"info","msg":"listening","target":"{own}","listener":"main","address":"127.0.0.1:1","workers":2,"cut":true}}"#),
            r#"","level":"error","msg":"bad \"thing\"\u000a","target":"other","error":"a\u001b[31m\u000ab","share":0.5}"#.to_owned(),
            format!(r#"","level":"warn","msg":"","target":"{own}","field_level":"x","field_msg":"y","field_ts":-1,"field_target":"inf","type":"Some(\"z\")"}}"#),
        ]
    );
}

#[test]
fn text_is_for_people_and_escapes_as_well() {
    let lines = told(LogFormat::Text, &Levels::new(), tell_everything);
    let own = module_path!();
    assert_eq!(
        lines,
        [
            format!("  INFO {own}: listening listener=main address=127.0.0.1:1 workers=2 cut=true"),
            r#" ERROR other: bad \"thing\"\u000a error="a\u001b[31m\u000ab" share=0.5"#.to_owned(),
            format!(r#"  WARN {own}:  field_level=x field_msg=y field_ts=-1 field_target=inf type="Some(\"z\")""#),
        ]
    );
}

#[test]
fn levels_change_while_the_log_runs() {
    let levels = Levels::new();
    let tell = |text: &'static str| {
        tracing::debug!(text);
        tracing::debug!(target: "tidegate::upstream", text);
        tracing::warn!(target: "h2", text);
        tracing::info!(target: "hyper", text);
    };
    let lines = told(LogFormat::Text, &levels, || {
        tell("one");
        levels.set("info,tidegate::upstream=debug,h2=warn").unwrap();
        tell("two");
        levels.configure(LogLevel::Debug);
        tell("three");
        levels.set("hyper=info").unwrap();
        tell("four");
        levels.set("off").unwrap();
        tell("five");
    });
    let own = module_path!();
    let expected = [
        " DEBUG tidegate::upstream:  text=two".to_owned(),
        "  WARN h2:  text=two".to_owned(),
        " DEBUG tidegate::upstream:  text=three".to_owned(),
        "  WARN h2:  text=three".to_owned(),
        format!(" DEBUG {own}:  text=four"),
        " DEBUG tidegate::upstream:  text=four".to_owned(),
        "  INFO hyper:  text=four".to_owned(),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_event_that_is_told_while_another_is_written_is_written_too() {
    let lines = told(LogFormat::Text, &Levels::new(), || {
        event::DRAFT.with(|draft| {
            let _writing = draft.borrow_mut();
            tracing::info!("inner");
        });
    });
    assert_eq!(lines, [format!("  INFO {}: inner", module_path!())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_gives_one_line_of_json(message in "\\PC{0,40}|[\\x00-\\x20\"\\\\{}\u{7f}-\u{9f}\u{2028}]{0,40}", value in ".{0,40}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let writer: &Writer = Box::leak(Box::new(Writer::new("test", 1, MAX_WAITING_BYTES, to(&path))));
        writer.start().unwrap();
        with_default(registry().with(Lines::new(LogFormat::Json, writer)), || tracing::error!(value, "{message}"));
        prop_assert!(writer.flush(PATIENCE));
        let text = std::fs::read_to_string(&path).unwrap();
        prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!((read["msg"].as_str(), read["value"].as_str()), (Some(&*message), Some(&*value)));
    }
}
