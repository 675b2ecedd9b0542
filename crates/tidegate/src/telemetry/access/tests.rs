//! From a line to the file, and what it costs.

use super::line::tests::full;
use super::*;
use crate::time;

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(sample_ok: f64) -> AccessLog {
    AccessLog { output: AccessOutput::Stdout, sample_ok, slower_than: Duration::from_secs(1) }
}

#[test]
fn what_is_kept_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let access = AccessWriter::new(2, AccessOutput::File(path.clone()));
    access.start().unwrap();
    let failed = AccessLine { status: Some(503), ..full() };
    for worker in [0, 1] {
        access.record(WorkerId::new(worker), &settings(0.0), &full());
        access.record(WorkerId::new(worker), &settings(0.0), &failed);
        access.record(WorkerId::new(worker), &settings(1.0), &full());
    }
    assert!(access.flush(PATIENCE));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert_eq!(text.matches("\"status\":503").count(), 2);
    assert_eq!(access.dropped(), 0);
}

/// The cost of one line on its worker while the writer runs beside it; to be run on optimised code.
#[test]
#[ignore = "prints a figure"]
fn cost_of_a_line() {
    /// Fewer than wait at most, and the writer is done before the next ones: a dropped line costs nothing.
    const LINES: u32 = 1_000;
    let access = AccessWriter::new(1, AccessOutput::File("/dev/null".into()));
    access.start().unwrap();
    let (settings, line) = (settings(1.0), full());
    let mut costs = Vec::new();
    for _ in 0..1_000 {
        let began = time::now();
        for _ in 0..LINES {
            access.record(WorkerId::new(0), &settings, &line);
        }
        costs.push(began.elapsed().as_nanos() / u128::from(LINES));
        assert!(access.flush(PATIENCE));
    }
    assert_eq!(access.dropped(), 0);
    costs.sort_unstable();
    println!("{} ns a line (median of 1,000 runs of 1,000 lines), {} ns at best", costs[500], costs[0]);
}
