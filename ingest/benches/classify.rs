//! How fast lines are told apart and become records: one thread, no log.
//!
//! `cargo bench -p bowerbird-ingest --bench classify`

#![expect(clippy::print_stdout, reason = "a bench prints")]

mod lines;

use std::time::{Duration, Instant};

use bowerbird_ingest::post::{Found, Place, Reader};
use bytes::Bytes;
use jiff::Timestamp;
use lines::{flattened, response, stream_item, v11};

const RUNS_FOR: Duration = Duration::from_secs(2);

fn main() {
    println!("{:<28} {:>10} {:>12} {:>10}", "lines", "bytes/line", "posts/s", "MB/s");
    for (name, line) in [
        ("v2 stream item", stream_item(0).to_string()),
        ("v2 flattened", flattened().to_string()),
        ("v1.1", v11().to_string()),
        ("v2 response of 100", response(100).to_string()),
        ("broken", stream_item(0).to_string().replacen(':', ";", 1)),
    ] {
        measure(name, &Bytes::from(line));
    }
}

fn measure(name: &str, line: &Bytes) {
    let now = Timestamp::now();
    let reader =
        Reader::archive("archive:bench.jsonl".into(), "bench.jsonl".into(), Some(now), now);
    let (mut lines, mut events, mut size) = (0_u64, 0_u64, 0);
    let begun = Instant::now();
    while begun.elapsed() < RUNS_FOR {
        for _ in 0..100 {
            lines += 1;
            reader.read(line, Place::Line(lines), &mut |found| {
                events += 1;
                if let Found::Post { record, .. } = &found {
                    size += record.size();
                }
            });
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let megabytes = lines as f64 * line.len() as f64 / 1e6;
    std::hint::black_box(size);
    println!(
        "{name:<28} {:>10} {:>12.0} {:>10.0}",
        line.len(),
        events as f64 / seconds,
        megabytes / seconds
    );
}
