//! The catalog as a file, and as the snapshot of the mnode group: the same bytes.
//!
//! `MGCAT\0` | format u16 | CRC-32C of the rest u32 | postcard of [`CatalogFile`], little endian.

use std::io;

use bytes::Bytes;
use model::Catalog;
use serde::{Deserialize, Serialize};
use storage::Halt;
use storage::wal::Position;

use crate::raft::types::{decode, encode};

const MAGIC: &[u8; 6] = b"MGCAT\0";
/// 2: dnodes that have joined, behind all the rest.
const FORMAT: u16 = 2;
const HEADER: usize = 12;

/// The catalog at one position of the mnode group's log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CatalogFile {
    /// The last entry in it.
    pub(crate) applied: Option<Position>,
    /// The membership applied last, encoded, and where.
    pub(crate) membership: Option<(Position, Vec<u8>)>,
    /// The catalog.
    pub(crate) catalog: Catalog,
}

impl CatalogFile {
    /// The name of the file in the mnode's directory.
    pub(crate) const NAME: &'static str = "catalog";

    pub(crate) fn encode(&self) -> Bytes {
        let body = encode(self);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Bytes::from(bytes)
    }

    pub(crate) fn decode(place: &str, bytes: &[u8]) -> Result<Self, Halt> {
        let damaged = || Halt::corrupt(place);
        let (header, body) = bytes.split_at_checked(HEADER).ok_or_else(damaged)?;
        if &header[..6] != MAGIC {
            return Err(damaged());
        }
        let format = u16::from_le_bytes([header[6], header[7]]);
        if format > FORMAT {
            return Err(Halt::newer(place, u32::from(format), u32::from(FORMAT)));
        }
        let checksum = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if checksum != crc32c::crc32c(body) {
            return Err(damaged());
        }
        if format == 1 {
            // What came in format 2 is a map at the end; an empty one is a zero.
            return decode(&[body, &[0]].concat()).map_err(|_: io::Error| damaged());
        }
        decode(body).map_err(|_: io::Error| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_every_damaged_byte_is_noticed() {
        let (catalog, _) = crate::catalog::apply(
            &Catalog::default(),
            &model::catalog::CatalogChange::Found { cluster_id: 7, endpoint: "a:1".into(), support_vnodes: 3 },
            5,
        )
        .expect("an empty catalog can be founded");
        let file = CatalogFile { applied: Some(Position { term: 1, node: 1, index: 2 }), membership: None, catalog };
        let bytes = file.encode();
        assert_eq!(CatalogFile::decode("x", &bytes).expect("whole"), file);
        for at in (0..bytes.len()).filter(|at| !(6..8).contains(at)) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert!(CatalogFile::decode("x", &damaged).is_err(), "byte {at}");
        }
        // Format 1 had no dnodes that have joined: without that empty map at its end this is such a file.
        let body = &bytes[HEADER..bytes.len() - 1];
        let mut older = bytes[..HEADER].to_vec();
        older[6] = 1;
        older[8..].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
        older.extend_from_slice(body);
        assert_eq!(CatalogFile::decode("x", &older).expect("an older format"), file);
        let mut newer = bytes.to_vec();
        newer[6] = 3;
        assert!(matches!(CatalogFile::decode("x", &newer), Err(Halt::Newer { found: 3, known: 2, .. })));
    }
}
