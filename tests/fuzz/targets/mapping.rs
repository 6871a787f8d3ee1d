//! `bowerbird_fuzz::mapping`, by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowerbird_fuzz::mapping::run(data));
