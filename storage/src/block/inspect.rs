//! A block printed for people.

use std::fmt::Write;

use model::Value;

use crate::Corrupt;
use crate::block::{ColumnMeta, Header, KEYS_CHUNK, Statistics, Sum};
use crate::codec;

/// A dump of a block for people: header, statistics, and how each column is encoded.
///
/// `chunks` may be empty; then only the header is shown.
///
/// # Errors
///
/// If the bytes are not a block.
pub fn inspect(header: &[u8], chunks: &[Vec<u8>]) -> Result<String, Corrupt> {
    let bytes = header.len();
    let header = Header::decode(header)?;
    let mut out = String::new();
    let series = header.directory.len();
    let (low, high) = (header.sid_min(), header.sid_max());
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "block of {}: {} rows, {series} series {low}..={high}, precision {}",
        header.suid,
        header.rows,
        header.precision.name()
    );
    let _ = writeln!(out, "header {bytes}B, chunks {}", header.chunks);
    let _ = write!(out, "keys {}..={} in chunk {KEYS_CHUNK}", header.key_min, header.key_max);
    if let Some(chunk) = chunks.first() {
        let keys = header.keys.of(chunk)?;
        let described = codec::describe_column(keys, model::DataType::BigInt, header.rows)?;
        let _ = write!(out, ": {}", described.join(", "));
    }
    let _ = writeln!(out);
    let _ = writeln!(out, "versions {}..={}", header.version_min, header.version_max);
    for column in &header.columns {
        let _ = write!(out, "{} {} in chunk {}", column.id, column.data_type, column.chunk());
        if let Some(chunk) = chunks.get(usize::from(column.chunk())) {
            let _ = write!(out, ": {}", describe(&header, column, chunk)?);
        }
        let _ = writeln!(out, "\n   {}", statistics(&column.statistics));
    }
    Ok(out)
}

fn describe(header: &Header, column: &ColumnMeta, chunk: &[u8]) -> Result<String, Corrupt> {
    let bytes = column.place.of(chunk)?;
    Ok(codec::describe_column(bytes, column.data_type, header.rows)?.join(", "))
}

fn statistics(statistics: &Statistics) -> String {
    let mut out = format!("values {} nulls {} absent {}", statistics.count, statistics.nulls, statistics.absent);
    if statistics.nan {
        out.push_str(" NaN");
    }
    let mut field = |name: &str, value: &Option<Value>| {
        if let Some(value) = value {
            let _ = write!(out, " {name} {}", show(value));
        }
    };
    field("min", &statistics.min);
    field("max", &statistics.max);
    field("first", &statistics.first);
    field("last", &statistics.last);
    match statistics.sum {
        None => {}
        Some(Sum::Int(sum)) => {
            let _ = write!(out, " sum {sum}");
        }
        Some(Sum::Float(sum)) => {
            let _ = write!(out, " sum {}", sum.value());
        }
    }
    out
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Decimal(value) => value.to_string(),
        Value::Text(value) => format!("{value:?}"),
        Value::Bytes(value) => format!("{} bytes", value.len()),
    }
}
