//! Real threads, pipes and files. Whatever waits here waits for something that has to come.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const FIRST: WorkerId = WorkerId::new(0);
const BOUND: usize = 64 * 1024;

/// A writer whose output is read by the test.
fn piped(slots: usize, bound: usize) -> (Writer, PipeReader) {
    let (reader, pipe) = std::io::pipe().unwrap();
    let writer = Writer::new("test", slots, bound, AccessOutput::Stdout);
    writer.start_with(Output::opened(File::from(OwnedFd::from(pipe)))).unwrap();
    (writer, reader)
}

fn to_file(path: &Path) -> Writer {
    let writer = Writer::new("test", 2, BOUND, AccessOutput::File(path.to_owned()));
    writer.start().unwrap();
    writer
}

fn say(writer: &Writer, slot: WorkerId, text: &str) {
    writer.append(slot, |out| writeln!(out, "{text}").unwrap());
}

/// What is in it, down to the last line feed.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{path:?} ends within a line");
    text.lines().map(str::to_owned).collect()
}

/// Asks until it is so; gives the processor away in between.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = crate::time::now() + PATIENCE;
    while !condition() {
        assert!(crate::time::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn a_sleeping_writer_is_woken_by_every_first_line() {
    let (writer, reader) = piped(2, BOUND);
    let mut reader = BufReader::new(reader);
    for number in 0..30u16 {
        say(&writer, WorkerId::new(number % 2), &number.to_string());
        let mut line = String::new();
        // Would wait for ever if the wake-up was lost.
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"));
        if number % 3 == 0 {
            eventually("asleep", || writer.shared.state.load(Ordering::Acquire) == ASLEEP);
        }
    }
}

#[test]
fn many_threads_lose_no_line_and_no_wake_up() {
    const THREADS: u16 = 4;
    const EACH: usize = 5_000;
    let (writer, reader) = piped(2, 16 * 1024 * 1024);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let writer = &writer;
            scope.spawn(move || {
                for number in 0..EACH {
                    say(writer, WorkerId::new(thread), &format!("{thread} {number}"));
                    if number % 64 == 0 {
                        thread::yield_now();
                    }
                }
            });
        }
        let mut next = vec![0; usize::from(THREADS)];
        for line in BufReader::new(&reader).lines().take(usize::from(THREADS) * EACH) {
            let line = line.unwrap();
            let (thread, number) = line.split_once(' ').unwrap();
            let next = &mut next[thread.parse::<usize>().unwrap()];
            assert_eq!(number.parse::<usize>().unwrap(), *next, "lines of a thread stay in order");
            *next += 1;
        }
        assert_eq!(next, [EACH; THREADS as usize]);
    });
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn a_blocked_output_stops_nobody_and_every_line_is_written_or_counted() {
    let (writer, mut reader) = piped(1, BOUND);
    let text = "x".repeat(99);
    let mut said = 0u64;
    // A pipe holds 64 KiB, the writer what it has taken, the buffer the rest.
    while writer.dropped() == 0 || writer.flush(Duration::from_millis(50)) {
        for _ in 0..1_000 {
            say(&writer, FIRST, &text);
            said += 1;
        }
        assert!(said < 1_000_000, "something takes lines without end");
    }
    // A second writer, to another output, is not held up.
    let (other, mut other_reader) = piped(1, BOUND);
    say(&other, FIRST, "free");
    assert!(other.flush(PATIENCE));
    let mut begin = [0; 5];
    other_reader.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"free\n");
    let reading = thread::spawn(move || {
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        all
    });
    assert!(writer.flush(PATIENCE));
    say(&writer, FIRST, "behind the gap");
    let dropped = writer.dropped();
    drop(writer);
    let all = reading.join().unwrap();
    assert!(all.ends_with("\nbehind the gap\n"));
    assert!(all.lines().all(|line| line == text || line == "behind the gap"), "every line is whole");
    assert_eq!(all.lines().count() as u64 + dropped, said + 1);
}

#[test]
fn a_buffer_that_is_a_quarter_full_wakes_a_pausing_writer() {
    // A round lasts 20 ms; within it many times the bound passes, so that lines would be dropped without the wake-up.
    let (writer, mut reader) = piped(1, BOUND);
    let reading = thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()).unwrap());
    let text = "x".repeat(1023);
    for _ in 0..50 {
        for _ in 0..40 {
            say(&writer, FIRST, &text);
        }
        eventually("taken", || writer.shared.buffers.get(FIRST).lock().bytes.len() <= BOUND / 4);
    }
    assert_eq!(writer.dropped(), 0);
    drop(writer);
    assert_eq!(reading.join().unwrap(), 50 * 40 * 1024);
}

#[test]
fn a_full_disk_drops_and_counts_and_the_writer_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let writer = to_file(Path::new("/dev/full"));
    for _ in 0..3 {
        say(&writer, FIRST, "lost");
        assert!(writer.flush(PATIENCE));
    }
    assert_eq!(writer.dropped(), 3);
    let path = folder.path().join("a");
    writer.redirect(AccessOutput::File(path.clone()));
    say(&writer, FIRST, "kept");
    assert!(writer.flush(PATIENCE));
    assert_eq!((lines(&path), writer.dropped()), (vec!["kept".to_owned()], 3));
}

#[test]
fn a_reader_that_has_gone_drops_and_counts() {
    let (writer, reader) = piped(1, BOUND);
    drop(reader);
    for _ in 0..3 {
        say(&writer, FIRST, "lost");
        assert!(writer.flush(PATIENCE));
    }
    assert_eq!(writer.dropped(), 3);
}

#[test]
fn rotation_under_load_loses_no_line() {
    const ROTATIONS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let writer = Writer::new("test", 2, 16 * 1024 * 1024, AccessOutput::File(path.clone()));
    writer.start().unwrap();
    let done = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let threads: Vec<_> = (0..2u16)
            .map(|thread| {
                let (writer, done) = (&writer, &done);
                scope.spawn(move || {
                    let mut said = 0u64;
                    while !done.load(Ordering::Acquire) {
                        say(writer, WorkerId::new(thread), &format!("{thread} {said}"));
                        said += 1;
                        if said.is_multiple_of(100) {
                            thread::park_timeout(Duration::from_micros(100));
                        }
                    }
                    said
                })
            })
            .collect();
        for rotation in 0..ROTATIONS {
            eventually("the file is written to", || fs::metadata(&path).is_ok_and(|file| file.len() > 0));
            fs::rename(&path, folder.path().join(format!("access.log.{rotation}"))).unwrap();
            writer.reopen();
        }
        done.store(true, Ordering::Release);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
    });
    assert!(writer.flush(PATIENCE));
    let mut seen = HashSet::new();
    let mut files = 0;
    for file in fs::read_dir(folder.path()).unwrap() {
        for line in lines(&file.unwrap().path()) {
            assert!(seen.insert(line), "written twice");
        }
        files += 1;
    }
    assert_eq!(files, ROTATIONS + 1);
    assert_eq!((seen.len() as u64, writer.dropped()), (said, 0));
}

#[test]
fn the_old_output_stays_until_the_new_one_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("later").join("new"));
    let writer = to_file(&old);
    say(&writer, FIRST, "a");
    assert!(writer.flush(PATIENCE));
    writer.redirect(AccessOutput::File(new.clone()));
    say(&writer, FIRST, "b");
    assert!(writer.flush(PATIENCE));
    assert_eq!(lines(&old), ["a", "b"]);
    fs::create_dir(new.parent().unwrap()).unwrap();
    eventually("it is tried again", || {
        say(&writer, FIRST, "c");
        new.exists()
    });
    assert!(writer.flush(PATIENCE));
    assert!(!lines(&new).is_empty());
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn a_file_is_appended_to_and_closed_to_others_when_it_is_made() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    for run in ["first", "second"] {
        let writer = to_file(&path);
        say(&writer, FIRST, run);
        assert!(writer.flush(PATIENCE));
    }
    assert_eq!(lines(&path), ["first", "second"]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn lines_are_taken_before_the_thread_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let writer = Writer::new("test", 1, BOUND, AccessOutput::Stdout);
    say(&writer, FIRST, "early");
    assert!(!writer.flush(PATIENCE), "there is nobody to write it");
    writer.redirect(AccessOutput::File(path.clone()));
    writer.start().unwrap();
    writer.start().unwrap();
    assert!(writer.flush(PATIENCE));
    assert_eq!(lines(&path), ["early"]);
}

#[test]
fn a_line_above_the_bound_is_dropped_and_the_next_one_is_not() {
    let (writer, mut reader) = piped(1, BOUND);
    say(&writer, FIRST, &"x".repeat(BOUND));
    assert!(writer.flush(PATIENCE));
    say(&writer, FIRST, "small");
    assert_eq!(writer.dropped(), 1);
    drop(writer);
    let mut all = String::new();
    reader.read_to_string(&mut all).unwrap();
    assert_eq!(all, "small\n");
}
