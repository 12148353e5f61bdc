//! What plain tables ask beside time series: defaults, NOT NULL and primary keys.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;
use model::catalog::Catalog;
use model::schema::{Column, Relation, RelationKind, Table};
use model::write::{Keys, RowBatch};
use model::{ColumnId, Precision, Result, Suid, error};
use sqlparser::ast;

use super::Session;
use super::insert::Tables;
use crate::insert::{Batch, Resolver};
use crate::plan::Memory;
use crate::plan::error::from_datafusion;
use crate::staging::Whole;
use crate::statement::{ColumnName, Insert, InsertRow, InsertSource};

impl Session {
    /// Whether rows of this batch lack a column that has a DEFAULT.
    pub(super) fn has_defaults(&self, batch: &Batch) -> bool {
        let catalog = self.engine.plane.catalog();
        let Some((_, relation)) = catalog.relation(batch.rows.suid) else { return false };
        relation.kind == RelationKind::Plain
            && relation
                .columns
                .iter()
                .any(|column| column.default.is_some() && !batch.rows.columns.iter().any(|given| given.id == column.id))
    }

    /// Names the columns that an INSERT leaves out and that have a DEFAULT, and gives them its expression.
    pub(super) fn fill_defaults(&self, insert: &mut Insert, tables: &Tables) -> Result<()> {
        for target in &mut insert.targets {
            let Some(resolved) = tables.resolve(&target.table) else { continue };
            let Table::Relation(relation) = &resolved.table else { continue };
            if relation.kind != RelationKind::Plain {
                continue;
            }
            let given: Option<Vec<String>> =
                target.columns.as_ref().map(|columns| columns.iter().map(|column| column.name.clone()).collect());
            let InsertSource::Values(rows) = &mut target.source else { continue };
            let width = rows.first().map_or(0, |row| row.values.len());
            let absent = relation.columns.iter().enumerate().filter(|(i, column)| match &given {
                Some(given) => !given.contains(&column.name),
                None => *i >= width,
            });
            let filled: Vec<(&Column, ast::Expr)> = absent
                .filter_map(|(_, column)| Some((column, crate::parser::expression(column.default.as_deref()?))))
                .map(|(column, expr)| Ok((column, expr?)))
                .collect::<Result<_>>()?;
            replace_default_words(rows, relation, given.as_deref())?;
            if filled.is_empty() {
                continue;
            }
            let columns = target.columns.get_or_insert_with(|| {
                let named = relation.columns.iter().take(width);
                named.map(|column| ColumnName { name: column.name.clone(), position: 0 }).collect()
            });
            columns.extend(filled.iter().map(|(column, _)| ColumnName { name: column.name.clone(), position: 0 }));
            for row in rows {
                row.positions.resize(row.values.len(), row.position);
                row.values.extend(filled.iter().map(|(_, expr)| expr.clone()));
                row.positions.resize(row.values.len(), row.position);
            }
        }
        Ok(())
    }

    /// Checks rows of plain tables: NOT NULL, and no primary key twice.
    pub(super) async fn check_batches(&self, batches: &[Batch]) -> Result<()> {
        let mut checks = Checks::new(self, false);
        batches.iter().try_for_each(|batch| checks.add(&batch.rows))?;
        self.check_stored(checks).await
    }

    /// The same of all rows of a statement. `replaced`: they take the place of rows that exist, and columns that are not
    /// named stay as they are.
    pub(super) async fn check_whole(&self, whole: &Whole, replaced: bool) -> Result<()> {
        let mut checks = Checks::new(self, replaced);
        if !whole.relations().any(|suid| checks.concerns(suid)) {
            return Ok(());
        }
        whole.held().iter().try_for_each(|batch| checks.add(&batch.rows))?;
        let mut reader = whole.read();
        while let Some(batches) = reader.next().await? {
            batches.iter().try_for_each(|batch| checks.add(&batch.rows))?;
        }
        self.check_stored(checks).await
    }

    /// No primary key of new rows is stored already.
    async fn check_stored(&self, checks: Checks) -> Result<()> {
        for keys in checks.keys.into_values() {
            self.check_unique(&keys).await?;
        }
        Ok(())
    }

    async fn check_unique(&self, keys: &NewKeys) -> Result<()> {
        let columns = keys.columns().map(|column| format!("\"{}\"", column.name.replace('"', "\"\"")));
        let list = columns.collect::<Vec<_>>().join(", ");
        let table = super::delete::quoted(&keys.database, &keys.relation.name);
        let select = self.internal_select(&format!("SELECT _rowid, {list} FROM {table}"))?;
        let mut stored = self.stream_internal(select, Vec::new()).await?;
        while let Some(batch) = stored.try_next().await? {
            keys.check_others(&batch)?;
        }
        Ok(())
    }

    /// An array in a column's type: ranges and lengths are checked, nothing is cut off.
    pub(super) fn coerced(&self, values: &ArrayRef, column: &Column, precision: Precision) -> Result<ArrayRef> {
        super::coerce::coerce(values, column, precision, &self.reading())
    }
}

fn check_not_null(relation: &Relation, rows: &RowBatch, whole: bool) -> Result<()> {
    for column in relation.columns.iter().filter(|column| !column.nullable) {
        let given = rows.columns.iter().find(|given| given.id == column.id);
        let missing = match given {
            Some(given) => given.values.null_count() > 0 || (whole && given.absent.is_some()),
            None => whole,
        };
        if missing {
            return Err(error!(
                NotNullViolation,
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                column.name,
                relation.name
            ));
        }
    }
    Ok(())
}

/// Checks of the rows that one statement writes to plain tables.
struct Checks {
    catalog: Arc<Catalog>,
    memory: Memory,
    replaced: bool,
    keys: HashMap<Suid, NewKeys>,
}

impl Checks {
    fn new(session: &Session, replaced: bool) -> Self {
        let (catalog, memory) = (session.engine.plane.catalog(), session.engine.memory().clone());
        Self { catalog, memory, replaced, keys: HashMap::new() }
    }

    /// Whether rows of a relation are checked at all.
    fn concerns(&self, suid: Suid) -> bool {
        self.catalog.relation(suid).is_some_and(|(_, relation)| relation.kind == RelationKind::Plain)
    }

    fn add(&mut self, rows: &RowBatch) -> Result<()> {
        let Some((database, relation)) = self.catalog.relation(rows.suid) else { return Ok(()) };
        if relation.kind != RelationKind::Plain {
            return Ok(());
        }
        check_not_null(relation, rows, !self.replaced)?;
        let named = |id: &&ColumnId| rows.columns.iter().any(|column| column.id == **id);
        let count = relation.primary_key.iter().filter(named).count();
        if count == 0 {
            return Ok(());
        }
        if count < relation.primary_key.len() {
            return Err(error!(FeatureNotSupported, "UPDATE of a part of the primary key of \"{}\"", relation.name)
                .with_hint("Name every column of the primary key."));
        }
        let keys = match self.keys.entry(rows.suid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(NewKeys::new(&database.name, relation, rows, &self.memory)?),
        };
        keys.add(rows)
    }
}

/// The primary keys of new rows of one relation.
struct NewKeys {
    database: String,
    relation: Arc<Relation>,
    converter: RowConverter,
    types: Vec<DataType>,
    seen: HashSet<OwnedRow>,
    /// Rows whose place is taken: they do not stand in their own way.
    replaced: HashSet<i64>,
    reserved: MemoryReservation,
}

/// Bytes that a key in a set takes beside its own, about.
const KEY_BYTES: usize = 96;

impl NewKeys {
    fn new(database: &str, relation: &Arc<Relation>, rows: &RowBatch, memory: &Memory) -> Result<Self> {
        let types: Vec<DataType> = key_arrays(relation, rows).iter().map(|array| array.data_type().clone()).collect();
        let fields = types.iter().cloned().map(SortField::new).collect();
        Ok(Self {
            database: database.to_owned(),
            relation: Arc::clone(relation),
            converter: RowConverter::new(fields).map_err(model::Error::internal)?,
            types,
            seen: HashSet::new(),
            replaced: HashSet::new(),
            reserved: memory.query("the check of a primary key"),
        })
    }

    fn columns(&self) -> impl Iterator<Item = &Column> {
        let by_id = |id: &ColumnId| self.relation.columns.iter().find(|column| column.id == *id);
        self.relation.primary_key.iter().filter_map(by_id)
    }

    fn duplicate(&self) -> model::Error {
        let name = &self.relation.name;
        error!(UniqueViolation, "duplicate key value violates unique constraint \"{name}_pkey\"")
    }

    fn add(&mut self, rows: &RowBatch) -> Result<()> {
        let keys = self.converter.convert_columns(&key_arrays(&self.relation, rows)).map_err(model::Error::internal)?;
        self.reserved.try_grow(keys.size() + keys.num_rows() * KEY_BYTES).map_err(from_datafusion)?;
        for key in &keys {
            if !self.seen.insert(key.owned()) {
                return Err(self.duplicate());
            }
        }
        if let Keys::Given(rows) = &rows.keys {
            self.reserved.try_grow(rows.len() * 2 * size_of::<i64>()).map_err(from_datafusion)?;
            self.replaced.extend(rows);
        }
        Ok(())
    }

    /// Refuses if a stored row, which is no row that is replaced, has one of the keys. The first column is its row id.
    fn check_others(&self, stored: &RecordBatch) -> Result<()> {
        let row_ids = super::delete::ticks(stored.column(0))?;
        let keys = stored.columns().iter().skip(1).zip(&self.types).map(|(stored, to)| cast(stored, to));
        let keys: Vec<ArrayRef> = keys.collect::<std::result::Result<_, _>>().map_err(model::Error::internal)?;
        let keys = self.converter.convert_columns(&keys).map_err(model::Error::internal)?;
        let mut others = keys.iter().zip(row_ids.values()).filter(|(_, row)| !self.replaced.contains(row));
        if others.any(|(key, _)| self.seen.contains(&key.owned())) {
            return Err(self.duplicate());
        }
        Ok(())
    }
}

/// The columns of the primary key, those of them that are named.
fn key_arrays(relation: &Relation, rows: &RowBatch) -> Vec<ArrayRef> {
    let of = |id: &ColumnId| rows.columns.iter().find(|column| column.id == *id).map(|column| column.values.clone());
    relation.primary_key.iter().filter_map(of).collect()
}

/// `DEFAULT` as a value of a row becomes the column's expression, NULL if it has none.
fn replace_default_words(rows: &mut [InsertRow], relation: &Relation, given: Option<&[String]>) -> Result<()> {
    let mut parsed: HashMap<String, ast::Expr> = HashMap::new();
    for row in rows {
        for (i, expr) in row.values.iter_mut().enumerate() {
            if !matches!(expr, ast::Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
            {
                continue;
            }
            let column = match given {
                Some(given) => given.get(i).and_then(|name| relation.column(name)),
                None => relation.columns.get(i),
            };
            let Some(column) = column else { continue };
            *expr = match &column.default {
                None => ast::Expr::Value(ast::Value::Null.with_empty_span()),
                Some(text) => match parsed.get(&column.name) {
                    Some(expr) => expr.clone(),
                    None => parsed.entry(column.name.clone()).or_insert(crate::parser::expression(text)?).clone(),
                },
            };
        }
    }
    Ok(())
}

/// `DEFAULT` as a column's new value is its expression, NULL if it has none; anything else is itself.
pub(super) fn without_default_word(expr: ast::Expr, column: &Column) -> Result<ast::Expr> {
    let word = matches!(&expr, ast::Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"));
    match &column.default {
        _ if !word => Ok(expr),
        None => Ok(ast::Expr::Value(ast::Value::Null.with_empty_span())),
        Some(text) => crate::parser::expression(text),
    }
}
