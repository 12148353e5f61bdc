//! Which tables a query names, at any depth, and what they are.
//!
//! The only part of planning that waits: children are asked of the vgroups that own their names. A name that is nothing
//! costs one [`DataPlane::refresh`] and a second look; then lowering says 42P01, because only it knows which names are
//! CTEs. Start reading at [`resolve`].

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use model::catalog::{Catalog, Database, View};
use model::schema::{ChildTable, Relation, Table};
use model::{DataPlane, DatabaseId, Result};
use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, Query, SetExpr, TableFactor, Visit, Visitor};

use super::PlanContext;

/// What a name means.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A super, normal or plain table.
    Relation(Arc<Database>, Arc<Relation>),
    /// A child table.
    Child(Arc<Database>, Box<ChildTable>),
    /// A view and its query, parsed.
    View(Arc<Database>, Arc<View>, Box<Query>),
    /// A system table: schema and name.
    System(String, String),
}

/// A name as written, in the database that was current where it stands (views have their own).
type Written = (String, Vec<String>);

/// All names of a statement.
#[derive(Debug)]
pub struct Names {
    /// The metadata that they were found in.
    pub catalog: Arc<Catalog>,
    found: HashMap<Written, Resolved>,
    /// What vgroups were asked.
    pub(super) lookups: Vec<Lookup>,
}

/// Names that vgroups were asked for, and what they said: no change of metadata tells that one means something else.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    database: DatabaseId,
    names: Vec<String>,
    found: Vec<Option<Table>>,
}

impl Lookup {
    /// Whether the names still mean what they meant.
    ///
    /// # Errors
    ///
    /// As [`DataPlane::lookup`].
    pub(super) async fn holds(&self, plane: &dyn DataPlane) -> Result<bool> {
        let found = plane.lookup(self.database, &self.names).await?;
        let same = |(old, new): (&Option<Table>, &Option<Table>)| match (old, new) {
            (Some(Table::Relation(old)), Some(Table::Relation(new))) => old == new,
            (Some(Table::Child(old)), Some(Table::Child(new))) => {
                old.uid == new.uid && old.vgroup == new.vgroup && old.tags == new.tags && old.parent == new.parent
            }
            (None, None) => true,
            _ => false,
        };
        Ok(found.len() == self.found.len() && self.found.iter().zip(&found).all(same))
    }
}

impl Names {
    /// What `parts` means where `database` is the current one.
    #[must_use]
    pub fn get(&self, database: &str, parts: &[String]) -> Option<&Resolved> {
        self.found.get(&(database.to_owned(), parts.to_vec()))
    }
}

/// An identifier as it is looked up: folded unless it was quoted.
#[must_use]
pub fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parts of a name, folded.
#[must_use]
pub fn parts_of(name: &ObjectName) -> Vec<String> {
    let part = |part: &ObjectNamePart| part.as_ident().map(folded);
    name.0.iter().filter_map(part).collect()
}

/// Looks up every table that `query` names, and that its views name.
///
/// # Errors
///
/// As [`DataPlane::lookup`] and [`DataPlane::refresh`]; whatever is wrong with a view's text.
pub async fn resolve(plane: &dyn DataPlane, query: &Query, context: &PlanContext) -> Result<Names> {
    let first = attempt(plane, query, context, Arc::clone(&context.catalog)).await?;
    if first.1.is_empty() {
        return Ok(first.0);
    }
    let refreshed = plane.refresh().await?;
    Ok(attempt(plane, query, context, refreshed).await?.0)
}

/// The names found, and those that are nothing and no CTE either.
async fn attempt(
    plane: &dyn DataPlane,
    query: &Query,
    context: &PlanContext,
    catalog: Arc<Catalog>,
) -> Result<(Names, BTreeSet<Written>)> {
    let mut names = Names { catalog, found: HashMap::new(), lookups: Vec::new() };
    let mut missing = BTreeSet::new();
    let mut open = vec![(context.database.clone(), query.clone())];
    while let Some((database, query)) = open.pop() {
        let collected = collect(&query);
        let mut unknown: HashMap<String, Vec<(Written, String)>> = HashMap::new();
        for parts in &collected.tables {
            let written = (database.clone(), parts.clone());
            if names.found.contains_key(&written) {
                continue;
            }
            match known(&names.catalog, &database, parts, &context.search_path) {
                Known::IsView(owner, view) => {
                    let parsed = parse_view(&view)?;
                    open.push((owner.name.clone(), parsed.clone()));
                    names.found.insert(written, Resolved::View(owner, view, Box::new(parsed)));
                }
                Known::Is(resolved) => {
                    names.found.insert(written, resolved);
                }
                Known::MayBeChild(owner, name) => unknown.entry(owner).or_default().push((written, name)),
                Known::Nothing => {
                    missing.insert(written);
                }
            }
        }
        for (owner, asked) in unknown {
            children(plane, &owner, asked, &collected, &mut names, &mut missing).await?;
        }
    }
    Ok((names, missing))
}

async fn children(
    plane: &dyn DataPlane,
    owner: &str,
    asked: Vec<(Written, String)>,
    collected: &Collected,
    names: &mut Names,
    missing: &mut BTreeSet<Written>,
) -> Result<()> {
    let Some(database) = names.catalog.database(owner).cloned() else { return Ok(()) };
    // A name that is a CTE somewhere is most likely only that: no vgroup needs to be asked.
    let (ctes, asked): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|((_, parts), name)| parts.len() == 1 && collected.ctes.contains(name));
    drop(ctes);
    if asked.is_empty() {
        return Ok(());
    }
    let wanted: Vec<String> = asked.iter().map(|(_, name)| name.clone()).collect();
    let tables = plane.lookup(database.id, &wanted).await?;
    names.lookups.push(Lookup { database: database.id, names: wanted, found: tables.clone() });
    for ((written, _), table) in asked.into_iter().zip(tables) {
        let resolved = match table {
            Some(Table::Relation(relation)) => Resolved::Relation(Arc::clone(&database), relation),
            Some(Table::Child(child)) => Resolved::Child(Arc::clone(&database), Box::new(child)),
            None => {
                missing.insert(written);
                continue;
            }
        };
        names.found.insert(written, resolved);
    }
    Ok(())
}

enum Known {
    Is(Resolved),
    IsView(Arc<Database>, Arc<View>),
    MayBeChild(String, String),
    Nothing,
}

const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "performance_schema"];

/// What the catalog alone says of a name.
fn known(catalog: &Catalog, current: &str, parts: &[String], search_path: &[String]) -> Known {
    let system = |schema: &str, name: &str| {
        super::system::exists(schema, name).then(|| Known::Is(Resolved::System(schema.to_owned(), name.to_owned())))
    };
    let is_system = |schema: &String| SYSTEM_SCHEMAS.contains(&schema.as_str());
    match parts {
        [name] => match table(catalog, current, name) {
            found @ (Known::Is(_) | Known::IsView(..)) => found,
            other => {
                let path = search_path.iter().filter(|schema| is_system(schema)).map(String::as_str);
                let mut schemas = std::iter::once("pg_catalog").chain(path);
                schemas.find_map(|schema| system(schema, name)).unwrap_or(other)
            }
        },
        [schema, name] if is_system(schema) => system(schema, name).unwrap_or(Known::Nothing),
        [schema, name] if schema == "public" && !catalog.databases.contains_key("public") => {
            table(catalog, current, name)
        }
        [schema, name] if schema == "public" => match table(catalog, current, name) {
            found @ (Known::Is(_) | Known::IsView(..)) => found,
            _ => table(catalog, "public", name),
        },
        [database, name] => table(catalog, database, name),
        [_, schema, name] if is_system(schema) => system(schema, name).unwrap_or(Known::Nothing),
        [database, schema, name] if schema == "public" => table(catalog, database, name),
        _ => Known::Nothing,
    }
}

fn table(catalog: &Catalog, database: &str, name: &str) -> Known {
    let Some(database) = catalog.database(database) else { return Known::Nothing };
    if let Some(relation) = database.relations.get(name) {
        return Known::Is(Resolved::Relation(Arc::clone(database), Arc::clone(relation)));
    }
    if let Some(view) = database.views.get(name) {
        return Known::IsView(Arc::clone(database), Arc::clone(view));
    }
    Known::MayBeChild(database.name.clone(), name.to_owned())
}

fn parse_view(view: &View) -> Result<Query> {
    let mut parsed = crate::parser::parse(&view.query, &crate::parser::ParserOptions::default())?;
    match parsed.pop().map(|parsed| parsed.statement) {
        Some(crate::statement::Statement::Query(query)) if parsed.is_empty() => Ok(*query),
        _ => model::fail!(InternalError, "the text of view {} is not a query", view.name),
    }
}

#[derive(Default)]
struct Collected {
    tables: BTreeSet<Vec<String>>,
    ctes: BTreeSet<String>,
}

fn collect(query: &Query) -> Collected {
    let mut collected = Collected::default();
    let _ = query.visit(&mut collected);
    collected
}

impl Visitor for Collected {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.ctes.extend(with.cte_tables.iter().map(|cte| folded(&cte.alias.name)));
        }
        self.bodies(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            self.tables.insert(parts_of(name));
        }
        ControlFlow::Continue(())
    }
}

impl Collected {
    /// `TABLE t` is no table factor.
    fn bodies(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                self.bodies(left);
                self.bodies(right);
            }
            SetExpr::Table(table) => {
                let parts = [&table.schema_name, &table.table_name];
                self.tables.insert(parts.into_iter().flatten().map(|part| part.to_lowercase()).collect());
            }
            _ => {}
        }
    }
}
