//! `bowerbird_fuzz::archive_line`, by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowerbird_fuzz::archive_line::run(data));
