//! What a WHERE says of the time: the bounds that `_qstart`, `_qend` and `_qduration` show.

use sqlparser::ast::{BinaryOperator, DataType, Expr, TimezoneInfo, Value};

use super::build;
use super::scope::Scope;
use super::window::{columns_in, replace};
use crate::plan::names::folded;

/// Pseudo-columns of the range of a query.
pub(super) const RANGE_COLUMNS: [&str; 3] = ["_qstart", "_qend", "_qduration"];

/// The conjuncts of `selection` that compare the key with something constant, as if the key stood left.
pub(super) fn bounds(selection: Option<&Expr>, key: &Expr, scope: &Scope) -> Vec<(BinaryOperator, Expr)> {
    let mut found = Vec::new();
    if let Some(selection) = selection {
        collect(selection, key, scope, &mut found);
    }
    found
}

fn collect(expr: &Expr, key: &Expr, scope: &Scope, found: &mut Vec<(BinaryOperator, Expr)>) {
    let same = |candidate: &Expr| match (scope.resolve(candidate), scope.resolve(key)) {
        (Some((left, a)), Some((right, b))) => left.qualifier == right.qualifier && a.name == b.name,
        _ => false,
    };
    let constant = |expr: &Expr| columns_in(expr).is_empty() && !matches!(expr, Expr::Subquery(_));
    match expr {
        Expr::Nested(inner) => collect(inner, key, scope, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            collect(left, key, scope, found);
            collect(right, key, scope, found);
        }
        Expr::BinaryOp { left, op, right } if same(left) && constant(right) => {
            found.push((op.clone(), as_time(right)));
        }
        Expr::BinaryOp { left, op, right } if same(right) && constant(left) => {
            found.extend(swapped(op).map(|op| (op, as_time(left))));
        }
        Expr::Between { expr, negated: false, low, high } if same(expr) && constant(low) && constant(high) => {
            found.push((BinaryOperator::GtEq, as_time(low)));
            found.push((BinaryOperator::LtEq, as_time(high)));
        }
        _ => {}
    }
}

fn swapped(op: &BinaryOperator) -> Option<BinaryOperator> {
    Some(match op {
        BinaryOperator::Eq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        _ => return None,
    })
}

/// A string is a time here.
fn as_time(expr: &Expr) -> Expr {
    match expr {
        Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)) => {
            build::cast(expr.clone(), DataType::Timestamp(None, TimezoneInfo::Tz))
        }
        other => other.clone(),
    }
}

/// The pseudo-column of the range that `expr` is.
pub(super) fn range_column(expr: &Expr) -> Option<String> {
    let Expr::Identifier(ident) = expr else { return None };
    let name = folded(ident);
    (ident.quote_style.is_none() && RANGE_COLUMNS.contains(&name.as_str())).then_some(name)
}

/// Replaces `_qstart`, `_qend` and `_qduration`. Only the type of `time` matters, and in how many rows it stands.
pub(super) fn pseudo_columns(expr: &mut Expr, bounds: &[(BinaryOperator, Expr)], time: &Expr) {
    replace(expr, &|candidate| {
        Some(match range_column(candidate)?.as_str() {
            "_qstart" => bound(bounds, true, time),
            "_qend" => bound(bounds, false, time),
            _ => build::call("__query_ticks", vec![bound(bounds, true, time), bound(bounds, false, time)]),
        })
    });
}

/// `_qstart` or `_qend`: the first or last tick of the range; NULL where WHERE gives none.
fn bound(bounds: &[(BinaryOperator, Expr)], lower: bool, start: &Expr) -> Expr {
    let mut args = vec![start.clone()];
    for (op, expr) in bounds {
        let strict = match (op, lower) {
            (BinaryOperator::Gt, true) => 1,
            (BinaryOperator::Lt, false) => -1,
            (BinaryOperator::GtEq | BinaryOperator::Eq, true) | (BinaryOperator::LtEq | BinaryOperator::Eq, false) => 0,
            _ => continue,
        };
        args.push(build::number(strict));
        args.push(expr.clone());
    }
    build::call(if lower { "__query_start" } else { "__query_end" }, args)
}
