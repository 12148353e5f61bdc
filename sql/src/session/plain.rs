//! What plain tables ask beside time series: defaults, NOT NULL and primary keys.

use std::collections::{HashMap, HashSet};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use model::schema::{Column, Relation, RelationKind, Table};
use model::write::{Change, Keys, RowBatch, WriteBatch};
use model::{ColumnId, Precision, Result, error};
use sqlparser::ast;

use super::Session;
use super::insert::Tables;
use crate::insert::{Batch, Resolver};
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
    pub(super) async fn check_plain_changes(&self, write: &WriteBatch) -> Result<()> {
        let catalog = self.engine.plane.catalog();
        for change in &write.changes {
            let Change::Rows(rows) = change else { continue };
            let Some((database, relation)) = catalog.relation(rows.suid) else { continue };
            if relation.kind != RelationKind::Plain {
                continue;
            }
            check_not_null(relation, rows, true)?;
            if !relation.primary_key.is_empty() {
                self.check_unique(&database.name, relation, rows).await?;
            }
        }
        Ok(())
    }

    /// Checks rows that replace others: NOT NULL of the columns that are named, and no primary key twice.
    pub(super) async fn check_replaced(&self, database: &str, relation: &Relation, changes: &[Change]) -> Result<()> {
        for change in changes {
            let Change::Rows(rows) = change else { continue };
            check_not_null(relation, rows, false)?;
            let named = |id: &ColumnId| rows.columns.iter().any(|column| column.id == *id);
            if relation.primary_key.iter().all(named) && !relation.primary_key.is_empty() {
                self.check_unique(database, relation, rows).await?;
            } else if relation.primary_key.iter().any(named) {
                return Err(error!(
                    FeatureNotSupported,
                    "UPDATE of a part of the primary key of \"{}\"", relation.name
                )
                .with_hint("Name every column of the primary key."));
            }
        }
        Ok(())
    }

    async fn check_unique(&self, database: &str, relation: &Relation, rows: &RowBatch) -> Result<()> {
        let names: Vec<&str> = relation
            .primary_key
            .iter()
            .filter_map(|id| relation.columns.iter().find(|column| column.id == *id))
            .map(|column| column.name.as_str())
            .collect();
        let arrays: Option<Vec<ArrayRef>> = relation
            .primary_key
            .iter()
            .map(|id| rows.columns.iter().find(|column| column.id == *id).map(|column| column.values.clone()))
            .collect();
        let Some(arrays) = arrays else { return Ok(()) };
        let fields = arrays.iter().map(|array| SortField::new(array.data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(model::Error::internal)?;
        let keys = converter.convert_columns(&arrays).map_err(model::Error::internal)?;
        let mut seen: HashSet<OwnedRow> = HashSet::with_capacity(rows.rows());
        let duplicate =
            || error!(UniqueViolation, "duplicate key value violates unique constraint \"{}_pkey\"", relation.name);
        for key in &keys {
            if !seen.insert(key.owned()) {
                return Err(duplicate());
            }
        }
        let list = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect::<Vec<_>>().join(", ");
        let select = self.internal_select(&format!(
            "SELECT _rowid, {list} FROM {}",
            super::delete::quoted(database, &relation.name)
        ))?;
        // A row that is replaced does not stand in its own way.
        let replaced: HashSet<i64> = match &rows.keys {
            Keys::Given(keys) => keys.iter().copied().collect(),
            Keys::Assigned(_) => HashSet::new(),
        };
        for batch in self.run_internal(select, Vec::new()).await? {
            let row_ids = super::delete::ticks(batch.column(0))?;
            let stored: Vec<ArrayRef> = batch
                .columns()
                .iter()
                .skip(1)
                .zip(&arrays)
                .map(|(stored, given)| datafusion::arrow::compute::cast(stored, given.data_type()))
                .collect::<std::result::Result<_, _>>()
                .map_err(model::Error::internal)?;
            let stored = converter.convert_columns(&stored).map_err(model::Error::internal)?;
            let mut others = stored.iter().zip(row_ids.values()).filter(|(_, row)| !replaced.contains(row));
            if others.any(|(key, _)| seen.contains(&key.owned())) {
                return Err(duplicate());
            }
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
