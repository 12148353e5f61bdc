//! SERIAL columns: numbers that grow, given out by this process.
//!
//! The first number that a column needs continues from the largest one in the table; the next ones come from memory.
//! With more than one dnode the mnode group will have to give them out.

use std::collections::HashMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use model::schema::{Column, Relation, Table};
use model::{ColumnId, Result, Suid, error};
use sqlparser::ast::{self, Expr};
use tokio::sync::Mutex;

use super::Session;
use super::insert::Tables;
use crate::insert::Resolver;
use crate::statement::{Insert, InsertSource};

/// The next number of each SERIAL column that was used.
#[derive(Default)]
pub(super) struct Serials(Mutex<HashMap<(Suid, ColumnId), i64>>);

/// Whether a column's default is a sequence's next number.
fn is_serial(column: &Column) -> bool {
    column.default.as_deref().is_some_and(|default| default.trim_start().to_ascii_lowercase().starts_with("nextval("))
}

impl Session {
    /// Gives every `nextval(…)` that stands for a SERIAL column its number.
    pub(super) async fn number_serials(&self, insert: &mut Insert, tables: &Tables) -> Result<()> {
        let catalog = self.engine.plane.catalog();
        for target in &mut insert.targets {
            let Some(resolved) = tables.resolve(&target.table) else { continue };
            let Table::Relation(relation) = &resolved.table else { continue };
            let Some(database) = catalog.database_by_id(resolved.database) else { continue };
            let InsertSource::Values(rows) = &mut target.source else { continue };
            for (i, column) in relation.columns.iter().enumerate().filter(|(_, column)| is_serial(column)) {
                let place = match &target.columns {
                    Some(named) => named.iter().position(|name| name.name == column.name),
                    None => Some(i),
                };
                let Some(place) = place else { continue };
                let mut wanted: Vec<&mut Expr> = rows
                    .iter_mut()
                    .filter_map(|row| row.values.get_mut(place))
                    .filter(|expr| is_nextval(expr))
                    .collect();
                if wanted.is_empty() {
                    continue;
                }
                let first = self.take_serials(&database.name, relation, column, wanted.len()).await?;
                for (number, expr) in (first..).zip(&mut wanted) {
                    **expr = Expr::Value(ast::Value::Number(number.to_string(), false).with_empty_span());
                }
            }
        }
        Ok(())
    }

    /// The first of `count` numbers that are now this statement's.
    async fn take_serials(&self, database: &str, relation: &Relation, column: &Column, count: usize) -> Result<i64> {
        let mut serials = self.engine.serials.0.lock().await;
        let next = match serials.get(&(relation.suid, column.id)) {
            Some(next) => *next,
            None => self.largest(database, relation, column).await?.saturating_add(1),
        };
        let after = i64::try_from(count).ok().and_then(|count| next.checked_add(count));
        let after = after.ok_or_else(|| {
            error!(NumericValueOutOfRange, "nextval: reached maximum value of sequence of column \"{}\"", column.name)
        })?;
        serials.insert((relation.suid, column.id), after);
        Ok(next)
    }

    /// The largest number in the table, 0 if there is none.
    async fn largest(&self, database: &str, relation: &Relation, column: &Column) -> Result<i64> {
        let table = super::delete::quoted(database, &relation.name);
        let name = column.name.replace('"', "\"\"");
        let select = self.internal_select(&format!("SELECT coalesce(max(\"{name}\"), 0) FROM {table}"))?;
        let batches = self.run_internal(select, Vec::new()).await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(0) };
        let largest = cast(batch.column(0), &DataType::Int64).map_err(model::Error::internal)?;
        Ok(largest.as_primitive::<Int64Type>().value(0).max(0))
    }
}

fn is_nextval(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("nextval"))
}
