//! What a query asks of one vgroup when it wants groups and not rows: the rows are reduced where they are.
//!
//! What comes back are *states*, which whoever asked merges: the same group may come several times, from one vgroup as
//! from several. Start reading at [`AggregateRequest`].

use std::sync::Arc;

use arrow::datatypes::{DataType as Arrow, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::id::ColumnId;
use crate::scan::RowsRequest;
use crate::types::DataType;

/// Digits of a sum of whole numbers.
pub const SUM_DIGITS: u8 = 38;

/// A read of groups.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AggregateRequest {
    /// Which rows. Its `output`, `filters`, `order` and `limit` are not used. A row that fails one of its `conditions` is
    /// in no group, and a group without rows does not come.
    pub rows: RowsRequest,
    /// What of its table a group knows; none: rows of different tables may be in one group.
    pub series: Vec<SeriesKey>,
    /// Groups by time; None: all times in one group.
    pub windows: Option<Windows>,
    /// What is wanted of each group.
    pub aggregates: Vec<Aggregate>,
    /// Only the newest so many windows that have rows are needed; others may come too. Counts for [`Windows::Fixed`].
    pub newest: Option<usize>,
    /// Whether statistics of blocks may stand for their rows. Without them the answer is the same and takes longer.
    pub statistics: bool,
    /// Whether newest values that are kept in memory may answer, where the rows' `cachemodel` keeps some.
    pub last_cache: bool,
}

/// What is told of the table that a group belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SeriesKey {
    /// A tag.
    Tag(ColumnId),
    /// The name.
    TableName,
}

/// Stretches of time, one behind the other without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Windows {
    /// `[offset + n * step, offset + (n + 1) * step)` for every whole n. `step` is positive.
    Fixed {
        /// Ticks in a window.
        step: i64,
        /// Where some window starts.
        offset: i64,
    },
    /// Where each window starts, ascending; the last one has no end. No row is asked for before the first.
    Starts(Arc<[i64]>),
}

/// One value of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Aggregate {
    /// How it is made.
    pub function: Function,
    /// Of which column; [`ColumnId::KEY`] for the time. [`Function::Rows`] looks at none.
    pub column: ColumnId,
}

/// How values become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Function {
    /// How many rows there are.
    Rows,
    /// How many values there are.
    Count,
    /// Their sum: exact of whole numbers, compensated of floats.
    Sum,
    /// The least one.
    Min,
    /// The greatest one; NaN is greater than every number.
    Max,
    /// The one of the oldest row that has a value.
    First,
    /// The one of the newest row that has a value.
    Last,
    /// The cell of the newest row, which may be NULL.
    LastRow,
}

/// Whether conditions on values of this type can be decided exactly.
#[must_use]
pub const fn is_exact(data_type: DataType) -> bool {
    Function::Sum.takes(data_type)
}

impl Function {
    /// Whether values of this type can be reduced by it.
    #[must_use]
    pub const fn takes(self, data_type: DataType) -> bool {
        let whole = matches!(
            data_type,
            DataType::TinyInt
                | DataType::SmallInt
                | DataType::Int
                | DataType::BigInt
                | DataType::UTinyInt
                | DataType::USmallInt
                | DataType::UInt
                | DataType::UBigInt
        );
        let number = whole || data_type.is_float();
        match self {
            Self::Sum => number,
            Self::Min | Self::Max => number || matches!(data_type, DataType::Timestamp | DataType::Date),
            _ => true,
        }
    }
}

impl Windows {
    /// The window that `key` is in: its start, and the last tick that is inside. A key before the first window is taken
    /// for one of it.
    #[must_use]
    pub fn around(&self, key: i64) -> (i64, i64) {
        match self {
            Self::Fixed { step, offset } => {
                let start = key.saturating_sub(*offset).div_euclid(*step).saturating_mul(*step).saturating_add(*offset);
                (start, start.saturating_add(step - 1))
            }
            Self::Starts(starts) => {
                let behind = starts.partition_point(|start| *start <= key).max(1);
                let start = starts.get(behind - 1).copied().unwrap_or(i64::MIN);
                (start, starts.get(behind).map_or(i64::MAX, |next| next - 1))
            }
        }
    }
}

impl AggregateRequest {
    /// The columns of the answer: those of `series` in their order, the window's start as a timestamp, and the states of
    /// each aggregate.
    ///
    /// | function | states |
    /// |---|---|
    /// | `Rows`, `Count` | Int64 |
    /// | `Sum` of whole numbers | Decimal128 of [`SUM_DIGITS`] digits, NULL if there is no value |
    /// | `Sum` of floats | Float64 the sum, Float64 what it lost; NULL if there is no value |
    /// | `Min`, `Max` | the column's type, NULL if there is no value |
    /// | `First`, `Last`, `LastRow` | Int64 the row's key, NULL if there is no row; the column's type |
    ///
    /// # Panics
    ///
    /// If it names a column or tag that the relation lacks, or a function that does not take it: the planner checks both.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let (relation, precision) = (&self.rows.relation, self.rows.precision);
        let mut fields: Vec<Field> = Vec::new();
        for key in &self.series {
            fields.push(match key {
                SeriesKey::Tag(id) => {
                    let tag = relation.tags.iter().find(|tag| tag.id == *id).expect("the planner takes known tags");
                    Field::new(&tag.name, tag.data_type.arrow(precision), true)
                }
                SeriesKey::TableName => Field::new("tbname", Arrow::Utf8, false),
            });
        }
        if self.windows.is_some() {
            fields.push(Field::new("window", DataType::Timestamp.arrow(precision), false));
        }
        for (at, aggregate) in self.aggregates.iter().enumerate() {
            let mut state = |name: &str, arrow: Arrow, nullable| {
                fields.push(Field::new(format!("{name}{at}"), arrow, nullable));
            };
            let data_type = self.data_type(*aggregate);
            assert!(aggregate.function.takes(data_type), "{aggregate:?} of {data_type:?}");
            match aggregate.function {
                Function::Rows | Function::Count => state("count", Arrow::Int64, false),
                Function::Sum if data_type.is_float() => {
                    state("sum", Arrow::Float64, true);
                    state("lost", Arrow::Float64, true);
                }
                Function::Sum => state("sum", Arrow::Decimal128(SUM_DIGITS, 0), true),
                Function::Min | Function::Max => state("value", data_type.arrow(precision), true),
                Function::First | Function::Last | Function::LastRow => {
                    state("key", Arrow::Int64, true);
                    state("value", data_type.arrow(precision), true);
                }
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// Where the states of each aggregate begin among the columns of [`AggregateRequest::schema`].
    ///
    /// # Panics
    ///
    /// As [`AggregateRequest::schema`].
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        let mut next = self.series.len() + usize::from(self.windows.is_some());
        let place = |one: &Aggregate| {
            let place = next;
            next += match one.function {
                Function::First | Function::Last | Function::LastRow => 2,
                Function::Sum if self.data_type(*one).is_float() => 2,
                _ => 1,
            };
            place
        };
        self.aggregates.iter().map(place).collect()
    }

    /// The type of the column that an aggregate looks at; a row id is a BIGINT.
    ///
    /// # Panics
    ///
    /// If the relation lacks it.
    #[must_use]
    pub fn data_type(&self, aggregate: Aggregate) -> DataType {
        let column = self.rows.relation.columns.iter().find(|column| column.id == aggregate.column);
        match column {
            Some(column) => column.data_type,
            None if aggregate.column == ColumnId::KEY || aggregate.function == Function::Rows => DataType::BigInt,
            None => panic!("{} has no column {}", self.rows.relation.name, aggregate.column),
        }
    }
}
