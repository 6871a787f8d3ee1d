//! Archives made for tests, and their import.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowerbird_ingest::archive::{ArchiveConfig, Input, Progress, Summary, import};
use bowerbird_stream::EventLog;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::TestLog;

/// Lines of every shape, and how many posts they hold.
pub fn lines(count: u64) -> (Vec<u8>, BTreeSet<String>) {
    lines_from(0, count)
}

/// Lines of every shape; other numbers give other posts.
pub fn lines_from(number: u64, count: u64) -> (Vec<u8>, BTreeSet<String>) {
    let mut bytes = Vec::new();
    let mut ids = BTreeSet::new();
    let mut id = 1_600_000_000_000_000_000_u64 + number * 1_000_000_000_000_000;
    for n in 0..count {
        let mut next = || {
            id += 4_194_304 * 977 + 1;
            ids.insert(id.to_string());
            id
        };
        let line = match n % 5 {
            0 => json!({"data": {"id": next().to_string(), "text": "one 🐦"}, "includes": {}}),
            1 => {
                let posts: Vec<Value> = (0..4)
                    .map(|n| json!({"id": next().to_string(), "text": "of many", "author_id": n.to_string()}))
                    .collect();
                json!({"data": posts, "includes": {"users": [{"id": "1", "username": "a"}]}})
            }
            2 => json!({"id": next().to_string(), "text": "flat", "author": {"id": "1"}}),
            3 => json!({"id": next(), "full_text": "v1.1", "user": {"id": 1}}),
            _ => json!({"delete": {"status": {"id": 99 + n}, "timestamp_ms": "1700000000000"}}),
        };
        bytes.extend_from_slice(line.to_string().as_bytes());
        bytes.extend_from_slice(if n % 3 == 0 { b"\r\n" } else { b"\n" });
    }
    (bytes, ids)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

pub type Compress = fn(&[u8]) -> Vec<u8>;
pub const COMPRESSIONS: [(&str, Compress); 4] =
    [("plain", |bytes| bytes.to_vec()), ("gz", gzip), ("bz2", bzip2), ("zst", zstd)];

pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

pub fn config(paths: impl IntoIterator<Item = PathBuf>) -> ArchiveConfig {
    ArchiveConfig::new(paths.into_iter().map(Input::Path).collect())
}

pub async fn run(log: &impl EventLog, config: ArchiveConfig) -> (Summary, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    let cancel = CancellationToken::new();
    (import(log.clone(), config, Arc::clone(&progress), cancel).await, progress)
}

/// An import that is told to stop after so many lines.
pub async fn interrupted(log: &impl EventLog, config: ArchiveConfig, after: u64) -> Summary {
    let (cancel, progress) = (CancellationToken::new(), Arc::new(Progress::default()));
    let importing = import(log.clone(), config, Arc::clone(&progress), cancel.clone());
    let stopping = async {
        super::until("some lines", async || progress.snapshot().lines > after).await;
        cancel.cancel();
    };
    tokio::join!(importing, stopping).0
}

pub async fn keys(log: &TestLog, topic: &str) -> BTreeSet<String> {
    log.events(topic).await.into_iter().map(|event| event.key).collect()
}

/// Members of a container: their names and bytes.
pub type Members<'a> = &'a [(&'a str, Vec<u8>)];

/// A tar.
pub fn tar(members: Members<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A zip of deflated members, as what writes to a pipe makes it: sizes stand after the members.
pub fn zip(members: Members<'_>) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in members {
        let file = archive.new_file(*name).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start().unwrap();
        let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast());
        let mut writer = config.wrap(encoder);
        writer.write_all(bytes).unwrap();
        let (encoder, output) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap()
}

/// A zip of members that are stored as they are.
pub fn stored(members: Members<'_>) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in members {
        let (mut entry, config) = archive.new_file(*name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, output) = writer.finish().unwrap();
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap()
}
