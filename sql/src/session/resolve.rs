//! What a written table name means: which database, which relation, which child.

use std::sync::Arc;

use model::catalog::{Database, View};
use model::schema::{Relation, Table};
use model::{DataPlane, Result, error, fail};

use crate::statement::TableName;

/// Schemas that hold no tables of users.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "performance_schema"];

/// A name that means something.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// Where it is.
    pub(crate) database: Arc<Database>,
    /// What it is.
    pub(crate) object: Object,
}

/// What a name can mean.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    Table(Table),
    View(Arc<View>),
}

impl Resolved {
    /// The relation whose rows this name stands for; a child's is its super table.
    ///
    /// # Errors
    ///
    /// `WrongObjectType` for a view.
    pub(crate) fn relation(&self) -> Result<&Arc<Relation>> {
        match &self.object {
            Object::Table(Table::Relation(relation)) => Ok(relation),
            Object::Table(Table::Child(child)) => Ok(&child.parent),
            Object::View(view) => fail!(WrongObjectType, "\"{}\" is a view", view.name),
        }
    }
}

/// The database that `name` is in, `current` if it does not say.
///
/// # Errors
///
/// `InvalidCatalogName` if there is no such database; `InsufficientPrivilege` for a system schema.
pub(crate) async fn database_of(plane: &dyn DataPlane, current: &str, name: &TableName) -> Result<Arc<Database>> {
    let wanted = match name.qualifier.as_slice() {
        [] => current,
        [schema] if schema == "public" => current,
        [system] | [_, system] if SYSTEM_SCHEMAS.contains(&system.as_str()) => {
            fail!(InsufficientPrivilege, "\"{system}\" is a system schema: it cannot be changed")
        }
        [database] => database,
        [database, schema] if schema == "public" => database,
        [_, schema] => return Err(error!(InvalidSchemaName, "schema \"{schema}\" does not exist").at(name.position)),
        _ => return Err(error!(SyntaxError, "too many parts in the name of table \"{}\"", name.name).at(name.position)),
    };
    database(plane, wanted).await.map_err(|error| if name.position > 0 { error.at(name.position) } else { error })
}

/// The database of this name; an unknown one costs one read of the newest catalog.
///
/// # Errors
///
/// `InvalidCatalogName` if there is no such database.
pub(crate) async fn database(plane: &dyn DataPlane, name: &str) -> Result<Arc<Database>> {
    if let Some(database) = plane.catalog().database(name) {
        return Ok(database.clone());
    }
    let newest = plane.refresh().await?;
    newest.database(name).cloned().ok_or_else(|| {
        error!(InvalidCatalogName, "database \"{name}\" does not exist")
            .with_hint("SHOW DATABASES lists them; CREATE DATABASE makes one")
    })
}

/// What `names` mean, in order; None for a name that is nothing. Unknown names cost one read of the newest catalog.
///
/// # Errors
///
/// As [`database_of`].
pub(crate) async fn tables(plane: &dyn DataPlane, current: &str, names: &[TableName]) -> Result<Vec<Option<Resolved>>> {
    let mut resolved: Vec<Option<Resolved>> = vec![None; names.len()];
    for attempt in 0..2 {
        if attempt == 1 {
            if resolved.iter().all(Option::is_some) {
                break;
            }
            plane.refresh().await?;
        }
        look_up(plane, current, names, &mut resolved).await?;
    }
    Ok(resolved)
}

async fn look_up(
    plane: &dyn DataPlane,
    current: &str,
    names: &[TableName],
    resolved: &mut [Option<Resolved>],
) -> Result<()> {
    let mut databases: Vec<(Arc<Database>, Vec<usize>)> = Vec::new();
    for (i, name) in names.iter().enumerate().filter(|(i, _)| resolved[*i].is_none()) {
        let database =
            match databases.iter().find(|(database, _)| name.qualifier.is_empty() && database.name == current) {
                Some((database, _)) => database.clone(),
                None => database_of(plane, current, name).await?,
            };
        match databases.iter_mut().find(|(known, _)| known.id == database.id) {
            Some((_, members)) => members.push(i),
            None => databases.push((database, vec![i])),
        }
    }
    for (database, members) in databases {
        let wanted: Vec<String> = members.iter().map(|i| names[*i].name.clone()).collect();
        let found = plane.lookup(database.id, &wanted).await?;
        for (i, table) in members.into_iter().zip(found) {
            let object = match table {
                Some(table) => Some(Object::Table(table)),
                None => database.views.get(&names[i].name).cloned().map(Object::View),
            };
            resolved[i] = object.map(|object| Resolved { database: database.clone(), object });
        }
    }
    Ok(())
}

/// What `name` means.
///
/// # Errors
///
/// `UndefinedTable` if it is nothing.
pub(crate) async fn table(plane: &dyn DataPlane, current: &str, name: &TableName) -> Result<Resolved> {
    let found = tables(plane, current, std::slice::from_ref(name)).await?.pop().flatten();
    found.ok_or_else(|| undefined(name))
}

/// The error for a name that is nothing.
pub(crate) fn undefined(name: &TableName) -> model::Error {
    let error = error!(UndefinedTable, "relation \"{}\" does not exist", written(name));
    if name.position > 0 { error.at(name.position) } else { error }
}

/// A name as it was written.
pub(crate) fn written(name: &TableName) -> String {
    name.qualifier.iter().chain([&name.name]).map(String::as_str).collect::<Vec<_>>().join(".")
}
