//! What asyncpg asks about types that it does not know, in words that can be planned.
//!
//! Its query walks from a type to the types that it is made of, through a recursive query inside a scalar subquery. Here
//! a type is made of others only if it is an array, so one step is the whole walk.

use sqlparser::ast::Query;

/// The first words of the query: the name is asyncpg's own.
const NAME: &str = "typeinfo_tree";

/// Columns and types are those of the query that it stands for.
const INSTEAD: &str = "
    SELECT t.oid, n.nspname AS ns, t.typname AS name, t.typtype AS kind, CAST(NULL AS oid) AS basetype,
        t.typelem AS elemtype, e.typdelim AS elemdelim, CAST(NULL AS oid) AS range_subtype,
        none.proallargtypes AS attrtypoids, none.proargnames AS attrnames, CAST(t.step AS int) AS depth,
        CAST(NULL AS text) AS basetype_name, t.typelem::regtype::text AS elemtype_name,
        CAST(NULL AS text) AS range_subtype_name
    FROM (
        SELECT oid, typname, typtype, typelem, typnamespace, typlen, 0 AS step
        FROM pg_catalog.pg_type WHERE oid = any($1::oid[])
        UNION ALL
        SELECT e.oid, e.typname, e.typtype, e.typelem, e.typnamespace, e.typlen, 1 AS step
        FROM pg_catalog.pg_type e JOIN pg_catalog.pg_type a ON a.typelem = e.oid AND a.typlen = -1
        WHERE a.oid = any($1::oid[])
    ) t
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typlen = -1
    LEFT JOIN pg_catalog.pg_proc none ON false
    ORDER BY t.step DESC";

/// The text that stands for this query, if it is asyncpg's.
#[must_use]
pub fn instead(query: &Query) -> Option<&'static str> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let [table] = with.cte_tables.as_slice() else { return None };
    let columns = &table.alias.columns;
    let of_types = columns.iter().any(|column| column.name.value == "range_subtype")
        && columns.iter().any(|column| column.name.value == "attrtypoids");
    (table.alias.name.value == NAME && of_types).then_some(INSTEAD)
}
