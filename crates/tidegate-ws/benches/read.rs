//! Cost of reading the frames of clients: short messages, and long ones whose cost is that of their bytes.
//!
//! Times are for reading beside each other, one run at a time; nothing here is a test.

#![expect(clippy::expect_used, reason = "a benchmark")]

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use tidegate_ws::{Event, Limits, Opcode, Reader, Side, write_frame, write_masked_frame};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// 64 KiB or so of messages with this much payload each.
fn messages(opcode: Opcode, payload: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < 60_000 {
        write_masked_frame(opcode, &vec![b'x'; payload], [1, 2, 3, 4], &mut out);
    }
    out
}

fn read(bencher: Bencher<'_, '_>, opcode: Opcode, payload: usize) {
    let bytes = messages(opcode, payload);
    let mut reader = Reader::new(Side::Server, Limits::default());
    bencher.counter(BytesCount::of_slice(&bytes)).bench_local(|| {
        let mut input = black_box(&bytes[..]);
        let mut length = 0;
        while let Some(event) = reader.next(&mut input).expect("frames") {
            length += match event {
                Event::Text(text) => text.len(),
                Event::Binary(bytes) => bytes.len(),
                Event::Ping(_) | Event::Pong(_) | Event::Close(_) => 0,
            };
        }
        length
    });
}

#[divan::bench(args = [16, 128, 1024, 60_000])]
fn text(bencher: Bencher<'_, '_>, payload: usize) {
    read(bencher, Opcode::Text, payload);
}

#[divan::bench(args = [16, 128, 1024, 60_000])]
fn binary(bencher: Bencher<'_, '_>, payload: usize) {
    read(bencher, Opcode::Binary, payload);
}

#[divan::bench(args = [128, 1024])]
fn write(bencher: Bencher<'_, '_>, payload: usize) {
    let text = vec![b'x'; payload];
    let mut out = Vec::with_capacity(2 * payload);
    bencher.counter(BytesCount::of_slice(&text)).bench_local(|| {
        out.clear();
        write_frame(Opcode::Text, black_box(&text), &mut out);
        out.len()
    });
}
