//! A write cut by vgroup, and a vgroup's share cut into parts that fit a log entry.
//!
//! A [`Part`] still names its tables; the leader of the vgroup turns names into sids (`resolve`). Parts of one share
//! are entries of their own: a share above [`PART_BYTES_MAX`] is not atomic until parts share a batch id.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use bytes::Bytes;
use model::catalog::{Catalog, Database};
use model::command::{Chunk, ChunkColumn, Creation, Entry, Operation, Stamp, Target};
use model::schema::RelationKind;
use model::write::{Change, Keys, NewTable, RowBatch, TableRef, Tables, WriteBatch, WriteColumn};
use model::{Result, Sid, Suid, VgroupId, fail};
use serde::{Deserialize, Serialize};

/// Bytes of a part, estimated; its entry must stay below the 8 MiB of decision 5.
pub(crate) const PART_BYTES_MAX: usize = 6 << 20;

/// One entry that is not resolved yet.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) stamp: Stamp,
    pub(crate) database: model::DatabaseId,
    pub(crate) epoch: u64,
    pub(crate) steps: Vec<Step>,
}

/// One operation that still names its tables.
///
/// Of a [`Operation::Write`] `names` are the targets in order: [`Target::Create`] may be created, and
/// [`Target::Existing`] must be there (its ids are not filled in). Of a [`Operation::DeleteRange`] they are the tables;
/// none means all. Of a [`Operation::DeleteKeys`] they are the dictionary that its `sids` point into.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) names: Vec<String>,
}

/// How a part travels.
#[derive(Serialize, Deserialize)]
struct Envelope {
    names: Vec<Vec<String>>,
    entry: Vec<u8>,
}

impl Part {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let operations = self.steps.iter().map(|step| step.operation.clone()).collect();
        let entry = Entry { stamp: self.stamp, database: self.database, epoch: self.epoch, operations };
        let names = self.steps.iter().map(|step| step.names.clone()).collect();
        crate::raft::types::encode(&Envelope { names, entry: storage::entry::encode(&entry).to_vec() }).to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> std::io::Result<Self> {
        let Envelope { names, entry } = crate::raft::types::decode(bytes)?;
        let entry = storage::entry::decode(Bytes::from(entry)).map_err(std::io::Error::other)?;
        if names.len() != entry.operations.len() {
            return Err(std::io::Error::other("a share names the tables of another number of operations"));
        }
        let steps = names.into_iter().zip(entry.operations);
        let steps = steps.map(|(names, operation)| Step { operation, names }).collect();
        Ok(Self { stamp: entry.stamp, database: entry.database, epoch: entry.epoch, steps })
    }
}

/// The steps of each vgroup, in the order of the statement.
pub(crate) fn split(catalog: &Catalog, batch: WriteBatch) -> Result<BTreeMap<VgroupId, Vec<Step>>> {
    let Some(database) = catalog.database_by_id(batch.database) else {
        fail!(InvalidCatalogName, "database {} does not exist", batch.database);
    };
    let ends = database.vgroups.iter().map(|id| (catalog.vgroups[id].hash_end, *id)).collect();
    let mut shares = Shares { database, ends, steps: BTreeMap::new() };
    for change in batch.changes {
        shares.add(change)?;
    }
    Ok(shares.steps)
}

struct Shares<'a> {
    database: &'a Database,
    /// The last hash of each vgroup, ascending, as [`Catalog::vgroup_of`] looks it up.
    ends: Vec<(u32, VgroupId)>,
    steps: BTreeMap<VgroupId, Vec<Step>>,
}

impl Shares<'_> {
    fn add(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Rows(rows) => self.rows(rows)?,
            Change::CreateTables { suid, tables, if_not_exists } => self.create(suid, tables, if_not_exists)?,
            Change::DropTables { suid, names } => {
                for (vgroup, names) in self.by_name(names) {
                    self.push(vgroup, Operation::DropTables { suid, names }, Vec::new());
                }
            }
            Change::DropRelation { suid } => self.everywhere(&Operation::DropRelation { suid }),
            Change::SetTags { suid, name, values } => {
                let vgroup = self.vgroup(&name);
                self.push(vgroup, Operation::SetTags { suid, name, values }, Vec::new());
            }
            Change::DeleteRange { suid, tables, range } => {
                let all = Operation::DeleteRange { suid, sids: None, range, counted: 0 };
                match tables {
                    Tables::All => self.everywhere(&all),
                    Tables::Named(names) => {
                        for (vgroup, names) in self.by_name(names) {
                            self.push(vgroup, all.clone(), names);
                        }
                    }
                }
            }
            Change::DeleteKeys { suid, ordinals, names, keys } => self.delete_keys(suid, &ordinals, &names, &keys)?,
        }
        Ok(())
    }

    fn vgroup(&self, name: &str) -> VgroupId {
        let hash = model::hash::table_hash(name);
        self.ends[self.ends.partition_point(|(end, _)| *end < hash)].1
    }

    fn push(&mut self, vgroup: VgroupId, operation: Operation, names: Vec<String>) {
        self.steps.entry(vgroup).or_default().push(Step { operation, names });
    }

    fn everywhere(&mut self, operation: &Operation) {
        for vgroup in self.database.vgroups.clone() {
            self.push(vgroup, operation.clone(), Vec::new());
        }
    }

    fn by_name(&self, names: Vec<String>) -> BTreeMap<VgroupId, Vec<String>> {
        let mut cut: BTreeMap<VgroupId, Vec<String>> = BTreeMap::new();
        for name in names {
            cut.entry(self.vgroup(&name)).or_default().push(name);
        }
        cut
    }

    /// Whether a table of relation `suid` may be created under `name`: relations and views of the mnode come first.
    fn nameable(&self, suid: Suid, name: &str) -> Result<()> {
        let other = self
            .database
            .relations
            .get(name)
            .is_some_and(|relation| relation.suid != suid || relation.kind == RelationKind::Super);
        if other || self.database.views.contains_key(name) {
            fail!(DuplicateTable, "relation \"{name}\" already exists");
        }
        Ok(())
    }

    /// Whether the relation keeps all its rows in one series, which comes and goes with it.
    fn single(&self, suid: Suid) -> bool {
        let relation = self.database.relations.values().find(|relation| relation.suid == suid);
        relation.is_some_and(|relation| relation.kind != RelationKind::Super)
    }

    fn create(&mut self, suid: Suid, tables: Vec<NewTable>, if_not_exists: bool) -> Result<()> {
        let if_not_exists = if_not_exists || self.single(suid);
        let mut cut: BTreeMap<VgroupId, Vec<Creation>> = BTreeMap::new();
        for NewTable { name, tags } in tables {
            self.nameable(suid, &name)?;
            cut.entry(self.vgroup(&name)).or_default().push(Creation { name, uid: 0, tags });
        }
        for (vgroup, tables) in cut {
            self.push(vgroup, Operation::CreateTables { suid, tables, if_not_exists }, Vec::new());
        }
        Ok(())
    }

    fn rows(&mut self, rows: RowBatch) -> Result<()> {
        if rows.rows() == 0 && rows.tables.iter().all(|table| table.create.is_none()) {
            return Ok(());
        }
        let covered =
            if rows.ordinals.is_empty() { rows.tables.len() == 1 } else { rows.ordinals.len() == rows.rows() };
        if !covered {
            return Err(model::Error::internal("a batch of rows does not say which table each row goes to"));
        }
        let single = self.single(rows.suid);
        let mut vgroups = Vec::with_capacity(rows.tables.len());
        for table in &rows.tables {
            if single || table.create.is_some() {
                self.nameable(rows.suid, &table.name)?;
            }
            vgroups.push(self.vgroup(&table.name));
        }
        let first = vgroups[0];
        if vgroups.iter().all(|vgroup| *vgroup == first) {
            self.push_rows(first, rows, single);
            return Ok(());
        }
        for (vgroup, part) in cut_rows(rows, &vgroups)? {
            self.push_rows(vgroup, part, single);
        }
        Ok(())
    }

    fn push_rows(&mut self, vgroup: VgroupId, rows: RowBatch, single: bool) {
        let mut targets = Vec::with_capacity(rows.tables.len());
        let mut names = Vec::with_capacity(rows.tables.len());
        for TableRef { name, create } in rows.tables {
            let create = create.or_else(|| single.then(Vec::new));
            targets.push(match create {
                Some(tags) => Target::Create(Creation { name: name.clone(), uid: 0, tags }),
                None => Target::Existing { uid: 0, sid: Sid(0) },
            });
            names.push(name);
        }
        let column = |column: WriteColumn| ChunkColumn {
            id: column.id,
            data_type: column.data_type,
            values: column.values,
            absent: column.absent,
        };
        let chunk = Chunk {
            suid: rows.suid,
            version: rows.version,
            targets,
            ordinals: rows.ordinals,
            keys: rows.keys,
            columns: rows.columns.into_iter().map(column).collect(),
        };
        self.push(vgroup, Operation::Write(chunk), names);
    }

    fn delete_keys(&mut self, suid: Suid, ordinals: &[u32], names: &[String], keys: &[i64]) -> Result<()> {
        if ordinals.len() != keys.len() {
            return Err(model::Error::internal("a delete does not say which table each row is in"));
        }
        let mut cut: BTreeMap<VgroupId, (Vec<Sid>, Vec<i64>)> = BTreeMap::new();
        let vgroups: Vec<VgroupId> = names.iter().map(|name| self.vgroup(name)).collect();
        for (ordinal, key) in ordinals.iter().zip(keys) {
            let vgroup = vgroups.get(*ordinal as usize).copied();
            let vgroup =
                vgroup.ok_or_else(|| model::Error::internal("a delete names a table that it does not list"))?;
            let (sids, own) = cut.entry(vgroup).or_default();
            sids.push(Sid(*ordinal));
            own.push(*key);
        }
        for (vgroup, (sids, keys)) in cut {
            self.push(vgroup, Operation::DeleteKeys { suid, sids, keys, counted: 0 }, names.to_vec());
        }
        Ok(())
    }
}

/// The rows of each vgroup, ascending: `vgroups[i]` is where `rows.tables[i]` lives.
fn cut_rows(rows: RowBatch, vgroups: &[VgroupId]) -> Result<Vec<(VgroupId, RowBatch)>> {
    let count = u32::try_from(rows.rows()).map_err(|_| model::Error::internal("a batch has more than 4 G rows"))?;
    let mut all = vgroups.to_vec();
    all.sort_unstable();
    all.dedup();
    // Each table goes to one vgroup, its part of `all`, and gets a number there.
    let mut tables: Vec<Vec<TableRef>> = all.iter().map(|_| Vec::with_capacity(rows.tables.len())).collect();
    let mut place_of = Vec::with_capacity(rows.tables.len());
    let RowBatch { suid, version, tables: named, ordinals, keys, columns } = rows;
    for (table, vgroup) in named.into_iter().zip(vgroups) {
        let part = all.partition_point(|id| id < vgroup);
        place_of.push((part, tables[part].len() as u32));
        tables[part].push(table);
    }
    let room = |_: &VgroupId| Vec::<u32>::with_capacity(count as usize);
    let mut picked: Vec<Vec<u32>> = all.iter().map(room).collect();
    let mut renamed: Vec<Vec<u32>> = all.iter().map(room).collect();
    for row in 0..count {
        let (part, number) = place_of[ordinals.get(row as usize).map_or(0, |table| *table as usize)];
        picked[part].push(row);
        renamed[part].push(number);
    }
    let parts = all.into_iter().zip(tables).zip(picked.into_iter().zip(renamed));
    let batch = |((vgroup, tables), (picked, renamed)): ((_, Vec<_>), (Vec<u32>, Vec<u32>))| {
        let ordinals = if tables.len() == 1 { Vec::new() } else { renamed };
        let picked = UInt32Array::from(picked);
        let keys = pick_keys(&keys, &picked);
        let columns = columns.iter().map(|column| pick_column(column, &picked)).collect::<Result<_>>()?;
        Ok((vgroup, RowBatch { suid, version, tables, ordinals, keys, columns }))
    };
    parts.map(batch).collect()
}

fn pick_keys(keys: &Keys, rows: &UInt32Array) -> Keys {
    match keys {
        Keys::Given(keys) => Keys::Given(rows.values().iter().map(|row| keys[*row as usize]).collect()),
        Keys::Assigned(_) => Keys::Assigned(rows.len()),
    }
}

fn pick_column(column: &WriteColumn, rows: &UInt32Array) -> Result<WriteColumn> {
    let failed = |error: arrow::error::ArrowError| model::Error::internal(error);
    let absent = match &column.absent {
        None => None,
        Some(absent) => {
            let picked = take(&BooleanArray::new(absent.clone(), None), rows, None).map_err(failed)?;
            Some(picked.as_any().downcast_ref::<BooleanArray>().map(|array| array.values().clone()))
                .flatten()
                .filter(|absent: &BooleanBuffer| absent.count_set_bits() > 0)
        }
    };
    let values = take(&column.values, rows, None).map_err(failed)?;
    Ok(WriteColumn { id: column.id, data_type: column.data_type, values, absent })
}

/// Cuts the steps of one share into groups of at most [`PART_BYTES_MAX`].
pub(crate) fn cut(steps: Vec<Step>, bytes_max: usize) -> Vec<Vec<Step>> {
    let mut parts = Vec::new();
    let mut open = Vec::new();
    let mut open_bytes = 0;
    for step in steps.into_iter().flat_map(|step| halve(step, bytes_max)) {
        let bytes = step_bytes(&step);
        if !open.is_empty() && open_bytes + bytes > bytes_max {
            parts.push(std::mem::take(&mut open));
            open_bytes = 0;
        }
        open_bytes += bytes;
        open.push(step);
    }
    if !open.is_empty() {
        parts.push(open);
    }
    parts
}

/// A step as it is if it is small enough, else its halves, and so on. What cannot be halved stays as it is.
fn halve(step: Step, bytes_max: usize) -> Vec<Step> {
    if step_bytes(&step) <= bytes_max {
        return vec![step];
    }
    let Step { operation, names } = step;
    let halves = match operation {
        Operation::Write(chunk) if chunk.keys.len() > 1 => {
            let (rows, middle) = (chunk.keys.len(), chunk.keys.len() / 2);
            vec![rows_of(&chunk, &names, 0, middle), rows_of(&chunk, &names, middle, rows - middle)]
        }
        Operation::CreateTables { suid, mut tables, if_not_exists } if tables.len() > 1 => {
            let rest = tables.split_off(tables.len() / 2);
            [tables, rest]
                .map(|tables| Step {
                    operation: Operation::CreateTables { suid, tables, if_not_exists },
                    names: vec![],
                })
                .into()
        }
        Operation::DeleteKeys { suid, mut sids, mut keys, counted } if keys.len() > 1 => {
            let middle = keys.len() / 2;
            let (late_sids, late_keys) = (sids.split_off(middle), keys.split_off(middle));
            [(sids, keys), (late_sids, late_keys)]
                .map(|(sids, keys)| Step {
                    operation: Operation::DeleteKeys { suid, sids, keys, counted },
                    names: names.clone(),
                })
                .into()
        }
        operation => return vec![Step { operation, names }],
    };
    halves.into_iter().flat_map(|half| halve(half, bytes_max)).collect()
}

/// Some rows of a chunk, with no more targets than they need.
fn rows_of(chunk: &Chunk, names: &[String], from: usize, rows: usize) -> Step {
    let mut used = BTreeMap::new();
    let mut ordinals = Vec::new();
    if chunk.ordinals.is_empty() {
        used.insert(0, 0);
    } else {
        for ordinal in &chunk.ordinals[from..from + rows] {
            let next = used.len() as u32;
            ordinals.push(*used.entry(*ordinal).or_insert(next));
        }
    }
    let mut order: Vec<(u32, u32)> = used.into_iter().map(|(old, new)| (new, old)).collect();
    order.sort_unstable();
    if order.len() == 1 {
        ordinals.clear();
    }
    let targets = order.iter().map(|(_, old)| chunk.targets[*old as usize].clone()).collect();
    let names = order.iter().map(|(_, old)| names[*old as usize].clone()).collect();
    let keys = match &chunk.keys {
        Keys::Given(keys) => Keys::Given(keys[from..from + rows].to_vec()),
        Keys::Assigned(_) => Keys::Assigned(rows),
    };
    let column = |column: &ChunkColumn| ChunkColumn {
        id: column.id,
        data_type: column.data_type,
        values: column.values.slice(from, rows),
        absent: column.absent.as_ref().map(|absent| absent.slice(from, rows)),
    };
    let columns = chunk.columns.iter().map(column).collect();
    let chunk = Chunk { suid: chunk.suid, version: chunk.version, targets, ordinals, keys, columns };
    Step { operation: Operation::Write(chunk), names }
}

/// Bytes of a step in an entry, roughly.
fn step_bytes(step: &Step) -> usize {
    let creation = |creation: &Creation| 32 + creation.name.len() + creation.tags.len() * 32;
    match &step.operation {
        Operation::Write(chunk) => {
            let target = |target: &Target| match target {
                Target::Existing { .. } => 16,
                Target::Create(created) => creation(created),
            };
            let targets: usize = chunk.targets.iter().map(target).sum();
            let columns: usize = chunk.columns.iter().map(|column| array_bytes(&column.values)).sum();
            targets + columns + chunk.keys.len() * 8 + chunk.ordinals.len() * 4
        }
        Operation::CreateTables { tables, .. } => tables.iter().map(creation).sum(),
        Operation::DropTables { names, .. } => names.iter().map(|name| name.len() + 8).sum(),
        Operation::DeleteKeys { keys, .. } => keys.len() * 12,
        Operation::DropRelation { .. } | Operation::SetTags { .. } | Operation::DeleteRange { .. } => 64,
    }
}

fn array_bytes(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int32Array};
    use arrow::datatypes::Int32Type;
    use model::ColumnId;
    use model::DataType;

    use super::*;

    /// Rows 0..rows, in tables t0, t1, …, by turns; absent where the row is a multiple of three.
    fn step(rows: i64, tables: u32) -> Step {
        let names: Vec<String> = (0..tables).map(|table| format!("t{table}")).collect();
        let absent = BooleanBuffer::from_iter((0..rows).map(|row| row % 3 == 0));
        let chunk = Chunk {
            suid: Suid(1),
            version: 1,
            targets: names.iter().map(|_| Target::Existing { uid: 0, sid: Sid(0) }).collect(),
            ordinals: (0..rows).map(|row| row as u32 % tables).collect(),
            keys: Keys::Given((0..rows).collect()),
            columns: vec![ChunkColumn {
                id: ColumnId(1),
                data_type: DataType::Int,
                values: Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row as i32))),
                absent: Some(absent),
            }],
        };
        Step { operation: Operation::Write(chunk), names }
    }

    /// (table, key, value or absent) of all rows of some parts.
    fn rows(parts: &[Vec<Step>]) -> Vec<(String, i64, Option<i32>)> {
        let mut found = Vec::new();
        for step in parts.iter().flatten() {
            let Operation::Write(chunk) = &step.operation else { panic!("{step:?}") };
            let Keys::Given(keys) = &chunk.keys else { panic!("{chunk:?}") };
            let values = chunk.columns[0].values.as_primitive::<Int32Type>();
            let absent = chunk.columns[0].absent.as_ref().expect("some are absent");
            for (row, key) in keys.iter().enumerate() {
                let table = chunk.ordinals.get(row).map_or(0, |ordinal| *ordinal as usize);
                let value = (!absent.value(row)).then(|| values.value(row));
                found.push((step.names[table].clone(), *key, value));
            }
        }
        found
    }

    #[test]
    fn cutting_loses_and_reorders_nothing() {
        for tables in [1, 2, 7] {
            let whole = rows(&[vec![step(1000, tables)]]);
            for bytes_max in [1, 100, 5000, 1 << 20] {
                let parts = cut(vec![step(600, tables), step(1000, tables)], bytes_max);
                let mut all = rows(&parts);
                let second = all.split_off(600);
                assert_eq!(second, whole, "{tables} tables, {bytes_max} bytes");
                assert_eq!(all, whole[..600], "{tables} tables, {bytes_max} bytes");
                for part in &parts {
                    let bytes: usize = part.iter().map(step_bytes).sum();
                    let rows = |step: &Step| match &step.operation {
                        Operation::Write(chunk) => chunk.keys.len(),
                        _ => 0,
                    };
                    let alone = part.len() == 1 && rows(&part[0]) == 1;
                    assert!(bytes <= bytes_max || alone, "{bytes} bytes");
                }
            }
        }
    }

    #[test]
    fn a_part_travels() {
        let delete = Operation::DeleteKeys { suid: Suid(1), sids: vec![Sid(1)], keys: vec![5], counted: 0 };
        let names = vec!["a".to_owned(), "b".to_owned()];
        let steps = vec![step(10, 3), Step { operation: delete, names }];
        let stamp = Stamp { hlc: 0, origin: 0, writer: 1 << 70, seq: 9 };
        let part = Part { stamp, database: model::DatabaseId(3), epoch: 4, steps };
        let back = Part::decode(&part.encode()).expect("decodes");
        assert_eq!((back.stamp, back.database, back.epoch), (part.stamp, part.database, part.epoch));
        assert_eq!(rows(&[back.steps[..1].to_vec()]), rows(&[part.steps[..1].to_vec()]));
        assert_eq!(back.steps[1].names, part.steps[1].names);
        assert!(Part::decode(&part.encode()[..20]).is_err());
    }
}
