//! CREATE, ALTER and DROP of super, normal and plain tables.

use std::sync::Arc;

use model::catalog::{CatalogChange, Database, Defined, RelationChange};
use model::schema::{Column, Relation, RelationKind};
use model::{Catalog, ColumnId, DataType, Result, Suid, error, fail};

use super::{database_mut, limits};

/// CREATE STABLE and CREATE TABLE of a normal or plain table.
pub(super) fn create(catalog: &mut Catalog, change: &CatalogChange, stamp_ms: i64) -> Result<Defined> {
    let CatalogChange::CreateRelation { database, name, kind, columns, tags, primary_key, comment, if_not_exists } =
        change
    else {
        return Err(model::Error::internal("not the creation of a relation"));
    };
    let suid = catalog.next.suid;
    let owner = database_mut(catalog, *database)?;
    limits::name("table", name, limits::TABLE_NAME_BYTES)?;
    if owner.relations.contains_key(name) && *if_not_exists {
        return Ok(Defined::Existed);
    }
    free(owner, name)?;
    limits::comment(comment.as_ref())?;
    check(*kind, columns, tags)?;
    let supers = || owner.relations.values().any(|relation| relation.kind == RelationKind::Super);
    if *kind == RelationKind::Super && owner.options.single_stable && supers() {
        fail!(InvalidTableDefinition, "database \"{}\" was created with SINGLE_STABLE 1 and has one", owner.name);
    }
    let first = if *kind == RelationKind::Plain { ColumnId::KEY.next() } else { ColumnId::KEY };
    let (columns, next) = number(columns, first);
    let (tags, next_column) = number(tags, next);
    let primary_key = key(*kind, &columns, primary_key)?;
    let relation = Relation {
        suid,
        name: name.clone(),
        kind: *kind,
        version: 1,
        columns,
        tags,
        next_column,
        primary_key,
        comment: comment.clone(),
        created_ms: stamp_ms,
        altered_ms: stamp_ms,
    };
    owner.relations.insert(name.clone(), Arc::new(relation));
    catalog.next.suid = suid.next();
    Ok(Defined::Relation(suid))
}

/// Whether no relation or view of the database has this name.
fn free(database: &Database, name: &str) -> Result<()> {
    if database.relations.contains_key(name) || database.views.contains_key(name) {
        fail!(DuplicateTable, "relation \"{name}\" already exists");
    }
    Ok(())
}

/// Whether a relation of this kind can have these columns and tags.
fn check(kind: RelationKind, columns: &[Column], tags: &[Column]) -> Result<()> {
    limits::shape(kind, columns, tags)?;
    columns.iter().try_for_each(|column| typed(kind, "column", column))?;
    tags.iter().try_for_each(|tag| typed(kind, "tag", tag))?;
    if kind == RelationKind::Plain {
        if columns.is_empty() {
            fail!(InvalidTableDefinition, "a table needs at least one column");
        }
    } else {
        if columns.first().map(|column| column.data_type) != Some(DataType::Timestamp) {
            fail!(InvalidTableDefinition, "the first column of a time series must be a TIMESTAMP");
        }
        if columns.len() < 2 {
            fail!(InvalidTableDefinition, "a time series needs at least one column besides its key");
        }
    }
    match kind {
        RelationKind::Super if tags.is_empty() => fail!(InvalidTableDefinition, "a super table needs at least one tag"),
        RelationKind::Normal | RelationKind::Plain if !tags.is_empty() => {
            fail!(InvalidTableDefinition, "only a super table has tags")
        }
        _ => Ok(()),
    }
}

/// Whether a column or tag of a relation of this kind can have its type.
fn typed(kind: RelationKind, what: &str, column: &Column) -> Result<()> {
    limits::column(what, column)?;
    if kind != RelationKind::Plain && what == "column" && column.data_type == DataType::Json {
        return Err(error!(InvalidTableDefinition, "column \"{}\" of a time series cannot be JSON", column.name)
            .with_hint("JSON can be the only tag of a super table, or a column of a plain table"));
    }
    Ok(())
}

/// Gives out column ids from `first`; the id that comes next is the second answer.
fn number(columns: &[Column], first: ColumnId) -> (Vec<Column>, ColumnId) {
    let mut next = first;
    let mut numbered = Vec::with_capacity(columns.len());
    for column in columns {
        let nullable = column.nullable && next != ColumnId::KEY;
        numbered.push(Column { id: next, nullable, ..column.clone() });
        next = next.next();
    }
    (numbered, next)
}

/// The primary key by column id.
fn key(kind: RelationKind, columns: &[Column], positions: &[u16]) -> Result<Vec<ColumnId>> {
    if kind != RelationKind::Plain {
        if positions.iter().any(|position| *position != 0) {
            fail!(FeatureNotSupported, "a composite primary key of a time series is not supported");
        }
        return Ok(Vec::new());
    }
    let column = |position: &u16| {
        let found = columns.get(usize::from(*position)).map(|column| column.id);
        found.ok_or_else(|| error!(UndefinedColumn, "the primary key names a column that is not there"))
    };
    positions.iter().map(column).collect()
}

/// DROP STABLE and DROP TABLE.
pub(super) fn drop(catalog: &mut Catalog, suid: Suid) -> Result<Defined> {
    let (database, relation) = catalog.relation(suid).ok_or_else(|| gone(suid))?;
    let (id, name) = (database.id, relation.name.clone());
    database_mut(catalog, id)?.relations.remove(&name);
    Ok(Defined::Done)
}

fn gone(suid: Suid) -> model::Error {
    error!(UndefinedTable, "table {suid} does not exist")
        .with_detail("It was dropped while the statement was on its way")
}

/// ALTER STABLE and ALTER TABLE.
pub(super) fn alter(
    catalog: &mut Catalog,
    suid: Suid,
    version: u32,
    change: &RelationChange,
    stamp_ms: i64,
) -> Result<Defined> {
    let (database, relation) = catalog.relation(suid).ok_or_else(|| gone(suid))?;
    if relation.version != version {
        fail!(SerializationFailure, "table \"{}\" was altered by another session", relation.name);
    }
    let (id, old_name) = (database.id, relation.name.clone());
    let mut next = Relation::clone(relation);
    if let RelationChange::Rename(name) = change {
        limits::name("table", name, limits::TABLE_NAME_BYTES)?;
        free(database, name)?;
        if next.kind != RelationKind::Super {
            fail!(
                FeatureNotSupported,
                "only a super table can be renamed: the name of \"{old_name}\" says where it is"
            );
        }
        next.name.clone_from(name);
    } else {
        change_shape(&mut next, change)?;
        check(next.kind, &next.columns, &next.tags)?;
    }
    next.version += 1;
    next.altered_ms = stamp_ms;
    let owner = database_mut(catalog, id)?;
    owner.relations.remove(&old_name);
    owner.relations.insert(next.name.clone(), Arc::new(next));
    Ok(Defined::Done)
}

/// Everything but RENAME TO.
fn change_shape(relation: &mut Relation, change: &RelationChange) -> Result<()> {
    match change {
        RelationChange::AddColumn(column) => {
            addable(column)?;
            unused(relation, &column.name)?;
            let id = take_id(relation)?;
            relation.columns.push(Column { id, ..column.clone() });
        }
        RelationChange::DropColumn(id) => drop_column(relation, *id)?,
        RelationChange::ModifyColumn(column) => modify("column", &mut relation.columns, column)?,
        RelationChange::RenameColumn(id, name) => {
            if relation.kind == RelationKind::Super {
                fail!(WrongObjectType, "columns of super table \"{}\" cannot be renamed", relation.name);
            }
            unused(relation, name)?;
            rename("column", &mut relation.columns, *id, name)?;
        }
        RelationChange::AddTag(tag) => {
            tagged(relation)?;
            unused(relation, &tag.name)?;
            let id = take_id(relation)?;
            relation.tags.push(Column { id, ..tag.clone() });
        }
        RelationChange::DropTag(id) => {
            tagged(relation)?;
            let at = position("tag", &relation.tags, *id)?;
            if relation.tags.len() == 1 {
                fail!(InvalidTableDefinition, "the last tag of \"{}\" cannot be dropped", relation.name);
            }
            relation.tags.remove(at);
        }
        RelationChange::ModifyTag(tag) => {
            tagged(relation)?;
            modify("tag", &mut relation.tags, tag)?;
        }
        RelationChange::RenameTag(id, name) => {
            tagged(relation)?;
            unused(relation, name)?;
            rename("tag", &mut relation.tags, *id, name)?;
        }
        RelationChange::Comment(comment) => {
            limits::comment(comment.as_ref())?;
            relation.comment.clone_from(comment);
        }
        RelationChange::Rename(_) => return Err(model::Error::internal("RENAME TO is not a change of shape")),
    }
    Ok(())
}

/// Columns and tags share one space of names.
fn unused(relation: &Relation, name: &str) -> Result<()> {
    if relation.column(name).is_some() || relation.tag(name).is_some() {
        fail!(DuplicateColumn, "column \"{name}\" of relation \"{}\" already exists", relation.name);
    }
    Ok(())
}

/// Rows that exist have no value for a new column, so it must be able to be NULL.
fn addable(column: &Column) -> Result<()> {
    if !column.nullable || column.default.is_some() {
        return Err(error!(FeatureNotSupported, "column \"{}\" cannot be added with NOT NULL or DEFAULT", column.name)
            .with_hint("Add it without; rows that exist read as NULL there"));
    }
    Ok(())
}

fn take_id(relation: &mut Relation) -> Result<ColumnId> {
    let id = relation.next_column;
    if id.0 == u16::MAX {
        return Err(error!(TooManyColumns, "table \"{}\" has had 65534 columns and tags", relation.name)
            .with_hint("Copy its rows into a new table"));
    }
    relation.next_column = id.next();
    Ok(id)
}

fn tagged(relation: &Relation) -> Result<()> {
    if relation.kind != RelationKind::Super {
        fail!(WrongObjectType, "\"{}\" is not a super table and has no tags", relation.name);
    }
    Ok(())
}

fn position(what: &str, columns: &[Column], id: ColumnId) -> Result<usize> {
    let at = columns.iter().position(|column| column.id == id);
    at.ok_or_else(|| error!(UndefinedColumn, "{what} {id} does not exist"))
}

fn drop_column(relation: &mut Relation, id: ColumnId) -> Result<()> {
    let at = position("column", &relation.columns, id)?;
    let name = &relation.columns[at].name;
    if id == ColumnId::KEY || relation.primary_key.contains(&id) {
        fail!(InvalidTableDefinition, "column \"{name}\" is the key of \"{}\" and cannot be dropped", relation.name);
    }
    let least = if relation.is_time_series() { 2 } else { 1 };
    if relation.columns.len() <= least {
        fail!(InvalidTableDefinition, "column \"{name}\" is the last one of \"{}\"", relation.name);
    }
    relation.columns.remove(at);
    Ok(())
}

/// A longer string, or another compression; nothing else, because blocks keep the old type.
fn modify(what: &str, columns: &mut [Column], new: &Column) -> Result<()> {
    let at = position(what, columns, new.id)?;
    let old = &mut columns[at];
    let wider = match (old.data_type, new.data_type) {
        (DataType::Varchar(from), DataType::Varchar(to))
        | (DataType::NChar(from), DataType::NChar(to))
        | (DataType::Varbinary(from), DataType::Varbinary(to))
        | (DataType::Geometry(from), DataType::Geometry(to)) => to > from || (to == from && *old != *new),
        (from, to) => from == to,
    };
    if !wider {
        return Err(error!(
            InvalidTableDefinition,
            "{what} \"{}\" is {} and cannot become {}", old.name, old.data_type, new.data_type
        )
        .with_hint("Strings and binaries can be made longer, nothing else can be modified"));
    }
    old.data_type = new.data_type;
    old.compression = new.compression.clone();
    Ok(())
}

fn rename(what: &str, columns: &mut [Column], id: ColumnId, name: &str) -> Result<()> {
    limits::name(what, name, limits::COLUMN_NAME_BYTES)?;
    let at = position(what, columns, id)?;
    name.clone_into(&mut columns[at].name);
    Ok(())
}
