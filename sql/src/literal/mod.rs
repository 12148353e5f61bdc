//! Text and binary values into typed columns, for INSERT and COPY alike.
//!
//! [`ColumnBuilder`] takes one value after another and ends as an Arrow array of [`DataType::arrow`]. Ranges are
//! checked, strings are never cut, and numbers are read without allocating. Start reading at [`ColumnBuilder::append`].

mod binary;
mod builder;
mod number;
mod time;

use model::{DataType, Precision, Result, Value};

use crate::pgvalue::TimeZone;

pub(crate) use binary::timestamp as binary_timestamp;
pub use builder::ColumnBuilder;
pub(crate) use builder::leading_integer;
pub(crate) use time::{now, timestamp, today};

/// What reading a value depends on besides its type.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The session's TimeZone: for times without a zone.
    pub timezone: TimeZone,
    /// The statement's time: nanoseconds since the epoch.
    pub now_nanos: i64,
}

/// One value as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Literal<'a> {
    /// NULL.
    Null,
    /// Left out: the row keeps what it has.
    Absent,
    /// A string literal, a COPY field or a parameter in text format: the column's type decides what it means.
    Text(&'a str),
    /// A number as it stands in SQL, with its sign.
    Number(&'a str),
    /// TRUE or FALSE.
    Bool(bool),
    /// A time in ticks of the database's precision.
    Ticks(i64),
    /// PostgreSQL's binary format of the column's type.
    Binary(&'a [u8]),
    /// A value of the column's type.
    Value(&'a Value),
}

/// Reads one value: a tag, a default, a bound.
///
/// # Errors
///
/// As [`ColumnBuilder::append`].
pub fn value(literal: Literal<'_>, data_type: DataType, precision: Precision, reading: &Reading) -> Result<Value> {
    let mut builder = ColumnBuilder::new(data_type, precision);
    builder.append(literal, reading)?;
    Ok(builder.value(0))
}

/// PostgreSQL's name of a type, for messages.
#[must_use]
pub const fn pg_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Timestamp => "timestamp with time zone",
        DataType::Bool => "boolean",
        DataType::TinyInt => "tinyint",
        DataType::SmallInt => "smallint",
        DataType::Int => "integer",
        DataType::BigInt => "bigint",
        DataType::UTinyInt => "tinyint unsigned",
        DataType::USmallInt => "smallint unsigned",
        DataType::UInt => "integer unsigned",
        DataType::UBigInt => "bigint unsigned",
        DataType::Float => "real",
        DataType::Double => "double precision",
        DataType::Varchar(_) => "character varying",
        DataType::NChar(_) => "nchar",
        DataType::Varbinary(_) | DataType::Geometry(_) => "bytea",
        DataType::Json => "json",
        DataType::Decimal(..) => "numeric",
        DataType::Text => "text",
        DataType::Date => "date",
    }
}

/// The part of a value that a message shows.
fn shown(text: &str) -> String {
    crate::parser::excerpt(text)
}
