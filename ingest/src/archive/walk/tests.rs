//! Walks through containers, whole and damaged.

use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;

use proptest::prelude::*;

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in members {
        let file = archive.new_file(*name);
        let (mut entry, config) =
            file.compression_method(rawzip::CompressionMethod::DEFLATE).start().unwrap();
        let level = flate2::Compression::fast();
        let mut writer = config.wrap(flate2::write::DeflateEncoder::new(&mut entry, level));
        writer.write_all(bytes).unwrap();
        let (encoder, output) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap()
}

/// One of each, with members of members.
static CONTAINERS: LazyLock<[Vec<u8>; 4]> = LazyLock::new(|| {
    let lines = b"{\"id\":\"11\",\"text\":\"a\"}\n".repeat(40);
    let zipped = gzip(&lines);
    let inner = [("x.json", &lines[..]), ("y.json.gz", &zipped[..])];
    let (tarred, packed) = (tar(&inner), zip(&inner));
    let outer = [("t.tar", &tarred[..]), ("z.zip", &packed[..]), ("y.json.gz", &zipped[..])];
    [tar(&outer), zip(&outer), gzip(&tar(&outer)), gzip(&zip(&outer))]
});

/// All pieces of a walk.
fn walked(bytes: &[u8], in_file: bool, from: Mark) -> Vec<Piece> {
    let (out, pieces) = sync_channel(1_000);
    let mut walk = Walk {
        out: &out,
        from,
        max_line_bytes: 1 << 16,
        window_log_max: 20,
        picky: false,
        live: false,
        leaf: 0,
    };
    let walked = if in_file {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let range = Range::new(file, bytes.len() as u64);
        walk.member(Member::Plain(range, None), "a", 0)
    } else {
        walk.stream(&mut &bytes[..], "a", 0)
    };
    walked.unwrap();
    drop(out);
    pieces.into_iter().collect()
}

/// What a walk gives of each file with lines, in order; nothing for what is no lines.
fn leaves(pieces: Vec<Piece>) -> Vec<(u64, Vec<u8>, bool)> {
    let (mut leaves, mut open) = (Vec::new(), None);
    for piece in pieces {
        match piece {
            Piece::Begin { from, .. } => {
                assert!(open.is_none());
                open = Some((from.leaf, Vec::new()));
            }
            Piece::Block(Block::Lines(lines)) => {
                open.as_mut().unwrap().1.extend_from_slice(&lines);
            }
            Piece::Block(Block::Values(values)) => {
                let open = open.as_mut().unwrap();
                values.iter().for_each(|value| open.1.extend_from_slice(&value.bytes));
            }
            Piece::Block(Block::TooLong { .. }) => assert!(open.is_some()),
            Piece::End(broken) => {
                let (leaf, bytes) = open.take().unwrap();
                leaves.push((leaf, bytes, broken.is_some()));
            }
            Piece::Unread { leaf, .. } | Piece::Foreign { leaf, .. } | Piece::Link { leaf, .. } => {
                assert!(open.is_none());
                leaves.push((leaf, Vec::new(), true));
            }
            Piece::Unreadable(error) => panic!("{error}"),
        }
    }
    assert!(open.is_none());
    leaves
}

#[test]
fn a_walk_goes_on_from_any_leaf_and_any_line() {
    for bytes in &*CONTAINERS {
        let whole = leaves(walked(bytes, true, Mark::default()));
        assert_eq!(whole.len(), 5);
        for (leaf, lines, _) in &whole {
            for offset in [0, 23, lines.len() as u64] {
                let from = Mark { leaf: *leaf, offset, line: offset / 23 };
                for in_file in [true, false] {
                    let rest = leaves(walked(bytes, in_file, from));
                    assert_eq!(rest[0].1, lines[offset as usize..]);
                    assert_eq!(rest[1..], whole[*leaf as usize + 1..]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is wrong with a container: it is walked through to its end, every file in it
    /// is numbered, and what is wrong is told.
    #[test]
    fn damage_is_never_met_in_silence(
        which in 0_usize..4,
        in_file in any::<bool>(),
        cut in prop::option::of(0.1..1.0),
        flips in prop::collection::vec((0.0..1.0, 1_u8..), 0..4),
    ) {
        let good = &CONTAINERS[which];
        let mut bytes = good.clone();
        for (at, flip) in &flips {
            // Without its first bytes it is something else.
            let at = 2 + (at * (bytes.len() - 2) as f64) as usize;
            bytes[at] ^= flip;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        let expected = leaves(walked(good, in_file, Mark::default()));
        let found = leaves(walked(&bytes, in_file, Mark::default()));
        for (number, (leaf, ..)) in (0..).zip(&found) {
            prop_assert_eq!(number, *leaf);
        }
        let lines = |leaves: &[(u64, Vec<u8>, bool)]| -> usize {
            leaves.iter().map(|(_, lines, _)| lines.len()).sum()
        };
        let told = found.iter().any(|(_, _, wrong)| *wrong);
        // There is no sum over what a tar holds, nor over the directory of a zip.
        let has_sums = which > 1 || (which == 1 && flips.is_empty());
        prop_assert!(told || !has_sums || lines(&found) >= lines(&expected));
    }
}
