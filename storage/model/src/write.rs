//! What a session asks to be written, before it is cut by vgroup and turned into log entries.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::id::{ColumnId, DatabaseId, Suid, VgroupId};
use crate::time::TimeRange;
use crate::types::{DataType, Value};

/// Changes of one database. Atomic per vgroup, not across.
#[derive(Clone, Debug)]
pub struct WriteBatch {
    /// Whose.
    pub database: DatabaseId,
    /// In the order of the statement.
    pub changes: Vec<Change>,
}

/// One change. Tables are named; the vgroup that a name's hash selects turns them into sids.
#[derive(Clone, Debug)]
pub enum Change {
    /// Rows of one relation, for any number of its tables.
    Rows(RowBatch),
    /// Child tables without rows, or the one series of a normal or plain table.
    CreateTables {
        /// Their relation.
        suid: Suid,
        /// Which.
        tables: Vec<NewTable>,
        /// Leave alone the ones that exist; otherwise the first of them refuses the share of that vgroup with 42P07.
        if_not_exists: bool,
    },
    /// DROP TABLE of child tables, or of the one series of a normal or plain table.
    DropTables {
        /// Their relation.
        suid: Suid,
        /// Which.
        names: Vec<String>,
    },
    /// DROP STABLE, to every vgroup of the database: all its tables go, and a late write is refused.
    DropRelation {
        /// Which.
        suid: Suid,
    },
    /// ALTER TABLE child SET TAG.
    SetTags {
        /// The super table.
        suid: Suid,
        /// The child.
        name: String,
        /// Tag and new value.
        values: Vec<(ColumnId, Value)>,
    },
    /// DELETE of whole time ranges.
    DeleteRange {
        /// The relation.
        suid: Suid,
        /// Which of its tables.
        tables: Tables,
        /// Which of their rows.
        range: TimeRange,
    },
    /// DELETE of single rows.
    DeleteKeys {
        /// The relation.
        suid: Suid,
        /// Table of each row, as an index into `names`.
        ordinals: Vec<u32>,
        /// The tables.
        names: Vec<String>,
        /// The key of each row.
        keys: Vec<i64>,
    },
}

/// Tables of one relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tables {
    /// Every one, in every vgroup.
    All,
    /// These.
    Named(Vec<String>),
}

/// A table to be created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTable {
    /// Its name.
    pub name: String,
    /// Tag and value; tags left out are NULL. Empty for normal and plain tables.
    pub tags: Vec<(ColumnId, Value)>,
}

/// A table that rows go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRef {
    /// Its name.
    pub name: String,
    /// `USING … TAGS`: create it with these if it does not exist. Existing tags are never changed by this.
    pub create: Option<Vec<(ColumnId, Value)>>,
}

/// Rows in columns. All arrays and `keys` have the same length; `tables` is the dictionary of `ordinals`.
#[derive(Clone, Debug)]
pub struct RowBatch {
    /// The relation.
    pub suid: Suid,
    /// The version of the relation that the columns were checked against.
    pub version: u32,
    /// The tables that rows go to, each once.
    pub tables: Vec<TableRef>,
    /// For each row its table, as an index into `tables`. Empty when there is one table.
    pub ordinals: Vec<u32>,
    /// The key of each row.
    pub keys: Keys,
    /// The columns that were given, without the key. A column that is not here is absent in every row.
    pub columns: Vec<WriteColumn>,
}

/// Keys of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keys {
    /// Ticks, or row ids of rows that exist (UPDATE of a plain table).
    Given(Vec<i64>),
    /// Row ids that apply gives out, for this many new rows of a plain table.
    Assigned(usize),
}

impl Keys {
    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Given(keys) => keys.len(),
            Self::Assigned(rows) => *rows,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One column of a [`RowBatch`].
#[derive(Clone, Debug)]
pub struct WriteColumn {
    /// Which.
    pub id: ColumnId,
    /// Its type; `values` has `data_type.arrow(precision)`.
    pub data_type: DataType,
    /// Values; a null is an explicit NULL.
    pub values: ArrayRef,
    /// Set where the row does not name this column, so that it keeps its old value. None: named in every row.
    pub absent: Option<BooleanBuffer>,
}

impl RowBatch {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.keys.len()
    }

    /// The index into `tables` of row `row`.
    #[must_use]
    pub fn table_of(&self, row: usize) -> usize {
        self.ordinals.get(row).map_or(0, |ordinal| *ordinal as usize)
    }

    /// Bytes in memory, for budgets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Cells, not buffers: the columns of a batch that was read from a file share one.
        let of = |values: &ArrayRef| values.to_data().get_slice_memory_size();
        let of = |column: &WriteColumn| of(&column.values).unwrap_or_else(|_| column.values.get_array_memory_size());
        self.columns.iter().map(of).sum::<usize>() + self.rows() * 12 + self.tables.len() * 64
    }
}

impl WriteBatch {
    /// Bytes in memory, for budgets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |change: &Change| match change {
            Change::Rows(rows) => rows.bytes(),
            Change::CreateTables { tables, .. } => tables.len() * 128,
            Change::DeleteKeys { keys, .. } => keys.len() * 16,
            _ => 64,
        };
        self.changes.iter().map(of).sum()
    }
}

/// What became of a [`WriteBatch`].
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One per vgroup that got a share.
    pub shares: Vec<Share>,
}

/// What became of one vgroup's share.
#[derive(Clone, Debug)]
pub struct Share {
    /// Which vgroup.
    pub vgroup: VgroupId,
    /// Applied, refused (nothing of the share is there), or unknown (SQLSTATE 40003).
    pub result: Result<Effect, Error>,
}

/// What an applied share did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Rows written.
    pub written: u64,
    /// Rows that existed and were deleted.
    pub deleted: u64,
    /// Tables that did not exist before.
    pub created: u64,
    /// Tables dropped.
    pub dropped: u64,
}

impl Outcome {
    /// The sum over all shares, or the error of the first share that was not applied. Where some shares were applied
    /// and others not, the error says so.
    ///
    /// # Errors
    ///
    /// The first refused or unknown share's.
    pub fn total(&self) -> Result<Effect, Error> {
        let mut total = Effect::default();
        let mut applied = 0;
        for share in &self.shares {
            if let Ok(effect) = &share.result {
                total.written += effect.written;
                total.deleted += effect.deleted;
                total.created += effect.created;
                total.dropped += effect.dropped;
                applied += 1;
            }
        }
        let failed = self.shares.iter().find_map(|share| share.result.as_ref().err().map(|e| (share.vgroup, e)));
        match failed {
            None => Ok(total),
            Some((_, error)) if applied == 0 => Err(error.clone()),
            Some((vgroup, error)) => {
                let of = self.shares.len();
                Err(error.clone().with_detail(format!(
                    "{applied} of {of} vgroups applied their share ({} rows written), vgroup {} did not: writes are atomic per vgroup, not across",
                    total.written, vgroup.0
                )))
            }
        }
    }
}

/// Changes that a transaction holds and its own reads must see, oldest first; all are newer than anything stored.
///
/// A scan looks at [`Change::Rows`], [`Change::DeleteRange`] and [`Change::DeleteKeys`] of its relation and passes over
/// the rest. Tables that do not exist yet count with the tags of their first [`TableRef::create`].
pub type Overlay = Vec<Arc<Change>>;
