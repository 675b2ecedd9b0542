//! Golden cases: `testdata/<case>.txt` holds a configuration, a line of dashes, and what must come out.
//!
//! The input is the main file `tidegate.yaml`; further files follow behind `==> NAME`, environment variables behind
//! `==> env` as `NAME=value`. The output is what `check` prints, and for a configuration without errors a summary of
//! what holds. Cases whose name begins with `json_` show the JSON output. `UPDATE_GOLDEN=1` rewrites the output.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its cases has failed")]

mod describe;

use std::path::{Path, PathBuf};

use tidegate_config::source::Memory;
use tidegate_config::{Loaded, load};

const DASHES: &str = "\n----------\n";

#[test]
fn every_case_gives_its_golden_output() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| is_case(path)).collect();
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases found", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|path| check(path, update)).collect();
    assert!(failures.is_empty(), "{} of {} cases differ\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn is_case(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
}

fn check(path: &Path, update: bool) -> Option<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let (input, expected) = text.split_once(DASHES).unwrap_or((text.trim_end(), ""));
    let name = path.file_stem().unwrap().to_str().unwrap();
    let actual = run(name, input);
    if update {
        std::fs::write(path, format!("{input}{DASHES}{actual}")).unwrap();
        return None;
    }
    (actual != expected).then(|| format!("--- {name}: expected\n{expected}--- actual\n{actual}"))
}

fn run(name: &str, input: &str) -> String {
    let result = load(&sources(input), Path::new("tidegate.yaml"));
    let diagnostics = match &result {
        Ok(Loaded { diagnostics, .. }) | Err(diagnostics) => diagnostics,
    };
    assert_eq!(result.is_err(), diagnostics.has_errors(), "{name}: refused exactly if there are errors");
    if name.starts_with("json_") {
        return format!("{}\n", diagnostics.to_json());
    }
    let mut out = diagnostics.to_text();
    if let Ok(Loaded { valid, .. }) = &result {
        out.push_str(&describe::describe(valid));
    }
    out
}

fn sources(input: &str) -> Memory {
    let mut memory = Memory::default();
    let mut name = "tidegate.yaml".to_owned();
    let mut text = String::new();
    for line in input.lines() {
        match line.strip_prefix("==> ") {
            Some(next) => {
                store(&mut memory, &name, &text);
                (name, text) = (next.to_owned(), String::new());
            }
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    store(&mut memory, &name, &text);
    memory
}

fn store(memory: &mut Memory, name: &str, text: &str) {
    if name == "env" {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        memory.variables.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    } else {
        memory.files.insert(name.into(), text.as_bytes().to_vec());
    }
}
