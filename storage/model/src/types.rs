//! Column types: TDengine's, and the few more that plain tables of PostgreSQL users need.
//!
//! Ranges and literals are TDengine's. In memory and between rooms every column is an Arrow array of
//! [`DataType::arrow`].

use std::sync::Arc;

use arrow::datatypes::DataType as Arrow;
use serde::{Deserialize, Serialize};

use crate::time::Precision;

/// The type of a column or tag. Lengths of strings are in bytes for VARCHAR and VARBINARY, in characters for NCHAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// `TIMESTAMP`: ticks in the database's precision.
    Timestamp,
    /// `BOOL`.
    Bool,
    /// `TINYINT`.
    TinyInt,
    /// `SMALLINT`.
    SmallInt,
    /// `INT`.
    Int,
    /// `BIGINT`.
    BigInt,
    /// `TINYINT UNSIGNED`.
    UTinyInt,
    /// `SMALLINT UNSIGNED`.
    USmallInt,
    /// `INT UNSIGNED`.
    UInt,
    /// `BIGINT UNSIGNED`.
    UBigInt,
    /// `FLOAT`: 4 bytes.
    Float,
    /// `DOUBLE`: 8 bytes.
    Double,
    /// `VARCHAR(n)` and `BINARY(n)`: text of at most n bytes.
    Varchar(u32),
    /// `NCHAR(n)`: text of at most n characters.
    NChar(u32),
    /// `VARBINARY(n)`: at most n bytes.
    Varbinary(u32),
    /// `GEOMETRY(n)`: well-known binary of at most n bytes, kept as bytes.
    Geometry(u32),
    /// `JSON`: as a tag, and as a column of a plain table.
    Json,
    /// `DECIMAL(precision, scale)`: at most 38 digits.
    Decimal(u8, i8),
    /// PostgreSQL's `text`: no length. Plain tables, and `VARCHAR` without a length.
    Text,
    /// PostgreSQL's `date`. Plain tables.
    Date,
}

impl DataType {
    /// The Arrow type that arrays of this column have.
    #[must_use]
    pub fn arrow(self, precision: Precision) -> Arrow {
        match self {
            Self::Timestamp => Arrow::Timestamp(precision.unit(), Some(Arc::from("UTC"))),
            Self::Bool => Arrow::Boolean,
            Self::TinyInt => Arrow::Int8,
            Self::SmallInt => Arrow::Int16,
            Self::Int => Arrow::Int32,
            Self::BigInt => Arrow::Int64,
            Self::UTinyInt => Arrow::UInt8,
            Self::USmallInt => Arrow::UInt16,
            Self::UInt => Arrow::UInt32,
            Self::UBigInt => Arrow::UInt64,
            Self::Float => Arrow::Float32,
            Self::Double => Arrow::Float64,
            Self::Varchar(_) | Self::NChar(_) | Self::Json | Self::Text => Arrow::Utf8,
            Self::Varbinary(_) | Self::Geometry(_) => Arrow::Binary,
            Self::Decimal(precision, scale) => Arrow::Decimal128(precision, scale),
            Self::Date => Arrow::Date32,
        }
    }

    /// As DESCRIBE and `ins_columns` print it, without the length.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "TIMESTAMP",
            Self::Bool => "BOOL",
            Self::TinyInt => "TINYINT",
            Self::SmallInt => "SMALLINT",
            Self::Int => "INT",
            Self::BigInt => "BIGINT",
            Self::UTinyInt => "TINYINT UNSIGNED",
            Self::USmallInt => "SMALLINT UNSIGNED",
            Self::UInt => "INT UNSIGNED",
            Self::UBigInt => "BIGINT UNSIGNED",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::Varchar(_) => "VARCHAR",
            Self::NChar(_) => "NCHAR",
            Self::Varbinary(_) => "VARBINARY",
            Self::Geometry(_) => "GEOMETRY",
            Self::Json => "JSON",
            Self::Decimal(..) => "DECIMAL",
            Self::Text => "TEXT",
            Self::Date => "DATE",
        }
    }

    /// The length that DESCRIBE prints: bytes of a fixed type, declared length of a string.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Bool | Self::TinyInt | Self::UTinyInt => 1,
            Self::SmallInt | Self::USmallInt => 2,
            Self::Int | Self::UInt | Self::Float | Self::Date => 4,
            Self::Timestamp | Self::BigInt | Self::UBigInt | Self::Double => 8,
            Self::Varchar(n) | Self::NChar(n) | Self::Varbinary(n) | Self::Geometry(n) => n,
            Self::Json => 4095,
            Self::Decimal(precision, _) => {
                if precision <= 18 {
                    8
                } else {
                    16
                }
            }
            Self::Text => 0,
        }
    }

    /// Whether values are text.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Varchar(_) | Self::NChar(_) | Self::Json | Self::Text)
    }

    /// Whether values are floats.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }
}

impl std::fmt::Display for DataType {
    /// As CREATE TABLE takes it: `VARCHAR(16)`, `DECIMAL(10,2)`, `INT UNSIGNED`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Varchar(n) | Self::NChar(n) | Self::Varbinary(n) | Self::Geometry(n) => {
                write!(f, "{}({n})", self.name())
            }
            Self::Decimal(precision, scale) => write!(f, "DECIMAL({precision},{scale})"),
            _ => f.write_str(self.name()),
        }
    }
}

/// One value outside a column: a tag, a default, a bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// Any signed integer; ticks of a timestamp; days of a date.
    Int(i64),
    /// Any unsigned integer.
    UInt(u64),
    /// FLOAT (widened) or DOUBLE.
    Float(f64),
    /// The unscaled digits of a DECIMAL.
    Decimal(i128),
    /// Text of any kind.
    Text(String),
    /// Bytes of any kind.
    Bytes(Vec<u8>),
}
