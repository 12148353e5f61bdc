//! The system tables of [`crate::catalogs`], as names and lowering need them.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use model::{Catalog, DataPlane, Result, Suid, error};

use super::PlanContext;
use crate::catalogs::{self, CatalogContext, relations};

/// Whether `schema` has a system table of this name.
#[must_use]
pub fn exists(schema: &str, name: &str) -> bool {
    relations::find(schema, name).is_some()
}

/// The system table.
///
/// # Errors
///
/// 42P01 if there is none.
pub fn table(schema: &str, name: &str, catalogs: &Arc<CatalogContext>) -> Result<Arc<dyn TableProvider>> {
    catalogs::table(schema, name, catalogs)
        .ok_or_else(|| error!(UndefinedTable, "relation \"{schema}.{name}\" does not exist"))
}

/// What system tables and session functions see: the session's own, on the metadata that the names were found in.
#[must_use]
pub fn context(plane: &Arc<dyn DataPlane>, catalog: &Arc<Catalog>, context: &PlanContext) -> Arc<CatalogContext> {
    let mut made = match &context.catalogs {
        Some(given) => given.as_ref().clone(),
        None => {
            let mut made = CatalogContext::new(
                Arc::clone(catalog),
                Arc::clone(plane),
                context.database.clone(),
                context.user.clone(),
            );
            made.search_path.clone_from(&context.search_path);
            made.backend = context.backend;
            made.now_us = context.now_us;
            made
        }
    };
    made.catalog = Arc::clone(catalog);
    Arc::new(made)
}

/// The oid of a relation in `pg_class`. Children are not listed there: their columns are their super table's.
#[must_use]
pub fn table_oid(suid: Suid) -> u32 {
    catalogs::names::relation_oid(suid)
}
