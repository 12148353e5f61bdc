//! Fields of JSON tags and columns: `j->'key'`, `j->>'key'`, `j CONTAINS 'key'`.
//!
//! TDengine compares a field by what stands beside it: with a string if it is one, with a number if it is one. So the
//! comparison says which of [`crate::functions::pg`]'s functions takes the field out.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

use super::build;
use super::walk::{name_of, plain_args};

/// What stands for `expr`, whose parts are done.
pub(super) fn replacement(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            let of = |name: &str| Some(build::call(name, vec![plain(left), plain(right)]));
            match op {
                BinaryOperator::Arrow => of("__json_get"),
                BinaryOperator::LongArrow => of("__json_text"),
                BinaryOperator::Question => of("__json_has"),
                _ if compares(op) => compared(left, op, right),
                _ => None,
            }
        }
        Expr::Like { expr: of, .. } | Expr::ILike { expr: of, .. } | Expr::SimilarTo { expr: of, .. } => {
            let field = taken(of, "__json_string")?;
            with_operand(expr, field)
        }
        Expr::InList { expr: of, list, .. } => with_operand(expr, taken(of, function(list.first()?))?),
        Expr::Between { expr: of, low, .. } => with_operand(expr, taken(of, function(low))?),
        _ => None,
    }
}

fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{
        Eq, Gt, GtEq, Lt, LtEq, NotEq, PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch,
    };
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch)
}

fn compared(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    let (new_left, new_right) = (taken(left, function(right)), taken(right, function(left)));
    if new_left.is_none() && new_right.is_none() {
        return None;
    }
    let side = |new: Option<Expr>, old: &Expr| Box::new(new.unwrap_or_else(|| old.clone()));
    Some(Expr::BinaryOp { left: side(new_left, left), op: op.clone(), right: side(new_right, right) })
}

/// The function that takes a field out to stand beside `other`.
fn function(other: &Expr) -> &'static str {
    match other {
        Expr::Nested(inner) => function(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, .. } => "__json_number",
        Expr::Value(value) => match &value.value {
            Value::Number(..) => "__json_number",
            Value::Boolean(_) => "__json_bool",
            Value::SingleQuotedString(_) => "__json_string",
            _ => "__json_text",
        },
        _ => "__json_text",
    }
}

/// `j->'key'` taken out by another function.
fn taken(expr: &Expr, with: &str) -> Option<Expr> {
    let inner = match expr {
        Expr::Nested(inner) => return taken(inner, with),
        Expr::Function(inner) => inner,
        _ => return None,
    };
    (name_of(inner)? == "__json_get").then_some(())?;
    Some(build::call(with, plain_args(inner)?.into_iter().cloned().collect()))
}

fn with_operand(expr: &Expr, operand: Expr) -> Option<Expr> {
    let mut new = expr.clone();
    match &mut new {
        Expr::Like { expr, .. }
        | Expr::ILike { expr, .. }
        | Expr::SimilarTo { expr, .. }
        | Expr::InList { expr, .. }
        | Expr::Between { expr, .. } => **expr = operand,
        _ => return None,
    }
    Some(new)
}

fn plain(expr: &Expr) -> Expr {
    match expr {
        Expr::Nested(inner) => plain(inner),
        // `->` takes the number of an item too.
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => build::text(digits),
            _ => expr.clone(),
        },
        _ => expr.clone(),
    }
}
