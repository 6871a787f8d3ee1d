//! Memory for records on their way out of a log.

use bytes::{BufMut, Bytes, BytesMut};

/// Small records share blocks of this size, so that most cost no allocation of their own. A record
/// that is kept for long keeps its block: small enough not to matter.
const BLOCK: usize = 16 << 10;

/// Copies records out of a log's own memory.
#[derive(Default)]
pub(crate) struct Blocks {
    block: BytesMut,
}

/// A record's own bytes.
pub(crate) struct Parts {
    pub(crate) key: Option<Bytes>,
    pub(crate) headers: Bytes,
    pub(crate) value: Option<Bytes>,
}

impl Blocks {
    /// Copies key, headers and value, side by side.
    pub(crate) fn copy(
        &mut self,
        key: Option<&[u8]>,
        headers: &[u8],
        value: Option<&[u8]>,
    ) -> Parts {
        let size = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let whole = size(key) + headers.len() + size(value);
        let mut own = BytesMut::new();
        let buffer = if whole > BLOCK / 8 {
            own.reserve(whole);
            &mut own
        } else {
            if self.block.capacity() < whole {
                self.block = BytesMut::with_capacity(BLOCK);
            }
            &mut self.block
        };
        let mut take = |part: &[u8]| {
            if part.is_empty() {
                return Bytes::new();
            }
            buffer.put_slice(part);
            buffer.split().freeze()
        };
        Parts { key: key.map(&mut take), headers: take(headers), value: value.map(&mut take) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_come_out_as_they_went_in() {
        let mut blocks = Blocks::default();
        let mut kept = Vec::new();
        for size in [0, 1, 100, BLOCK / 8, BLOCK / 8 + 1, BLOCK, 3 * BLOCK].repeat(7) {
            let value = vec![size as u8; size];
            let parts = blocks.copy(Some(b"key"), b"headers", Some(&value));
            kept.push((value, parts));
        }
        let absent = blocks.copy(None, b"", None);
        assert!(absent.key.is_none() && absent.headers.is_empty() && absent.value.is_none());
        for (value, parts) in kept {
            assert_eq!(parts.key.as_deref(), Some(&b"key"[..]));
            assert_eq!(&parts.headers[..], b"headers");
            assert_eq!(parts.value.as_deref(), Some(&value[..]));
        }
    }
}
