//! Functions in FROM that look at the tables before them: `FROM t, generate_series(1, t.n) g`.
//!
//! DataFusion plans them as a join with a subquery that refers outside, and has no operator for that. Where the subquery
//! only computes and unnests, what it does is done to the rows of the other tables instead. Start reading at [`flatten`].

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinType, LogicalPlan, Projection, Subquery, SubqueryAlias, Unnest,
};
use model::error;

use super::error::to_datafusion;

/// Takes such joins out of `plan`, inside subqueries too.
///
/// # Errors
///
/// 0A000 for an outer join.
pub(super) fn flatten(plan: LogicalPlan) -> Result<LogicalPlan> {
    let flat = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) => match inlined(&join)? {
            Some(plan) => Ok(Transformed::yes(plan)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(flat.data)
}

/// The join as one line of operators over its left side; None if it is no such join.
fn inlined(join: &Join) -> Result<Option<LogicalPlan>> {
    let (subquery, alias) = match join.right.as_ref() {
        LogicalPlan::Subquery(subquery) => (subquery, None),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => match input.as_ref() {
            LogicalPlan::Subquery(subquery) => (subquery, Some(alias)),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let Some(steps) = steps(subquery) else { return Ok(None) };
    if join.join_type != JoinType::Inner {
        let error =
            error!(FeatureNotSupported, "an outer join with a function of the tables before it is not supported");
        return Err(to_datafusion(error.with_hint("use a cross join, or UNION ALL the rows that have no partner")));
    }
    let left = join.left.schema();
    let kept: Vec<String> = (0..left.fields().len()).map(|n| format!("__left{n}")).collect();
    let outer = left.columns();
    let renamed = outer.iter().zip(&kept).map(|(column, name)| Expr::Column(column.clone()).alias(name));
    let mut plan = LogicalPlan::Projection(Projection::try_new(renamed.collect(), Arc::clone(&join.left))?);
    for step in steps {
        plan = match step {
            LogicalPlan::Projection(projection) => {
                let own = projection.expr.iter().map(|expr| here(expr.clone(), &outer, &kept));
                let exprs = kept.iter().map(|name| Ok(bare(name))).chain(own).collect::<Result<Vec<_>>>()?;
                LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)
            }
            LogicalPlan::Unnest(unnest) => LogicalPlan::Unnest(Unnest::try_new(
                Arc::new(plan),
                unnest.exec_columns.clone(),
                unnest.options.clone(),
            )?),
            _ => plan,
        };
    }
    finished(join, alias, plan, &kept).map(Some)
}

/// The operators of a subquery that only computes and unnests one row, the first one first.
fn steps(subquery: &Subquery) -> Option<Vec<&LogicalPlan>> {
    let mut steps = Vec::new();
    let mut node = subquery.subquery.as_ref();
    loop {
        match node {
            LogicalPlan::Projection(projection) => {
                steps.push(node);
                node = projection.input.as_ref();
            }
            LogicalPlan::Unnest(unnest) => {
                steps.push(node);
                node = unnest.input.as_ref();
            }
            LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
                steps.reverse();
                return Some(steps);
            }
            _ => return None,
        }
    }
}

fn bare(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// An expression of the subquery with the outer columns under their names inside the line.
fn here(expr: Expr, outer: &[Column], kept: &[String]) -> Result<Expr> {
    let name = expr.qualified_name();
    let made = expr.transform_up(|expr| {
        let Expr::OuterReferenceColumn(_, column) = &expr else { return Ok(Transformed::no(expr)) };
        match outer.iter().position(|known| known == column) {
            Some(at) => Ok(Transformed::yes(bare(&kept[at]))),
            None => Ok(Transformed::no(expr)),
        }
    })?;
    // What is above knows the column by its old name.
    Ok(if made.transformed { made.data.alias_if_changed(name.1)? } else { made.data })
}

/// The columns as the join had them, and its condition.
fn finished(join: &Join, alias: Option<&TableReference>, plan: LogicalPlan, kept: &[String]) -> Result<LogicalPlan> {
    let left = join.left.schema().iter().zip(kept);
    let mut exprs: Vec<Expr> =
        left.map(|((qualifier, field), name)| bare(name).alias_qualified(qualifier.cloned(), field.name())).collect();
    let own = plan.schema().columns().into_iter().skip(kept.len());
    for (column, (qualifier, field)) in own.zip(join.right.schema().iter()) {
        let qualifier = alias.or(qualifier).cloned();
        exprs.push(Expr::Column(column).alias_qualified(qualifier, field.name()));
    }
    let mut plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
    let equal = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    for condition in equal.chain(join.filter.clone()) {
        plan = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?);
    }
    Ok(plan)
}
