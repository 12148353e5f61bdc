//! INTERSECT and EXCEPT as groups of what both sides have: DataFusion joins the sides, which neither brings their types
//! together nor counts copies as ALL does.
//!
//! `a EXCEPT b` is `SELECT c FROM (a, 1 UNION ALL b, 2) GROUP BY c HAVING max(side) = 1`; for ALL the copies of a row are
//! numbered on each side and grouped by their number too. Start reading at [`as_groups`].

use model::{Error, error};
use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, GroupByExpr, LimitClause, OrderBy, OrderByExpr, OrderByKind, Select,
    SelectItem, SetExpr, SetOperator, SetQuantifier, TableAliasColumnDef, TableFactor, TableWithJoins, Value,
};

use super::walk::placed;
use super::{Out, build};
use crate::parser::markers::position_of;
use crate::plan::error::shown;
use crate::plan::names::folded;

/// What the column that says the side of a row is called; the coercion of types knows the operation by it.
pub(crate) const SIDES: [(&str, &str); 2] = [("INTERSECT", "\u{1}INTERSECT"), ("EXCEPT", "\u{1}EXCEPT")];

/// The columns of the rows of both sides in the new query.
fn column(at: usize) -> String {
    format!("_c{at}")
}

const SIDE: &str = "_side";
const COPY: &str = "_copy";

/// `left op right`, whose columns are `outs`, as a SELECT over both sides.
pub(super) fn as_groups(op: SetOperator, all: bool, left: SetExpr, right: SetExpr, outs: &[Out]) -> SetExpr {
    let name = SIDES[usize::from(op == SetOperator::Except)].1;
    let both = SetExpr::SetOperation {
        op: SetOperator::Union,
        set_quantifier: SetQuantifier::All,
        left: Box::new(sided(left, 1, name)),
        right: Box::new(sided(right, 2, name)),
    };
    let columns: Vec<Expr> = (0..outs.len()).map(|at| build::column(&column(at))).collect();
    let mut from = derived(both, "_sides", (0..outs.len()).map(column).chain([SIDE.to_owned()]));
    let mut keys = columns.clone();
    if all {
        let mut partition = columns.clone();
        partition.push(build::column(SIDE));
        let mut select = build::empty_select();
        let plain = columns.iter().cloned().chain([build::column(SIDE)]);
        select.projection = plain.map(SelectItem::UnnamedExpr).collect();
        let number = build::over("row_number", Vec::new(), partition, Vec::new());
        select.projection.push(SelectItem::ExprWithAlias { expr: number, alias: build::ident(COPY) });
        select.from = vec![from];
        let names = (0..outs.len()).map(column).chain([SIDE.to_owned(), COPY.to_owned()]);
        from = derived(SetExpr::Select(Box::new(select)), "_copies", names);
        keys.push(build::column(COPY));
    }
    let side = |function: &str| build::call(function, vec![build::column(SIDE)]);
    let kept = match op {
        SetOperator::Except => build::binary(side("max"), BinaryOperator::Eq, build::number(1)),
        _ => build::binary(side("min"), BinaryOperator::NotEq, side("max")),
    };
    let named = columns.into_iter().zip(outs);
    let mut select: Select = build::empty_select();
    select.projection =
        named.map(|(expr, out)| SelectItem::ExprWithAlias { expr, alias: build::ident(&out.name) }).collect();
    select.from = vec![from];
    select.group_by = GroupByExpr::Expressions(keys, Vec::new());
    select.having = Some(kept);
    SetExpr::Select(Box::new(select))
}

fn derived(body: SetExpr, name: &str, columns: impl Iterator<Item = String>) -> TableWithJoins {
    let mut query = build::query(build::empty_select());
    query.body = Box::new(body);
    let mut alias = build::alias(name);
    alias.columns = columns.map(|name| TableAliasColumnDef { name: build::ident(&name), data_type: None }).collect();
    let relation = TableFactor::Derived { lateral: false, subquery: Box::new(query), alias: Some(alias), sample: None };
    TableWithJoins { relation, joins: Vec::new() }
}

/// The same rows with one more column, which says the side. It stands beside the literals of the list, so that they keep
/// the unknown type that a subquery would take from them.
fn sided(body: SetExpr, side: i64, name: &str) -> SetExpr {
    match body {
        SetExpr::Select(mut select) => {
            let expr = build::number(side);
            select.projection.push(SelectItem::ExprWithAlias { expr, alias: build::ident(name) });
            SetExpr::Select(select)
        }
        SetExpr::Values(mut values) => {
            for row in &mut values.rows {
                row.content.push(build::number(side));
            }
            SetExpr::Values(values)
        }
        SetExpr::Query(mut query) => {
            query.body = Box::new(sided(*query.body, side, name));
            SetExpr::Query(query)
        }
        SetExpr::SetOperation { op, set_quantifier, left, right } => SetExpr::SetOperation {
            op,
            set_quantifier,
            left: Box::new(sided(*left, side, name)),
            right: Box::new(sided(*right, side, name)),
        },
        other => other,
    }
}

/// The ORDER BY of a set operation names its columns, by name or position, and nothing else.
pub(super) fn check_order(order_by: &Option<OrderBy>, outs: &[Out]) -> Result<(), Error> {
    let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = order_by else { return Ok(()) };
    for OrderByExpr { expr, .. } in exprs {
        match expr {
            Expr::Value(_) => super::select::check_position(expr, outs.len(), "ORDER BY")?,
            Expr::Identifier(ident) => {
                let name = folded(ident);
                if !outs.iter().any(|out| shown(&out.name) == name) {
                    return Err(placed(error!(UndefinedColumn, "column \"{name}\" does not exist"), expr));
                }
            }
            _ => {
                let error = error!(FeatureNotSupported, "invalid UNION/INTERSECT/EXCEPT ORDER BY clause")
                    .with_detail("Only result column names can be used, not expressions or functions.")
                    .with_hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause.");
                return Err(placed(error, expr));
            }
        }
    }
    Ok(())
}

/// Literals of LIMIT and OFFSET become whole numbers; columns are refused.
pub(super) fn check_limit(clause: &mut Option<LimitClause>) -> Result<(), Error> {
    let Some(LimitClause::LimitOffset { limit, offset, .. }) = clause else { return Ok(()) };
    let exprs = limit.iter_mut().map(|of| (of, "LIMIT")).chain(offset.iter_mut().map(|of| (&mut of.value, "OFFSET")));
    for (expr, name) in exprs {
        if let Some(column) = super::window::columns_in(expr).first() {
            let error = error!(InvalidColumnReference, "argument of {name} must not contain variables");
            return Err(placed(error, column));
        }
        let odd = match &*expr {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => !digits.bytes().all(|digit| digit.is_ascii_digit()),
                Value::SingleQuotedString(_) => true,
                _ => false,
            },
            _ => false,
        };
        if odd {
            let inner = std::mem::replace(expr, build::number(0));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(inner),
                data_type: DataType::BigInt(None),
                array: false,
                format: None,
            };
        }
    }
    Ok(())
}

/// 42601 where the sides are not equally wide.
pub(super) fn check_width(op: SetOperator, left: &[Out], right: &[Out], body: &SetExpr) -> Result<(), Error> {
    if left.len() == right.len() {
        return Ok(());
    }
    let error = error!(SyntaxError, "each {op} query must have the same number of columns");
    Err(match first_position(body) {
        0 => error,
        position => error.at(position),
    })
}

/// Where the list of a query begins.
fn first_position(body: &SetExpr) -> u32 {
    match body {
        SetExpr::Select(select) => match select.projection.first() {
            Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => position_of(expr),
            _ => 0,
        },
        SetExpr::Values(values) => values.rows.first().and_then(|row| row.content.first()).map_or(0, position_of),
        SetExpr::Query(query) => first_position(&query.body),
        SetExpr::SetOperation { left, .. } => first_position(left),
        _ => 0,
    }
}
