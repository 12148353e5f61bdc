//! DESCRIBE and SHOW CREATE: what a relation, a child or a database is, as TDengine prints it.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType as Arrow, Field, Schema};
use model::catalog::{Database, View};
use model::schema::{Column, Relation, RelationKind, Table};
use model::{DataType, Error, Result, Value};

use super::names::quote_ident;

/// `field, type, length, note, encode, compress, level`, one row per column and tag. The tags of a child are its parent's.
///
/// # Errors
///
/// None that a caller can cause.
pub fn describe(table: &Table) -> Result<RecordBatch> {
    let relation = match table {
        Table::Relation(relation) => relation,
        Table::Child(child) => &child.parent,
    };
    let columns = relation.columns.iter().map(|column| (column, note(relation, column)));
    let all: Vec<_> = columns.chain(relation.tags.iter().map(|tag| (tag, "TAG"))).collect();
    let text = |of: &dyn Fn(&Column) -> Option<String>| {
        Arc::new(all.iter().map(|(column, _)| of(column)).collect::<StringArray>()) as ArrayRef
    };
    let lengths = all.iter().map(|(column, _)| i32::try_from(column.data_type.length()).ok());
    let notes: StringArray = all.iter().map(|(_, note)| Some(*note)).collect();
    let series = relation.is_time_series();
    let or = |given: &Option<String>, column: &Column, default: fn(DataType) -> &'static str| {
        let is_tag = relation.tags.iter().any(|tag| tag.id == column.id);
        given.clone().or_else(|| (series && !is_tag).then(|| default(column.data_type).to_owned()))
    };
    let arrays = vec![
        text(&|column| Some(column.name.clone())),
        text(&|column| Some(column.data_type.name().to_owned())),
        Arc::new(lengths.collect::<Int32Array>()) as ArrayRef,
        Arc::new(notes) as ArrayRef,
        text(&|column| or(&column.compression.encode, column, default_encode)),
        text(&|column| or(&column.compression.compress, column, |_| "lz4")),
        text(&|column| or(&column.compression.level, column, |_| "medium")),
    ];
    let names = ["field", "type", "length", "note", "encode", "compress", "level"];
    let fields = names.iter().zip(&arrays).map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), arrays).map_err(Error::internal)
}

fn note(relation: &Relation, column: &Column) -> &'static str {
    if relation.primary_key.contains(&column.id) { "PRIMARY KEY" } else { "" }
}

/// The encoding that TDengine shows for a column that asks for none.
fn default_encode(of: DataType) -> &'static str {
    match of {
        DataType::Timestamp | DataType::BigInt | DataType::UBigInt => "delta-i",
        DataType::Bool => "bit-packing",
        DataType::Float | DataType::Double => "delta-d",
        of if of.is_text() => "disabled",
        DataType::Varbinary(_) | DataType::Geometry(_) | DataType::Decimal(..) => "disabled",
        _ => "simple8b",
    }
}

/// SHOW CREATE TABLE: one row of `Table` and `Create Table`.
///
/// # Errors
///
/// None that a caller can cause.
pub fn show_create_table(table: &Table) -> Result<RecordBatch> {
    let (name, text) = match table {
        Table::Relation(relation) => (&relation.name, create_relation(relation)),
        Table::Child(child) => {
            let tags: Vec<_> = child.parent.tags.iter().map(|tag| quote_ident(&tag.name)).collect();
            let pairs = child.parent.tags.iter().zip(&child.tags);
            let values: Vec<_> = pairs.map(|(tag, value)| literal(tag.data_type, value)).collect();
            let text = format!(
                "CREATE TABLE {} USING {} ({}) TAGS ({})",
                quote_ident(&child.name),
                quote_ident(&child.parent.name),
                tags.join(", "),
                values.join(", ")
            );
            (&child.name, text)
        }
    };
    pair("Table", "Create Table", name, text)
}

/// SHOW CREATE DATABASE: one row of `Database` and `Create Database`.
///
/// # Errors
///
/// None that a caller can cause.
pub fn show_create_database(database: &Database) -> Result<RecordBatch> {
    let of = &database.options;
    let keep = of.keep_minutes.map(|n| format!("{n}m")).join(",");
    let mut text = format!(
        "CREATE DATABASE {} BUFFER {} CACHESIZE {} CACHEMODEL '{}' COMP {} DURATION {}m WAL_FSYNC_PERIOD {} MAXROWS {} \
         MINROWS {} STT_TRIGGER {} KEEP {keep} PAGES {} PAGESIZE {} PRECISION '{}' REPLICA {} WAL_LEVEL {} VGROUPS {} \
         SINGLE_STABLE {} WAL_RETENTION_PERIOD {} WAL_RETENTION_SIZE {}",
        quote_ident(&database.name),
        of.buffer_mb,
        of.cachesize_mb,
        of.cachemodel.name(),
        of.comp,
        of.duration_minutes,
        of.wal_fsync_period_ms,
        of.maxrows,
        of.minrows,
        of.stt_trigger,
        of.pages,
        of.pagesize_kb,
        of.precision.name(),
        of.replica,
        of.wal_level,
        of.vgroups,
        u8::from(of.single_stable),
        of.wal_retention_period_s,
        of.wal_retention_size_kb,
    );
    if let Some(comment) = &of.comment {
        let _ = write!(text, " COMMENT {}", quote_literal(comment));
    }
    pair("Database", "Create Database", &database.name, text)
}

/// SHOW CREATE VIEW: one row of `View` and `Create View`.
///
/// # Errors
///
/// None that a caller can cause.
pub fn show_create_view(view: &View) -> Result<RecordBatch> {
    pair("View", "Create View", &view.name, format!("CREATE VIEW {} AS {}", quote_ident(&view.name), view.query))
}

fn pair(first: &str, second: &str, name: &str, text: String) -> Result<RecordBatch> {
    let fields = [first, second].map(|name| Field::new(name, Arrow::Utf8, false));
    let arrays: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![name])), Arc::new(StringArray::from(vec![text]))];
    RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), arrays).map_err(Error::internal)
}

fn create_relation(relation: &Relation) -> String {
    let word = if relation.kind == RelationKind::Super { "STABLE" } else { "TABLE" };
    let mut columns: Vec<_> = relation.columns.iter().map(|column| create_column(relation, column)).collect();
    if relation.kind == RelationKind::Plain && !relation.primary_key.is_empty() {
        let of = |id| relation.columns.iter().find(|column| column.id == id);
        let keys: Vec<_> =
            relation.primary_key.iter().filter_map(|id| of(*id)).map(|of| quote_ident(&of.name)).collect();
        columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    }
    let mut text = format!("CREATE {word} {} ({})", quote_ident(&relation.name), columns.join(", "));
    if !relation.tags.is_empty() {
        let tags: Vec<_> = relation.tags.iter().map(|tag| create_column(relation, tag)).collect();
        let _ = write!(text, " TAGS ({})", tags.join(", "));
    }
    let first_is_time = relation.columns.first().is_some_and(|of| of.data_type == DataType::Timestamp);
    if relation.kind == RelationKind::Plain && relation.primary_key.is_empty() && first_is_time {
        text.push_str(" WITH (kind = 'plain')");
    }
    if let Some(comment) = &relation.comment {
        let _ = write!(text, " COMMENT {}", quote_literal(comment));
    }
    text
}

fn create_column(relation: &Relation, column: &Column) -> String {
    let mut text = format!("{} {}", quote_ident(&column.name), column.data_type);
    let of = &column.compression;
    for (word, given) in [("ENCODE", &of.encode), ("COMPRESS", &of.compress), ("LEVEL", &of.level)] {
        if let Some(given) = given {
            let _ = write!(text, " {word} {}", quote_literal(given));
        }
    }
    if relation.is_time_series() {
        if column.id != model::ColumnId::KEY && relation.primary_key.contains(&column.id) {
            text.push_str(" PRIMARY KEY");
        }
    } else if !column.nullable && !relation.primary_key.contains(&column.id) {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        let _ = write!(text, " DEFAULT {default}");
    }
    text
}

/// Text as an SQL literal.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A tag's value as TAGS takes it.
fn literal(of: DataType, value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Decimal(digits) => match of {
            DataType::Decimal(_, scale) if scale > 0 => decimal(*digits, scale),
            _ => digits.to_string(),
        },
        Value::Text(text) => quote_literal(text),
        Value::Bytes(bytes) => {
            let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            format!("'\\x{hex}'")
        }
    }
}

fn decimal(digits: i128, scale: i8) -> String {
    let scale = usize::from(scale.unsigned_abs());
    let text = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, rest) = text.split_at(text.len() - scale);
    format!("{}{whole}.{rest}", if digits < 0 { "-" } else { "" })
}
