//! `bowerbird_fuzz::wfs_page`, by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bowerbird_fuzz::wfs_page::run(data));
