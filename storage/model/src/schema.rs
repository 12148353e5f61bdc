//! What a relation looks like: its kind, its columns and its tags.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error;
use crate::error::Result;
use crate::id::{ColumnId, Suid};
use crate::types::DataType;

/// The four kinds of table of the design. Children are rows of a super table's vgroups, not relations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RelationKind {
    /// `CREATE STABLE`: schema and tags, shared by its child tables.
    Super,
    /// A time series of its own, without tags. Its first column is the key.
    Normal,
    /// An ordinary relational table: the key is a hidden row id.
    Plain,
}

/// One column or tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Stable for the life of the relation.
    pub id: ColumnId,
    /// As stored: folded to lower case unless it was quoted.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// False for the key of a time series and for `NOT NULL` and `PRIMARY KEY` columns.
    pub nullable: bool,
    /// The expression of `DEFAULT`, as SQL text. Plain tables.
    pub default: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// `ENCODE`, `COMPRESS`, `LEVEL` as given, empty for the defaults.
    pub compression: Compression,
}

/// How a column asks to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// `ENCODE 'x'`.
    pub encode: Option<String>,
    /// `COMPRESS 'x'`.
    pub compress: Option<String>,
    /// `LEVEL 'x'`.
    pub level: Option<String>,
}

impl Compression {
    /// What is not said here is as it was before.
    #[must_use]
    pub fn over(self, before: &Self) -> Self {
        Self {
            encode: self.encode.or_else(|| before.encode.clone()),
            compress: self.compress.or_else(|| before.compress.clone()),
            level: self.level.or_else(|| before.level.clone()),
        }
    }

    /// Whether a column of this type can be stored so, by TDengine's table of types.
    ///
    /// # Errors
    ///
    /// 22023, saying what the type takes.
    pub fn check(&self, column: &str, data_type: DataType) -> Result<()> {
        let (encodes, compresses) = Self::choices(data_type);
        for (word, given, valid) in [
            ("ENCODE", &self.encode, encodes),
            ("COMPRESS", &self.compress, compresses),
            ("LEVEL", &self.level, LEVELS),
        ] {
            let Some(given) = given.as_deref().filter(|given| !valid.contains(given)) else { continue };
            let valid: Vec<String> = valid.iter().map(|value| format!("'{value}'")).collect();
            return Err(error!(InvalidParameterValue, "{word} '{given}' cannot be used for column \"{column}\"")
                .with_detail(format!("The column is of type {data_type}."))
                .with_hint(format!("{data_type} takes {word} {}", valid.join(" or "))));
        }
        Ok(())
    }

    /// What `ENCODE` and `COMPRESS` a type takes, the usual one first.
    #[must_use]
    pub const fn choices(data_type: DataType) -> (&'static [&'static str], &'static [&'static str]) {
        let general: &[&str] = &["lz4", "zlib", "zstd", "xz", "disabled"];
        match data_type {
            DataType::Timestamp | DataType::BigInt | DataType::UBigInt => {
                (&["delta-i", "simple8b", "disabled"], general)
            }
            DataType::TinyInt | DataType::SmallInt | DataType::Int | DataType::Date => {
                (&["simple8b", "disabled"], general)
            }
            DataType::UTinyInt | DataType::USmallInt | DataType::UInt => (&["simple8b", "disabled"], general),
            DataType::Float | DataType::Double => {
                (&["delta-d", "disabled"], &["lz4", "zlib", "zstd", "xz", "tsz", "disabled"])
            }
            DataType::Bool => (&["bit-packing", "disabled"], general),
            DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Text => (&["disabled"], general),
            DataType::Varbinary(_) | DataType::Geometry(_) | DataType::Decimal(..) => (&["disabled"], general),
        }
    }
}

/// What `LEVEL` takes, the usual one first.
const LEVELS: &[&str] = &["medium", "low", "high", "disabled"];

impl Column {
    /// A nullable column without a default.
    #[must_use]
    pub fn new(id: ColumnId, name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            id,
            name: name.into(),
            data_type,
            nullable: true,
            default: None,
            comment: None,
            compression: Compression::default(),
        }
    }
}

/// A relation as the mnode group knows it.
///
/// Of a time series the first column is the key (`TIMESTAMP`, id [`ColumnId::KEY`]). Of a plain table no column has
/// that id: the key is a hidden row id that grows with every insert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// Its id, unique in the cluster.
    pub suid: Suid,
    /// As stored: folded to lower case unless it was quoted.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Grows with every ALTER.
    pub version: u32,
    /// Columns in order, the key first.
    pub columns: Vec<Column>,
    /// Tags in order; empty unless `kind` is [`RelationKind::Super`].
    pub tags: Vec<Column>,
    /// The id that the next added column or tag gets.
    pub next_column: ColumnId,
    /// `PRIMARY KEY` columns of a plain table, or the composite key of a time series; empty otherwise.
    pub primary_key: Vec<ColumnId>,
    /// `WITH (kind = …)`, `COMMENT`, `TTL` and the like.
    pub comment: Option<String>,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    /// Milliseconds since the epoch of the last ALTER.
    pub altered_ms: i64,
}

impl Relation {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The tag of this name.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&Column> {
        self.tags.iter().find(|tag| tag.name == name)
    }

    /// Whether rows are keyed by time.
    #[must_use]
    pub fn is_time_series(&self) -> bool {
        self.kind != RelationKind::Plain
    }
}

/// What a bare table name means inside a database.
#[derive(Clone, Debug)]
pub enum Table {
    /// A super, normal or plain table.
    Relation(Arc<Relation>),
    /// A child table of a super table.
    Child(ChildTable),
}

/// A child table as its vgroup knows it.
#[derive(Clone, Debug)]
pub struct ChildTable {
    /// Its super table.
    pub parent: Arc<Relation>,
    /// Its name.
    pub name: String,
    /// Unique in the cluster.
    pub uid: u64,
    /// Where it lives.
    pub vgroup: crate::id::VgroupId,
    /// One value per tag of the super table, in order.
    pub tags: Vec<crate::types::Value>,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}
