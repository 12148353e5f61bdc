//! SHOW of TDengine's things, as the SELECT over the system tables that it means.

use model::{Result, fail};

use super::CatalogContext;
use super::describe::quote_literal;
use crate::statement::{Show, TableName};

/// The SELECT that a SHOW means.
///
/// SHOW CREATE is not a SELECT: [`super::describe`] has it, and None is given.
///
/// # Errors
///
/// `InvalidCatalogName` without a current database, `FeatureNotSupported` for a thing that is not shown.
pub fn show(show: &Show, context: &CatalogContext) -> Result<Option<String>> {
    let database = |given: &Option<String>| match given {
        Some(name) => known(context, name),
        None => known(context, &context.database),
    };
    Ok(Some(match show {
        Show::Databases => "SELECT name FROM information_schema.ins_databases ORDER BY create_time, name".into(),
        Show::Tables(kind, given, like) => {
            let db = quote_literal(&database(given)?);
            let kind = match kind.as_str() {
                "normal" => " AND type = 'NORMAL_TABLE'",
                "child" => " AND type = 'CHILD_TABLE'",
                _ => "",
            };
            let like = like_clause("table_name", like.as_deref());
            format!(
                "SELECT table_name FROM information_schema.ins_tables WHERE db_name = {db}{kind}{like} ORDER BY table_name"
            )
        }
        Show::Stables(given, like) => {
            let db = quote_literal(&database(given)?);
            let like = like_clause("stable_name", like.as_deref());
            format!(
                "SELECT stable_name FROM information_schema.ins_stables WHERE db_name = {db}{like} ORDER BY stable_name"
            )
        }
        Show::Vgroups(given) => {
            let db = quote_literal(&database(given)?);
            format!("SELECT * FROM information_schema.ins_vgroups WHERE db_name = {db} ORDER BY vgroup_id")
        }
        Show::Tags(table) => {
            let (db, name) = home(context, table)?;
            format!(
                "SELECT * FROM information_schema.ins_tags WHERE db_name = {} AND table_name = {}",
                quote_literal(&db),
                quote_literal(&name)
            )
        }
        Show::TableTags(tags, table) => table_tags(context, tags, table)?,
        Show::Alive(None) => "SELECT CASE WHEN count(*) FILTER (WHERE status <> 'ready') = 0 THEN 1 \
            WHEN count(*) FILTER (WHERE status = 'ready') = 0 THEN 0 ELSE 2 END AS status \
            FROM information_schema.ins_dnodes"
            .into(),
        Show::Alive(Some(name)) => {
            let db = quote_literal(&known(context, name)?);
            format!(
                "SELECT CASE WHEN count(*) FILTER (WHERE led = 0) = 0 THEN 1 \
                 WHEN count(*) FILTER (WHERE led > 0) = 0 THEN 0 ELSE 2 END AS status FROM \
                 (SELECT vgroup_id, sum(CASE WHEN status = 'leader' THEN 1 ELSE 0 END) AS led \
                 FROM information_schema.ins_vnodes WHERE db_name = {db} GROUP BY vgroup_id) AS v"
            )
        }
        Show::Thing(thing) if thing == "views" => {
            let db = quote_literal(&known(context, &context.database)?);
            format!("SELECT view_name FROM information_schema.ins_views WHERE db_name = {db} ORDER BY view_name")
        }
        Show::Compact(id) => format!(
            "SELECT * FROM information_schema.ins_compact_details WHERE compact_id = {id} ORDER BY vgroup_id, dnode_id"
        ),
        Show::Thing(thing) => thing_query(thing)?,
        Show::CreateTable(_) | Show::CreateDatabase(_) | Show::CreateView(_) => return Ok(None),
    }))
}

fn known(context: &CatalogContext, name: &str) -> Result<String> {
    match context.catalog.database(name) {
        Some(_) => Ok(name.to_owned()),
        None => fail!(InvalidCatalogName, "database \"{name}\" does not exist"),
    }
}

/// The database and the name of a table.
fn home(context: &CatalogContext, table: &TableName) -> Result<(String, String)> {
    let database = match table.qualifier.first() {
        Some(first) if first != "public" => known(context, first)?,
        _ => known(context, &context.database)?,
    };
    Ok((database, table.name.clone()))
}

fn like_clause(column: &str, pattern: Option<&str>) -> String {
    pattern.map(|pattern| format!(" AND {column} LIKE {}", quote_literal(pattern))).unwrap_or_default()
}

fn table_tags(context: &CatalogContext, tags: &[String], table: &TableName) -> Result<String> {
    let (db, name) = home(context, table)?;
    let ident = super::names::quote_ident;
    let Some(relation) = context.catalog.database(&db).and_then(|database| database.relations.get(&name)) else {
        fail!(UndefinedTable, "super table \"{name}\" does not exist");
    };
    let all = || relation.tags.iter().map(|tag| tag.name.clone()).collect();
    let tags: Vec<String> = if tags.is_empty() { all() } else { tags.to_vec() };
    let list: Vec<_> = tags.iter().map(|tag| ident(tag)).collect();
    let list = list.join(", ");
    Ok(format!("SELECT DISTINCT tbname, {list} FROM {}.{} ORDER BY tbname", ident(&db), ident(&name)))
}

fn thing_query(thing: &str) -> Result<String> {
    let table = match thing {
        "dnodes" | "mnodes" | "vnodes" | "users" | "cluster" | "qnodes" | "snodes" | "arbgroups" | "topics"
        | "subscriptions" | "streams" | "indexes" | "compacts" | "vgroups" => format!("information_schema.ins_{thing}"),
        "functions" => return Ok("SELECT name FROM information_schema.ins_functions".into()),
        "user privileges" => "information_schema.ins_user_privileges".into(),
        "variables" | "cluster variables" => "information_schema.ins_configs".into(),
        "local variables" => {
            return Ok("SELECT name, value, scope FROM information_schema.ins_dnode_variables".into());
        }
        "queries" | "connections" | "apps" | "consumers" => format!("performance_schema.perf_{thing}"),
        "transactions" => "performance_schema.perf_trans".into(),
        _ => fail!(FeatureNotSupported, "SHOW {} is not supported", thing.to_uppercase()),
    };
    Ok(format!("SELECT * FROM {table}"))
}
