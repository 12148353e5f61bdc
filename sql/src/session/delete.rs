//! DELETE and UPDATE: what is to go is found first, then written as ranges or keys.
//!
//! A DELETE whose condition speaks only of the time and of tags becomes time ranges; any other reads the keys of its rows.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampNanosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use model::scan::RowStream;
use model::schema::{Relation, RelationKind, Table};
use model::write::{Change, Keys, RowBatch, TableRef, Tables, WriteBatch, WriteColumn};
use model::{ColumnId, Precision, Result, TimeRange, error, fail};
use sqlparser::ast::{self, BinaryOperator, Expr};

use super::Session;
use super::resolve::{self, Object, Resolved};
use crate::insert::Batch;
use crate::plan::error::from_datafusion;
use crate::statement::TableName;

/// Most rows that a DELETE by key touches at once.
const KEYS_MAX: usize = 10_000_000;
/// Bytes that one of them takes: its key and its table, and again in the log entries.
const DELETE_BYTES: usize = 24;

/// What a condition says, when it only speaks of the time and of tags.
struct Simple {
    range: TimeRange,
    /// Conditions on tags and `tbname`.
    tags: Vec<Expr>,
}

impl Session {
    pub(super) async fn delete(&mut self, table: &TableName, condition: Option<Expr>) -> Result<String> {
        let found = resolve::table(self.plane(), &self.database, table).await?;
        let relation = found.relation()?.clone();
        // What the keys take, until they are written.
        let reserved = self.engine.memory().query("the rows to delete");
        let change = match self.as_range(&found, &relation, condition.as_ref()).await? {
            Some((tables, range)) => Change::DeleteRange { suid: relation.suid, tables, range },
            None => self.keys_to_delete(table, &relation, condition, &reserved).await?,
        };
        if let Change::DeleteKeys { keys, .. } = &change
            && keys.is_empty()
        {
            return Ok("DELETE 0".to_owned());
        }
        // Held, a DELETE cannot say how many rows it will find; what it finds now is what it says.
        let counted = match &change {
            Change::DeleteKeys { keys, .. } => Some(keys.len() as u64),
            _ if self.transaction.holds() => Some(self.count_rows(table, &relation, &change).await?),
            _ => None,
        };
        let batch = WriteBatch { database: found.database.id, changes: vec![change] };
        let effect = self.write(batch).await?;
        Ok(format!("DELETE {}", counted.unwrap_or(effect.deleted)))
    }

    /// The tables and the range of a condition that only speaks of the time and of tags.
    async fn as_range(
        &self,
        found: &Resolved,
        relation: &Arc<Relation>,
        condition: Option<&Expr>,
    ) -> Result<Option<(Tables, TimeRange)>> {
        let mut simple = Simple { range: TimeRange::ALL, tags: Vec::new() };
        if let Some(condition) = condition {
            if !relation.is_time_series() {
                return Ok(None);
            }
            if !self.collect(relation, condition, found.database.options.precision, &mut simple).await? {
                return Ok(None);
            }
        }
        let tables = match &found.object {
            Object::Table(Table::Child(child)) if simple.tags.is_empty() => Tables::Named(vec![child.name.clone()]),
            Object::Table(Table::Relation(relation)) if relation.kind != RelationKind::Super => {
                if !simple.tags.is_empty() {
                    return Ok(None);
                }
                Tables::Named(vec![relation.name.clone()])
            }
            _ if simple.tags.is_empty() => Tables::All,
            _ => Tables::Named(self.children_where(&found.database.name, found, simple.tags).await?),
        };
        Ok(Some((tables, simple.range)))
    }

    /// Takes `condition` apart into `simple`; false if it speaks of anything else.
    async fn collect(
        &self,
        relation: &Relation,
        condition: &Expr,
        precision: Precision,
        simple: &mut Simple,
    ) -> Result<bool> {
        let mut rest = vec![condition];
        while let Some(expr) = rest.pop() {
            match expr {
                Expr::Nested(inner) => rest.push(inner),
                Expr::BinaryOp { left, op: BinaryOperator::And, right } => rest.extend([&**left, &**right]),
                Expr::BinaryOp { left, op, right } if is_key(relation, left) => {
                    let Some(range) = self.bound(op, right, precision).await? else { return Ok(false) };
                    simple.range = simple.range.intersect(range);
                }
                Expr::BinaryOp { left, op, right } if is_key(relation, right) => {
                    let Some(op) = mirrored(op) else { return Ok(false) };
                    let Some(range) = self.bound(&op, left, precision).await? else { return Ok(false) };
                    simple.range = simple.range.intersect(range);
                }
                Expr::Between { expr, negated: false, low, high } if is_key(relation, expr) => {
                    for (op, value) in [(BinaryOperator::GtEq, low), (BinaryOperator::LtEq, high)] {
                        let Some(range) = self.bound(&op, value, precision).await? else { return Ok(false) };
                        simple.range = simple.range.intersect(range);
                    }
                }
                other if only_tags(relation, other) => simple.tags.push(other.clone()),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The ticks that satisfy `key <op> value`, None if the value depends on the row or the operator is another.
    async fn bound(&self, op: &BinaryOperator, value: &Expr, precision: Precision) -> Result<Option<TimeRange>> {
        if mirrored(op).is_none() || has_columns(value) {
            return Ok(None);
        }
        let Some(nanos) = self.constant_nanos(value, precision).await? else {
            // A NULL bound is satisfied by no row.
            return Ok(Some(TimeRange { min: 1, max: 0 }));
        };
        let per_tick = i128::from(precision.nanos_per_tick());
        let (floor, exact) = (nanos.div_euclid(per_tick), nanos.rem_euclid(per_tick) == 0);
        let floor = i64::try_from(floor).map_err(|_| error!(DatetimeFieldOverflow, "timestamp out of range"))?;
        let after = if exact { floor } else { floor.saturating_add(1) };
        Ok(Some(match op {
            BinaryOperator::Eq if exact => TimeRange { min: floor, max: floor },
            BinaryOperator::Eq => TimeRange { min: 1, max: 0 },
            BinaryOperator::Lt => TimeRange { min: i64::MIN, max: after.saturating_sub(1) },
            BinaryOperator::LtEq => TimeRange { min: i64::MIN, max: floor },
            BinaryOperator::Gt => TimeRange { min: floor.saturating_add(1), max: i64::MAX },
            _ => TimeRange { min: after, max: i64::MAX },
        }))
    }

    /// Nanoseconds since the epoch of a constant that is compared with a key; a bare integer is ticks.
    async fn constant_nanos(&self, value: &Expr, precision: Precision) -> Result<Option<i128>> {
        let per_tick = i128::from(precision.nanos_per_tick());
        let mut select = self.internal_select("SELECT 1")?;
        let text = matches!(value, Expr::Value(value) if matches!(value.value, ast::Value::SingleQuotedString(_)));
        let expr = if text { typed_timestamp(value.clone()) } else { value.clone() };
        select.projection = vec![ast::SelectItem::UnnamedExpr(expr)];
        let batches = self.run_internal(select, Vec::new()).await?;
        let Some(array) = batches.first().map(|batch| batch.column(0).clone()) else { return Ok(None) };
        if array.is_empty() || array.is_null(0) {
            return Ok(None);
        }
        match array.data_type() {
            DataType::Timestamp(unit, _) => {
                let ticks = cast(&array, &DataType::Int64).map_err(model::Error::internal)?;
                let nanos = match unit {
                    TimeUnit::Second => 1_000_000_000,
                    TimeUnit::Millisecond => 1_000_000,
                    TimeUnit::Microsecond => 1_000,
                    TimeUnit::Nanosecond => 1,
                };
                Ok(Some(i128::from(ticks.as_primitive::<Int64Type>().value(0)) * nanos))
            }
            DataType::Int64 | DataType::Int32 | DataType::Int16 | DataType::Int8 => {
                let ticks = cast(&array, &DataType::Int64).map_err(model::Error::internal)?;
                Ok(Some(i128::from(ticks.as_primitive::<Int64Type>().value(0)) * per_tick))
            }
            DataType::Date32 => {
                let nanos =
                    cast(&array, &DataType::Timestamp(TimeUnit::Nanosecond, None)).map_err(model::Error::internal)?;
                let nanos = nanos.as_any().downcast_ref::<TimestampNanosecondArray>().map(|array| array.value(0));
                Ok(nanos.map(i128::from))
            }
            other => fail!(DatatypeMismatch, "a timestamp cannot be compared with {other}"),
        }
    }

    /// The children whose tags satisfy every one of `conditions`.
    async fn children_where(&self, database: &str, found: &Resolved, conditions: Vec<Expr>) -> Result<Vec<String>> {
        let name = match &found.object {
            Object::Table(Table::Child(child)) => child.name.clone(),
            _ => found.relation()?.name.clone(),
        };
        let from = format!("SELECT DISTINCT tbname FROM {}", quoted(database, &name));
        let mut select = self.internal_select(&from)?;
        select.selection = conditions.into_iter().reduce(and);
        let mut names = Vec::new();
        let mut found = self.stream_internal(select, Vec::new()).await?;
        while let Some(batch) = found.try_next().await? {
            names.extend(texts(batch.column(0))?);
        }
        Ok(names)
    }

    /// The keys of the rows that satisfy `condition`; `reserved` is for what they take.
    async fn keys_to_delete(
        &self,
        table: &TableName,
        relation: &Relation,
        condition: Option<Expr>,
        reserved: &MemoryReservation,
    ) -> Result<Change> {
        let what = if relation.is_time_series() { "tbname, _c0" } else { "_rowid" };
        let mut select = self.internal_select(&format!("SELECT {what} FROM {}", self.quoted_name(table)))?;
        select.selection = condition;
        let mut names: Vec<String> = Vec::new();
        let (mut ordinals, mut keys) = (Vec::new(), Vec::new());
        if !relation.is_time_series() {
            names.push(relation.name.clone());
        }
        let mut index = std::collections::HashMap::new();
        let mut found = self.stream_internal(select, Vec::new()).await?;
        while let Some(batch) = found.try_next().await? {
            reserved.try_grow(batch.num_rows() * DELETE_BYTES).map_err(from_datafusion)?;
            keys.extend_from_slice(ticks(batch.column(batch.num_columns() - 1))?.values());
            if relation.is_time_series() {
                for name in texts(batch.column(0))? {
                    let next = names.len() as u32;
                    let ordinal = *index.entry(name).or_insert_with_key(|name| {
                        names.push(name.clone());
                        next
                    });
                    ordinals.push(ordinal);
                }
            } else {
                ordinals.resize(keys.len(), 0);
            }
            check_count(keys.len())?;
        }
        Ok(Change::DeleteKeys { suid: relation.suid, ordinals, names, keys })
    }

    /// How many rows a range that is held will take away.
    async fn count_rows(&self, table: &TableName, relation: &Relation, change: &Change) -> Result<u64> {
        let Change::DeleteRange { tables, range, .. } = change else { return Ok(0) };
        if *tables == Tables::Named(Vec::new()) {
            return Ok(0);
        }
        let key = if relation.is_time_series() { "_c0" } else { "_rowid" };
        let mut select = self.internal_select(&format!("SELECT {key} FROM {}", self.quoted_name(table)))?;
        if let (true, Tables::Named(names)) = (relation.is_time_series(), tables) {
            let list = names.iter().map(|name| text_literal(name)).collect();
            let tbname = Box::new(Expr::Identifier(ast::Ident::new("tbname")));
            select.selection = Some(Expr::InList { expr: tbname, list, negated: false });
        }
        let mut rows = 0;
        let mut found = self.stream_internal(select, Vec::new()).await?;
        while let Some(batch) = found.try_next().await? {
            rows += ticks(batch.column(0))?.values().iter().filter(|key| range.contains(**key)).count();
        }
        Ok(rows as u64)
    }

    pub(super) async fn update(
        &mut self,
        table: &TableName,
        assignments: Vec<(String, Expr)>,
        condition: Option<Expr>,
    ) -> Result<String> {
        let found = resolve::table(self.plane(), &self.database, table).await?;
        let relation = found.relation()?.clone();
        if relation.kind != RelationKind::Plain {
            return Err(error!(FeatureNotSupported, "UPDATE of \"{}\", which is a time series", table.name)
                .with_hint("INSERT a row with the same time: given columns replace, the others keep their values"));
        }
        let mut columns = Vec::new();
        for (name, _) in &assignments {
            let column = relation.column(name).ok_or_else(|| {
                error!(UndefinedColumn, "column \"{name}\" of relation \"{}\" does not exist", relation.name)
            })?;
            if columns.iter().any(|known: &&model::schema::Column| known.id == column.id) {
                fail!(SyntaxError, "multiple assignments to same column \"{name}\"");
            }
            columns.push(column);
        }
        let mut select = self.internal_select(&format!("SELECT _rowid FROM {}", self.quoted_name(table)))?;
        for (i, (_, expr)) in assignments.into_iter().enumerate() {
            let expr = super::plain::without_default_word(expr, columns[i])?;
            select
                .projection
                .push(ast::SelectItem::ExprWithAlias { expr, alias: ast::Ident::new(format!("__set{i}")) });
        }
        select.selection = condition;
        let (database, precision) = (found.database.id, found.database.options.precision);
        let mut staged = self.stage("UPDATE");
        let mut found = self.stream_internal(select, Vec::new()).await?;
        while let Some(batch) = found.try_next().await? {
            if batch.num_rows() > 0 {
                let rows = self.updated(&relation, &columns, &batch, precision)?;
                staged.push(Batch { database, rows }).await?;
            }
        }
        let whole = staged.finish().await?;
        let rows = whole.rows();
        self.write_whole(whole, true).await?;
        Ok(format!("UPDATE {rows}"))
    }

    fn updated(
        &self,
        relation: &Relation,
        columns: &[&model::schema::Column],
        batch: &RecordBatch,
        precision: Precision,
    ) -> Result<RowBatch> {
        let keys = Keys::Given(ticks(batch.column(0))?.values().to_vec());
        let written = columns.iter().zip(batch.columns().iter().skip(1)).map(|(column, values)| {
            let values = self.coerced(values, column, precision)?;
            Ok(WriteColumn { id: column.id, data_type: column.data_type, values, absent: None })
        });
        Ok(RowBatch {
            suid: relation.suid,
            version: relation.version,
            tables: vec![TableRef { name: relation.name.clone(), create: None }],
            ordinals: Vec::new(),
            keys,
            columns: written.collect::<Result<_>>()?,
        })
    }

    /// Runs a query of our own and gives all of its rows, which are few.
    pub(super) async fn run_internal(
        &self,
        select: ast::Select,
        parameters: Vec<datafusion::common::ScalarValue>,
    ) -> Result<Vec<RecordBatch>> {
        self.stream_internal(select, parameters).await?.try_collect().await
    }

    /// The same for a query that may give many rows.
    pub(super) async fn stream_internal(
        &self,
        select: ast::Select,
        parameters: Vec<datafusion::common::ScalarValue>,
    ) -> Result<RowStream> {
        let query = super::queries::query_of(select);
        let planned = self.engine.planner.plan_query(&query, self.plan_context(), &[]).await?;
        Ok(self.engine.planner.execute(&planned, parameters).await?.1)
    }
}

fn check_count(rows: usize) -> Result<()> {
    if rows > KEYS_MAX {
        return Err(error!(OutOfMemory, "more than {KEYS_MAX} rows in one statement")
            .with_hint("Split the statement by time; a DELETE by time range and tags alone has no such bound."));
    }
    Ok(())
}

fn is_key(relation: &Relation, expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => &name.value,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(name) => &name.value,
            None => return false,
        },
        Expr::Nested(inner) => return is_key(relation, inner),
        _ => return false,
    };
    let key = relation.columns.iter().find(|column| column.id == ColumnId::KEY);
    name == "_c0" || name == "_rowts" || key.is_some_and(|key| key.name == *name)
}

/// The names of columns that an expression speaks of; None if it holds a subquery.
fn columns_of(expr: &Expr) -> Option<Vec<String>> {
    struct Finder {
        names: Vec<String>,
        subquery: bool,
    }
    impl ast::Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _: &ast::Query) -> std::ops::ControlFlow<()> {
            self.subquery = true;
            std::ops::ControlFlow::Break(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> std::ops::ControlFlow<()> {
            match expr {
                Expr::Identifier(name) => self.names.push(name.value.clone()),
                Expr::CompoundIdentifier(parts) => self.names.extend(parts.last().map(|name| name.value.clone())),
                _ => {}
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let mut finder = Finder { names: Vec::new(), subquery: false };
    let _ = ast::Visit::visit(expr, &mut finder);
    (!finder.subquery).then_some(finder.names)
}

fn has_columns(expr: &Expr) -> bool {
    // NOW and TODAY are written without parentheses in TDengine's SQL.
    let constant = |name: &String| ["now", "today"].contains(&name.to_ascii_lowercase().as_str());
    columns_of(expr).is_none_or(|names| !names.iter().all(constant))
}

fn only_tags(relation: &Relation, expr: &Expr) -> bool {
    relation.kind == RelationKind::Super
        && columns_of(expr)
            .is_some_and(|names| names.iter().all(|name| name == "tbname" || relation.tag(name).is_some()))
}

fn mirrored(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Eq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        _ => return None,
    })
}

fn and(left: Expr, right: Expr) -> Expr {
    let nested = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::BinaryOp { left: nested(left), op: BinaryOperator::And, right: nested(right) }
}

fn text_literal(text: &str) -> Expr {
    Expr::Value(ast::Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

fn typed_timestamp(value: Expr) -> Expr {
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(value),
        data_type: ast::DataType::Timestamp(None, ast::TimezoneInfo::WithTimeZone),
        array: false,
        format: None,
    }
}

/// `"db"."table"`, with quotes doubled.
pub(super) fn quoted(database: &str, table: &str) -> String {
    format!("\"{}\".\"{}\"", database.replace('"', "\"\""), table.replace('"', "\"\""))
}

/// Keys as ticks.
pub(super) fn ticks(array: &ArrayRef) -> Result<Int64Array> {
    let ticks = cast(array, &DataType::Int64).map_err(model::Error::internal)?;
    Ok(ticks.as_primitive::<Int64Type>().clone())
}

fn texts(array: &ArrayRef) -> Result<Vec<String>> {
    let texts = cast(array, &DataType::Utf8).map_err(model::Error::internal)?;
    Ok(texts.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}
