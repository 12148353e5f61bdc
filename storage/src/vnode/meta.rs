//! The state as it is stored: what changed since the last flush goes into one batch, with the watermark.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use model::{DatabaseId, Precision, Suid, VgroupId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::halt::Halt;
use crate::kv::{BlockStore, MetaBatch};
use crate::vnode::VnodeOptions;
use crate::vnode::keys;
use crate::vnode::registry::Series;
use crate::vnode::retry::{Floor, Outcome, RetryChanges};
use crate::vnode::state::State;
use crate::vnode::tombstones::Tombstones;
use crate::wal::Position;

/// The newest format of meta.
const FORMAT: u32 = 1;

/// What a vnode is made for; opening it as something else is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) vgroup: VgroupId,
    pub(crate) database: DatabaseId,
    pub(crate) precision: Precision,
    pub(crate) duration_ticks: i64,
}

/// Numbers that change with every flush.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counters {
    applied: Option<Position>,
    membership: Option<(Position, Vec<u8>)>,
    epoch: u64,
    clock: u64,
    next_sid: u32,
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data can always be encoded")
}

fn decode<T: DeserializeOwned>(place: &str, key: &[u8], bytes: &[u8]) -> Result<T, Halt> {
    postcard::from_bytes(bytes)
        .map_err(|error| Halt::corrupt(format!("{place}: meta {}: {error}", String::from_utf8_lossy(&key[..1]))))
}

/// What changed since the last flush. Taking it is cheap, for it happens while nobody can write; [`Changes::encode`] is
/// for later.
pub(crate) struct Changes {
    series: Vec<(u32, Option<Arc<Series>>)>,
    tombstones: Vec<(Suid, Option<Arc<Tombstones>>)>,
    row_ids: Vec<(Suid, Option<i64>)>,
    dropped: BTreeSet<Suid>,
    gaps: BTreeSet<Suid>,
    retries: RetryChanges,
    counters: Counters,
}

/// What changed since the last call, to be written when the rows of the same entries are on disk.
pub(crate) fn take_changes(state: &mut State) -> Changes {
    let dirty = std::mem::take(&mut state.dirty);
    Changes {
        series: dirty.sids.into_iter().map(|sid| (sid, state.by_sid(sid).cloned())).collect(),
        tombstones: dirty.tombstones.into_iter().map(|suid| (suid, state.tombstones(suid))).collect(),
        row_ids: dirty.row_ids.into_iter().map(|suid| (suid, state.row_ids.get(&suid).copied())).collect(),
        dropped: dirty.dropped,
        gaps: dirty.gaps,
        retries: state.retries.take_changes(),
        counters: counters(state),
    }
}

impl Changes {
    /// As one batch, with the watermark.
    pub(crate) fn encode(self) -> MetaBatch {
        let mut batch = MetaBatch::default();
        for (sid, series) in self.series {
            set(&mut batch, b'S', &sid.to_be_bytes(), series.as_deref());
        }
        for suid in self.dropped {
            batch.put(keys::meta(b'D', &suid.0.to_be_bytes()), Vec::new());
        }
        for suid in self.gaps {
            batch.put(keys::meta(b'G', &suid.0.to_be_bytes()), Vec::new());
        }
        for (suid, tombstones) in self.tombstones {
            set(&mut batch, b'T', &suid.0.to_be_bytes(), tombstones.as_deref());
        }
        for (suid, next) in self.row_ids {
            set(&mut batch, b'P', &suid.0.to_be_bytes(), next.as_ref());
        }
        put_retries(&mut batch, self.retries);
        set(&mut batch, b'A', &[], Some(&self.counters));
        batch
    }
}

/// Sets a key, or removes it.
fn set<T: Serialize>(batch: &mut MetaBatch, letter: u8, rest: &[u8], value: Option<&T>) {
    let key = keys::meta(letter, rest);
    match value {
        Some(value) => batch.put(key, encode(value)),
        None => batch.delete(key),
    }
}

fn put_retries(batch: &mut MetaBatch, changes: RetryChanges) {
    for ((writer, seq), outcome) in changes.outcomes {
        let mut request = writer.to_be_bytes().to_vec();
        request.extend_from_slice(&seq.to_be_bytes());
        set(batch, b'R', &request, outcome.as_ref());
    }
    for (writer, floor) in changes.floors {
        set(batch, b'W', &writer.to_be_bytes(), floor.as_ref());
    }
}

fn counters(state: &State) -> Counters {
    Counters {
        applied: state.applied,
        membership: state.membership.as_ref().map(|(position, bytes)| (*position, bytes.to_vec())),
        epoch: state.epoch,
        clock: state.clock,
        next_sid: state.next_sid,
    }
}

/// Reads the state of a store, and whose it is; None of a new store.
pub(crate) fn read(store: &dyn BlockStore, place: &str) -> Result<(Option<Identity>, State), Halt> {
    let mut state = State::default();
    let mut identity = None;
    store.visit_meta(&mut |key, value| {
        match key.first() {
            Some(b'F') => identity = Some(read_identity(place, value)?),
            Some(_) => take_up(&mut state, place, key, value)?,
            None => return Err(Halt::corrupt(format!("{place}: an empty meta key"))),
        }
        Ok(true)
    })?;
    state.dirty = Default::default();
    Ok((identity, state))
}

/// Reads the state of a store, or marks a new store as this vnode's.
pub(crate) fn load(store: &dyn BlockStore, options: &VnodeOptions, place: &str) -> Result<State, Halt> {
    let (found, state) = read(store, place)?;
    let identity = Identity {
        vgroup: options.vgroup,
        database: options.database,
        precision: options.precision,
        duration_ticks: options.duration_ticks,
    };
    match found {
        None => {
            let mut batch = MetaBatch::default();
            let mut value = FORMAT.to_le_bytes().to_vec();
            value.extend(encode(&identity));
            batch.put(keys::meta(b'F', &[]), value);
            store.write_meta(batch)?;
        }
        Some(found) if found != identity => {
            return Err(Halt::corrupt(format!("{place} is of {found:?}, not of {identity:?}")));
        }
        Some(_) => {}
    }
    Ok(state)
}

fn read_identity(place: &str, bytes: &[u8]) -> Result<Identity, Halt> {
    let Some((format, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(Halt::corrupt(format!("{place}: meta F")));
    };
    let format = u32::from_le_bytes(*format);
    if format > FORMAT {
        return Err(Halt::newer(place, format, FORMAT));
    }
    decode(place, b"F", rest)
}

fn number<const N: usize>(place: &str, bytes: &[u8]) -> Result<[u8; N], Halt> {
    bytes.try_into().map_err(|_| Halt::corrupt(format!("{place}: a meta key of {} bytes", bytes.len())))
}

fn take_up(state: &mut State, place: &str, key: &[u8], value: &[u8]) -> Result<(), Halt> {
    let rest = &key[1..];
    let suid = || Ok::<_, Halt>(Suid(u32::from_be_bytes(number(place, rest)?)));
    match key[0] {
        b'A' => {
            let counters: Counters = decode(place, key, value)?;
            state.applied = counters.applied;
            state.membership = counters.membership.map(|(position, bytes)| (position, Bytes::from(bytes)));
            state.epoch = counters.epoch;
            state.clock = counters.clock;
            state.next_sid = state.next_sid.max(counters.next_sid);
        }
        b'S' => {
            let series: Series = decode(place, key, value)?;
            state.load_series(series);
        }
        b'D' => {
            state.dropped.insert(suid()?);
        }
        b'G' => state.load_gap(suid()?),
        b'P' => {
            state.row_ids.insert(suid()?, decode(place, key, value)?);
        }
        b'T' => {
            let tombstones: Tombstones = decode(place, key, value)?;
            state.load_tombstones(suid()?, tombstones);
        }
        b'R' => {
            let rest: [u8; 24] = number(place, rest)?;
            let (writer, seq) = rest.split_at(16);
            let request = (u128::from_be_bytes(number(place, writer)?), u64::from_be_bytes(number(place, seq)?));
            let outcome: Outcome = decode(place, key, value)?;
            state.retries.load(request, outcome);
        }
        b'W' => {
            let floor: Floor = decode(place, key, value)?;
            state.retries.load_floor(u128::from_be_bytes(number(place, rest)?), floor);
        }
        other => return Err(Halt::corrupt(format!("{place}: a meta key of kind {other}"))),
    }
    Ok(())
}
