#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_fuzz::http1::answers(input));
