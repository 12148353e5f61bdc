//! INSERT … SELECT and CREATE TABLE AS: a query's batches become rows of a table.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use model::schema::{Column, Relation, RelationKind, Table};
use model::write::{Keys, RowBatch, TableRef, WriteColumn};
use model::{ColumnId, Result, Value, error, fail};

use super::Session;
use super::insert::Tables;
use crate::insert::{Batch, Resolved, Resolver};
use crate::statement::InsertTarget;

/// Where one column of a query goes.
enum Place<'a> {
    Column(&'a Column),
    Tag(&'a Column),
    TableName,
}

impl Session {
    /// Rows of `batches` for the table of `target`.
    pub(super) fn rows_of_query(
        &self,
        target: &InsertTarget,
        tables: &Tables,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<Batch>> {
        let Some(resolved) = tables.resolve(&target.table) else {
            return Err(super::resolve::undefined(&target.table));
        };
        if target.using.is_some() {
            return Err(error!(FeatureNotSupported, "INSERT … USING … SELECT is not supported")
                .with_hint("Name the super table and its tbname and tags as columns.")
                .at(target.table.position));
        }
        let relation = match &resolved.table {
            Table::Relation(relation) => relation,
            Table::Child(child) => &child.parent,
        };
        let places = places(target, resolved, relation)?;
        let mut all = Vec::new();
        for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
            if batch.num_columns() != places.len() {
                let what = if batch.num_columns() > places.len() { "more" } else { "fewer" };
                fail!(SyntaxError, "INSERT has {what} expressions than target columns");
            }
            all.push(Batch { database: resolved.database, rows: self.place(&batch, &places, resolved, relation)? });
        }
        Ok(all)
    }

    fn place(
        &self,
        batch: &RecordBatch,
        places: &[Place<'_>],
        resolved: &Resolved,
        relation: &Relation,
    ) -> Result<RowBatch> {
        let mut keys = Keys::Assigned(batch.num_rows());
        let mut columns = Vec::new();
        let mut tags: Vec<(ColumnId, ArrayRef)> = Vec::new();
        let mut names = None;
        for (place, values) in places.iter().zip(batch.columns()) {
            match place {
                Place::Column(column) if column.id == ColumnId::KEY && relation.is_time_series() => {
                    let values = self.coerced(values, column, resolved.precision)?;
                    keys = Keys::Given(checked_keys(&values, column, resolved)?);
                }
                Place::Column(column) => {
                    let values = self.coerced(values, column, resolved.precision)?;
                    columns.push(WriteColumn { id: column.id, data_type: column.data_type, values, absent: None });
                }
                Place::Tag(tag) => tags.push((tag.id, self.coerced(values, tag, resolved.precision)?)),
                Place::TableName => names = Some(values.clone()),
            }
        }
        if relation.is_time_series() && matches!(keys, Keys::Assigned(_)) {
            fail!(
                NotNullViolation,
                "null value in column \"{}\" violates not-null constraint",
                relation.columns[0].name
            );
        }
        let (tables, ordinals) = match (&resolved.table, names) {
            (Table::Child(child), _) => (vec![TableRef { name: child.name.clone(), create: None }], Vec::new()),
            (Table::Relation(of), _) if of.kind != RelationKind::Super => {
                (vec![TableRef { name: of.name.clone(), create: None }], Vec::new())
            }
            (Table::Relation(_), Some(names)) => dictionary(&names, &tags)?,
            (Table::Relation(_), None) => unreachable!("places() asks for tbname"),
        };
        Ok(RowBatch { suid: relation.suid, version: relation.version, tables, ordinals, keys, columns })
    }
}

fn places<'a>(target: &InsertTarget, resolved: &Resolved, relation: &'a Relation) -> Result<Vec<Place<'a>>> {
    let is_super = matches!(&resolved.table, Table::Relation(of) if of.kind == RelationKind::Super);
    let Some(named) = &target.columns else {
        if is_super {
            return Err(no_tbname(relation).at(target.table.position));
        }
        return Ok(relation.columns.iter().map(Place::Column).collect());
    };
    let mut places: Vec<Place<'a>> = Vec::with_capacity(named.len());
    for (i, name) in named.iter().enumerate() {
        if named[..i].iter().any(|before| before.name == name.name) {
            return Err(error!(DuplicateColumn, "column \"{}\" specified more than once", name.name).at(name.position));
        }
        places.push(if let Some(column) = relation.column(&name.name) {
            Place::Column(column)
        } else if is_super && name.name == "tbname" {
            Place::TableName
        } else if let (true, Some(tag)) = (is_super, relation.tag(&name.name)) {
            Place::Tag(tag)
        } else {
            return Err(error!(
                UndefinedColumn,
                "column \"{}\" of relation \"{}\" does not exist", name.name, target.table.name
            )
            .at(name.position));
        });
    }
    if is_super && !places.iter().any(|place| matches!(place, Place::TableName)) {
        return Err(no_tbname(relation).at(target.table.position));
    }
    Ok(places)
}

fn no_tbname(relation: &Relation) -> model::Error {
    error!(SyntaxError, "INSERT into super table \"{}\" needs the column tbname", relation.name)
        .with_hint(format!("INSERT INTO {} (tbname, …) says which child table each row goes to.", relation.name))
}

fn checked_keys(values: &ArrayRef, column: &Column, resolved: &Resolved) -> Result<Vec<i64>> {
    if values.null_count() > 0 {
        fail!(NotNullViolation, "null value in column \"{}\" violates not-null constraint", column.name);
    }
    let ticks = datafusion::arrow::compute::cast(values, &datafusion::arrow::datatypes::DataType::Int64)
        .map_err(model::Error::internal)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    if let Some(outside) = ticks.values().iter().find(|tick| !resolved.keep.contains(**tick)) {
        return Err(error!(DatetimeFieldOverflow, "timestamp {outside} is outside the range that the database keeps")
            .with_detail(format!(
                "It keeps {} to {} ({}).",
                resolved.keep.min,
                resolved.keep.max,
                resolved.precision.name()
            ))
            .with_hint("ALTER DATABASE … KEEP makes the range longer."));
    }
    Ok(ticks.values().to_vec())
}

/// The tables that the rows name, with the tags of each one's first row, and each row's table.
fn dictionary(names: &ArrayRef, tags: &[(ColumnId, ArrayRef)]) -> Result<(Vec<TableRef>, Vec<u32>)> {
    let names = datafusion::arrow::compute::cast(names, &datafusion::arrow::datatypes::DataType::Utf8)
        .map_err(model::Error::internal)?;
    if names.null_count() > 0 {
        fail!(NotNullViolation, "tbname must not be null");
    }
    let mut index: HashMap<&str, u32> = HashMap::new();
    let (mut tables, mut ordinals) = (Vec::new(), Vec::with_capacity(names.len()));
    for (row, name) in names.as_string::<i32>().iter().enumerate() {
        let name = name.unwrap_or_default();
        let next = tables.len() as u32;
        let ordinal = *index.entry(name).or_insert(next);
        if ordinal == next {
            let create = tags.iter().map(|(id, values)| Ok((*id, super::coerce::value_at(values, row)?)));
            let create = create.filter(|tag| !matches!(tag, Ok((_, Value::Null)))).collect::<Result<_>>()?;
            tables.push(TableRef { name: name.to_owned(), create: Some(create) });
        }
        ordinals.push(ordinal);
    }
    Ok((tables, ordinals))
}
