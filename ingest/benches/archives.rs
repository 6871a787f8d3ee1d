//! How fast a tar of .json.bz2 and a zip of .json.gz come into the embedded log, against the same
//! decompressors with nothing behind them, and the same log with nothing before it.
//!
//! `cargo bench -p bowerbird-ingest --bench archives`

#![expect(clippy::print_stdout, reason = "a bench prints")]
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod lines;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bowerbird_ingest::archive::{ArchiveConfig, Input, Progress, import};
use bowerbird_ingest::post::{Found, Place, Reader};
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::{EventLog, topic};
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

const MEMBERS: u64 = 60;
const POSTS_EACH: u64 = 2_000;
const ROUNDS: usize = 3;
/// How the import hands records to the log: in batches of so many, so many batches at a time.
const BATCH: usize = 400;
const BATCHES: usize = 16;

type Compress = fn(&[u8]) -> Vec<u8>;
type Decoder = for<'a> fn(&'a [u8]) -> Box<dyn Read + 'a>;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let plain: Vec<Bytes> = (0..MEMBERS).map(member).collect();
    let size: usize = plain.iter().map(Bytes::len).sum();
    let workers = ArchiveConfig::new(Vec::new()).workers.get();
    let published = publish(&folder.path().join("bare.sqlite"), &plain).await;
    println!("{MEMBERS} members of {POSTS_EACH} posts, {} MB, {workers} workers", size / 1_000_000);
    println!(
        "{:<16} {:>12} {:>22} {:>20} {:>20}",
        "MB/s, posts in", "decompressor", "one thread of it alone", "SQLite log alone", "import"
    );
    for (name, compress, decoder) in [
        ("tar of .json.bz2", bzip2 as Compress, unbzip2 as Decoder),
        ("zip of .json.gz", gzip, ungzip),
    ] {
        let members: Vec<Vec<u8>> = plain.iter().map(|member| compress(member)).collect();
        let path = folder.path().join(name);
        write(&path, &members, name.starts_with("tar"));
        for round in 0..ROUNDS {
            let bare = decompress(&members, decoder, workers);
            let alone = decompress(&members, decoder, 1);
            let log = folder.path().join(format!("{name}-{round}.sqlite"));
            let ours = imported(&log, &path).await;
            let rate = |took: Duration| size as f64 / 1e6 / took.as_secs_f64();
            println!(
                "{name:<16} {:>12.0} {:>22.0} {:>20.0} {:>20.0}",
                rate(bare),
                rate(alone),
                rate(published),
                rate(ours)
            );
        }
    }
}

fn member(number: u64) -> Bytes {
    let lines =
        (0..POSTS_EACH).map(|post| format!("{}\n", lines::stream_item(number * POSTS_EACH + post)));
    Bytes::from(lines.collect::<String>())
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unbzip2(bytes: &[u8]) -> Box<dyn Read + '_> {
    Box::new(bzip2::bufread::MultiBzDecoder::new(bytes))
}

fn ungzip(bytes: &[u8]) -> Box<dyn Read + '_> {
    Box::new(flate2::bufread::MultiGzDecoder::new(bytes))
}

fn write(path: &Path, members: &[Vec<u8>], tar: bool) {
    let mut file = std::fs::File::create(path).unwrap();
    if tar {
        let mut builder = tar::Builder::new(file);
        for (number, bytes) in members.iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, format!("{number:02}.json.bz2"), &bytes[..]).unwrap();
        }
        return builder.finish().unwrap();
    }
    let mut archive = rawzip::ZipArchiveWriter::new(&mut file);
    for (number, bytes) in members.iter().enumerate() {
        let name = format!("{number:02}.json.gz");
        let (mut entry, config) = archive.new_file(&name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, output) = writer.finish().unwrap();
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap();
}

/// The members decompressed and forgotten, by so many threads.
fn decompress(members: &[Vec<u8>], decoder: Decoder, threads: usize) -> Duration {
    let (begun, next) = (Instant::now(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![0; 256 << 10];
                while let Some(bytes) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut decoder = decoder(bytes);
                    while decoder.read(&mut buffer).unwrap() > 0 {}
                }
            });
        }
    });
    begun.elapsed()
}

async fn log(path: &Path) -> SqliteLog {
    let log = SqliteLog::open(path).await.unwrap();
    log.apply_topics(&topic::declared(6, 1, 1 << 20), false).await.unwrap();
    log
}

/// The records of all members, from memory into the log.
async fn publish(path: &Path, members: &[Bytes]) -> Duration {
    let now = Timestamp::now();
    let reader = Reader::archive("archive:bench".into(), "bench".into(), Some(now), now);
    let mut records: Vec<Outgoing> = Vec::new();
    for member in members {
        for line in member.split(|byte| *byte == b'\n') {
            reader.read(&member.slice_ref(line), Place::Line(1), &mut |found| {
                if let Found::Post { record, .. } = found {
                    records.push(record);
                }
            });
        }
    }
    assert_eq!(records.len() as u64, MEMBERS * POSTS_EACH);
    let batches: Vec<Vec<Outgoing>> = records.chunks(BATCH).map(<[Outgoing]>::to_vec).collect();
    let log = log(path).await;
    let begun = Instant::now();
    let mut answers =
        futures::stream::iter(batches).map(|batch| log.publish(batch)).buffered(BATCHES);
    while let Some(answers) = answers.next().await {
        assert!(answers.iter().all(Result::is_ok));
    }
    begun.elapsed()
}

async fn imported(log_path: &Path, path: &Path) -> Duration {
    let log = log(log_path).await;
    let config = ArchiveConfig::new(vec![Input::from_argument(path)]);
    let begun = Instant::now();
    let summary =
        import(log, config, Arc::new(Progress::default()), CancellationToken::new()).await;
    assert_eq!(summary.total.posts, MEMBERS * POSTS_EACH);
    assert!(summary.succeeded());
    begun.elapsed()
}
