//! Entries come back, borrow their columns from the log, and damage is found.

use arrow::array::Array;
use arrow::buffer::NullBuffer;
use model::command::{Creation, Stamp, Target as Table};
use model::time::TimeRange;
use model::{ColumnId, DataType, DatabaseId, Sid, Suid, Value};
use proptest::prelude::*;

use super::*;
use crate::codec::tests::{TYPES, bits, cells, column};

fn creation(uid: u64) -> Creation {
    let tags = vec![(ColumnId(1), Value::Text("Køge".to_owned())), (ColumnId(2), Value::Decimal(-5))];
    Creation { name: format!("d{uid}"), uid, tags }
}

/// One of each operation without rows.
fn small_operations() -> Vec<Operation> {
    let (suid, range) = (Suid(4), TimeRange { min: i64::MIN, max: 7 });
    let text = vec![(ColumnId(3), Value::Float(2.5)), (ColumnId(4), Value::Null)];
    vec![
        Operation::CreateTables { suid, tables: vec![creation(1), creation(u64::MAX)], if_not_exists: true },
        Operation::DropTables { suid, names: vec!["a".to_owned(), String::new()] },
        Operation::DropRelation { suid },
        Operation::SetTags { suid, name: "d1".to_owned(), values: text },
        Operation::DeleteRange { suid, sids: Some(vec![Sid(1), Sid(u32::MAX)]), range, counted: 3 },
        Operation::DeleteRange { suid, sids: None, range, counted: 0 },
        Operation::DeleteKeys { suid, sids: vec![Sid(1), Sid(2)], keys: vec![i64::MIN, 5], counted: 2 },
    ]
}

fn entry(operations: Vec<Operation>) -> Entry {
    let stamp = Stamp { hlc: 1 << 60, origin: 2, writer: u128::MAX - 1, seq: 9 };
    Entry { stamp, database: DatabaseId(3), epoch: 5, operations }
}

fn chunk(rows: usize, kinds: &[(usize, u8, u8, u8)], assigned: bool, skip: usize, seed: u64) -> Chunk {
    let column = |(at, &(kind, shape, null, gone)): (usize, &(usize, u8, u8, u8))| {
        let seed = seed ^ at as u64;
        let nulls = (null > 0).then(|| NullBuffer::new(!&bits(rows + skip, null, seed ^ 1)));
        let values = column(TYPES[kind], shape, rows + skip, nulls, seed).slice(skip, rows);
        let absent = (gone > 2).then(|| bits(rows + skip, gone, seed ^ 2).slice(skip, rows));
        ChunkColumn { id: ColumnId(at as u16 + 1), data_type: TYPES[kind], values, absent }
    };
    Chunk {
        suid: Suid(8),
        version: 2,
        targets: vec![Table::Existing { uid: 6, sid: Sid(5) }, Table::Create(creation(7))],
        ordinals: if seed.is_multiple_of(2) { Vec::new() } else { (0..rows).map(|row| row as u32 % 2).collect() },
        keys: if assigned { Keys::Assigned(rows) } else { Keys::Given((0..rows as i64).map(|row| row * -7).collect()) },
        columns: kinds.iter().enumerate().map(column).collect(),
    }
}

/// Everything an entry says, printable and comparable.
fn say(entry: &Entry) -> Vec<String> {
    let mut said = vec![format!("{:?} {} {}", entry.stamp, entry.database, entry.epoch)];
    for operation in &entry.operations {
        let Operation::Write(chunk) = operation else {
            said.push(format!("{operation:?}"));
            continue;
        };
        let Chunk { suid, version, targets, ordinals, keys, columns } = chunk;
        said.push(format!("{suid} {version} {targets:?} {ordinals:?} {keys:?}"));
        for ChunkColumn { id, data_type, values, absent } in columns {
            let absent: Option<Vec<bool>> = absent.as_ref().map(|absent| absent.iter().collect());
            said.push(format!("{id} {data_type} {:?} {absent:?} {:?}", values.data_type(), cells(values, None)));
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the columns, sliced or not, and wherever the bytes lie in memory.
    #[test]
    fn entries_come_back(
        rows in prop_oneof![0..20_usize, 1000..1030_usize], skip in 0..9_usize, assigned: bool, seed: u64,
        kinds in prop::collection::vec((0..TYPES.len(), 0..9_u8, 0..4_u8, 0..6_u8), 0..6), shift in 0..9_usize,
    ) {
        let mut operations = small_operations();
        operations.insert(2, Operation::Write(chunk(rows, &kinds, assigned, skip, seed)));
        operations.push(Operation::Write(chunk(1, &kinds, !assigned, 0, seed)));
        let entry = entry(operations);
        let bytes = encode(&entry);
        prop_assert_eq!(bytes.len() % 8, 0);
        let shifted = Bytes::from([vec![0; shift], bytes.to_vec()].concat()).slice(shift..);
        prop_assert_eq!(say(&decode(shifted).unwrap()), say(&entry));
        prop_assert_eq!(encode(&decode(bytes.clone()).unwrap()).len(), bytes.len());
    }

    /// Damage gives an error or another entry; a cut is always found.
    #[test]
    fn damage_never_panics(
        kinds in prop::collection::vec((0..TYPES.len(), 0..9_u8, 0..4_u8, 0..6_u8), 1..4), seed: u64,
        flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..3), cut: prop::sample::Index,
    ) {
        let mut operations = small_operations();
        operations.push(Operation::Write(chunk(20, &kinds, false, 3, seed)));
        let bytes = encode(&entry(operations));
        // Less than the padding may be cut unnoticed: it says nothing.
        prop_assert!(decode(bytes.slice(..cut.index(bytes.len() - 7))).is_err());
        let mut damaged = bytes.to_vec();
        for (at, mask) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= mask;
        }
        if let Ok(entry) = decode(Bytes::from(damaged)) {
            say(&entry);
        }
    }
}

#[test]
fn columns_are_slices_of_the_entry() {
    let kinds: Vec<(usize, u8, u8, u8)> = (0..TYPES.len()).map(|kind| (kind, 7, 0, 0)).collect();
    let bytes = encode(&entry(vec![Operation::Write(chunk(100, &kinds, false, 0, 1))]));
    let (start, end) = (bytes.as_ptr() as usize, bytes.as_ptr() as usize + bytes.len());
    let decoded = decode(bytes.clone()).unwrap();
    let Operation::Write(chunk) = &decoded.operations[0] else { panic!("rows came back as something else") };
    for column in &chunk.columns {
        for buffer in column.values.to_data().buffers() {
            let inside = (start..end).contains(&(buffer.as_ptr() as usize));
            let wide = matches!(column.data_type, DataType::Decimal(..));
            assert!(inside || wide, "column {} of type {} was copied", column.id, column.data_type);
        }
    }
}

#[test]
fn a_newer_entry_is_refused_by_name() {
    let mut bytes = encode(&entry(Vec::new())).to_vec();
    bytes[0] = 7;
    let error = decode(Bytes::from(bytes)).unwrap_err();
    assert_eq!(error.to_string(), "log entry has format 7, this server reads up to 1");
}
