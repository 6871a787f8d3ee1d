//! `bowerbird_fuzz::stream_items`, by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowerbird_fuzz::stream_items::run(data));
