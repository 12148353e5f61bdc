//! Our tables as DataFusion sees them: [`RelationTable`], whose scans go to the vgroups that have the rows.
//!
//! The schema of a time series is its columns, its tags, and a hidden `tbname`; of a plain table its columns and a
//! hidden `_rowid`. A child table is its super table restricted to one name.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, BooleanArray, UInt32Array};
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::cast::{as_boolean_array, as_uint32_array};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use futures::TryStreamExt;
use model::catalog::{Catalog, Database};
use model::scan::{ColumnFilter, Order, Output, RowsRequest, ScanRequest, Series, TagsRequest};
use model::schema::{Column, Relation, RelationKind};
use model::write::Overlay;
use model::{ColumnId, DataPlane, DataType, Precision, Sid, TimeRange, VgroupId};

use super::error::to_datafusion;
use super::filter::{Pushed, classify};
use crate::exec::scan::VgroupScanExec;
use crate::pgtype::{PG_OID, PG_TYPMOD, PgType};

/// Tables that a narrow scan reads at most.
const NARROW_TABLES_MAX: usize = 16;

/// Metadata key of an Arrow field: the oid of the table that it is a column of.
pub const TABLE_OID: &str = "pg.table";
/// Metadata key of an Arrow field: its number in that table, starting at 1.
pub const ATTNUM: &str = "pg.attnum";

/// One relation, or one child of it, in one statement.
pub struct RelationTable {
    plane: Arc<dyn DataPlane>,
    relation: Arc<Relation>,
    precision: Precision,
    /// One table only: a child, or the series of a normal or plain table.
    only: Option<String>,
    /// One row per table, from tags alone.
    tags_only: bool,
    /// The vgroups that have tables of it, with a function from a name to one of them.
    catalog: Arc<Catalog>,
    database: Arc<Database>,
    /// Microseconds since the epoch, for KEEP, where a scan is not told when its statement began.
    now_us: i64,
    overlay: Overlay,
    /// Whether vgroups decide conditions on numbers.
    decides: bool,
    schema: SchemaRef,
    outputs: Vec<Output>,
}

/// Where a [`RelationTable`] comes from.
pub struct TableOrigin<'a> {
    /// The cluster.
    pub plane: &'a Arc<dyn DataPlane>,
    /// The metadata that the statement is planned on.
    pub catalog: &'a Arc<Catalog>,
    /// The relation's database.
    pub database: &'a Arc<Database>,
    /// The relation.
    pub relation: &'a Arc<Relation>,
    /// The name of the child, if it is one.
    pub child: Option<&'a str>,
    /// What `pg_class` says of it.
    pub oid: u32,
    /// Microseconds since the epoch, for KEEP.
    pub now_us: i64,
    /// What the transaction holds.
    pub overlay: Overlay,
    /// Whether vgroups decide conditions on numbers.
    pub decides: bool,
}

impl RelationTable {
    /// The table.
    #[must_use]
    pub fn new(origin: TableOrigin<'_>) -> Self {
        let relation = origin.relation;
        let precision = origin.database.options.precision;
        let mut fields = Vec::new();
        let mut outputs = Vec::new();
        for (at, column) in relation.columns.iter().enumerate() {
            fields.push(field(column, precision, origin.oid, at + 1, column.id != ColumnId::KEY && column.nullable));
            outputs.push(Output::Column(column.id));
        }
        for (at, tag) in relation.tags.iter().enumerate() {
            fields.push(field(tag, precision, origin.oid, relation.columns.len() + at + 1, true));
            outputs.push(Output::Tag(tag.id));
        }
        if relation.is_time_series() {
            fields.push(Field::new("tbname", DataType::Text.arrow(precision), false));
            outputs.push(Output::TableName);
        } else {
            fields.push(Field::new("_rowid", DataType::BigInt.arrow(precision), false));
            outputs.push(Output::Column(ColumnId::KEY));
        }
        let single = (relation.kind != RelationKind::Super).then_some(relation.name.as_str());
        Self {
            plane: Arc::clone(origin.plane),
            relation: Arc::clone(relation),
            precision,
            only: origin.child.or(single).map(str::to_owned),
            tags_only: false,
            catalog: Arc::clone(origin.catalog),
            database: Arc::clone(origin.database),
            now_us: origin.now_us,
            overlay: origin.overlay,
            decides: origin.decides,
            schema: Arc::new(Schema::new(fields)),
            outputs,
        }
    }

    /// The same table with one row per child instead of one per stored row: only tags and `tbname` may be asked for.
    #[must_use]
    pub fn with_tags_only(mut self) -> Self {
        self.tags_only = true;
        self
    }

    /// Whether these filters leave so few tables that one thread reads them sooner than several.
    #[must_use]
    pub fn is_narrow(&self, filters: &[Expr]) -> bool {
        self.chosen(filters, self.now_us).names.is_some_and(|names| names.len() <= NARROW_TABLES_MAX)
    }

    /// Whether these filters and the others are the same to a scan.
    pub(super) fn reads_alike(&self, filters: &[Expr], others: &[Expr]) -> bool {
        self.chosen(filters, self.now_us) == self.chosen(others, self.now_us)
    }

    /// Whether a condition says no more than where and when a scan reads.
    pub(super) fn is_of_places(&self, filter: &Expr) -> bool {
        matches!(classify(filter, &self.relation, self.precision), Pushed::Range(_) | Pushed::Names(_) | Pushed::Tags)
    }

    /// Whether a condition is to a scan with these values what it was taken for without them.
    pub(super) fn is_as_planned(&self, planned: &Expr, bound: &Expr) -> bool {
        let of = |filter| std::mem::discriminant(&classify(filter, &self.relation, self.precision));
        of(planned) == of(bound)
    }

    /// Whether it gives stored rows, and no more than those.
    pub(super) fn is_of_rows(&self) -> bool {
        !self.tags_only && self.overlay.is_empty()
    }

    /// Where a scan with these filters that begins at `now_us` reads, and when; None if nowhere. The conditions on
    /// columns that a scan makes use of are left out.
    pub(super) async fn places(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        now_us: i64,
    ) -> Result<Option<(Vec<(VgroupId, Series)>, TimeRange)>> {
        let chosen = self.chosen(filters, now_us);
        if chosen.range.is_empty() {
            return Ok(None);
        }
        let targets = self.targets(state, chosen.names, chosen.tags).await?;
        Ok((!targets.is_empty()).then_some((targets, chosen.range)))
    }

    /// Vgroups and tables to read. `names` restricts them, `predicates` chooses among them by their tags.
    async fn targets(
        &self,
        state: &dyn Session,
        names: Option<Vec<String>>,
        predicates: Vec<Expr>,
    ) -> Result<Vec<(VgroupId, Series)>> {
        let mut targets: Vec<(VgroupId, Series)> = match names {
            None => self.database.vgroups.iter().map(|vgroup| (*vgroup, Series::All)).collect(),
            Some(names) => {
                let mut per_vgroup = std::collections::BTreeMap::<VgroupId, Vec<String>>::new();
                for name in names {
                    per_vgroup.entry(self.catalog.vgroup_of(&self.database, &name).id).or_default().push(name);
                }
                per_vgroup.into_iter().map(|(vgroup, names)| (vgroup, Series::Named(names.into()))).collect()
            }
        };
        if let Some(predicate) = conjunction(predicates) {
            let chosen = targets.into_iter().map(|(vgroup, series)| self.choose(state, vgroup, series, &predicate));
            targets = futures::future::try_join_all(chosen).await?;
            targets.retain(|(_, series)| !matches!(series, Series::Sids(sids) if sids.is_empty()));
        }
        Ok(targets)
    }

    /// The tables of one vgroup whose tags satisfy `predicate`.
    async fn choose(
        &self,
        state: &dyn Session,
        vgroup: VgroupId,
        series: Series,
        predicate: &Expr,
    ) -> Result<(VgroupId, Series)> {
        let wanted = predicate.column_refs();
        let used = self.relation.tags.iter().filter(|tag| wanted.iter().any(|column| column.name == tag.name));
        let request = TagsRequest {
            relation: Arc::clone(&self.relation),
            precision: self.precision,
            tags: used.map(|tag| tag.id).collect(),
            series,
            bare: !wanted.iter().any(|column| column.name == "tbname"),
        };
        let schema = DFSchema::try_from(self.described(&request.schema()))?;
        let bare = super::coerce::without_qualifiers(predicate.clone())?;
        let physical = state.create_physical_expr(bare, &schema)?;
        let mut batches = self.plane.scan(vgroup, ScanRequest::Tags(request)).await.map_err(to_datafusion)?;
        let mut sids: Vec<Sid> = Vec::new();
        while let Some(batch) = batches.try_next().await.map_err(to_datafusion)? {
            let verdict = physical.evaluate(&batch)?.into_array(batch.num_rows())?;
            let verdict: &BooleanArray = as_boolean_array(&verdict)?;
            let ids: &UInt32Array = as_uint32_array(batch.column(0))?;
            let yes = match verdict.nulls() {
                Some(nulls) => verdict.values() & nulls.inner(),
                None => verdict.values().clone(),
            };
            sids.extend(yes.set_indices().map(|row| Sid(ids.value(row))));
        }
        sids.sort_unstable();
        sids.dedup();
        Ok((vgroup, Series::Sids(sids.into())))
    }

    /// The schema of tags with what this table says of their types: an operator of JSON must know JSON from text.
    fn described(&self, tags: &SchemaRef) -> Schema {
        let of = |field: &FieldRef| {
            let own = self.schema.field_with_name(field.name()).ok();
            let metadata = own.map(|own| own.metadata().clone()).unwrap_or_default();
            field.as_ref().clone().with_metadata(metadata)
        };
        Schema::new(tags.fields().iter().map(of).collect::<Vec<_>>())
    }

    /// A row needs at least one column on its way: of none asked for, the cheapest is taken and left out again.
    fn requested(&self, projection: Option<&Vec<usize>>) -> (Vec<usize>, SchemaRef) {
        let all = || (0..self.outputs.len()).collect();
        let wanted: Vec<usize> = projection.map_or_else(all, Clone::clone);
        let schema = Arc::new(Schema::new(wanted.iter().map(|at| self.schema.field(*at).clone()).collect::<Vec<_>>()));
        (wanted, schema)
    }

    fn rows(&self, wanted: &[usize], chosen: &Chosen, limit: Option<usize>, series: Series) -> RowsRequest {
        let output = if wanted.is_empty() {
            vec![Output::Column(ColumnId::KEY)]
        } else {
            wanted.iter().map(|at| self.outputs[*at]).collect()
        };
        RowsRequest {
            relation: Arc::clone(&self.relation),
            precision: self.precision,
            output,
            series,
            range: chosen.range,
            filters: chosen.bounds.clone(),
            conditions: chosen.conditions.clone(),
            order: if self.only.is_some() { Order::SeriesTime } else { Order::Any },
            limit,
            overlay: self.overlay.clone(),
            cachemodel: self.database.options.cachemodel,
        }
    }

    fn tags(&self, wanted: &[usize], series: Series) -> (TagsRequest, Vec<usize>) {
        let mut tags = Vec::new();
        let mut keep = Vec::new();
        for at in wanted {
            match self.outputs[*at] {
                Output::Tag(id) => {
                    keep.push(4 + tags.len());
                    tags.push(id);
                }
                _ => keep.push(1),
            }
        }
        let (relation, precision) = (Arc::clone(&self.relation), self.precision);
        let request = TagsRequest { relation, precision, tags, series, bare: false };
        (request, keep)
    }
}

/// What the filters of a scan come to.
#[derive(PartialEq)]
struct Chosen {
    range: TimeRange,
    names: Option<Vec<String>>,
    bounds: Vec<ColumnFilter>,
    conditions: Vec<ColumnFilter>,
    tags: Vec<Expr>,
}

impl RelationTable {
    /// What KEEP hides nothing of, at a time in microseconds since the epoch.
    fn kept(&self, now_us: i64) -> TimeRange {
        if !self.relation.is_time_series() {
            return TimeRange::ALL;
        }
        TimeRange { min: self.database.options.keep_floor(now_us.div_euclid(1000)), max: i64::MAX }
    }

    fn chosen(&self, filters: &[Expr], now_us: i64) -> Chosen {
        let names = self.only.clone().map(|name| vec![name]);
        let (bounds, conditions, tags) = (Vec::new(), Vec::new(), Vec::new());
        let mut chosen = Chosen { range: self.kept(now_us), names, bounds, conditions, tags };
        for filter in filters {
            match classify(filter, &self.relation, self.precision) {
                Pushed::Range(range) => chosen.range = chosen.range.intersect(range),
                Pushed::Names(names) => {
                    let known = chosen.names.take();
                    chosen.names = Some(match known {
                        None => names.into_iter().collect(),
                        Some(known) => known.into_iter().filter(|name| names.contains(name)).collect(),
                    });
                }
                Pushed::Tags => chosen.tags.push(filter.clone()),
                Pushed::Condition(condition) if self.decides => chosen.conditions.push(condition),
                Pushed::Condition(bounds) | Pushed::Bounds(bounds) => chosen.bounds.push(bounds),
                Pushed::Nothing => {}
            }
        }
        chosen
    }
}

#[async_trait]
impl TableProvider for RelationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let of = |filter: &&Expr| match classify(filter, &self.relation, self.precision) {
            Pushed::Names(_) | Pushed::Tags => TableProviderFilterPushDown::Exact,
            Pushed::Range(_) if !self.tags_only => TableProviderFilterPushDown::Exact,
            Pushed::Condition(_) if !self.tags_only && self.decides => TableProviderFilterPushDown::Exact,
            Pushed::Condition(_) | Pushed::Bounds(_) if !self.tags_only => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(of).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let began = state.execution_props().query_execution_start_time;
        let chosen = self.chosen(filters, began.map_or(self.now_us, |began| began.timestamp_micros()));
        let (wanted, schema) = self.requested(projection);
        let targets = if chosen.range.is_empty() && !self.tags_only {
            Vec::new()
        } else {
            self.targets(state, chosen.names.clone(), chosen.tags.clone()).await?
        };
        if targets.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let mut keep: Vec<usize> = (0..wanted.len()).collect();
        let mut requests = Vec::new();
        for (vgroup, series) in targets {
            if self.tags_only {
                let (request, columns) = self.tags(&wanted, series);
                keep = columns;
                requests.push((vgroup, ScanRequest::Tags(request)));
            } else {
                requests.push((vgroup, ScanRequest::Rows(self.rows(&wanted, &chosen, limit, series))));
            }
        }
        let name = self.only.clone().unwrap_or_else(|| self.relation.name.clone());
        Ok(Arc::new(VgroupScanExec::new(Arc::clone(&self.plane), name, requests, keep, schema)))
    }
}

impl fmt::Debug for RelationTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelationTable({}, {:?})", self.relation.name, self.only)
    }
}

/// The Arrow field of a column, which knows its PostgreSQL type and where it comes from.
fn field(column: &Column, precision: Precision, oid: u32, attnum: usize, nullable: bool) -> Field {
    let (pg_type, typmod) = wire_type(column.data_type);
    let mut metadata = std::collections::HashMap::new();
    metadata.insert(PG_OID.to_owned(), pg_type.oid.to_string());
    metadata.insert(PG_TYPMOD.to_owned(), typmod.to_string());
    metadata.insert(TABLE_OID.to_owned(), oid.to_string());
    metadata.insert(ATTNUM.to_owned(), attnum.to_string());
    Field::new(&column.name, column.data_type.arrow(precision), nullable).with_metadata(metadata)
}

/// PostgreSQL's type and type modifier of a column.
#[must_use]
pub fn wire_type(data_type: DataType) -> (PgType, i32) {
    match data_type {
        DataType::Varchar(n) | DataType::NChar(n) => (PgType::VARCHAR, i32::try_from(n).unwrap_or(i32::MAX - 4) + 4),
        DataType::Json => (PgType::JSON, -1),
        DataType::Decimal(precision, scale) => {
            (PgType::NUMERIC, ((i32::from(precision) << 16) | (i32::from(scale) & 0x7ff)) + 4)
        }
        other => (PgType::of_arrow(&other.arrow(Precision::Milli)), -1),
    }
}
