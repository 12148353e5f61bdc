//! Who a data directory is: written once, when its dnode founds a cluster or joins one, and said to every peer.
//!
//! A dnode that comes back must be the one that left: its votes and its log are promises to the others. So the number
//! that [`Identity::uuid`] is lies in the data directory and in the catalog, and peers refuse whoever says another one.

use std::io;
use std::sync::Arc;

use model::DnodeId;
use serde::{Deserialize, Serialize};
use storage::files::{LogFiles, read_small, write_durably};

/// The dnode that founds a cluster.
pub(crate) const FOUNDER: DnodeId = DnodeId(1);

/// The file of a dnode that belongs to a cluster.
const NAME: &str = "identity";
/// The file of one that has asked to join, so that it asks again as the same.
const JOINING: &str = "joining";
/// The first line of both files.
const TITLE: &str = "marigraph identity 1";

/// Who a dnode is. All zero: nobody yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of the cluster that it belongs to.
    pub cluster_id: u64,
    /// Which dnode of it.
    pub dnode: DnodeId,
    /// Random, given to the data directory.
    pub uuid: u128,
}

impl Identity {
    /// What was written here, if a cluster was founded or joined.
    pub(crate) fn load(files: &Arc<dyn LogFiles>) -> io::Result<Option<Self>> {
        read(files, NAME)
    }

    /// Writes it for good.
    pub(crate) fn store(&self, files: &Arc<dyn LogFiles>) -> io::Result<()> {
        write_durably(files.as_ref(), NAME, self.text().as_bytes())?;
        match files.remove(JOINING) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The number to ask with for joining: the same until it is answered.
    pub(crate) fn candidate(files: &Arc<dyn LogFiles>, random: u128) -> io::Result<u128> {
        if let Some(known) = read(files, JOINING)? {
            return Ok(known.uuid);
        }
        let fresh = Self { uuid: random, ..Self::default() };
        write_durably(files.as_ref(), JOINING, fresh.text().as_bytes())?;
        Ok(random)
    }

    fn text(&self) -> String {
        format!("{TITLE}\ncluster {:016x}\ndnode {}\nuuid {:032x}\n", self.cluster_id, self.dnode.0, self.uuid)
    }
}

fn read(files: &Arc<dyn LogFiles>, name: &str) -> io::Result<Option<Identity>> {
    let Some(bytes) = read_small(files.as_ref(), name)? else { return Ok(None) };
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("the file {name:?} is damaged"));
    parse(&bytes).map(Some).ok_or_else(damaged)
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != TITLE {
        return None;
    }
    let cluster_id = u64::from_str_radix(lines.next()?.strip_prefix("cluster ")?, 16).ok()?;
    let dnode = DnodeId(lines.next()?.strip_prefix("dnode ")?.parse().ok()?);
    let uuid = u128::from_str_radix(lines.next()?.strip_prefix("uuid ")?, 16).ok()?;
    Some(Identity { cluster_id, dnode, uuid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_noticed() {
        let who = Identity { cluster_id: u64::MAX - 1, dnode: DnodeId(7), uuid: 5 << 100 };
        assert_eq!(parse(who.text().as_bytes()), Some(who));
        for cut in 0..who.text().len() - 33 {
            assert_eq!(parse(&who.text().as_bytes()[..cut]), None, "{cut}");
        }
        assert_eq!(parse(who.text().replace("identity 1", "identity 2").as_bytes()), None);
    }
}
