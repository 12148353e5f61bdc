//! The part of an entry that postcard writes: everything that is not an array of numbers.

use arrow::array::Array;
use arrow::datatypes::{DataType as Arrow, TimeUnit};
use model::command::{Chunk, ChunkColumn, Creation, Entry, Operation, Stamp, Target};
use model::time::TimeRange;
use model::write::Keys;
use model::{ColumnId, DataType, DatabaseId, Precision, Sid, Suid, Value};
use serde::{Deserialize, Serialize};

/// An [`Entry`] without its arrays.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) stamp: Stamp,
    pub(super) database: DatabaseId,
    pub(super) epoch: u64,
    pub(super) operations: Vec<HeadOperation>,
}

/// An [`Operation`] without its arrays. The order of the variants is part of the format.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum HeadOperation {
    Write(HeadChunk),
    CreateTables { suid: Suid, tables: Vec<Creation>, if_not_exists: bool },
    DropTables { suid: Suid, names: Vec<String> },
    DropRelation { suid: Suid },
    SetTags { suid: Suid, name: String, values: Vec<(ColumnId, Value)> },
    DeleteRange { suid: Suid, sids: Option<Vec<Sid>>, range: TimeRange, counted: u64 },
    DeleteKeys { suid: Suid, sids: Vec<Sid>, keys: Vec<i64>, counted: u64 },
}

/// A [`Chunk`] without its arrays.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeadChunk {
    pub(super) suid: Suid,
    pub(super) version: u32,
    pub(super) targets: Vec<Target>,
    pub(super) ordinals: bool,
    pub(super) keys: HeadKeys,
    pub(super) columns: Vec<HeadColumn>,
}

/// How many rows, and whether their keys follow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum HeadKeys {
    Given(u64),
    Assigned(u64),
}

/// A [`ChunkColumn`] without its arrays.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HeadColumn {
    pub(super) id: ColumnId,
    pub(super) data_type: DataType,
    /// Of TIMESTAMP; of no meaning otherwise.
    pub(super) precision: Precision,
    pub(super) nulls: bool,
    pub(super) absent: bool,
    /// Bytes of text or binary.
    pub(super) bytes: u64,
}

impl Head {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            stamp: entry.stamp,
            database: entry.database,
            epoch: entry.epoch,
            operations: entry.operations.iter().map(HeadOperation::of).collect(),
        }
    }
}

impl HeadOperation {
    fn of(operation: &Operation) -> Self {
        // Rows are not cloned: they are most of an entry.
        if let Operation::Write(chunk) = operation {
            return Self::Write(HeadChunk::of(chunk));
        }
        match operation.clone() {
            Operation::Write(chunk) => Self::Write(HeadChunk::of(&chunk)),
            Operation::CreateTables { suid, tables, if_not_exists } => {
                Self::CreateTables { suid, tables, if_not_exists }
            }
            Operation::DropTables { suid, names } => Self::DropTables { suid, names },
            Operation::DropRelation { suid } => Self::DropRelation { suid },
            Operation::SetTags { suid, name, values } => Self::SetTags { suid, name, values },
            Operation::DeleteRange { suid, sids, range, counted } => Self::DeleteRange { suid, sids, range, counted },
            Operation::DeleteKeys { suid, sids, keys, counted } => Self::DeleteKeys { suid, sids, keys, counted },
        }
    }

    /// None for rows, which need their buffers, and for a delete whose sids and keys do not pair.
    pub(super) fn into_operation(self) -> Option<Operation> {
        Some(match self {
            Self::Write(_) => return None,
            Self::CreateTables { suid, tables, if_not_exists } => {
                Operation::CreateTables { suid, tables, if_not_exists }
            }
            Self::DropTables { suid, names } => Operation::DropTables { suid, names },
            Self::DropRelation { suid } => Operation::DropRelation { suid },
            Self::SetTags { suid, name, values } => Operation::SetTags { suid, name, values },
            Self::DeleteRange { suid, sids, range, counted } => Operation::DeleteRange { suid, sids, range, counted },
            Self::DeleteKeys { sids, keys, .. } if sids.len() != keys.len() => return None,
            Self::DeleteKeys { suid, sids, keys, counted } => Operation::DeleteKeys { suid, sids, keys, counted },
        })
    }
}

impl HeadChunk {
    fn of(chunk: &Chunk) -> Self {
        Self {
            suid: chunk.suid,
            version: chunk.version,
            targets: chunk.targets.clone(),
            ordinals: !chunk.ordinals.is_empty(),
            keys: match &chunk.keys {
                Keys::Given(keys) => HeadKeys::Given(keys.len() as u64),
                Keys::Assigned(rows) => HeadKeys::Assigned(*rows as u64),
            },
            columns: chunk.columns.iter().map(HeadColumn::of).collect(),
        }
    }
}

impl HeadColumn {
    fn of(column: &ChunkColumn) -> Self {
        let precision = match column.values.data_type() {
            Arrow::Timestamp(TimeUnit::Microsecond, _) => Precision::Micro,
            Arrow::Timestamp(TimeUnit::Nanosecond, _) => Precision::Nano,
            _ => Precision::Milli,
        };
        let arrow = column.data_type.arrow(precision);
        assert_eq!(*column.values.data_type(), arrow, "column {} of type {}", column.id, column.data_type);
        Self {
            id: column.id,
            data_type: column.data_type,
            precision,
            nulls: column.values.null_count() > 0,
            absent: column.absent.is_some(),
            bytes: super::buffers::text_bytes(&column.values) as u64,
        }
    }
}
