//! WITH RECURSIVE: the first term says which types the rows have, and the second must agree.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::logical_plan::{Projection, RecursiveQuery, TableScan};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use model::error;

use super::sets::{projected, types};
use crate::functions::pg::conversion;
use crate::plan::PlanContext;
use crate::plan::error::to_datafusion;
use crate::plan::types::{Typed, common};

/// The recursion with both terms of one type.
pub(super) fn coerced(query: RecursiveQuery, context: &PlanContext) -> Result<LogicalPlan> {
    let RecursiveQuery { name, static_term, recursive_term, is_distinct, .. } = query;
    let first = super::coerce(Arc::unwrap_or_clone(static_term), context)?;
    let resolved: Vec<Typed> = types(&first).iter().map(known).collect();
    let first = plain(projected(first, &resolved, context)?, &resolved)?;
    let work = work_schema(&first);
    let second = Arc::unwrap_or_clone(recursive_term).transform_down_with_subqueries(|node| match node {
        LogicalPlan::TableScan(scan) if is_work_table(&scan, &name) => {
            let table = provider_as_source(Arc::new(CteWorkTable::new(&name, Arc::clone(&work))));
            let scan = LogicalPlanBuilder::scan(scan.table_name, table, None)?.build()?;
            Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let second = super::coerce(second.data, context)?;
    for (at, (have, got)) in resolved.iter().zip(types(&second)).enumerate() {
        let overall = common("UNION", &[have.clone(), got.clone()]).map_err(|(error, _)| to_datafusion(error))?;
        if overall.pg != have.pg {
            let (have, got, at) = (have.name(), overall.name(), at + 1);
            let error = error!(
                DatatypeMismatch,
                "recursive query \"{name}\" column {at} has type {have} in non-recursive term but type {got} overall"
            );
            return Err(to_datafusion(
                error.with_hint("Cast the output of the non-recursive term to the correct type."),
            ));
        }
    }
    let second = plain(projected(second, &resolved, context)?, &resolved)?;
    let query = RecursiveQuery::try_new(name, Arc::new(first), Arc::new(second), is_distinct)?;
    Ok(LogicalPlan::RecursiveQuery(query))
}

/// What is still unknown is text.
fn known(of: &Typed) -> Typed {
    if of.is_unknown() { Typed::of_arrow(datafusion::arrow::datatypes::DataType::Utf8) } else { of.clone() }
}

fn is_work_table(scan: &TableScan, name: &str) -> bool {
    let work = source_as_provider(&scan.source).is_ok_and(|provider| {
        let provider: &dyn std::any::Any = provider.as_ref();
        provider.is::<CteWorkTable>()
    });
    work && scan.table_name.table() == name
}

fn work_schema(first: &LogicalPlan) -> SchemaRef {
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(first.schema().fields().iter().map(nullable).collect::<Vec<_>>()))
}

/// The same rows with nothing said of their columns but the types: DataFusion wants both terms to say the same.
fn plain(plan: LogicalPlan, of: &[Typed]) -> Result<LogicalPlan> {
    let exprs = plan.schema().iter().zip(of).map(|((relation, field), of)| {
        let column = Expr::Column(Column::new(relation.cloned(), field.name()));
        conversion(column, of.pg, of.arrow.clone()).alias_qualified(relation.cloned(), field.name())
    });
    let exprs = exprs.collect::<Vec<_>>();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}
