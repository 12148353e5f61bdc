//! A [`DataPlane`] in memory, so that the language is tested without a cluster. Compiled for tests only.
//!
//! Start reading at [`FakePlane`]: rows go in by [`DataPlane::write`] or [`FakePlane::insert`], and come out by scans that
//! keep to the letter of [`model::scan`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use async_trait::async_trait;
use datafusion::arrow::array::RecordBatchOptions;
use datafusion::common::ScalarValue;
use model::catalog::{Catalog, CatalogChange, Database, Defined, Vgroup};
use model::hash::hash_ranges;
use model::options::DatabaseOptions;
use model::plane::{Command, Reply, Status};
use model::scan::{ColumnFilter, Order, Output, RowStream, RowsRequest, ScanRequest, Series, TagsRequest};
use model::schema::{ChildTable, Column, Relation, RelationKind, Table};
use model::write::{Change, Effect, Keys, NewTable, Outcome, RowBatch, Share, Tables, WriteBatch};
use model::{ColumnId, DataPlane, DataType, DatabaseId, Precision, Result, Sid, Suid, Value, VgroupId, fail};
use parking_lot::Mutex;

/// A cluster of one, without log, disk or time.
#[derive(Default)]
pub struct FakePlane {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    catalog: Arc<Catalog>,
    series: BTreeMap<(Suid, String), SeriesOf>,
    next_sid: u32,
    next_row: i64,
}

#[derive(Clone, Default)]
struct SeriesOf {
    sid: u32,
    tags: HashMap<ColumnId, Value>,
    rows: BTreeMap<i64, HashMap<ColumnId, ScalarValue>>,
}

impl FakePlane {
    /// An empty one with a database of this precision and number of vgroups.
    #[must_use]
    pub fn with_database(name: &str, precision: Precision, vgroups: u32) -> Arc<Self> {
        let plane = Arc::new(Self::default());
        let options = DatabaseOptions { precision, vgroups, keep_minutes: [365_000 * 1440; 3], ..Default::default() };
        plane.add_database(name, options);
        plane
    }

    fn add_database(&self, name: &str, options: DatabaseOptions) {
        self.change(|catalog| {
            let id = catalog.next.database;
            catalog.next.database = id.next();
            let mut vgroups = Vec::new();
            for (hash_begin, hash_end) in hash_ranges(options.vgroups) {
                let vgroup = catalog.next.vgroup;
                catalog.next.vgroup = vgroup.next();
                let of = Vgroup { id: vgroup, database: id, hash_begin, hash_end, replicas: Vec::new(), epoch: 1 };
                catalog.vgroups.insert(vgroup, of);
                vgroups.push(vgroup);
            }
            let database = Database {
                id,
                name: name.to_owned(),
                options,
                created_ms: 0,
                relations: BTreeMap::new(),
                views: BTreeMap::new(),
                vgroups,
            };
            catalog.databases.insert(name.to_owned(), Arc::new(database));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Catalog)) {
        let mut inner = self.inner.lock();
        let mut catalog = inner.catalog.as_ref().clone();
        change(&mut catalog);
        catalog.index += 1;
        inner.catalog = Arc::new(catalog);
    }

    /// Makes a relation. The key of a time series is the first column.
    pub fn relation(
        &self,
        database: &str,
        name: &str,
        kind: RelationKind,
        columns: &[(&str, DataType)],
        tags: &[(&str, DataType)],
    ) -> Suid {
        let mut made = Suid(0);
        self.change(|catalog| {
            let suid = catalog.next.suid;
            catalog.next.suid = suid.next();
            made = suid;
            let first = u16::from(kind == RelationKind::Plain);
            let column = |(at, (name, data_type)): (u16, &(&str, DataType))| {
                let mut column = Column::new(ColumnId(at), *name, *data_type);
                column.nullable = column.id != ColumnId::KEY;
                column
            };
            let columns: Vec<Column> = (first..).zip(columns).map(column).collect();
            let after = first + u16::try_from(columns.len()).expect("few columns");
            let tags: Vec<Column> = (after..).zip(tags).map(column).collect();
            let relation = Relation {
                suid,
                name: name.to_owned(),
                kind,
                version: 1,
                next_column: ColumnId(after + u16::try_from(tags.len()).expect("few tags")),
                columns,
                tags,
                primary_key: Vec::new(),
                comment: None,
                created_ms: 0,
                altered_ms: 0,
            };
            let database = catalog.databases.get_mut(database).expect("the database was made first");
            Arc::make_mut(database).relations.insert(name.to_owned(), Arc::new(relation));
        });
        if kind != RelationKind::Super {
            self.child(made, name, &[]);
        }
        made
    }

    /// Makes a child table, or the one series of a normal or plain table.
    pub fn child(&self, suid: Suid, name: &str, tags: &[Value]) {
        let mut inner = self.inner.lock();
        let relation = Arc::clone(inner.catalog.relation(suid).expect("the relation was made first").1);
        inner.next_sid += 1;
        let sid = inner.next_sid;
        let tags = relation.tags.iter().map(|tag| tag.id).zip(tags.iter().cloned()).collect();
        inner.series.insert((suid, name.to_owned()), SeriesOf { sid, tags, rows: BTreeMap::new() });
    }

    /// Puts a row: the key first for a time series, then the other columns in order.
    pub fn insert(&self, suid: Suid, table: &str, row: &[ScalarValue]) {
        let mut inner = self.inner.lock();
        let relation = Arc::clone(inner.catalog.relation(suid).expect("the relation was made first").1);
        inner.next_row += 1;
        let (key, rest) = match relation.kind {
            RelationKind::Plain => (inner.next_row, row),
            _ => match &row[0] {
                ScalarValue::Int64(Some(key)) => (*key, &row[1..]),
                other => panic!("{other} is no key"),
            },
        };
        let precision = inner.precision(suid);
        let columns = relation.columns.iter().filter(|column| column.id != ColumnId::KEY);
        let cells = columns.zip(rest).map(|(column, value)| {
            let cell = value.cast_to(&column.data_type.arrow(precision)).expect("a value of the column's type");
            (column.id, cell)
        });
        let cells: Vec<_> = cells.collect();
        let series = inner.series.get_mut(&(suid, table.to_owned())).expect("the table was made first");
        series.rows.entry(key).or_default().extend(cells);
    }

    fn define_now(&self, change: CatalogChange) -> Result<Defined> {
        match change {
            CatalogChange::CreateDatabase { name, options, .. } => {
                self.add_database(&name, options);
                Ok(Defined::Done)
            }
            CatalogChange::CreateRelation { database, name, kind, columns, tags, .. } => {
                let database = self.catalog().database_by_id(database).expect("it exists").name.clone();
                let list = |columns: &[Column]| {
                    columns.iter().map(|column| (column.name.clone(), column.data_type)).collect::<Vec<_>>()
                };
                let (columns, tags) = (list(&columns), list(&tags));
                fn borrowed(list: &[(String, DataType)]) -> Vec<(&str, DataType)> {
                    list.iter().map(|(name, of)| (name.as_str(), *of)).collect()
                }
                let suid = self.relation(&database, &name, kind, &borrowed(&columns), &borrowed(&tags));
                Ok(Defined::Relation(suid))
            }
            CatalogChange::CreateView { database, name, query, .. } => {
                let mut made = Suid(0);
                self.change(|catalog| {
                    made = catalog.next.suid;
                    catalog.next.suid = made.next();
                    let view = model::catalog::View { suid: made, name: name.clone(), query, created_ms: 0 };
                    let databases = catalog.databases.values_mut();
                    for of in databases.filter(|of| of.id == database) {
                        Arc::make_mut(of).views.insert(name.clone(), Arc::new(view.clone()));
                    }
                });
                Ok(Defined::Relation(made))
            }
            other => fail!(FeatureNotSupported, "the fake plane does not do {other:?}"),
        }
    }
}

impl Inner {
    fn precision(&self, suid: Suid) -> Precision {
        self.catalog.relation(suid).map_or(Precision::Milli, |(database, _)| database.options.precision)
    }

    fn vgroup_of(&self, suid: Suid, name: &str) -> VgroupId {
        let (database, _) = self.catalog.relation(suid).expect("known");
        self.catalog.vgroup_of(database, name).id
    }

    fn rows(&mut self, batch: &RowBatch) -> u64 {
        let mut tables = Vec::new();
        for table in &batch.tables {
            let key = (batch.suid, table.name.clone());
            if !self.series.contains_key(&key) {
                self.next_sid += 1;
                let tags = table.create.clone().unwrap_or_default().into_iter().collect();
                self.series.insert(key.clone(), SeriesOf { sid: self.next_sid, tags, rows: BTreeMap::new() });
            }
            tables.push(key);
        }
        for row in 0..batch.rows() {
            let key = match &batch.keys {
                Keys::Given(keys) => keys[row],
                Keys::Assigned(_) => {
                    self.next_row += 1;
                    self.next_row
                }
            };
            let series = self.series.get_mut(&tables[batch.table_of(row)]).expect("just made");
            let cells = series.rows.entry(key).or_default();
            for column in &batch.columns {
                if column.absent.as_ref().is_none_or(|absent| !absent.value(row)) {
                    let value = ScalarValue::try_from_array(&column.values, row).expect("an array of its type");
                    cells.insert(column.id, value);
                }
            }
        }
        batch.rows() as u64
    }

    fn apply(&mut self, change: &Change) -> Effect {
        let mut effect = Effect::default();
        match change {
            Change::Rows(batch) => effect.written = self.rows(batch),
            Change::CreateTables { suid, tables, .. } => {
                for NewTable { name, tags } in tables {
                    self.next_sid += 1;
                    let tags = tags.iter().cloned().collect();
                    let series = SeriesOf { sid: self.next_sid, tags, rows: BTreeMap::new() };
                    self.series.entry((*suid, name.clone())).or_insert(series);
                    effect.created += 1;
                }
            }
            Change::DropTables { suid, names } => {
                for name in names {
                    effect.dropped += u64::from(self.series.remove(&(*suid, name.clone())).is_some());
                }
            }
            Change::DropRelation { suid } => self.series.retain(|(of, _), _| of != suid),
            Change::SetTags { suid, name, values } => {
                if let Some(series) = self.series.get_mut(&(*suid, name.clone())) {
                    series.tags.extend(values.iter().cloned());
                }
            }
            Change::DeleteRange { suid, tables, range } => {
                for ((of, name), series) in &mut self.series {
                    let meant = match tables {
                        Tables::All => true,
                        Tables::Named(names) => names.contains(name),
                    };
                    if of == suid && meant {
                        let before = series.rows.len();
                        series.rows.retain(|key, _| !range.contains(*key));
                        effect.deleted += (before - series.rows.len()) as u64;
                    }
                }
            }
            Change::DeleteKeys { suid, ordinals, names, keys } => {
                for (row, key) in keys.iter().enumerate() {
                    let name = &names[ordinals.get(row).map_or(0, |at| *at as usize)];
                    if let Some(series) = self.series.get_mut(&(*suid, name.clone())) {
                        effect.deleted += u64::from(series.rows.remove(key).is_some());
                    }
                }
            }
        }
        effect
    }

    /// The tables of one vgroup that a request means, in the order of their sids.
    fn chosen(&self, vgroup: VgroupId, suid: Suid, series: &Series) -> Vec<(String, SeriesOf)> {
        let meant = |name: &String, of: &SeriesOf| match series {
            Series::All => true,
            Series::Sids(sids) => sids.contains(&Sid(of.sid)),
            Series::Named(names) => names.contains(name),
        };
        let here = self
            .series
            .iter()
            .filter(|((of, name), series)| *of == suid && self.vgroup_of(suid, name) == vgroup && meant(name, series));
        let mut tables: Vec<_> = here.map(|((_, name), series)| (name.clone(), series.clone())).collect();
        tables.sort_by_key(|(_, series)| series.sid);
        tables
    }
}

fn tag_value(value: Option<&Value>, data_type: DataType, precision: Precision) -> ScalarValue {
    let arrow = data_type.arrow(precision);
    let scalar = match value {
        None | Some(Value::Null) => return ScalarValue::try_from(&arrow).expect("a type that has nulls"),
        Some(Value::Bool(yes)) => ScalarValue::Boolean(Some(*yes)),
        Some(Value::Int(n)) => ScalarValue::Int64(Some(*n)),
        Some(Value::UInt(n)) => ScalarValue::UInt64(Some(*n)),
        Some(Value::Float(n)) => ScalarValue::Float64(Some(*n)),
        Some(Value::Decimal(n)) => ScalarValue::Decimal128(Some(*n), 38, 0),
        Some(Value::Text(text)) => ScalarValue::Utf8(Some(text.clone())),
        Some(Value::Bytes(bytes)) => ScalarValue::Binary(Some(bytes.clone())),
    };
    scalar.cast_to(&arrow).expect("a value of the tag's type")
}

fn array_of(values: Vec<ScalarValue>, data_type: &datafusion::arrow::datatypes::DataType) -> ArrayRef {
    if values.is_empty() {
        return new_null_array(data_type, 0);
    }
    ScalarValue::iter_to_array(values).expect("values of one type")
}

/// Whether a cell is outside the bounds of a condition on numbers.
fn fails(cell: Option<&ScalarValue>, condition: &ColumnFilter) -> bool {
    let number = |value: &Value| match value {
        Value::Int(value) => *value as f64,
        Value::UInt(value) => *value as f64,
        Value::Float(value) => *value,
        other => panic!("a number, not {other:?}"),
    };
    let float = cell.map(|cell| cell.cast_to(&datafusion::arrow::datatypes::DataType::Float64).expect("a number"));
    let Some(ScalarValue::Float64(Some(value))) = float else { return true };
    condition.min.as_ref().is_some_and(|min| value < number(min))
        || condition.max.as_ref().is_some_and(|max| value > number(max))
}

fn scan_rows(inner: &Inner, vgroup: VgroupId, request: &RowsRequest) -> RecordBatch {
    let relation = &request.relation;
    let mut rows: Vec<(u32, i64, String, SeriesOf)> = Vec::new();
    for (name, series) in inner.chosen(vgroup, relation.suid, &request.series) {
        let cell = |key: &i64, of: &ColumnFilter| series.rows[key].get(&of.column);
        let satisfies = |key: &i64| !request.conditions.iter().any(|one| fails(cell(key, one), one));
        let inside = |key: &i64| request.range.contains(*key) && satisfies(key);
        let keys = series.rows.keys().copied().filter(inside).collect::<Vec<_>>();
        rows.extend(keys.into_iter().map(|key| (series.sid, key, name.clone(), series.clone())));
    }
    match request.order {
        Order::TimeAscending => rows.sort_by_key(|row| row.1),
        Order::TimeDescending => rows.sort_by_key(|row| std::cmp::Reverse(row.1)),
        Order::Any | Order::SeriesTime => {}
    }
    rows.truncate(request.limit.unwrap_or(usize::MAX));
    let schema = request.schema();
    let column = |(at, output): (usize, &Output)| {
        let of = schema.field(at).data_type();
        let cell = |(sid, key, name, series): &(u32, i64, String, SeriesOf)| match output {
            Output::Column(id) if *id == ColumnId::KEY => ScalarValue::Int64(Some(*key)).cast_to(of).expect("ticks"),
            Output::Column(id) => {
                let cell = series.rows[key].get(id).cloned();
                cell.unwrap_or_else(|| ScalarValue::try_from(of).expect("a type that has nulls"))
            }
            Output::Tag(id) => {
                let tag = relation.tags.iter().find(|tag| tag.id == *id).expect("the planner takes tags from it");
                tag_value(series.tags.get(id), tag.data_type, request.precision)
            }
            Output::TableName => ScalarValue::Utf8(Some(name.clone())),
            Output::Sid => ScalarValue::UInt32(Some(*sid)),
        };
        array_of(rows.iter().map(cell).collect(), of)
    };
    let columns = request.output.iter().enumerate().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(request.schema(), columns, &options).expect("the schema of the request")
}

fn scan_tags(inner: &Inner, vgroup: VgroupId, request: &TagsRequest) -> RecordBatch {
    let tables = inner.chosen(vgroup, request.relation.suid, &request.series);
    let zeros = Int64Array::from(vec![0; tables.len()]);
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(tables.iter().map(|(_, series)| series.sid))),
        Arc::new(StringArray::from_iter_values(tables.iter().map(|(name, _)| name))),
        Arc::new(zeros.clone()),
        Arc::new(zeros),
    ];
    if request.bare {
        columns.truncate(1);
    }
    for id in &request.tags {
        let tag = request.relation.tags.iter().find(|tag| tag.id == *id).expect("the planner takes tags from it");
        let cell = |(_, series): &(String, SeriesOf)| tag_value(series.tags.get(id), tag.data_type, request.precision);
        columns.push(array_of(tables.iter().map(cell).collect(), &tag.data_type.arrow(request.precision)));
    }
    RecordBatch::try_new(request.schema(), columns).expect("the schema of the request")
}

mod reduce;

#[async_trait]
impl DataPlane for FakePlane {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.inner.lock().catalog)
    }

    async fn lookup(&self, database: DatabaseId, names: &[String]) -> Result<Vec<Option<Table>>> {
        let inner = self.inner.lock();
        let Some(database) = inner.catalog.database_by_id(database) else {
            fail!(InvalidCatalogName, "the database is gone");
        };
        let find = |name: &String| {
            if let Some(relation) = database.relations.get(name) {
                return Some(Table::Relation(Arc::clone(relation)));
            }
            database.relations.values().find_map(|parent| {
                let series = inner.series.get(&(parent.suid, name.clone()))?;
                let tags = parent.tags.iter().map(|tag| series.tags.get(&tag.id).cloned().unwrap_or(Value::Null));
                Some(Table::Child(ChildTable {
                    parent: Arc::clone(parent),
                    name: name.clone(),
                    uid: series.sid.into(),
                    vgroup: inner.vgroup_of(parent.suid, name),
                    tags: tags.collect(),
                    created_ms: 0,
                }))
            })
        };
        Ok(names.iter().map(find).collect())
    }

    async fn refresh(&self) -> Result<Arc<Catalog>> {
        Ok(self.catalog())
    }

    async fn define(&self, change: CatalogChange) -> Result<Defined> {
        self.define_now(change)
    }

    async fn write(&self, batch: WriteBatch) -> Result<Outcome> {
        let mut inner = self.inner.lock();
        let mut total = Effect::default();
        for change in &batch.changes {
            let effect = inner.apply(change);
            total.written += effect.written;
            total.deleted += effect.deleted;
            total.created += effect.created;
            total.dropped += effect.dropped;
        }
        Ok(Outcome { shares: vec![Share { vgroup: VgroupId(2), result: Ok(total) }] })
    }

    async fn scan(&self, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream> {
        let mut inner = self.inner.lock();
        let batch = match &request {
            ScanRequest::Rows(rows) => {
                let overlay = rows.overlay.clone();
                let kept = inner.series.clone();
                for change in &overlay {
                    inner.apply(change);
                }
                let batch = scan_rows(&inner, vgroup, rows);
                inner.series = kept;
                batch
            }
            ScanRequest::Tags(tags) => scan_tags(&inner, vgroup, tags),
            ScanRequest::Aggregate(request) => {
                let kept = inner.series.clone();
                for change in &request.rows.overlay {
                    inner.apply(change);
                }
                let batch = reduce::groups(&inner, vgroup, request);
                inner.series = kept;
                batch
            }
            other => fail!(FeatureNotSupported, "the fake plane does not do {other:?}"),
        };
        Ok(Box::pin(futures::stream::iter([Ok(batch)])))
    }

    async fn admin(&self, command: Command) -> Result<Reply> {
        Ok(if command == Command::Status { Reply::Status(Status::default()) } else { Reply::Done })
    }
}
