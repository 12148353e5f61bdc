//! PostgreSQL's SQL that DataFusion does not plan, rewritten in the AST into SQL that it does.
//!
//! Clients' catalog queries use such SQL most, and users' own queries too. A rewrite never changes what a query means:
//! where DataFusion has no word for it, a function of [`crate::functions::pg`] stands in (`pg_any`, `pg_only`, `pg_regclass`).
//! Start reading at [`rewrite`]; [`exprs`] has the expressions, [`subqueries`] the subqueries, [`tables`] what stands in FROM, [`series`] `generate_series`.

pub mod asyncpg;
mod build;
mod casts;
mod exprs;
mod series;
mod subqueries;
mod tables;
#[cfg(test)]
mod tests;
mod times;

use std::ops::ControlFlow;

use sqlparser::ast::{self, Expr, Query, Select, TableFactor, VisitMut as _, VisitorMut};

/// Rewrites a query in place. One walk over the tree.
///
/// # Errors
///
/// None yet: what is not understood is left for DataFusion to refuse.
pub fn rewrite(query: &mut Query) -> model::Result<()> {
    let _ = query.visit(&mut Rewriter);
    Ok(())
}

/// The same for an expression outside a query, such as the condition of a DELETE.
///
/// # Errors
///
/// As [`rewrite`].
pub fn rewrite_expr(expr: &mut Expr) -> model::Result<()> {
    let _ = expr.visit(&mut Rewriter);
    Ok(())
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        subqueries::blank_if_empty(select);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        subqueries::exists_as_values(&mut select.projection);
        exprs::tell_apart(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let ast::SetExpr::Values(values) = query.body.as_mut() {
            exprs::mark_values(values);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<()> {
        tables::rewrite(table);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        subqueries::rewrite(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        exprs::rewrite(expr);
        ControlFlow::Continue(())
    }
}

/// The last part of a name, lower case, if the parts before it are one of PostgreSQL's own schemas or nothing.
fn system_name(name: &ast::ObjectName) -> Option<String> {
    let mut parts = name.0.iter().map(|part| part.as_ident());
    let last = parts.next_back()??;
    let of_system = |part: Option<&ast::Ident>| {
        part.is_some_and(|part| matches!(part.value.to_ascii_lowercase().as_str(), "pg_catalog" | "information_schema"))
    };
    let folded = if last.quote_style.is_some() { last.value.clone() } else { last.value.to_ascii_lowercase() };
    parts.all(of_system).then_some(folded)
}
