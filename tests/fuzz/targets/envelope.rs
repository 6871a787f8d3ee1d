//! `bowerbird_fuzz::envelope`, by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowerbird_fuzz::envelope::run(data));
