//! What a query asks of one vgroup.

use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType as Arrow, Field, Schema, SchemaRef};
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::aggregate::AggregateRequest;
use crate::error::Result;
use crate::id::{ColumnId, Sid};
use crate::options::CacheModel;
use crate::schema::Relation;
use crate::time::{Precision, TimeRange};
use crate::types::Value;
use crate::write::Overlay;

/// Batches, in order, until the end or the first error. Dropping it stops the work behind it.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// What to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ScanRequest {
    /// Rows.
    Rows(RowsRequest),
    /// One row per table: [`TagsRequest::schema`].
    Tags(TagsRequest),
    /// The newest row of each table, or the newest value of each column: like [`ScanRequest::Rows`] with one row per series.
    LastValues(LastValuesRequest),
    /// One row: [`statistics_schema`].
    Statistics(StatisticsRequest),
    /// Groups of rows: [`AggregateRequest::schema`].
    Aggregate(AggregateRequest),
}

/// Which tables of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Series {
    /// Every one.
    All,
    /// These, by the sids that a tags scan of the same vgroup gave; ascending, each once.
    Sids(Arc<[Sid]>),
    /// These, by name; names that are not there are passed over.
    Named(Arc<[String]>),
}

/// A read of rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowsRequest {
    /// The relation as the session sees it.
    pub relation: Arc<Relation>,
    /// Length of a tick.
    pub precision: Precision,
    /// What each output row is made of, in order.
    pub output: Vec<Output>,
    /// Which tables.
    pub series: Series,
    /// Which keys.
    pub range: TimeRange,
    /// Every row that satisfies all of these must come; rows that do not may come too.
    pub filters: Vec<ColumnFilter>,
    /// Exact: a row that fails one of these does not come. Only of columns whose type [`crate::aggregate::is_exact`]
    /// names, and not of the key. NaN is greater than every number.
    pub conditions: Vec<ColumnFilter>,
    /// The order in which rows must come.
    pub order: Order,
    /// No more rows than this are needed, counted after `series`, `range`, `conditions` and `order` (`filters` are not
    /// counted upon).
    pub limit: Option<usize>,
    /// Changes that are not written yet but must be seen, oldest first; they are newer than anything stored. It holds
    /// arrays: whoever sends a request elsewhere sends it beside.
    #[serde(skip)]
    pub overlay: Overlay,
    /// Which newest values the vgroup may keep in memory to answer from.
    pub cachemodel: CacheModel,
}

/// One output column of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Output {
    /// A column, [`ColumnId::KEY`] for the time. Columns that a block lacks are null.
    Column(ColumnId),
    /// A tag of the row's table.
    Tag(ColumnId),
    /// The name of the row's table.
    TableName,
    /// The sid of the row's table, as UInt32.
    Sid,
}

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Any.
    Any,
    /// By sid, then by key ascending.
    SeriesTime,
    /// By key ascending, over all series.
    TimeAscending,
    /// By key descending, over all series.
    TimeDescending,
}

/// A bound on one column: `min <= value <= max`, NULL never satisfies it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnFilter {
    /// Which column.
    pub column: ColumnId,
    /// Least value.
    pub min: Option<Value>,
    /// Greatest value.
    pub max: Option<Value>,
}

/// A read of tables and their tags.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TagsRequest {
    /// The relation.
    pub relation: Arc<Relation>,
    /// Length of a tick.
    pub precision: Precision,
    /// Which tags, in order.
    pub tags: Vec<ColumnId>,
    /// Which tables.
    pub series: Series,
    /// Of what is no tag only the sid.
    pub bare: bool,
}

/// A read of newest rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LastValuesRequest {
    /// As for rows; `range` bounds the keys, `filters`, `conditions`, `order` and `limit` are not used.
    pub rows: RowsRequest,
    /// True: for each column its newest non-null value, each from the row where it stands. False: the newest row.
    pub per_column: bool,
}

/// A read of counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatisticsRequest {
    /// The relation.
    pub relation: Arc<Relation>,
}

impl TagsRequest {
    /// `_sid UInt32, tbname Utf8, _uid Int64, _created_ms Int64`, of a bare request only the first, then the tags, whose
    /// names may be anything but these.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let mut fields = vec![
            Field::new("_sid", Arrow::UInt32, false),
            Field::new("tbname", Arrow::Utf8, false),
            Field::new("_uid", Arrow::Int64, false),
            Field::new("_created_ms", Arrow::Int64, false),
        ];
        if self.bare {
            fields.truncate(1);
        }
        for id in &self.tags {
            if let Some(tag) = self.relation.tags.iter().find(|tag| tag.id == *id) {
                fields.push(Field::new(&tag.name, tag.data_type.arrow(self.precision), true));
            }
        }
        Arc::new(Schema::new(fields))
    }
}

impl RowsRequest {
    /// The schema of the batches. Every column but the key, the name and the sid is nullable.
    ///
    /// # Panics
    ///
    /// If `output` names a column or tag that the relation lacks: the planner made both.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        let field = |output: &Output| match output {
            Output::Column(id) => {
                let of = |column: &&crate::schema::Column| column.id == *id;
                match self.relation.columns.iter().find(of) {
                    Some(column) => {
                        Field::new(&column.name, column.data_type.arrow(self.precision), *id != ColumnId::KEY)
                    }
                    None if *id == ColumnId::KEY => Field::new("_rowid", Arrow::Int64, false),
                    None => panic!("{} has no column {id}", self.relation.name),
                }
            }
            Output::Tag(id) => {
                let of = |tag: &&crate::schema::Column| tag.id == *id;
                let tag = self.relation.tags.iter().find(of).expect("the planner takes tags from the relation");
                Field::new(&tag.name, tag.data_type.arrow(self.precision), true)
            }
            Output::TableName => Field::new("tbname", Arrow::Utf8, false),
            Output::Sid => Field::new("_sid", Arrow::UInt32, false),
        };
        Arc::new(Schema::new(self.output.iter().map(field).collect::<Vec<_>>()))
    }
}

/// `tables Int64` (series of the relation), `rows Int64` (stored, an upper bound where updates or deletes wait for a merge),
/// `bytes Int64` (on disk).
#[must_use]
pub fn statistics_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("tables", Arrow::Int64, false),
        Field::new("rows", Arrow::Int64, false),
        Field::new("bytes", Arrow::Int64, false),
    ]))
}
