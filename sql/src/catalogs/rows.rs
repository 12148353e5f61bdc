//! Rows of system tables on their way to Arrow: a few at a time, given by column name.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, Date32Builder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, ListBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, new_null_array,
};
use arrow::datatypes::{DataType, FieldRef};
use model::{Error, Result};

use super::relations::SystemRelation;

/// One value of a system table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// bool.
    Bool(bool),
    /// Any integer, oid or timestamp (microseconds since the epoch).
    Int(i64),
    /// float4, float8.
    Float(f64),
    /// Any text.
    Text(String),
    /// An array or vector of integers.
    Ints(Vec<i64>),
    /// An array of texts.
    Texts(Vec<String>),
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Cell {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<i64>> for Cell {
    fn from(value: Vec<i64>) -> Self {
        Self::Ints(value)
    }
}

macro_rules! from_int {
    ($($int:ty)+) => { $(impl From<$int> for Cell {
        fn from(value: $int) -> Self {
            Self::Int(i64::from(value))
        }
    })+ };
}
from_int!(i64 i32 i16 u32 u16 u8 i8);

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A moment in milliseconds since the epoch.
#[must_use]
pub fn moment(ms: i64) -> Cell {
    Cell::Int(ms.saturating_mul(1000))
}

/// Rows of one system relation.
pub struct Rows {
    relation: &'static SystemRelation,
    columns: Vec<Vec<Cell>>,
    count: usize,
}

impl Rows {
    /// None yet.
    #[must_use]
    pub fn of(relation: &'static SystemRelation) -> Self {
        Self { relation, columns: relation.columns.iter().map(|_| Vec::new()).collect(), count: 0 }
    }

    /// The relation that these are rows of.
    #[must_use]
    pub fn relation(&self) -> &'static SystemRelation {
        self.relation
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds one row. Columns that are not named get NULL, or the zero of their type if they are never null.
    ///
    /// # Panics
    ///
    /// If the relation has no column of a name: the caller wrote it.
    pub fn add<'a>(&mut self, cells: impl IntoIterator<Item = (&'a str, Cell)>) {
        for (name, cell) in cells {
            let at = self.relation.columns.iter().position(|of| of.name == name);
            let at = at.unwrap_or_else(|| panic!("{} has no column {name}", self.relation.name));
            self.columns[at].truncate(self.count);
            self.columns[at].push(cell);
        }
        self.count += 1;
        for (column, of) in self.columns.iter_mut().zip(&self.relation.columns) {
            if column.len() < self.count {
                column.push(if of.required { zero(&super::relations::arrow_type(of.pg_type)) } else { Cell::Null });
            }
        }
    }

    /// Adds a row whose cells stand in the order of the columns.
    pub fn push(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "{}", self.relation.name);
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        self.count += 1;
    }

    /// All rows as one batch.
    ///
    /// # Errors
    ///
    /// A cell that is not of its column's type: a defect.
    pub fn finish(self) -> Result<RecordBatch> {
        let fields = self.relation.arrow.fields();
        let arrays: Result<Vec<_>> = fields.iter().zip(&self.columns).map(|(of, cells)| array(of, cells)).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.count));
        RecordBatch::try_new_with_options(self.relation.arrow.clone(), arrays?, &options)
            .map_err(|error| Error::internal(format!("{}: {error}", self.relation.name)))
    }
}

fn zero(of: &DataType) -> Cell {
    match of {
        DataType::Boolean => Cell::Bool(false),
        DataType::Utf8 => Cell::Text(String::new()),
        DataType::Float32 | DataType::Float64 => Cell::Float(0.0),
        DataType::List(_) => Cell::Ints(Vec::new()),
        _ => Cell::Int(0),
    }
}

/// The Arrow array of `cells`.
pub(crate) fn array(field: &FieldRef, cells: &[Cell]) -> Result<ArrayRef> {
    macro_rules! build {
        ($builder:expr, $($pattern:pat => $value:expr),+) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    Cell::Null => builder.append_null(),
                    $($pattern => builder.append_value($value),)+
                    other => return Err(mismatch(field, other)),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match field.data_type() {
        DataType::Boolean => build!(BooleanBuilder::new(), Cell::Bool(value) => *value),
        DataType::Int16 => build!(Int16Builder::new(), Cell::Int(value) => narrow(field, *value)?),
        DataType::Int32 => build!(Int32Builder::new(), Cell::Int(value) => narrow(field, *value)?),
        DataType::Int64 => build!(Int64Builder::new(), Cell::Int(value) => *value),
        DataType::Float32 => build!(Float32Builder::new(), Cell::Float(value) => *value as f32),
        DataType::Float64 => build!(Float64Builder::new(), Cell::Float(value) => *value),
        DataType::Utf8 => build!(StringBuilder::new(), Cell::Text(value) => value),
        DataType::Timestamp(_, _) => build!(
            TimestampMicrosecondBuilder::new().with_data_type(field.data_type().clone()),
            Cell::Int(value) => *value
        ),
        DataType::Date32 => build!(Date32Builder::new(), Cell::Int(value) => narrow(field, *value)?),
        DataType::List(item) => list(field, item, cells)?,
        other if cells.iter().all(|cell| *cell == Cell::Null) => new_null_array(other, cells.len()),
        _ => return Err(mismatch(field, &cells[0])),
    })
}

fn list(field: &FieldRef, item: &FieldRef, cells: &[Cell]) -> Result<ArrayRef> {
    fn fill<B: ArrayBuilder>(
        field: &FieldRef,
        item: &FieldRef,
        cells: &[Cell],
        builder: B,
        mut put: impl FnMut(&mut B, &Cell) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut list = ListBuilder::new(builder).with_field(Arc::clone(item));
        for cell in cells {
            if *cell == Cell::Null {
                list.append_null();
            } else if put(list.values(), cell)? {
                list.append(true);
            } else {
                return Err(mismatch(field, cell));
            }
        }
        Ok(Arc::new(list.finish()))
    }
    macro_rules! ints {
        ($builder:ty) => {
            fill(field, item, cells, <$builder>::new(), |builder, cell| {
                let Cell::Ints(values) = cell else { return Ok(false) };
                for value in values {
                    builder.append_value(narrow(field, *value)?);
                }
                Ok(true)
            })
        };
    }
    match item.data_type() {
        DataType::Int16 => ints!(Int16Builder),
        DataType::Int32 => ints!(Int32Builder),
        DataType::Int64 => ints!(Int64Builder),
        DataType::Utf8 => fill(field, item, cells, StringBuilder::new(), |builder, cell| {
            match cell {
                Cell::Texts(values) => values.iter().for_each(|value| builder.append_value(value)),
                Cell::Ints(values) if values.is_empty() => {}
                _ => return Ok(false),
            }
            Ok(true)
        }),
        _ if cells.iter().all(|cell| *cell == Cell::Null) => Ok(new_null_array(field.data_type(), cells.len())),
        _ => Err(mismatch(field, &cells[0])),
    }
}

fn narrow<T: TryFrom<i64>>(field: &FieldRef, value: i64) -> Result<T> {
    T::try_from(value).map_err(|_| Error::internal(format!("{value} does not fit into system column {}", field.name())))
}

fn mismatch(field: &FieldRef, cell: &Cell) -> Error {
    Error::internal(format!("system column {} cannot hold {cell:?}", field.name()))
}
