//! What both ways of INSERT ask of names: the tables, the super table of USING, and its tags.

use model::schema::{Relation, RelationKind, Table};
use model::{Error, Result, error};

use super::{Resolved, Resolver};
use crate::statement::{ColumnName, TableName};

/// The table of this name.
///
/// # Errors
///
/// 42P01 with its position.
pub(super) fn known<'r>(resolver: &'r dyn Resolver, table: &TableName) -> Result<&'r Resolved> {
    resolver.resolve(table).ok_or_else(|| {
        error!(UndefinedTable, "relation \"{}\" does not exist", dotted(table))
            .with_hint("create it first, or name its super table: INSERT INTO … USING … TAGS (…)")
            .at(table.position)
    })
}

/// The super table of `child USING stable`.
///
/// # Errors
///
/// 42P01 if it does not exist, 42809 if it is none, or if `child` is a table of another kind or super table.
pub(super) fn stable<'r>(resolver: &'r dyn Resolver, child: &TableName, stable: &TableName) -> Result<&'r Resolved> {
    let resolved = resolver
        .resolve(stable)
        .ok_or_else(|| error!(UndefinedTable, "relation \"{}\" does not exist", dotted(stable)).at(stable.position))?;
    let relation = match &resolved.table {
        Table::Relation(relation) if relation.kind == RelationKind::Super => relation,
        _ => {
            let name = dotted(stable);
            return Err(error!(WrongObjectType, "\"{name}\" is not a super table").at(stable.position));
        }
    };
    let other = match resolver.resolve(child).map(|resolved| &resolved.table) {
        None => false,
        Some(Table::Child(known)) => known.parent.suid != relation.suid,
        Some(Table::Relation(_)) => true,
    };
    if other {
        let (child_name, stable_name) = (dotted(child), dotted(stable));
        return Err(
            error!(WrongObjectType, "\"{child_name}\" is not a child table of \"{stable_name}\"").at(child.position)
        );
    }
    Ok(resolved)
}

/// The places of the tags that TAGS gives.
///
/// # Errors
///
/// 42703, 42701 with positions.
pub(super) fn slots(relation: &Relation, names: Option<&[ColumnName]>) -> Result<Vec<usize>> {
    let Some(names) = names else { return Ok((0..relation.tags.len()).collect()) };
    let mut slots = Vec::with_capacity(names.len());
    for name in names {
        let Some(slot) = relation.tags.iter().position(|tag| tag.name == name.name) else {
            return Err(error!(UndefinedColumn, "tag \"{}\" of \"{}\" does not exist", name.name, relation.name)
                .at(name.position));
        };
        if slots.contains(&slot) {
            return Err(error!(DuplicateColumn, "tag \"{}\" specified more than once", name.name).at(name.position));
        }
        slots.push(slot);
    }
    Ok(slots)
}

pub(super) fn too_many() -> Error {
    error!(SyntaxError, "TAGS has more values than the super table has tags")
}

pub(super) fn too_few() -> Error {
    error!(SyntaxError, "TAGS has fewer values than tags").with_hint("name the tags: USING st (tag, …) TAGS (…)")
}

fn dotted(table: &TableName) -> String {
    let parts = table.qualifier.iter().chain([&table.name]);
    parts.map(String::as_str).collect::<Vec<_>>().join(".")
}
